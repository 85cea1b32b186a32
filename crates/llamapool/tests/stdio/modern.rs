//! MCP 2026-07-28, which has no sessions: one program answers everybody.

use reqwest::{RequestBuilder, Response};
use serde_json::{Value, json};

use crate::faulty::Faulty;
use crate::harness::{Pool, soon};
use crate::session::{
    End, body as text_of, end_of, failed, initialize, message, refused, said, sent,
};
use crate::stream::Events;

const REVISION: &str = "2026-07-28";
const META: &str = "io.modelcontextprotocol/protocolVersion";

/// A request as its client writes it, with what every request must say.
fn body(id: &Value, method: &str, mut params: Value) -> Value {
    params["_meta"][META] = json!(REVISION);
    json!({ "jsonrpc": "2.0", "id": id, "method": method, "params": params })
}

/// A request with the headers that repeat its body.
fn request(program: &Faulty, body: &Value) -> RequestBuilder {
    let request = program
        .post(body.to_string())
        .header("mcp-protocol-version", REVISION);
    let request = request.header("mcp-method", body["method"].as_str().unwrap());
    match body["params"]["name"].as_str() {
        Some(name) => request.header("mcp-name", name),
        None => request,
    }
}

async fn calling(program: &Faulty, id: &Value, tool: &str, arguments: Value) -> Response {
    sent(request(
        program,
        &body(
            id,
            "tools/call",
            json!({ "name": tool, "arguments": arguments }),
        ),
    ))
    .await
}

async fn call(program: &Faulty, tool: &str, arguments: Value) -> Value {
    message(calling(program, &json!(1), tool, arguments).await).await["result"].clone()
}

/// The lines that the program has heard, read.
async fn heard(program: &Faulty) -> Vec<Value> {
    let lines = call(program, "what_you_heard", json!({})).await["heard"].clone();
    lines
        .as_array()
        .unwrap()
        .iter()
        .map(|line| serde_json::from_str(line.as_str().unwrap()).unwrap())
        .collect()
}

/// Waits until the program has heard a notification; it.
async fn until_heard(program: &Faulty, method: &str) -> Value {
    let heard = async {
        loop {
            if let Some(line) = heard(program)
                .await
                .into_iter()
                .find(|line| line["method"] == method)
            {
                return line;
            }
        }
    };
    soon("the program hears it", heard).await
}

#[tokio::test]
async fn one_program_serves_everybody_and_equal_ids_never_meet() {
    let pool = Pool::start().await;
    let program = Faulty::of(&pool, "equal", &["modern"]).await;
    let ids = [
        json!(7),
        json!("7"),
        json!(7.5),
        json!("grüße \"q\""),
        json!(9_007_199_254_740_993_u64),
    ];
    let calls = (0..40).map(|client| {
        let (program, id) = (&program, ids[client % ids.len()].clone());
        async move {
            let arguments = json!({ "client": client });
            let answer = message(calling(program, &id, "echo", arguments.clone()).await).await;
            assert_eq!(
                (&answer["id"], &answer["result"]["echo"]),
                (&id, &arguments)
            );
        }
    });
    futures_util::future::join_all(calls).await;
    assert_eq!(program.programs().len(), 1);
    // Answers that come in another order than the questions.
    let mut waiting = Vec::new();
    for name in ["one", "two", "three"] {
        waiting.push((
            name,
            calling(&program, &json!(7), "hold", json!({ "name": name })).await,
        ));
    }
    for (name, answer) in waiting.into_iter().rev() {
        call(&program, "let_go", json!({ "name": name })).await;
        let answer = message(answer).await;
        assert_eq!(
            (&answer["id"], &answer["result"]["let_go"]),
            (&json!(7), &json!(name))
        );
    }
}

