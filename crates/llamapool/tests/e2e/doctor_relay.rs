//! `llamapool doctor mcp`: each thing that can be in the way, and the real start beside it.

use std::fs;
use std::time::Duration;

use tempfile::TempDir;

use crate::doctor::{free_port, mcp_server};
use crate::harness::{
    Between, ConnectProxy, Diagnosis, Meddling, Pool, Process, Provider, TlsFront, WORKER_KEY, soon,
};

/// A program with MCP on its standard input and output. It notes its starts and the methods that it is
/// asked for.
const PROGRAM: &str = r#"
import json, os, sys
notes = open(os.path.join(os.path.dirname(__file__), "notes"), "a", buffering=1)
notes.write("start\n")
if "dies" in sys.argv:
    print("ImportError: no module named foo", file=sys.stderr)
    sys.exit(1)
if "talks" in sys.argv:
    print("Listening on standard input", flush=True)
RESULTS = {
    "initialize": {"protocolVersion": "2025-06-18", "capabilities": {}, "serverInfo": {"name": "notes", "version": "2"}},
    "ping": {},
    "tools/list": {"tools": [{"name": "a", "inputSchema": {"type": "object"}}]},
}
for line in sys.stdin:
    message = json.loads(line)
    notes.write(message.get("method", "") + "\n")
    if "id" not in message:
        continue
    answer = {"jsonrpc": "2.0", "id": message["id"]}
    if message["method"] in RESULTS:
        answer["result"] = RESULTS[message["method"]]
    else:
        answer["error"] = {"code": -32601, "message": "Method not found"}
    print(json.dumps(answer), flush=True)
"#;

/// The program in a folder of its own.
struct Program {
    folder: TempDir,
    path: String,
}

impl Program {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("program.py");
        fs::write(&path, PROGRAM).unwrap();
        Self {
            path: path.to_str().unwrap().to_owned(),
            folder,
        }
    }

    fn words<'a>(&'a self, traits: &[&'a str]) -> Vec<&'a str> {
        [&["--", "python3", self.path.as_str()], traits].concat()
    }

    fn notes(&self) -> Vec<String> {
        let notes = fs::read_to_string(self.folder.path().join("notes")).unwrap_or_default();
        notes.lines().map(str::to_owned).collect()
    }
}

/// A relay as it is set up, for the doctor and for a start.
struct SetUp<'a> {
    server_url: &'a str,
    provider_url: Option<&'a str>,
    key: &'a str,
    more: Vec<(&'a str, &'a str)>,
    program: Vec<&'a str>,
}

impl<'a> SetUp<'a> {
    fn http(server_url: &'a str, provider: &'a str) -> Self {
        Self {
            server_url,
            provider_url: Some(provider),
            key: WORKER_KEY,
            more: Vec::new(),
            program: Vec::new(),
        }
    }

    fn program(server_url: &'a str, words: Vec<&'a str>) -> Self {
        Self {
            provider_url: None,
            program: words,
            ..Self::http(server_url, "")
        }
    }

    fn with(mut self, name: &'a str, value: &'a str) -> Self {
        self.more.push((name, value));
        self
    }

    fn environment(&self) -> Vec<(&'a str, &'a str)> {
        let mut all = vec![
            ("SERVER_URL", self.server_url),
            ("WORKER_KEY", self.key),
            ("CLIENT_ID", "notes"),
            ("STATUS_ADDR", "off"),
            ("CONNECT_TIMEOUT", "5s"),
        ];
        all.extend(self.provider_url.map(|url| ("PROVIDER_URL", url)));
        all.extend(&self.more);
        all
    }

    async fn doctor(&self) -> Diagnosis {
        let flags = ["mcp", "--json", "--quick"];
        let arguments = [&flags[..], &self.program].concat();
        Diagnosis::of(&arguments, &self.environment()).await
    }

    /// Starts the relay. Returns whether a caller of the server gets an answer of its provider.
    async fn start_succeeds(&self, pool: &Pool) -> bool {
        let path = std::env::var("PATH").unwrap();
        let environment = [&[("PATH", path.as_str())], &self.environment()[..]].concat();
        let arguments = [&["mcp"], &self.program[..]].concat();
        let mut relay = Process::llamapool(&arguments, &environment);
        let ended = tokio::select! {
            _ = relay.ended() => true,
            _ = pool.connected("notes") => false,
        };
        if ended {
            return false;
        }
        let message = serde_json::json!({
            "jsonrpc": "2.0", "id": 1, "method": "initialize",
            "params": {"protocolVersion": "2025-06-18", "capabilities": {},
                "clientInfo": {"name": "test", "version": "1"}},
        });
        let answer = pool.post("notes", &message).await;
        let is_answered = answer.status().is_success();
        relay.signal("TERM").await;
        relay.ended().await;
        pool.until_client("notes", "it is gone", |client| client.is_null())
            .await;
        is_answered
    }
}

