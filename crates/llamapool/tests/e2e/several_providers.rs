//! One relay with several providers: one tunnel, and for each provider an id with a life of its own.

use std::io::Write;

use serde_json::{Value, json};

use crate::harness::{
    FrameRequest, Link, OFFER, Pool, Process, Provider, RawProvider, ScriptedProvider, Upgrade,
    WORKER_KEY, error_word, event_stream, json_answer, metric, soon, tools_call,
};

/// The log of a connected relay, once for each of its ids.
const REACHED: &str = "callers reach it at";

/// A relay with a configuration file.
struct Several {
    process: Process,
    _file: tempfile::NamedTempFile,
}

impl Several {
    /// Starts a relay that dials an address. Each provider is an entry of the file's array of
    /// tables.
    fn towards(server_url: &str, providers: &[String]) -> Self {
        Self::with(server_url, providers, &[])
    }

    /// Starts such a relay with these settings besides.
    fn with(server_url: &str, providers: &[String], settings: &[(&str, &str)]) -> Self {
        let mut file = tempfile::Builder::new().suffix(".toml").tempfile().unwrap();
        for provider in providers {
            writeln!(file, "[[provider]]\n{provider}").unwrap();
        }
        let own = [
            ("CONFIG_FILE", file.path().to_str().unwrap()),
            ("SERVER_URL", server_url),
            ("WORKER_KEY", WORKER_KEY),
            ("STATUS_ADDR", "127.0.0.1:0"),
            ("RECONNECT_MIN", "50ms"),
            ("RECONNECT_MAX", "50ms"),
            ("PROBE_INTERVAL", "20ms"),
        ];
        let environment: Vec<_> = own.into_iter().chain(settings.iter().copied()).collect();
        Self {
            process: Process::llamapool(&["mcp", "--reconnect"], &environment),
            _file: file,
        }
    }

    /// Returns the address of the relay's status server.
    async fn status_url(&mut self) -> String {
        let address = self.process.event("the status server listens").await["address"]
            .as_str()
            .unwrap()
            .to_owned();
        format!("http://{address}")
    }

    /// Waits for the `n`th connection. Returns the ids of the providers, from the log.
    async fn ids(&mut self, connection: usize, providers: usize) -> Vec<String> {
        let is_it = |line: &str| line.contains(REACHED);
        let last = connection * providers;
        self.process.nth_line(last, "it is connected", is_it).await;
        let lines = self.process.lines_with(REACHED);
        let id = |line: &String| {
            serde_json::from_str::<Value>(line).unwrap()["id"]
                .as_str()
                .unwrap()
                .to_owned()
        };
        lines[last - providers..last].iter().map(id).collect()
    }
}

/// Formats the entry of one provider.
fn entry(id: &str, url: &str) -> String {
    format!("id = '{id}'\nurl = '{url}'")
}

/// Starts a provider that answers each request with its name.
async fn named(name: &'static str) -> Provider {
    Provider::answering(move |_| async move { json_answer(&json!({ "from": name }).to_string()) })
        .await
}

async fn answering_provider(pool: &Pool, id: &str) -> Value {
    let answer = pool.post(id, &tools_call(1, "echo")).await;
    assert_eq!(answer.status(), 200);
    answer.json::<Value>().await.unwrap()["from"].clone()
}

async fn all_connected(pool: &Pool, ids: &[&str]) {
    for id in ids {
        pool.connected(id).await;
    }
}

async fn get(url: &str) -> (u16, Value) {
    let answer = reqwest::get(url).await.unwrap();
    (answer.status().as_u16(), answer.json().await.unwrap())
}

/// Sends requests until the answer is the expected one.
async fn until(what: &str, url: &str, wanted: impl Fn(u16, &Value) -> bool) -> Value {
    let look = async {
        loop {
            let (status, body) = get(url).await;
            if wanted(status, &body) {
                return body;
            }
            tokio::task::yield_now().await;
        }
    };
    soon(what, look).await
}

