//! The name and the ways to it: addresses, and which of them accept connections.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use tokio::net::{TcpStream, lookup_host};
use tokio::time::timeout;

use super::origin::Origin;
use super::report::Finding;

const DNS: &str = "dns";
const TCP: &str = "tcp";

/// Looks up the addresses of the server.
pub(super) async fn addresses(origin: &Origin, within: Duration) -> (Vec<SocketAddr>, Finding) {
    let host = origin.host();
    let remedy = format!("Add an A record of the server's public address for {host}.");
    let found = match timeout(within, lookup_host((host, origin.port()))).await {
        Ok(Ok(found)) => found,
        Ok(Err(error)) => {
            let found = format!("{host} has no address: {error}");
            return (Vec::new(), Finding::fail(DNS, found, remedy));
        }
        Err(_) => {
            let found = format!("the address of {host} was not found within {within:?}");
            return (Vec::new(), Finding::fail(DNS, found, remedy));
        }
    };
    let mut addresses: Vec<SocketAddr> = Vec::new();
    for address in found {
        if !addresses.contains(&address) {
            addresses.push(address);
        }
    }
    addresses.sort_by_key(SocketAddr::is_ipv6);
    let finding = judged(host, &addresses, &remedy);
    (addresses, finding)
}

/// Judges what a name resolves to.
fn judged(host: &str, addresses: &[SocketAddr], remedy: &str) -> Finding {
    let shown = shown(addresses);
    if addresses.is_empty() {
        return Finding::fail(DNS, format!("{host} has no address"), remedy);
    }
    let found = format!("{host} is {shown}");
    if let Some(private) = addresses.iter().find(|it| is_private(it.ip())) {
        let found = format!("{found}; {} is not public", private.ip());
        let remedy = "Clients on the internet, such as Claude, do not reach it. Those on this machine \
                      or network do.";
        return Finding::warn(DNS, found, remedy);
    }
    if addresses.iter().all(SocketAddr::is_ipv6) {
        let remedy = "Some clients, Claude among them, need IPv4: add an A record.";
        return Finding::warn(DNS, format!("{found}, IPv6 alone"), remedy);
    }
    Finding::ok(DNS, found)
}

/// Dials all addresses. Returns the first that accepts.
pub(super) async fn dialled(
    origin: &Origin,
    addresses: &[SocketAddr],
    within: Duration,
) -> (Option<SocketAddr>, Finding) {
    let mut good = Vec::new();
    let mut bad = Vec::new();
    for address in addresses {
        match timeout(within, TcpStream::connect(address)).await {
            Ok(Ok(_)) => good.push(*address),
            Ok(Err(error)) => bad.push((*address, error.to_string())),
            Err(_) => bad.push((*address, format!("no answer within {within:?}"))),
        }
    }

    let port = origin.port();
    let failed = bad
        .iter()
        .map(|(address, error)| format!("{}: {error}", address.ip()));
    let failed = failed.collect::<Vec<_>>().join("; ");
    let finding = if good.is_empty() {
        let remedy = format!(
            "Is the server running, and listening on port {port} of that address? Does a firewall let \
             the port through?"
        );
        Finding::fail(TCP, format!("port {port} is not open: {failed}"), remedy)
    } else if !bad.is_empty() {
        let remedy = "A client that tries this address first waits or fails: remove the record that \
                      leads nowhere, often AAAA.";
        Finding::warn(TCP, format!("port {port} is not open at {failed}"), remedy)
    } else if origin.is_tls() && port != 443 {
        let remedy = "Claude and others dial port 443 most safely: use it, or forward it.";
        Finding::warn(TCP, format!("port {port} is open"), remedy)
    } else {
        Finding::ok(TCP, format!("port {port} is open"))
    };
    (good.first().copied(), finding)
}

fn shown(addresses: &[SocketAddr]) -> String {
    let addresses = addresses.iter().map(|address| address.ip().to_string());
    addresses.collect::<Vec<_>>().join(", ")
}

/// Returns whether an address is plainly none of the internet. What clients refuse beyond that is their
/// own matter.
fn is_private(ip: IpAddr) -> bool {
    match ip.to_canonical() {
        IpAddr::V4(ip) => {
            let [first, second, ..] = ip.octets();
            let is_shared = first == 100 && second & 0b1100_0000 == 64;
            ip.is_private()
                || ip.is_loopback()
                || ip.is_link_local()
                || ip.is_unspecified()
                || is_shared
        }
        IpAddr::V6(ip) => {
            ip.is_loopback()
                || ip.is_unspecified()
                || ip.is_unique_local()
                || ip.is_unicast_link_local()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::report::Status;

    fn of(addresses: &[&str]) -> Finding {
        let addresses = addresses.iter().map(|text| {
            let ip: IpAddr = text.parse().unwrap();
            SocketAddr::new(ip, 443)
        });
        judged("pool.example", &addresses.collect::<Vec<_>>(), "add one")
    }

    #[test]
    fn addresses_are_judged_as_clients_on_the_internet_would() {
        assert_eq!(of(&["160.79.104.10", "2606:4700::1"]).status, Status::Ok);
        assert_eq!(of(&[]).status, Status::Fail);
        for private in [
            "127.0.0.1",
            "10.0.0.1",
            "100.64.0.1",
            "169.254.0.1",
            "fd00::1",
            "::1",
        ] {
            let finding = of(&["160.79.104.10", private]);
            assert_eq!(finding.status, Status::Warn, "{private}");
            assert!(finding.found.contains("is not public"), "{finding:?}");
        }
        let six = of(&["2606:4700::1"]);
        assert!(six.found.ends_with("IPv6 alone"), "{six:?}");
    }
}
