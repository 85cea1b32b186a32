//! Snapshots of what callers and operators read: the state, the metrics, and every error answer.
//!
//! A change of one of them shows in review. `INSTA_UPDATE=always cargo test -p llamapool-server
//! --test server golden` writes them anew.

use std::collections::BTreeSet;
use std::time::{Duration, SystemTime};

use llamapool_identity::{
    AccessMode, AccessRule, CallerRights, Key, KeyOrigin, KeySecret, MessagePolicy, Rights,
    digest_of,
};
use llamapool_server::{DataDirConfig, SignInConfig};
use llamapool_testkit::{
    Answer, Link, OFFER, PendingCall, Pool, Provider, RawProvider, RelayConfig, ScriptedProvider,
    Upgrade, event_stream, http_request, json_snapshot, metrics_snapshot, soon, tools_call,
};
use llamapool_wire::{Cause, Secret};
use tokio::net::TcpSocket;

/// Causes of failures of programs: only a bridge meets them, and it has tests of its own.
const OF_PROGRAMS: [Cause; 5] = [
    Cause::CallTimeout,
    Cause::MessageTooLarge,
    Cause::ProviderExited,
    Cause::ProviderNotStarted,
    Cause::TooManySessions,
];

/// Compares a text with the snapshot of this name.
fn check(name: &str, text: &str) {
    let mut settings = insta::Settings::clone_current();
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    settings.set_snapshot_path("snapshots");
    settings.bind(|| insta::assert_snapshot!(name, text));
}

/// Compares the state with the snapshot of this name.
async fn check_state(pool: &Pool, name: &str) {
    check(name, &json_snapshot(&pool.state().await));
}

/// Compares an error answer with the snapshot of its cause.
async fn check_error(cause: Cause, answer: reqwest::Response) {
    let answer = Answer::read(answer).await;
    assert_eq!(answer.header("llamapool-error"), Some(cause.word()));
    check(&format!("error_{}", cause.word()), &answer.snapshot());
}

/// Sends the bytes of a call to the id `mcp-1` while a provider answers with other bytes.
async fn answered_with(answer: &str) -> (Pool, reqwest::Response) {
    let provider = RawProvider::bind().await;
    let pool = Pool::start().await;
    let relay = pool.relay("mcp-1", &provider.url).await;

    let message = tools_call(1, "echo");
    let call = pool.http.post(pool.mcp("mcp-1")).json(&message).send();
    let (_, response) = tokio::join!(provider.answer(answer), call);

    drop(relay);
    (pool, response.unwrap())
}

/// Waits until the state contains the first health of the provider.
async fn provider_is_reachable(pool: &Pool) {
    pool.until_client("mcp-1", "its provider is reachable", |client| {
        client["provider"]["status"] == "reachable"
    })
    .await;
}

#[tokio::test]
async fn the_state_of_an_idle_server() {
    let provider = Provider::echoing().await;
    let pool = Pool::start().await;
    check_state(&pool, "state_empty").await;

    let _relay = pool.relay("mcp-1", &provider.url).await;
    provider_is_reachable(&pool).await;
    check_state(&pool, "state_idle").await;
}

#[tokio::test]
async fn the_state_of_a_busy_server() {
    let mut provider = ScriptedProvider::start().await;
    let pool = Pool::start()
        .await
        .with_provider("mcp-1", &provider.url)
        .await;
    let _call = pool.start_call("mcp-1");
    let _request = provider.next_request().await;
    provider_is_reachable(&pool).await;

    check_state(&pool, "state_busy").await;
}

#[tokio::test]
async fn the_state_after_errors() {
    let provider = Provider::echoing().await;
    let pool = Pool::start().await;
    let _relay = pool
        .relay_with("mcp-1", &provider.url, |relay| {
            relay.providers[0].auth_token = Some(Secret::new("sesame"));
        })
        .await;
    pool.call("mcp-1", "tools/list").await;
    pool.call("mcp-1", "ping").await;
    provider_is_reachable(&pool).await;
    pool.until("the calls are over", |state| {
        state["server"]["jobs_inflight_total"] == 0
    })
    .await;

    check_state(&pool, "state_after_errors").await;
}

