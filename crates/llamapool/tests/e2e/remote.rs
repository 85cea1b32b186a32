//! The commands that reach a server over the network, as processes: `status`, `call`, `connect`, `drain`, `undrain`
//! and `kick`; and that no surface is green where calls fail.

use std::path::Path;
use std::process::{Output, Stdio};

use llamapool_testkit::StatusClient;
use serde_json::{Value, json};
use tokio::process::Command;

use crate::harness::{API_KEY, Pool, Process, Provider, ScriptedProvider, json_answer, soon};

/// A program on standard input and output. It dies where it is told to.
const PROGRAM: &str = r#"
import json, sys
for line in sys.stdin:
    message = json.loads(line)
    if "id" not in message:
        continue
    def answer(**rest):
        print(json.dumps({"jsonrpc": "2.0", "id": message["id"], **rest}), flush=True)
    method = message["method"]
    if method == "initialize":
        answer(result={"protocolVersion": "2025-06-18", "capabilities": {"tools": {}},
                       "serverInfo": {"name": "prog", "version": "7"}})
    elif method == "tools/list":
        answer(result={"tools": [{"name": "say", "description": "Says it", "inputSchema": {
            "type": "object", "properties": {"text": {"type": "string"}, "times": {"type": "integer"}},
            "required": ["text"]}}]})
    elif method == "tools/call":
        arguments = message["params"]["arguments"]
        if arguments["text"] == "die":
            sys.exit(3)
        text = arguments["text"] * arguments.get("times", 1)
        answer(result={"content": [{"type": "text", "text": text}], "isError": text == "bad"})
    else:
        answer(error={"code": -32601, "message": "unknown"})
"#;

/// Runs a command against a server.
async fn run_with(url: &str, arguments: &[&str], environment: &[(&str, &str)]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_llamapool"));
    command
        .args(arguments)
        .env_clear()
        .env("PUBLIC_URL", url)
        .env("API_KEY", API_KEY)
        .envs(environment.iter().copied())
        .stdin(Stdio::null())
        .kill_on_drop(true);
    soon("the command ends", command.output()).await.unwrap()
}

async fn run(pool: &Pool, arguments: &[&str]) -> (i32, String, String) {
    let output = run_with(&pool.url, arguments, &[]).await;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let code = output.status.code().unwrap();
    (code, text(&output.stdout), text(&output.stderr))
}

/// Starts a relay beside a Python program.
fn program_relay(pool: &Pool, id: &str, program: &str) -> Process {
    let settings = [
        ("SERVER_URL", pool.url.as_str()),
        ("WORKER_KEY", crate::harness::WORKER_KEY),
        ("CLIENT_ID", id),
        ("WORKER_NAME", "Alpha"),
        ("STATUS_ADDR", "127.0.0.1:0"),
        ("PATH", "/usr/bin:/bin"),
    ];
    let arguments = ["mcp", "--reconnect", "--", "python3", "-c", program];
    Process::llamapool(&arguments, &settings)
}

fn problem<'a>(state: &'a Value, id: &str) -> Option<&'a Value> {
    let mut problems = state["problems"].as_array()?.iter();
    problems.find(|problem| problem["id"] == id && problem["level"] != "note")
}

async fn status_client(relay: &mut Process) -> StatusClient {
    let event = relay.event("the status server listens").await;
    StatusClient::new(format!("http://{}", event["address"].as_str().unwrap()))
}

