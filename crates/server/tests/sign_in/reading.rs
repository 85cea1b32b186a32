//! Tokens that may read and call no tool: how they come about, what they are held to, and the way to
//! one that may do more.

use std::sync::Arc;
use std::time::SystemTime;

use axum::extract::Request;
use llamapool_identity::{AccessMode, AccessRule, KeyEdit, MessagePolicy, Rights};
use llamapool_testkit::{Answer, Provider, json_answer, soon, tools_call};
use parking_lot::Mutex;
use serde_json::{Value, json};

use crate::kit::{
    App, PUBLIC, Place, REDIRECT, applied, authorize, location, parameter, text, with,
};

/// The box of the page.
const READ_ONLY: (&str, &str) = ("read_only", "on");
/// The challenge of a call that only a token of the other scope may make.
const STEP_UP: &str = "Bearer resource_metadata=\"https://pool.example/.well-known/oauth-protected-resource/api/mcp/id/notes\", error=\"insufficient_scope\", scope=\"mcp\"";

/// A provider that records the methods of the messages that it gets.
struct Recorder {
    provider: Provider,
    seen: Arc<Mutex<Vec<String>>>,
}

impl Recorder {
    async fn start() -> Self {
        let seen = Arc::new(Mutex::new(Vec::new()));
        let record = seen.clone();
        let provider = Provider::answering(move |request: Request| {
            let record = record.clone();
            async move {
                let body = axum::body::to_bytes(request.into_body(), usize::MAX).await;
                let message: Value = serde_json::from_slice(&body.unwrap()).unwrap();
                record.lock().push(text(&message, "method").to_owned());
                json_answer("{}")
            }
        })
        .await;
        Self { provider, seen }
    }

    /// Returns the methods that it got since the last look.
    fn seen(&self) -> Vec<String> {
        std::mem::take(&mut self.seen.lock())
    }
}

/// Lists the tools of `notes` with a token.
async fn list(place: &Place, token: &str) -> Answer {
    let message = json!({"jsonrpc": "2.0", "id": 7, "method": "tools/list"});
    let request = place.pool.http.post(place.pool.mcp("notes"));
    let answer = request.bearer_auth(token).json(&message).send();
    Answer::read(soon("an answer", answer).await.unwrap()).await
}

/// Calls a tool of `notes` with a token.
async fn call(place: &Place, token: &str) -> Answer {
    Answer::read(place.call("notes", Some(token)).await).await
}

/// Signs an app in to `notes` with a scope and a form. Returns its tokens.
async fn signed_in(
    place: &Place,
    app: &App,
    scope: Option<&str>,
    key: &str,
    form: &[(&str, &str)],
) -> Value {
    let parameters = with(&app.parameters("notes"), "scope", scope);
    let page = authorize(place, &parameters).await;
    let answer = place.allow(page.text(), key, form).await;
    let code = parameter(&location(&answer), "code").expect("a code");
    let tokens = app.redeem(place, &code).await;
    assert_eq!(tokens.status(), 200, "{}", tokens.text());
    tokens.json()
}

/// Refreshes with a scope.
async fn refreshed(place: &Place, app: &App, token: &str, scope: Option<&str>) -> Answer {
    let mut form = vec![
        ("grant_type", "refresh_token"),
        ("refresh_token", token),
        ("client_id", app.id.as_str()),
    ];
    form.extend(scope.map(|scope| ("scope", scope)));
    place.form("/oauth/token", &form).await
}

#[tokio::test]
async fn the_box_of_the_page_holds_a_client_to_reading() {
    let place = Place::start().await;
    let recorder = Recorder::start().await;
    let _relay = place.pool.relay("notes", &recorder.provider.url).await;
    let key = place.caller_key(&["notes"]).await;
    let app = place.app(REDIRECT).await;

    let tokens = signed_in(&place, &app, None, key.expose(), &[READ_ONLY]).await;
    assert_eq!(tokens["scope"], "mcp:read");
    let token = text(&tokens, "access_token");
    assert_eq!(list(&place, token).await.status(), 200);
    let denied = call(&place, token).await;

    assert_eq!(denied.status(), 403, "{}", denied.text());
    assert_eq!(denied.header("www-authenticate"), Some(STEP_UP));
    assert_eq!(denied.header("llamapool-error"), Some("message_denied"));
    let body = denied.json();
    assert_eq!(body["id"], tools_call(1, "scripted")["id"]);
    assert_eq!(body["jsonrpc"], "2.0");
    assert_eq!(recorder.seen(), ["tools/list"]);

    let wide = signed_in(&place, &app, None, key.expose(), &[]).await;
    assert_eq!(wide["scope"], "mcp");
    let answer = call(&place, text(&wide, "access_token")).await;
    assert_eq!(answer.status(), 200, "{}", answer.text());
    assert_eq!(recorder.seen(), ["tools/call"]);
}