#[tokio::test]
async fn each_id_reaches_its_own_provider_over_one_tunnel() {
    let pool = Pool::start().await;

    let one = named("one").await;
    let other = named("other").await;
    let _relay = Several::towards(
        &pool.url,
        &[entry("one", &one.url), entry("other", &other.url)],
    );

    all_connected(&pool, &["one", "other"]).await;

    for _ in 0..3 {
        assert_eq!(answering_provider(&pool, "one").await, json!("one"));
        assert_eq!(answering_provider(&pool, "other").await, json!("other"));
    }

    let metrics = pool.metrics().await;

    assert_eq!(metric(&metrics, "llamapool_tunnels_connected"), Some(1.0));
    assert_eq!(metric(&metrics, "llamapool_relays_connected"), Some(2.0));

    let one = pool.client("one").await;
    let other = pool.client("other").await;

    assert_eq!(one["remote_addr"], other["remote_addr"]);

    for client in [&one, &other] {
        assert_eq!(client["calls_total"], 3, "{client}");
        assert_eq!(client["relays"].as_array().unwrap().len(), 1, "{client}");
    }
}

#[tokio::test]
async fn each_id_has_its_own_token() {
    let pool = Pool::start().await;
    let provider = named("one").await;

    let with_token = format!("{}\nauth_token = 'of-one'", entry("one", &provider.url));
    let providers = [
        with_token,
        entry("all", &provider.url),
        entry("open", &provider.url),
    ];
    let _relay = Several::with(&pool.url, &providers[..2], &[("AUTH_TOKEN", "of-all")]);

    let _open = Several::towards(&pool.url, &providers[2..]);
    all_connected(&pool, &["one", "all", "open"]).await;
    let status = async |id: &str, token: &str| {
        let request = pool
            .http
            .post(pool.mcp(id))
            .bearer_auth(token)
            .json(&tools_call(1, "echo"));
        request.send().await.unwrap().status().as_u16()
    };

    for (id, token, expected) in [
        ("one", "of-one", 200),
        ("one", "of-all", 401),
        ("all", "of-all", 200),
        ("all", "of-one", 401),
        ("all", "", 401),
        ("open", "anything", 200),
    ] {
        assert_eq!(status(id, token).await, expected, "{id} {token}");
    }

    let protected = async |id| pool.client(id).await["protected"].clone();

    assert_eq!(protected("one").await, true);
    assert_eq!(protected("all").await, true);
    assert_eq!(protected("open").await, false);
}

/// Returns a member of each provider in the body of a status.
fn of_each_provider(body: &Value, field: &str) -> Vec<Value> {
    let providers = body["providers"].as_array().unwrap().iter();
    providers.map(|provider| provider[field].clone()).collect()
}

/// Checks the body of a status: `fine` is reachable and was called once, `doomed` is not reachable.
fn shows_one_of_two_reachable(body: &Value) {
    let of = |field: &str| of_each_provider(body, field);
    let first = &body["providers"][0];
    let second_error = body["providers"][1]["error"].as_str().unwrap();

    assert_eq!(of("id"), ["fine", "doomed"]);
    assert_eq!(of("status"), ["reachable", "unreachable"]);
    assert_eq!(of("protected"), [false, false]);
    assert!(second_error.contains("Connection refused"), "{body}");
    assert_eq!(first["calls"]["totals"]["completed"], 1, "{body}");

    // The members of a relay with one provider are those of the first.
    assert_eq!(body["id"], "fine", "{body}");
    assert_eq!(body["calls"], first["calls"], "{body}");
}

