//! The address of the other end of a connection, from where it was accepted to every door.

use std::net::{Ipv4Addr, SocketAddr};

use axum::http::Extensions;

/// The address of the other end of a connection.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Peer(pub(crate) SocketAddr);

impl Peer {
    /// Returns the peer of a request that came by the router.
    pub(crate) fn of(extensions: &Extensions) -> Self {
        extensions.get().copied().unwrap_or_default()
    }
}

impl Default for Peer {
    fn default() -> Self {
        Self((Ipv4Addr::UNSPECIFIED, 0).into())
    }
}