#[tokio::test]
async fn a_program_that_dies_at_start_is_shown_with_its_last_words() {
    let pool = Pool::start().await;
    let program =
        "import sys; print('ImportError: no module named foo', file=sys.stderr); sys.exit(1)";
    let mut relay = program_relay(&pool, "notes", program);

    let state = pool
        .until("it is down", |state| problem(state, "notes").is_some())
        .await;

    let found = problem(&state, "notes").unwrap();
    assert_eq!(found["kind"], "provider_down", "{found}");
    assert_eq!(found["level"], "error");
    assert_eq!(found["cause"], "provider_not_started");
    assert_eq!(found["hop"], "provider");
    assert_eq!(found["relay"], "Alpha");
    let text = found["text"].as_str().unwrap();
    assert!(text.contains("ImportError: no module named foo"), "{text}");
    assert_eq!(pool.client("notes").await["state"], "provider_down");
    let (code, shown, _) = run(&pool, &["status"]).await;
    assert_eq!(code, 1, "{shown}");
    for part in [
        "■ provider down",
        "ImportError: no module named foo",
        "relay Alpha",
        "0 of 1 ids up",
    ] {
        assert!(shown.contains(part), "{part} in {shown}");
    }
    let status = status_client(&mut relay).await;
    assert_eq!(status.get("/readyz").await.0, 503);
}

/// A tunnel that is up says nothing about the calls in it.
#[tokio::test]
async fn where_every_call_fails_no_surface_is_green() {
    let pool = Pool::start().await;
    let provider = Provider::answering(|_| async {
        let mut answer = json_answer("{}");
        *answer.status_mut() = axum::http::StatusCode::INTERNAL_SERVER_ERROR;
        answer
    })
    .await;
    let settings = [("STATUS_ADDR", "127.0.0.1:0")];
    let mut relay = pool.relay_with("notes", &provider.url, &settings).await;
    let status = status_client(&mut relay).await;
    status
        .until("it is ready", "/readyz", |code, _| code == 200)
        .await;
    assert_eq!(run(&pool, &["status"]).await.0, 0);

    for _ in 0..3 {
        assert_eq!(pool.call("notes", "tools/list").await.status(), 500);
    }

    let (code, body) = status.get("/readyz").await;
    assert_eq!(code, 503, "{body}");
    let state = pool.state().await;
    let found = problem(&state, "notes").unwrap();
    assert_eq!(found["kind"], "failing");
    assert_eq!((&found["count"], &found["of"]), (&json!(3), &json!(3)));
    assert_eq!(found["cause"], "provider_error");
    assert_eq!(state["mcp"]["clients"][0]["state"], "failing");
    let (code, shown, _) = run(&pool, &["status"]).await;
    assert_eq!(code, 1);
    assert!(
        shown.contains("▲ failing") && !shown.contains('●'),
        "{shown}"
    );
    assert!(
        shown.contains("3 of 3 calls failed in the last minute"),
        "{shown}"
    );
}

#[tokio::test]
async fn a_relay_that_is_killed_or_stopped_is_missed_with_the_reason() {
    let pulse = [("HEARTBEAT_INTERVAL", "100ms"), ("SILENCE_LIMIT", "800ms")];
    let pool = Pool::with(&pulse).await;
    let provider = Provider::echoing().await;
    let mut killed = pool.relay_with("killed", &provider.url, &pulse).await;
    let stopped = pool.relay_with("stopped", &provider.url, &pulse).await;

    killed.kill().await;
    stopped.signal("STOP").await;
    let state = pool
        .until("both are missed", |state| {
            ["killed", "stopped"]
                .iter()
                .all(|id| problem(state, id).is_some())
        })
        .await;

    for (id, reason) in [("killed", "broke"), ("stopped", "silent")] {
        let found = problem(&state, id).unwrap();
        assert_eq!(found["kind"], "no_relay", "{found}");
        assert_eq!(found["cause"], "relay_offline");
        assert!(found["text"].as_str().unwrap().contains(reason), "{found}");
        assert_eq!(pool.call(id, "tools/list").await.status(), 503);
    }
    let state = pool.state().await;
    assert_eq!(
        problem(&state, "killed").unwrap()["count"],
        1,
        "its callers are counted"
    );
    assert_eq!(state["mcp"]["offline"][0]["refused_total"], 1);
    let (code, shown, _) = run(&pool, &["status"]).await;
    assert_eq!(code, 1);
    assert!(
        shown.contains("○ no relay") && shown.contains("1 call was refused since"),
        "{shown}"
    );

    stopped.signal("CONT").await;
    pool.connected("stopped").await;
    assert!(problem(&pool.state().await, "stopped").is_none());
}

