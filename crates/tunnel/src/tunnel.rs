//! What all streams of one end share, with each other and with the connection that carries their frames.

use std::sync::{Arc, OnceLock};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::config::{FEW_STREAMS, TunnelConfig};
use crate::frame::{Frame, Hello};
use crate::link::{Link, TunnelEnd};
use crate::outbox::{Haste, Outbox};
use crate::shared_socket::SharedSocket;
use crate::stream::Over;
use crate::streams::Streams;
use crate::websocket::Socket;

/// What one end of a tunnel has once.
pub(crate) struct Tunnel {
    pub(crate) outbox: Outbox,
    pub(crate) streams: Streams,
    pub(crate) socket: SharedSocket,
    link: Arc<Link>,
    /// How much this end takes of each body.
    pub(crate) window: u32,
    max_header_bytes: u32,
    peer: OnceLock<Hello>,
    /// How many more streams the peer serves; none before it has said how many.
    places: Arc<Semaphore>,
}

impl Tunnel {
    /// An end that has not said more than its hello.
    pub(crate) fn new(socket: Socket, link: Arc<Link>, config: &TunnelConfig) -> Arc<Self> {
        let tunnel = Self {
            outbox: Outbox::default(),
            streams: Streams::default(),
            socket: SharedSocket::new(socket),
            link,
            window: config.stream_window,
            max_header_bytes: config.max_header_bytes,
            peer: OnceLock::new(),
            places: Arc::new(Semaphore::new(0)),
        };
        tunnel.outbox.put_frame(&Frame::Hello(Hello {
            window: config.stream_window,
            max_streams: config.max_streams,
            max_header_bytes: config.max_header_bytes,
        }));
        Arc::new(tunnel)
    }

    /// The peer has said hello; false, if it has before.
    pub(crate) fn meet(&self, hello: Hello) -> bool {
        let is_new = self.peer.set(hello).is_ok();
        if is_new {
            self.outbox.take_requests();
            self.places
                .add_permits((hello.max_streams as usize).min(Semaphore::MAX_PERMITS));
        }
        is_new
    }

    pub(crate) fn has_met(&self) -> bool {
        self.peer.get().is_some()
    }

    /// How much the peer takes of each body at first.
    pub(crate) fn peer_window(&self) -> u32 {
        self.peer.get().map_or(0, |hello| hello.window)
    }

    /// How many streams the peer serves at once.
    pub(crate) fn peer_max_streams(&self) -> usize {
        self.peer
            .get()
            .map_or(0, |hello| hello.max_streams as usize)
    }

    /// Below how many bytes a head must stay that both ends take.
    pub(crate) fn max_header_bytes(&self) -> u32 {
        self.peer.get().map_or(self.max_header_bytes, |hello| {
            hello.max_header_bytes.min(self.max_header_bytes)
        })
    }

    /// Waits for a place among those that the peer serves at once; none, if it serves no more.
    pub(crate) async fn place(&self) -> Option<OwnedSemaphorePermit> {
        self.places.clone().acquire_owned().await.ok()
    }

    /// The peer serves no more than what runs.
    pub(crate) fn open_no_more(&self) {
        self.places.close();
        self.outbox.put_no_more_requests();
    }

    /// Sees to it that what was put into the outbox goes out. Whoever has put something calls it, outside of all locks.
    pub(crate) fn send_off(&self) {
        let at_once = match self.outbox.haste() {
            Haste::None => return,
            Haste::Now => true,
            Haste::Soon => self.streams.len() <= FEW_STREAMS,
        };
        // The connection gives the turns, to those who wait for the room that there is now.
        let is_done = at_once && self.socket.carry_now(&self.outbox) && !self.outbox.has_queue();
        if !is_done {
            self.link.wake();
        }
    }

    /// The tunnel is lost, and all that runs on it.
    pub(crate) fn lose(&self, end: &TunnelEnd) {
        self.places.close();
        let over = Over::Lost(end.to_string().into());
        // First the outbox: what is put before is in the table, and what comes later is refused.
        for stream in self
            .outbox
            .close()
            .into_iter()
            .chain(self.streams.take_all())
        {
            stream.is_over(over.clone());
        }
    }
}
