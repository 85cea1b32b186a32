//! What a service manager hears, by a socket in its place.

use std::os::unix::net::UnixDatagram;

use super::*;

/// The patience of the watchdog in these tests.
const WATCHDOG: Duration = Duration::from_millis(200);

/// A service manager: the socket that it reads.
struct Manager {
    socket: UnixDatagram,
    folder: tempfile::TempDir,
}

impl Manager {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let socket = UnixDatagram::bind(folder.path().join("notify")).unwrap();
        Self { socket, folder }
    }

    fn environment(&self, more: &[(&str, &str)]) -> Environment {
        let socket = self.folder.path().join("notify");
        let own = [("NOTIFY_SOCKET", socket.to_str().unwrap())];
        own.iter().chain(more).copied().collect()
    }

    /// Returns the next notification, `None` after this wait without one.
    fn next(&self, wait: Duration) -> Option<String> {
        self.socket.set_read_timeout(Some(wait)).unwrap();
        let mut text = [0; 4096];
        let length = self.socket.recv(&mut text).ok()?;
        Some(String::from_utf8(text[..length].to_vec()).unwrap())
    }
}

fn running() -> RoleState {
    RoleState {
        is_ready: true,
        status: "1 relays, 2 calls".to_owned(),
    }
}

/// Runs a role on a runtime of one thread, which blocks its thread when it is told to.
fn role(environment: Environment, block: std::sync::mpsc::Receiver<std::sync::mpsc::Receiver<()>>) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let manager = ServiceManager::of(&environment, 7);
        let (stop, _requested) = Stop::for_test();
        let blocker = async {
            loop {
                tokio::task::yield_now().await;
                match block.try_recv() {
                    // Blocks the thread, and with it the whole runtime.
                    Ok(release) => drop(release.recv()),
                    Err(std::sync::mpsc::TryRecvError::Empty) => {
                        tokio::time::sleep(Duration::from_millis(5)).await;
                    }
                    Err(std::sync::mpsc::TryRecvError::Disconnected) => return,
                }
            }
        };
        tokio::select! {
            () = blocker => {}
            never = manager.report(running, stop) => match never {},
        }
    });
}

#[test]
fn a_runtime_that_is_stuck_sends_no_sign_of_life() {
    let manager = Manager::new();
    let limit = WATCHDOG.as_micros().to_string();
    let environment = manager.environment(&[("WATCHDOG_USEC", &limit), ("WATCHDOG_PID", "7")]);
    let (block, blocked) = std::sync::mpsc::channel();
    let (release, released) = std::sync::mpsc::channel();

    std::thread::scope(|scope| {
        scope.spawn(|| role(environment, blocked));
        for _ in 0..3 {
            let sign = manager.next(Duration::from_secs(30));
            assert!(sign.is_some(), "it is alive");
        }
        block.send(released).unwrap();
        // What was on its way is read: less than this, of a runtime that is stuck.
        for _ in 0..10 {
            if manager.next(WATCHDOG * 2).is_none() {
                break;
            }
        }
        let silence = manager.next(WATCHDOG * 3);
        release.send(()).unwrap();
        let back = manager.next(Duration::from_secs(30));
        drop(block);

        assert_eq!(silence, None);
        assert_eq!(back.as_deref(), Some("WATCHDOG=1"));
    });
}

#[tokio::test]
async fn a_watchdog_of_another_process_gets_nothing() {
    let manager = Manager::new();
    let limit = [("WATCHDOG_USEC", "1000"), ("WATCHDOG_PID", "8")];

    let of_other = ServiceManager::of(&manager.environment(&limit), 7);
    let own = ServiceManager::of(&manager.environment(&limit), 8);

    assert_eq!(of_other.watchdog, None);
    assert_eq!(own.watchdog, Some(Duration::from_millis(1)));
}

#[tokio::test]
async fn a_status_is_one_line_of_bounded_length() {
    let manager = Manager::new();
    let service = ServiceManager::of(&manager.environment(&[]), 7);
    let mut sent = Sent {
        is_ready: false,
        status: String::new(),
        alive: Instant::now(),
    };
    let state = RoleState {
        is_ready: false,
        status: format!("not connected: a\nREADY=1\u{1b}[0m{}", "x".repeat(1000)),
    };

    service.send_changes(&mut sent, state, false).await;
    let text = manager.next(Duration::from_secs(30)).unwrap();

    assert!(
        text.starts_with("STATUS=not connected: a READY=1 [0mx"),
        "{text}"
    );
    assert_eq!(text.chars().count(), "STATUS=".len() + MAX_STATUS_CHARS);
}

#[tokio::test]
async fn a_socket_that_is_gone_disturbs_nothing() {
    let manager = Manager::new();
    let service = ServiceManager::of(&manager.environment(&[]), 7);
    let nowhere = [("NOTIFY_SOCKET", "/nowhere/notify")].into_iter().collect();

    drop(manager);
    service.while_reloading(async {}).await;

    assert!(!ServiceManager::of(&nowhere, 7).is_there());
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_socket_can_have_an_abstract_name() {
    use std::os::linux::net::SocketAddrExt;
    let name = format!("llamapool-test-{}", std::process::id());
    let address = std::os::unix::net::SocketAddr::from_abstract_name(&name).unwrap();
    let socket = UnixDatagram::bind_addr(&address).unwrap();

    let environment = [("NOTIFY_SOCKET", format!("@{name}"))]
        .into_iter()
        .collect();
    ServiceManager::of(&environment, 7).send("READY=1").await;

    let mut text = [0; 64];
    let length = socket.recv(&mut text).unwrap();
    assert_eq!(&text[..length], b"READY=1");
}
