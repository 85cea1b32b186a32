//! Output of a program that violates MCP's framing: the messages in it arrive, calls end whose
//! responses are recognizable, and the rest is skipped.

use serde_json::{Value, json};

use crate::harness::Pool;
use crate::scripted_program::ScriptedProgram;
use crate::session_client::{end_of, llamapool_error, read_message, read_message_text};

/// The response to the call of `write` that writes it.
const DONE: &[u8] = br#"{"jsonrpc":"2.0","id":$ID,"result":{"done":true}}"#;

#[tokio::test]
async fn lines_that_are_no_messages_are_skipped() {
    let pool = Pool::start().await;
    let program = ScriptedProgram::start(&pool, "garbage", &[]).await;
    let session = program.session().await;

    for garbage in [
        &b"Server is starting...\n"[..],
        b"\n\n   \n\t\n\r\n",
        b"{\n",
        b"{}\n[]\nnull\n17\n\"text\"\n[null]\n",
        b"\xff\xfe\x00\x01\x80\n",
        b"\x1b[31mred\x1b[0m\n",
        br#"{"jsonrpc":"2.0","id":99,"result":{}}"#,
        b"\n",
    ] {
        let answer = session
            .send_write([garbage, b"\n", DONE, b"\n"].concat())
            .await;
        assert_eq!(
            read_message(answer).await["result"],
            json!({ "done": true }),
            "{}",
            String::from_utf8_lossy(garbage)
        );
    }

    assert_eq!(
        session.call_tool("echo", json!({ "still": "here" })).await["echo"],
        json!({ "still": "here" })
    );
}

#[tokio::test]
async fn byte_order_marks_and_carriage_returns_are_stripped() {
    let pool = Pool::start().await;
    let program = ScriptedProgram::start(&pool, "ends", &[]).await;
    let session = program.session().await;
    let id = |line: &str| serde_json::from_str::<Value>(line).unwrap()["id"].clone();

    for (before, behind) in [
        (&b"\xef\xbb\xbf"[..], &b"\n"[..]),
        (b"", b"\r\n"),
        (b"\xef\xbb\xbf", b"\r\n"),
        (b" ", b" \n"),
    ] {
        let answer =
            read_message_text(session.send_write([before, DONE, behind].concat()).await).await;
        let expected = String::from_utf8(DONE.to_vec())
            .unwrap()
            .replace("$ID", &id(&answer).to_string());
        assert_eq!(answer.trim(), expected, "{before:?} {behind:?}");
    }
}

