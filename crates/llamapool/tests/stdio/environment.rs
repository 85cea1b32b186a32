//! Start of a program: its command, its environment and its working directory.

use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;

use serde_json::{Value, json};

use crate::harness::{Pool, Process, WORKER_KEY};
use crate::processes::MARK;
use crate::scripted_program::{ScriptedProgram, command, new_mark};
use crate::session_client::{Session, call_request, initialize_request, read_message};

/// Secrets of the relay with distinct values.
const SECRETS: [(&str, &str); 3] = [
    ("AUTH_TOKEN", "secret-of-callers"),
    ("CLIENT_SECRET", "secret-of-the-id"),
    ("STATUS_TOKEN", "secret-of-the-status"),
];

/// Starts a relay that must not start, and returns its error message of one line.
async fn start_error(settings: &[(&str, &str)], arguments: &[&str]) -> String {
    let path = std::env::var("PATH").unwrap();
    let environment: Vec<_> = [("PATH", path.as_str())]
        .into_iter()
        .chain(settings.iter().copied())
        .collect();
    let (status, text) = Process::llamapool(arguments, &environment)
        .status_and_log()
        .await;

    assert_eq!(status.code(), Some(64), "{text}");
    assert_eq!(text.lines().count(), 1, "{text}");

    text
}

#[tokio::test]
async fn a_programs_environment_has_the_named_variables_and_no_secret() {
    let pool = Pool::start().await;
    let folder = tempfile::tempdir().unwrap();
    let directory = folder.path().canonicalize().unwrap();

    let path = std::env::var("PATH").unwrap();
    let others = [
        ("HOME", "/home/of/the-relay"),
        ("LC_ALL", "C.UTF-8"),
        ("NAMED", "by name"),
        ("NOT_NAMED", "no"),
        ("PROVIDER_ENV", "NAMED,GIVEN=a value,HOME=/another"),
        ("PROVIDER_DIR", directory.to_str().unwrap()),
    ];
    let settings: Vec<_> = SECRETS.into_iter().chain(others).collect();
    let program = ScriptedProgram::start_with(&pool, "sees", &[], &settings).await;
    let body = initialize_request("2025-06-18");
    let answer = program
        .post(body)
        .bearer_auth("secret-of-callers")
        .send()
        .await
        .unwrap();
    let session = answer.headers()["mcp-session-id"]
        .to_str()
        .unwrap()
        .to_owned();

    let call = call_request(&json!(1), "environment", &json!({}));
    let answer = program
        .post(call)
        .bearer_auth("secret-of-callers")
        .header("mcp-session-id", session)
        .send()
        .await;
    let result = read_message(answer.unwrap()).await["result"].clone();
    let expected = json!({
        "PATH": path, "HOME": "/another", "LC_ALL": "C.UTF-8", "NAMED": "by name", "GIVEN": "a value",
        MARK: program.mark,
    });

    assert_eq!(result["environment"], expected);
    assert_eq!(result["directory"], directory.to_str().unwrap());

    let processes = program.processes();
    let secrets = SECRETS.map(|(_, secret)| secret).into_iter();
    let secrets: Vec<_> = secrets.chain([WORKER_KEY]).collect();
    assert!(processes.iter().any(|process| process.is_guard()));
    for process in processes {
        let text = format!("{} {}", process.command, process.environment.join(" "));
        for secret in &secrets {
            assert!(!text.contains(secret), "{text}");
        }
    }
}

#[tokio::test]
async fn provider_env_must_not_name_a_secret_of_the_relay() {
    for secret in ["WORKER_KEY", "AUTH_TOKEN", "CLIENT_SECRET", "STATUS_TOKEN"] {
        let names = format!("HOME,{secret}");
        let settings = [("PROVIDER_ENV", names.as_str())];
        let text = start_error(&settings, &["mcp", "--", "true"]).await;
        assert!(
            text.contains("PROVIDER_ENV") && text.contains(secret),
            "{text}"
        );
    }
}

