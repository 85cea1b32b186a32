//! The tool of every provider: its arguments, and the messages of its answer.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// The arguments of a call of the tool.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Arguments {
    /// The mark of the call.
    pub(crate) nonce: String,
    /// The number of events before the result.
    pub(crate) events: u32,
    /// Milliseconds of work before each message.
    pub(crate) wait: u64,
    /// The length of the text in the result.
    pub(crate) download: usize,
    /// A text of the pattern of the nonce.
    pub(crate) upload: String,
}

impl Arguments {
    /// Reads the arguments of a `tools/call` request.
    pub(crate) fn of(message: &Value) -> Option<Self> {
        serde_json::from_value(message["params"]["arguments"].clone()).ok()
    }

    /// Returns the length of the upload; `None` if it is not the text that belongs to the nonce.
    pub(crate) fn upload_length(&self) -> Option<usize> {
        let length = self.upload.len();
        (self.upload == pattern(&self.nonce, length)).then_some(length)
    }
}

/// Returns the text of a certain length that belongs to a nonce.
pub(crate) fn pattern(nonce: &str, length: usize) -> String {
    let mut text = format!("{nonce}.").repeat(length / (nonce.len() + 1) + 1);
    text.truncate(length);
    text
}

/// Returns a `tools/call` request. Its progress token is the nonce.
pub(crate) fn request(id: u64, arguments: &Arguments) -> Value {
    let meta = json!({ "progressToken": arguments.nonce });
    let params = json!({ "name": "work", "arguments": arguments, "_meta": meta });
    json!({ "jsonrpc": "2.0", "id": id, "method": "tools/call", "params": params })
}

/// Returns the event with a number. Its token is the one that came with the request; the message is
/// the nonce, which nothing on the way may change.
pub(crate) fn event(nonce: &str, token: &Value, number: u32) -> Value {
    let params = json!({ "progressToken": token, "progress": number, "message": nonce });
    json!({ "jsonrpc": "2.0", "method": "notifications/progress", "params": params })
}

/// Returns the result of a call.
pub(crate) fn result(id: &Value, nonce: &str, download: usize) -> Value {
    let text = pattern(nonce, download);
    let result = json!({ "content": [], "resultType": "complete", "nonce": nonce, "text": text });
    json!({ "jsonrpc": "2.0", "id": id, "result": result })
}

/// Returns an error.
pub(crate) fn error(id: &Value, code: i64, message: &str) -> Value {
    json!({ "jsonrpc": "2.0", "id": id, "error": { "code": code, "message": message } })
}
