//! `llamapool demo` as it was installed: from the command to the answer of its first call, and its end.

use std::os::unix::process::ExitStatusExt;
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::harness::{Process, soon};

/// The bound of a slow, loaded machine; a person's patience is ten seconds, and the figure is printed.
const PATIENCE: Duration = Duration::from_secs(60);

/// The end of the URL that a demo prints.
const ID: &str = "/api/mcp/id/demo";

/// Starts a command that runs a demo, calls its tool, and ends the command with one signal, which must end the
/// demo as well.
pub(crate) async fn answers_and_ends(what: &str, command: Command, signal: &str) {
    let begin = Instant::now();
    let mut demo = Process::start(command.into());
    let line = demo.line("the URL", |line| url_in(line).is_some()).await;
    let url = url_in(&line).expect("it was there a moment ago");
    let answered = async {
        // The URL may be printed before the relay is connected.
        while !call(&url).await.contains("\"isError\":false") {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    soon("the first call is answered", answered).await;
    let took = begin.elapsed();
    println!("{what}: the first call was answered after {took:.1?}");

    assert!(took < PATIENCE, "{what}: {took:?}");

    demo.signal(signal).await;
    let ended = demo.ended().await;
    // npm ends by the signal itself.
    let is_good = ended.code() == Some(0) || ended.signal() == Some(15);
    assert!(is_good, "{what}: {ended}: {}", demo.log());
    let gone = async {
        while reqwest::get(&url).await.is_ok() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    soon("nothing listens any more", gone).await;
}

/// Calls the tool of the demo. Returns the answer.
async fn call(url: &str) -> String {
    let request = reqwest::Client::new().post(url).json(&json!({
        "jsonrpc": "2.0", "id": 1, "method": "tools/call",
        "params": { "name": "time/now", "arguments": {} },
    }));
    request.send().await.unwrap().text().await.unwrap()
}

/// Returns the URL of the demo in a line that it prints.
pub(crate) fn url_in(line: &str) -> Option<String> {
    let mut words = line.split_whitespace();
    let url = words.find(|word| word.starts_with("http://") && word.ends_with(ID));
    url.map(str::to_owned)
}
