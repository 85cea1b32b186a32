//! Grants and clients through the administration API, and wrong keys at the page of consent.

use futures_util::StreamExt;
use llamapool_testkit::{
    API_KEY, Answer, PendingCall, ScriptedProvider, event_stream, soon, tools_call,
};
use serde_json::{Value, json};

use crate::kit::{Place, REDIRECT, location, parameter, showing_headers, text};

/// Asks the administration API, as the owner.
async fn ask(place: &Place, method: &str, path: &str, body: Option<Value>) -> Answer {
    let url = format!("{}/api/admin/{path}", place.pool.url);
    let request = place.pool.http.request(method.parse().unwrap(), url);
    // The server is known by its public name alone.
    let request = request.bearer_auth(API_KEY).header("host", "pool.example");
    let request = match body {
        Some(body) => request.json(&body),
        None => request,
    };
    Answer::read(soon("an answer", request.send()).await.unwrap()).await
}

async fn done(place: &Place, method: &str, path: &str, body: Option<Value>) -> Value {
    let answer = ask(place, method, path, body).await;
    assert!(answer.status() < 300, "{}", answer.text());
    answer.json()
}

#[tokio::test]
async fn a_grant_is_listed_and_ended_with_what_runs_by_it() {
    let place = Place::start().await;
    let mut provider = ScriptedProvider::start().await;
    let _relay = place.pool.relay("notes", &provider.url).await;
    let key = place.caller_key(&["notes"]).await;
    let app = place.app(REDIRECT).await;
    let tokens = place.sign_in(&app, "notes", key.expose()).await;
    let access = text(&tokens, "access_token");
    let call = place
        .pool
        .http
        .post(place.pool.mcp("notes"))
        .bearer_auth(access);
    let call = call.header("accept", "text/event-stream");
    let mut call = PendingCall::start(call.json(&tools_call(1, "scripted")));
    let (events, response) = event_stream();
    provider.next_request().await.answer(response);
    let mut body = call.answer().await.bytes_stream();
    events.send(Ok("data: 1\n\n".into())).await.unwrap();
    soon("an event", body.next()).await.unwrap().unwrap();

    let path = format!("grants?key={}", key.id());
    let grants = done(&place, "GET", &path, None).await;
    let grant = &grants["grants"][0];
    assert_eq!(grants["grants"].as_array().unwrap().len(), 1, "{grants}");
    assert_eq!(
        (text(grant, "status"), text(grant, "client_name")),
        ("active", "An app")
    );
    let none = done(&place, "GET", "grants?key=other", None).await;
    assert_eq!(none["grants"], json!([]));
    let path = format!("grants/{}", text(grant, "id"));
    let ended = done(&place, "DELETE", &path, None).await;

    assert_eq!(
        (ended["ended"].clone(), text(&ended, "status")),
        (json!(1), "revoked")
    );
    let end = soon("the stream is reset", body.next()).await;
    assert!(end.expect("no clean end").is_err());
    assert_eq!(place.call("notes", Some(access)).await.status(), 401);
    let again = done(&place, "DELETE", &path, None).await;
    assert_eq!(again["ended"], 0);
    assert_eq!(
        done(&place, "GET", "grants", None).await["grants"],
        json!([])
    );
    let all = done(&place, "GET", "grants?all=true", None).await;
    assert_eq!(all["grants"][0]["status"], "revoked");
    let missing = ask(&place, "DELETE", &path[..path.len() - 1], None).await;
    assert_eq!(missing.status(), 400, "{}", missing.text());
}

#[tokio::test]
async fn a_client_is_added_used_blocked_and_removed() {
    let place = Place::start().await;
    let provider = showing_headers().await;
    let _relay = place.pool.relay("notes", &provider.url).await;
    let key = place.caller_key(&["notes"]).await;
    let body = json!({"name": "Wiki", "redirect_uris": [REDIRECT]});
    let added = done(&place, "POST", "clients", Some(body.clone())).await;
    let twice = ask(&place, "POST", "clients", Some(body)).await;
    assert_eq!(
        (twice.status(), text(&twice.json(), "error")),
        (409, "name_taken")
    );
    let id = text(&added, "id");
    assert!(
        text(&twice.json(), "message").contains(id),
        "{}",
        twice.text()
    );

    let app = crate::kit::App {
        id: id.to_owned(),
        redirect: REDIRECT.to_owned(),
    };
    let tokens = place.sign_in(&app, "notes", key.expose()).await;
    let access = text(&tokens, "access_token");
    assert_eq!(place.call("notes", Some(access)).await.status(), 200);
    let path = format!("clients/{id}");
    assert_eq!(done(&place, "GET", &path, None).await["grants"], 1);

    done(&place, "PUT", &format!("{path}/block"), None).await;
    assert_eq!(place.call("notes", Some(access)).await.status(), 401);
    let unblocked = done(&place, "DELETE", &format!("{path}/block"), None).await;
    assert_eq!(text(&unblocked, "status"), "allowed");
    assert_eq!(
        place.call("notes", Some(access)).await.status(),
        401,
        "grants stay ended"
    );

    let tokens = place.sign_in(&app, "notes", key.expose()).await;
    let access = text(&tokens, "access_token");
    done(&place, "DELETE", &path, None).await;
    assert_eq!(place.call("notes", Some(access)).await.status(), 401);
    assert_eq!(ask(&place, "GET", &path, None).await.status(), 404);

    let registered = place.app(REDIRECT).await;
    let refused = ask(
        &place,
        "DELETE",
        &format!("clients/{}", registered.id),
        None,
    )
    .await;
    assert_eq!(
        (refused.status(), text(&refused.json(), "error")),
        (409, "not_added")
    );
    let url = "clients/https%3A%2F%2Fapp.example%2Fclient.json";
    let blocked = done(&place, "PUT", &format!("{url}/block"), None).await;
    assert_eq!(text(&blocked, "id"), "https://app.example/client.json");
}

#[tokio::test]
async fn wrong_keys_on_the_page_are_slowed_and_a_right_one_is_not() {
    let place = Place::start().await;
    let key = place.caller_key(&["notes"]).await;
    let app = place.app(REDIRECT).await;
    let page = app.page(&place, "notes").await;

    for turn in 0..20 {
        let wrong = ["wrong", "llp_c_wrong", "ABCD-EFGH"][turn % 3];
        let answer = place.allow(&page, wrong, &[]).await;
        assert_eq!(answer.status(), 403, "{}", answer.text());
    }
    let slowed = place.allow(&page, "wrong", &[]).await;

    assert_eq!(slowed.status(), 429);
    let seconds: u64 = slowed.header("retry-after").unwrap().parse().unwrap();
    assert!((1..=10).contains(&seconds), "{seconds}");
    assert!(
        slowed.text().contains("Too many wrong keys"),
        "{}",
        slowed.text()
    );
    let answer = place.allow(&page, key.expose(), &[]).await;
    assert!(parameter(&location(&answer), "code").is_some());
}