#[tokio::test]
async fn a_client_that_asks_for_reading_gets_no_more() {
    let place = Place::start().await;
    let recorder = Recorder::start().await;
    let _relay = place.pool.relay("notes", &recorder.provider.url).await;
    let key = place.caller_key(&["notes"]).await;
    let app = place.app(REDIRECT).await;

    let tokens = signed_in(&place, &app, Some("mcp:read"), key.expose(), &[]).await;
    assert_eq!(tokens["scope"], "mcp:read");
    let denied = call(&place, text(&tokens, "access_token")).await;
    assert_eq!(denied.status(), 403, "{}", denied.text());

    // It asks again, for the scope of the challenge.
    let tokens = signed_in(&place, &app, Some("mcp"), key.expose(), &[]).await;
    let answer = call(&place, text(&tokens, "access_token")).await;
    assert_eq!(answer.status(), 200, "{}", answer.text());
    assert_eq!(recorder.seen(), ["tools/call"]);
}

#[tokio::test]
async fn the_page_shows_what_will_be_granted() {
    let place = Place::start().await;
    let app = place.app(REDIRECT).await;
    let page = async |scope: &str| {
        let parameters = with(&app.parameters("notes"), "scope", Some(scope));
        authorize(&place, &parameters).await.text().to_owned()
    };
    let unchecked = "name=\"read_only\" value=\"on\">";
    let checked = "name=\"read_only\" value=\"on\" checked>";
    let fixed = "name=\"read_only\" value=\"on\" checked disabled>";

    for everything in ["mcp", "mcp:read mcp", "openid"] {
        let page = page(everything).await;
        assert!(page.contains(unchecked), "{everything}: {page}");
        assert!(page.contains("call its tools"), "{everything}: {page}");
    }
    let reading = page("mcp:read").await;
    assert!(reading.contains(fixed), "{reading}");
    assert!(!reading.contains("call its tools"), "{reading}");
    assert!(reading.contains("It may call no tool"), "{reading}");

    // A choice outlives a typing error, and another value of the box is none.
    let page = page("mcp").await;
    let again = place.allow(&page, "wrong", &[READ_ONLY]).await;
    assert_eq!(again.status(), 403);
    assert!(again.text().contains(checked), "{}", again.text());
    let other = place.allow(&page, "wrong", &[("read_only", "off")]).await;
    assert_eq!(other.status(), 400, "{}", other.text());
}

#[tokio::test]
async fn a_refresh_narrows_that_token_alone() {
    let place = Place::start().await;
    let recorder = Recorder::start().await;
    let _relay = place.pool.relay("notes", &recorder.provider.url).await;
    let key = place.caller_key(&["notes"]).await;
    let app = place.app(REDIRECT).await;
    let wide = signed_in(&place, &app, None, key.expose(), &[]).await;

    let refresh = text(&wide, "refresh_token");
    let narrow = refreshed(&place, &app, refresh, Some("mcp:read")).await;
    assert_eq!(narrow.status(), 200, "{}", narrow.text());
    let narrow = narrow.json();
    assert_eq!(narrow["scope"], "mcp:read");
    let token = text(&narrow, "access_token");
    let denied = call(&place, token).await;
    assert_eq!(denied.header("www-authenticate"), Some(STEP_UP));
    assert_eq!(list(&place, token).await.status(), 200);
    let before = call(&place, text(&wide, "access_token")).await;
    assert_eq!(before.status(), 200, "{}", before.text());

    // The grant is as it was: the next refresh may have all of it again.
    let next = refreshed(&place, &app, text(&narrow, "refresh_token"), None).await;
    assert_eq!(next.json()["scope"], "mcp", "{}", next.text());
    assert_eq!(recorder.seen(), ["tools/list", "tools/call"]);
}