#[tokio::test]
async fn tools_are_listed_and_called_from_the_shell() {
    let pool = Pool::start().await;
    let _relay = program_relay(&pool, "notes", PROGRAM);
    pool.connected("notes").await;

    let (code, shown, notes) = run(&pool, &["call", "notes"]).await;
    assert_eq!(code, 0, "{notes}");
    assert!(
        shown.starts_with("say  ") && shown.contains("Says it"),
        "{shown}"
    );
    assert!(notes.contains("prog 7, MCP 2025-06-18"), "{notes}");
    let said = run(
        &pool,
        &["call", "notes", "say", "-a", "text=ho", "-a", "times=2"],
    )
    .await;
    assert_eq!((said.0, said.1.as_str()), (0, "hoho\n"), "{}", said.2);
    let raw = run(
        &pool,
        &[
            "call",
            "notes",
            "say",
            "--json",
            "{\"text\": \"hey\"}",
            "--raw",
        ],
    )
    .await;
    let raw: Value = serde_json::from_str(&raw.1).unwrap();
    assert_eq!(raw["content"][0]["text"], "hey");

    for (arguments, code, part) in [
        (&["call", "notes", "say", "-a", "text=bad"][..], 1, "prog 7"),
        (&["call", "notes", "sai"], 1, "did you mean say?"),
        (
            &["call", "notes", "say", "-a", "text=a", "-a", "times=x"],
            1,
            "type integer",
        ),
        (
            &["call", "notes", "say", "-a", "text=die"],
            69,
            "(provider_exited)",
        ),
        (&["call", "nowhere"], 69, "(relay_offline)"),
        (&["call", "no where"], 64, "is no id"),
        (
            &["call", "notes", "say", "--json", "[]"],
            64,
            "expected a JSON object",
        ),
    ] {
        let (found, _, notes) = run(&pool, arguments).await;
        assert_eq!(found, code, "{arguments:?}: {notes}");
        assert!(notes.contains(part), "{arguments:?}: {notes}");
    }
}

/// Nothing is wrong there: the page is about the address.
#[tokio::test]
async fn a_browser_at_the_address_of_a_program_gets_a_page() {
    let pool = Pool::start().await;
    let _relay = program_relay(&pool, "notes", PROGRAM);
    pool.connected("notes").await;
    let open = |accept: &'static str| {
        let request = pool.http.get(pool.mcp("notes")).header("accept", accept);
        async { request.send().await.unwrap() }
    };

    let page = open("text/html,*/*;q=0.8").await;

    assert_eq!(page.headers()["content-type"], "text/html; charset=utf-8");
    let html = page.text().await.unwrap();
    assert!(html.contains("This address is for an app"), "{html}");
    assert!(!html.contains("class=\"problem\""), "{html}");
    for accept in ["application/json", "text/html, text/event-stream"] {
        let asked = open(accept).await;
        assert!(!asked.headers().contains_key("llamapool-error"), "{accept}");
        assert_eq!(
            asked.headers()["content-type"],
            "application/json",
            "{accept}"
        );
    }
    assert!(problem(&pool.state().await, "notes").is_none());
}

#[tokio::test]
async fn the_exit_code_tells_a_server_from_a_key() {
    let pool = Pool::start().await;

    let unreachable = run_with("http://127.0.0.1:1", &["status"], &[]).await;
    assert_eq!(unreachable.status.code(), Some(69));
    for key in ["wrong", ""] {
        let refused = run_with(&pool.url, &["status"], &[("API_KEY", key)]).await;
        assert_eq!(refused.status.code(), Some(77), "{key}");
    }
    let provider = Provider::echoing().await;
    let other = run_with(&provider.url, &["status"], &[]).await;
    let notes = String::from_utf8_lossy(&other.stderr).into_owned();
    assert_eq!(other.status.code(), Some(69), "{notes}");
    assert!(notes.contains("is --server right?"), "{notes}");
}

