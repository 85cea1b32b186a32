//! `SHARED_SESSION`: callers without a session, such as plain curl, share one.

use serde_json::{Value, json};

use crate::harness::Pool;
use crate::scripted_program::ScriptedProgram;
use crate::session_client::{End, call_request, end_of, mcp_error, read_body, read_message, send};

const ON: (&str, &str) = ("SHARED_SESSION", "true");

/// Returns a request as curl sends it, which accepts any media type.
fn curl(program: &ScriptedProgram, body: String) -> reqwest::RequestBuilder {
    program
        .request("POST")
        .header("accept", "*/*")
        .header("content-type", "application/json")
        .body(body)
}

/// Calls a tool without a session and returns the result of the JSON object that answers it.
async fn call_tool(program: &ScriptedProgram, id: u64, tool: &str, arguments: Value) -> Value {
    let answer = send(curl(program, call_request(&json!(id), tool, &arguments))).await;
    assert_eq!(answer.headers()["content-type"], "application/json");
    let answer: Value = serde_json::from_str(&read_body(answer).await).unwrap();
    assert_eq!(answer["id"], id, "{answer}");
    answer["result"].clone()
}

#[tokio::test]
async fn callers_without_a_session_share_one_if_it_is_enabled() {
    let pool = Pool::start().await;
    let program = ScriptedProgram::start_with(&pool, "plain", &[], &[ON]).await;

    let calls = (0..10).map(|n| {
        let program = &program;
        async move {
            assert_eq!(
                call_tool(program, 1, "echo", json!({ "n": n })).await["echo"],
                json!({ "n": n })
            )
        }
    });
    futures_util::future::join_all(calls).await;
    let pid = call_tool(&program, 1, "pid", json!({})).await["pid"].clone();

    assert_eq!(
        call_tool(&program, 2, "pid", json!({})).await["pid"],
        pid,
        "they share one program"
    );

    let received = call_tool(&program, 1, "received_lines", json!({})).await["lines"].clone();
    let received: Vec<String> = serde_json::from_value(received).unwrap();
    let methods = [
        "\"server/discover\"",
        "\"initialize\"",
        "\"notifications/initialized\"",
    ];
    assert!(
        methods
            .iter()
            .zip(&received)
            .all(|(method, line)| line.contains(method)),
        "{received:?}"
    );
    assert_eq!(received.concat().matches("\"initialize\"").count(), 1);

    let notification = r#"{"jsonrpc":"2.0","method":"notifications/x"}"#.to_owned();
    assert_eq!(send(curl(&program, notification)).await.status(), 202);

    // A caller that begins a session has its own program.
    let session = program.session().await;
    assert_ne!(session.call_tool("pid", json!({})).await["pid"], pid);
}

#[tokio::test]
async fn callers_without_a_session_are_refused_by_default() {
    let pool = Pool::start().await;
    let program = ScriptedProgram::start(&pool, "strict", &[]).await;
    let answer = send(curl(&program, call_request(&json!(1), "echo", &json!({})))).await;
    assert_eq!(mcp_error(answer).await.0, 400);
}

#[tokio::test]
async fn long_and_late_answers_are_one_json_object() {
    let pool = Pool::start().await;
    let program = ScriptedProgram::start_with(&pool, "takes", &[], &[ON]).await;

    let (held, released) = tokio::join!(
        call_tool(&program, 1, "ask_client", json!({ "method": "roots/list" })),
        call_tool(&program, 1, "write_long", json!({ "bytes": 1_000_000 })),
    );
    assert_eq!(
        held["client"]["error"]["code"], -32601,
        "there is no client that could be asked"
    );
    assert_eq!(released["text"].as_str().map(str::len), Some(1_000_000));

    let waiting = curl(
        &program,
        call_request(&json!(1), "hold", &json!({ "name": "waits" })),
    );
    let mut waiting = Box::pin(send(waiting));
    let done = async {
        loop {
            let received =
                call_tool(&program, 1, "received_lines", json!({})).await["lines"].to_string();
            if received.contains("waits") {
                return call_tool(&program, 1, "release", json!({ "name": "waits" })).await;
            }
        }
    };
    let (answer, _) = tokio::join!(&mut waiting, done);

    assert_eq!(
        answer.json::<Value>().await.unwrap()["result"]["release"],
        "waits"
    );
}

