//! The walkthrough: server, relay and clock with the environment of `compose.yaml`, and the three
//! commands.
//!
//! The commands are read from `examples/mcp-proxy/README.md`, where they stand as in the walkthrough. The one rule: ports
//! and the host of the clock are all that differs.

use serde_json::{Value, json};

use crate::harness::{Process, soon};
use crate::parts::{FASTMCP_2, FASTMCP_4, Served, root};
use crate::shell::{blocks, run_json};

/// The environment of every service of the walkthrough.
const COMMON: [(&str, &str); 3] = [
    ("API_KEY", "test123"),
    ("WORKER_KEY", "secret"),
    ("CLIENT_ID", "mcp-1234"),
];

/// The services that `docker compose up` runs.
struct Walkthrough {
    port: u16,
    metrics_port: u16,
    _server: Process,
    _worker: Process,
}

impl Walkthrough {
    async fn up(clock: &Served) -> Self {
        let ports = [("PORT", "0"), ("METRICS_PORT", "0")];
        let mut server = Process::llamapool(&["server"], &[&COMMON[..], &ports].concat());

        let listens = server.event("the server listens").await;
        let metrics_port = port(&listens["metrics"]);
        let port = port(&listens["address"]);
        let server_url = format!("ws://localhost:{port}/api/mcp/connect");
        let provider_url = clock.redirecting_url();

        let own = [
            ("SERVER_URL", &*server_url),
            ("WORKER_NAME", "Alpha"),
            ("PROVIDER_URL", &provider_url),
        ];
        let mut worker = Process::llamapool(&["mcp", "--reconnect"], &[&COMMON[..], &own].concat());
        worker
            .line("connected", |line| {
                line.contains(r#""message":"connected:"#)
            })
            .await;
        Self {
            port,
            metrics_port,
            _server: server,
            _worker: worker,
        }
    }

    /// Returns the walkthrough's commands in their order, for this server.
    fn commands(&self) -> [String; 3] {
        let document =
            std::fs::read_to_string(root().join("examples/mcp-proxy/README.md")).unwrap();
        let commands = blocks(&document)
            .into_iter()
            .filter(|block| block.starts_with("curl "));
        let here = |command: String| {
            assert!(command.contains("http://localhost:8080/"), "{command}");

            let command = command.replace("localhost:8080", &format!("localhost:{}", self.port));
            command
                .trim_end()
                .strip_suffix(" | jq")
                .expect("it is made readable")
                .to_owned()
        };
        let commands: Vec<_> = commands.map(here).collect();
        commands.try_into().expect("three commands")
    }
}

/// Returns the port at the end of an address in the log, such as `Some(127.0.0.1:9090)`.
fn port(address: &Value) -> u16 {
    let port = address
        .as_str()
        .and_then(|address| address.trim_end_matches(')').rsplit(':').next());
    port.and_then(|port| port.parse().ok())
        .unwrap_or_else(|| panic!("no port: {address}"))
}

#[tokio::test]
async fn the_walkthrough_goes_as_it_is_written() {
    let clock = Served::start(FASTMCP_2, "serve_clock.py").await;

    assert_eq!(redirects(&clock).await, 307);

    let walkthrough = Walkthrough::up(&clock).await;
    let [state, list, call] = walkthrough.commands();

    let state = run_json(&state).await;

    assert_like(&state, &written_state(), "state");

    let client = &state["mcp"]["clients"][0];
    assert_eq!(client["id"], "mcp-1234");
    assert_eq!(client["status"], "idle");
    assert_eq!(client["inflight"], 0);
    assert_eq!(client["functions"], json!({}));
    assert_eq!(client["name"], "Alpha");
    assert_eq!(state["models"], json!([]));
    assert_eq!(state["workers"], json!([]));
    assert_eq!(state["mcp"]["clients"].as_array().unwrap().len(), 1);

    let list = run_json(&list).await;
    assert_like(&list, &written_list(), "tools/list");
    assert_eq!(list["id"], 2);
    assert_eq!(list["result"]["tools"][0]["name"], "time/now");

    let call = run_json(&call).await;
    assert_like(&call, &written_call(), "tools/call");
    assert_tells_the_time(&call);
}

#[tokio::test]
async fn the_walkthrough_goes_with_fastmcp_of_today() {
    let clock = Served::start(FASTMCP_4, "clock4.py").await;
    let walkthrough = Walkthrough::up(&clock).await;
    let [state, list, call] = walkthrough.commands();

    assert_like(&run_json(&state).await, &written_state(), "state");

    let list = run_json(&list).await;
    assert_like(&list, &written_list_of_today(), "tools/list");
    assert_eq!(list["id"], 2);
    assert_eq!(list["result"]["tools"][0]["name"], "time/now");

    let call = run_json(&call).await;
    assert_like(&call, &written_call(), "tools/call");
    assert_tells_the_time(&call);
}

#[tokio::test]
async fn the_walkthroughs_metrics_are_on_their_own_port_alone() {
    let clock = Served::start(FASTMCP_2, "serve_clock.py").await;
    let walkthrough = Walkthrough::up(&clock).await;
    run_json(&walkthrough.commands()[2]).await;
    let get = async |port: u16| {
        let answer = soon(
            "metrics",
            reqwest::get(format!("http://localhost:{port}/metrics")),
        )
        .await
        .unwrap();
        (answer.status().as_u16(), answer.text().await.unwrap())
    };
    let (status, metrics) = get(walkthrough.metrics_port).await;

    assert_eq!(status, 200);

    let is_call = |line: &str| line.starts_with("llamapool_") && line.contains("mcp-1234");
    assert!(metrics.lines().any(is_call), "{metrics}");
    assert_eq!(get(walkthrough.port).await.0, 404);
}

/// Returns the status of the clock's answer at the URL that the relay gets.
async fn redirects(clock: &Served) -> u16 {
    let http = reqwest::Client::builder()
        .redirect(reqwest::redirect::Policy::none())
        .build()
        .unwrap();
    soon(
        "the clock answers",
        http.post(clock.redirecting_url()).send(),
    )
    .await
    .unwrap()
    .status()
    .as_u16()
}

fn assert_tells_the_time(call: &Value) {
    let result = &call["result"];

    assert_eq!(call["id"], 3);
    assert_eq!(result["isError"], false);

    let text = result["content"][0]["text"].as_str().unwrap();
    assert_eq!(result["structuredContent"]["result"], text);

    // 2025-08-21T02:13:53.798406; the fraction is left out when it is zero.
    let shape: String = text
        .chars()
        .map(|char| if char.is_ascii_digit() { '0' } else { char })
        .collect();

    assert!(
        ["0000-00-00T00:00:00.000000", "0000-00-00T00:00:00"].contains(&&*shape),
        "{text}"
    );
}

/// Whether an answer has all members of the written one, with values of the same type. It may have
/// more.
fn assert_like(found: &Value, written: &Value, at: &str) {
    match (found, written) {
        (Value::Object(found), Value::Object(written)) => {
            for (key, written) in written {
                let value = found
                    .get(key)
                    .unwrap_or_else(|| panic!("{at} has no {key}: {found:?}"));
                assert_like(value, written, &format!("{at}.{key}"));
            }
        }
        (Value::Array(found), Value::Array(written)) => {
            assert!(
                found.len() >= written.len(),
                "{at} has too few elements: {found:?}"
            );
            for (index, (found, written)) in found.iter().zip(written).enumerate() {
                assert_like(found, written, &format!("{at}[{index}]"));
            }
        }
        _ => {
            let same = std::mem::discriminant(found) == std::mem::discriminant(written);
            assert!(
                same,
                "{at} is of another type: {found}, as written: {written}"
            );
        }
    }
}

/// Returns the walkthrough's answers, word for word.
fn written_state() -> Value {
    json!({
      "server": {
        "now": "2025-08-21T02:08:19.044622409Z",
        "version": "3572acb",
        "build_sha": "3572acb",
        "build_date": "2025-08-21T01:34:31Z",
        "uptime_s": 5,
        "jobs_inflight_total": 0,
        "jobs_completed_total": 0,
        "jobs_failed_total": 0,
        "scheduler_queue_len": 0
      },
      "workers_summary": {
        "connected": 0,
        "working": 0,
        "idle": 0,
        "not_ready": 0,
        "gone": 0
      },
      "models": [],
      "workers": [],
      "mcp": {
        "clients": [
          {
            "id": "mcp-1234",
            "status": "idle",
            "inflight": 0,
            "functions": {}
          }
        ],
        "sessions": null
      }
    })
}

fn written_list() -> Value {
    json!({
      "jsonrpc": "2.0",
      "id": 2,
      "result": {
        "tools": [
          {
            "name": "time/now",
            "inputSchema": {
              "properties": {},
              "type": "object"
            },
            "outputSchema": {
              "properties": {
                "result": {
                  "title": "Result",
                  "type": "string"
                }
              },
              "required": [
                "result"
              ],
              "title": "_WrappedResult",
              "type": "object",
              "x-fastmcp-wrap-result": true
            },
            "_meta": {
              "_fastmcp": {
                "tags": []
              }
            }
          }
        ]
      }
    })
}

/// Returns the same answers without the titles and the note for its own clients, which FastMCP 4
/// does not write.
fn written_list_of_today() -> Value {
    let mut list = written_list();
    let tool = list["result"]["tools"][0].as_object_mut().expect("a tool");
    tool.remove("_meta");
    let schema = tool["outputSchema"].as_object_mut().expect("a schema");
    schema.remove("title");
    schema["properties"]["result"]
        .as_object_mut()
        .expect("a property")
        .remove("title");
    list
}

fn written_call() -> Value {
    json!({
      "jsonrpc": "2.0",
      "id": 3,
      "result": {
        "content": [
          {
            "type": "text",
            "text": "2025-08-21T02:13:53.798406"
          }
        ],
        "structuredContent": {
          "result": "2025-08-21T02:13:53.798406"
        },
        "isError": false
      }
    })
}
