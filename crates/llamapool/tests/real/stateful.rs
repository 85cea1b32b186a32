//! Sessions, event streams, notifications and requests to the client: with a FastMCP server the
//! official client sees the same through llamapool as without.

use reqwest::Response;
use serde_json::{Value, json};

use crate::by_hand::{initialized, open_session, send_in, summary};
use crate::harness::{Pool, soon, tools_call};
use crate::parts::{FASTMCP_4, Served, drive};

const STATEFUL: &str = "stateful.py";
const TOOLS: [&str; 6] = ["count", "hear", "echo", "ask", "whoami", "announce"];

/// Returns the expected observations of a client of `stateful.py` in a session of this id.
pub(crate) fn expected(session: &str) -> Vec<Value> {
    let result = |tool: &str, text: &str| json!({ "saw": "result", "tool": tool, "text": text, "is_error": false });
    let progress = |step: u32| {
        json!({
            "saw": "progress", "tool": "count",
            "done": f64::from(step), "total": 5.0, "message": format!("step {step}"),
        })
    };
    let initialize = json!({ "saw": "initialize", "server": "stateful", "protocol": "2025-11-25", "session": session });
    let mut seen = vec![
        initialize,
        json!({ "saw": "listening" }),
        json!({ "saw": "tools", "names": TOOLS }),
    ];
    seen.extend([result("echo", "grüße 🦙"), result("whoami", session)]);
    seen.extend((1..=5).map(progress));
    seen.push(result("count", "5"));
    seen.extend([
        json!({ "saw": "elicitation", "message": "what is your name?" }),
        result("ask", "hello Alpha"),
    ]);
    seen.extend([result("announce", ""), json!({ "saw": "announcement" })]);
    seen.extend([
        json!({ "saw": "terminated", "status": 200 }),
        json!({ "saw": "done" }),
    ]);
    seen
}

/// Returns the id of the session in which a client made these observations.
pub(crate) fn session(seen: &[Value]) -> &str {
    let session = seen[0]["session"]
        .as_str()
        .expect("the client has a session");

    assert!(!session.is_empty());

    session
}

/// The server waits after each progress notification until the client has received it, and for the
/// answer to its request: a message that is held back on the way is never answered.
#[tokio::test]
async fn the_official_client_sees_the_same_with_and_without_llamapool() {
    let pool = Pool::start().await;
    let provider = Served::start(FASTMCP_4, STATEFUL).await;
    let _relay = pool.relay("stateful", &provider.url).await;

    let through = drive(&pool.mcp("stateful"), 1).await.remove(0);
    let direct = drive(&provider.url, 1).await.remove(0);

    assert_ne!(session(&through), session(&direct));
    assert_eq!(through, expected(session(&through)), "through llamapool");
    assert_eq!(
        direct,
        expected(session(&direct)),
        "straight at the provider"
    );

    // One session is over, the other never existed.
    for dead in [session(&through), "nobody"] {
        for message in [tools_call(7, "whoami"), initialized()] {
            let through =
                summary(send_in(&pool, &pool.mcp("stateful"), dead, &message).await).await;
            let direct = summary(send_in(&pool, &provider.url, dead, &message).await).await;

            assert_eq!(through, direct, "{dead}: {message}");
            assert_eq!(through.0, 404, "{dead}: {message}");
            assert!(through.2.contains("jsonrpc"), "{dead}: {through:?}");
        }
    }
}

#[tokio::test]
async fn a_session_ends_when_the_caller_deletes_it_and_not_before() {
    let pool = Pool::start().await;
    let provider = Served::start(FASTMCP_4, STATEFUL).await;
    let _relay = pool.relay("stateful", &provider.url).await;

    let url = pool.mcp("stateful");
    let session = open_session(&pool, &url).await;
    let whoami = tools_call(3, "whoami");
    let (status, media_type, body) = summary(send_in(&pool, &url, &session, &whoami).await).await;

    assert_eq!(status, 200);
    assert_eq!(&*media_type, "text/event-stream");
    assert!(body.contains(&session), "{body}");

    let end = async || {
        let request = pool.http.delete(&url).header("mcp-session-id", &session);
        soon("the end is answered", request.send())
            .await
            .unwrap()
            .status()
    };

    assert_eq!(end().await, 200);
    assert_eq!(send_in(&pool, &url, &session, &whoami).await.status(), 404);
    assert_eq!(end().await, 404);
}

/// It delivers the messages that belong to no request.
#[tokio::test]
async fn a_listening_stream_is_open_before_its_first_message() {
    let pool = Pool::start().await;
    let provider = Served::start(FASTMCP_4, STATEFUL).await;
    let _relay = pool.relay("stateful", &provider.url).await;

    let url = pool.mcp("stateful");
    let session = open_session(&pool, &url).await;
    let listen = async || {
        let request = pool
            .http
            .get(&url)
            .header("accept", "text/event-stream")
            .header("mcp-session-id", &session);
        soon("the stream is opened", request.send()).await.unwrap()
    };
    let mut stream = listen().await;

    assert_eq!(stream.status().as_u16(), 200);
    assert_eq!(
        stream.headers()["content-type"].as_bytes(),
        &b"text/event-stream"[..]
    );
    // The provider's own refusal: it has the first stream already.
    assert_eq!(listen().await.status(), 409);

    let announced = summary(send_in(&pool, &url, &session, &tools_call(2, "announce")).await).await;

    assert!(
        announced.0 == 200 && !announced.2.contains("list_changed"),
        "{announced:?}"
    );

    let heard = soon("the notification arrives", next_event(&mut stream)).await;
    assert!(
        heard.contains(r#""method":"notifications/resources/list_changed""#),
        "{heard}"
    );
}

/// Reads a stream up to the end of its next event, without the comments before it.
async fn next_event(stream: &mut Response) -> String {
    let mut heard = String::new();

    while !heard.contains("data: ") || !heard.ends_with("\r\n\r\n") {
        let piece = stream.chunk().await.unwrap().expect("the stream goes on");
        heard.push_str(std::str::from_utf8(&piece).unwrap());
    }

    heard
}