#[tokio::test]
async fn the_shared_session_begins_anew_after_its_program_exited() {
    let pool = Pool::start().await;
    let program = ScriptedProgram::start_with(&pool, "anew", &[], &[ON]).await;

    let pid = call_tool(&program, 1, "pid", json!({})).await["pid"].clone();
    let ended = send(curl(
        &program,
        call_request(&json!(1), "exit", &json!({ "status": 3 })),
    ))
    .await;
    assert_eq!(ended.status(), 502);

    let word = ended.headers()["llamapool-error"].to_str().unwrap();
    assert!(["provider_exited", "no_response"].contains(&word), "{word}");
    assert_ne!(call_tool(&program, 1, "pid", json!({})).await["pid"], pid);
}

/// Each could reach another caller's call in a program that reads keys as Go does, or in one that
/// takes all callers for one client.
#[tokio::test]
async fn no_message_of_a_caller_reaches_anothers_call() {
    let pool = Pool::start().await;
    let program = ScriptedProgram::start_with(&pool, "apart", &[], &[ON]).await;
    let held = call_request(&json!(1), "hold", &json!({ "name": "victim" }));
    let victim = send(program.post(held)).await;
    let received = || async {
        let received = call_tool(&program, 1, "received_lines", json!({})).await["lines"].clone();
        serde_json::from_value::<Vec<String>>(received).unwrap()
    };
    let lines = received().await;
    let line = lines.iter().find(|line| line.contains("victim")).unwrap();
    let id = serde_json::from_str::<Value>(line).unwrap()["id"].clone();

    let call = r#""jsonrpc":"2.0","id":1,"method":"tools/call""#;
    for refused in [
        format!(r#"{{{call},"ID":{id}}}"#),
        format!(r#"{{{call},"Method":"notifications/cancelled","Params":{{"requestId":{id}}}}}"#),
        format!(r#"{{{call},"params":{{"_meta":{{"progressToken":{id},"progressToken":1}}}}}}"#),
        format!(r#"{{{call},"params":{{"_meta":{{"ProgressTo\u212aen":{id}}}}}}}"#),
        format!(r#"{{{call},"params":{{"meta":{{"progressToken":{id}}}}}}}"#),
        format!(
            r#"{{{call},"params":{{"a":{}1{}}}}}"#,
            "[".repeat(200),
            "]".repeat(200)
        ),
        format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{{}}}}"#),
        r#"{"jsonrpc":"2.0","id":1,"method":"logging/setLevel","params":{"level":"debug"}}"#.into(),
    ] {
        let answer = send(curl(&program, refused.clone())).await;
        assert_eq!(mcp_error(answer).await.0, 400, "{refused}");
    }
    for dropped in ["cancelled", "progress", "initialized", "roots/list_changed"] {
        let dropped = json!({
            "jsonrpc": "2.0",
            "method": format!("notifications/{dropped}"),
            "params": { "requestId": id, "progressToken": id },
        });
        assert_eq!(
            send(curl(&program, dropped.to_string())).await.status(),
            202
        );
    }

    let sent = received().await.split_off(lines.len());
    assert!(
        sent.iter().all(|line| line.contains("received_lines")),
        "{sent:?}"
    );

    call_tool(&program, 1, "release", json!({ "name": "victim" })).await;
    assert_eq!(read_message(victim).await["result"]["release"], "victim");
}

#[tokio::test]
async fn a_call_to_a_shared_program_ends_after_its_timeout() {
    let pool = Pool::start().await;
    let settings = [ON, ("SHARED_CALL_TIMEOUT", "3s")];
    let program = ScriptedProgram::start_with(&pool, "waits", &[], &settings).await;
    let held = call_request(&json!("theirs"), "hold", &json!({ "name": "long" }));

    let end = end_of(send(program.post(held)).await).await;

    let End::ErrorEvent(event) = end else {
        panic!("{end:?}");
    };
    assert_eq!((event.id, event.code), (json!("theirs"), 5042));
    let received = call_tool(&program, 1, "received_lines", json!({})).await["lines"].to_string();
    assert!(received.contains("notifications/cancelled"), "{received}");
}