#[tokio::test]
async fn a_provider_that_is_down_makes_only_its_own_id_not_ready() {
    let pool = Pool::start().await;
    let provider = named("fine").await;

    let doomed = RawProvider::bind().await;
    let mut relay = Several::towards(
        &pool.url,
        &[entry("fine", &provider.url), entry("doomed", &doomed.url)],
    );

    let status = relay.status_url().await;
    until(
        "both are reachable",
        &format!("{status}/readyz"),
        |code, _| code == 200,
    )
    .await;
    let url = doomed.url.clone();
    drop(doomed);
    pool.until_client("doomed", "it is not ready", |client| {
        client["status"] == "not_ready"
    })
    .await;
    let body = until("it is not ready", &format!("{status}/readyz"), |code, _| {
        code == 503
    })
    .await;

    assert_eq!(
        body["error"],
        "1 of 2 providers are not known to be reachable"
    );
    assert_eq!(pool.client("fine").await["status"], "idle");
    assert_eq!(answering_provider(&pool, "fine").await, "fine");
    assert_eq!(
        error_word(pool.post("doomed", &tools_call(1, "echo")).await).await,
        "provider_unreachable"
    );

    let (_, body) = get(&format!("{status}/status")).await;
    shows_one_of_two_reachable(&body);
    assert_eq!(of_each_provider(&body, "url"), [&*provider.url, &*url]);
    assert_eq!(body["provider"]["url"], provider.url);

    let metrics = reqwest::get(format!("{status}/metrics")).await.unwrap();
    let metrics = metrics.text().await.unwrap();
    let reachable = |id: &str| {
        let series = format!("llamapool_relay_provider_reachable{{provider=\"{id}\"}}");
        metric(&metrics, &series)
    };
    assert_eq!(reachable("fine"), Some(1.0), "{metrics}");
    assert_eq!(reachable("doomed"), Some(0.0), "{metrics}");

    let _again = RawProvider::bind_again(&url).await;
    until(
        "it is ready again",
        &format!("{status}/readyz"),
        |code, _| code == 200,
    )
    .await;
}

#[tokio::test]
async fn a_relay_with_one_taken_id_is_refused_and_the_id_is_named() {
    let pool = Pool::start().await;
    let provider = named("newcomer").await;

    let holder_provider = named("holder").await;
    let mut holder = pool.relay("taken", &holder_provider.url).await;
    let providers = [entry("free", &provider.url), entry("taken", &provider.url)];
    let mut relay = Several::towards(&pool.url, &providers);

    let refused = relay.process.event("not connected; trying again").await;
    let error = refused["error"].as_str().unwrap();

    assert!(
        error.contains("409 Conflict") && error.contains("the id taken is held by another relay"),
        "{error}"
    );
    assert_eq!(
        error_word(pool.post("free", &tools_call(1, "echo")).await).await,
        "relay_offline"
    );
    assert_eq!(answering_provider(&pool, "taken").await, "holder");
    assert_eq!(
        metric(&pool.metrics().await, "llamapool_relays_connected"),
        Some(1.0)
    );

    holder.kill().await;
    all_connected(&pool, &["free", "taken"]).await;

    assert_eq!(answering_provider(&pool, "taken").await, "newcomer");
}

/// Each provider keeps its own.
#[tokio::test]
async fn assigned_ids_survive_a_reconnect() {
    let pool = Pool::start().await;

    let one = named("one").await;
    let other = named("other").await;
    let link = Link::to(&pool.url).await;
    let unnamed = |provider: &Provider| format!("url = '{}'", provider.url);
    let mut relay = Several::towards(
        &link.url,
        &[
            unnamed(&one),
            entry("chosen", &named("chosen").await.url),
            unnamed(&other),
        ],
    );

    let ids = relay.ids(1, 3).await;

    assert!(
        ids[0].len() == 32 && ids[1] == "chosen" && ids[2].len() == 32 && ids[0] != ids[2],
        "{ids:?}"
    );

    let ids: Vec<&str> = ids.iter().map(String::as_str).collect();

    for times in 2..5 {
        link.cut();
        assert_eq!(relay.ids(times, 3).await, ids);
        all_connected(&pool, &ids).await;
    }

    assert_eq!(answering_provider(&pool, ids[0]).await, json!("one"));
    assert_eq!(answering_provider(&pool, ids[2]).await, json!("other"));

    let status = relay.status_url().await;
    let metrics = reqwest::get(format!("{status}/metrics"))
        .await
        .unwrap()
        .text()
        .await
        .unwrap();

    for label in ["#1", "chosen", "#3"] {
        let series = format!("llamapool_relay_calls_in_flight{{provider=\"{label}\"}}");
        assert_eq!(metric(&metrics, &series), Some(0.0), "{metrics}");
    }

    assert!(!metrics.contains(ids[0]), "{metrics}");

    let (_, body) = get(&format!("{status}/status")).await;
    assert_eq!(body["id"], json!(ids[0]));
    assert_eq!(body["providers"][2]["id"], json!(ids[2]));
}

