//! The parts that all streams of one end share: the outbox, the table of streams, the socket and
//! the peer's settings.

use std::convert::Infallible;
use std::sync::{Arc, OnceLock};
use std::task::Waker;
use std::time::Duration;

use parking_lot::{Mutex, MutexGuard};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, TryAcquireError};

use super::error::StreamError;
use super::state::{StreamState, Windows};
use super::table::StreamTable;
use crate::config::{INITIAL_WINDOW_BYTES, LOOKS_AT_READER, TunnelConfig};
use crate::frame::{Frame, Hello};
use crate::socket::{FlushPolicy, Flusher, Outbox, Socket, TunnelEnd};

/// The shared parts of one end of a tunnel.
///
/// Streams hold it, and it holds the states of the streams, but not the streams themselves: so it
/// is freed with the last stream and the last end, even if [`lose`](Self::lose) was never called.
pub(crate) struct Tunnel {
    pub(crate) outbox: Outbox,
    pub(crate) streams: StreamTable,
    pub(crate) socket: Socket,
    /// Largest receive window of each body, in bytes.
    max_window: u32,
    max_header_bytes: u32,
    peer: OnceLock<Hello>,
    /// Permits for the streams that the peer serves at once; none before its hello.
    stream_permits: Arc<Semaphore>,
}

impl Tunnel {
    /// Creates an end that has enqueued its hello.
    pub(crate) fn new(socket: Socket, config: &TunnelConfig) -> Arc<Self> {
        let tunnel = Self {
            outbox: Outbox::default(),
            streams: StreamTable::default(),
            socket,
            max_window: config.stream_window,
            max_header_bytes: config.max_header_bytes,
            peer: OnceLock::new(),
            stream_permits: Arc::new(Semaphore::new(0)),
        };
        tunnel.outbox.enqueue_frame(&Frame::Hello(Hello {
            window: tunnel.initial_window(),
            max_streams: config.max_streams,
            max_header_bytes: config.max_header_bytes,
        }));
        Arc::new(tunnel)
    }

    /// Accepts the peer's hello. Returns `false` if there was one before.
    pub(crate) fn receive_hello(&self, hello: Hello) -> bool {
        if self.peer.set(hello).is_err() {
            return false;
        }
        self.outbox.accept_requests();
        let permits = (hello.max_streams as usize).min(Semaphore::MAX_PERMITS);
        self.stream_permits.add_permits(permits);
        true
    }

    /// Returns whether the peer's hello has arrived.
    pub(crate) fn has_received_hello(&self) -> bool {
        self.peer.get().is_some()
    }

    /// Returns this end's initial window of each body, in bytes.
    fn initial_window(&self) -> u32 {
        self.max_window.min(INITIAL_WINDOW_BYTES)
    }

    /// Returns the windows with which the bodies of a stream begin.
    pub(super) fn windows(&self) -> Windows {
        Windows {
            send: self.peer.get().map_or(0, |hello| hello.window),
            receive: self.initial_window(),
            receive_max: self.max_window,
        }
    }

    /// Gives up the streams whose reader takes nothing of what waits for it within `patience`.
    /// Never returns.
    pub(crate) async fn watch_readers(&self, patience: Option<Duration>) -> Infallible {
        let Some(patience) = patience else {
            return std::future::pending().await;
        };
        loop {
            tokio::time::sleep(patience / u32::from(LOOKS_AT_READER)).await;
            for stream in self.streams.all() {
                let frame = stream.lock().look_at_reader(LOOKS_AT_READER);
                if let Some(frame) = frame {
                    // Delivered as if received, so that the tasks of the stream are woken.
                    self.deliver(&stream, |_| self.outbox.enqueue_frame(&frame));
                }
            }
            self.flush();
        }
    }

    /// Returns how many streams the peer serves at once, 0 before its hello.
    pub(crate) fn peer_max_streams(&self) -> usize {
        let hello = self.peer.get();
        hello.map_or(0, |hello| hello.max_streams as usize)
    }

    /// Returns the exclusive limit for the size of a head that both ends accept, in bytes.
    pub(crate) fn max_header_bytes(&self) -> u32 {
        let own = self.max_header_bytes;
        let hello = self.peer.get();
        hello.map_or(own, |hello| hello.max_header_bytes.min(own))
    }

    /// Waits for one of the streams that the peer serves at once. Returns `None` if the peer
    /// accepts no more streams.
    pub(crate) async fn stream_permit(&self) -> Option<OwnedSemaphorePermit> {
        // Most calls find one: a permit that is free is none that another call waits for.
        match self.stream_permits.clone().try_acquire_owned() {
            Ok(permit) => Some(permit),
            Err(TryAcquireError::Closed) => None,
            Err(TryAcquireError::NoPermits) => {
                self.stream_permits.clone().acquire_owned().await.ok()
            }
        }
    }

