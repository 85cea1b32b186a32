//! The HTTP side of MCP, which the bridge adds to a program: media types, sessions, statuses.
//! Messages pass unchanged.

use reqwest::StatusCode;
use serde_json::{Value, json};

use crate::event_stream::EventStream;
use crate::harness::{Pool, RawHttp, http_request};
use crate::scripted_program::ScriptedProgram;
use crate::session_client::{
    call_request, initialize_request, mcp_error, read_body, read_message, read_message_text, send,
};

const BOTH: &str = "application/json, text/event-stream";
const PING: &str = r#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#;

#[tokio::test]
async fn media_types_and_json_of_a_post_are_validated() {
    let pool = Pool::start().await;
    let program = ScriptedProgram::start(&pool, "types", &[]).await;
    let session = program.session().await;

    for (accept, kind, body, status, code) in [
        ("application/json", "application/json", PING, 406, -32000),
        ("text/event-stream", "application/json", PING, 406, -32000),
        ("text/html", "application/json", PING, 406, -32000),
        (BOTH, "text/plain", PING, 415, -32000),
        (BOTH, "", PING, 415, -32000),
        (BOTH, "application/json", "", 400, -32700),
        (BOTH, "application/json", "{", 400, -32700),
        (BOTH, "application/json", "{}}", 400, -32700),
        (
            BOTH,
            "application/json",
            "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"pi\nng\"}",
            400,
            -32700,
        ),
        (BOTH, "application/json", "\"text\"", 400, -32600),
        (BOTH, "application/json", "[]", 400, -32600),
        (
            BOTH,
            "application/json",
            r#"{"id":1,"method":"ping"}"#,
            400,
            -32600,
        ),
        (
            BOTH,
            "application/json",
            r#"{"jsonrpc":"2.0","id":1,"id":2,"method":"ping"}"#,
            400,
            -32600,
        ),
    ] {
        let request = program
            .request("POST")
            .header("accept", accept)
            .header("mcp-session-id", &session.id);
        let request = if kind.is_empty() {
            request
        } else {
            request.header("content-type", kind)
        };

        let (got, got_code, text) = mcp_error(send(request.body(body)).await).await;
        assert_eq!(
            (got, got_code),
            (status, code),
            "{accept} {kind} {body}: {text}"
        );
    }

    let listening = session.get().header("accept", "text/event-stream");
    assert_eq!(send(listening).await.status(), 200);

    let without_streams = program
        .request("GET")
        .header("accept", "application/json")
        .header("mcp-session-id", &session.id);
    assert_eq!(mcp_error(send(without_streams).await).await.0, 406);

    let received = session.received_lines().await.concat();
    assert!(!received.contains("ping"), "{received}");
}

/// Its id is random and visible ASCII; a request names it exactly once.
#[tokio::test]
async fn a_session_is_found_by_its_id_until_it_is_deleted() {
    let pool = Pool::start().await;
    let program = ScriptedProgram::start(&pool, "named", &[]).await;
    let session = program.session().await;

    let mut ids = vec![session.id.clone(), program.session().await.id];
    ids.dedup();
    assert!(
        ids.len() == 2
            && ids
                .iter()
                .all(|id| id.len() >= 32 && id.bytes().all(|byte| byte.is_ascii_graphic()))
    );

    let named = |ids: &[&str]| {
        ids.iter().fold(program.post(PING), |request, id| {
            request.header("mcp-session-id", *id)
        })
    };
    for (ids, status) in [
        (&[][..], 400),
        (&["0123456789abcdef0123456789abcdef"], 404),
        (&[&*session.id.to_uppercase()], 404),
        (&[&*session.id, &*session.id], 400),
        (&[""], 404),
    ] {
        assert_eq!(mcp_error(send(named(ids)).await).await.0, status, "{ids:?}");
    }

    for (method, status) in [("GET", 400), ("DELETE", 400)] {
        let request = program
            .request(method)
            .header("accept", "text/event-stream");
        assert_eq!(mcp_error(send(request).await).await.0, status, "{method}");
    }

    let again = send(session.post(initialize_request("2025-06-18"))).await;
    assert_eq!(mcp_error(again).await.0, 400, "it is initialized already");

    let unknown_revision = send(
        program
            .post(PING)
            .header("mcp-session-id", &session.id)
            .header("mcp-protocol-version", "1999-01-01"),
    );
    assert_eq!(mcp_error(unknown_revision.await).await.0, 400);

    assert_eq!(send(session.delete()).await.status(), 200);
    for request in [session.post(PING), session.get(), session.delete()] {
        let (status, code, _) = mcp_error(send(request).await).await;
        assert_eq!((status, code), (404, -32001));
    }
}

