//! `llamapool demo`: its printed commands are run in a shell.

use serde_json::Value;

use crate::harness::{Process, soon};
use crate::parts::root;
use crate::shell::{run, run_json};

const DEMOS: usize = 20;
const LAST_LINE: &str = "Ctrl-C ends the demo.";

/// Starts a demo on a free port. Returns it with the text that it prints.
async fn demo() -> (Process, String) {
    demo_with(&[]).await
}

/// Starts such a demo with more arguments.
async fn demo_with(arguments: &[&str]) -> (Process, String) {
    let all = [&["demo", "--port", "0"][..], arguments].concat();
    let mut demo = Process::llamapool(&all, &[]);
    demo.line("the introduction", |line| line == LAST_LINE)
        .await;
    let log = demo.log();
    // The rest is the log, one JSON object a line.
    let printed: Vec<_> = log
        .lines()
        .filter(|line| !line.starts_with("{\""))
        .collect();
    (demo, printed.join("\n"))
}

/// Returns the commands in a printed text: the paragraphs that begin with one.
fn commands(text: &str) -> Vec<&str> {
    text.split("\n\n")
        .filter(|paragraph| paragraph.starts_with("curl "))
        .collect()
}

#[tokio::test]
async fn the_commands_of_the_demo_can_be_pasted_and_work() {
    let (_demo, printed) = demo().await;

    assert!(
        !printed.contains(":0/"),
        "the port is the real one:\n{printed}"
    );

    let answers = commands(&printed);
    let [state, list, call] = answers[..] else {
        panic!("three commands, found {answers:?} in:\n{printed}")
    };

    let state = run_json(state).await;

    assert_eq!(state["mcp"]["clients"][0]["id"], "demo", "{state}");

    let list = run_json(list).await;
    let tools = list["result"]["tools"].as_array().unwrap();
    let names: Vec<_> = tools
        .iter()
        .map(|tool| tool["name"].as_str().unwrap())
        .collect();

    assert!(names.contains(&"time/now"), "{list}");

    let call = run_json(call).await;
    let result = &call["result"];

    assert_eq!(call["id"], Value::from(3), "{call}");
    assert_eq!(result["isError"], Value::from(false), "{call}");

    let time = result["content"][0]["text"].as_str().unwrap();
    assert!(time.contains('T') && time.ends_with('Z'), "{time}");
}

#[tokio::test]
async fn the_commands_of_the_llm_demo_work() {
    let (_demo, printed) = demo_with(&["--llm"]).await;
    let commands = commands(&printed);
    let [state, models, chat, stream] = commands[..] else {
        panic!("four commands, found {commands:?} in:\n{printed}")
    };

    // The worker looks for the models when it is connected.
    let listed = async {
        loop {
            let list = run_json(models).await;
            if list["data"][0]["id"] == "echo" {
                break;
            }
        }
    };
    soon("the model is listed", listed).await;
    let state = run_json(state).await;
    let chat = run_json(chat).await;
    let stream = run(stream).await;

    assert_eq!(state["workers"][0]["id"], "demo", "{state}");
    let message = &chat["choices"][0]["message"];
    assert_eq!(message["content"], "Hello from afar", "{chat}");
    let text: String = stream
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line.strip_prefix("data: ")?).ok())
        .filter_map(|event| Some(event["choices"][0]["delta"]["content"].as_str()?.to_owned()))
        .collect();
    assert_eq!(text, "Hello from afar", "{stream}");
    assert!(stream.trim_end().ends_with("data: [DONE]"), "{stream}");
}

/// Server and relay get the signal to end at the same time. Many demos, because the order of their
/// ends is up to chance.
#[tokio::test]
async fn ctrl_c_ends_every_demo_well() {
    let mut demos = Vec::new();
    for arguments in [&[][..], &["--llm"]].into_iter().cycle().take(DEMOS) {
        demos.push(demo_with(arguments).await.0);
    }
    futures_util::future::join_all(demos.iter().map(|demo| demo.signal("INT"))).await;
    for demo in &mut demos {
        assert_eq!(demo.ended().await.code(), Some(0), "{}", demo.log());
    }
}

#[tokio::test]
async fn the_readme_shows_a_command_that_the_demo_prints() {
    let (_demo, printed) = demo().await;
    let [state, _, call] = commands(&printed)[..] else {
        panic!("three commands in:\n{printed}")
    };
    let url = state
        .split_whitespace()
        .find_map(|word| word.strip_suffix("/api/state"))
        .unwrap();
    let shown = call.replace(url, "http://127.0.0.1:8080");
    let readme = std::fs::read_to_string(root().join("README.md")).unwrap();

    assert!(
        readme.contains(shown.trim()),
        "README.md does not have this:\n{shown}"
    );
}
