//! Sends a body into the tunnel: each piece as it comes, none before the receiver has room for it.

use std::future::poll_fn;
use std::pin::Pin;
use std::task::Poll;

use bytes::Bytes;
use h2::SendStream;
use http_body::Body;

use crate::BoxError;

/// Why a body was not sent to its end.
pub(crate) enum PumpError {
    /// Its own source broke off.
    Source(BoxError),
    /// The receiver wants no more of it, or is gone.
    Receiver,
}

impl From<h2::Error> for PumpError {
    fn from(_: h2::Error) -> Self {
        Self::Receiver
    }
}

/// Sends the whole body. The stream is left open if the body's source breaks off: how to say that is the caller's
/// choice.
pub(crate) async fn pump<B>(mut body: Pin<&mut B>, stream: &mut SendStream<Bytes>) -> Result<(), PumpError>
where
    B: Body<Data = Bytes>,
    B::Error: Into<BoxError>,
{
    loop {
        let frame = poll_fn(|cx| {
            // Watched while the source is quiet, too: an idle event stream ends when its reader leaves.
            if stream.poll_reset(cx).is_ready() {
                return Poll::Ready(Err(PumpError::Receiver));
            }
            body.as_mut().poll_frame(cx).map(|frame| Ok(frame.map(|frame| frame.map_err(Into::into))))
        });
        match frame.await? {
            Some(Ok(frame)) => {
                // HTTP/1 trailers end here: no MCP or LLM peer gives them a meaning.
                let Ok(data) = frame.into_data() else { continue };
                let is_last = body.is_end_stream();
                send(stream, data, is_last).await?;
                if is_last {
                    return Ok(());
                }
            }
            Some(Err(error)) => return Err(PumpError::Source(error)),
            None => return Ok(stream.send_data(Bytes::new(), true)?),
        }
    }
}

/// Sends a whole body if there is room for it now.
pub(crate) fn sent_at_once(stream: &mut SendStream<Bytes>, body: &Bytes) -> bool {
    stream.reserve_capacity(body.len());
    // Sending fails if the receiver has just given the stream up, which its answer says too.
    stream.capacity() >= body.len() && stream.send_data(body.clone(), true).is_ok()
}

async fn send(stream: &mut SendStream<Bytes>, mut data: Bytes, is_last: bool) -> Result<(), PumpError> {
    while !data.is_empty() {
        stream.reserve_capacity(data.len());
        let room = match stream.capacity() {
            0 => poll_fn(|cx| stream.poll_capacity(cx)).await.ok_or(PumpError::Receiver)??,
            room => room,
        };
        let piece = data.split_to(room.min(data.len()));
        let ends_here = is_last && data.is_empty();
        if !piece.is_empty() {
            stream.send_data(piece, ends_here)?;
        }
        if ends_here {
            return Ok(());
        }
    }
    if is_last {
        stream.send_data(Bytes::new(), true)?;
    }
    Ok(())
}
