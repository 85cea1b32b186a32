//! What a service manager hears of the real executable: a socket plays systemd.

use std::os::unix::net::UnixDatagram;
use std::process::Stdio;
use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::process::Command;

use crate::harness::{API_KEY, Pool, Provider, WORKER_KEY, soon};

/// The patience of the watchdog in these tests, in microseconds.
const WATCHDOG_USEC: &str = "400000";
/// A silence that no runtime makes that is alive.
const SILENCE: Duration = Duration::from_millis(1600);

/// A service manager that hears one process.
struct Manager {
    socket: tokio::net::UnixDatagram,
    address: String,
    _folder: tempfile::TempDir,
}

impl Manager {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notify");
        let socket = UnixDatagram::bind(&path).unwrap();
        socket.set_nonblocking(true).unwrap();
        Self {
            socket: tokio::net::UnixDatagram::from_std(socket).unwrap(),
            address: path.to_str().unwrap().to_owned(),
            _folder: folder,
        }
    }

    fn settings(&self) -> [(&str, &str); 2] {
        [
            ("NOTIFY_SOCKET", &self.address),
            ("WATCHDOG_USEC", WATCHDOG_USEC),
        ]
    }

    async fn next(&self) -> String {
        let mut text = [0; 4096];
        let length = self.socket.recv(&mut text).await.unwrap();
        String::from_utf8(text[..length].to_vec()).unwrap()
    }

    /// Waits for a line, and returns all lines until then, it included.
    async fn until(&self, wanted: &str) -> Vec<String> {
        let heard = async {
            let mut heard = Vec::new();
            loop {
                heard.extend(self.next().await.lines().map(str::to_owned));
                if heard.iter().any(|line| line == wanted) {
                    return heard;
                }
            }
        };
        soon(wanted, heard).await
    }
}

#[tokio::test]
async fn a_server_is_ready_when_it_listens_and_says_that_it_stops() {
    let manager = Manager::new();
    let provider = Provider::echoing().await;
    let mut pool = Pool::with(&manager.settings()).await;

    let first = manager.until("READY=1").await;
    let relay = pool.relay("notes", &provider.url).await;
    manager.until("STATUS=1 relays, 0 calls").await;
    manager.until("WATCHDOG=1").await;
    drop(relay);
    pool.server.signal("TERM").await;
    let last = manager.until("STOPPING=1").await;
    let ended = pool.server.ended().await;

    assert!(
        first.contains(&"STATUS=0 relays, 0 calls".to_owned()),
        "{first:?}"
    );
    assert!(!last.contains(&"READY=1".to_owned()), "once: {last:?}");
    assert_eq!(ended.code(), Some(0));
}

/// Without a terminal there is none that closes: the signal means to reload, with certificates and without.
#[tokio::test]
async fn a_service_that_reloads_is_reloading_and_then_ready() {
    let manager = Manager::new();
    let mut pool = Pool::with(&manager.settings()).await;
    manager.until("READY=1").await;

    pool.server.signal("HUP").await;
    let reloading = manager.until("RELOADING=1").await;
    manager.until("READY=1").await;

    let time = reloading
        .iter()
        .find_map(|line| line.strip_prefix("MONOTONIC_USEC="));
    assert!(
        time.is_some_and(|time| time.parse::<u64>().is_ok()),
        "{reloading:?}"
    );
    assert!(pool.server.is_running());
}

#[tokio::test]
async fn a_relay_is_ready_once_it_is_connected() {
    let manager = Manager::new();
    let provider = Provider::echoing().await;
    let port = {
        let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        free.local_addr().unwrap().port().to_string()
    };
    let url = format!("http://127.0.0.1:{port}");
    let settings = [
        &manager.settings()[..],
        &[("RECONNECT", "true"), ("RECONNECT_MAX", "100ms")],
    ];

    let mut relay = Pool::relay_to(&url, "notes", &provider.url, &settings.concat());
    let waiting = async {
        let mut heard = Vec::new();
        while !heard
            .iter()
            .any(|it: &String| it.contains("STATUS=not connected: "))
        {
            heard.push(manager.next().await);
        }
        heard
    };
    let waiting = soon("it waits for the server", waiting).await;
    let pool = Pool::on_port(&port, &[]).await;
    let connected = manager.until("READY=1").await;
    relay.signal("TERM").await;
    manager.until("STOPPING=1").await;

    assert!(!waiting.concat().contains("READY=1"), "{waiting:?}");
    assert!(
        connected.contains(&"STATUS=connected to the server".to_owned()),
        "{connected:?}"
    );
    assert_eq!(relay.ended().await.code(), Some(0));
    drop(pool);
}

/// The log goes to a pipe that nobody reads: at some line the thread that serves is stuck.
#[tokio::test]
async fn a_server_that_is_stuck_gives_no_sign_of_life() {
    let manager = Manager::new();
    let mut command = Command::new(env!("CARGO_BIN_EXE_llamapool"));
    command
        .arg("server")
        .env_clear()
        .envs(manager.settings())
        .envs([("API_KEY", API_KEY), ("WORKER_KEY", WORKER_KEY)])
        .envs([("PORT", "0"), ("BIND_ADDR", "127.0.0.1"), ("THREADS", "1")])
        .envs([
            ("LOG_FORMAT", "json"),
            ("LOG_BURST", "0"),
            ("LOG_LEVEL", "debug"),
        ])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    let mut server = command.spawn().unwrap();
    let mut log = tokio::io::BufReader::new(server.stderr.take().unwrap());
    let address = soon("it listens", address(&mut log)).await;

    manager.until("WATCHDOG=1").await;
    let mut callers = Vec::new();
    let silence = async {
        loop {
            // Each of them is a line of the log at the least, and a stuck server answers none.
            for _ in 0..100 {
                if let Ok(mut caller) = TcpStream::connect(&*address).await {
                    let request = b"GET /api/mcp/id/nobody HTTP/1.1\r\nhost: x\r\n\r\n";
                    let _ = caller.write_all(request).await;
                    callers.push(caller);
                }
            }
            let heard = tokio::time::timeout(SILENCE, manager.next()).await;
            if heard.is_err() {
                return;
            }
        }
    };
    soon("the server is stuck", silence).await;
    drop(callers);
    let mut reading = tokio::task::JoinSet::new();
    reading.spawn(async move { tokio::io::copy(&mut log, &mut tokio::io::sink()).await });

    manager.until("WATCHDOG=1").await;
    server.kill().await.unwrap();
}

/// Reads the log until the server listens. Returns its address.
async fn address(log: &mut (impl tokio::io::AsyncBufRead + Unpin)) -> String {
    use tokio::io::AsyncBufReadExt;
    let mut lines = log.lines();
    loop {
        let line = lines.next_line().await.unwrap().unwrap();
        let event: serde_json::Value = serde_json::from_str(&line).unwrap();
        if event["message"] == "the server listens" {
            return event["address"].as_str().unwrap().to_owned();
        }
    }
}
