//! The scenarios of the official conformance suite for authorization servers.

use std::process::Stdio;

use serde_json::Value;
use tokio::process::Command;

use crate::harness::soon;
use crate::parts::{PATH, root};
use crate::place::{Place, free_port};

/// Runs the scenarios. Returns the checks that did not succeed, and the number of all.
async fn checks(place: &Place, with_resource: bool) -> (Vec<Value>, usize) {
    let port = free_port().to_string();
    let redirect = format!("http://127.0.0.1:{port}/callback");
    let client = place
        .run(&[
            "client",
            "add",
            "--name",
            "the suite",
            "--redirect",
            &redirect,
        ])
        .await;
    let mut command = Command::new("python3");
    command
        .arg(root().join("tests/parts/sign_in/suite.py"))
        .args([&*format!("{}/oauth", place.pool.url), client.trim(), &*port])
        .env_clear()
        .env("LLAMAPOOL_KEY", &place.key)
        .env("LLAMAPOOL_ID", crate::place::ID)
        .env(
            "LLAMAPOOL_PARTS",
            std::env::var_os("LLAMAPOOL_PARTS").unwrap(),
        )
        .env("PATH", PATH)
        .stdin(Stdio::null())
        .kill_on_drop(true);
    if with_resource {
        command.arg(place.url());
    }
    let output = soon("the suite is through", command.output())
        .await
        .unwrap();
    let log = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{log}");

    let output = String::from_utf8(output.stdout).unwrap();
    let all: Vec<Value> = output
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    for scenario in [
        "authorization-server-metadata-endpoint",
        "authorization-code-grant",
    ] {
        let is_it = |check: &&Value| check["scenario"].as_str().unwrap().contains(scenario);
        assert!(
            all.iter().any(|check| is_it(&check)),
            "{scenario}: {all:?}\n{log}"
        );
    }
    let number = all.len();
    let (failed, succeeded): (Vec<_>, Vec<_>) = all
        .into_iter()
        .partition(|check| check["status"] != "SUCCESS");
    assert!(!succeeded.is_empty(), "{log}");
    (failed, number)
}

#[tokio::test]
async fn every_check_succeeds_with_the_resource() {
    let place = Place::start("8h").await;

    let (failed, number) = checks(&place, true).await;

    assert!(failed.is_empty() && number >= 2, "{failed:?} of {number}");
}

/// As the suite does it by default: the person chooses the service on the page.
#[tokio::test]
async fn every_check_succeeds_without_the_resource() {
    let place = Place::start("8h").await;

    let (failed, number) = checks(&place, false).await;

    assert!(failed.is_empty() && number >= 2, "{failed:?} of {number}");
}
