//! FastMCP's client signs in at FastMCP's own authorization server, which is private: with the public URL alone.

use std::process::Stdio;

use serde_json::{Value, json};

use crate::harness::{Pool, soon};
use crate::parts::{FASTMCP_4, Served, program};

/// Runs the client at a URL. Returns its observations.
async fn sign_in(url: &str) -> Vec<Value> {
    let mut command = program(FASTMCP_4, "sign_in.py");
    command.arg(url).stdin(Stdio::null()).kill_on_drop(true);
    let output = soon("the client is through", command.output())
        .await
        .expect("the client starts");
    let seen = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);

    assert!(
        output.status.success(),
        "the client has failed:\n{seen}\n{errors}"
    );

    seen.lines()
        .map(|line| serde_json::from_str(line).expect("a JSON object a line"))
        .collect()
}

#[tokio::test]
async fn a_client_finds_signs_in_and_calls_with_the_public_url_alone() {
    let pool = Pool::start().await;
    let provider = Served::start(FASTMCP_4, "guarded.py").await;
    let _relay = pool
        .relay_with("guarded", &provider.url, &[("PROVIDER_OAUTH", "true")])
        .await;

    let through = sign_in(&pool.mcp("guarded")).await;

    assert_eq!(
        through[through.len() - 2..],
        [
            json!({ "saw": "result", "text": "grüße 🦙" }),
            json!({ "saw": "done" })
        ]
    );

    let asked: Vec<_> = through.iter().filter_map(|it| it["url"].as_str()).collect();
    for url in &asked {
        assert!(url.starts_with(&pool.url), "{url} is not public");
    }

    for endpoint in ["register", "authorize", "token"] {
        let public = format!("{}/~announced/{endpoint}", pool.mcp("guarded"));
        assert!(
            asked.contains(&&*public),
            "{public} was not asked: {asked:?}"
        );
    }

    let direct = sign_in(&provider.url).await;
    let statuses = |seen: &[Value]| {
        seen.iter()
            .map(|it| it["status"].clone())
            .collect::<Vec<_>>()
    };

    assert_eq!(
        statuses(&through),
        statuses(&direct),
        "the same steps as straight at the provider"
    );
}
