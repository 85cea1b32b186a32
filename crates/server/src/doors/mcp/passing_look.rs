//! A look at the first bytes of a request going by, to count the call under its method. It holds nothing back, alters
//! nothing and decides nothing.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use axum::http::HeaderMap;
use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use llamapool_mcp::{MethodLabel, header as mcp};

use crate::books::Running;

/// How much of a body is looked at.
const LOOK_BYTES: usize = 1024;

/// A body whose beginning is looked at.
pub(super) struct PassingLook<B> {
    inner: B,
    call: Arc<Running>,
    look: Look,
}

enum Look {
    /// What has gone by so far, when one piece did not say it.
    Seen(Vec<u8>),
    Over,
}

impl<B> PassingLook<B> {
    /// Looks at a body, unless the headers say the method already (MCP 2026-07-28: `Mcp-Method`).
    pub(super) fn new(inner: B, headers: &HeaderMap, call: Arc<Running>) -> Self {
        let named = headers
            .get(mcp::METHOD)
            .and_then(|value| value.to_str().ok())
            .map(MethodLabel::from_name);
        let look = match named {
            Some(method) => {
                call.set_method(method);
                Look::Over
            }
            None => Look::Seen(Vec::new()),
        };
        Self { inner, call, look }
    }

    fn look_at(&mut self, piece: &Bytes) {
        let Look::Seen(seen) = &mut self.look else {
            return;
        };
        let piece = &piece[..piece.len().min(LOOK_BYTES - seen.len())];
        let method = if seen.is_empty() {
            MethodLabel::in_message(piece)
        } else {
            None
        };
        let method = method.or_else(|| {
            seen.extend_from_slice(piece);
            MethodLabel::in_message(seen)
        });
        if let Some(method) = method {
            self.call.set_method(method);
            self.look = Look::Over;
        } else if seen.len() >= LOOK_BYTES {
            self.look = Look::Over;
        }
    }
}

impl<B: Body<Data = Bytes> + Unpin> Body for PassingLook<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        let frame = ready!(Pin::new(&mut self.inner).poll_frame(cx));
        if let Some(data) = frame
            .as_ref()
            .and_then(|frame| frame.as_ref().ok()?.data_ref())
        {
            self.look_at(&data.clone());
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
