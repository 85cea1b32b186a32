//! A session of a caller: begun, used, its streams left and resumed, its calls cancelled, deleted.

use std::time::Duration;

use rand::RngExt;
use rand::rngs::StdRng;
use reqwest::RequestBuilder;
use serde_json::json;

use super::exchange::{Exchanged, Leave};
use super::{ANY_ANSWER, Caller, OpenCall};
use crate::history::{Operation, Outcome};
use crate::tool::{self, Arguments};

/// The newest revision of MCP with sessions.
const REVISION: &str = "2025-11-25";
/// How often a caller tries to resume one stream, and the pause between.
const RESUMES: usize = 8;
const BETWEEN_TRIES: Duration = Duration::from_millis(250);
/// How often a caller tries to end a session.
const DELETES: usize = 10;
/// How long a caller waits for the end of a call that it has cancelled.
const AFTER_CANCELLING: Duration = Duration::from_millis(500);

/// An open session.
struct Session<'a> {
    caller: &'a Caller,
    id: &'a str,
    /// The `Mcp-Session-Id`.
    name: String,
    /// The nonce of the call that began it.
    nonce: String,
    /// The id of the last request.
    requests: u64,
}

/// Begins a session, uses it, and ends it.
pub(super) async fn run(caller: &Caller, id: &str, rng: &mut StdRng) {
    let Some(mut session) = begin(caller, id).await else {
        return;
    };
    session.notify("notifications/initialized", json!({})).await;
    for _ in 0..rng.random_range(1..5) {
        match rng.random_range(0..4) {
            0 | 1 => session.resumed_call(rng).await,
            2 => session.cancelled_call(rng).await,
            _ => session.plain_call(rng).await,
        }
    }
    for _ in 0..DELETES {
        if session.delete().await.status().is_some_and(|it| it < 500) {
            return;
        }
        tokio::time::sleep(BETWEEN_TRIES).await;
    }
}

async fn begin<'a>(caller: &'a Caller, id: &'a str) -> Option<Session<'a>> {
    let nonce = caller.nonce();
    let mut open = caller.open(id, Operation::Initialize, nonce.clone());
    open.request_id = 0.into();
    let client = json!({ "name": "soak", "version": "0" });
    let params = json!({ "protocolVersion": REVISION, "capabilities": {}, "clientInfo": client });
    let message = json!({ "jsonrpc": "2.0", "id": 0, "method": "initialize", "params": params });

    let request = caller.post(id, &message).header("accept", ANY_ANSWER);
    let exchanged = caller.exchange(request, open, Leave::Never).await;
    if exchanged.status() != Some(200) {
        return None;
    }
    Some(Session {
        caller,
        id,
        name: exchanged.session?,
        nonce,
        requests: 0,
    })
}

impl Session<'_> {
    /// Calls the tool and reads the whole answer.
    async fn plain_call(&mut self, rng: &mut StdRng) {
        let arguments = self.arguments(rng, 0);
        let (request, open) = self.tool_call(&arguments);
        self.caller.exchange(request, open, Leave::Never).await;
    }

    /// Calls the tool, leaves its stream, and resumes it until the result has come.
    async fn resumed_call(&mut self, rng: &mut StdRng) {
        let events = rng.random_range(2..10);
        let arguments = self.arguments(rng, events);
        let (request, open) = self.tool_call(&arguments);
        let leave = Leave::AfterEvents(rng.random_range(1..=events as usize));
        let mut exchanged = self.caller.exchange(request, open, leave).await;

        let mut last_event = None;
        for _ in 0..RESUMES {
            last_event = exchanged.last_event.take().or(last_event);
            let is_final = exchanged.status().is_some_and(|status| status != 200);
            let Some(last) = last_event.clone().filter(|_| !is_final) else {
                return;
            };
            if exchanged.has_response {
                return;
            }
            exchanged = self.resume(&arguments, &last).await;
            if exchanged.outcome == Some(Outcome::Hung) {
                return;
            }
            tokio::time::sleep(BETWEEN_TRIES).await;
        }
    }

    async fn resume(&self, arguments: &Arguments, last_event: &str) -> Exchanged {
        let stream = Operation::Resume(arguments.nonce.clone());
        let mut open = self.open(stream);
        open.request_id = self.requests.into();
        open.download = arguments.download;

        let request = self.caller.http.get(self.caller.url(self.id));
        let request = request
            .header("accept", "text/event-stream")
            .header("last-event-id", last_event);
        let request = self.with_headers(request);
        self.caller.exchange(request, open, Leave::Never).await
    }

    /// Calls the tool, cancels the call with a notification, and leaves it a little later.
    async fn cancelled_call(&mut self, rng: &mut StdRng) {
        let mut arguments = self.arguments(rng, 3);
        arguments.wait = 300;
        let (request, open) = self.tool_call(&arguments);
        let until = Duration::from_millis(rng.random_range(10..600));

        let call = self
            .caller
            .exchange(request, open, Leave::After(until + AFTER_CANCELLING));
        let cancel = async {
            tokio::time::sleep(until).await;
            let reason = format!("nonce {}", arguments.nonce);
            let params = json!({ "requestId": self.requests, "reason": reason });
            self.notify("notifications/cancelled", params).await;
        };
        tokio::join!(call, cancel);
    }

    async fn notify(&self, method: &str, params: serde_json::Value) {
        let open = self.open(Operation::Notify);
        let message = json!({ "jsonrpc": "2.0", "method": method, "params": params });
        let request = self.caller.post(self.id, &message);
        let request = self.with_headers(request.header("accept", ANY_ANSWER));
        self.caller.exchange(request, open, Leave::Never).await;
    }

    async fn delete(&self) -> Exchanged {
        let open = self.open(Operation::Delete);
        let request = self.caller.http.delete(self.caller.url(self.id));
        let request = self.with_headers(request);
        self.caller.exchange(request, open, Leave::Never).await
    }

    fn arguments(&mut self, rng: &mut StdRng, events: u32) -> Arguments {
        self.requests += 1;
        let nonce = self.caller.nonce();
        Arguments {
            upload: tool::pattern(&nonce, rng.random_range(0..2_000)),
            download: rng.random_range(0..2_000),
            wait: rng.random_range(5..80),
            nonce,
            events,
        }
    }

    fn tool_call(&self, arguments: &Arguments) -> (RequestBuilder, OpenCall) {
        let mut open = self
            .caller
            .open_tool_call(self.id, self.requests, arguments);
        open.call.session = Some(self.nonce.clone());
        open.call.events = (arguments.events > 0).then_some(arguments.events);

        let message = tool::request(self.requests, arguments);
        let request = self.caller.post(self.id, &message);
        (
            self.with_headers(request.header("accept", ANY_ANSWER)),
            open,
        )
    }

    fn open(&self, operation: Operation) -> OpenCall {
        let nonce = self.caller.nonce();
        let mut open = self.caller.open(self.id, operation, nonce);
        open.call.session = Some(self.nonce.clone());
        open
    }

    fn with_headers(&self, request: RequestBuilder) -> RequestBuilder {
        request
            .header("mcp-session-id", &self.name)
            .header("mcp-protocol-version", REVISION)
    }
}
