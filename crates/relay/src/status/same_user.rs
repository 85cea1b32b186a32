//! The user at the other end of a connection from this machine. The kernel has it in its table of
//! sockets, where no program can forge it: the same user as the relay's may control the relay
//! without a token, and no other user of the machine may.

use std::net::SocketAddr;

/// Returns whether a connection on loopback comes from a process of the relay's own user, or of
/// root. `peer` is the address of the other end, `port` that of the listener.
#[cfg(target_os = "linux")]
pub(super) fn is_same_user(peer: SocketAddr, port: u16) -> bool {
    let own = rustix::process::geteuid().as_raw();
    let user = ["/proc/net/tcp", "/proc/net/tcp6"]
        .iter()
        .filter_map(|table| std::fs::read_to_string(table).ok())
        .find_map(|table| user_of(&table, peer, port));
    user.is_some_and(|user| user == own || user == 0)
}

/// Other systems have no such table: control needs the status token there.
#[cfg(not(target_os = "linux"))]
pub(super) fn is_same_user(_: SocketAddr, _: u16) -> bool {
    false
}

/// Returns the user of the socket with this local address that is connected to a port, in the text
/// of a table (`proc(5)`, `/proc/net/tcp`).
#[cfg(target_os = "linux")]
fn user_of(table: &str, peer: SocketAddr, port: u16) -> Option<u32> {
    const ESTABLISHED: &str = "01";

    let mut sockets = table.lines().skip(1).map(str::split_ascii_whitespace);
    sockets.find_map(|mut fields| {
        let local = fields.nth(1)?;
        let remote = fields.next()?;
        let state = fields.next()?;
        let user = fields.nth(3)?.parse().ok()?;

        let local = parse_address(local)?;
        let is_peer =
            (local.ip().to_canonical(), local.port()) == (peer.ip().to_canonical(), peer.port());
        let is_connected = parse_address(remote)?.port() == port && state == ESTABLISHED;
        (is_peer && is_connected).then_some(user)
    })
}

/// Parses an address of the table: words of 32 bits in the byte order of the machine, and a port.
#[cfg(target_os = "linux")]
fn parse_address(text: &str) -> Option<SocketAddr> {
    let (address, port) = text.split_once(':')?;
    let port = u16::from_str_radix(port, 16).ok()?;
    let word = |place: usize| {
        let digits = address.get(8 * place..8 * (place + 1))?;
        Some(u32::from_str_radix(digits, 16).ok()?.to_ne_bytes())
    };

    match address.len() {
        8 => Some((word(0)?, port).into()),
        32 => {
            let mut bytes = [0; 16];
            for (place, part) in bytes.chunks_exact_mut(4).enumerate() {
                part.copy_from_slice(&word(place)?);
            }
            Some((bytes, port).into())
        }
        _ => None,
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use std::net::{TcpListener, TcpStream};

    use super::*;

    #[test]
    fn addresses_of_the_table_are_parsed() {
        let loopback = u32::from_ne_bytes([127, 0, 0, 1]);
        let text = format!("{loopback:08X}:11CB");
        let parsed = parse_address(&text).map(|address| address.to_string());

        assert_eq!(parsed.as_deref(), Some("127.0.0.1:4555"));
        for bad in ["", "1:2", "0100007F", "0100007F:", "0100007G:11CB"] {
            assert_eq!(parse_address(bad), None, "{bad}");
        }
    }

    #[test]
    fn the_user_of_a_connection_is_in_the_table() {
        for address in ["127.0.0.1:0", "[::1]:0"] {
            let Ok(listener) = TcpListener::bind(address) else {
                continue;
            };
            let port = listener.local_addr().unwrap().port();
            let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
            let peer = client.local_addr().unwrap();

            assert!(is_same_user(peer, port), "{address}");
            assert!(!is_same_user(peer, port.wrapping_add(1)), "{address}");
        }
    }

    #[test]
    fn a_socket_of_another_user_is_not_the_relays() {
        let line = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid\n   \
                    0: 0100007F:8000 0100007F:11CB 01 00000000:00000000 00:00000000 00000000  4711        0 1\n";
        if cfg!(target_endian = "big") {
            return;
        }

        let peer = ([127, 0, 0, 1], 0x8000).into();
        assert_eq!(user_of(line, peer, 4555), Some(4711));
        assert_eq!(user_of(line, peer, 4556), None);
        assert_eq!(user_of(line, ([127, 0, 0, 1], 1).into(), 4555), None);
    }
}
