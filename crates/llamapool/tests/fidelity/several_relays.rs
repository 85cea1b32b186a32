//! Several relays for one id, each with a provider that has its own sessions: requests that belong
//! together reach the same relay.

use std::sync::Arc;

use axum::extract::Request;
use axum::http::request::Parts;
use axum::http::{Method, StatusCode};
use axum::response::{IntoResponse, Response};
use parking_lot::Mutex;
use reqwest::RequestBuilder;
use serde_json::{Value, json};
use tokio::sync::mpsc;

use crate::harness::{Pool, Process, Provider, error_word, event_stream, json_answer, soon};

const SHARED: (&str, &str) = ("CLIENT_SECRET", "shared by both");
const ID: &str = "shared";
const CONNECTED: &str = "llamapool_relays_connected";

type Streams = Arc<Mutex<Vec<mpsc::Sender<Result<bytes::Bytes, std::io::Error>>>>>;

/// Starts a provider with one session of its own, which answers with its name. A call with `x-hold`
/// is never answered.
async fn provider(name: &'static str) -> Provider {
    let own = format!("!session~of~{name}!");
    let streams = Streams::default();
    Provider::answering(move |request: Request| {
        let own = own.clone();
        let streams = streams.clone();
        let (head, _) = request.into_parts();
        async move { answer(name, &own, &head, &streams).await }
    })
    .await
}

/// Answers one request to the provider.
async fn answer(name: &str, own: &str, request: &Parts, streams: &Streams) -> Response {
    let header = |name: &str| {
        request
            .headers
            .get(name)
            .and_then(|value| value.to_str().ok())
    };
    if header("x-hold").is_some() {
        return std::future::pending().await;
    }
    if request.method == Method::GET && header("mcp-session-id").is_none() {
        let (sender, stream) = event_stream();
        sender
            .send(Ok(format!(
                "event: endpoint\ndata: /messages?of={name}\n\n"
            )
            .into()))
            .await
            .expect("it is open");
        // The stream stays open as long as the provider runs.
        streams.lock().push(sender);
        return stream;
    }

    let seen = json!({
        "provider": name,
        "session": header("mcp-session-id"),
        "path": request.uri.to_string(),
        "method": request.method.as_str(),
        "last": header("last-event-id"),
    });
    let answer = json_answer(&seen.to_string());
    match (header("mcp-session-id"), header("mcp-protocol-version")) {
        (None, None) => ([("mcp-session-id", own)], answer).into_response(),
        (Some(session), _) if session != own => {
            let lost =
                r#"{"jsonrpc":"2.0","error":{"code":-32001,"message":"not mine"},"id":null}"#;
            (StatusCode::NOT_FOUND, lost).into_response()
        }
        _ => answer,
    }
}

/// Two relays, and a session with each.
struct TwoRelays {
    pool: Pool,
    relays: [Process; 2],
    providers: [Provider; 2],
    sessions: [String; 2],
}

impl TwoRelays {
    async fn with(settings: &[(&str, &str)]) -> Self {
        let pool = Pool::with(settings).await;
        let providers = [provider("alpha").await, provider("beta").await];
        let alpha = pool.relay_with(ID, &providers[0].url, &[SHARED]).await;
        let first = begin(&pool).await;

        let beta = Pool::relay_to(&pool.url, ID, &providers[1].url, &[SHARED]);
        until_both_connected(&pool).await;

        // A busy relay is not chosen, so that the second session begins at the other one.
        let busy = hold(&pool, &first).await;
        let second = begin(&pool).await;
        drop(busy);
        pool.until_client(ID, "no call runs", |client| client["inflight"] == 0)
            .await;

        Self {
            pool,
            relays: [alpha, beta],
            providers,
            sessions: [first, second],
        }
    }

    async fn ask(&self, session: &str) -> reqwest::Response {
        ask(&self.pool, ID, session).await
    }
}

async fn until_both_connected(pool: &Pool) {
    pool.until_metric(CONNECTED, 2).await;
}

fn in_session(pool: &Pool, id: &str, session: &str) -> RequestBuilder {
    let request = pool
        .http
        .post(pool.mcp(id))
        .header("accept", "application/json, text/event-stream");
    request
        .header("mcp-session-id", session)
        .header("mcp-protocol-version", "2025-11-25")
        .body("{}")
}

async fn ask(pool: &Pool, id: &str, session: &str) -> reqwest::Response {
    soon("an answer", in_session(pool, id, session).send())
        .await
        .expect("an HTTP answer")
}

/// Begins a session and returns its id at the caller.
async fn begin(pool: &Pool) -> String {
    let answer = pool.post(ID, &json!({})).await;
    assert_eq!(answer.status(), 200);
    answer.headers()["mcp-session-id"]
        .to_str()
        .unwrap()
        .to_owned()
}

/// Starts a call in a session that runs until it is dropped.
async fn hold(
    pool: &Pool,
    session: &str,
) -> tokio::task::JoinSet<reqwest::Result<reqwest::Response>> {
    let request = in_session(pool, ID, session).header("x-hold", "1");
    let mut call = tokio::task::JoinSet::new();
    call.spawn(request.send());
    pool.until_client(ID, "the call runs", |client| client["inflight"] == 1)
        .await;
    call
}