#[tokio::test]
async fn progress_comes_to_the_call_that_wants_it_with_its_own_token() {
    let pool = Pool::start().await;
    let program = Faulty::of(&pool, "progress", &["modern"]).await;
    let progress = r#"{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":$TOKEN,"progress":0.5}}"#;
    let done = r#"{"jsonrpc":"2.0","id":$ID,"result":{}}"#;
    for token in [json!("token"), json!(7), json!("7")] {
        let bystander = calling(&program, &json!(7), "hold", json!({ "name": "bystander" })).await;
        let arguments = said(format!("{progress}\n{done}\n"));
        let params =
            json!({ "name": "say", "arguments": arguments, "_meta": { "progressToken": token } });
        let mut events =
            Events::of(sent(request(&program, &body(&json!(7), "tools/call", params))).await);
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
        call(&program, "let_go", json!({ "name": "bystander" })).await;
        assert_eq!(message(bystander).await["result"]["let_go"], "bystander");
    }
}

#[tokio::test]
async fn who_leaves_cancels_and_the_late_answer_is_nobodys() {
    let pool = Pool::start().await;
    let program = Faulty::of(&pool, "leaves", &["modern"]).await;
    drop(
        calling(
            &program,
            &json!("theirs"),
            "hold",
            json!({ "name": "left" }),
        )
        .await,
    );
    let cancelled = until_heard(&program, "notifications/cancelled").await;
    let all = heard(&program).await;
    let held = all
        .iter()
        .find(|line| line["params"]["name"] == "hold")
        .expect("it came to the program");
    assert_eq!(
        cancelled["params"]["requestId"], held["id"],
        "under the id that the program knows"
    );
    assert_ne!(held["id"], "theirs");
    call(&program, "let_go", json!({ "name": "left" })).await;
    assert_eq!(
        call(&program, "echo", json!({ "still": "here" })).await["echo"],
        json!({ "still": "here" })
    );
    assert_eq!(program.programs().len(), 1);
    // A client cannot cancel what may be another's.
    let waiting = calling(&program, &json!(1), "hold", json!({ "name": "waits" })).await;
    let cancel = json!({ "jsonrpc": "2.0", "method": "notifications/cancelled", "params": { "requestId": 1 } });
    let cancel = program
        .post(cancel.to_string())
        .header("mcp-protocol-version", REVISION);
    assert_eq!(sent(cancel).await.status(), 202);
    call(&program, "let_go", json!({ "name": "waits" })).await;
    assert_eq!(message(waiting).await["result"]["let_go"], "waits");
    let cancellations = heard(&program)
        .await
        .into_iter()
        .filter(|line| line["method"] == "notifications/cancelled");
    assert_eq!(cancellations.count(), 1);
}

#[tokio::test]
async fn errors_of_the_program_have_the_statuses_that_belong_to_them() {
    let pool = Pool::start().await;
    let program = Faulty::of(&pool, "statuses", &["modern"]).await;
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
        let answer = calling(&program, &json!(1), "say", said(format!("{error}\n"))).await;
        assert_eq!(
            refused(answer).await,
            (status, code, "as it was said".to_owned()),
            "{code}"
        );
    }
    let unknown = sent(request(&program, &body(&json!(1), "no/such", json!({})))).await;
    assert_eq!(refused(unknown).await.0, 404);
}

