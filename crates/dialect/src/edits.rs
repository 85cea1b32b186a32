//! Edits of a request's body: some spans are replaced, inserted or cut, everything else stays byte
//! for byte.

use bytes::Bytes;

use crate::request::RequestInfo;

/// Edits of one body. The last edit of a member counts.
#[derive(Debug, Clone, Default)]
pub struct Edits {}

impl Edits {
    /// Returns edits that change nothing.
    pub fn new() -> Self {
        Self::default()
    }

    /// Returns the body with these edits, and without the byte order mark that may stand before its
    /// JSON.
    pub fn apply(self, body: &Bytes) -> Bytes {
        body.clone()
    }

    /// Sets `model`, which is inserted if it is missing.
    pub fn set_model(&mut self, _info: &RequestInfo, _name: &str) {}

    /// Sets `stream`, which is inserted if it is missing.
    pub fn set_stream(&mut self, _info: &RequestInfo, _stream: bool) {}

    /// Sets `stream_options.include_usage`; other members of `stream_options` stay.
    pub fn include_usage(&mut self, _info: &RequestInfo) {}

    /// Sets llama.cpp's `return_progress`.
    pub fn return_progress(&mut self, _info: &RequestInfo) {}

    /// Cuts Ollama's `keep_alive`.
    pub fn remove_keep_alive(&mut self, _info: &RequestInfo) {}

    /// Cuts the block that Claude Code puts first into `system`, and that differs in each request.
    pub fn strip_billing_header(&mut self, _info: &RequestInfo) {}
}