/// Reads the JSON of a successful answer.
async fn read_json(answer: reqwest::Response) -> Value {
    assert_eq!(answer.status(), 200);
    answer.json().await.expect("JSON")
}

/// Asserts that the answer makes a client initialize again.
async fn assert_gone(answer: reqwest::Response) {
    assert_eq!(answer.status(), 404);
    let body: Value = answer.json().await.expect("JSON");
    assert_eq!(body["error"]["code"], -32001, "{body}");
}

#[tokio::test]
async fn a_session_stays_with_its_relay_and_keeps_its_id() {
    let two = TwoRelays::with(&[]).await;
    for _ in 0..5 {
        for (session, name) in two.sessions.iter().zip(["alpha", "beta"]) {
            let answer = read_json(two.ask(session).await).await;
            let own = format!("!session~of~{name}!");
            assert_eq!(
                (&answer["provider"], &answer["session"]),
                (&json!(name), &json!(own))
            );
            assert!(
                !session.contains(name)
                    && session.bytes().all(|byte| (0x21..=0x7e).contains(&byte)),
                "{session}"
            );
        }
    }

    let busy = hold(&two.pool, &two.sessions[1]).await;
    assert_eq!(begin(&two.pool).await, two.sessions[0]);

    drop(busy);
}

/// Listening streams, resumed streams and the end of a session belong to it like its calls.
#[tokio::test]
async fn listening_resuming_and_ending_reach_the_relay_of_the_session() {
    let two = TwoRelays::with(&[]).await;
    for _ in 0..3 {
        for (session, name) in two.sessions.iter().zip(["alpha", "beta"]) {
            let own = format!("!session~of~{name}!");
            for (method, last) in [
                ("GET", None),
                ("GET", Some("7/of a stream")),
                ("DELETE", None),
                ("POST", None),
            ] {
                let request = two
                    .pool
                    .http
                    .request(method.parse().unwrap(), two.pool.mcp(ID));
                let request = request
                    .header("accept", "text/event-stream")
                    .header("mcp-session-id", session);
                let request = last.into_iter().fold(request, |request, last| {
                    request.header("last-event-id", last)
                });
                let answer = read_json(soon("an answer", request.send()).await.unwrap()).await;
                let seen =
                    ["provider", "session", "method", "last"].map(|name| answer[name].clone());
                assert_eq!(seen, [json!(name), json!(own), json!(method), json!(last)]);
            }
        }
    }
}

#[tokio::test]
async fn a_forged_or_moved_session_id_is_not_found() {
    let two = TwoRelays::with(&[]).await;
    let _other = two
        .pool
        .relay_with("other", &two.providers[0].url, &[SHARED])
        .await;
    assert_gone(ask(&two.pool, "other", &two.sessions[0]).await).await;
    let mut forged = two.sessions[0].clone().into_bytes();
    let last = forged.len() / 2;
    forged[last] = if forged[last] == b'A' { b'B' } else { b'A' };

    for forged in [
        &*String::from_utf8(forged).unwrap(),
        "!session~of~alpha!",
        "x",
    ] {
        assert_gone(two.ask(forged).await).await;
    }
}

#[tokio::test]
async fn a_session_waits_for_its_relay_and_then_is_gone() {
    let mut two = TwoRelays::with(&[("SESSION_GRACE", "1s")]).await;
    two.relays[0].kill().await;
    two.pool.until_metric(CONNECTED, 1).await;
    let away = two.ask(&two.sessions[0]).await;

    assert_eq!(away.status(), 503);
    assert!(away.headers().contains_key("retry-after"));
    assert_eq!(error_word(away).await, "relay_offline");

    let gone = async {
        loop {
            let answer = two.ask(&two.sessions[0]).await;
            if answer.status() != 503 {
                return answer;
            }
        }
    };
    assert_gone(soon("the grace ends", gone).await).await;
    assert_eq!(
        read_json(two.ask(&two.sessions[1]).await).await["provider"],
        "beta"
    );
}

/// Its data directory has the key of the session ids.
#[tokio::test]
async fn sessions_survive_a_restart_of_the_server() {
    let folder = tempfile::tempdir().unwrap();
    let data_dir = [("DATA_DIR", folder.path().to_str().unwrap())];
    let mut two = TwoRelays::with(&data_dir).await;
    let port = two.pool.port().to_owned();
    two.pool.server.kill().await;
    two.pool = Pool::on_port(&port, &data_dir).await;
    until_both_connected(&two.pool).await;
    for (session, name) in two.sessions.iter().zip(["alpha", "beta"]) {
        assert_eq!(read_json(two.ask(session).await).await["provider"], name);
    }
}

/// The call that runs there goes on, and the client begins a new session at the other relay.
#[tokio::test]
async fn a_session_does_not_wait_for_a_relay_that_drains() {
    let mut two = TwoRelays::with(&[]).await;
    let _running = hold(&two.pool, &two.sessions[0]).await;
    two.relays[0].signal("TERM").await;
    let drains = |line: &str| line.contains("relay offers") && line.contains("\"draining\":true");
    two.pool.server.line("it drains", drains).await;
    assert_gone(two.ask(&two.sessions[0]).await).await;
    assert_eq!(begin(&two.pool).await, two.sessions[1]);
}

