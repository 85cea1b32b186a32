//! MCP 2026-07-28, which has no sessions: one program answers all callers.

use reqwest::{RequestBuilder, Response};
use serde_json::{Value, json};

use crate::event_stream::EventStream;
use crate::harness::{Pool, soon};
use crate::scripted_program::ScriptedProgram;
use crate::session_client::{
    End, end_of, initialize_request, llamapool_error, mcp_error, read_body, read_message, send,
    write_arguments,
};

const REVISION: &str = "2026-07-28";
const META: &str = "io.modelcontextprotocol/protocolVersion";

/// Returns a request with the `_meta` that the revision requires.
fn request_body(id: &Value, method: &str, mut params: Value) -> Value {
    params["_meta"][META] = json!(REVISION);
    json!({ "jsonrpc": "2.0", "id": id, "method": method, "params": params })
}

/// Returns a `POST` with the headers that repeat fields of its body.
fn request(program: &ScriptedProgram, body: &Value) -> RequestBuilder {
    let request = program
        .post(body.to_string())
        .header("mcp-protocol-version", REVISION)
        .header("mcp-method", body["method"].as_str().unwrap());
    match body["params"]["name"].as_str() {
        Some(name) => request.header("mcp-name", name),
        None => request,
    }
}

/// Calls a tool and returns the answer as soon as its head has arrived.
async fn send_call(
    program: &ScriptedProgram,
    id: &Value,
    tool: &str,
    arguments: Value,
) -> Response {
    let params = json!({ "name": tool, "arguments": arguments });
    let body = request_body(id, "tools/call", params);
    send(request(program, &body)).await
}

/// Calls a tool and returns its result.
async fn call_tool(program: &ScriptedProgram, tool: &str, arguments: Value) -> Value {
    read_message(send_call(program, &json!(1), tool, arguments).await).await["result"].clone()
}

/// Returns the messages that the program has received.
async fn received_messages(program: &ScriptedProgram) -> Vec<Value> {
    let lines = call_tool(program, "received_lines", json!({})).await["lines"].clone();
    lines
        .as_array()
        .unwrap()
        .iter()
        .map(|line| serde_json::from_str(line.as_str().unwrap()).unwrap())
        .collect()
}

/// Waits until the program has received a message with this method, and returns it.
async fn until_received(program: &ScriptedProgram, method: &str) -> Value {
    let received = async {
        loop {
            let messages = received_messages(program).await;
            let found = messages.into_iter().find(|it| it["method"] == method);
            if let Some(message) = found {
                return message;
            }
        }
    };
    soon("the program receives it", received).await
}

#[tokio::test]
async fn one_program_serves_all_callers_and_keeps_equal_ids_apart() {
    let pool = Pool::start().await;
    let program = ScriptedProgram::start(&pool, "equal", &["modern"]).await;

    let ids = [
        json!(7),
        json!("7"),
        json!(7.5),
        json!("grüße \"q\""),
        json!(9_007_199_254_740_993_u64),
    ];
    let calls = (0..40).map(|client| {
        let program = &program;
        let id = ids[client % ids.len()].clone();
        async move {
            let arguments = json!({ "client": client });
            let answer =
                read_message(send_call(program, &id, "echo", arguments.clone()).await).await;
            assert_eq!(
                (&answer["id"], &answer["result"]["echo"]),
                (&id, &arguments)
            );
        }
    });
    futures_util::future::join_all(calls).await;

    assert_eq!(program.programs().len(), 1);

    // Responses in another order than their requests.
    let mut waiting = Vec::new();
    for name in ["one", "two", "three"] {
        let answer = send_call(&program, &json!(7), "hold", json!({ "name": name })).await;
        waiting.push((name, answer));
    }

    for (name, answer) in waiting.into_iter().rev() {
        call_tool(&program, "release", json!({ "name": name })).await;
        let answer = read_message(answer).await;
        assert_eq!(
            (&answer["id"], &answer["result"]["release"]),
            (&json!(7), &json!(name))
        );
    }
}

