//! The executable as a process: its log is read line by line, and it ends with the test.

use std::process::{ExitStatus, Stdio};
use std::sync::{Arc, Mutex};

use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncRead, BufReader};
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
    /// Starts `llamapool` with these arguments, and an environment of these variables alone.
    pub fn llamapool(arguments: &[&str], environment: &[(&str, &str)]) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_llamapool"));
        command
            .args(arguments)
            .env_clear()
            .env("LOG_FORMAT", "json")
            .env("LOG_LEVEL", "debug");
        command.envs(environment.iter().copied());
        Self::start(command)
    }

    /// Starts any command. What it writes to either output is its log.
    pub fn start(mut command: Command) -> Self {
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        let mut child = command.spawn().expect("the executable starts");
        let log = Arc::new(Mutex::new(Vec::new()));
        let (count, lines) = watch::channel(0);
        let mut readers = JoinSet::new();
        readers.spawn(read(
            child.stdout.take().expect("piped"),
            log.clone(),
            count.clone(),
        ));
        readers.spawn(read(
            child.stderr.take().expect("piped"),
            log.clone(),
            count,
        ));
        Self {
            child,
            log,
            lines,
            _readers: readers,
        }
    }

    /// The first line of the log that satisfies a condition, past or to come.
    pub async fn line(&mut self, what: &str, mut wanted: impl FnMut(&str) -> bool) -> String {
        let found = async {
            let mut read = 0;
            loop {
                let fresh = self.log.lock().unwrap()[read..].to_vec();
                read += fresh.len();
                if let Some(line) = fresh.into_iter().find(|line| wanted(line)) {
                    return line;
                }
                if self.lines.wait_for(|&count| count > read).await.is_err() {
                    panic!(
                        "the process ended before this: {what}\n{}",
                        self.whole_log()
                    );
                }
            }
        };
        match tokio::time::timeout(super::PATIENCE, found).await {
            Ok(line) => line,
            Err(_) => panic!("not in the log: {what}\n{}", self.whole_log()),
        }
    }

    /// The first event of the JSON log with this message.
    pub async fn event(&mut self, message: &str) -> Value {
        let is_it =
            |line: &str| json(line).is_some_and(|event| event["message"].as_str() == Some(message));
        let line = self.line(message, is_it).await;
        json(&line).expect("it was JSON a moment ago")
    }

    /// Everything it has written so far.
    pub fn whole_log(&self) -> String {
        self.log.lock().unwrap().join("\n")
    }

    /// The `n`th line that satisfies a condition, past or to come.
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

    /// The lines written so far that contain a text.
    pub fn lines_with(&self, text: &str) -> Vec<String> {
        self.log
            .lock()
            .unwrap()
            .iter()
            .filter(|line| line.contains(text))
            .cloned()
            .collect()
    }

    /// Waits for its end and for the last line of its log.
    pub async fn last_words(&mut self) -> (ExitStatus, String) {
        let status = self.ended().await;
        // It errs when both outputs were read to their ends.
        let _ = soon("the log ends", self.lines.wait_for(|_| false)).await;
        (status, self.whole_log())
    }

    /// Whether it runs.
    pub fn runs(&mut self) -> bool {
        self.child.try_wait().expect("it can be asked").is_none()
    }

    /// The id of the process.
    pub fn id(&self) -> u32 {
        self.child.id().expect("it runs")
    }

    /// Sends it a signal.
    pub async fn signal(&self, name: &str) {
        let id = self.id().to_string();
        let status = Command::new("kill")
            .args(["-s", name, &id])
            .status()
            .await
            .expect("kill runs");
        assert!(status.success(), "kill -s {name} {id}");
    }

    /// Ends it without a word, as `kill -9` does.
    pub async fn kill(&mut self) {
        self.child.kill().await.expect("it can be killed");
    }

    /// Waits for its end.
    pub async fn ended(&mut self) -> ExitStatus {
        soon("the process ends", self.child.wait())
            .await
            .expect("it can be waited for")
    }
}

async fn read(
    output: impl AsyncRead + Unpin,
    log: Arc<Mutex<Vec<String>>>,
    count: watch::Sender<usize>,
) {
    let mut lines = BufReader::new(output).lines();
    while let Ok(Some(line)) = lines.next_line().await {
        log.lock().unwrap().push(line);
        count.send_modify(|count| *count += 1);
    }
}

fn json(line: &str) -> Option<Value> {
    serde_json::from_str(line).ok()
}
