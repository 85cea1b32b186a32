//! Callers without sessions on an id that several relays share: each keeps to one relay, together
//! they use all, and none waits behind a crowd.

use std::collections::BTreeSet;

use axum::extract::Request;
use llamapool_testkit::{Pool, Provider, Relay, RelayConfig, ServerConfig, json_answer, soon};
use llamapool_wire::Secret;
use reqwest::RequestBuilder;
use serde_json::{Value, json};
use tokio::task::JoinSet;

const ID: &str = "shared";

/// Starts a provider that answers with its name and the session id of the request. A call with
/// `x-hold` is never answered.
async fn provider(name: &'static str) -> Provider {
    Provider::answering(move |request: Request| async move {
        let headers = request.headers();
        if headers.contains_key("x-hold") {
            std::future::pending::<()>().await;
        }
        let session = headers
            .get("mcp-session-id")
            .map(|session| session.to_str().unwrap());
        let mut answer = json_answer(&json!({ "provider": name, "session": session }).to_string());
        answer
            .headers_mut()
            .insert("mcp-session-id", "own".parse().unwrap());
        answer
    })
    .await
}

struct Two {
    pool: Pool,
    _relays: [Relay; 2],
    _providers: [Provider; 2],
}

impl Two {
    async fn start() -> Self {
        Self::with(|_| {}, |_| {}).await
    }

    async fn with(
        server: impl FnOnce(&mut ServerConfig),
        relay: impl Fn(&mut RelayConfig),
    ) -> Self {
        let pool = Pool::with(server).await;
        let providers = [provider("alpha").await, provider("beta").await];

        let configure = |config: &mut RelayConfig| {
            config.identity.client_secret = Some(Secret::new("both"));
            relay(config);
        };
        let relays = [
            pool.relay_with(ID, &providers[0].url, configure).await,
            pool.relay_with(ID, &providers[1].url, configure).await,
        ];

        pool.until_metric("llamapool_relays_connected", 2).await;
        Self {
            pool,
            _relays: relays,
            _providers: providers,
        }
    }

    /// Builds a call of MCP 2026-07-28.
    fn modern(&self, method: &str) -> RequestBuilder {
        let request = self
            .pool
            .http
            .post(self.pool.mcp(ID))
            .header("accept", "application/json, text/event-stream");
        request
            .header("mcp-protocol-version", "2026-07-28")
            .header("mcp-method", method)
            .body("{}")
    }
}

async fn said(request: RequestBuilder) -> Value {
    let answer = soon("an answer", request.send()).await.unwrap();
    assert_eq!(answer.status(), 200);
    answer.json().await.unwrap()
}

async fn home(request: RequestBuilder) -> String {
    said(request).await["provider"].as_str().unwrap().to_owned()
}

/// They present one token.
#[tokio::test]
async fn callers_behind_one_proxy_are_spread_and_keep_to_their_relay() {
    let two = Two::with(
        |server| {
            server.listen.trust_forwarded = true;
            server.listen.trusted_proxies = vec!["10.0.0.0/8".parse().unwrap()];
        },
        |relay| relay.providers[0].auth_token = Some(Secret::new("of all")),
    )
    .await;
    let mut homes = BTreeSet::new();

    for number in 0..20 {
        let from = format!("192.0.2.{number}, 10.0.0.1");
        let call = || {
            home(
                two.modern("tools/call")
                    .bearer_auth("of all")
                    .header("x-forwarded-for", &from),
            )
        };
        let first = call().await;

        assert_eq!(call().await, first, "{from}");

        homes.insert(first);
    }

    assert_eq!(homes.len(), 2, "not all callers have the same home");
}

#[tokio::test]
async fn a_caller_leaves_a_busier_relay_but_not_with_a_task() {
    let two = Two::start().await;
    let own = home(two.modern("tools/call")).await;
    let mut crowd = JoinSet::new();

    for number in 1..=9 {
        crowd.spawn(two.modern("tasks/get").header("x-hold", "1").send());
        two.pool
            .until_client(ID, "the call runs", |client| client["inflight"] == number)
            .await;
    }

    assert_ne!(home(two.modern("tools/call")).await, own);
    assert_eq!(home(two.modern("tasks/get")).await, own);

    crowd.shutdown().await;
    two.pool
        .until_client(ID, "the crowd has left", |client| client["inflight"] == 0)
        .await;

    assert_eq!(home(two.modern("tools/call")).await, own);
}

#[tokio::test]
async fn a_session_id_without_sessions_is_ignored_and_goes_through() {
    let two = Two::start().await;

    for stray in ["stray", "!any~visible!"] {
        let request = two.modern("tools/call").header("mcp-session-id", stray);
        let answer = soon("an answer", request.send()).await.unwrap();

        assert_eq!(answer.status().as_u16(), 200);
        assert_eq!(answer.headers()["mcp-session-id"], "own");
        assert_eq!(answer.json::<Value>().await.unwrap()["session"], stray);
    }

    let older = two
        .pool
        .http
        .post(two.pool.mcp(ID))
        .header("mcp-protocol-version", "2025-11-25");
    let older = older
        .header("mcp-session-id", "stray")
        .body("{}")
        .send()
        .await
        .unwrap();

    assert_eq!(older.status().as_u16(), 404);
    assert_eq!(older.headers()["llamapool-error"], "session_gone");
}