#[tokio::test]
async fn headers_that_are_not_what_the_body_says_are_refused() {
    let pool = Pool::start().await;
    let program = Faulty::of(&pool, "headers", &["modern"]).await;
    let body = body(
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
    let (version, method, name) = (
        ("mcp-protocol-version", REVISION),
        ("mcp-method", "tools/call"),
        ("mcp-name", "pid"),
    );
    assert_eq!(sent(with(&[version, method, name])).await.status(), 200);
    assert_eq!(
        sent(with(&[version, method, ("mcp-name", "=?base64?cGlk?=")]))
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
        let (status, code, text) = refused(sent(with(fields)).await).await;
        assert_eq!((status, code), (400, -32020), "{fields:?}: {text}");
    }
    let mut without = body.clone();
    without["params"].as_object_mut().unwrap().remove("_meta");
    let (status, code, _) = refused(sent(request(&program, &without)).await).await;
    assert_eq!((status, code), (400, -32602));
    let mut other = body.clone();
    other["params"]["_meta"][META] = json!("2099-01-01");
    let other = request(&program, &other).header("mcp-protocol-version", "2099-01-01");
    assert_eq!(refused(sent(other).await).await.1, -32020, "two versions");
}

#[tokio::test]
async fn a_revision_that_the_program_does_not_know_is_refused_with_those_that_it_knows() {
    let pool = Pool::start().await;
    let program = Faulty::of(&pool, "unknown", &["modern"]).await;
    let mut body = body(&json!("mine"), "tools/list", json!({}));
    body["params"]["_meta"][META] = json!("2099-01-01");
    let request = program
        .post(body.to_string())
        .header("mcp-protocol-version", "2099-01-01");
    let answer = sent(request.header("mcp-method", "tools/list")).await;
    assert_eq!(answer.status(), 400);
    let error: Value = serde_json::from_str(&text_of(answer).await).unwrap();
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
        ("silent", &["silent"], &[("PROVIDER_ERA_TIMEOUT", "300ms")]),
    ] {
        let program = Faulty::with(&pool, id, traits, settings).await;
        let answer = calling(&program, &json!(1), "echo", json!({})).await;
        let (status, code, text) = refused(answer).await;
        assert_eq!(
            (status, code),
            (400, -32000),
            "{text}: no error of the new revisions"
        );
        assert!(text.contains("initialize"), "{text}");
        let session = program.session().await;
        assert_eq!(
            session.call("echo", json!({})).await["echo"],
            json!({}),
            "{id}"
        );
    }
}

#[tokio::test]
async fn a_program_that_ends_of_being_asked_serves_the_older_revisions() {
    let pool = Pool::start().await;
    let program = Faulty::of(&pool, "asked", &["ends-if-asked"]).await;
    let is_up = |client: &Value| client["provider"]["status"] == "reachable";
    pool.until_client("asked", "it was tried otherwise", is_up)
        .await;
    let fall_back = async {
        loop {
            let answer = calling(&program, &json!(1), "echo", json!({})).await;
            if !answer.headers().contains_key("llamapool-error") {
                return refused(answer).await;
            }
        }
    };
    assert_eq!(soon("it is known to be older", fall_back).await.0, 400);
    assert_eq!(
        program.session().await.call("echo", json!({})).await["echo"],
        json!({})
    );
}

#[tokio::test]
async fn a_shared_program_that_ends_fails_all_its_calls_and_another_one_follows() {
    let pool = Pool::start().await;
    let program = Faulty::of(&pool, "ends", &["modern"]).await;
    let word = "provider_exited";
    for (tool, arguments, status) in [
        ("end", json!({ "status": 4 }), "exit status 4"),
        ("be_killed", json!({}), "signal 9"),
    ] {
        let pid = call(&program, "pid", json!({})).await["pid"].clone();
        let waiting = calling(&program, &json!(1), "hold", json!({ "name": "waiting" })).await;
        let ending = calling(&program, &json!("1"), tool, arguments).await;
        assert_eq!(end_of(ending).await.reason().0, word);
        let End::Told(told) = end_of(waiting).await else {
            panic!("its head was sent long ago")
        };
        assert_eq!(
            (told.id, told.code, &*told.hop),
            (json!(1), 5029, "provider")
        );
        assert!(told.message.contains(status), "{}", told.message);
        assert_ne!(call(&program, "pid", json!({})).await["pid"], pid);
    }
    assert_eq!(program.programs().len(), 1);
}

