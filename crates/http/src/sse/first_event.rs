//! Reads a stream up to the first event that is wanted, and makes one response of that event's
//! data.

use std::pin::{Pin, pin};
use std::time::Duration;

use bytes::Bytes;
use http::Response;
use http::header::CONTENT_LENGTH;
use http_body::{Body, Frame};
use llamapool_limits::{MemoryAccount, ShareError};

use super::scan::{EventReader, EventTooLargeError};
use crate::counted_memory::CountedMemory;

/// How long a stream may continue after the event that was wanted.
const TO_THE_END: Duration = Duration::from_millis(50);

/// No event of a stream was made a response.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FirstEventError {
    /// The stream ended or broke off before the event.
    #[error("the event stream ended before the event")]
    Missing,
    /// An event exceeds the bound.
    #[error(transparent)]
    TooLarge(#[from] EventTooLargeError),
    /// There is no memory for the event.
    #[error("there is no memory for the event: {0}")]
    OutOfMemory(#[from] ShareError),
}

/// Waits for the first event whose data `is_wanted`, and returns the response with that data as
/// its body. The headers stay, except for the length; the caller sets the media type. What is
/// collected is counted in `memory`, and the data until it is dropped.
///
/// # Errors
///
/// The stream ended without such an event, a line and an event's data together have more than
/// `max_bytes`, or there is no memory for them.
pub async fn first_event<B>(
    response: Response<B>,
    max_bytes: usize,
    memory: &MemoryAccount,
    is_wanted: impl Fn(&[u8]) -> bool,
) -> Result<Response<Bytes>, FirstEventError>
where
    B: Body<Data = Bytes>,
{
    let (mut head, body) = response.into_parts();
    let mut body = pin!(body);
    let mut events = EventReader::new(max_bytes);
    let mut memory = CountedMemory::new(memory);

    while let Some(frame) = next_frame(body.as_mut()).await {
        let Ok(frame) = frame else { break };
        let Ok(data) = frame.into_data() else {
            continue;
        };
        // Twice: at the end of a line it is copied to the data, and buffers double.
        memory.cover(2 * (events.held_bytes() + data.len()))?;
        if let Some(event) = wanted_in(&mut events, &data, &is_wanted)? {
            read_to_end(body).await;
            head.headers.remove(CONTENT_LENGTH);
            let held = event.capacity();
            return Ok(Response::from_parts(head, memory.seal(event.into(), held)));
        }
    }
    Err(FirstEventError::Missing)
}

/// Returns the first wanted event that the next piece of the stream completes.
fn wanted_in(
    events: &mut EventReader,
    mut piece: &[u8],
    is_wanted: impl Fn(&[u8]) -> bool,
) -> Result<Option<Vec<u8>>, EventTooLargeError> {
    while let Some(event) = events.next_event(&mut piece)? {
        if is_wanted(&event) {
            return Ok(Some(event));
        }
    }
    Ok(None)
}

/// Reads the rest of the stream, which as a rule ends here. Dropping the body before its end would
/// look like a caller that hangs up.
async fn read_to_end<B: Body>(mut body: Pin<&mut B>) {
    let rest = async { while let Some(Ok(_)) = next_frame(body.as_mut()).await {} };
    let _ = tokio::time::timeout(TO_THE_END, rest).await;
}

async fn next_frame<B: Body>(mut body: Pin<&mut B>) -> Option<Result<Frame<B::Data>, B::Error>> {
    std::future::poll_fn(|cx| body.as_mut().poll_frame(cx)).await
}

#[cfg(test)]
mod tests {
    use http_body_util::Full;
    use llamapool_limits::{Claim, MemoryBudget, Owner};

    use super::*;

    fn account(bytes: usize) -> MemoryAccount {
        let claims = ["caller", "address", "id"].map(|name| Claim {
            owner: Owner::of(&name),
            factor: usize::MAX,
        });
        MemoryBudget::new(bytes).account(claims)
    }

    fn is_wanted(data: &[u8]) -> bool {
        data.starts_with(b"wanted")
    }

    const STREAM: &str = ": hello\ndata: 1\n\nevent: x\ndata: wanted\n\ndata: wanted 2\n\n";

    async fn found(stream: &'static str, max_bytes: usize) -> Result<Bytes, FirstEventError> {
        let mut response = Response::new(Full::from(stream));
        response
            .headers_mut()
            .insert(CONTENT_LENGTH, stream.len().into());

        let response = first_event(response, max_bytes, &account(1 << 20), is_wanted).await?;

        assert!(!response.headers().contains_key(CONTENT_LENGTH));

        Ok(response.into_body())
    }

    #[tokio::test]
    async fn the_first_wanted_event_becomes_the_body() {
        assert_eq!(found(STREAM, 1000).await, Ok(Bytes::from("wanted")));
    }

    #[tokio::test]
    async fn a_stream_without_it_is_an_error_as_is_an_event_too_large() {
        let too_large = EventTooLargeError { max_bytes: 10 };

        assert_eq!(found("data: 1\n\n", 9).await, Err(FirstEventError::Missing));
        assert_eq!(found(STREAM, 10).await, Err(too_large.into()));
    }

    #[tokio::test]
    async fn a_large_event_is_counted_until_its_response_is_dropped() {
        let event = format!("data: wanted{}\n\n", "x".repeat(100_000));
        let account = account(1 << 20);
        let response = || Response::new(Full::from(event.clone()));

        let found = first_event(response(), 1 << 20, &account, is_wanted).await;
        let body = found.unwrap().into_body();

        assert_eq!(body.len(), 100_006);
        assert!(account.budget().used() >= body.len());

        let rest = account.take(account.budget().capacity() - account.budget().used());
        let refused = first_event(response(), 1 << 20, &account, is_wanted).await;

        assert_eq!(refused.unwrap_err(), ShareError::Full.into());

        drop((body, rest));

        assert_eq!(account.budget().used(), 0);
    }
}
