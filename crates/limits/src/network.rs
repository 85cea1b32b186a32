//! The part of an address that counts as one owner.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The part of an address that counts as one owner: of IPv4 all of it, of IPv6 the first 64 bits,
/// because one customer line has at least that many addresses (RFC 6177).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Network {
    /// An IPv4 address, also where it arrived mapped into IPv6.
    V4(Ipv4Addr),
    /// The first 64 bits of an IPv6 address.
    V6(u64),
}

/// Returns the network that an address belongs to.
pub fn network_of(address: IpAddr) -> Network {
    match address.to_canonical() {
        IpAddr::V4(address) => Network::V4(address),
        IpAddr::V6(address) => Network::V6(first_64_bits(address)),
    }
}

fn first_64_bits(address: Ipv6Addr) -> u64 {
    (u128::from(address) >> 64) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn network(text: &str) -> Network {
        network_of(text.parse().unwrap())
    }

    #[test]
    fn an_ipv6_line_is_one_network_and_ipv4_addresses_are_many() {
        assert_eq!(network("2001:db8::1"), network("2001:db8::ffff:1"));
        assert_ne!(network("2001:db8::1"), network("2001:db8:0:1::1"));
        assert_eq!(network("192.0.2.1"), network("::ffff:192.0.2.1"));
        assert_ne!(network("192.0.2.1"), network("192.0.2.2"));
    }
}
