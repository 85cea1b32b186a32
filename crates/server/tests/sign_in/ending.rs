//! The ends of grants: what runs by them ends too, and what else runs does not.

use std::time::SystemTime;

use futures_util::StreamExt;
use llamapool_identity::{ClientId, EndReason, KeyKind, KeyText};
use llamapool_testkit::{
    PendingCall, Provider, ScriptedProvider, event_stream, json_answer, soon, tools_call,
};
use llamapool_wire::Secret;
use serde_json::json;

use crate::kit::{App, Place, REDIRECT, applied, text};

/// The ways in which a grant ends from outside.
#[derive(Debug, Clone, Copy)]
enum End {
    Key,
    Grant,
    Client,
    Token,
    Epoch,
}

#[tokio::test]
async fn a_running_stream_ends_with_its_grant_in_every_way() {
    for end in [End::Key, End::Grant, End::Client, End::Token, End::Epoch] {
        let place = Place::start().await;
        let mut provider = ScriptedProvider::start().await;
        let worker = place.worker_key(&["notes"]).await;
        let worker_secret = Secret::new(worker.expose());
        let _relay = place
            .pool
            .relay_with("notes", &provider.url, |relay| {
                relay.identity.worker_key = Some(worker_secret);
            })
            .await;
        let key = place.caller_key(&["*"]).await;
        let app = place.app(REDIRECT).await;
        let tokens = place.sign_in(&app, "notes", key.expose()).await;
        let access = text(&tokens, "access_token");

        let request = place.pool.http.post(place.pool.mcp("notes"));
        let request = request
            .header("accept", "text/event-stream")
            .bearer_auth(access);
        let mut call = PendingCall::start(request.json(&tools_call(1, "scripted")));
        let (events, response) = event_stream();
        provider.next_request().await.answer(response);
        events.send(Ok("data: 1\n\n".into())).await.unwrap();
        let mut body = call.answer().await.bytes_stream();
        let first = soon("the first event", body.next()).await.unwrap();
        assert_eq!(first.unwrap(), "data: 1\n\n");

        let mut store = place.store();
        let now = SystemTime::now();
        match end {
            End::Key => {
                let change = store.revoke_key(key.id(), now).unwrap();
                assert_eq!(applied(&store, change).await, 1, "the one stream");
            }
            End::Grant => {
                let grant = store.grants().unwrap()[0].id;
                let change = store.end_grant(&grant, EndReason::Revoked, now).unwrap();
                assert_eq!(applied(&store, change.unwrap()).await, 1);
            }
            End::Client => {
                let client: ClientId = app.id.parse().unwrap();
                let change = store.block_client(&client, now).unwrap();
                assert_eq!(applied(&store, change).await, 1);
            }
            End::Token => {
                let form = [("token", access), ("client_id", app.id.as_str())];
                let revoked = place.form("/oauth/revoke", &form).await;
                assert_eq!(revoked.status(), 200, "{}", revoked.text());
            }
            End::Epoch => {
                let taken = place.worker_key(&["notes"]).await;
                let change = store.revoke_key(worker.id(), now).unwrap();
                applied(&store, change).await;
                drop(taken);
            }
        }

        let broken = soon("the stream is reset", body.next()).await;
        assert!(broken.unwrap().is_err(), "{end:?}: no clean end");
        assert_eq!(
            place.call("notes", Some(access)).await.status(),
            401,
            "{end:?}"
        );
        let refreshed = app.refresh(&place, text(&tokens, "refresh_token")).await;
        assert!(
            matches!(refreshed.status(), 400 | 401),
            "{end:?}: {}",
            refreshed.text()
        );
    }
}

#[tokio::test]
async fn an_end_of_one_grant_leaves_others_alone() {
    let place = Place::start().await;
    let key = place.caller_key(&["*"]).await;
    let app = place.app(REDIRECT).await;
    let [mine, yours] = [
        place.sign_in(&app, "notes", key.expose()).await,
        place.sign_in(&app, "notes", key.expose()).await,
    ];
    let other = place.app(REDIRECT).await;

    let revoke = async |app: &App, token: &str| {
        let form = [("token", token), ("client_id", app.id.as_str())];
        place.form("/oauth/revoke", &form).await.status()
    };
    assert_eq!(revoke(&other, text(&mine, "refresh_token")).await, 200);
    assert_eq!(
        place
            .call("notes", Some(text(&mine, "access_token")))
            .await
            .status(),
        503
    );
    assert_eq!(revoke(&app, "unknown").await, 200);
    assert_eq!(revoke(&app, text(&mine, "refresh_token")).await, 200);

    assert_eq!(
        place
            .call("notes", Some(text(&mine, "access_token")))
            .await
            .status(),
        401
    );
    assert_eq!(
        place
            .call("notes", Some(text(&yours, "access_token")))
            .await
            .status(),
        503
    );
    let none = App {
        id: "client_none".to_owned(),
        redirect: String::new(),
    };
    assert_eq!(revoke(&none, text(&yours, "access_token")).await, 401);
}

/// A rotated key is the same key: what its holder has allowed goes on.
#[tokio::test]
async fn a_rotation_of_the_key_keeps_the_grant() {
    let place = Place::start().await;
    let key = place.caller_key(&["*"]).await;
    let app = place.app(REDIRECT).await;
    let tokens = place.sign_in(&app, "notes", key.expose()).await;

    let rotated = KeyText::rotated(key.id(), KeyKind::Caller);
    let mut store = place.store();
    let now = SystemTime::now();
    let change = store
        .rotate_key(key.id(), &rotated.digest(), now, now)
        .unwrap();
    applied(&store, change).await;

    assert_eq!(
        place
            .call("notes", Some(text(&tokens, "access_token")))
            .await
            .status(),
        503
    );
    assert_eq!(place.call("notes", Some(key.expose())).await.status(), 401);
}

#[tokio::test]
async fn a_session_belongs_to_approver_and_client() {
    let place = Place::start().await;
    let provider = Provider::answering(|_| async {
        let mut answer = json_answer("{}");
        let session = http::HeaderValue::from_static("its own");
        answer.headers_mut().insert("mcp-session-id", session);
        answer
    })
    .await;
    let _relay = place.pool.relay("notes", &provider.url).await;
    let key = place.caller_key(&["*"]).await;
    let [app, other] = [place.app(REDIRECT).await, place.app(REDIRECT).await];
    let [mine, theirs] = [
        place.sign_in(&app, "notes", key.expose()).await,
        place.sign_in(&other, "notes", key.expose()).await,
    ];
    let call = async |credential: &str, session: Option<&str>| {
        let request = place.pool.http.post(place.pool.mcp("notes"));
        let request = request.bearer_auth(credential).json(&json!({}));
        let request = match session {
            Some(session) => request.header("mcp-session-id", session),
            None => request,
        };
        request.send().await.unwrap()
    };

    let begun = call(text(&mine, "access_token"), None).await;
    let session = begun.headers()["mcp-session-id"]
        .to_str()
        .unwrap()
        .to_owned();

    assert_eq!(
        call(text(&mine, "access_token"), Some(&session))
            .await
            .status(),
        200
    );
    for foreign in [text(&theirs, "access_token"), key.expose()] {
        assert_eq!(call(foreign, Some(&session)).await.status(), 404);
    }
    let anew = place.sign_in(&app, "notes", key.expose()).await;
    let same = call(text(&anew, "access_token"), Some(&session)).await;
    assert_eq!(
        same.status(),
        200,
        "another sign-in of the same client keeps it"
    );
}