#[tokio::test]
async fn progress_reaches_its_call_with_the_callers_own_token() {
    let pool = Pool::start().await;
    let program = ScriptedProgram::start(&pool, "progress", &["modern"]).await;

    let progress = r#"{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":$TOKEN,"progress":0.5}}"#;
    let done = r#"{"jsonrpc":"2.0","id":$ID,"result":{}}"#;
    for token in [json!("token"), json!(7), json!("7")] {
        let bystander =
            send_call(&program, &json!(7), "hold", json!({ "name": "bystander" })).await;
        let arguments = write_arguments(format!("{progress}\n{done}\n"));
        let params =
            json!({ "name": "write", "arguments": arguments, "_meta": { "progressToken": token } });
        let mut events = EventStream::of(
            send(request(
                &program,
                &request_body(&json!(7), "tools/call", params),
            ))
            .await,
        );
        let first = events.message().await;

        assert_eq!(
            (
                &first["params"]["progressToken"],
                &first["params"]["progress"]
            ),
            (&token, &json!(0.5))
        );
        assert_eq!(events.message().await["id"], 7);
        assert_eq!(events.next().await, Ok(None));

        call_tool(&program, "release", json!({ "name": "bystander" })).await;
        assert_eq!(
            read_message(bystander).await["result"]["release"],
            "bystander"
        );
    }
}

/// The late response is dropped. A caller's own `notifications/cancelled` is not passed on, as its
/// id may be another's.
#[tokio::test]
async fn a_caller_that_leaves_cancels_its_request() {
    let pool = Pool::start().await;
    let program = ScriptedProgram::start(&pool, "leaves", &["modern"]).await;

    drop(
        send_call(
            &program,
            &json!("theirs"),
            "hold",
            json!({ "name": "left" }),
        )
        .await,
    );
    let cancelled = until_received(&program, "notifications/cancelled").await;
    let all = received_messages(&program).await;
    let held = all
        .iter()
        .find(|line| line["params"]["name"] == "hold")
        .expect("the program received it");

    assert_eq!(
        cancelled["params"]["requestId"], held["id"],
        "under the id that the program was given"
    );
    assert_ne!(held["id"], "theirs");

    call_tool(&program, "release", json!({ "name": "left" })).await;
    assert_eq!(
        call_tool(&program, "echo", json!({ "still": "here" })).await["echo"],
        json!({ "still": "here" })
    );
    assert_eq!(program.programs().len(), 1);

    // The id of a cancellation may be another caller's, so it is not passed on.
    let waiting = send_call(&program, &json!(1), "hold", json!({ "name": "waits" })).await;
    let cancel = json!({ "jsonrpc": "2.0", "method": "notifications/cancelled", "params": { "requestId": 1 } });
    let cancel = program
        .post(cancel.to_string())
        .header("mcp-protocol-version", REVISION);

    assert_eq!(send(cancel).await.status(), 202);

    call_tool(&program, "release", json!({ "name": "waits" })).await;
    assert_eq!(read_message(waiting).await["result"]["release"], "waits");

    let cancellations = received_messages(&program)
        .await
        .into_iter()
        .filter(|line| line["method"] == "notifications/cancelled");
    assert_eq!(cancellations.count(), 1);
}

#[tokio::test]
async fn errors_of_the_program_have_the_http_statuses_of_their_codes() {
    let pool = Pool::start().await;
    let program = ScriptedProgram::start(&pool, "statuses", &["modern"]).await;

    for (code, status) in [
        (-32601, 404),
        (-32602, 400),
        (-32600, 400),
        (-32700, 400),
        (-32020, 400),
        (-32021, 400),
        (-32022, 400),
        (-32603, 200),
        (1, 200),
    ] {
        let error = format!(
            r#"{{"jsonrpc":"2.0","id":$ID,"error":{{"code":{code},"message":"as it was said"}}}}"#
        );
        let answer = send_call(
            &program,
            &json!(1),
            "write",
            write_arguments(format!("{error}\n")),
        )
        .await;
        assert_eq!(
            mcp_error(answer).await,
            (status, code, "as it was said".to_owned()),
            "{code}"
        );
    }

    let unknown = send(request(
        &program,
        &request_body(&json!(1), "no/such", json!({})),
    ))
    .await;
    assert_eq!(mcp_error(unknown).await.0, 404);
}

