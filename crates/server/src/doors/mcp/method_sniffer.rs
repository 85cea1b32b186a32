//! Reads the method of a request from its first bytes as they pass, to count the call under it. It
//! holds nothing back, alters nothing and decides nothing.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use llamapool_head::{FieldLookup, Fields};
use llamapool_mcp::{MethodLabel, header as mcp};

use crate::calls::ActiveCall;

/// The most bytes of a body that are inspected.
const SNIFFED_BYTES: usize = 1024;

/// A body whose first bytes are inspected.
pub(super) struct MethodSniffer<B> {
    inner: B,
    call: Arc<ActiveCall<MethodLabel>>,
    progress: SniffProgress,
}

enum SniffProgress {
    /// The bytes that have passed so far, while they do not contain the method.
    Undecided(Vec<u8>),
    Done,
}

/// Sets the label of a call whose body has arrived whole.
pub(super) fn label(headers: &Fields, body: &[u8], call: &ActiveCall<MethodLabel>) {
    let start = body.get(..SNIFFED_BYTES).unwrap_or(body);
    let found = named(headers).or_else(|| MethodLabel::in_message(start));
    if let Some(method) = found {
        call.set_label(method);
    }
}

/// Returns the method that a header names (MCP 2026-07-28, streamable HTTP).
fn named(headers: &Fields) -> Option<MethodLabel> {
    headers.text_of(&mcp::METHOD).map(MethodLabel::from_name)
}

impl<B> MethodSniffer<B> {
    /// Inspects a body, unless the headers contain the method (MCP 2026-07-28: `Mcp-Method`).
    pub(super) fn new(inner: B, headers: &Fields, call: Arc<ActiveCall<MethodLabel>>) -> Self {
        let named = named(headers);
        let progress = match named {
            Some(method) => {
                call.set_label(method);
                SniffProgress::Done
            }
            None => SniffProgress::Undecided(Vec::new()),
        };
        Self {
            inner,
            call,
            progress,
        }
    }

    fn inspect(&mut self, data: &[u8]) {
        let SniffProgress::Undecided(seen) = &mut self.progress else {
            return;
        };
        let data = &data[..data.len().min(SNIFFED_BYTES - seen.len())];

        // The first piece mostly contains the method; only otherwise it is kept.
        let at_once = if seen.is_empty() {
            MethodLabel::in_message(data)
        } else {
            None
        };
        let method = at_once.or_else(|| {
            seen.extend_from_slice(data);
            MethodLabel::in_message(seen)
        });

        let is_done = method.is_some() || seen.len() >= SNIFFED_BYTES;
        if let Some(method) = method {
            self.call.set_label(method);
        }
        if is_done {
            self.progress = SniffProgress::Done;
        }
    }
}

impl<B: Body<Data = Bytes> + Unpin> Body for MethodSniffer<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        let frame = ready!(Pin::new(&mut self.inner).poll_frame(cx));
        if let Some(Ok(frame)) = &frame
            && let Some(data) = frame.data_ref()
        {
            self.inspect(data);
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}