#[tokio::test]
async fn other_methods_and_paths_are_refused_as_an_mcp_server_does() {
    let pool = Pool::start().await;
    let program = ScriptedProgram::start(&pool, "methods", &[]).await;

    for method in ["PUT", "PATCH"] {
        let answer = send(program.request(method).body("{}")).await;
        assert_eq!(answer.headers()["allow"], "GET, POST, DELETE");
        assert_eq!(mcp_error(answer).await.0, 405, "{method}");
    }

    let below = pool
        .http
        .post(format!("{}/messages", program.url))
        .header("accept", BOTH)
        .body(PING);
    assert_eq!(send(below).await.status(), 404);

    let slash = pool
        .http
        .post(format!("{}/", program.url))
        .header("accept", BOTH);
    let slash = slash
        .header("content-type", "application/json")
        .body(initialize_request("2025-06-18"));
    assert_eq!(send(slash).await.status(), 200);
}

#[tokio::test]
async fn a_failed_initialize_begins_no_session() {
    let pool = Pool::start().await;
    let program = ScriptedProgram::start(&pool, "modern", &["modern"]).await;

    let answer = send(program.post(initialize_request("2025-06-18"))).await;
    assert_eq!(
        (answer.status(), answer.headers().get("mcp-session-id")),
        (StatusCode::OK, None)
    );
    assert_eq!(
        read_message(answer).await["error"]["code"],
        -32601,
        "the program's own error"
    );

    pool.until_client("modern", "the session was there and is over", |client| {
        let bridge = &client["relays"][0]["bridge"];
        bridge["started_total"] == 2 && bridge["sessions"] == 0 && bridge["children"] == 1
    })
    .await;
}

#[tokio::test]
async fn a_caller_that_leaves_during_initialize_leaves_no_session() {
    let pool = Pool::start().await;
    let program = ScriptedProgram::start(&pool, "hesitant", &["ignores-initialize"]).await;
    program.until_probed(&pool).await;

    let bridge = |client: &Value| client["relays"][0]["bridge"].clone();
    let mut caller = RawHttp::connect(&pool.url).await;
    let types = format!("accept: {BOTH}\r\ncontent-type: application/json\r\n");
    let initialize = initialize_request("2025-06-18");
    caller
        .send(http_request(
            "POST",
            "/api/mcp/id/hesitant",
            types,
            initialize.as_bytes(),
        ))
        .await;
    pool.until_client("hesitant", "the session begins", |client| {
        bridge(client)["sessions"] == 1
    })
    .await;

    drop(caller);
    let over = |client: &Value| bridge(client)["sessions"] == 0 && bridge(client)["children"] == 0;
    pool.until_client("hesitant", "the session is over", over)
        .await;
    program.until_all_ended().await;
}

#[tokio::test]
async fn a_notification_is_accepted_when_the_program_has_received_it() {
    let pool = Pool::start().await;
    let program = ScriptedProgram::start(&pool, "accepted", &[]).await;
    let session = program.session().await;

    for posted in [
        r#"{"jsonrpc":"2.0","method":"notifications/x"}"#,
        r#"{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":77}}"#,
        r#"{"jsonrpc":"2.0","id":"unknown","result":{}}"#,
        r#"{"jsonrpc":"2.0","id":"unknown","error":{"code":-1,"message":"no"}}"#,
    ] {
        let answer = send(session.post(posted)).await;
        assert_eq!(answer.status(), 202);
        assert_eq!(read_body(answer).await, "");
        let received = session.received_lines().await;
        assert!(
            received.contains(&format!("{posted}\n")),
            "{posted}: {received:?}"
        );
    }
}

/// Line ends inside of it become blanks, because a message is one line.
#[tokio::test]
async fn a_client_message_reaches_the_program_byte_for_byte() {
    let pool = Pool::start().await;
    let program = ScriptedProgram::start(&pool, "bytes", &[]).await;
    let session = program.session().await;

    let unusual = r#"{"id" : 9007199254740993,"method":"tools/call" ,"jsonrpc":"2.0","params":{"name":"pid","arguments":
{"big":123456789012345678901234567890,"small":-0.0,"exp":1E400,"text":"gr\u00fc\u00DFe grüße 😀 \ud83d\ude00 \/ \t","twice":1,"twice":2,"_":null}}}"#;
    let answer = send(session.post(unusual)).await;
    assert_eq!(answer.status(), 200);
    assert!(
        read_body(answer)
            .await
            .contains(r#""id": 9007199254740993"#)
    );

    for posted in [unusual.to_owned(), unusual.replace('\n', "\r\n\r\n\t")] {
        read_message(send(session.post(&*posted)).await).await;
        let received = session.received_lines().await;
        assert!(
            received.contains(&format!("{}\n", posted.replace(['\n', '\r'], " "))),
            "{posted}\n{received:?}"
        );
    }
}