/// Starts a relay with variables in its environment, in `PROVIDER_ENV` and in a table, and returns
/// the environment of the program.
async fn environment_in_a_table(pool: &Pool, table: &str) -> Value {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("relay.toml");
    let command = serde_json::to_string(&command(&[])).unwrap();
    let text = format!(
        "provider_env = ['FROM_FILE=a,b', 'BOTH=far']\n[[provider]]\nid = 'table'\n\
         command = {command}\n{table}\n"
    );
    std::fs::write(&file, text).unwrap();

    let path = std::env::var("PATH").unwrap();
    let settings = [
        ("SERVER_URL", pool.url.as_str()),
        ("WORKER_KEY", WORKER_KEY),
        ("STATUS_ADDR", "off"),
        ("PATH", &path),
        ("NAMED", "by name"),
        ("SSL_CERT_FILE", "/etc/ca.pem"),
        ("HTTPS_PROXY", "http://me:hunter2@proxy.example:3128"),
        ("NO_PROXY", "127.0.0.1"),
        ("PROVIDER_ENV", "NAMED,MISSING"),
        ("CONFIG_FILE", file.to_str().unwrap()),
    ];
    let mut relay = Process::llamapool(&["mcp", "--reconnect"], &settings);
    pool.connected("table").await;
    relay
        .line("the missing variable is named", |line| {
            line.contains("are not set") && line.contains("MISSING") && line.contains("table")
        })
        .await;
    let session = Session::begin(&pool.http, &pool.mcp("table"), "2025-06-18").await;
    session.call_tool("environment", json!({})).await["environment"].clone()
}

#[tokio::test]
async fn the_environments_of_all_sources_add_up() {
    let pool = Pool::start().await;

    let found = environment_in_a_table(&pool, "env = { BOTH = 'near', OWN = 'x,Y=z' }").await;

    for (name, value) in [
        ("FROM_FILE", "a,b"),
        ("BOTH", "near"),
        ("OWN", "x,Y=z"),
        ("NAMED", "by name"),
        ("SSL_CERT_FILE", "/etc/ca.pem"),
        ("NO_PROXY", "127.0.0.1"),
    ] {
        assert_eq!(found[name], value, "{name}");
    }
    assert_eq!(found.get("HTTPS_PROXY"), None, "it has a password");
}

/// All mistakes of a file are told at once.
#[tokio::test]
async fn every_mistake_of_a_file_has_a_line() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("relay.toml");
    let text = "prot = 1\nmax_sessions = 0\n\
                [[provider]]\nid = 'a'\ncommand = 'npx -y x'\nenvironment = 'x'\n\
                [[provider]]\nid = 'a b'\ncommand = ['FOO=hunter2', 'npx']\n\
                [[provider]]\nid = 'c'\ncommand = ['sh -c x']\ndirectory = '/no/such/place'\n";
    std::fs::write(&file, text).unwrap();
    let path = std::env::var("PATH").unwrap();
    let settings = [
        ("PATH", path.as_str()),
        ("CONFIG_FILE", file.to_str().unwrap()),
    ];

    let (status, text) = Process::llamapool(&["mcp"], &settings)
        .status_and_log()
        .await;

    assert_eq!(status.code(), Some(64), "{text}");
    for part in [
        "\"prot\"",
        "MAX_SESSIONS",
        "\"environment\"",
        "CLIENT_ID",
        "\"FOO=…\"",
        "--provider-env NAME=value",
        "\"sh …\"",
        "as in -- npx -y server",
        "\"/no/such/place\"",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
    assert!(!text.contains("hunter2"), "{text}");
}

/// The programs of a relay run as the relay's own user, and its keys are in its environment.
#[tokio::test]
async fn a_program_cannot_read_the_relays_keys() {
    /// Prints what can be read of the environments of its parent, the guard, and of its parent.
    const LOOKS: &str = "relay=$(cut -d ' ' -f 4 /proc/$PPID/stat); \
                         tr '\\0' ' ' < /proc/$PPID/environ >&2; \
                         tr '\\0' ' ' < /proc/$relay/environ >&2; \
                         echo looked at $PPID and $relay >&2; cat > /dev/null";

    let path = std::env::var("PATH").unwrap();
    let mut relay = std::process::Command::new(env!("CARGO_BIN_EXE_llamapool"));
    relay
        .args(["mcp", "--reconnect", "--", "sh", "-c", LOOKS])
        .env_clear()
        .env("PATH", path)
        .env("SERVER_URL", "ws://127.0.0.1:1")
        .env("WORKER_KEY", "the-key-of-the-relay")
        .env("STATUS_ADDR", "off");
    if rustix::process::geteuid().is_root() {
        // Root can read everything.
        relay.uid(65534).gid(65534);
    }

    let mut relay = Process::start(relay.into());

    let looked = format!("and {}", relay.id());
    relay
        .line("the program has looked", |line| line.contains(&looked))
        .await;
    assert!(!relay.log().contains("the-key-of"), "{}", relay.log());
}