#[tokio::test]
async fn headers_that_contradict_the_body_are_refused() {
    let pool = Pool::start().await;
    let program = ScriptedProgram::start(&pool, "headers", &["modern"]).await;

    let body = request_body(
        &json!(1),
        "tools/call",
        json!({ "name": "pid", "arguments": {} }),
    );
    let with = |fields: &[(&str, &str)]| {
        let request = program.post(body.to_string());
        fields.iter().fold(request, |request, (name, value)| {
            request.header(*name, *value)
        })
    };
    let version = ("mcp-protocol-version", REVISION);
    let method = ("mcp-method", "tools/call");
    let name = ("mcp-name", "pid");

    assert_eq!(send(with(&[version, method, name])).await.status(), 200);
    assert_eq!(
        send(with(&[version, method, ("mcp-name", "=?base64?cGlk?=")]))
            .await
            .status(),
        200
    );

    for fields in [
        &[version, method][..],
        &[version, name],
        &[method, name],
        &[version, method, ("mcp-name", "echo")],
        &[version, ("mcp-method", "tools/list"), name],
        &[("mcp-protocol-version", "2025-11-25"), method, name],
        &[version, method, name, name],
        &[version, method, ("mcp-name", "=?base64?*?=")],
    ] {
        let (status, code, text) = mcp_error(send(with(fields)).await).await;
        assert_eq!((status, code), (400, -32020), "{fields:?}: {text}");
    }

    let mut without = body.clone();
    without["params"].as_object_mut().unwrap().remove("_meta");
    let (status, code, _) = mcp_error(send(request(&program, &without)).await).await;

    assert_eq!((status, code), (400, -32602));

    let mut other = body.clone();
    other["params"]["_meta"][META] = json!("2099-01-01");
    let other = request(&program, &other).header("mcp-protocol-version", "2099-01-01");

    assert_eq!(mcp_error(send(other).await).await.1, -32020, "two versions");
}

#[tokio::test]
async fn an_unsupported_revision_is_refused_with_the_supported_ones() {
    let pool = Pool::start().await;
    let program = ScriptedProgram::start(&pool, "unknown", &["modern"]).await;

    let mut body = request_body(&json!("mine"), "tools/list", json!({}));
    body["params"]["_meta"][META] = json!("2099-01-01");
    let request = program
        .post(body.to_string())
        .header("mcp-protocol-version", "2099-01-01");
    let answer = send(request.header("mcp-method", "tools/list")).await;

    assert_eq!(answer.status(), 400);

    let error: Value = serde_json::from_str(&read_body(answer).await).unwrap();
    let data = json!({ "supported": [REVISION], "requested": "2099-01-01" });
    assert_eq!(
        (
            &error["id"],
            &error["error"]["code"],
            &error["error"]["data"]
        ),
        (&json!("mine"), &json!(-32022), &data)
    );
}

#[tokio::test]
async fn a_program_of_older_revisions_makes_new_clients_fall_back() {
    let pool = Pool::with(&[]).await;

    for (id, traits, settings) in [
        ("refuses", &[][..], &[][..]),
        (
            "silent",
            &["ignores-discover"],
            &[("PROVIDER_ERA_TIMEOUT", "300ms")],
        ),
    ] {
        let program = ScriptedProgram::start_with(&pool, id, traits, settings).await;
        let answer = send_call(&program, &json!(1), "echo", json!({})).await;
        let (status, code, text) = mcp_error(answer).await;
        assert_eq!(
            (status, code),
            (400, -32000),
            "{text}: no error of the new revisions"
        );
        assert!(text.contains("initialize"), "{text}");

        let session = program.session().await;
        assert_eq!(
            session.call_tool("echo", json!({})).await["echo"],
            json!({}),
            "{id}"
        );
    }
}

#[tokio::test]
async fn a_program_that_exits_on_the_probe_serves_older_revisions() {
    let pool = Pool::start().await;
    let program = ScriptedProgram::start(&pool, "probed", &["exits-on-discover"]).await;

    let is_up = |client: &Value| client["provider"]["status"] == "reachable";
    pool.until_client("probed", "it was probed with initialize", is_up)
        .await;
    let fall_back = async {
        loop {
            let answer = send_call(&program, &json!(1), "echo", json!({})).await;
            if !answer.headers().contains_key("llamapool-error") {
                return mcp_error(answer).await;
            }
        }
    };
    assert_eq!(soon("its revisions are found out", fall_back).await.0, 400);

    assert_eq!(
        program.session().await.call_tool("echo", json!({})).await["echo"],
        json!({})
    );
}

#[tokio::test]
async fn an_exit_of_the_shared_program_fails_all_its_calls() {
    let pool = Pool::start().await;
    let program = ScriptedProgram::start(&pool, "ends", &["modern"]).await;

    let word = "provider_exited";
    for (tool, arguments, status) in [
        ("exit", json!({ "status": 4 }), "exit status 4"),
        ("kill_itself", json!({}), "signal 9"),
    ] {
        let pid = call_tool(&program, "pid", json!({})).await["pid"].clone();
        let waiting = send_call(&program, &json!(1), "hold", json!({ "name": "waiting" })).await;
        let ending = send_call(&program, &json!("1"), tool, arguments).await;
        assert_eq!(end_of(ending).await.reason().0, word);

        let End::ErrorEvent(event) = end_of(waiting).await else {
            panic!("its head was sent long ago")
        };
        assert_eq!(
            (event.id, event.code, &*event.hop),
            (json!(1), 5029, "provider")
        );
        assert!(event.message.contains(status), "{}", event.message);

        assert_ne!(call_tool(&program, "pid", json!({})).await["pid"], pid);
    }

    assert_eq!(program.programs().len(), 1);
}

