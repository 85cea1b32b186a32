//! The actions of a caller, drawn from the seed: one call or session after the other, until it is
//! to stop.

use std::time::Duration;

use rand::RngExt;
use rand::rngs::StdRng;
use reqwest::RequestBuilder;
use serde_json::json;
use tokio::sync::watch;

use super::exchange::Leave;
use super::{ANY_ANSWER, Caller, Setting, session};
use crate::history::Operation;
use crate::tool::{self, Arguments};

/// The revision of MCP without sessions.
const STATELESS: &str = "2026-07-28";
/// The ids whose provider speaks HTTP.
const HTTP_IDS: [&str; 2] = ["plain", "shared"];
/// The ids that have sessions.
const SESSION_IDS: [&str; 3] = ["plain", "shared", "stdio"];
/// Lengths of uploads and downloads: mostly short, sometimes many times the tunnel's window.
const LENGTHS: [usize; 12] = [
    0, 0, 10, 10, 100, 100, 1_000, 1_000, 20_000, 20_000, 300_000, 3_000_000,
];
/// The longest pause after a call, in milliseconds.
const PAUSE_MS: u64 = 700;

/// The way in which a call asks for its answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    /// As an MCP client: JSON or an event stream.
    Client,
    /// As plain `curl`: JSON, which llamapool makes of an event stream.
    Curl,
    /// As an MCP client of the revision without sessions.
    Stateless,
}

/// Calls until `stop` is true.
pub(crate) async fn run(caller: &Caller, mut rng: StdRng, stop: watch::Receiver<bool>) {
    while !*stop.borrow() {
        let http_id = HTTP_IDS[rng.random_range(0..HTTP_IDS.len())];
        match rng.random_range(0..100) {
            0..32 => call(caller, http_id, Form::Client, &mut rng).await,
            32..40 => raw_call(caller, http_id, &mut rng).await,
            40..50 => call(caller, http_id, Form::Curl, &mut rng).await,
            50..60 => call(caller, "stdio", Form::Curl, &mut rng).await,
            60..70 => call(caller, "modern", Form::Stateless, &mut rng).await,
            70..78 => cancelled_call(caller, &mut rng).await,
            _ => {
                let id = SESSION_IDS[rng.random_range(0..SESSION_IDS.len())];
                session::run(caller, id, &mut rng).await;
            }
        }
        tokio::time::sleep(Duration::from_millis(rng.random_range(0..PAUSE_MS))).await;
    }
}

/// Calls every id once, when all faults are over: each must answer.
pub(crate) async fn probe(setting: &Setting) -> anyhow::Result<()> {
    let caller = Caller::probing(setting.clone())?;
    for id in ["plain", "shared", "stdio", "modern"] {
        let form = match id {
            "modern" => Form::Stateless,
            _ => Form::Curl,
        };
        let arguments = Arguments {
            nonce: caller.nonce(),
            events: 0,
            wait: 0,
            download: 100,
            upload: String::new(),
        };
        let open = caller.open_tool_call(id, 1, &arguments);
        let request = request(&caller, id, form, 1, &arguments);
        caller.exchange(request, open, Leave::Never).await;
    }
    Ok(())
}

/// Calls the tool outside of any session. One of ten callers leaves in the middle.
async fn call(caller: &Caller, id: &str, form: Form, rng: &mut StdRng) {
    let arguments = arguments(caller.nonce(), rng);
    // All callers use the same few ids, so that equal ones meet.
    let request_id = rng.random_range(1..4);
    let leave = if rng.random_range(0..10) == 0 {
        Leave::After(Duration::from_millis(rng.random_range(1..500)))
    } else {
        Leave::Never
    };

    let mut open = caller.open_tool_call(id, request_id, &arguments);
    let is_stream = form != Form::Curl && arguments.events > 0;
    open.call.events = is_stream.then_some(arguments.events);
    let request = request(caller, id, form, request_id, &arguments);
    caller.exchange(request, open, leave).await;
}

/// Calls the tool on a connection of its own, and reads that to its end.
async fn raw_call(caller: &Caller, id: &str, rng: &mut StdRng) {
    let mut arguments = arguments(caller.nonce(), rng);
    arguments.events = 0;
    let open = caller.open_tool_call(id, 1, &arguments);
    let message = tool::request(1, &arguments);
    caller.raw_exchange(id, &message, open).await;
}

/// Calls the tool of the shared program, and cancels the call by a notification.
async fn cancelled_call(caller: &Caller, rng: &mut StdRng) {
    let mut arguments = arguments(caller.nonce(), rng);
    arguments.wait = rng.random_range(200..600);
    let request_id = rng.random_range(1..4);
    let until = Duration::from_millis(rng.random_range(10..400));
    let open = caller.open_tool_call("stdio", request_id, &arguments);
    let request = request(caller, "stdio", Form::Curl, request_id, &arguments);

    let call = caller.exchange(request, open, Leave::After(until * 2));
    let cancel = async {
        tokio::time::sleep(until).await;
        let reason = format!("nonce {}", arguments.nonce);
        let params = json!({ "requestId": request_id, "reason": reason });
        let message =
            json!({ "jsonrpc": "2.0", "method": "notifications/cancelled", "params": params });
        let open = caller.open("stdio", Operation::Notify, caller.nonce());
        let request = caller.post("stdio", &message);
        caller.exchange(request, open, Leave::Never).await;
    };
    tokio::join!(call, cancel);
}

fn arguments(nonce: String, rng: &mut StdRng) -> Arguments {
    let upload = LENGTHS[rng.random_range(0..LENGTHS.len())];
    Arguments {
        upload: tool::pattern(&nonce, upload),
        download: LENGTHS[rng.random_range(0..LENGTHS.len())],
        events: [0, 0, 0, 1, 3, 6][rng.random_range(0..6)],
        wait: [0, 0, 5, 20, 100, 400][rng.random_range(0..6)],
        nonce,
    }
}

fn request(
    caller: &Caller,
    id: &str,
    form: Form,
    request_id: u64,
    arguments: &Arguments,
) -> RequestBuilder {
    let mut message = tool::request(request_id, arguments);
    if form == Form::Stateless {
        let meta = &mut message["params"]["_meta"];
        meta["io.modelcontextprotocol/protocolVersion"] = STATELESS.into();
    }
    let request = caller.post(id, &message);
    match form {
        Form::Client => request.header("accept", ANY_ANSWER),
        Form::Curl => request.header("accept", "*/*"),
        Form::Stateless => request
            .header("accept", ANY_ANSWER)
            .header("mcp-protocol-version", STATELESS)
            .header("mcp-method", "tools/call")
            .header("mcp-name", "work"),
    }
}
