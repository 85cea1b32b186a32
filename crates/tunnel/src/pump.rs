//! Sends a body into the tunnel: each piece as it comes, none before the receiver has room for it.

use std::future::poll_fn;
use std::pin::Pin;
use std::task::Poll;

use bytes::Bytes;
use http_body::Body;

use crate::BoxError;
use crate::halves::SendHalf;
use crate::stream::Unwanted;

/// Why a body was not sent to its end.
pub(crate) enum PumpError {
    /// Its own source broke off.
    Source(BoxError),
    /// The receiver wants no more of it, or is gone.
    Receiver,
}

impl From<Unwanted> for PumpError {
    fn from(_: Unwanted) -> Self {
        Self::Receiver
    }
}

/// Sends the whole body. The half is left open if the body does not come to its end: how to say that is the caller's
/// choice.
pub(crate) async fn pump<B>(mut body: Pin<&mut B>, half: &mut SendHalf) -> Result<(), PumpError>
where
    B: Body<Data = Bytes>,
    B::Error: Into<BoxError>,
{
    loop {
        let frame = poll_fn(|cx| {
            let frame = body.as_mut().poll_frame(cx);
            // Watched while the source is quiet, too: an idle event stream ends when its reader leaves.
            if frame.is_pending() && half.poll_unwanted(cx).is_ready() {
                return Poll::Ready(Err(PumpError::Receiver));
            }
            frame.map(|frame| Ok(frame.map(|frame| frame.map_err(Into::into))))
        });
        let (mut data, is_last) = match frame.await? {
            Some(Ok(frame)) => match frame.into_data() {
                Ok(data) => (data, body.is_end_stream()),
                // HTTP/1 trailers end here: no MCP or LLM peer gives them a meaning.
                Err(_) => continue,
            },
            Some(Err(error)) => return Err(PumpError::Source(error)),
            None => (Bytes::new(), true),
        };
        poll_fn(|cx| half.poll_put(cx, &mut data, is_last)).await?;
        if is_last {
            return Ok(());
        }
    }
}
