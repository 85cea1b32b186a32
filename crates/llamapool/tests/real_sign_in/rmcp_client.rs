//! rmcp, the official Rust client, signs in, calls, refreshes its token, and is locked out.

use std::process::Stdio;

use rmcp::ServiceExt;
use rmcp::model::CallToolRequestParams;
use rmcp::transport::StreamableHttpClientTransport;
use rmcp::transport::auth::{AuthClient, AuthorizationRequest, OAuthState};
use rmcp::transport::streamable_http_client::StreamableHttpClientTransportConfig;
use serde_json::json;
use tokio::process::Command;

use crate::harness::soon;
use crate::parts::{PATH, root};
use crate::place::Place;

const CALLBACK: &str = "http://127.0.0.1:33418/callback";
/// More calls than fit into the life of a token.
const MAX_CALLS: usize = 2_000;

/// Runs the browser at a URL. Returns the URL that it comes back with.
async fn browse(place: &Place, url: &str) -> String {
    let mut browser = Command::new("python3");
    browser
        .arg(root().join("tests/parts/sign_in/browser.py"))
        .arg(url)
        .env_clear()
        .env("PATH", PATH)
        .env("LLAMAPOOL_KEY", &place.key)
        .env("LLAMAPOOL_CALLBACK", "print")
        .stdin(Stdio::null())
        .kill_on_drop(true);
    let output = soon("the browser is back", browser.output()).await.unwrap();
    let log = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{log}");
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

#[tokio::test]
async fn the_official_rust_client() {
    let place = Place::start("1s").await;
    let mut state = OAuthState::new(place.url(), None).await.unwrap();
    let request = AuthorizationRequest::new(CALLBACK).with_client_name("rmcp");
    state.start_authorization(request).await.unwrap();
    let url = state.get_authorization_url().await.unwrap();
    let back = browse(&place, &url).await;
    state.handle_callback_url(&back).await.unwrap();
    let manager = state.into_authorization_manager().unwrap();

    let client = AuthClient::new(reqwest::Client::new(), manager);
    let config = StreamableHttpClientTransportConfig::with_uri(place.url());
    let transport = StreamableHttpClientTransport::with_client(client, config);
    let client = soon("it connects", ().serve(transport)).await.unwrap();
    let call = async || {
        let arguments = json!({ "text": "grüße 🦙" }).as_object().cloned().unwrap();
        let call = CallToolRequestParams::new("echo").with_arguments(arguments);
        soon("the call is over", client.call_tool(call)).await
    };
    let text = |result: rmcp::model::CallToolResult| {
        let text = result.content[0].as_text().unwrap();
        text.text.clone()
    };

    assert_eq!(text(call().await.unwrap()), "grüße 🦙");
    let mut calls = 1;
    while place.refreshed().await == 0 {
        calls += 1;
        assert!(calls < MAX_CALLS, "it never refreshes");
        assert_eq!(text(call().await.unwrap()), "grüße 🦙");
    }

    place.revoke().await;
    assert!(call().await.is_err(), "it is locked out");
}