#[tokio::test]
async fn the_state_of_an_id_with_two_relays() {
    let provider = Provider::echoing().await;
    let pool = Pool::start().await;
    let share = |relay: &mut RelayConfig| {
        relay.identity.client_secret = Some(Secret::new("both"));
    };
    let _one = pool.relay_with("mcp-1", &provider.url, share).await;
    let _other = pool.relay_with("mcp-1", &provider.url, share).await;
    pool.until_client("mcp-1", "both are there", |client| {
        let relays = client["relays"].as_array().into_iter().flatten();
        let reachable = relays.filter(|relay| relay["provider"]["status"] == "reachable");
        reachable.count() == 2
    })
    .await;

    check_state(&pool, "state_two_relays").await;
}

#[tokio::test]
async fn the_metrics_after_an_answer_and_an_error() {
    let provider = Provider::echoing().await;
    let pool = Pool::start()
        .await
        .with_provider("mcp-1", &provider.url)
        .await;
    pool.call("mcp-1", "tools/list").await;
    pool.call("offline", "tools/list").await;
    pool.until_metric(r#"llamapool_calls_in_flight{id="mcp-1"}"#, 0)
        .await;

    check("metrics", &metrics_snapshot(&pool.metrics().await));
}

#[tokio::test]
async fn relay_offline() {
    let pool = Pool::start().await;
    let answer = pool.post("nowhere", &tools_call(1, "echo")).await;
    check_error(Cause::RelayOffline, answer).await;
}

#[tokio::test]
async fn relay_draining() {
    let pool = Pool::start().await;
    let mut relay = Upgrade::for_id("mcp-1").relay(&pool).await.frames();
    let events = relay.events().await;
    let offer = OFFER.replace("\"draining\":false", "\"draining\":true");
    events.data(offer).await;
    pool.connected("mcp-1").await;

    let answer = pool.post("mcp-1", &tools_call(1, "echo")).await;
    check_error(Cause::RelayDraining, answer).await;
}

#[tokio::test]
async fn server_draining() {
    let mut provider = ScriptedProvider::start().await;
    let mut pool = Pool::start()
        .await
        .with_provider("mcp-1", &provider.url)
        .await;
    let _running = pool.start_call("mcp-1");
    let _request = provider.next_request().await;
    pool.drain();
    pool.until("it drains", |state| state["server"]["state"] == "draining")
        .await;

    let answer = pool.post("mcp-1", &tools_call(1, "echo")).await;
    check_error(Cause::ServerDraining, answer).await;
}

#[tokio::test]
async fn tunnel_full() {
    let mut provider = ScriptedProvider::start().await;
    let pool = Pool::start().await;
    let _relay = pool
        .relay_with("mcp-1", &provider.url, |relay| relay.tunnel.max_streams = 2)
        .await;
    let _running = [pool.start_call("mcp-1"), pool.start_call("mcp-1")];
    let _requests = provider.next_requests(2).await;

    let answer = pool.post("mcp-1", &tools_call(1, "echo")).await;
    check_error(Cause::TunnelFull, answer).await;
}

#[tokio::test]
async fn too_many_calls() {
    let mut provider = ScriptedProvider::start().await;
    let pool = Pool::with(|server| server.mcp.max_calls_per_id = 1).await;
    let _relay = pool.relay("mcp-1", &provider.url).await;
    let _running = pool.start_call("mcp-1");
    let _request = provider.next_request().await;

    let answer = pool.post("mcp-1", &tools_call(1, "echo")).await;
    check_error(Cause::TooManyCalls, answer).await;
}

#[tokio::test]
async fn too_many_connections() {
    let mut provider = ScriptedProvider::start().await;
    // With a single place, the relay would come in the place of the connection that waits for it.
    let pool = Pool::with(|server| server.listen.max_connections = 2).await;
    let _relay = pool.relay("mcp-1", &provider.url).await;
    let _running = [pool.start_call("mcp-1"), pool.start_call("mcp-1")];
    let _requests = [provider.next_request().await, provider.next_request().await];

    let answer = pool.post("mcp-1", &tools_call(1, "echo")).await;
    check_error(Cause::TooManyConnections, answer).await;
}

#[tokio::test]
async fn request_too_large() {
    let provider = Provider::echoing().await;
    let pool = Pool::with(|server| server.mcp.max_request_bytes = 10).await;
    let _relay = pool.relay("mcp-1", &provider.url).await;

    let answer = pool.post("mcp-1", &tools_call(1, "echo")).await;
    check_error(Cause::RequestTooLarge, answer).await;
}

#[tokio::test]
async fn head_too_large() {
    let provider = Provider::echoing().await;
    let pool = Pool::with(|server| server.relays.tunnel.max_header_bytes = 2048).await;
    let _relay = pool.relay("mcp-1", &provider.url).await;

    let request = pool.http.post(pool.mcp("mcp-1")).body("{}");
    let answer = request.header("x-much", "x".repeat(3000)).send().await;
    check_error(Cause::HeadTooLarge, answer.unwrap()).await;
}

#[tokio::test]
async fn request_broken() {
    let provider = Provider::echoing().await;
    let pool = Pool::start()
        .await
        .with_provider("mcp-1", &provider.url)
        .await;
    let body = b"5\r\nhello\r\nnonsense\r\n";
    let chunked = "transfer-encoding: chunked\r\n";
    let request = http_request("POST", "/api/mcp/id/mcp-1", chunked, body);
    // The length of the body would be a second framing.
    let request = String::from_utf8(request).unwrap();
    let request = request.replace(&format!("content-length: {}\r\n", body.len()), "");

    let (head, body) = pool.raw_call(request).await;

    assert_eq!(
        head.values("llamapool-error"),
        [Cause::RequestBroken.word()]
    );
    check(
        "error_request_broken",
        &Answer::from_raw(&head, body).snapshot(),
    );
}

#[tokio::test]
async fn wrong_token() {
    let provider = Provider::echoing().await;
    let pool = Pool::start().await;
    let _relay = pool
        .relay_with("mcp-1", &provider.url, |relay| {
            relay.providers[0].auth_token = Some(Secret::new("sesame"));
        })
        .await;

    let answer = pool.post("mcp-1", &tools_call(1, "echo")).await;
    check_error(Cause::WrongToken, answer).await;
}

#[tokio::test]
async fn origin_refused() {
    let pool = Pool::start().await;
    let request = pool.http.post(pool.mcp("mcp-1")).body("{}");
    let answer = request.header("origin", "http://evil.example").send().await;
    check_error(Cause::OriginRefused, answer.unwrap()).await;
}

#[tokio::test]
async fn host_refused() {
    let pool = Pool::start().await;
    let request = pool.http.post(pool.mcp("mcp-1")).body("{}");
    let answer = request.header("host", "evil.example").send().await;
    check_error(Cause::HostRefused, answer.unwrap()).await;
}

#[tokio::test]
async fn path_refused() {
    let pool = Pool::start().await;
    let url = format!("{}/..%2fadmin", pool.mcp("mcp-1"));
    let answer = pool.http.post(url).body("{}").send().await;
    check_error(Cause::PathRefused, answer.unwrap()).await;
}

#[tokio::test]
async fn page_refused() {
    let provider = RawProvider::bind().await;
    let pool = Pool::start().await;
    let _relay = pool.relay("mcp-1", &provider.url).await;

    let page = "HTTP/1.1 200 OK\r\ncontent-type: text/html\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
    let request = pool.http.get(pool.mcp("mcp-1"));
    let request = request.header("sec-fetch-site", "same-origin").send();
    let (_, answer) = tokio::join!(provider.answer(page), request);
    check_error(Cause::PageRefused, answer.unwrap()).await;
}

#[tokio::test]
async fn no_pages() {
    let folder = tempfile::tempdir().unwrap();
    let data_dir = DataDirConfig::Required(folder.path().to_owned());
    let pool = Pool::with(|server| {
        server.data_dir = data_dir;
        server.listen.public_url = Some("https://pool.example".parse().unwrap());
        server.sign_in = Some(SignInConfig::default());
    })
    .await;
    let page = pool.http.get(pool.mcp("mcp-1"));
    let page = page
        .header("host", "pool.example")
        .header("sec-fetch-dest", "document");
    check_error(Cause::NoPages, page.send().await.unwrap()).await;
}

#[tokio::test]
async fn method_refused() {
    let pool = Pool::start().await;
    let request = pool.http.request(reqwest::Method::TRACE, pool.mcp("mcp-1"));
    check_error(Cause::MethodRefused, request.send().await.unwrap()).await;
}

#[tokio::test]
async fn tunnel_lost() {
    let mut provider = ScriptedProvider::start().await;
    let pool = Pool::start().await;
    let link = Link::to(&pool.url).await;
    let _relay = Pool::relay_to(&link.url, "mcp-1", &provider.url, |_| {}).await;
    pool.connected("mcp-1").await;
    let mut call = pool.start_call("mcp-1");
    let _request = provider.next_request().await;
    drop(link);

    check_error(Cause::TunnelLost, call.answer().await).await;
}

#[tokio::test]
async fn provider_unreachable() {
    // The port is bound, so that no other process gets it, and not listened on.
    let held = TcpSocket::new_v4().unwrap();
    held.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let pool = Pool::start().await;
    let url = format!("http://{}/mcp", held.local_addr().unwrap());
    let _relay = pool.relay("mcp-1", &url).await;

    let answer = pool.post("mcp-1", &tools_call(1, "echo")).await;
    check_error(Cause::ProviderUnreachable, answer).await;
}

#[tokio::test]
async fn provider_closed() {
    let (_pool, answer) = answered_with("").await;
    check_error(Cause::ProviderClosed, answer).await;
}

#[tokio::test]
async fn provider_garbage() {
    let (_pool, answer) = answered_with("220 mail.example ESMTP\r\n\r\n").await;
    check_error(Cause::ProviderGarbage, answer).await;
}

#[tokio::test]
async fn provider_redirect() {
    let provider = Provider::answering(async |request: axum::extract::Request| {
        let next = format!("{}x", request.uri().path());
        let moved = axum::response::Response::builder().status(307);
        let moved = moved.header("location", next);
        moved.body(axum::body::Body::empty()).unwrap()
    })
    .await;
    let pool = Pool::start()
        .await
        .with_provider("mcp-1", &provider.url)
        .await;

    let answer = pool.post("mcp-1", &tools_call(1, "echo")).await;
    check_error(Cause::ProviderRedirect, answer).await;
}

#[tokio::test]
async fn no_response() {
    let stream = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n";
    let (_pool, answer) = answered_with(stream).await;
    check_error(Cause::NoResponse, answer).await;
}

#[tokio::test]
async fn answer_too_large() {
    let mut provider = ScriptedProvider::start().await;
    let pool = Pool::with(|server| server.mcp.max_answer_bytes = 10).await;
    let _relay = pool.relay("mcp-1", &provider.url).await;

    let call = pool.http.post(pool.mcp("mcp-1")).body("{}").send();
    let provider_side = async {
        let (pieces, answer) = event_stream();
        provider.next_request().await.answer(answer);
        let message = format!("data: {}\n\n", tools_call(1, "long"));
        // The server may hang up in the middle.
        let _ = pieces.send(Ok(message.into())).await;
    };
    let (answer, ()) = tokio::join!(call, provider_side);

    check_error(Cause::AnswerTooLarge, answer.unwrap()).await;
}

#[tokio::test]
async fn relay_garbage() {
    let pool = Pool::start().await;
    let mut relay = Upgrade::for_id("mcp-1").relay(&pool).await.frames();
    let _events = relay.send_offer().await;
    pool.connected("mcp-1").await;
    let mut call = pool.start_call("mcp-1");
    relay.next_request().await.reply.cancel().await;

    check_error(Cause::RelayGarbage, call.answer().await).await;
}

#[tokio::test]
async fn first_byte_timeout() {
    let provider = ScriptedProvider::start().await;
    let timeout = Duration::from_millis(100);
    let pool = Pool::with(|server| server.mcp.first_byte_timeout = timeout).await;
    let _relay = pool.relay("mcp-1", &provider.url).await;

    let answer = pool.post("mcp-1", &tools_call(1, "echo")).await;
    check_error(Cause::FirstByteTimeout, answer).await;
}

#[tokio::test]
async fn caller_share() {
    let mut provider = ScriptedProvider::start().await;
    let pool = Pool::start().await;
    let _relay = pool
        .relay_with("mcp-1", &provider.url, |relay| {
            relay.tunnel.max_streams = 20
        })
        .await;
    let _running: Vec<_> = (0..16).map(|_| pool.start_call("mcp-1")).collect();
    let _requests = provider.next_requests(16).await;

    let answer = pool.post("mcp-1", &tools_call(1, "echo")).await;
    check_error(Cause::CallerShare, answer).await;
}

#[tokio::test]
async fn id_share() {
    let mut provider = ScriptedProvider::start().await;
    let pool = Pool::with(|server| server.listen.trust_forwarded = true).await;
    let _relay = pool
        .relay_with("mcp-1", &provider.url, |relay| {
            relay.tunnel.max_streams = 18;
            let mut other = relay.providers[0].clone();
            other.id = Some("mcp-2".parse().unwrap());
            relay.providers.push(other);
        })
        .await;
    pool.connected("mcp-2").await;
    let call = |caller: usize| {
        let request = pool
            .http
            .post(pool.mcp("mcp-1"))
            .json(&tools_call(1, "echo"));
        request.header("x-forwarded-for", format!("192.0.2.{caller}"))
    };
    let _running: Vec<_> = (0..16)
        .map(|caller| PendingCall::start(call(caller)))
        .collect();
    let _requests = provider.next_requests(16).await;

    check_error(Cause::IdShare, call(16).send().await.unwrap()).await;
}

#[tokio::test]
async fn memory_full() {
    let provider = Provider::answering(|_| async {
        let piece = bytes::Bytes::from(vec![b'x'; 16 * 1024]);
        let pieces = std::iter::repeat_with(move || Ok::<_, std::io::Error>(piece.clone()));
        let endless = futures_util::stream::iter(pieces);
        axum::response::Response::new(axum::body::Body::from_stream(endless))
    })
    .await;
    // As much as one caller holds that does not read, and less than the next one needs.
    let pool = Pool::with(|server| server.max_memory = 90 * 1024).await;
    let _relay = pool.relay("mcp-1", &provider.url).await;
    let _unread = pool.post("mcp-1", &tools_call(1, "echo")).await;
    let is_held = |state: &serde_json::Value| state["server"]["memory_used_bytes"] == 48 * 1024;
    pool.until("the answer waits", is_held).await;

    let answer = pool.post("mcp-1", &tools_call(1, "echo")).await;
    check_error(Cause::MemoryFull, answer).await;
}

#[tokio::test]
async fn relay_memory_full() {
    let provider = Provider::echoing().await;
    let pool = Pool::start().await;
    let _relay = pool
        .relay_with("mcp-1", &provider.url, |relay| relay.max_memory = 1000)
        .await;

    let large = pool.http.post(pool.mcp("mcp-1")).body("x".repeat(200_000));
    check_error(Cause::RelayMemoryFull, large.send().await.unwrap()).await;
}

#[tokio::test]
async fn request_too_slow() {
    let provider = Provider::echoing().await;
    let timeout = Duration::from_millis(200);
    let pool = Pool::with(|server| server.mcp.request_idle_timeout = timeout).await;
    let _relay = pool.relay("mcp-1", &provider.url).await;

    let silence = futures_util::stream::pending::<Result<bytes::Bytes, std::io::Error>>();
    let request = pool.http.post(pool.mcp("mcp-1"));
    let request = request.body(reqwest::Body::wrap_stream(silence));
    check_error(Cause::RequestTooSlow, request.send().await.unwrap()).await;
}

/// A caller key that covers the ids `team-*`, as the settings declare one.
fn team_key(text: &str) -> Key {
    let rights = CallerRights {
        ids: vec!["team-*".parse().unwrap()],
        ..CallerRights::default()
    };
    Key {
        id: "teamteamteam".parse().unwrap(),
        name: "team".to_owned(),
        rights: Rights::Caller(rights),
        origin: KeyOrigin::Declared,
        created_at: SystemTime::UNIX_EPOCH,
        expires_at: None,
        revoked_at: None,
        last_used_at: None,
        secrets: vec![KeySecret {
            digest: digest_of(text.as_bytes()),
            expires_at: None,
        }],
    }
}

#[tokio::test]
async fn key_missing_key_invalid_not_allowed() {
    let pool = Pool::with(|server| {
        server.identity.default_access = AccessMode::Keys;
        server
            .identity
            .declared
            .keys
            .push(team_key("the key of a team"));
    })
    .await;
    let call = || {
        pool.http
            .post(pool.mcp("mcp-1"))
            .json(&tools_call(1, "echo"))
    };

    check_error(Cause::KeyMissing, call().send().await.unwrap()).await;
    let other = call().bearer_auth("another key");
    check_error(Cause::KeyInvalid, other.send().await.unwrap()).await;
    let team = call().bearer_auth("the key of a team");
    check_error(Cause::NotAllowed, team.send().await.unwrap()).await;
}

#[tokio::test]
async fn message_denied_message_unreadable_media_type_refused() {
    let policy = AccessRule {
        messages: MessagePolicy::read_only(),
        ..AccessRule::new("mcp-1".parse().unwrap(), AccessMode::Open)
    };
    let pool = Pool::with(|server| server.identity.declared.access.push(policy)).await;
    let _relay = pool.relay("mcp-1", "http://127.0.0.1:9").await;
    let post = || pool.http.post(pool.mcp("mcp-1"));

    let denied = post().json(&tools_call(1, "echo")).send().await.unwrap();
    check_error(Cause::MessageDenied, denied).await;
    let unreadable = post().json(&serde_json::json!([])).send().await.unwrap();
    check_error(Cause::MessageUnreadable, unreadable).await;
    let text = post().body("{}").send().await.unwrap();
    check_error(Cause::MediaTypeRefused, text).await;
}

/// Returns a declared caller key for all ids, whose secret is its name.
fn limited_key(name: &str, limits: &str) -> Key {
    Key {
        rights: Rights::Caller(CallerRights {
            ids: vec!["*".parse().unwrap()],
            limits: Box::new(serde_json::from_str(limits).unwrap()),
            ..CallerRights::default()
        }),
        id: name.parse().unwrap(),
        name: name.to_owned(),
        ..team_key(name)
    }
}

#[tokio::test]
async fn rate_limited_quota_used_up() {
    let pool = Pool::with(|server| {
        server.identity.default_access = AccessMode::Keys;
        server.identity.declared.keys = vec![
            limited_key("slow", r#"{"rate":"1/d"}"#),
            limited_key("few", r#"{"quotas":{"calls_per_day":1}}"#),
        ];
    })
    .await;
    let call = |key: &str| {
        let call = pool.http.post(pool.mcp("mcp-1")).bearer_auth(key);
        call.json(&tools_call(1, "echo")).send()
    };

    for (key, cause) in [("slow", Cause::RateLimited), ("few", Cause::QuotaUsedUp)] {
        call(key).await.unwrap();
        let refused = call(key).await.unwrap();
        assert_eq!(refused.headers()["llamapool-error"], cause.word());
        let answer = Answer::read(refused).await;
        let text = answer.snapshot();
        let lines = text.lines().map(|line| {
            // How long it is until midnight is no contract.
            let is_time = line.starts_with("retry-after") || line.starts_with("ratelimit:");
            if is_time { "<time>" } else { line }
        });
        let lines: Vec<_> = lines.collect();
        check(&format!("error_{}", cause.word()), &lines.join("\n"));
    }
}

#[test]
fn every_cause_has_a_snapshot_or_is_of_programs() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/server/snapshots");
    let files = std::fs::read_dir(folder).unwrap();
    let names = files.map(|file| file.unwrap().file_name().into_string().unwrap());
    let has_snapshot: BTreeSet<String> = names
        .filter_map(|name| {
            Some(
                name.strip_prefix("error_")?
                    .strip_suffix(".snap")?
                    .to_owned(),
            )
        })
        .collect();

    let expected = Cause::ALL
        .iter()
        .filter(|cause| !OF_PROGRAMS.contains(cause));
    let expected: BTreeSet<String> = expected.map(|cause| cause.word().to_owned()).collect();
    assert_eq!(has_snapshot, expected);
}

#[tokio::test]
async fn answers_of_other_doors() {
    let pool = Pool::with(|server| server.state.max_streams = 0).await;
    let open = |path: &str| pool.http.get(format!("{}{path}", pool.url)).send();

    let missing = open("/nowhere").await.unwrap();
    let locked = open("/api/state").await.unwrap();
    let full = pool.get("/api/state/stream").await;

    check("not_found", &Answer::read(missing).await.snapshot());
    check("unauthorized", &Answer::read(locked).await.snapshot());
    check("too_many_streams", &full.snapshot());
    for path in ["/healthz", "/readyz"] {
        check(
            path.trim_start_matches('/'),
            &pool.get(path).await.snapshot(),
        );
    }
}

#[tokio::test]
async fn refusals_of_relays() {
    let provider = Provider::echoing().await;
    let pool = Pool::with(|server| server.relays.max_relays = 1).await;
    let _relay = pool.relay("mcp-1", &provider.url).await;
    let relay = || Upgrade::for_id("mcp-2");

    for (name, upgrade) in [
        ("wrong_key", relay().without("authorization")),
        ("invalid_header", relay().with("llamapool-id", "../x")),
        ("version", relay().without("sec-websocket-protocol")),
        ("too_many_relays", relay()),
        ("id_taken", Upgrade::for_id("mcp-1")),
    ] {
        let answer = upgrade.answer(&pool).await;
        let status = answer.status;
        let body = soon("the body", answer.json()).await;

        assert_eq!(body["error"], name);
        check(
            &format!("refusal_{name}"),
            &format!("{status}\n\n{}\n", json_snapshot(&body)),
        );
    }
}
