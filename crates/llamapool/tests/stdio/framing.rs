//! What a program writes that is not as MCP wants it: the messages among it arrive, and nothing else does any harm.

use serde_json::{Value, json};

use crate::faulty::Faulty;
use crate::harness::Pool;
use crate::session::{failed, message, text};

/// The answer to the call that has the program say it.
const DONE: &[u8] = br#"{"jsonrpc":"2.0","id":$ID,"result":{"done":true}}"#;

#[tokio::test]
async fn what_is_no_message_is_passed_over_and_the_answer_behind_it_arrives() {
    let pool = Pool::start().await;
    let program = Faulty::of(&pool, "garbage", &[]).await;
    let session = program.session().await;
    for garbage in [
        &b"Server is starting...\n"[..],
        b"\n\n   \n\t\n\r\n",
        b"{\n",
        b"{}\n[]\nnull\n17\n\"text\"\n[null]\n",
        b"\xff\xfe\x00\x01\x80\n",
        b"\x1b[31mred\x1b[0m\n",
        br#"{"jsonrpc":"1.0","id":$ID,"result":{"done":false}}"#,
        b"\n",
        br#"{"jsonrpc":"2.0","id":$ID}"#,
        b"\n",
        br#"{"jsonrpc":"2.0","id":99,"result":{}}"#,
        b"\n",
    ] {
        let answer = session.say([garbage, b"\n", DONE, b"\n"].concat()).await;
        assert_eq!(
            message(answer).await["result"],
            json!({ "done": true }),
            "{}",
            String::from_utf8_lossy(garbage)
        );
    }
    assert_eq!(
        session.call("echo", json!({ "still": "here" })).await["echo"],
        json!({ "still": "here" })
    );
}

#[tokio::test]
async fn marks_of_utf_8_and_line_ends_of_other_systems_belong_to_no_message() {
    let pool = Pool::start().await;
    let program = Faulty::of(&pool, "ends", &[]).await;
    let session = program.session().await;
    let id = |line: &str| serde_json::from_str::<Value>(line).unwrap()["id"].clone();
    for (before, behind) in [
        (&b"\xef\xbb\xbf"[..], &b"\n"[..]),
        (b"", b"\r\n"),
        (b"\xef\xbb\xbf", b"\r\n"),
        (b" ", b" \n"),
    ] {
        let answer = text(session.say([before, DONE, behind].concat()).await).await;
        let expected = String::from_utf8(DONE.to_vec())
            .unwrap()
            .replace("$ID", &id(&answer).to_string());
        assert_eq!(answer.trim(), expected, "{before:?} {behind:?}");
    }
}

#[tokio::test]
async fn a_line_that_comes_in_halves_is_one() {
    let pool = Pool::start().await;
    let program = Faulty::of(&pool, "halves", &[]).await;
    let session = program.session().await;
    let begun = session
        .say(r#"{"jsonrpc":"2.0","id":$ID,"result":{"text":"gr"#.as_bytes())
        .await;
    let half = "üße".as_bytes();
    // A character in the middle of which it pauses.
    let more = session.say(&half[..1]).await;
    let last = session.say(
        [
            &half[1..],
            b"\"}}\n",
            br#"{"jsonrpc":"2.0","id":$ID,"result":{"done":true}}"#,
            b"\n",
        ]
        .concat(),
    );
    assert_eq!(message(last.await).await["result"], json!({ "done": true }));
    assert_eq!(message(begun).await["result"], json!({ "text": "grüße" }));
    drop(more);
}

#[tokio::test]
async fn an_answer_without_a_line_end_counts_when_the_program_ends_behind_it() {
    let pool = Pool::start().await;
    let program = Faulty::of(&pool, "unended", &[]).await;
    let session = program.session().await;
    let answer = session.say(DONE).await;
    let end = session.calling("end", json!({ "status": 0 })).await;
    assert_eq!(message(answer).await["result"], json!({ "done": true }));
    drop(end);
}

#[tokio::test]
async fn an_answer_that_is_no_text_fails_and_no_other_does() {
    let pool = Pool::start().await;
    let program = Faulty::of(&pool, "bytes", &[]).await;
    let session = program.session().await;
    let other = session.calling("hold", json!({ "name": "other" })).await;
    let answer = failed(
        session
            .say(b"{\"jsonrpc\":\"2.0\",\"id\":$ID,\"result\":{\"text\":\"\xc3\x28\"}}\n")
            .await,
    )
    .await;
    assert_eq!(
        (answer.status, &*answer.word, &*answer.hop),
        (502, "provider_garbage", "provider")
    );
    session.call("let_go", json!({ "name": "other" })).await;
    assert_eq!(message(other).await["result"]["let_go"], "other");
}