#[tokio::test]
async fn a_program_that_does_not_run_is_no_call_that_may_have_been_executed() {
    let pool = Pool::start().await;
    let file = tempfile::NamedTempFile::new().unwrap();
    let ends = format!("ends-while={}", file.path().display());
    let program = Faulty::of(&pool, "down", &["modern", &ends]).await;
    let failed = failed(calling(&program, &json!(1), "echo", json!({})).await).await;
    assert_eq!(
        (failed.status, &*failed.word, &*failed.hop),
        (503, "provider_not_started", "provider")
    );
    assert!(
        failed.message.contains("exit status 3") && failed.retry_after.is_some(),
        "{failed:?}"
    );
    drop(file);
    let is_up = |client: &Value| client["provider"]["status"] == "reachable";
    pool.until_client("down", "its provider is back", is_up)
        .await;
    let back = async {
        loop {
            let answer = calling(&program, &json!(1), "echo", json!({})).await;
            if answer.status() == 200 {
                return message(answer).await;
            }
        }
    };
    assert_eq!(
        soon("it is served", back).await["result"]["echo"],
        json!({})
    );
}

#[tokio::test]
async fn what_a_shared_program_says_that_is_wrong_is_nobodys() {
    let pool = Pool::start().await;
    let program = Faulty::with(
        &pool,
        "wrong",
        &["modern"],
        &[("PROVIDER_MAX_MESSAGE_BYTES", "1MiB")],
    )
    .await;
    let waiting = calling(&program, &json!(1), "hold", json!({ "name": "waiting" })).await;
    let done = r#"{"jsonrpc":"2.0","id":$ID,"result":{"done":true}}"#;
    let wrong = [
        "no json",
        r#"{"jsonrpc":"2.0","id":4711,"result":{}}"#,
        r#"{"jsonrpc":"2.0","id":"$ID","result":{}}"#,
        r#"{"jsonrpc":"2.0","id":null,"error":{"code":1,"message":"?"}}"#,
        r#"{"jsonrpc":"2.0","method":"notifications/message","params":{"level":"info","data":"whose?"}}"#,
        r#"{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":4711,"progress":1}}"#,
    ];
    let answer = calling(
        &program,
        &json!(1),
        "say",
        said([&wrong[..], &[done, done, ""]].concat().join("\n")),
    )
    .await;
    assert_eq!(message(answer).await["result"], json!({ "done": true }));
    // There is nobody to ask in these revisions, and the program need not wait.
    let asked = call(
        &program,
        "ask",
        json!({ "method": "sampling/createMessage" }),
    )
    .await;
    assert_eq!(asked["client"]["error"]["code"], -32601);
    let invalid = calling(
        &program,
        &json!(1),
        "say",
        said(b"{\"jsonrpc\":\"2.0\",\"id\":$ID,\"result\":\"\xff\"}\n"),
    )
    .await;
    assert_eq!(failed(invalid).await.word, "provider_garbage");
    call(&program, "let_go", json!({ "name": "waiting" })).await;
    assert_eq!(message(waiting).await["result"]["let_go"], "waiting");
    let waiting = calling(&program, &json!(1), "hold", json!({ "name": "waiting" })).await;
    let long = calling(
        &program,
        &json!(1),
        "say_long",
        json!({ "bytes": 2_000_000 }),
    )
    .await;
    for call in [long, waiting] {
        assert_eq!(end_of(call).await.reason().0, "provider_garbage");
    }
    assert_eq!(call(&program, "echo", json!({})).await["echo"], json!({}));
}

#[tokio::test]
async fn both_eras_are_served_side_by_side() {
    let pool = Pool::start().await;
    let program = Faulty::of(&pool, "both", &["modern", "dual"]).await;
    let session = program.session().await;
    assert_eq!(
        session.call("echo", json!({ "era": 1 })).await["echo"],
        json!({ "era": 1 })
    );
    assert_eq!(
        call(&program, "echo", json!({ "era": 2 })).await["echo"],
        json!({ "era": 2 })
    );
    assert_eq!(program.programs().len(), 2);
    assert_eq!(
        sent(
            program
                .post(initialize("2025-06-18"))
                .header("mcp-protocol-version", REVISION)
        )
        .await
        .status(),
        200
    );
}
