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
        let network = Self::ip_of(text).map(|ip| Self::Network(network_of(ip)));
        network.unwrap_or(Self::Named(text))
    }

    /// Returns the IP address in what a proxy names, `None` if it is none.
    pub(crate) fn ip_of(text: &str) -> Option<IpAddr> {
        let with_port = || text.parse().map(|address: SocketAddr| address.ip());
        let bare = text.trim_start_matches('[').trim_end_matches(']');
        let ip = bare.parse::<IpAddr>().or_else(|_| with_port()).ok()?;
        Some(ip.to_canonical())
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
