//! A relay behind microsocks, a SOCKS 5 proxy of Debian's.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::process::Stdio;
use std::time::Duration;

use serde_json::Value;
use tokio::net::TcpStream;
use tokio::process::{Child, Command};

use crate::harness::{Pool, Provider, soon, tools_call};

/// A running microsocks. Dropping it ends it.
struct Microsocks {
    address: SocketAddr,
    _process: Child,
}

impl Microsocks {
    /// Starts a proxy on this machine, and waits until it accepts connections.
    async fn start(options: &[&str]) -> Self {
        // It cannot choose a port itself.
        let free = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = free.local_addr().unwrap();
        drop(free);

        let process = Command::new("microsocks")
            .args(["-i", "127.0.0.1", "-p", &address.port().to_string()])
            .args(options)
            .stdin(Stdio::null())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .expect("microsocks, which ./test installs");
        soon("microsocks listens", async {
            while TcpStream::connect(address).await.is_err() {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        })
        .await;
        Self {
            address,
            _process: process,
        }
    }
}

#[tokio::test]
async fn a_relay_behind_a_socks_proxy_of_others_is_reached() {
    let pool = Pool::start().await;
    let provider = Provider::echoing().await;
    let open = Microsocks::start(&[]).await;
    let closed = Microsocks::start(&["-u", "me", "-P", "open sesame"]).await;
    let url = format!("ws://localhost:{}", pool.port());

    for (id, proxy) in [
        ("there", format!("socks5h://{}", open.address)),
        ("here", format!("socks5://{}", open.address)),
        (
            "login",
            format!("socks5h://me:open%20sesame@{}", closed.address),
        ),
    ] {
        let _relay = Pool::relay_to(&url, id, &provider.url, &[("ALL_PROXY", &proxy)]);

        pool.connected(id).await;
        let answer = pool.post(id, &tools_call(1, "echo")).await;

        let answer = answer.json::<Value>().await.unwrap();
        assert_eq!(answer, tools_call(1, "echo"), "{id}");
    }

    let proxy = format!("socks5h://me:wrong@{}", closed.address);
    let mut relay = Pool::relay_once(&url, &provider.url, &[("ALL_PROXY", &proxy)]);
    let (status, log) = relay.status_and_log().await;

    assert_eq!(status.code(), Some(1), "{log}");
    assert!(log.contains("SOCKS error"), "{log}");
}
