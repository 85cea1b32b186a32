//! The executable as a process, with its log. It ends with the test.

use std::process::{ExitStatus, Stdio};
use std::sync::Arc;

use parking_lot::Mutex;
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncWriteExt, BufReader};
use tokio::process::{Child, Command};
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::soon;

/// A running executable. Dropping it kills it.
pub struct Process {
    child: Child,
    log: Arc<Mutex<Vec<String>>>,
    lines: watch::Receiver<usize>,
    _readers: JoinSet<()>,
}

impl Process {
    /// Starts `llamapool` with these arguments and no other environment than these variables.
    pub fn llamapool(arguments: &[&str], environment: &[(&str, &str)]) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_llamapool"));
        command
            .args(arguments)
            .env_clear()
            .env("LOG_FORMAT", "json")
            .env("LOG_LEVEL", "debug")
            // Tests wait for lines of the log: none may be left out.
            .env("LOG_BURST", "0")
            // Tests count what their providers receive, and which programs are started.
            .env("NO_PROBE", "true");
        command.envs(environment.iter().copied());
        Self::start(command)
    }

    /// Starts any command. Its log is the lines of both its outputs.
    pub fn start(mut command: Command) -> Self {
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        let mut child = command.spawn().expect("the executable starts");
        let stdout = child.stdout.take().expect("piped");
        let stderr = child.stderr.take().expect("piped");

        let log = Arc::new(Mutex::new(Vec::new()));
        let (count, lines) = watch::channel(0);
        let mut readers = JoinSet::new();
        readers.spawn(read(stdout, log.clone(), count.clone()));
        readers.spawn(read(stderr, log.clone(), count));
        Self {
            child,
            log,
            lines,
            _readers: readers,
        }
    }

    /// Waits for the first line of the log that satisfies a condition. Past lines count.
    pub async fn line(&mut self, what: &str, mut wanted: impl FnMut(&str) -> bool) -> String {
        let found = async {
            let mut read = 0;
            loop {
                let fresh = self.log.lock()[read..].to_vec();
                read += fresh.len();
                if let Some(line) = fresh.into_iter().find(|line| wanted(line)) {
                    return line;
                }
                if self.lines.wait_for(|&count| count > read).await.is_err() {
                    panic!("the process ended before this: {what}\n{}", self.log());
                }
            }
        };
        match tokio::time::timeout(super::PATIENCE, found).await {
            Ok(line) => line,
            Err(_) => panic!("not in the log: {what}\n{}", self.log()),
        }
    }

    /// Waits for the first event of the JSON log with this message. Past events count.
    pub async fn event(&mut self, message: &str) -> Value {
        let is_it =
            |line: &str| json(line).is_some_and(|event| event["message"].as_str() == Some(message));
        let line = self.line(message, is_it).await;
        json(&line).expect("it was JSON a moment ago")
    }

    /// Returns the log so far.
    pub fn log(&self) -> String {
        self.log.lock().join("\n")
    }

    /// Returns a function that returns the log so far, for as long as it is needed.
    pub fn log_reader(&self) -> impl Fn() -> String + Send + Sync + 'static {
        let log = self.log.clone();
        move || log.lock().join("\n")
    }

    /// Waits for the `n`th line that satisfies a condition. Past lines count.
    pub async fn nth_line(
        &mut self,
        n: usize,
        what: &str,
        wanted: impl Fn(&str) -> bool,
    ) -> String {
        let mut seen = 0;
        let is_it = |line: &str| {
            seen += usize::from(wanted(line));
            seen == n && wanted(line)
        };
        self.line(what, is_it).await
    }

    /// Returns the lines so far that contain a text.
    pub fn lines_with(&self, text: &str) -> Vec<String> {
        let log = self.log.lock();
        let lines = log.iter().filter(|line| line.contains(text));
        lines.cloned().collect()
    }

    /// Waits for the end of the process and of its log.
    pub async fn status_and_log(&mut self) -> (ExitStatus, String) {
        let status = self.ended().await;
        // The channel closes when both outputs were read to their ends.
        let _ = soon("the log ends", self.lines.wait_for(|_| false)).await;
        (status, self.log())
    }

    /// Writes a line to the standard input of the process.
    pub async fn type_line(&mut self, line: &str) {
        let input = self.child.stdin.as_mut().expect("piped");
        let line = format!("{line}\n");
        input.write_all(line.as_bytes()).await.expect("it reads");
    }

    /// Ends the standard input of the process.
    pub fn close_input(&mut self) {
        self.child.stdin = None;
    }

    /// Whether the process runs.
    pub fn is_running(&mut self) -> bool {
        self.child.try_wait().expect("it can be asked").is_none()
    }

    /// Returns the id of the process.
    pub fn id(&self) -> u32 {
        self.child.id().expect("it runs")
    }

    /// Sends a signal to the process.
    pub async fn signal(&self, name: &str) {
        let id = self.id().to_string();
        let status = Command::new("kill")
            .args(["-s", name, &id])
            .status()
            .await
            .expect("kill runs");
        assert!(status.success(), "kill -s {name} {id}");
    }

    /// Kills the process, as `kill -9` does.
    pub async fn kill(&mut self) {
        self.child.kill().await.expect("it can be killed");
    }

    /// Waits for the end of the process.
    pub async fn ended(&mut self) -> ExitStatus {
        soon("the process ends", self.child.wait())
            .await
            .expect("it can be waited for")
    }
}

/// Appends the lines of an output to the log and counts them.
async fn read(
    output: impl AsyncRead + Unpin,
    log: Arc<Mutex<Vec<String>>>,
    count: watch::Sender<usize>,
) {
    let mut lines = BufReader::new(output).lines();
    while let Ok(Some(line)) = lines.next_line().await {
        log.lock().push(line);
        count.send_modify(|count| *count += 1);
    }
}

fn json(line: &str) -> Option<Value> {
    serde_json::from_str(line).ok()
}
