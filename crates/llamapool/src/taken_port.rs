//! The error for a port that is taken: the program that has it, where the system names it, and the
//! next one that is free.

use std::io;
use std::net::{SocketAddr, TcpListener};

/// How many of the next ports are tried.
const TRIED_PORTS: u16 = 50;

/// Explains why an address cannot be listened on. `flag` chooses another port, which is written
/// directly behind it.
pub(crate) fn explain(address: SocketAddr, error: &io::Error, flag: &str) -> anyhow::Error {
    let text = format!("cannot listen on {address}: {error}");
    if error.kind() != io::ErrorKind::AddrInUse {
        return anyhow::Error::msg(text);
    }

    let holder =
        holder(address.port()).map_or(String::new(), |holder| format!("; {holder} has it"));
    let free = next_free(address)
        .map_or(format!("; use {flag}… to choose another port"), |port| {
            format!("; {port} is free: {flag}{port}")
        });
    anyhow::Error::msg(format!("{text}{holder}{free}"))
}

/// Returns the next port that can be listened on.
fn next_free(address: SocketAddr) -> Option<u16> {
    let first = address.port().checked_add(1)?;
    let last = first.saturating_add(TRIED_PORTS);
    (first..=last).find(|port| TcpListener::bind((address.ip(), *port)).is_ok())
}

/// Returns the program that listens on a port, such as `nginx (pid 4711)`. `None` if the system does
/// not name it, as mostly for processes of other users.
#[cfg(target_os = "linux")]
fn holder(port: u16) -> Option<String> {
    use procfs::net::{TcpState, tcp, tcp6};
    use procfs::process::{FDTarget, all_processes};

    let sockets = [tcp(), tcp6()].into_iter().flatten().flatten();
    let inodes: Vec<u64> = sockets
        .filter(|socket| socket.local_address.port() == port && socket.state == TcpState::Listen)
        .map(|socket| socket.inode)
        .collect();

    let has_it =
        |target: FDTarget| matches!(target, FDTarget::Socket(inode) if inodes.contains(&inode));
    all_processes().ok()?.flatten().find_map(|process| {
        let mut files = process.fd().ok()?.flatten();
        if !files.any(|file| has_it(file.target)) {
            return None;
        }
        let name = process.stat().ok()?.comm;
        let name = crate::terminal::escaped(&name);
        Some(format!("{name} (pid {})", process.pid))
    })
}

/// Returns the program that listens on a port; other systems name none.
#[cfg(not(target_os = "linux"))]
fn holder(_: u16) -> Option<String> {
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_taken_port_has_a_holder_and_a_neighbour() {
        let taken = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = taken.local_addr().unwrap();
        let error = TcpListener::bind(address).unwrap_err();

        let text = explain(address, &error, "--port ").to_string();

        assert!(
            text.starts_with(&format!("cannot listen on {address}: ")),
            "{text}"
        );
        assert!(text.contains(" is free: --port "), "{text}");
        #[cfg(target_os = "linux")]
        assert!(
            text.contains(&format!("(pid {}) has it", std::process::id())),
            "{text}"
        );
    }

    #[test]
    fn another_error_has_no_hint() {
        let error = io::Error::from(io::ErrorKind::PermissionDenied);

        let text = explain(([127, 0, 0, 1], 80).into(), &error, "--port ").to_string();

        assert!(!text.contains("--port"), "{text}");
    }
}