    /// Opens no more streams: the peer finishes what runs.
    pub(crate) fn stop_opening(&self) {
        self.stream_permits.close();
        self.outbox.finish_requests();
    }

    /// Arranges the flush of what was enqueued. A task that has enqueued a frame calls it, outside
    /// all locks.
    pub(crate) fn flush(&self) {
        let urgency = self.outbox.take_urgency();
        let needs_connection = match FlushPolicy::flusher(urgency, self.streams.len()) {
            Flusher::None => false,
            Flusher::Connection => true,
            Flusher::Caller => {
                let is_flushed = self.socket.try_flush(&self.outbox);
                FlushPolicy::needs_connection(is_flushed, self.outbox.has_waiting_senders())
            }
        };
        if needs_connection {
            self.socket.liveness.wake_connection();
        }
    }

    /// Applies what was received for a stream, and wakes the tasks that wait for it.
    pub(crate) fn deliver<T>(
        &self,
        stream: &Mutex<StreamState>,
        receive: impl FnOnce(&mut StreamState) -> T,
    ) -> T {
        let mut state = stream.lock();
        let result = receive(&mut state);
        let wakers = state.take_wakers();
        self.remove_finished(state);

        let [reader, writer] = wakers;
        reader.into_iter().for_each(Waker::wake);
        writer.into_iter().for_each(Waker::wake);
        result
    }

    /// Removes a stream that is over for both ends, and frees its places.
    pub(super) fn remove_finished(&self, mut state: MutexGuard<'_, StreamState>) {
        let Some((number, held)) = state.take_finished() else {
            return;
        };
        drop(state);
        self.streams.remove(number);
        drop(held);
    }

    /// Ends the tunnel for all its streams.
    pub(crate) fn lose(&self, end: &TunnelEnd) {
        self.stream_permits.close();
        // The outbox first: a stream opened before that is in the table, and later ones are
        // refused.
        self.outbox.close();

        let error = StreamError::TunnelLost(end.to_string().into());
        for stream in self.streams.take_all() {
            self.deliver(&stream, |state| state.fail(error.clone()));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::task::Context;

    use super::*;
    use crate::config::OUTBOX_BYTES;
    use crate::socket::Role;
    use crate::stream::{OnDrop, ReceiveHalf, Stream};

    async fn tunnel() -> Arc<Tunnel> {
        let socket = Socket::new(tokio::io::duplex(1).0, Role::Server);
        Tunnel::new(socket, &TunnelConfig::default())
    }

    /// The table holds no stream that holds the tunnel. With such a circle, a missed
    /// [`Tunnel::lose`] would leak the socket and all that waits in it.
    #[tokio::test]
    async fn a_tunnel_is_freed_although_streams_are_open() {
        let tunnel = tunnel().await;
        let stream = Stream::accept(tunnel.clone(), 1, false);
        let weak_tunnel = Arc::downgrade(&tunnel);
        let weak_state = Arc::downgrade(&tunnel.streams.get(1).unwrap());

        drop(stream);
        drop(tunnel);

        assert!(weak_tunnel.upgrade().is_none());
        assert!(weak_state.upgrade().is_none());
    }

    #[tokio::test]
    async fn a_tunnel_is_freed_although_a_sender_waits() {
        let tunnel = tunnel().await;
        let stream = Stream::accept(tunnel.clone(), 1, false);
        tunnel
            .outbox
            .enqueue(|out| out.extend_from_slice(&[7; OUTBOX_BYTES]));
        let mut cx = Context::from_waker(Waker::noop());
        assert!(stream.poll_turn(&mut cx).is_pending());
        let weak_tunnel = Arc::downgrade(&tunnel);

        drop(stream);
        drop(tunnel);

        assert!(weak_tunnel.upgrade().is_none());
    }

    #[tokio::test]
    async fn a_half_outlives_its_tunnel_and_frees_the_last_of_it() {
        let tunnel = tunnel().await;
        let stream = Stream::accept(tunnel.clone(), 1, false);
        let half = ReceiveHalf::new(stream, OnDrop::StopBody);
        let weak_tunnel = Arc::downgrade(&tunnel);

        tunnel.lose(&TunnelEnd::Silent);
        drop(tunnel);
        assert!(weak_tunnel.upgrade().is_some(), "the half still reads");

        drop(half);
        assert!(weak_tunnel.upgrade().is_none());
    }
}