#[tokio::test]
async fn a_drained_id_takes_nothing_new_also_after_a_reconnect() {
    let pool = Pool::start().await;
    let mut provider = ScriptedProvider::start().await;
    let mut relay = pool.relay("notes", &provider.url).await;
    let mut running = pool.start_call("notes");
    let asked = provider.next_request().await;

    let (code, _, notes) = run(&pool, &["drain", "notes"]).await;
    assert_eq!(code, 1, "nothing is done unasked");
    assert!(
        notes.contains("1 running call may end") && notes.contains("--yes"),
        "{notes}"
    );
    for _ in 0..2 {
        assert_eq!(run(&pool, &["drain", "notes", "--yes"]).await.0, 0);
    }

    let refused = pool.call("notes", "tools/list").await;
    assert_eq!(refused.status(), 503);
    asked.answer(json_answer("{}"));
    assert_eq!(running.answer().await.status(), 200, "what runs may end");
    assert_eq!(pool.client("notes").await["state"], "draining");
    relay.kill().await;
    pool.until_client("notes", "it is gone", Value::is_null)
        .await;
    let _again = pool.relay("notes", &provider.url).await;
    assert_eq!(pool.client("notes").await["state"], "draining");

    let (code, _, notes) = run(&pool, &["undrain", "notes"]).await;
    assert_eq!(
        (code, notes.contains("takes calls again")),
        (0, true),
        "{notes}"
    );
    let mut call = pool.start_call("notes");
    provider.next_request().await.answer(json_answer("{}"));
    assert_eq!(call.answer().await.status(), 200);
}

#[tokio::test]
async fn a_kicked_relay_loses_its_calls_and_comes_back() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().to_str().unwrap();
    let pool = Pool::with(&[("DATA_DIR", data)]).await;
    let mut provider = ScriptedProvider::start().await;
    let named = [("WORKER_NAME", "Alpha")];
    let mut relay = pool.relay_with("notes", &provider.url, &named).await;
    let before = pool.client("notes").await;
    let mut running = pool.start_call("notes");
    let _asked = provider.next_request().await;

    let (code, shown, notes) = run(&pool, &["kick", "--relay", "Alpha", "--yes", "--json"]).await;

    assert_eq!(code, 0, "{notes}");
    let shown: Value = serde_json::from_str(&shown).unwrap();
    assert_eq!(
        (&shown["calls"], &shown["connected"]),
        (&json!(1), &json!(1)),
        "{shown}"
    );
    assert_eq!(running.error().await, "tunnel_lost");
    relay
        .line("it is told", |line| {
            line.contains("an operator of the other end closed it")
        })
        .await;
    let after = pool
        .until_client("notes", "it is back", |client| {
            client["connected_at"].is_string() && client["connected_at"] != before["connected_at"]
        })
        .await;
    assert_eq!(
        before["relay_id"], after["relay_id"],
        "it is the same process"
    );
    let verb = |what: &str| format!("\"event\":\"{what}\"");
    let audit = soon("it is in the audit log", async {
        loop {
            let text = audit_text(Path::new(data));
            if text.contains(&verb("relay.kicked")) {
                return text;
            }
            tokio::task::yield_now().await;
        }
    });
    assert!(audit.await.contains("\"actor\":\"api_key\""));
    let (code, _, notes) = run(&pool, &["kick", "nothere", "--yes"]).await;
    assert_eq!(code, 1, "{notes}");
}

/// Returns all lines of the audit log below a data directory.
fn audit_text(data: &Path) -> String {
    let folder = std::fs::read_dir(data.join("audit"));
    let files = folder.into_iter().flatten().flatten();
    let texts = files.filter_map(|file| std::fs::read_to_string(file.path()).ok());
    texts.collect()
}

