//! Programs and HTTP providers in one relay, each with its own id and settings.

use std::io::Write;

use serde_json::{Value, json};
use tempfile::NamedTempFile;

use crate::harness::{Pool, Process, Provider, WORKER_KEY, json_answer, tools_call};
use crate::processes::{MARK, processes_with, until_all_ended};
use crate::scripted_program::{command, new_mark};
use crate::session_client::{Session, call_request, initialize_request, mcp_error, send};

/// Writes a configuration with an HTTP provider, two programs with these marks, and one that does
/// not run.
fn configuration(http_url: &str, mark: &str, other_mark: &str) -> NamedTempFile {
    let command = |traits: &[&str]| serde_json::to_string(&command(traits)).unwrap();
    let mut file = tempfile::Builder::new().suffix(".toml").tempfile().unwrap();
    write!(
        file,
        "provider_env = '{MARK}={mark},FOR_ALL=1'\n\
         [[provider]]\nid = 'http'\nurl = '{http_url}'\n\
         [[provider]]\nid = 'program'\ncommand = {}\nmax_sessions = 1\n\
         [[provider]]\nid = 'other'\ncommand = {}\nenv = '{MARK}={other_mark}'\nshared_session = true\n\
         [[provider]]\nid = 'down'\ncommand = ['false']\n",
        command(&[]),
        command(&["modern", "dual"]),
    )
    .unwrap();
    file
}

fn start_relay(pool: &Pool, configuration: &NamedTempFile) -> Process {
    let path = std::env::var("PATH").unwrap();
    let settings = [
        ("CONFIG_FILE", configuration.path().to_str().unwrap()),
        ("SERVER_URL", &pool.url),
        ("WORKER_KEY", WORKER_KEY),
        ("STATUS_ADDR", "off"),
        ("PATH", &path),
    ];
    Process::llamapool(&["mcp", "--reconnect"], &settings)
}

/// Begins the one session that the provider `program` admits, and checks its environment.
async fn begin_the_only_session(pool: &Pool, mark: &str) -> Session {
    let session = Session::begin(&pool.http, &pool.mcp("program"), "2025-06-18").await;

    let environment = session.call_tool("environment", json!({})).await["environment"].clone();
    assert_eq!(
        (&environment["FOR_ALL"], &environment[MARK]),
        (&json!("1"), &json!(mark))
    );

    let initialize = serde_json::from_str(&initialize_request("2025-06-18")).unwrap();
    let full = pool.post("program", &initialize).await;
    assert_eq!(full.headers()["llamapool-error"], "too_many_sessions");

    session
}

#[tokio::test]
async fn one_relay_serves_programs_and_http_providers() {
    let pool = Pool::start().await;
    let http = Provider::answering(async |_| json_answer(r#"{"from":"http"}"#)).await;
    let mark = new_mark();
    let other_mark = new_mark();
    let file = configuration(&http.url, &mark, &other_mark);

    let mut relay = start_relay(&pool, &file);
    for id in ["http", "program", "other", "down"] {
        pool.connected(id).await;
    }

    assert_eq!(
        pool.post("http", &tools_call(1, "x"))
            .await
            .json::<Value>()
            .await
            .unwrap(),
        json!({ "from": "http" })
    );

    let session = begin_the_only_session(&pool, &mark).await;
    let without_session = send(
        pool.http
            .post(pool.mcp("program"))
            .header("content-type", "application/json")
            .body("{}"),
    )
    .await;
    assert_eq!(mcp_error(without_session).await.0, 400);

    let body = call_request(&json!(1), "environment", &json!({}));
    let plain = pool
        .http
        .post(pool.mcp("other"))
        .header("content-type", "application/json")
        .body(body);
    let environment =
        send(plain).await.json::<Value>().await.unwrap()["result"]["environment"].clone();

    assert_eq!(
        (&environment["FOR_ALL"], &environment[MARK]),
        (&json!("1"), &json!(other_mark)),
        "what is set for all adds up with what the table sets"
    );

    let theirs = send(
        pool.http
            .post(pool.mcp("other"))
            .header("mcp-session-id", &session.id),
    );
    assert_ne!(
        theirs.await.status(),
        200,
        "a session is one of its own provider"
    );

    let is_down = |client: &Value| client["provider"]["status"] == "unreachable";
    pool.until_client("down", "its program does not run", is_down)
        .await;
    for id in ["program", "other", "http"] {
        assert_eq!(
            pool.client(id).await["provider"]["status"],
            "reachable",
            "{id}"
        );
    }

    let bridge = |client: &Value| client["relays"][0]["bridge"].clone();
    assert_eq!(bridge(&pool.client("program").await)["sessions"], 1);
    assert_eq!(bridge(&pool.client("http").await), Value::Null);

    assert!(!processes_with(&mark).is_empty() && !processes_with(&other_mark).is_empty());

    relay.signal("TERM").await;
    until_all_ended(&mark).await;
    until_all_ended(&other_mark).await;
    relay.ended().await;
}

/// Ten programs would otherwise write lines of which none can be told from another's. What a program
/// says at each of its retries is in the log once.
#[tokio::test]
async fn every_line_about_a_program_names_its_provider() {
    let pool = Pool::start().await;
    let obstacle = NamedTempFile::new().unwrap();
    let ends = format!("exits-while={}", obstacle.path().display());
    let command = |traits: &[&str]| serde_json::to_string(&command(traits)).unwrap();
    let mut file = tempfile::Builder::new().suffix(".toml").tempfile().unwrap();
    write!(
        file,
        "[[provider]]\nid = 'ends'\ncommand = {}\n[[provider]]\nid = 'runs'\ncommand = {}\n",
        command(&[&ends]),
        command(&[]),
    )
    .unwrap();

    let mut relay = start_relay(&pool, &file);
    let end = relay
        .event("the provider's program has ended by itself")
        .await;
    relay
        .nth_line(3, "it has ended three times", |line| {
            line.contains("ended by itself")
        })
        .await;

    assert_eq!(
        (&end["provider"], &end["last_words"]),
        (&json!("ends"), &json!("not while there is this file"))
    );
    for about_a_program in ["started the provider's program", "the provider says"] {
        for line in relay.lines_with(about_a_program) {
            let event: Value = serde_json::from_str(&line).unwrap();
            let provider = event["provider"].as_str().unwrap_or_default();
            assert!(["ends", "runs"].contains(&provider), "{line}");
        }
    }
    let said = relay.lines_with("\"the provider says\"");
    let at_info = said.iter().filter(|line| line.contains("INFO")).count();
    assert!(said.len() >= 3, "{said:?}");
    assert_eq!(at_info, 1, "{said:?}");
}
