//! Calls to the id: the one without a credential, which leads to sign-in, and the first ones with a key.

use bytes::Bytes;
use http::{Request, StatusCode, header};
use http_body_util::Full;
use llamapool_wire::Secret;
use serde_json::{Value, json};

use super::answer::Answer;
use super::https::Client;
use super::report::Finding;

const HEALTH: &str = "health";
const INITIALIZE: &str = "initialize";
const TOOLS: &str = "tools";
/// The revision that is offered. A server answers with the one that it has.
pub(super) const REVISION: &str = "2025-06-18";

/// Looks whether the server itself answers, and not something in front of it.
pub(super) async fn health(client: &Client, path: &str) -> Finding {
    let in_front = "Something in front of the server answers: a CDN, a firewall or another program. \
                    Let it forward /api/, /oauth/, /.well-known/ and /readyz unchanged.";
    match client.get(path).await {
        Err(error) => Finding::fail(HEALTH, format!("there is no answer: {error}"), in_front),
        Ok(answer) if answer.json() == Some(json!({"status": "ready"})) => {
            Finding::ok(HEALTH, "the server is ready")
        }
        Ok(answer) if answer.cause() == Some("server_draining") => {
            let remedy = "It is being stopped; try again when it has started.";
            Finding::fail(HEALTH, "the server is ending", remedy)
        }
        Ok(answer) if answer.cause() == Some("host_refused") => {
            let remedy =
                "PUBLIC_URL or ALLOWED_HOSTS of the server must have the name of this URL.";
            Finding::fail(HEALTH, "the server does not answer to this name", remedy)
        }
        Ok(answer) => Finding::fail(
            HEALTH,
            format!(
                "{path} has {}, expected a server that is ready",
                answer.shown()
            ),
            in_front,
        ),
    }
}

/// Sends the first message of every client.
pub(super) async fn initialize(
    client: &Client,
    path: &str,
    key: Option<&Secret>,
    agent: Option<&str>,
) -> Result<Answer, String> {
    let message = initialize_message();
    send(
        client,
        path,
        &message,
        Caller {
            key,
            agent,
            session: None,
        },
    )
    .await
}

/// Returns the first message of every client.
pub(super) fn initialize_message() -> Value {
    json!({
        "jsonrpc": "2.0", "id": 1, "method": "initialize",
        "params": {
            "protocolVersion": REVISION,
            "capabilities": {},
            "clientInfo": {"name": "llamapool-doctor", "version": env!("CARGO_PKG_VERSION")},
        },
    })
}

/// Makes the first calls with a key.
pub(super) async fn with_key(client: &Client, path: &str, key: &Secret) -> Vec<Finding> {
    let answer = match initialize(client, path, Some(key), None).await {
        Ok(answer) => answer,
        Err(error) => {
            let remedy = "The log of the relay says what the MCP server does.";
            return vec![Finding::fail(INITIALIZE, error, remedy)];
        }
    };
    let Some(result) = result_of(&answer) else {
        return vec![refused(INITIALIZE, &answer)];
    };
    let name = result["serverInfo"]["name"].as_str().unwrap_or("a server");
    let revision = result["protocolVersion"].as_str().unwrap_or("no revision");
    let found = format!("{name} answers, in MCP {revision}");
    let mut findings = vec![Finding::ok(INITIALIZE, found)];

    let session = answer.header(header::HeaderName::from_static("mcp-session-id"));
    let caller = Caller {
        key: Some(key),
        agent: None,
        session,
    };
    let initialized = json!({"jsonrpc": "2.0", "method": "notifications/initialized"});
    // Its answer has nothing to read; a server that refuses it refuses the next one, too.
    let _ = send(client, path, &initialized, caller).await;
    let list = json!({"jsonrpc": "2.0", "id": 2, "method": "tools/list", "params": {}});
    findings.push(match send(client, path, &list, caller).await {
        Err(error) => Finding::fail(TOOLS, error, "The log of the relay says why."),
        Ok(answer) => match result_of(&answer) {
            None => refused(TOOLS, &answer),
            Some(result) => {
                let tools = result["tools"].as_array().map_or(0, Vec::len);
                let more = match result["nextCursor"].as_str() {
                    Some(_) => " and more",
                    None => "",
                };
                Finding::ok(TOOLS, format!("tools/list has {tools} tools{more}"))
            }
        },
    });
    if session.is_some() {
        let request = request("DELETE", path, caller, Full::default());
        if let Ok(request) = request {
            // The session would end by itself.
            let _ = client.send(request).await;
        }
    }
    findings
}

/// Returns what a refusal of a call means.
pub(super) fn refused(step: &'static str, answer: &Answer) -> Finding {
    let found = format!("the call has {}", answer.shown());
    let remedy = match (answer.cause(), answer.status) {
        (Some("relay_offline"), _) => {
            "No relay serves this id now: start `llamapool mcp` beside the MCP server, with this id."
        }
        (Some("provider_unreachable"), _) => {
            "The relay is connected, and its MCP server does not answer it: its log says why."
        }
        (Some("key_invalid"), _) => {
            "The key is not valid: `llamapool key list` says whether it has expired or was revoked."
        }
        (Some("not_allowed"), _) => {
            "The key is not for this id, or not from this network: `llamapool key edit ID --ids …`."
        }
        (Some("rate_limited" | "too_many_calls" | "quota_used_up"), _) => {
            "The key or the id has used up its limit: wait, or raise it."
        }
        (Some(_), _) => "docs/reference/errors.md says what this error means.",
        (None, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN) => {
            "Something else than llamapool refuses: a CDN or firewall in front, or the MCP server \
             itself, which may want a token of its own from the relay (PROVIDER_HEADERS)."
        }
        (None, _) => "The MCP server itself answers so: its own log says why.",
    };
    Finding::fail(step, found, remedy)
}

/// Who a message comes from.
#[derive(Clone, Copy, Default)]
pub(super) struct Caller<'a> {
    pub(super) key: Option<&'a Secret>,
    /// The client that is played.
    pub(super) agent: Option<&'a str>,
    pub(super) session: Option<&'a str>,
}

/// Sends a message to a path.
pub(super) async fn send(
    client: &Client,
    path: &str,
    message: &Value,
    caller: Caller<'_>,
) -> Result<Answer, String> {
    let body = Full::from(message.to_string());
    client.send(request("POST", path, caller, body)?).await
}

fn request(
    method: &str,
    path: &str,
    caller: Caller<'_>,
    body: Full<Bytes>,
) -> Result<Request<Full<Bytes>>, String> {
    let mut request = Request::builder()
        .method(method)
        .uri(path)
        .header(header::CONTENT_TYPE, "application/json")
        .header(header::ACCEPT, "application/json, text/event-stream");
    if let Some(agent) = caller.agent {
        request = request.header(header::USER_AGENT, agent);
    }
    if let Some(key) = caller.key {
        let credential = format!("Bearer {}", key.expose());
        request = request.header(header::AUTHORIZATION, credential);
    }
    if let Some(session) = caller.session {
        request = request
            .header("mcp-session-id", session)
            .header("mcp-protocol-version", REVISION);
    }
    // The text of the error would repeat no value.
    request.body(body).map_err(|error| error.to_string())
}

/// Returns the result in an answer, `None` if it has none.
pub(super) fn result_of(answer: &Answer) -> Option<Value> {
    let message: Value = serde_json::from_slice(&answer.body).ok()?;
    let result = message.get("result")?;
    answer.status.is_success().then(|| result.clone())
}