#[tokio::test]
async fn a_client_is_connected_by_an_entry_in_its_file() {
    let home = tempfile::tempdir().unwrap();
    let file = home.path().join(".cursor/mcp.json");
    std::fs::create_dir_all(file.parent().unwrap()).unwrap();
    let before =
        "{\n  // mine\n  \"mcpServers\": {\n    \"clock\": { \"command\": \"npx\" }\n  }\n}\n";
    std::fs::write(&file, before).unwrap();
    let pool = Pool::start().await;
    let provider = Provider::echoing().await;
    let token = [("AUTH_TOKEN", "hunter2-hunter2-hunter2")];
    let _relay = pool.relay_with("notes", &provider.url, &token).await;
    let home = [("HOME", home.path().to_str().unwrap())];

    let unasked = run_with(
        &pool.url,
        &["connect", "notes", "-c", "cursor", "--write"],
        &home,
    )
    .await;
    assert_eq!(unasked.status.code(), Some(1));
    assert_eq!(std::fs::read_to_string(&file).unwrap(), before);
    let written = run_with(
        &pool.url,
        &["connect", "notes", "-c", "cursor", "--write", "--yes"],
        &home,
    )
    .await;

    let notes = String::from_utf8_lossy(&written.stderr).into_owned();
    assert_eq!(written.status.code(), Some(0), "{notes}");
    let after = std::fs::read_to_string(&file).unwrap();
    for line in before.lines().filter(|line| line.trim() != "}") {
        assert!(after.contains(line), "{line:?} in {after}");
    }
    let entry = format!("\"url\": \"{}\"", pool.mcp("notes"));
    assert!(after.contains(&entry), "{after}");
    // The server was asked, and wants a token: it is a variable of the person's.
    assert!(after.contains("Bearer ${env:NOTES_TOKEN}"), "{after}");
    assert!(
        !after.contains("hunter2") && !notes.contains("hunter2"),
        "{notes}"
    );
    let backup = file.with_file_name("mcp.json.before-llamapool");
    assert_eq!(std::fs::read_to_string(backup).unwrap(), before);
}

/// A server of MCP 2026-07-28, which refuses what is not of it. Its tool returns the headers that it got.
async fn modern() -> Provider {
    Provider::answering(|request: axum::extract::Request| async {
        let headers = request.headers().clone();
        let body = axum::body::to_bytes(request.into_body(), 1 << 20)
            .await
            .unwrap();
        let message: Value = serde_json::from_slice(&body).unwrap_or_default();
        let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
        let meta = &message["params"]["_meta"]["io.modelcontextprotocol/protocolVersion"];
        let is_modern = header("mcp-protocol-version") == Some("2026-07-28")
            && header("mcp-method") == message["method"].as_str()
            && meta == "2026-07-28";
        let result = match message["method"].as_str() {
            Some("server/discover") if is_modern => json!({
                "supportedVersions": ["2026-07-28"],
                "_meta": {"io.modelcontextprotocol/serverInfo": {"name": "modern", "version": "2"}},
            }),
            Some("tools/list") if is_modern => json!({"tools": [{"name": "where", "inputSchema": {
                "properties": {"region": {"type": "string", "x-mcp-header": "Region"}},
            }}]}),
            Some("tools/call") if is_modern => {
                let seen = [header("mcp-name"), header("mcp-param-region")];
                json!({"content": [{"type": "text", "text": format!("{seen:?}")}]})
            }
            _ => {
                let mut answer = json_answer("{}");
                *answer.status_mut() = axum::http::StatusCode::BAD_REQUEST;
                return answer;
            }
        };
        json_answer(&json!({"jsonrpc": "2.0", "id": message["id"], "result": result}).to_string())
    })
    .await
}

#[tokio::test]
async fn a_server_of_the_revision_without_sessions_is_called() {
    let pool = Pool::start().await;
    let provider = modern().await;
    let _relay = pool.relay("notes", &provider.url).await;

    let arguments = ["call", "notes", "where", "-a", "region=eu-1"];
    let (code, shown, notes) = run(&pool, &arguments).await;

    assert_eq!(code, 0, "{notes}");
    assert_eq!(shown, "[Some(\"where\"), Some(\"eu-1\")]\n");
    assert!(notes.contains("modern 2, MCP 2026-07-28"), "{notes}");
}
