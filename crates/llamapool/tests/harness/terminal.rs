//! The executable on a pseudo-terminal, as a person has it before them.

use std::fs::{File, OpenOptions};
use std::io::Read;
use std::process::{ExitStatus, Stdio};
use std::sync::Arc;

use parking_lot::Mutex;
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};
use tokio::process::{Child, Command};
use tokio::sync::watch;

use super::{Settings, soon};

/// The columns of the terminal: what a line for people may take.
pub const COLUMNS: u16 = 120;

/// A running executable whose inputs and outputs are a terminal. Dropping it kills it.
pub struct Terminal {
    child: Child,
    text: Arc<Mutex<String>>,
    length: watch::Receiver<usize>,
}

impl Terminal {
    /// Starts `llamapool` with these arguments and no other environment than these variables.
    pub fn llamapool(arguments: &[&str], environment: Settings<'_>) -> Self {
        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).expect("a terminal");
        grantpt(&master).expect("a terminal");
        unlockpt(&master).expect("a terminal");
        let size = Winsize {
            ws_row: 40,
            ws_col: COLUMNS,
            ws_xpixel: 0,
            ws_ypixel: 0,
        };
        tcsetwinsize(&master, size).expect("a size");
        let name = ptsname(&master, Vec::new()).expect("a name");
        let name = name.into_string().expect("a name in UTF-8");
        let slave = || -> Stdio {
            let file = OpenOptions::new().read(true).write(true).open(&name);
            file.expect("the other side").into()
        };

        let child = Command::new(env!("CARGO_BIN_EXE_llamapool"))
            .args(arguments)
            .env_clear()
            .env("TERM", "xterm")
            .envs(environment.iter().copied())
            .stdin(slave())
            .stdout(slave())
            .stderr(slave())
            .kill_on_drop(true)
            .spawn()
            .expect("the executable starts");

        let text = Arc::new(Mutex::new(String::new()));
        let (count, length) = watch::channel(0);
        let shown = text.clone();
        // A thread: a terminal is no socket. It ends with the process, which has the other side.
        std::thread::spawn(move || read(File::from(master), &shown, &count));
        Self {
            child,
            text,
            length,
        }
    }

    /// Waits until the terminal has shown a text.
    pub async fn shows(&mut self, wanted: &str) {
        self.shows_that(wanted, |text| text.contains(wanted)).await;
    }

    /// Waits until what the terminal has shown satisfies a condition.
    pub async fn shows_that(&mut self, what: &str, wanted: impl Fn(&str) -> bool) {
        let found = async {
            let mut seen = 0;
            while !wanted(&self.text()) {
                if self.length.wait_for(|&length| length > seen).await.is_err() {
                    panic!("the process ended before this: {what}\n{}", self.text());
                }
                seen = *self.length.borrow();
            }
        };
        if tokio::time::timeout(super::PATIENCE, found).await.is_err() {
            panic!("not shown: {what}\n{}", self.text());
        }
    }

    /// Returns everything that was shown, with the sequences that control the terminal.
    pub fn raw(&self) -> String {
        self.text.lock().clone()
    }

    /// Returns the text that was shown, line by line, without those sequences.
    pub fn text(&self) -> String {
        plain(&self.raw())
    }

    /// Sends a signal to the process, as Ctrl-C sends `INT`.
    pub async fn signal(&self, name: &str) {
        let id = self.child.id().expect("it runs").to_string();
        let status = Command::new("kill").args(["-s", name, &id]).status().await;
        assert!(status.expect("kill runs").success(), "kill -s {name} {id}");
    }

    /// Waits for the end of the process and of what it shows.
    pub async fn ended(&mut self) -> ExitStatus {
        let status = soon("the process ends", self.child.wait()).await;
        let _ = soon("all is read", self.length.wait_for(|_| false)).await;
        status.expect("it can be waited for")
    }
}

/// Returns a text as the terminal shows it: without the sequences that control it, and without lines
/// that were cleared.
fn plain(raw: &str) -> String {
    let mut text = String::new();
    let mut chars = raw.chars();
    while let Some(c) = chars.next() {
        match c {
            '\u{1b}' if chars.as_str().starts_with("[2K") => {
                let line = text.rfind('\n').map_or(0, |end| end + 1);
                text.truncate(line);
                chars.by_ref().nth(2);
            }
            '\u{1b}' => drop(chars.by_ref().skip(1).find(char::is_ascii_alphabetic)),
            '\r' => {}
            c => text.push(c),
        }
    }
    text
}

/// Reads what is shown until the last process has left the terminal.
fn read(mut master: File, text: &Mutex<String>, count: &watch::Sender<usize>) {
    let mut bytes = Vec::new();
    let mut buffer = [0; 4096];
    while let Ok(read @ 1..) = master.read(&mut buffer) {
        bytes.extend_from_slice(&buffer[..read]);
        let shown = String::from_utf8_lossy(&bytes).into_owned();
        let length = shown.len();
        *text.lock() = shown;
        count.send_replace(length);
    }
}
