//! What a program cannot do over HTTP, and the bridge does for it: media types, sessions, statuses; and that messages go
//! through as they came.

use reqwest::StatusCode;
use serde_json::{Value, json};

use crate::faulty::Faulty;
use crate::harness::{Pool, RawHttp, http_request};
use crate::session::{body, call, initialize, message, refused, sent, text};
use crate::stream::Events;

const BOTH: &str = "application/json, text/event-stream";
const PING: &str = r#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#;

#[tokio::test]
async fn what_a_client_takes_and_sends_is_checked_as_mcp_says() {
    let pool = Pool::start().await;
    let program = Faulty::of(&pool, "types", &[]).await;
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
        let (got, got_code, text) = refused(sent(request.body(body)).await).await;
        assert_eq!(
            (got, got_code),
            (status, code),
            "{accept} {kind} {body}: {text}"
        );
    }
    let listens = session.get().header("accept", "text/event-stream");
    assert_eq!(sent(listens).await.status(), 200);
    let deaf = program
        .request("GET")
        .header("accept", "application/json")
        .header("mcp-session-id", &session.id);
    assert_eq!(refused(sent(deaf).await).await.0, 406);
    let heard = session.heard().await.concat();
    assert!(!heard.contains("ping"), "{heard}");
}

#[tokio::test]
async fn a_session_is_named_once_and_by_its_id_and_is_gone_when_it_is_deleted() {
    let pool = Pool::start().await;
    let program = Faulty::of(&pool, "named", &[]).await;
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
        assert_eq!(refused(sent(named(ids)).await).await.0, status, "{ids:?}");
    }
    for (method, status) in [("GET", 400), ("DELETE", 400)] {
        let request = program
            .request(method)
            .header("accept", "text/event-stream");
        assert_eq!(refused(sent(request).await).await.0, status, "{method}");
    }
    let again = sent(session.post(initialize("2025-06-18"))).await;
    assert_eq!(refused(again).await.0, 400, "it is initialized already");
    let strange = sent(
        program
            .post(PING)
            .header("mcp-session-id", &session.id)
            .header("mcp-protocol-version", "1999-01-01"),
    );
    assert_eq!(refused(strange.await).await.0, 400);
    assert_eq!(sent(session.delete()).await.status(), 200);
    for request in [session.post(PING), session.get(), session.delete()] {
        let (status, code, _) = refused(sent(request).await).await;
        assert_eq!((status, code), (404, -32001));
    }
}

#[tokio::test]
async fn other_methods_and_paths_are_refused_as_an_mcp_server_does() {
    let pool = Pool::start().await;
    let program = Faulty::of(&pool, "methods", &[]).await;
    for method in ["PUT", "PATCH"] {
        let answer = sent(program.request(method).body("{}")).await;
        assert_eq!(answer.headers()["allow"], "GET, POST, DELETE");
        assert_eq!(refused(answer).await.0, 405, "{method}");
    }
    let below = pool
        .http
        .post(format!("{}/messages", program.url))
        .header("accept", BOTH)
        .body(PING);
    assert_eq!(sent(below).await.status(), 404);
    let slash = pool
        .http
        .post(format!("{}/", program.url))
        .header("accept", BOTH);
    let slash = slash
        .header("content-type", "application/json")
        .body(initialize("2025-06-18"));
    assert_eq!(sent(slash).await.status(), 200);
}

#[tokio::test]
async fn a_session_that_begins_with_an_error_is_none() {
    let pool = Pool::start().await;
    let program = Faulty::of(&pool, "modern", &["modern"]).await;
    let answer = sent(program.post(initialize("2025-06-18"))).await;
    assert_eq!(
        (answer.status(), answer.headers().get("mcp-session-id")),
        (StatusCode::OK, None)
    );
    assert_eq!(
        message(answer).await["error"]["code"],
        -32601,
        "what the program says"
    );
    pool.until_client("modern", "the session was there and is over", |client| {
        let bridge = &client["relays"][0]["bridge"];
        bridge["started_total"] == 2 && bridge["sessions"] == 0 && bridge["children"] == 1
    })
    .await;
}

