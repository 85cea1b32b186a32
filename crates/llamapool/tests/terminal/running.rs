//! A server and a relay on terminals, and the bounds that hold for everything that they show.

use crate::harness::{API_KEY, COLUMNS, Settings, Terminal, WORKER_KEY};

/// The scripted program.
const PROGRAM: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/../../tests/parts/scripted_program.py"
);

/// A server on a terminal.
pub(crate) struct ShownServer {
    pub(crate) terminal: Terminal,
    /// Its address, such as `127.0.0.1:4711`.
    pub(crate) address: String,
}

impl ShownServer {
    /// Starts a server on a free port, and waits for its banner.
    pub(crate) async fn start(settings: Settings<'_>) -> Self {
        let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = free.local_addr().unwrap().port().to_string();
        drop(free);
        let own = [
            ("PORT", port.as_str()),
            ("BIND_ADDR", "127.0.0.1"),
            ("API_KEY", API_KEY),
            ("WORKER_KEY", WORKER_KEY),
            ("DATA_DIR", "off"),
        ];
        let all = [&own, settings].concat();
        let mut terminal = Terminal::llamapool(&["server"], &all);
        terminal.shows("server-everything").await;
        Self {
            terminal,
            address: format!("127.0.0.1:{port}"),
        }
    }
}

/// Starts a relay on a terminal whose program has these traits.
pub(crate) fn relay_of_program(address: &str, traits: &[&str], settings: Settings<'_>) -> Terminal {
    let server = format!("ws://{address}");
    let own = [
        ("SERVER_URL", server.as_str()),
        ("WORKER_KEY", WORKER_KEY),
        ("STATUS_ADDR", "off"),
        ("PATH", "/usr/local/bin:/usr/bin:/bin"),
    ];
    let all = [&own, settings].concat();
    let arguments = [&["mcp", "--", "python3", "-I", "-S", PROGRAM], traits].concat();
    Terminal::llamapool(&arguments, &all)
}

/// Asserts that no line is longer than the terminal, but for the URLs in it.
pub(crate) fn assert_fits(text: &str) {
    for line in text.lines() {
        let is_long = line.chars().count() > usize::from(COLUMNS);
        assert!(!is_long || line.contains("://"), "{line}\nin:\n{text}");
    }
}