#[tokio::test]
async fn a_missing_program_stops_the_start_with_its_name() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("not-executable");
    std::fs::write(&file, "").unwrap();
    let directory = folder.path().to_str().unwrap();

    for (program, settings) in [
        ("no-such-program", &[][..]),
        ("/no/such/program", &[]),
        (file.to_str().unwrap(), &[]),
        (directory, &[]),
        ("python3", &[("PROVIDER_ENV", "PATH=/nowhere")]),
    ] {
        let text = start_error(settings, &["mcp", "--", program, "--its-own", "flag"]).await;
        assert!(text.contains(program), "{text}");

        let by_name = [&[("PROVIDER_COMMAND", program)], settings].concat();
        assert!(start_error(&by_name, &["mcp"]).await.contains(program));
    }
}

#[tokio::test]
async fn a_program_comes_from_the_command_line_or_the_settings() {
    let pool = Pool::start().await;
    let mark = new_mark();
    let provider_env = format!("{MARK}={mark}");
    let quoted: Vec<String> = command(&[])
        .iter()
        .map(|word| format!("'{word}'"))
        .collect();

    let _relay = {
        let path = std::env::var("PATH").unwrap();
        let settings = [
            ("SERVER_URL", pool.url.as_str()),
            ("WORKER_KEY", WORKER_KEY),
            ("CLIENT_ID", "quoted"),
            ("STATUS_ADDR", "off"),
            ("PATH", &path),
            ("PROVIDER_ENV", &provider_env),
            ("PROVIDER_COMMAND", &quoted.join(" ")),
        ];
        Process::llamapool(&["mcp", "--reconnect"], &settings)
    };
    pool.connected("quoted").await;
    let session = Session::begin(&pool.http, &pool.mcp("quoted"), "2025-06-18").await;
    assert_eq!(
        session.call_tool("echo", json!({ "a b": "'c'" })).await["echo"],
        json!({ "a b": "'c'" })
    );

    let contradicted = start_error(
        &[("PROVIDER_URL", "http://127.0.0.1:1/mcp")],
        &["mcp", "--", "true"],
    )
    .await;
    assert!(contradicted.contains("PROVIDER_URL"), "{contradicted}");
}

#[tokio::test]
async fn a_program_that_disappears_makes_its_provider_unreachable() {
    let pool = Pool::start().await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("script");
    let words: Vec<String> = command(&[])
        .iter()
        .map(|word| format!("'{word}'"))
        .collect();
    std::fs::write(&file, format!("#!/bin/sh\nexec {}\n", words.join(" "))).unwrap();
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o755)).unwrap();

    let path = std::env::var("PATH").unwrap();
    let settings = [
        ("SERVER_URL", pool.url.as_str()),
        ("WORKER_KEY", WORKER_KEY),
        ("CLIENT_ID", "disappears"),
        ("STATUS_ADDR", "off"),
        ("PATH", &path),
    ];
    let _relay = Process::llamapool(
        &["mcp", "--reconnect", "--", file.to_str().unwrap()],
        &settings,
    );
    pool.connected("disappears").await;
    let session = Session::begin(&pool.http, &pool.mcp("disappears"), "2025-06-18").await;

    std::fs::remove_file(&file).unwrap();
    let initialize = serde_json::from_str(&initialize_request("2025-06-18")).unwrap();
    let refused = pool.post("disappears", &initialize).await;
    assert_ne!(refused.status(), 200);

    let is_down = |client: &Value| client["provider"]["status"] == "unreachable";
    let client = pool.until_client("disappears", "it is down", is_down).await;
    assert!(
        client["provider"]["error"]
            .as_str()
            .unwrap()
            .contains("exit status 127"),
        "{client}"
    );
    assert_eq!(
        session.call_tool("echo", json!({})).await["echo"],
        json!({})
    );
}
