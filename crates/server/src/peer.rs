//! Who is at the other end of a connection: known where it was accepted, and to every door.

use std::net::{Ipv4Addr, SocketAddr};

/// Who is at the other end of a connection.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Peer(pub(crate) SocketAddr);

impl Default for Peer {
    fn default() -> Self {
        Self((Ipv4Addr::UNSPECIFIED, 0).into())
    }
}