/// The error is a 503 that may be retried, not one of a call that the program may have executed.
#[tokio::test]
async fn a_call_to_a_program_that_does_not_start_may_be_retried() {
    let pool = Pool::start().await;
    let file = tempfile::NamedTempFile::new().unwrap();
    let ends = format!("exits-while={}", file.path().display());
    let program = ScriptedProgram::start(&pool, "down", &["modern", &ends]).await;

    let error = llamapool_error(send_call(&program, &json!(1), "echo", json!({})).await).await;
    assert_eq!(
        (error.status, &*error.word, &*error.hop),
        (503, "provider_not_started", "provider")
    );
    assert!(
        error.message.contains("exit status 3") && error.retry_after.is_some(),
        "{error:?}"
    );

    drop(file);
    let is_up = |client: &Value| client["provider"]["status"] == "reachable";
    pool.until_client("down", "its provider is back", is_up)
        .await;
    let back = async {
        loop {
            let answer = send_call(&program, &json!(1), "echo", json!({})).await;
            if answer.status() == 200 {
                return read_message(answer).await;
            }
        }
    };

    assert_eq!(
        soon("it is served", back).await["result"]["echo"],
        json!({})
    );
}

#[tokio::test]
async fn invalid_output_of_the_shared_program_reaches_no_caller() {
    let pool = Pool::start().await;
    let program = ScriptedProgram::start_with(
        &pool,
        "wrong",
        &["modern"],
        &[("PROVIDER_MAX_MESSAGE_BYTES", "1MiB")],
    )
    .await;

    let waiting = send_call(&program, &json!(1), "hold", json!({ "name": "waiting" })).await;
    let done = r#"{"jsonrpc":"2.0","id":$ID,"result":{"done":true}}"#;
    let wrong = [
        "no json",
        r#"{"jsonrpc":"2.0","id":4711,"result":{}}"#,
        r#"{"jsonrpc":"2.0","id":"x$ID","result":{}}"#,
        r#"{"jsonrpc":"2.0","id":null,"error":{"code":1,"message":"?"}}"#,
        r#"{"jsonrpc":"2.0","method":"notifications/message","params":{"level":"info","data":"whose?"}}"#,
        r#"{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":4711,"progress":1}}"#,
    ];
    let output = [&wrong[..], &[done, done, ""]].concat().join("\n");
    let answer = send_call(&program, &json!(1), "write", write_arguments(output)).await;

    assert_eq!(
        read_message(answer).await["result"],
        json!({ "done": true })
    );

    // These revisions have no requests to the client: the program gets an error at once.
    let method = json!({ "method": "sampling/createMessage" });
    let result = call_tool(&program, "ask_client", method).await;
    assert_eq!(result["client"]["error"]["code"], -32601);

    let invalid = send_call(
        &program,
        &json!(1),
        "write",
        write_arguments(b"{\"jsonrpc\":\"2.0\",\"id\":$ID,\"result\":\"\xff\"}\n"),
    )
    .await;
    assert_eq!(llamapool_error(invalid).await.word, "provider_garbage");

    call_tool(&program, "release", json!({ "name": "waiting" })).await;
    assert_eq!(read_message(waiting).await["result"]["release"], "waiting");

    let waiting = send_call(&program, &json!(1), "hold", json!({ "name": "waiting" })).await;
    let long = send_call(
        &program,
        &json!(1),
        "write_long",
        json!({ "bytes": 2_000_000 }),
    )
    .await;
    for call in [long, waiting] {
        assert_eq!(end_of(call).await.reason().0, "provider_garbage");
    }

    assert_eq!(
        call_tool(&program, "echo", json!({})).await["echo"],
        json!({})
    );
}

#[tokio::test]
async fn revisions_with_and_without_sessions_are_served_side_by_side() {
    let pool = Pool::start().await;
    let program = ScriptedProgram::start(&pool, "both", &["modern", "dual"]).await;
    let session = program.session().await;

    assert_eq!(
        session.call_tool("echo", json!({ "era": 1 })).await["echo"],
        json!({ "era": 1 })
    );
    assert_eq!(
        call_tool(&program, "echo", json!({ "era": 2 })).await["echo"],
        json!({ "era": 2 })
    );
    assert_eq!(program.programs().len(), 2);

    let initialize = program
        .post(initialize_request("2025-06-18"))
        .header("mcp-protocol-version", REVISION);
    assert_eq!(send(initialize).await.status(), 200);
}
