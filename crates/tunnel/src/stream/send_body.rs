//! Sends a body into the tunnel: each piece as it is produced, none before the receiver has room
//! for it.

use std::future::poll_fn;
use std::pin::Pin;
use std::task::Poll;

use bytes::Bytes;
use http_body::Body;

use super::error::SendStoppedError;
use super::half::SendHalf;

/// Any error of a body that is sent.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// The reason why a body was not sent to its end.
pub(crate) enum SendBodyError {
    /// The body's own source broke off.
    Source(BoxError),
    /// The receiver wants no more of it, or is gone.
    Stopped,
}

impl From<SendStoppedError> for SendBodyError {
    fn from(_: SendStoppedError) -> Self {
        Self::Stopped
    }
}

/// Sends the whole body. After an error the half is still open, and the caller chooses how to end
/// it.
pub(crate) async fn send_body<B>(
    mut body: Pin<&mut B>,
    half: &mut SendHalf,
) -> Result<(), SendBodyError>
where
    B: Body<Data = Bytes>,
    B::Error: Into<BoxError>,
{
    loop {
        let next_frame = poll_fn(|cx| {
            let frame = body.as_mut().poll_frame(cx);
            // Watched while the source is quiet, too: an idle event stream ends when its reader
            // leaves.
            if frame.is_pending() && half.poll_stopped(cx).is_ready() {
                return Poll::Ready(Err(SendBodyError::Stopped));
            }
            frame.map(|frame| Ok(frame.map(|frame| frame.map_err(Into::into))))
        });

        let (mut data, is_last) = match next_frame.await? {
            Some(Ok(frame)) => match frame.into_data() {
                Ok(data) => (data, body.is_end_stream()),
                // HTTP/1 trailers end here: no MCP or LLM peer gives them a meaning.
                Err(_) => continue,
            },
            Some(Err(error)) => return Err(SendBodyError::Source(error)),
            None => (Bytes::new(), true),
        };

        poll_fn(|cx| half.poll_send(cx, &mut data, is_last)).await?;
        if is_last {
            return Ok(());
        }
    }
}

/// Sends all of a body that is here. After an error the half is still open.
pub(crate) async fn send_bytes(data: &mut Bytes, half: &mut SendHalf) -> Result<(), SendBodyError> {
    poll_fn(|cx| half.poll_send(cx, data, true)).await?;
    Ok(())
}