/// Green exactly when the start succeeds; and of what is in the way the cause is named.
#[tokio::test]
async fn a_relay_starts_exactly_when_its_doctor_finds_no_failure() {
    let pool = Pool::start().await;
    let provider = mcp_server().await;
    let program = Program::new();
    let nothing = format!("http://127.0.0.1:{}/mcp", free_port());
    let tls = TlsFront::for_server(&pool.url).await;
    let over_tls = format!("wss://localhost:{}", tls.port);
    let plain_to_tls = format!("ws://127.0.0.1:{}", tls.port);
    let tls_to_plain = pool.url.replace("http://", "wss://");
    let wrong_path = format!("{}/elsewhere", pool.url);
    let no_server = format!("ws://127.0.0.1:{}", free_port());
    let http = |url| SetUp::http(url, &provider.url);
    let cases = [
        ("a provider", http(&pool.url), None),
        (
            "a program",
            SetUp::program(&pool.url, program.words(&[])),
            None,
        ),
        (
            "a program that talks",
            SetUp::program(&pool.url, program.words(&["talks"])),
            None,
        ),
        (
            "over TLS",
            http(&over_tls).with("CA_FILE", tls.ca_file.path().to_str().unwrap()),
            None,
        ),
        ("unknown authority", http(&over_tls), Some("tls_failed")),
        ("plain to TLS", http(&plain_to_tls), Some("not_llamapool")),
        ("TLS to plain", http(&tls_to_plain), Some("tls_failed")),
        ("wrong path", http(&wrong_path), Some("not_llamapool")),
        ("no server", http(&no_server), Some("not_reached")),
        (
            "wrong key",
            SetUp {
                key: "another",
                ..http(&pool.url)
            },
            Some("key_refused"),
        ),
        (
            "no provider",
            SetUp::http(&pool.url, &nothing),
            Some("provider_down"),
        ),
        (
            "a program that dies",
            SetUp::program(&pool.url, program.words(&["dies"])),
            Some("program_failed"),
        ),
        (
            "a program that is missing",
            SetUp::program(&pool.url, vec!["--", "no-such-program"]),
            Some("program_missing"),
        ),
        (
            "a wrong value",
            http(&pool.url).with("CONNECT_TIMEOUT", "soon"),
            Some("settings_wrong"),
        ),
    ];

    for (name, set_up, cause) in cases {
        let found = set_up.doctor().await;
        let starts = set_up.start_succeeds(&pool).await;

        let failures = found.with_status("fail");
        assert_eq!(failures.is_empty(), starts, "{name}: {}", found.output);
        assert_eq!(failures.first().copied(), cause, "{name}: {}", found.output);
        assert_eq!(found.code == Some(1), !starts, "{name}: {:?}", found.code);
    }
}

#[tokio::test]
async fn a_doctor_starts_the_program_once_and_calls_no_tool() {
    let pool = Pool::start().await;
    let program = Program::new();

    let found = SetUp::program(&pool.url, program.words(&["talks"]))
        .doctor()
        .await;

    assert_eq!(found.code, Some(2), "{}", found.output);
    found.has("junk_on_output", "warn", "Listening on standard input");
    found.has("no_mcp", "ok", "notes 2, MCP 2025-06-18, 1 tool");
    found.has("round_trip_failed", "ok", "ping through");
    found.has("stream_buffered", "ok", "when they are sent");
    found.has("id_taken", "ok", "notes is free");
    found.has("idle_cut", "not_looked_at", "--quick");
    let notes = program.notes();
    assert_eq!(
        notes.iter().filter(|it| *it == "start").count(),
        1,
        "{notes:?}"
    );
    let asked = [
        "start",
        "initialize",
        "notifications/initialized",
        "ping",
        "tools/list",
    ];
    let others: Vec<_> = notes
        .iter()
        .filter(|it| !asked.contains(&it.as_str()))
        .collect();
    assert!(others.is_empty(), "{others:?}");
    let clients = pool.state().await;
    assert!(clients.to_string().find("doctor-").is_none(), "{clients}");

    let dying = SetUp::program(&pool.url, program.words(&["dies"]))
        .doctor()
        .await;
    dying.has("program_failed", "fail", "ImportError: no module named foo");
    let starts = program.notes();
    assert_eq!(
        starts.iter().filter(|it| *it == "start").count(),
        2,
        "{starts:?}"
    );
}