#[tokio::test]
async fn a_caller_who_leaves_before_its_session_has_begun_leaves_none_behind() {
    let pool = Pool::start().await;
    let program = Faulty::of(&pool, "hesitant", &["hesitant"]).await;
    program.is_known_to_be_older(&pool).await;
    let bridge = |client: &Value| client["relays"][0]["bridge"].clone();
    let mut caller = RawHttp::connect(&pool.url).await;
    let types = format!("accept: {BOTH}\r\ncontent-type: application/json\r\n");
    let hello = initialize("2025-06-18");
    caller
        .send(http_request(
            "POST",
            "/api/mcp/id/hesitant",
            types,
            hello.as_bytes(),
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
    program.none_left().await;
}

#[tokio::test]
async fn a_notification_is_accepted_when_the_program_has_it() {
    let pool = Pool::start().await;
    let program = Faulty::of(&pool, "accepted", &[]).await;
    let session = program.session().await;
    for posted in [
        r#"{"jsonrpc":"2.0","method":"notifications/x"}"#,
        r#"{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":77}}"#,
        r#"{"jsonrpc":"2.0","id":"of nobody","result":{}}"#,
        r#"{"jsonrpc":"2.0","id":"of nobody","error":{"code":-1,"message":"no"}}"#,
    ] {
        let answer = sent(session.post(posted)).await;
        assert_eq!(answer.status(), 202);
        assert_eq!(body(answer).await, "");
        let heard = session.heard().await;
        assert!(
            heard.contains(&format!("{posted}\n")),
            "{posted}: {heard:?}"
        );
    }
}

#[tokio::test]
async fn what_a_client_says_comes_to_the_program_byte_for_byte_on_one_line() {
    let pool = Pool::start().await;
    let program = Faulty::of(&pool, "bytes", &[]).await;
    let session = program.session().await;
    let odd = r#"{"id" : 9007199254740993,"method":"tools/call" ,"jsonrpc":"2.0","params":{"name":"pid","arguments":
{"big":123456789012345678901234567890,"small":-0.0,"exp":1E400,"text":"gr\u00fc\u00DFe grüße 😀 \ud83d\ude00 \/ \t","twice":1,"twice":2,"_":null}}}"#;
    let answer = sent(session.post(odd)).await;
    assert_eq!(answer.status(), 200);
    assert!(body(answer).await.contains(r#""id": 9007199254740993"#));
    for posted in [odd.to_owned(), odd.replace('\n', "\r\n\r\n\t")] {
        message(sent(session.post(&*posted)).await).await;
        let heard = session.heard().await;
        assert!(
            heard.contains(&format!("{}\n", posted.replace(['\n', '\r'], " "))),
            "{posted}\n{heard:?}"
        );
    }
}

#[tokio::test]
async fn what_a_program_says_comes_to_the_client_byte_for_byte() {
    let pool = Pool::start().await;
    let program = Faulty::of(&pool, "says", &[]).await;
    let odd = r#" {"result":{"big":123456789012345678901234567890, "small":-0.0,"exp":1E400,"text":"gr\u00fc\u00DFe grüße 😀 \ud83d \/","twice":1,"twice":2},"id":$ID , "jsonrpc":"2.0","unknown":[ ]}"#;
    for revision in ["2025-06-18", "2025-11-25"] {
        let session = program.session_of(revision).await;
        // Of this session it is the first call, behind `initialize` and its notification.
        let answer = text(session.say(format!("{odd}\n")).await).await;
        assert_eq!(
            answer.trim_start(),
            odd.replace("$ID", "1").trim_start(),
            "{revision}"
        );
    }
}

#[tokio::test]
async fn equal_ids_of_clients_with_sessions_never_meet() {
    let pool = Pool::start().await;
    let program = Faulty::of(&pool, "equal", &[]).await;
    let sessions = futures_util::future::join_all((0..8).map(|_| program.session())).await;
    let calls = sessions.iter().enumerate().flat_map(|(client, session)| {
        [json!(7), json!("7"), json!(-1)].map(|id| async move {
            let arguments = json!({ "client": client, "id": id });
            let answer = message(sent(session.post(call(&id, "echo", &arguments))).await).await;
            assert_eq!(
                (&answer["id"], &answer["result"]["echo"]),
                (&id, &arguments)
            );
        })
    });
    assert_eq!(futures_util::future::join_all(calls).await.len(), 24);
}

#[tokio::test]
async fn an_id_that_has_no_response_yet_is_not_taken_twice() {
    let pool = Pool::start().await;
    let program = Faulty::of(&pool, "double", &[]).await;
    let session = program.session().await;
    let waiting =
        sent(session.post(call(&json!("a"), "hold", &json!({ "name": "waiting" })))).await;
    let double = sent(session.post(call(&json!("a"), "echo", &json!({})))).await;
    assert_eq!(refused(double).await.0, 400);
    session.call("let_go", json!({ "name": "waiting" })).await;
    assert_eq!(message(waiting).await["result"]["let_go"], "waiting");
    assert_eq!(
        message(sent(session.post(call(&json!("a"), "echo", &json!({})))).await).await["id"],
        "a"
    );
}

#[tokio::test]
async fn batches_are_for_the_one_revision_that_has_them() {
    let pool = Pool::start().await;
    let program = Faulty::of(&pool, "batches", &[]).await;
    let one = call(&json!(1), "echo", &json!({ "n": 1 }));
    let other = call(&json!("two"), "echo", &json!({ "n": 2 }));
    let notification = r#"{"jsonrpc":"2.0","method":"notifications/x"}"#;
    let batch = format!("[{one}, {notification},\n{other}]");

    let session = program.session_of("2025-03-26").await;
    let mut events = Events::of(sent(session.post(&*batch)).await);
    let (first, second) = (events.message().await, events.message().await);
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
            .heard()
            .await
            .contains(&format!("{}\n", batch.replace('\n', " "))),
        "one line for one batch"
    );
    let nothing = sent(session.post(format!("[{notification}]"))).await;
    assert_eq!(
        (nothing.status().as_u16(), &*body(nothing).await),
        (202, "")
    );

    // A program may answer with a batch, too.
    let said =
        r#"[{"jsonrpc":"2.0","id":$ID,"result":{}},{"jsonrpc":"2.0","method":"notifications/x"}]"#;
    let answer: Value =
        serde_json::from_str(&body(session.say(format!("{said}\n")).await).await).unwrap();
    assert_eq!(answer.as_array().map(Vec::len), Some(2));

    for revision in ["2025-06-18", "2025-11-25"] {
        let session = program.session_of(revision).await;
        assert_eq!(
            refused(sent(session.post(&*batch)).await).await.0,
            400,
            "{revision}"
        );
    }
    let begins = sent(program.post(format!("[{}]", initialize("2025-03-26")))).await;
    assert_eq!(refused(begins).await.0, 400);
}