#[tokio::test]
async fn a_killed_relay_loses_all_its_ids_and_their_calls_fail() {
    let pool = Pool::start().await;

    let mut one = ScriptedProvider::start().await;
    let mut other = ScriptedProvider::start().await;
    let mut relay = Several::towards(
        &pool.url,
        &[entry("one", &one.url), entry("other", &other.url)],
    );

    all_connected(&pool, &["one", "other"]).await;
    let mut to_one = pool.start_call("one");
    let mut to_other = pool.start_call("other");
    let mut asked_one = one.next_request().await;
    let mut asked_other = other.next_request().await;
    relay.process.kill().await;

    assert_eq!(to_one.error().await, "tunnel_lost");
    assert_eq!(to_other.error().await, "tunnel_lost");

    pool.until("all are gone", |state| state["mcp"]["clients"] == json!([]))
        .await;
    asked_one.cancelled().await;
    asked_other.cancelled().await;
    let metrics = pool.metrics().await;

    assert_eq!(metric(&metrics, "llamapool_tunnels_connected"), Some(0.0));

    let losses = metrics
        .lines()
        .filter(|line| line.starts_with("llamapool_tunnel_losses_total{"));
    let losses: Vec<_> = losses.filter(|line| line.ends_with(" 1")).collect();

    assert_eq!(losses.len(), 1, "{metrics}");
}

/// It ends when the last call is over.
#[tokio::test]
async fn a_draining_relay_drains_all_its_ids() {
    let pool = Pool::start().await;

    let mut busy = ScriptedProvider::start().await;
    let idle = named("idle").await;
    let mut relay = Several::towards(
        &pool.url,
        &[entry("idle", &idle.url), entry("busy", &busy.url)],
    );

    all_connected(&pool, &["idle", "busy"]).await;
    let mut call = pool.start_call("busy");
    let (pieces, answer) = event_stream();
    busy.next_request().await.answer(answer);
    let mut answer = call.answer().await;
    relay.process.signal("TERM").await;

    for id in ["idle", "busy"] {
        pool.until_client(id, "it drains", |client| client["status"] == "draining")
            .await;
        assert_eq!(
            error_word(pool.post(id, &tools_call(1, "echo")).await).await,
            "relay_draining"
        );
    }

    assert!(relay.process.is_running());

    pieces.send(Ok("data: last\n\n".into())).await.unwrap();

    assert_eq!(
        soon("the stream goes on", answer.chunk())
            .await
            .unwrap()
            .unwrap(),
        "data: last\n\n"
    );

    drop(pieces);

    assert_eq!(
        soon("the stream ends well", answer.chunk()).await.unwrap(),
        None
    );

    let (status, log) = relay.process.status_and_log().await;
    assert_eq!(status.code(), Some(0), "{log}");

    pool.until("all are gone", |state| state["mcp"]["clients"] == json!([]))
        .await;
    pool.until_metric(
        r#"llamapool_tunnel_losses_total{reason="closed_by_relay"}"#,
        1,
    )
    .await;

    assert_eq!(pool.state().await["server"]["jobs_failed_total"], 0);
}