#[tokio::test]
async fn an_id_that_is_held_is_found_and_its_holder_stays() {
    let pool = Pool::start().await;
    let provider = mcp_server().await;
    let holder = pool
        .relay_with("notes", &provider.url, &[("WORKER_NAME", "Alpha")])
        .await;
    let set_up = SetUp::http(&pool.url, &provider.url);
    let found = set_up.doctor().await;
    let starts = set_up.start_succeeds_without_waiting().await;

    found.has("id_taken", "fail", "held by the relay \\\"Alpha\\\"");
    assert!(!starts);
    // Everything else is looked at under a temporary id.
    found.has("round_trip_failed", "ok", "ping through");
    let left = holder.log();
    assert!(!left.contains("not connected; trying again"), "{left}");
    assert_eq!(pool.call("notes", "ping").await.status(), 200);
}

impl SetUp<'_> {
    /// Starts the relay where its id is held. Returns whether it stays.
    async fn start_succeeds_without_waiting(&self) -> bool {
        let mut relay = Process::llamapool(&["mcp"], &self.environment());
        let status = soon("the relay is refused", relay.ended()).await;
        status.success()
    }
}

/// With the secret of the holder an id is shared, and kept for those that have it.
#[tokio::test]
async fn a_secret_decides_about_an_id_that_was_held() {
    let pool = Pool::start().await;
    let provider = mcp_server().await;
    let secret = [("CLIENT_SECRET", "a-secret-of-relays")];
    let mut holder = pool.relay_with("notes", &provider.url, &secret).await;
    let with_secret = || SetUp::http(&pool.url, &provider.url).with("CLIENT_SECRET", secret[0].1);
    let without = SetUp::http(&pool.url, &provider.url);

    with_secret()
        .doctor()
        .await
        .has("id_taken", "ok", "shared with");
    without
        .doctor()
        .await
        .has("id_taken", "fail", "kept for relays");
    holder.signal("TERM").await;
    holder.ended().await;
    pool.until_client("notes", "it is gone", |client| client.is_null())
        .await;

    with_secret().doctor().await.has("id_taken", "ok", "free");
    without
        .doctor()
        .await
        .has("id_taken", "fail", "kept for relays");
    assert!(!without.start_succeeds_without_waiting().await);
}

#[tokio::test]
async fn a_call_that_is_cut_off_in_silence_is_found() {
    let pool = Pool::start().await;
    let provider = mcp_server().await;
    let limit = Duration::from_secs(20);
    let between = Between::start(&pool.url, Meddling::CutsIdle(limit)).await;
    let set_up = SetUp::http(&between.url, &provider.url);

    let found = Diagnosis::of(&["mcp", "--json"], &set_up.environment()).await;

    assert_eq!(found.code, Some(2), "{}", found.output);
    found.has("idle_cut", "warn", "cut off after 20 s");
    found.has("stream_buffered", "ok", "when they are sent");
    // Heartbeats keep the tunnel, so the start succeeds.
    assert!(set_up.start_succeeds(&pool).await);
}

#[tokio::test]
async fn a_clock_that_is_off_is_found() {
    let pool = Pool::start().await;
    let provider = mcp_server().await;
    for (minutes, status, text) in [(10, "fail", "behind"), (1, "warn", "1m")] {
        let by = Duration::from_secs(60 * minutes);
        let between = Between::start(&pool.url, Meddling::SlowsClock(by)).await;

        let found = SetUp::http(&between.url, &provider.url).doctor().await;

        found.has("clock_differs", status, text);
    }
}

/// A key that is bound to ids serves no temporary one: the real id is taken for the time of the check.
#[tokio::test]
async fn a_key_for_one_id_is_looked_at_under_that_id() {
    let data = tempfile::tempdir().unwrap();
    let folder = data.path().to_str().unwrap();
    let pool = Pool::with(&[("DATA_DIR", folder)]).await;
    let create = [
        "key", "create", "worker", "--name", "home", "--ids", "notes",
    ];
    let key = Diagnosis::printed(&create, &[("DATA_DIR", folder)]).await;
    let key = String::from_utf8(key.stdout).unwrap();
    let provider = mcp_server().await;
    let set_up = SetUp {
        key: key.trim(),
        ..SetUp::http(&pool.url, &provider.url)
    };

    let found = set_up.doctor().await;
    assert_eq!(found.code, Some(0), "{}", found.output);
    found.has("tunnel_refused", "ok", "its own id");
    found.has("round_trip_failed", "ok", "ping through");
    assert!(set_up.start_succeeds(&pool).await);

    let other = SetUp {
        key: key.trim(),
        ..SetUp::http(&pool.url, &provider.url)
    }
    .with("CLIENT_ID", "other");
    let found = other.doctor().await;
    found.has("id_taken", "fail", "other");
    found.has("key_refused", "ok", "knows the key");
}

