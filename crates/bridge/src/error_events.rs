//! The body of every response of a bridge: it reports requests that get no response before the
//! stream breaks off.
//!
//! So a client learns at once which of its requests failed, and that nothing is left to resume
//! (MCP 2025-11-25, streamable HTTP: a stream lasts until each of its requests has a response). The
//! stream breaks off all the same, so that no intermediary takes the call for a successful one.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Bytes, BytesMut};
use http_body::{Body, Frame, SizeHint};
use llamapool_http::{BoxError, sse};
use llamapool_wire::CallError;

use crate::event_queue::BrokenStreamError;
use crate::response_body::ResponseBody;

/// The body of every response of a bridge.
pub struct BridgeBody {
    inner: ResponseBody,
    req_id: String,
    /// The error that follows the error events.
    pending_error: Option<BoxError>,
}

impl BridgeBody {
    /// Creates the body of the response to the call with the id `req_id`.
    pub(crate) fn new(inner: ResponseBody, req_id: String) -> Self {
        Self {
            inner,
            req_id,
            pending_error: None,
        }
    }
}

impl Body for BridgeBody {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let this = self.get_mut();
        if let Some(error) = this.pending_error.take() {
            return Poll::Ready(Some(Err(error)));
        }
        let error = match ready!(Pin::new(&mut this.inner).poll_frame(cx)) {
            Some(Err(error)) => error,
            frame_or_end => return Poll::Ready(frame_or_end),
        };

        match error.downcast_ref::<BrokenStreamError>() {
            Some(broken) if !broken.unanswered.is_empty() => {
                let events = error_events(&broken.failure, &broken.unanswered, &this.req_id);
                this.pending_error = Some(error);
                Poll::Ready(Some(Ok(Frame::data(events))))
            }
            _ => Poll::Ready(Some(Err(error))),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.pending_error.is_none() && self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

/// Returns one event with the failure for each of the requests.
fn error_events(failure: &CallError, ids: &[Bytes], req_id: &str) -> Bytes {
    let mut events = BytesMut::new();
    for id in ids {
        let error = failure.to_json(serde_json::from_slice(id).ok(), req_id);
        sse::write_event(&mut events, error.as_bytes());
    }
    events.freeze()
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt;
    use llamapool_wire::Cause;

    use llamapool_limits::MemoryAccount;

    use super::*;
    use crate::event_queue::{ResponsePart, event_queue};
    use crate::event_stream::EventStreamBody;

    #[tokio::test]
    async fn requests_without_a_response_get_an_error_event() {
        let (sender, receiver) = event_queue(100, &MemoryAccount::default());
        sender.push(ResponsePart::Event(None, "{}".into()));
        let failure = CallError::new(Cause::ProviderExited, "gone");
        sender.fail(failure, vec![r#""\u0061""#.into(), "1.0".into()]);
        let mut body = BridgeBody::new(
            EventStreamBody::new(receiver, ()).boxed_unsync(),
            "r1".to_owned(),
        );
        let mut sent = Vec::new();
        let broken = loop {
            assert!(!body.is_end_stream());
            match body.frame().await.unwrap() {
                Ok(frame) => sent.extend(frame.into_data().unwrap()),
                Err(error) => break error,
            }
        };
        let error = |id: &str| {
            let data = r#""data":{"mcp":"MCP_UPSTREAM_ERROR","hop":"provider","req_id":"r1"}"#;
            format!(
                "data: {{\"jsonrpc\":\"2.0\",\"id\":{id},\"error\":{{\"code\":5029,\"message\":\"gone\",{data}}}}}\n\n"
            )
        };
        let sent = String::from_utf8(sent).unwrap();

        assert_eq!(
            sent,
            format!("data: {{}}\n\n{}{}", error(r#""\u0061""#), error("1.0"))
        );
        assert!(broken.is::<BrokenStreamError>());
    }

    #[tokio::test]
    async fn a_stream_that_owes_no_response_breaks_off_at_once() {
        let (sender, receiver) = event_queue(100, &MemoryAccount::default());
        sender.fail(CallError::new(Cause::ProviderExited, "gone"), Vec::new());
        let mut body = BridgeBody::new(
            EventStreamBody::new(receiver, ()).boxed_unsync(),
            "r1".to_owned(),
        );

        assert!(
            body.frame()
                .await
                .unwrap()
                .unwrap_err()
                .is::<BrokenStreamError>()
        );
    }
}