/// The last one ends the tunnel.
#[tokio::test]
async fn an_id_that_the_relay_leaves_is_out_alone() {
    let pool = Pool::start().await;
    let mut relay = Upgrade::for_id("b")
        .with_another("llamapool-id", "a")
        .relay(&pool)
        .await
        .frames();

    let mut streams = std::collections::HashMap::new();

    for _ in 0..2 {
        let (id, events) = relay.events_of_any_id().await;
        // The first id has its offer by now, and takes no calls before the second has one.
        for _ in 0..20 {
            assert_eq!(pool.state().await["mcp"]["clients"], json!([]));
        }
        events.data(OFFER).await;
        streams.insert(id, events);
    }

    all_connected(&pool, &["a", "b"]).await;
    let mut calls = [pool.start_call("a"), pool.start_call("b")];
    let mut asked = std::collections::HashMap::new();

    for _ in 0..2 {
        let FrameRequest { path, reply } = relay.next_request().await;
        asked.insert(path, reply);
    }

    // The running call is finished first.
    streams["a"].end().await;
    pool.until_client("a", "it drains", |client| client["status"] == "draining")
        .await;
    asked["/mcp/a"].answer(200, "fine").await;

    assert_eq!(calls[0].answer().await.text().await.unwrap(), "fine");

    pool.until_client("a", "it is gone", Value::is_null).await;
    asked["/mcp/b"].answer(200, "fine too").await;

    assert_eq!(calls[1].answer().await.text().await.unwrap(), "fine too");

    let metrics = pool.metrics().await;
    let tunnels = ["llamapool_relays_connected", "llamapool_tunnels_connected"]
        .map(|series| metric(&metrics, series));

    assert_eq!(tunnels, [Some(1.0), Some(1.0)]);

    streams["b"].end().await;
    relay.closed().await;
    pool.until_metric("llamapool_tunnels_connected", 0).await;
}

#[tokio::test]
async fn nonsense_about_one_id_ends_the_tunnel_with_all_its_ids() {
    let pool = Pool::start().await;
    for nonsense in ["nonsense\n", "{\"event\":\"offer\"}\n"] {
        let mut relay = Upgrade::for_id("a")
            .with_another("llamapool-id", "b")
            .relay(&pool)
            .await
            .frames();

        let one = relay.send_offer().await;
        let other = relay.send_offer().await;
        all_connected(&pool, &["a", "b"]).await;
        one.data(OFFER).await;
        other.data(nonsense).await;
        relay.closed().await;
        pool.until("both are gone", |state| {
            state["mcp"]["clients"] == json!([])
        })
        .await;
    }
}

#[tokio::test]
async fn duplicate_and_too_many_ids_are_refused_with_the_reason() {
    let pool = Pool::start().await;

    let many = (1..=64).fold(Upgrade::for_id("0"), |upgrade, number| {
        upgrade.with_another("llamapool-id", &number.to_string())
    });
    let cases = [
        (
            Upgrade::for_id("a")
                .with_another("llamapool-id", "b")
                .with_another("llamapool-id", "a"),
            "the id a is there twice",
        ),
        (Upgrade::for_id("a, a"), "the id a is there twice"),
        (many, "the relay has 65 providers, expected at most 64"),
    ];

    for (upgrade, said) in cases {
        let answer = upgrade.answer(&pool).await;

        assert_eq!(answer.status, 400, "{}", answer.head);

        let body = answer.json().await;
        assert!(
            body["error"] == "invalid_header"
                && body["message"].as_str().unwrap().starts_with(said),
            "{body}"
        );
    }

    let answer = Upgrade::for_id("b")
        .with_another("llamapool-id", "")
        .with_another("llamapool-id", "a")
        .answer(&pool)
        .await;
    let ids: Vec<&str> = answer
        .head
        .lines()
        .filter_map(|line| line.strip_prefix("llamapool-id: "))
        .collect();

    assert!(
        ids.len() == 3 && ids[0] == "b" && ids[1].len() == 32 && ids[2] == "a",
        "{}",
        answer.head
    );
}

#[tokio::test]
async fn a_relay_with_the_most_providers_reaches_all() {
    let pool = Pool::start().await;
    let provider = named("all").await;

    let ids: Vec<String> = (0..64)
        .map(|number| format!("{}-{number}", "x".repeat(125 - number / 10)))
        .collect();
    let entries: Vec<String> = ids.iter().map(|id| entry(id, &provider.url)).collect();
    let _relay = Several::towards(&pool.url, &entries);

    all_connected(&pool, &[&ids[0], &ids[63]]).await;
    for id in &ids {
        assert_eq!(answering_provider(&pool, id).await, "all");
    }

    assert_eq!(
        metric(&pool.metrics().await, "llamapool_tunnels_connected"),
        Some(1.0)
    );
}