/// What depends on a failure is not looked at, and nothing secret is in the report.
#[tokio::test]
async fn a_report_for_people_has_a_line_for_each_check() {
    let pool = Pool::start().await;
    let provider: Provider = mcp_server().await;
    let set_up = SetUp::http(&pool.url, &provider.url);

    let good = Diagnosis::printed(&["doctor", "--quick"], &set_up.environment()).await;
    let good = String::from_utf8(good.stdout).unwrap();
    assert!(
        good.starts_with("llamapool mcp (as PROVIDER_URL is set)\n"),
        "{good}"
    );
    assert!(
        good.contains("  server       ✓ llamapool 0.1.0, of the same protocol"),
        "{good}"
    );
    assert!(good.ends_with("  All good.\n"), "{good}");
    assert!(!good.contains(WORKER_KEY), "{good}");

    let wrong = SetUp {
        key: "wrong-key-0123456789",
        ..SetUp::http(&pool.url, &provider.url)
    };
    let arguments = ["doctor", "--quick", "--explain"];
    let bad = Diagnosis::printed(&arguments, &wrong.environment()).await;
    assert_eq!(bad.status.code(), Some(1));
    let bad = String::from_utf8(bad.stdout).unwrap();
    assert!(bad.contains("✗ the server does not take the key"), "{bad}");
    assert!(bad.contains("– id: not looked at, as key failed"), "{bad}");
    assert!(
        bad.contains("key_refused: The server must accept WORKER_KEY"),
        "{bad}"
    );
    assert!(!bad.contains("wrong-key-0123456789"), "{bad}");
}

#[tokio::test]
async fn a_server_that_knows_no_question_is_looked_at_otherwise() {
    let pool = Pool::start().await;
    let provider = mcp_server().await;
    let older = Between::start(&pool.url, Meddling::Forgets("llamapool.ask.v1")).await;

    let found = SetUp::http(&older.url, &provider.url).doctor().await;

    assert_eq!(found.code, Some(0), "{}", found.output);
    found.has("not_llamapool", "ok", "older than this one");
    found.has("id_taken", "not_looked_at", "");
    found.has("round_trip_failed", "ok", "ping through");
}

#[tokio::test]
async fn a_server_that_asks_for_keys_is_called_with_one() {
    let data = tempfile::tempdir().unwrap();
    let folder = data.path().to_str().unwrap();
    let pool = Pool::with(&[("DATA_DIR", folder), ("MCP_ACCESS", "keys")]).await;
    let provider = mcp_server().await;
    let create = ["key", "create", "caller", "--name", "me", "--ids", "*"];
    let key = Diagnosis::printed(&create, &[("DATA_DIR", folder)]).await;
    let key_file = tempfile::NamedTempFile::new().unwrap();
    fs::write(key_file.path(), key.stdout).unwrap();
    let set_up = SetUp::http(&pool.url, &provider.url);

    let without = set_up.doctor().await;
    assert_eq!(without.code, Some(2), "{}", without.output);
    without.has("round_trip_failed", "warn", "asks callers for a key");
    without.has("stream_buffered", "warn", "asks callers for a key");

    let path = key_file.path().to_str().unwrap();
    let flags = ["mcp", "--json", "--quick", "--key-file", path];
    let with = Diagnosis::of(&flags, &set_up.environment()).await;
    assert_eq!(with.code, Some(0), "{}", with.output);
    with.has("round_trip_failed", "ok", "ping through");
    with.has("stream_buffered", "ok", "when they are sent");
}

#[tokio::test]
async fn a_way_through_a_proxy_is_looked_at_through_it() {
    let pool = Pool::start().await;
    let provider = mcp_server().await;
    let proxy = ConnectProxy::tunnelling().await;
    let proxy_url = format!("http://me:pass-word@{}", proxy.address);
    let set_up = SetUp::http(&pool.url, &provider.url).with("HTTP_PROXY", &proxy_url);

    let found = set_up.doctor().await;
    assert_eq!(found.code, Some(0), "{}", found.output);
    found.has("not_reached", "ok", &proxy.address);
    found.has("round_trip_failed", "ok", "ping through");
    assert!(!found.output.contains("pass-word"), "{}", found.output);

    let nowhere = format!("http://127.0.0.1:{}", free_port());
    let set_up = SetUp::http(&pool.url, &provider.url).with("HTTP_PROXY", &nowhere);
    let found = set_up.doctor().await;
    found.has("not_reached", "fail", "proxy");
}
