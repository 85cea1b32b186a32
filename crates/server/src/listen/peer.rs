//! The address of the other end of a connection, from where it was accepted to every door.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use axum::http::Extensions;
use llamapool_limits::{Network, network_of};

/// The address of the other end of a connection.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Peer(pub(crate) SocketAddr);

/// The address of a caller, as far as it counts as one party.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum CallerAddress<'a> {
    /// The network of an IP address.
    Network(Network),
    /// The word of a trusted proxy that is no IP address.
    Named(&'a str),
}

impl<'a> CallerAddress<'a> {
    /// Parses an address that a proxy names, with or without a port.
    pub(crate) fn of(text: &'a str) -> Self {
        let with_port = || text.parse().map(|address: SocketAddr| address.ip());
        let bare = text.trim_start_matches('[').trim_end_matches(']');
        match bare.parse::<IpAddr>().or_else(|_| with_port()) {
            Ok(ip) => Self::Network(network_of(ip)),
            Err(_) => Self::Named(text),
        }
    }
}

impl From<Peer> for CallerAddress<'_> {
    fn from(peer: Peer) -> Self {
        Self::Network(network_of(peer.0.ip()))
    }
}

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