#[tokio::test]
async fn a_program_message_reaches_the_client_byte_for_byte() {
    let pool = Pool::start().await;
    let program = ScriptedProgram::start(&pool, "says", &[]).await;

    let unusual = r#" {"result":{"big":123456789012345678901234567890, "small":-0.0,"exp":1E400,"text":"gr\u00fc\u00DFe grüße 😀 \ud83d \/","twice":1,"twice":2},"id":$ID , "jsonrpc":"2.0","unknown":[ ]}"#;
    for revision in ["2025-06-18", "2025-11-25"] {
        let session = program.session_of(revision).await;
        // The id is 1: the first call of this session, behind `initialize` and its notification.
        let answer = read_message_text(session.send_write(format!("{unusual}\n")).await).await;
        assert_eq!(
            answer.trim_start(),
            unusual.replace("$ID", "1").trim_start(),
            "{revision}"
        );
    }
}

#[tokio::test]
async fn equal_request_ids_of_several_sessions_are_kept_apart() {
    let pool = Pool::start().await;
    let program = ScriptedProgram::start(&pool, "equal", &[]).await;
    let sessions = futures_util::future::join_all((0..8).map(|_| program.session())).await;

    let calls = sessions.iter().enumerate().flat_map(|(client, session)| {
        [json!(7), json!("7"), json!(-1)].map(|id| async move {
            let arguments = json!({ "client": client, "id": id });
            let answer =
                read_message(send(session.post(call_request(&id, "echo", &arguments))).await).await;
            assert_eq!(
                (&answer["id"], &answer["result"]["echo"]),
                (&id, &arguments)
            );
        })
    });
    assert_eq!(futures_util::future::join_all(calls).await.len(), 24);
}

#[tokio::test]
async fn a_request_id_that_is_still_in_use_is_refused() {
    let pool = Pool::start().await;
    let program = ScriptedProgram::start(&pool, "double", &[]).await;
    let session = program.session().await;

    let waiting = send(session.post(call_request(
        &json!("a"),
        "hold",
        &json!({ "name": "waiting" }),
    )))
    .await;
    let double = send(session.post(call_request(&json!("a"), "echo", &json!({})))).await;
    assert_eq!(mcp_error(double).await.0, 400);

    session
        .call_tool("release", json!({ "name": "waiting" }))
        .await;
    assert_eq!(read_message(waiting).await["result"]["release"], "waiting");
    assert_eq!(
        read_message(send(session.post(call_request(&json!("a"), "echo", &json!({})))).await).await
            ["id"],
        "a"
    );
}

#[tokio::test]
async fn batches_are_accepted_in_the_one_revision_that_has_them() {
    let pool = Pool::start().await;
    let program = ScriptedProgram::start(&pool, "batches", &[]).await;

    let one = call_request(&json!(1), "echo", &json!({ "n": 1 }));
    let other = call_request(&json!("two"), "echo", &json!({ "n": 2 }));
    let notification = r#"{"jsonrpc":"2.0","method":"notifications/x"}"#;
    let batch = format!("[{one}, {notification},\n{other}]");

    let session = program.session_of("2025-03-26").await;
    let mut events = EventStream::of(send(session.post(&*batch)).await);
    let first = events.message().await;
    let second = events.message().await;

    assert_eq!(
        (&first["id"], &first["result"]["echo"]),
        (&json!(1), &json!({ "n": 1 }))
    );
    assert_eq!(
        (&second["id"], &second["result"]["echo"]),
        (&json!("two"), &json!({ "n": 2 }))
    );
    assert_eq!(events.next().await, Ok(None));
    assert!(
        session
            .received_lines()
            .await
            .contains(&format!("{}\n", batch.replace('\n', " "))),
        "one line for one batch"
    );

    let nothing = send(session.post(format!("[{notification}]"))).await;
    assert_eq!(
        (nothing.status().as_u16(), &*read_body(nothing).await),
        (202, "")
    );

    // A program may answer with a batch, too.
    let batch_of_program =
        r#"[{"jsonrpc":"2.0","id":$ID,"result":{}},{"jsonrpc":"2.0","method":"notifications/x"}]"#;
    let answer: Value = serde_json::from_str(
        &read_body(session.send_write(format!("{batch_of_program}\n")).await).await,
    )
    .unwrap();
    assert_eq!(answer.as_array().map(Vec::len), Some(2));

    for revision in ["2025-06-18", "2025-11-25"] {
        let session = program.session_of(revision).await;
        assert_eq!(
            mcp_error(send(session.post(&*batch)).await).await.0,
            400,
            "{revision}"
        );
    }

    let begins = send(program.post(format!("[{}]", initialize_request("2025-03-26")))).await;
    assert_eq!(mcp_error(begins).await.0, 400);
}