#[tokio::test]
async fn a_refresh_widens_no_grant_of_reading() {
    let place = Place::start().await;
    let key = place.caller_key(&["notes"]).await;
    let app = place.app(REDIRECT).await;
    let tokens = signed_in(&place, &app, None, key.expose(), &[READ_ONLY]).await;
    let refresh = text(&tokens, "refresh_token");

    let wider = refreshed(&place, &app, refresh, Some("mcp")).await;
    assert_eq!(wider.status(), 400, "{}", wider.text());
    assert_eq!(wider.json()["error"], "invalid_scope");

    let same = refreshed(&place, &app, refresh, None).await;
    assert_eq!(same.json()["scope"], "mcp:read", "{}", same.text());
}

/// Where no other token of the approver could do it, a client is not sent to ask for one.
#[tokio::test]
async fn a_grant_of_a_read_only_key_reads_and_has_no_step_up() {
    let place = Place::start().await;
    let recorder = Recorder::start().await;
    let _relay = place.pool.relay("notes", &recorder.provider.url).await;
    let app = place.app(REDIRECT).await;
    let reader = place.read_only_key(&["notes"]).await;
    let key = place.caller_key(&["notes"]).await;

    let tokens = signed_in(&place, &app, None, reader.expose(), &[]).await;
    assert_eq!(tokens["scope"], "mcp:read");
    let token = text(&tokens, "access_token");
    for credential in [token, reader.expose()] {
        let denied = call(&place, credential).await;
        assert_eq!(denied.status(), 403, "{}", denied.text());
        assert_eq!(denied.header("www-authenticate"), None);
        assert_eq!(list(&place, credential).await.status(), 200);
    }

    // A key that is narrowed later narrows what it has allowed before.
    let wide = signed_in(&place, &app, None, key.expose(), &[]).await;
    let mut store = place.store();
    let mut rights = store.key(key.id()).unwrap().rights;
    let Rights::Caller(of_caller) = &mut rights else {
        panic!("{rights:?}");
    };
    of_caller.read_only = true;
    let edit = KeyEdit {
        name: None,
        rights: Some(rights),
        expires_at: None,
    };
    let change = store.edit_key(key.id(), &edit, SystemTime::now()).unwrap();
    applied(&store, change).await;
    let denied = call(&place, text(&wide, "access_token")).await;
    assert_eq!(denied.status(), 403, "{}", denied.text());
    assert_eq!(denied.header("www-authenticate"), None);
    assert_eq!(recorder.seen(), ["tools/list"; 2]);
}

/// The rules of the id are of the operator: no token can do what they do not allow.
#[tokio::test]
async fn a_denial_by_the_rules_of_the_id_has_no_step_up() {
    let rule = AccessRule {
        messages: MessagePolicy::read_only(),
        ..AccessRule::new("notes".parse().unwrap(), AccessMode::SignIn)
    };
    let place = Place::with(|server| server.identity.declared.access = vec![rule]).await;
    let recorder = Recorder::start().await;
    let _relay = place.pool.relay("notes", &recorder.provider.url).await;
    let key = place.caller_key(&["notes"]).await;
    let app = place.app(REDIRECT).await;

    for form in [&[][..], &[READ_ONLY]] {
        let tokens = signed_in(&place, &app, None, key.expose(), form).await;
        let denied = call(&place, text(&tokens, "access_token")).await;
        assert_eq!(denied.status(), 403, "{}", denied.text());
        assert_eq!(denied.header("www-authenticate"), None, "{form:?}");
    }
    assert!(recorder.seen().is_empty());
}

/// Clients ask for the scopes that the metadata of the id list, so these list what all need.
#[tokio::test]
async fn the_metadata_of_an_id_list_the_scope_of_everything() {
    let place = Place::start().await;
    let of_id = "/.well-known/oauth-protected-resource/api/mcp/id/notes";

    let document = place.get(&format!("{PUBLIC}{of_id}")).await.json();

    assert_eq!(document["scopes_supported"], json!(["mcp"]));
}