#[tokio::test]
async fn posts_of_http_with_sse_reach_the_relay_that_holds_the_stream() {
    let two = TwoRelays::with(&[]).await;
    let mut seen = std::collections::BTreeSet::new();
    let mut busy = None;

    for _ in 0..2 {
        let request = two
            .pool
            .http
            .get(two.pool.mcp(ID))
            .header("accept", "text/event-stream");
        let mut stream = soon("the stream opens", request.send()).await.unwrap();
        let event = soon("the endpoint", stream.chunk()).await.unwrap().unwrap();
        let event = String::from_utf8(event.to_vec()).unwrap();
        let endpoint = event
            .lines()
            .find_map(|line| line.strip_prefix("data: "))
            .unwrap();
        let own = endpoint.rsplit_once("of=").unwrap().1;

        for _ in 0..5 {
            let request = two
                .pool
                .http
                .post(format!("{}{endpoint}", two.pool.url))
                .body("{}");
            let answer = read_json(soon("an answer", request.send()).await.unwrap()).await;
            assert_eq!(
                (&answer["provider"], &answer["path"]),
                (&json!(own), &json!(format!("/messages?of={own}")))
            );
        }

        seen.insert(own.to_owned());
        // A busy relay is not chosen, so that the next stream opens at the other one.
        busy.get_or_insert(stream);
    }

    assert_eq!(seen.len(), 2, "{seen:?}");

    let forged = format!("{}/~at/forged/~announced/messages", two.pool.mcp(ID));
    assert_gone(
        soon("an answer", two.pool.http.post(forged).body("{}").send())
            .await
            .unwrap(),
    )
    .await;
}

/// It continues at the other relay when its own is lost.
#[tokio::test]
async fn a_caller_without_sessions_keeps_to_one_relay() {
    let mut two = TwoRelays::with(&[]).await;
    let ask = async |pool: &Pool, caller: &str| {
        let request = pool
            .http
            .post(pool.mcp(ID))
            .header("accept", "application/json, text/event-stream");
        let request = request
            .header("mcp-protocol-version", "2026-07-28")
            .bearer_auth(caller)
            .body("{}");
        let answer = read_json(soon("an answer", request.send()).await.unwrap()).await;
        answer["provider"].as_str().unwrap().to_owned()
    };
    let mut relays_of_callers = std::collections::BTreeMap::new();

    for caller in (0..20).map(|number| format!("caller {number}")) {
        let home = ask(&two.pool, &caller).await;
        for _ in 0..3 {
            assert_eq!(ask(&two.pool, &caller).await, home);
        }
        relays_of_callers.insert(home, caller);
    }

    assert_eq!(
        relays_of_callers.len(),
        2,
        "not all of them have the same home: {relays_of_callers:?}"
    );

    two.relays[0].kill().await;
    two.pool.until_metric(CONNECTED, 1).await;
    assert_eq!(ask(&two.pool, &relays_of_callers["alpha"]).await, "beta");
}

/// A provider without sessions may send a request in a call; the answer is a separate message, and
/// must reach the same relay.
#[tokio::test]
async fn an_older_caller_without_a_session_keeps_to_one_relay() {
    let two = TwoRelays::with(&[]).await;
    let response = json!({ "jsonrpc": "2.0", "id": 7, "result": {} });
    for version in ["2025-06-18", "2025-11-25"] {
        let mut relays_of_callers = std::collections::BTreeSet::new();
        for caller in 0..20 {
            let mut home = None;
            for _ in 0..4 {
                let request = two
                    .pool
                    .http
                    .post(two.pool.mcp(ID))
                    .header("mcp-protocol-version", version);
                let request = request.header("accept", "application/json, text/event-stream");
                let request = request
                    .bearer_auth(format!("caller {caller}"))
                    .json(&response);
                let answer = read_json(soon("an answer", request.send()).await.unwrap()).await;
                let provider = answer["provider"].as_str().unwrap().to_owned();

                assert_eq!(
                    home.get_or_insert_with(|| provider.clone()),
                    &provider,
                    "{version}, caller {caller}"
                );
            }

            relays_of_callers.extend(home);
        }

        assert_eq!(
            relays_of_callers.len(),
            2,
            "all callers have the same relay"
        );
    }
}

#[tokio::test]
async fn session_ids_pass_unchanged_with_one_relay_and_no_secret() {
    let pool = Pool::start().await;
    let provider = provider("alpha").await;
    let _relay = pool.relay(ID, &provider.url).await;

    assert_eq!(begin(&pool).await, "!session~of~alpha!");
    assert_eq!(
        read_json(ask(&pool, ID, "!session~of~alpha!").await).await["session"],
        "!session~of~alpha!"
    );

    let strange = ask(&pool, ID, "anything else").await;
    assert_eq!(strange.status(), 404);
    assert!(strange.text().await.unwrap().contains("not mine"));
}
