//! A caller: sends requests of every kind to the public URLs, and records each with its end.

mod answer;
mod exchange;
mod raw;
mod script;
mod session;
mod sse;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use reqwest::RequestBuilder;
use serde_json::Value;
use tokio::time::Instant;

pub(crate) use self::script::{probe, run};
use crate::history::{Call, End, Millis, Operation, Outcome, PROBE};
use crate::tool::Arguments;

/// The time within which every call ends: the server's `CALL_TIMEOUT`, and the faults on the way
/// to it and back.
pub(crate) const WITHIN: Duration = Duration::from_secs(30);

/// The time after which a caller gives up: later than any call may end, so that the history shows
/// when it did.
const PATIENCE: Duration = Duration::from_secs(60);

/// The `Accept` header of MCP clients.
const ANY_ANSWER: &str = "application/json, text/event-stream";

/// The requests of all callers of a window, with their ends.
pub(crate) type Recorder = Arc<Mutex<Vec<Call>>>;

/// The settings that all callers of a window share.
#[derive(Clone)]
pub(crate) struct Setting {
    /// The number of the window, by which its nonces differ from those of others.
    pub(crate) window: u32,
    /// The port on loopback that callers dial.
    pub(crate) port: u16,
    /// The start of the run, from which times are counted.
    pub(crate) epoch: Instant,
    pub(crate) recorder: Recorder,
}

/// A caller.
pub(crate) struct Caller {
    name: String,
    setting: Setting,
    http: reqwest::Client,
    calls: AtomicU64,
}

/// The version of HTTP that a caller speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Protocol {
    Http1,
    Http2,
}

impl Caller {
    /// A caller with connections of its own. Its client never sends a request again.
    pub(crate) fn new(number: usize, protocol: Protocol, setting: Setting) -> anyhow::Result<Self> {
        let mut client = reqwest::Client::builder()
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .retry(reqwest::retry::never());
        if protocol == Protocol::Http2 {
            client = client.http2_prior_knowledge();
        }
        Ok(Self {
            name: format!("c{number}"),
            setting,
            http: client.build()?,
            calls: AtomicU64::new(0),
        })
    }

    /// The caller that asks whether everything is well again.
    fn probing(setting: Setting) -> anyhow::Result<Self> {
        let caller = Self::new(0, Protocol::Http1, setting)?;
        Ok(Self {
            name: PROBE.to_owned(),
            ..caller
        })
    }

    /// Returns a nonce that no other call of the run has.
    fn nonce(&self) -> String {
        let number = self.calls.fetch_add(1, Ordering::Relaxed);
        format!("w{}{}n{number}", self.setting.window, self.name)
    }

    fn url(&self, id: &str) -> String {
        format!("http://127.0.0.1:{}/api/mcp/id/{id}", self.setting.port)
    }

    /// Returns a `POST` of a message.
    fn post(&self, id: &str, message: &Value) -> RequestBuilder {
        let request = self.http.post(self.url(id));
        request
            .header("content-type", "application/json")
            .body(message.to_string())
    }

    /// Opens the record of a request.
    fn open(&self, id: &str, operation: Operation, nonce: String) -> OpenCall {
        let call = Call {
            nonce,
            caller: self.name.clone(),
            id: id.to_owned(),
            operation,
            session: None,
            upload: 0,
            events: None,
            began: self.now(),
            within: Millis::try_from(WITHIN.as_millis()).unwrap_or(Millis::MAX),
            messages: Vec::new(),
            ends: Vec::new(),
        };
        OpenCall {
            call,
            request_id: Value::Null,
            download: 0,
            recorder: self.setting.recorder.clone(),
        }
    }

    /// Opens the record of a tool call.
    fn open_tool_call(&self, id: &str, request_id: u64, arguments: &Arguments) -> OpenCall {
        let mut open = self.open(id, Operation::Tool, arguments.nonce.clone());
        open.call.upload = arguments.upload.len();
        open.download = arguments.download;
        open.request_id = request_id.into();
        open
    }

    fn now(&self) -> Millis {
        let elapsed = self.setting.epoch.elapsed().as_millis();
        Millis::try_from(elapsed).unwrap_or(Millis::MAX)
    }
}

/// A request that has no end yet. Dropping it writes it to the history as it is.
struct OpenCall {
    call: Call,
    /// The JSON-RPC id of the request; null if it has none.
    request_id: Value,
    /// The length of the text that its result has.
    download: usize,
    recorder: Recorder,
}

impl OpenCall {
    fn end(&mut self, at: Millis, outcome: Outcome) {
        self.call.ends.push(End { at, outcome });
    }
}

impl Drop for OpenCall {
    fn drop(&mut self) {
        let mut call = self.call.clone();
        std::mem::swap(&mut call, &mut self.call);
        self.recorder.lock().push(call);
    }
}
