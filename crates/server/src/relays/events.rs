//! The event stream of one id of a relay: its offers, and those of a worker about
//! its runtime, one JSON line each, until it leaves the id.

use axum::http::Request;
use bytes::{Bytes, BytesMut};
use http_body_util::{BodyExt, Empty};
use llamapool_tunnel::{IncomingBody, ServerEnd};
use llamapool_wire::llm::MAX_MODELS_BYTES;
use llamapool_wire::{Event, Offer, RelayId, path};

/// The failure of an event stream: a line that is no event, or a stream that broke off.
#[derive(Debug, thiserror::Error)]
#[error("what the relay sent was no event")]
pub(super) struct EventsError;

/// The lines of an id's event stream.
pub(super) struct EventStream {
    body: IncomingBody,
    buffer: BytesMut,
}

impl EventStream {
    /// Requests the events of an id. Returns the stream and its first offer.
    pub(super) async fn open(
        tunnel: &ServerEnd,
        id: &RelayId,
    ) -> Result<(Self, Offer), EventsError> {
        let request = Request::get(path::events(id))
            .body(Empty::<Bytes>::new())
            .map_err(|_| EventsError)?;
        let answer = tunnel.send(request).await.map_err(|_| EventsError)?;

        let mut events = Self {
            body: answer.into_body(),
            buffer: BytesMut::new(),
        };
        let offer = events.first_offer().await?;
        Ok((events, offer))
    }

    /// Waits for the next event. Returns `None` when the relay leaves the id.
    pub(super) async fn next_event(&mut self) -> Result<Option<Event>, EventsError> {
        let Some(line) = self.next_line().await? else {
            return Ok(None);
        };
        let event = Event::from_line(&line).map_err(|error| {
            tracing::warn!(%error, "a relay sent an event that is none");
            EventsError
        })?;
        Ok(Some(event))
    }

    /// Waits for the first offer: what comes before it is about nothing yet.
    async fn first_offer(&mut self) -> Result<Offer, EventsError> {
        loop {
            match self.next_event().await?.ok_or(EventsError)? {
                Event::Offer(offer) => return Ok(offer),
                _ => continue,
            }
        }
    }

    async fn next_line(&mut self) -> Result<Option<BytesMut>, EventsError> {
        loop {
            if let Some(end) = self.buffer.iter().position(|&byte| byte == b'\n') {
                return Ok(Some(self.buffer.split_to(end + 1)));
            }
            if self.buffer.len() > MAX_MODELS_BYTES {
                return Ok(Some(self.buffer.split()));
            }

            let Some(frame) = self.body.frame().await else {
                return Ok(None);
            };
            let data = frame
                .map_err(|_| EventsError)?
                .into_data()
                .map_err(|_| EventsError)?;
            self.buffer.extend_from_slice(&data);
        }
    }
}
