//! The last word of an answer that breaks off: each request that will get no response is told why, as long as its caller
//! reads an event stream.
//!
//! A client then knows at once which of its requests failed, and that nothing is left to resume (MCP 2025-11-25, streamable
//! HTTP: a stream goes on until each of its requests has a response). The one rule: the stream breaks off all the same, so
//! that nobody on the way takes the call for a good one.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Bytes, BytesMut};
use http_body::{Body, Frame, SizeHint};
use llamapool_http::{BoxError, sse};
use llamapool_wire::CallError;

use crate::body::InnerBody;
use crate::pipe::Broken;

/// The body of every response of a bridge.
pub struct BridgeBody {
    inner: InnerBody,
    req_id: String,
    /// The error that comes behind what was told.
    broken: Option<BoxError>,
}

impl BridgeBody {
    /// The body of the answer to the call with this id.
    pub(crate) fn new(inner: InnerBody, req_id: String) -> Self {
        Self {
            inner,
            req_id,
            broken: None,
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
        if let Some(error) = this.broken.take() {
            return Poll::Ready(Some(Err(error)));
        }
        let error = match ready!(Pin::new(&mut this.inner).poll_frame(cx)) {
            Some(Err(error)) => error,
            frame_or_end => return Poll::Ready(frame_or_end),
        };
        match error.downcast_ref::<Broken>() {
            Some(Broken {
                failure,
                unanswered,
            }) if !unanswered.is_empty() => {
                let events = unanswered_events(failure, unanswered, &this.req_id);
                this.broken = Some(error);
                Poll::Ready(Some(Ok(Frame::data(events))))
            }
            _ => Poll::Ready(Some(Err(error))),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.broken.is_none() && self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

/// The failure of requests whose answer has begun already, as events of it.
fn unanswered_events(failure: &CallError, ids: &[Bytes], req_id: &str) -> Bytes {
    let error = |id: &Bytes| failure.to_json(serde_json::from_slice(id).ok(), req_id);
    let mut events = BytesMut::new();
    for id in ids {
        sse::write_event(&mut events, error(id).as_bytes());
    }
    events.freeze()
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt;
    use llamapool_wire::Cause;

    use super::*;
    use crate::pipe::{Item, pipe};
    use crate::sse::EventBody;

    #[tokio::test]
    async fn what_will_get_no_response_is_told_so_and_the_stream_breaks_off_behind_it() {
        let (inlet, outlet) = pipe(100);
        inlet.push(Item::Event(None, "{}".into()));
        let failure = CallError::new(Cause::ProviderExited, "gone");
        inlet.fail(failure, vec![r#""\u0061""#.into(), "1.0".into()]);
        let mut body = BridgeBody::new(EventBody::new(outlet, ()).boxed_unsync(), "r1".to_owned());
        let mut told = Vec::new();
        let broken = loop {
            assert!(!body.is_end_stream());
            match body.frame().await.unwrap() {
                Ok(frame) => told.extend(frame.into_data().unwrap()),
                Err(error) => break error,
            }
        };
        let error = |id: &str| {
            let data = r#""data":{"mcp":"MCP_UPSTREAM_ERROR","hop":"provider","req_id":"r1"}"#;
            format!(
                "data: {{\"jsonrpc\":\"2.0\",\"id\":{id},\"error\":{{\"code\":5029,\"message\":\"gone\",{data}}}}}\n\n"
            )
        };
        let told = String::from_utf8(told).unwrap();
        assert_eq!(
            told,
            format!("data: {{}}\n\n{}{}", error(r#""\u0061""#), error("1.0"))
        );
        assert!(broken.is::<Broken>());
    }

    #[tokio::test]
    async fn a_stream_that_owes_no_response_only_breaks_off() {
        let (inlet, outlet) = pipe(100);
        inlet.fail(CallError::new(Cause::ProviderExited, "gone"), Vec::new());
        let mut body = BridgeBody::new(EventBody::new(outlet, ()).boxed_unsync(), "r1".to_owned());
        assert!(body.frame().await.unwrap().unwrap_err().is::<Broken>());
    }
}
