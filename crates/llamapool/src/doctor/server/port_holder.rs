//! The process that listens on a port, as far as Linux shows it.

use std::net::SocketAddr;

/// Returns the name and id of the process that listens on a port of TCP. `None` if the system does not
/// show it: it is another user's, or no Linux.
#[cfg(target_os = "linux")]
pub(super) fn of(address: SocketAddr) -> Option<String> {
    let tables = ["/proc/net/tcp", "/proc/net/tcp6"];
    let tables = tables.map(|path| std::fs::read_to_string(path).unwrap_or_default());
    let inode = tables.iter().find_map(|it| listening(it, address.port()))?;
    let socket = format!("socket:[{inode}]");
    let processes = std::fs::read_dir("/proc").ok()?.flatten();
    let mut holders = processes.filter_map(|process| {
        let id: u32 = process.file_name().to_str()?.parse().ok()?;
        let mut files = std::fs::read_dir(process.path().join("fd")).ok()?.flatten();
        files
            .any(|file| std::fs::read_link(file.path()).is_ok_and(|it| it.as_os_str() == &*socket))
            .then(|| {
                let name = std::fs::read_to_string(process.path().join("comm"));
                format!("{}, process {id}", name.unwrap_or_default().trim())
            })
    });
    holders.next()
}

#[cfg(not(target_os = "linux"))]
pub(super) fn of(_: SocketAddr) -> Option<String> {
    None
}

/// Returns the inode of the socket that listens on a port (proc(5), `/proc/net/tcp`).
#[cfg(target_os = "linux")]
fn listening(table: &str, port: u16) -> Option<&str> {
    /// The state of a socket that listens.
    const LISTEN: &str = "0A";

    let local_port = format!(":{port:04X}");
    table.lines().find_map(|line| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let is_it = fields.get(1)?.ends_with(&local_port) && *fields.get(3)? == LISTEN;
        fields.get(9).copied().filter(|_| is_it)
    })
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn the_process_that_listens_is_named() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();

        let holder = of(address).unwrap();

        let own = format!("process {}", std::process::id());
        assert!(holder.ends_with(&own), "{holder}");
    }
}