#[tokio::test]
async fn a_line_that_arrives_in_pieces_is_one_message() {
    let pool = Pool::start().await;
    let program = ScriptedProgram::start(&pool, "halves", &[]).await;
    let session = program.session().await;

    let first = session
        .send_write(r#"{"jsonrpc":"2.0","id":$ID,"result":{"text":"gr"#.as_bytes())
        .await;
    let half = "üße".as_bytes();
    // The pause is in the middle of a character.
    let more = session.send_write(&half[..1]).await;
    let last = session.send_write(
        [
            &half[1..],
            b"\"}}\n",
            br#"{"jsonrpc":"2.0","id":$ID,"result":{"done":true}}"#,
            b"\n",
        ]
        .concat(),
    );

    assert_eq!(
        read_message(last.await).await["result"],
        json!({ "done": true })
    );
    assert_eq!(
        read_message(first).await["result"],
        json!({ "text": "grüße" })
    );

    drop(more);
}

#[tokio::test]
async fn the_last_line_needs_no_line_end_when_the_program_exits() {
    let pool = Pool::start().await;
    let program = ScriptedProgram::start(&pool, "unended", &[]).await;
    let session = program.session().await;
    let answer = session.send_write(DONE).await;
    let end = session.send_call("exit", json!({ "status": 0 })).await;
    assert_eq!(
        read_message(answer).await["result"],
        json!({ "done": true })
    );
    drop(end);
}

/// Checked with the client of the Python SDK 2.3: it accepts each of them.
#[tokio::test]
async fn answers_that_sdks_accept_arrive_as_they_came() {
    let pool = Pool::start().await;
    let program = ScriptedProgram::start(&pool, "tolerant", &[]).await;
    let session = program.session().await;

    for line in [
        r#"{"jsonrpc":"2.0","id":$ID,"result":{"value":NaN,"more":[-Infinity]}}"#,
        r#"{"jsonrpc":"2.0","id":$ID,"result":null,"error":{"code":-1,"message":"boom"}}"#,
        r#"{"jsonrpc":"2.0","id":"$ID","result":{"done":true}}"#,
        r#"{"jsonrpc":"2.0","jsonrpc":"2.0","id":$ID,"result":{"done":true}}"#,
    ] {
        let answer = session.send_write(format!("{line}\n")).await;
        assert_eq!(answer.status(), 200, "{line}");
        let answer = read_message_text(answer).await;
        let (before, rest) = answer.split_once(r#""id":"#).unwrap();
        let (_, behind) = rest.split_once(',').unwrap();
        let expected = line.replace(r#""$ID""#, "$ID");
        assert_eq!(format!(r#"{before}"id":$ID,{behind}"#), expected);
    }
}

/// The caller learns it at once instead of waiting for an answer that its client would not get
/// either.
#[tokio::test]
async fn answers_that_no_client_could_read_end_their_calls() {
    let pool = Pool::start().await;
    let mut program = ScriptedProgram::start(&pool, "unreadable", &[]).await;
    let session = program.session().await;

    for line in [
        "{\"jsonrpc\":\"2.0\",\"id\":$ID,\"result\":{\"text\":\"a\tb\"}}",
        "{\"jsonrpc\":\"2.0\",\"id\":$ID,\"result\":{\"text\":\"a\rb\"}}",
        r#"{"jsonrpc":"2.0","id":$ID,"result":{"done":true}} done"#,
        r#"Loading... {"jsonrpc":"2.0","id":$ID,"result":{"done":true}}"#,
        r#"{"jsonrpc":"2.0","id":$ID,"result":{}}{"jsonrpc":"2.0","method":"notifications/x"}"#,
        r#"{"id":$ID,"result":{"done":true}}"#,
        r#"{"jsonrpc":"1.0","id":$ID,"result":{"done":true}}"#,
        r#"{"jsonrpc":"2.0","id":$ID}"#,
        r#"{"jsonrpc":"2.0","id":99,"id":$ID,"result":{}}"#,
    ] {
        let answer = session.send_write(format!("{line}\n")).await;
        assert_eq!(
            end_of(answer).await.reason().0,
            "provider_garbage",
            "{line}"
        );
    }
    assert_eq!(
        session.call_tool("echo", json!({ "still": "here" })).await["echo"],
        json!({ "still": "here" })
    );

    let is_warning = |line: &str| line.contains("a response that is no message");
    let warning = program.relay.line("a warning", is_warning).await;
    assert!(warning.contains("WARN"), "{warning}");
}

#[tokio::test]
async fn other_lines_on_standard_output_are_logged_within_bounds() {
    let pool = Pool::start().await;
    let mut program = ScriptedProgram::start(&pool, "chatter", &[]).await;
    let session = program.session().await;

    let chatter = "Server is \x1b[31mstarting\x1b[0m...\n".repeat(1000);
    let answer = [&b"Server is ready\n"[..], chatter.as_bytes(), DONE, b"\n"].concat();
    read_message(session.send_write(answer).await).await;

    let is_first = |line: &str| line.contains("Server is ready");
    let first = program.relay.line("a line of it", is_first).await;
    assert!(
        first.contains("no message") && first.contains("WARN"),
        "{first}"
    );
    let logged = program.relay.log().matches("Server is starting...").count();
    assert!(logged <= 200, "{logged}");
}

#[tokio::test]
async fn an_answer_with_invalid_utf_8_fails_its_own_call_alone() {
    let pool = Pool::start().await;
    let program = ScriptedProgram::start(&pool, "bytes", &[]).await;
    let session = program.session().await;

    let other = session.send_call("hold", json!({ "name": "other" })).await;
    let answer = llamapool_error(
        session
            .send_write(b"{\"jsonrpc\":\"2.0\",\"id\":$ID,\"result\":{\"text\":\"\xc3\x28\"}}\n")
            .await,
    )
    .await;
    assert_eq!(
        (answer.status, &*answer.word, &*answer.hop),
        (502, "provider_garbage", "provider")
    );

    session
        .call_tool("release", json!({ "name": "other" }))
        .await;
    assert_eq!(read_message(other).await["result"]["release"], "other");
}
