//! The table of errors, row by row and in every dialect: status, type, word, whether it may have been
//! executed, and whether to try again.

use std::time::Duration;

use llamapool_dialect::{Executed, LlmErrorKind};
use llamapool_testkit::{
    API_KEY, Answer, PendingCall, Pool, RawHttp, ScriptedWorker, ServerConfig, WorkerSetup,
};
use serde_json::{Value, json};

use crate::kit::{
    CHAT, COMPLETION, call, key, read, request, server_with_keys, start, until_waiting,
};

/// One row.
struct Row {
    word: &'static str,
    status: u16,
    openai_type: &'static str,
    anthropic_status: u16,
    anthropic_type: &'static str,
    executed: Executed,
    retry: &'static str,
}

#[rustfmt::skip]
const ROWS: [Row; 31] = {
    use Executed::{No, Perhaps};
    const INVALID: &str = "invalid_request_error";
    const SERVER: &str = "server_error";
    const OVERLOADED: &str = "overloaded_error";
    const fn row(
        word: &'static str,
        openai: (u16, &'static str),
        anthropic: (u16, &'static str),
        executed: Executed,
        retry: &'static str,
    ) -> Row {
        Row {
            word, status: openai.0, openai_type: openai.1,
            anthropic_status: anthropic.0, anthropic_type: anthropic.1, executed, retry,
        }
    }
    [
        row("invalid_request", (400, INVALID), (400, INVALID), No, "false"),
        row("context_length_exceeded", (400, INVALID), (400, INVALID), No, "false"),
        row("unauthorized", (401, INVALID), (401, "authentication_error"), No, "false"),
        row("not_offered", (403, "permission_error"), (403, "permission_error"), No, "false"),
        row("model_not_found", (404, INVALID), (404, "not_found_error"), No, "false"),
        row("unsupported_endpoint", (404, INVALID), (404, "not_found_error"), No, "false"),
        row("previous_response_not_found", (404, INVALID), (404, "not_found_error"), No, "false"),
        row("method_not_allowed", (405, INVALID), (405, INVALID), No, "false"),
        row("request_broken", (408, INVALID), (408, INVALID), No, "true"),
        row("request_too_large", (413, INVALID), (413, "request_too_large"), No, "false"),
        row("content_encoding", (415, INVALID), (400, INVALID), No, "false"),
        row("unsupported_media_type", (415, INVALID), (400, INVALID), No, "false"),
        row("rate_limited", (429, "rate_limit_error"), (429, "rate_limit_error"), No, "true"),
        row("too_many_waiting", (429, "rate_limit_error"), (429, "rate_limit_error"), No, "true"),
        row("budget_exhausted", (429, "insufficient_quota"), (429, "rate_limit_error"), No, "false"),
        row("queue_full", (503, SERVER), (529, OVERLOADED), No, "true"),
        row("queue_timeout", (503, SERVER), (529, OVERLOADED), No, "true"),
        row("memory_full", (503, SERVER), (529, OVERLOADED), No, "true"),
        row("no_worker", (503, SERVER), (529, OVERLOADED), No, "true"),
        row("worker_offline", (503, SERVER), (529, OVERLOADED), No, "true"),
        row("server_draining", (503, SERVER), (529, OVERLOADED), No, "true"),
        row("runtime_unreachable", (503, SERVER), (529, OVERLOADED), No, "true"),
        row("runtime_busy", (503, SERVER), (529, OVERLOADED), No, "true"),
        row("worker_lost", (502, SERVER), (500, "api_error"), Perhaps, "false"),
        row("runtime_closed", (502, SERVER), (500, "api_error"), Perhaps, "false"),
        row("runtime_garbage", (502, SERVER), (500, "api_error"), Perhaps, "false"),
        row("answer_too_large", (502, SERVER), (500, "api_error"), Perhaps, "false"),
        row("stalled", (502, SERVER), (500, "api_error"), Perhaps, "false"),
        row("first_token_timeout", (504, SERVER), (504, "timeout_error"), Perhaps, "false"),
        row("call_timeout", (504, SERVER), (504, "timeout_error"), Perhaps, "false"),
        row("loop", (508, SERVER), (500, "api_error"), No, "false"),
    ]
};

/// A path of each dialect.
const PATHS: [&str; 3] = [CHAT, "/v1/messages", "/api/chat"];

fn row(word: &str) -> &'static Row {
    let row = ROWS.iter().find(|row| row.word == word);
    row.unwrap_or_else(|| panic!("no row {word}"))
}

fn body(model: &str) -> Value {
    json!({ "model": model, "stream": false, "max_tokens": 8,
            "messages": [{ "role": "user", "content": "hi" }] })
}

/// Checks an answer against the row of a word.
fn assert_row(answer: &Answer, path: &str, word: &str) {
    let row = row(word);
    let is_anthropic = path == "/v1/messages";
    let status = if is_anthropic {
        row.anthropic_status
    } else {
        row.status
    };
    assert_eq!(answer.status(), status, "{word} {path}: {}", answer.text());
    assert_eq!(answer.header("llamapool-error"), Some(word), "{path}");
    assert_eq!(answer.header("x-should-retry"), Some(row.retry), "{word}");
    assert!(answer.header("x-request-id").is_some());

    let answered = answer.json();
    let error = &answered["error"];
    if path.starts_with("/api/") {
        assert!(error.is_string(), "{word}: {error}");
    } else if is_anthropic {
        assert_eq!(answered["type"], "error", "{word}");
        assert_eq!(error["type"], row.anthropic_type, "{word}");
        let id = answer.header("request-id");
        assert_eq!(answered["request_id"].as_str(), id, "{word}");
    } else {
        let code = match word {
            "unauthorized" => "invalid_api_key",
            word => word,
        };
        assert_eq!(error["type"], row.openai_type, "{word}");
        assert_eq!(error["code"], code, "{word}");
        assert!(error["message"].is_string(), "{word}");
    }
}

/// Connects a worker with the model `m` in every dialect.
async fn connect(server: &Pool, id: &str) -> ScriptedWorker {
    let mut setup = WorkerSetup::new(&["m"], 1);
    setup.models[0].apis.push("ollama".to_owned());
    ScriptedWorker::connect(server, id, setup).await
}

async fn with_worker(configure: impl FnOnce(&mut ServerConfig)) -> (Pool, ScriptedWorker) {
    let server = Pool::with(configure).await;
    let worker = connect(&server, "alpha").await;
    (server, worker)
}

/// Sends a request that is refused, on each path, and checks that no worker had it.
async fn refused_everywhere(
    (server, worker): &mut (Pool, ScriptedWorker),
    word: &str,
    request: impl Fn(&str) -> reqwest::RequestBuilder,
) {
    for path in PATHS {
        let answer = read(&mut PendingCall::start(request(path))).await;
        assert_row(&answer, path, word);
        assert!(!worker.has_call(), "{word} was executed");
    }
    drop(server.state().await);
}

#[test]
fn every_word_has_a_row_of_this_table() {
    let words = LlmErrorKind::ALL.iter().map(|kind| kind.word());
    let missing: Vec<_> = words
        .filter(|word| ROWS.iter().all(|row| row.word != *word))
        .collect();
    // An upgrade has no dialect, and a test of its own.
    assert_eq!(missing, ["websocket_not_supported"]);
    for row in &ROWS {
        let kind = LlmErrorKind::from_word(row.word).unwrap();
        assert_eq!(kind.executed(), row.executed, "{}", row.word);
        let is_no = [429, 503].contains(&row.status);
        assert!(!is_no || row.executed == Executed::No, "{}", row.word);
    }
}

#[tokio::test]
async fn requests_that_are_wrong_are_refused_by_their_rows() {
    let mut pool = with_worker(|config| config.mcp.max_request_bytes = 4000).await;
    let url = pool.0.url.clone();
    let http = pool.0.http.clone();
    let post = |path: &str| http.post(format!("{url}{path}")).bearer_auth(API_KEY);

    refused_everywhere(&mut pool, "invalid_request", |path| post(path).body("{")).await;
    refused_everywhere(&mut pool, "unauthorized", |path| {
        http.post(format!("{url}{path}")).json(&body("m"))
    })
    .await;
    refused_everywhere(&mut pool, "model_not_found", |path| {
        post(path).json(&body("x"))
    })
    .await;
    refused_everywhere(&mut pool, "method_not_allowed", |path| {
        http.get(format!("{url}{path}")).bearer_auth(API_KEY)
    })
    .await;
    refused_everywhere(&mut pool, "request_too_large", |path| {
        post(path).body("x".repeat(5000))
    })
    .await;
    refused_everywhere(&mut pool, "content_encoding", |path| {
        post(path).header("content-encoding", "br").json(&body("m"))
    })
    .await;
    refused_everywhere(&mut pool, "unsupported_media_type", |path| {
        let form = post(path).header("content-type", "multipart/form-data; boundary=x");
        form.body("--x--")
    })
    .await;
    refused_everywhere(&mut pool, "loop", |path| {
        let via = "1.1 llamapool, 1.1 llamapool, 1.1 llamapool";
        post(path).header("via", via).json(&body("m"))
    })
    .await;
    refused_everywhere(&mut pool, "not_offered", |path| {
        let page = post(path).header("origin", "https://page.example");
        page.json(&body("m"))
    })
    .await;
}

#[tokio::test]
async fn an_api_without_a_worker_is_refused_by_its_row() {
    let server = Pool::start().await;
    let mut setup = WorkerSetup::new(&["m"], 1);
    setup.models[0].apis = vec!["rerank".to_owned()];
    let worker = ScriptedWorker::connect(&server, "alpha", setup).await;
    let url = server.url.clone();
    let http = server.http.clone();

    refused_everywhere(&mut (server, worker), "unsupported_endpoint", |path| {
        let post = http.post(format!("{url}{path}")).bearer_auth(API_KEY);
        post.json(&body("m"))
    })
    .await;
}

#[tokio::test]
async fn a_prompt_beyond_every_context_is_refused_by_its_row() {
    let server = Pool::start().await;
    let mut setup = WorkerSetup::new(&["m"], 1);
    setup.models[0].apis.push("ollama".to_owned());
    setup.models[0].context = 100;
    let worker = ScriptedWorker::connect(&server, "alpha", setup).await;
    let url = server.url.clone();
    let http = server.http.clone();
    let mut long = body("m");
    long["messages"][0]["content"] = json!("word ".repeat(1000));

    refused_everywhere(&mut (server, worker), "context_length_exceeded", |path| {
        let post = http.post(format!("{url}{path}")).bearer_auth(API_KEY);
        post.json(&long)
    })
    .await;
}

#[tokio::test]
async fn a_body_that_breaks_off_is_refused_by_its_row() {
    let server = Pool::with(|config: &mut ServerConfig| {
        config.llm.body_timeout = Duration::from_millis(50);
    })
    .await;

    for path in PATHS {
        let mut caller = RawHttp::connect(&server.url).await;
        let head = format!(
            "POST {path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {API_KEY}\r\n\
             Content-Length: 100\r\n\r\n{{"
        );
        caller.send(head).await;
        let head = caller.head().await;

        assert_eq!(head.status(), 408, "{path}");
        assert_eq!(head.values("llamapool-error"), ["request_broken"]);
        assert_eq!(head.values("x-should-retry"), ["true"]);
    }
}

#[tokio::test]
async fn bounds_of_a_key_are_refused_by_their_rows() {
    for word in ["rate_limited", "too_many_waiting", "budget_exhausted"] {
        for path in PATHS {
            let key = key("alice", |rights| match word {
                "rate_limited" => rights.llm.requests_per_minute = Some(1),
                "too_many_waiting" => rights.llm.max_concurrency = Some(1),
                _ => rights.llm.tokens_per_day = Some(1100),
            });
            let (server, mut worker) =
                with_worker(|config| config.identity.declared.keys = vec![key]).await;
            let ask = |path: &str| {
                let mut body = body("m");
                body["max_tokens"] = json!(1000);
                let post = server.http.post(format!("{}{path}", server.url));
                let post = post.header("llamapool-queue", "refuse");
                post.bearer_auth("key-of-alice").json(&body)
            };

            let _running = PendingCall::start(ask(path));
            let _first = worker.next_call().await;
            let answer = read(&mut PendingCall::start(ask(path))).await;

            assert_row(&answer, path, word);
            assert!(!worker.has_call());
        }
    }
}

#[tokio::test]
async fn calls_without_a_worker_are_refused_by_their_rows() {
    let (server, mut worker) = with_worker(|_| {}).await;
    let _running = start(&server, CHAT, &body("m"));
    let _first = worker.next_call().await;
    for path in PATHS {
        let full = request(&server, path, &body("m")).header("llamapool-queue", "refuse");
        assert_row(
            &read(&mut PendingCall::start(full)).await,
            path,
            "queue_full",
        );
        let late = request(&server, path, &body("m")).header("llamapool-queue-timeout", "0.05");
        assert_row(
            &read(&mut PendingCall::start(late)).await,
            path,
            "queue_timeout",
        );
    }

    drop(worker);
    server
        .until("no worker is connected", |state| {
            state["workers_summary"]["connected"] == 0
        })
        .await;
    for path in PATHS {
        let away = request(&server, path, &body("m")).header("llamapool-queue", "refuse");
        assert_row(
            &read(&mut PendingCall::start(away)).await,
            path,
            "no_worker",
        );
    }
}

#[tokio::test]
async fn a_draining_server_refuses_by_its_row() {
    let (mut server, worker) = with_worker(|_| {}).await;
    let url = server.url.clone();
    let http = server.http.clone();
    let mut held = worker;
    let _running = start(&server, CHAT, &body("m"));
    let _first = held.next_call().await;

    server.drain();
    server
        .until("the server drains", |state| {
            state["server"]["state"] == "draining"
        })
        .await;

    refused_everywhere(&mut (server, held), "server_draining", |path| {
        let post = http.post(format!("{url}{path}")).bearer_auth(API_KEY);
        post.json(&body("m"))
    })
    .await;
}

#[tokio::test]
async fn a_call_without_memory_is_refused_by_its_row() {
    let (server, mut worker) = with_worker(|config| config.max_memory = 1 << 20).await;
    let mut large = body("m");
    large["messages"][0]["content"] = json!("x".repeat(2 << 20));

    for path in PATHS {
        let answer = call(&server, path, &large).await;
        assert_row(&answer, path, "memory_full");
        assert!(!worker.has_call());
    }
}

#[tokio::test]
async fn failures_of_a_worker_are_answered_by_their_rows() {
    for word in [
        "runtime_unreachable",
        "runtime_busy",
        "worker_lost",
        "runtime_closed",
        "runtime_garbage",
        "answer_too_large",
        "stalled",
        "first_token_timeout",
        "call_timeout",
        "loop",
    ] {
        let (server, mut worker) = with_worker(|_| {}).await;
        for path in PATHS {
            let mut pending = start(&server, path, &body("m"));
            worker.next_call().await.fail(word);
            assert_row(&read(&mut pending).await, path, word);
        }
    }
}

#[tokio::test]
async fn a_call_that_takes_too_long_is_answered_by_its_row() {
    let (server, mut worker) = with_worker(|config| {
        config.mcp.call_timeout = Duration::from_millis(50);
    })
    .await;

    for path in PATHS {
        let mut pending = start(&server, path, &body("m"));
        let sent = worker.next_call().await;
        assert_row(&read(&mut pending).await, path, "call_timeout");
        sent.cancelled().await;
    }
}

#[tokio::test]
async fn responses_that_are_unknown_or_away_have_their_rows() {
    let server = Pool::start().await;
    let mut setup = WorkerSetup::new(&["m"], 1);
    setup.runtime.keeps_responses = true;
    let mut worker = ScriptedWorker::connect(&server, "alpha", setup).await;
    let path = "/v1/responses";
    let ask = |id: &str| json!({ "model": "m", "input": "hi", "previous_response_id": id });
    let mut pending = start(&server, path, &json!({ "model": "m", "input": "hi" }));
    let kept = r#"{"id":"resp_1","object":"response","output":[]}"#;
    worker.next_call().await.answer_json(200, kept);
    read(&mut pending).await;

    let unknown = call(&server, path, &ask("resp_x")).await;
    drop(worker);
    server
        .until("the worker is away", |state| {
            state["workers_summary"]["connected"] == 0
        })
        .await;
    let away = call(&server, path, &ask("resp_1")).await;

    assert_row(&unknown, path, "previous_response_not_found");
    assert_eq!(unknown.json()["error"]["param"], "previous_response_id");
    assert_row(&away, path, "worker_offline");
}

/// Bounds on the form of a request, each a little beyond it.
#[tokio::test]
async fn requests_beyond_the_bounds_of_their_form_are_400() {
    let (server, mut worker) = with_worker(|_| {}).await;
    let deep = format!(
        r#"{{"model":"m","messages":[],"x":{}{}}}"#,
        "[".repeat(130),
        "]".repeat(130)
    );
    let twice = r#"{"model":"m","messages":[],"model":"other"}"#.to_owned();
    let long = body(&"m".repeat(257)).to_string();
    let unprintable = body("a\u{7}b").to_string();
    for wrong in [deep, twice, long, unprintable] {
        for path in PATHS {
            let post = request(&server, path, &json!(null)).body(wrong.clone());
            let answer = read(&mut PendingCall::start(post)).await;
            assert_row(&answer, path, "invalid_request");
        }
    }

    let field = |name: &str, value: &str| {
        format!("--x\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n")
    };
    let many = field("a", "1").repeat(33) + &field("model", "m") + "--x--\r\n";
    let large = field("model", &"m".repeat(300)) + "--x--\r\n";
    for form in [many, large] {
        let post = server
            .http
            .post(format!("{}/v1/audio/transcriptions", server.url));
        let post = post.header("content-type", "multipart/form-data; boundary=x");
        let post = post.bearer_auth(API_KEY).body(form);
        let answer = read(&mut PendingCall::start(post)).await;
        assert_row(&answer, "/v1/audio/transcriptions", "invalid_request");
    }
    assert!(!worker.has_call());
}

/// A key that runs all it may waits, and is refused only where its caller does not wait.
#[tokio::test]
async fn calls_at_once_of_a_key_wait_for_each_other() {
    let key = key("alice", |rights| rights.llm.max_concurrency = Some(1));
    let server = server_with_keys(vec![key]).await;
    let mut setup = WorkerSetup::new(&["m"], 4);
    setup.models[0].apis.push("ollama".to_owned());
    let mut worker = ScriptedWorker::connect(&server, "alpha", setup).await;
    let ask = || {
        let post = server.http.post(format!("{}{CHAT}", server.url));
        post.bearer_auth("key-of-alice").json(&body("m"))
    };
    let _running = PendingCall::start(ask());
    let first = worker.next_call().await;

    let mut waiting = PendingCall::start(ask());
    until_waiting(&server, 1).await;
    let refusing = ask().header("llamapool-queue", "refuse");
    let refused = read(&mut PendingCall::start(refusing)).await;
    first.answer_json(200, COMPLETION);
    worker.next_call().await.answer_json(200, COMPLETION);

    assert_row(&refused, CHAT, "too_many_waiting");
    assert_eq!(read(&mut waiting).await.status(), 200);
}
