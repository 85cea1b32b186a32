//! What a program is started with: its environment, its directory; and that it is there at all.

use serde_json::{Value, json};

use crate::faulty::{Faulty, command, new_mark};
use crate::harness::{Pool, Process};

/// Secrets of the relay, each with a value of its own.
const SECRETS: [(&str, &str); 3] = [
    ("AUTH_TOKEN", "secret-of-callers"),
    ("CLIENT_SECRET", "secret-of-the-id"),
    ("STATUS_TOKEN", "secret-of-the-status"),
];

/// What a relay says that does not start.
async fn refusal(settings: &[(&str, &str)], arguments: &[&str]) -> String {
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
async fn a_program_sees_what_it_needs_and_what_is_named_and_no_secret() {
    let pool = Pool::start().await;
    let folder = tempfile::tempdir().unwrap();
    let directory = folder.path().canonicalize().unwrap();
    let path = std::env::var("PATH").unwrap();
    let own = [
        ("HOME", "/home/of/somebody"),
        ("LC_ALL", "C.UTF-8"),
        ("NAMED", "by name"),
        ("NOT_NAMED", "no"),
        ("PROVIDER_ENV", "NAMED,GIVEN=a value,HOME=/another"),
        ("PROVIDER_DIR", directory.to_str().unwrap()),
    ];
    let settings: Vec<_> = SECRETS.into_iter().chain(own).collect();
    let program = Faulty::with(&pool, "sees", &[], &settings).await;
    let body = crate::session::initialize("2025-06-18");
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
    let call = crate::session::call(&json!(1), "surroundings", &json!({}));
    let answer = program
        .post(call)
        .bearer_auth("secret-of-callers")
        .header("mcp-session-id", session)
        .send()
        .await;
    let result = crate::session::message(answer.unwrap()).await["result"].clone();
    let expected = json!({
        "PATH": path, "HOME": "/another", "LC_ALL": "C.UTF-8", "NAMED": "by name", "GIVEN": "a value",
        crate::marked::MARK: program.mark,
    });
    assert_eq!(result["environment"], expected);
    assert_eq!(result["directory"], directory.to_str().unwrap());
    let processes = program.processes();
    assert!(processes.iter().any(|process| process.is_guard()));
    for process in processes {
        let text = format!("{} {}", process.command, process.environment.join(" "));
        for (_, secret) in SECRETS
            .into_iter()
            .chain([("", crate::harness::WORKER_KEY)])
        {
            assert!(!text.contains(secret), "{text}");
        }
    }
}

#[tokio::test]
async fn a_program_must_not_be_given_a_secret_of_the_relay() {
    for secret in ["WORKER_KEY", "AUTH_TOKEN", "CLIENT_SECRET", "STATUS_TOKEN"] {
        let text = refusal(
            &[("PROVIDER_ENV", &format!("HOME,{secret}"))],
            &["mcp", "--", "true"],
        )
        .await;
        assert!(
            text.contains("PROVIDER_ENV") && text.contains(secret),
            "{text}"
        );
    }
}

#[tokio::test]
async fn a_program_that_is_not_there_stops_the_start_and_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("not-executable");
    std::fs::write(&file, "").unwrap();
    let there = folder.path().to_str().unwrap();
    for (program, settings) in [
        ("no-such-program-of-anybody", &[][..]),
        ("/no/such/program", &[]),
        (file.to_str().unwrap(), &[]),
        (there, &[]),
        ("python3", &[("PROVIDER_ENV", "PATH=/nowhere")]),
    ] {
        let text = refusal(settings, &["mcp", "--", program, "--its-own", "flag"]).await;
        assert!(text.contains(program), "{text}");
        let by_name = [&[("PROVIDER_COMMAND", program)], settings].concat();
        assert!(refusal(&by_name, &["mcp"]).await.contains(program));
    }
}

#[tokio::test]
async fn a_program_is_found_on_the_command_line_and_in_the_settings() {
    let pool = Pool::start().await;
    let mark = new_mark();
    let quoted: Vec<String> = command(&[])
        .iter()
        .map(|word| format!("'{word}'"))
        .collect();
    let _relay = {
        let path = std::env::var("PATH").unwrap();
        let settings = [
            ("SERVER_URL", pool.url.as_str()),
            ("WORKER_KEY", crate::harness::WORKER_KEY),
            ("CLIENT_ID", "quoted"),
            ("STATUS_ADDR", "off"),
            ("PATH", &path),
            ("PROVIDER_ENV", &format!("{}={mark}", crate::marked::MARK)),
            ("PROVIDER_COMMAND", &quoted.join(" ")),
        ];
        Process::llamapool(&["mcp", "--reconnect"], &settings)
    };
    pool.connected("quoted").await;
    let session =
        crate::session::Session::begin(&pool.http, &pool.mcp("quoted"), "2025-06-18").await;
    assert_eq!(
        session.call("echo", json!({ "a b": "'c'" })).await["echo"],
        json!({ "a b": "'c'" })
    );
    let contradicted = refusal(
        &[("PROVIDER_URL", "http://127.0.0.1:1/mcp")],
        &["mcp", "--", "true"],
    )
    .await;
    assert!(contradicted.contains("PROVIDER_URL"), "{contradicted}");
}

#[tokio::test]
async fn a_program_that_disappears_is_an_error_that_says_so() {
    let pool = Pool::start().await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("script");
    let words: Vec<String> = command(&[])
        .iter()
        .map(|word| format!("'{word}'"))
        .collect();
    std::fs::write(&file, format!("#!/bin/sh\nexec {}\n", words.join(" "))).unwrap();
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o755)).unwrap();
    let path = std::env::var("PATH").unwrap();
    let settings = [
        ("SERVER_URL", pool.url.as_str()),
        ("WORKER_KEY", crate::harness::WORKER_KEY),
        ("CLIENT_ID", "disappears"),
        ("STATUS_ADDR", "off"),
        ("PATH", &path),
    ];
    let _relay = Process::llamapool(
        &["mcp", "--reconnect", "--", file.to_str().unwrap()],
        &settings,
    );
    pool.connected("disappears").await;
    let session =
        crate::session::Session::begin(&pool.http, &pool.mcp("disappears"), "2025-06-18").await;
    std::fs::remove_file(&file).unwrap();
    let refused = pool
        .post(
            "disappears",
            &serde_json::from_str(&crate::session::initialize("2025-06-18")).unwrap(),
        )
        .await;
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
    assert_eq!(session.call("echo", json!({})).await["echo"], json!({}));
}
