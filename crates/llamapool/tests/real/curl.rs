//! curl as a caller, with each version of HTTP that it has.

use serde_json::Value;

use crate::harness::Pool;
use crate::parts::{FASTMCP_2, FASTMCP_4, Served};
use crate::shell::run;

const LIST: &str = r#"{"jsonrpc": "2.0", "id": 2, "method": "tools/list", "params": {}}"#;

/// Runs curl. Returns the body, and in a line of its own the version of HTTP, the status and the
/// content type.
async fn curl(url: &str, options: &str) -> (Value, String) {
    let command = format!(
        "curl -s -X POST {url} -H 'Content-Type: application/json' {options} -d '{LIST}' \
         -w '\\n%{{http_version}} %{{http_code}} %{{content_type}}'"
    );
    let written = run(&command).await;
    let (body, facts) = written.rsplit_once('\n').unwrap();
    (
        serde_json::from_str(body).unwrap_or_else(|error| panic!("{command}: {error}: {body}")),
        facts.to_owned(),
    )
}

#[tokio::test]
async fn curl_is_answered_alike_over_http_1_and_http_2() {
    let pool = Pool::start().await;

    let clock = Served::start(FASTMCP_2, "serve_clock.py").await;
    let _relay = pool.relay("clock", &clock.url).await;

    let (plain, facts) = curl(&pool.mcp("clock"), "").await;

    assert_eq!(facts, "1.1 200 application/json");
    assert_eq!(plain["result"]["tools"][0]["name"], "time/now");

    for (options, version) in [("--http2-prior-knowledge", "2"), ("--http1.0", "1")] {
        let (answer, facts) = curl(&pool.mcp("clock"), options).await;

        assert_eq!(
            facts,
            format!("{version} 200 application/json"),
            "{options}"
        );
        assert_eq!(answer, plain, "{options}");
    }
}

/// A server with sessions answers with an event stream; curl, which accepts anything, gets one JSON
/// object.
#[tokio::test]
async fn curl_gets_one_json_answer_where_the_provider_streams() {
    let pool = Pool::start().await;
    let provider = Served::start(FASTMCP_4, "stateful.py").await;
    let _relay = pool.relay("stateful", &provider.url).await;

    for (options, version) in [("", "1.1"), ("--http2-prior-knowledge", "2")] {
        let initialize = r#"{"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": {"protocolVersion": "2025-11-25",
            "capabilities": {}, "clientInfo": {"name": "curl", "version": "0"}}}"#;
        let url = pool.mcp("stateful");
        let hello = run(&format!(
            "curl -s {options} -X POST {url} -H 'Content-Type: application/json' -d '{initialize}' -o /dev/null \
             -w '%{{http_version}} %{{http_code}} %header{{mcp-session-id}}'"
        ))
        .await;
        let session = hello
            .strip_prefix(&format!("{version} 200 "))
            .unwrap_or_else(|| panic!("{options}: {hello}"));

        assert!(!session.is_empty());

        let (list, facts) = curl(&url, &format!("{options} -H 'Mcp-Session-Id: {session}'")).await;
        assert_eq!(facts, format!("{version} 200 application/json"));
        assert_eq!(list["result"]["tools"][0]["name"], "count", "{list}");
    }
}
