//! Which addresses are of the public internet (IANA, special-purpose address registries).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The ranges of IPv4 that are not: an address, and the length of the prefix.
const NOT_PUBLIC_V4: [([u8; 4], u32); 17] = [
    ([0, 0, 0, 0], 8),       // this network
    ([10, 0, 0, 0], 8),      // private
    ([100, 64, 0, 0], 10),   // shared by carriers (RFC 6598)
    ([127, 0, 0, 0], 8),     // loopback
    ([169, 254, 0, 0], 16),  // link-local, and the metadata of clouds
    ([172, 16, 0, 0], 12),   // private
    ([192, 0, 0, 0], 24),    // protocol assignments
    ([192, 0, 2, 0], 24),    // documentation
    ([192, 31, 196, 0], 24), // AS112
    ([192, 52, 193, 0], 24), // AMT
    ([192, 88, 99, 0], 24),  // relays of 6to4
    ([192, 168, 0, 0], 16),  // private
    ([192, 175, 48, 0], 24), // AS112
    ([198, 18, 0, 0], 15),   // benchmarks
    ([198, 51, 100, 0], 24), // documentation
    ([203, 0, 113, 0], 24),  // documentation
    ([224, 0, 0, 0], 3),     // multicast, reserved, broadcast
];

/// The ranges within `2000::/3` that are not: the first 32 bits, and the length of the prefix.
const NOT_PUBLIC_V6: [(u32, u32); 6] = [
    (0x2001_0000, 23), // protocol assignments: Teredo, ORCHID, benchmarks
    (0x2001_0db8, 32), // documentation
    (0x2002_0000, 16), // 6to4, which wraps an IPv4 address
    (0x2620_004f, 32), // AS112
    (0x3ffe_0000, 16), // the 6bone of once
    (0x3fff_0000, 20), // documentation
];

/// Returns whether an address is one of the public internet, and wraps none that may not be.
pub(super) fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => is_public_v4(address),
        IpAddr::V6(address) => is_public_v6(address),
    }
}

fn is_public_v4(address: Ipv4Addr) -> bool {
    let bits = u32::from(address);
    let is_in = |(network, length): ([u8; 4], u32)| {
        let network = u32::from(Ipv4Addr::from(network));
        (bits ^ network) >> (32 - length) == 0
    };
    !NOT_PUBLIC_V4.into_iter().any(is_in)
}

/// Only `2000::/3` is given to networks. Outside of it are loopback, link-local and unique local
/// addresses, multicast, and most forms that wrap an IPv4 address: mapped, compatible, translated
/// (RFC 7915) and NAT64 (`64:ff9b::/96`, `64:ff9b:1::/48`).
fn is_public_v6(address: Ipv6Addr) -> bool {
    let segments = address.segments();
    let first = (u32::from(segments[0]) << 16) | u32::from(segments[1]);
    let is_global = first >> 29 == 1;
    let is_in = |(network, length): (u32, u32)| (first ^ network) >> (32 - length) == 0;
    is_global && !NOT_PUBLIC_V6.into_iter().any(is_in) && !is_isatap(segments)
}

/// Returns whether the interface identifier wraps an IPv4 address (RFC 5214, 6.1).
fn is_isatap(segments: [u16; 8]) -> bool {
    matches!(segments[4], 0x0000 | 0x0200 | 0x0100 | 0x0300) && segments[5] == 0x5efe
}

#[cfg(test)]
mod tests {
    use super::*;

    fn public(text: &str) -> bool {
        is_public(text.parse().unwrap())
    }

    #[test]
    fn addresses_of_services_are_public() {
        for address in [
            "1.1.1.1",
            "9.255.255.255",
            "11.0.0.0",
            "100.63.255.255",
            "100.128.0.0",
            "160.79.104.10",
            "172.15.255.255",
            "172.32.0.0",
            "192.0.1.0",
            "192.167.255.255",
            "192.169.0.0",
            "198.17.255.255",
            "198.20.0.0",
            "223.255.255.255",
            "2606:4700::6810:85e5",
            "2a06:98c1:3120::1",
            "2001:4860:4860::8888",
            "2001:200::1",
            "2607:6bc0::10",
        ] {
            assert!(public(address), "{address}");
        }
    }

    #[test]
    fn special_addresses_of_ipv4_are_not_public() {
        for address in [
            "0.0.0.0",
            "0.1.2.3",
            "10.0.0.1",
            "10.255.255.255",
            "100.64.0.1",
            "100.127.255.255",
            "127.0.0.1",
            "127.255.255.254",
            "169.254.169.254",
            "172.16.0.1",
            "172.31.255.255",
            "192.0.0.8",
            "192.0.0.170",
            "192.0.2.1",
            "192.88.99.1",
            "192.168.0.1",
            "198.18.0.1",
            "198.19.255.255",
            "198.51.100.1",
            "203.0.113.1",
            "224.0.0.1",
            "239.255.255.255",
            "240.0.0.1",
            "255.255.255.255",
        ] {
            assert!(!public(address), "{address}");
        }
    }

    #[test]
    fn special_addresses_of_ipv6_are_not_public() {
        for address in [
            "::",
            "::1",
            "fe80::1",
            "fec0::1",
            "fc00::1",
            "fd00:ec2::254",
            "ff02::1",
            "100::1",
            "100:0:0:1::1",
            "2001:db8::1",
            "3fff::1",
            "3fff:fff::1",
            "3ffe::1",
            "2001:2::1",
            "2001:10::1",
            "2001:20::1",
            "2001:30::1",
            "2001:1::1",
            "5f00::1",
            "4000::1",
            "e000::1",
        ] {
            assert!(!public(address), "{address}");
        }
    }

    /// Also where the wrapped address is a public one: the way to it is not what was checked.
    #[test]
    fn no_ipv6_address_that_wraps_one_of_ipv4_is_public() {
        for address in [
            "::ffff:127.0.0.1",
            "::ffff:169.254.169.254",
            "::ffff:1.1.1.1",
            "::ffff:0:127.0.0.1",
            "::127.0.0.1",
            "::1.1.1.1",
            "64:ff9b::127.0.0.1",
            "64:ff9b::169.254.169.254",
            "64:ff9b::1.1.1.1",
            "64:ff9b:1::10.0.0.1",
            "64:ff9b:1:ffff::1",
            "2002:7f00:1::",
            "2002:a9fe:a9fe::1",
            "2002:101:101::1",
            "2001::7f00:1",
            "2001:0:4136:e378:8000:63bf:3fff:fdd2",
            "fe80::5efe:10.0.0.1",
            "2606:4700::5efe:127.0.0.1",
            "2606:4700::200:5efe:10.0.0.1",
        ] {
            assert!(!public(address), "{address}");
        }
    }

    proptest::proptest! {
        /// The standard library's own words for addresses are a second opinion.
        #[test]
        fn nothing_that_the_library_takes_for_special_is_public(bits: u32) {
            let address = Ipv4Addr::from(bits);
            let is_special = address.is_private()
                || address.is_loopback()
                || address.is_link_local()
                || address.is_broadcast()
                || address.is_documentation()
                || address.is_multicast()
                || address.is_unspecified();
            proptest::prop_assert!(!is_special || !is_public_v4(address));
            proptest::prop_assert!(!is_public_v6(address.to_ipv6_mapped()));
            proptest::prop_assert!(!is_public_v6(address.to_ipv6_compatible()));
        }
    }
}
