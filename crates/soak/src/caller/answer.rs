//! The messages of an answer, as the history has them.

use serde_json::Value;

use super::OpenCall;
use crate::history::{Content, Message, Operation};
use crate::tool::pattern;

impl OpenCall {
    /// Records the messages in a text: one, or none that can be recorded.
    pub(super) fn receive(&mut self, text: &str) {
        if text.is_empty() {
            return;
        }
        let message = serde_json::from_str(text).unwrap_or(Value::Null);
        if let Some(message) = self.read(&message) {
            self.call.messages.push(message);
        }
    }

    /// Returns a message as the history has it; `None` for one that is about no call.
    fn read(&self, message: &Value) -> Option<Message> {
        if let Some(result) = message.get("result") {
            return Some(self.read_result(message, result));
        }
        if let Some(code) = message["error"]["code"].as_i64() {
            // Errors of llamapool have no id where it does not read requests.
            let is_own = message["id"].is_null() || message["id"] == self.request_id;
            return Some(Message {
                nonce: self.nonce_if(is_own, message),
                content: Content::Error { code },
            });
        }
        let params = &message["params"];
        let number = u32::try_from(params["progress"].as_u64()?).ok()?;
        let nonce = params["message"].as_str()?;
        // The token is the nonce, too: on its way through a shared program it is another.
        let is_own = params["progressToken"] == nonce;
        Some(Message {
            nonce: if is_own {
                nonce.to_owned()
            } else {
                message.to_string()
            },
            content: Content::Event(number),
        })
    }

    fn read_result(&self, message: &Value, result: &Value) -> Message {
        let is_own = message["id"] == self.request_id;
        let nonce = self.nonce_if(is_own, message);
        if self.call.operation == Operation::Initialize {
            let content = Content::Result { intact: true };
            return Message { nonce, content };
        }

        let owner = result["nonce"].as_str().unwrap_or_default();
        let text = result["text"].as_str().unwrap_or_default();
        let content = Content::Result {
            intact: text == pattern(owner, self.download),
        };
        let nonce = if is_own { owner.to_owned() } else { nonce };
        Message { nonce, content }
    }

    /// Returns the nonce of the messages of this call, or the text of a message that is another's.
    fn nonce_if(&self, is_own: bool, message: &Value) -> String {
        if is_own {
            return match &self.call.operation {
                Operation::Resume(stream) => stream.clone(),
                _ => self.call.nonce.clone(),
            };
        }
        message.to_string().chars().take(300).collect()
    }
}