#[tokio::test]
async fn all_ids_of_a_tunnel_share_what_it_can_carry() {
    let pool = Pool::start().await;

    let mut one = ScriptedProvider::start().await;
    let other = ScriptedProvider::start().await;
    let providers = [entry("one", &one.url), entry("other", &other.url)];
    let _relay = Several::with(&pool.url, &providers, &[("TUNNEL_MAX_STREAMS", "2")]);

    all_connected(&pool, &["one", "other"]).await;
    let mut calls = [pool.start_call("one"), pool.start_call("one")];
    let asked = one.next_requests(2).await;

    assert_eq!(
        error_word(pool.post("other", &tools_call(1, "echo")).await).await,
        "tunnel_full"
    );

    for asked in asked {
        asked.answer(json_answer("{}"));
    }
    for call in &mut calls {
        assert_eq!(call.answer().await.status(), 200);
    }
}

#[tokio::test]
async fn relays_with_one_secret_share_the_ids_that_both_have() {
    let pool = Pool::start().await;

    let one = named("one").await;
    let other = named("other").await;
    let secret = [("CLIENT_SECRET", "we-belong-together")];
    let first = [entry("both", &one.url), entry("first", &one.url)];
    let mut first = Several::with(&pool.url, &first, &secret);
    all_connected(&pool, &["both", "first"]).await;
    let second = [entry("second", &other.url), entry("both", &other.url)];
    let _second = Several::with(&pool.url, &second, &secret);
    let both = |client: &Value| {
        client["relays"]
            .as_array()
            .is_some_and(|relays| relays.len() == 2)
    };
    pool.until_client("both", "both are there", both).await;

    assert_eq!(answering_provider(&pool, "first").await, json!("one"));
    assert_eq!(answering_provider(&pool, "second").await, json!("other"));

    first.process.kill().await;
    pool.until_client("first", "it is gone", Value::is_null)
        .await;
    pool.until_client("both", "one is left", |client| {
        client["relays"].as_array().unwrap().len() == 1
    })
    .await;

    assert_eq!(answering_provider(&pool, "both").await, "other");
}

#[tokio::test]
async fn a_relay_that_reconnects_replaces_its_tunnel_with_all_ids() {
    let mut pool = Pool::with(&[("MAX_RELAYS", "2")]).await;

    let one = named("one").await;
    let other = named("other").await;
    let link = Link::to(&pool.url).await;
    let mut relay = Several::towards(
        &link.url,
        &[entry("one", &one.url), entry("other", &other.url)],
    );

    all_connected(&pool, &["one", "other"]).await;
    link.cut_relay_side();
    relay.ids(2, 2).await;
    pool.server.event("relay disconnected").await;
    pool.until_metric("llamapool_relays_connected", 2).await;
    pool.until_metric("llamapool_tunnels_connected", 1).await;

    assert_eq!(answering_provider(&pool, "one").await, json!("one"));
    assert_eq!(answering_provider(&pool, "other").await, json!("other"));
    assert!(
        pool.server.lines_with("a relay was refused").is_empty(),
        "{}",
        pool.server.log()
    );
}

#[tokio::test]
async fn metadata_and_paths_below_an_id_are_those_of_its_own_provider() {
    let pool = Pool::start().await;

    let open = named("open").await;
    let protected = Provider::answering(async |request| match request.uri().path() {
        "/.well-known/oauth-protected-resource/mcp" => {
            json_answer(r#"{"resource":"private","of":"protected"}"#)
        }
        path => json_answer(&json!({ "path": path }).to_string()),
    })
    .await;
    let _relay = Several::towards(
        &pool.url,
        &[entry("open", &open.url), entry("protected", &protected.url)],
    );

    all_connected(&pool, &["open", "protected"]).await;
    let (status, document) = get(&format!(
        "{}/.well-known/oauth-protected-resource/api/mcp/id/protected",
        pool.url
    ))
    .await;

    assert_eq!(status, 200);
    assert_eq!(document["of"], "protected");
    assert_eq!(document["resource"], json!(pool.mcp("protected")));

    let (_, below) = get(&format!("{}/below/mcp/?a=1", pool.mcp("protected"))).await;
    assert_eq!(below["path"], "/mcp/below/mcp/");
}
