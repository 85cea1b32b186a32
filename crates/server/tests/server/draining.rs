//! Draining with event streams on which callers only listen.

use std::time::Instant;

use llamapool_testkit::{AT_ONCE, PendingCall, Pool, ScriptedProvider, event_stream, soon};

/// Begins a stream on which a caller listens for messages. Returns the sender of its pieces, too.
async fn listen(
    pool: &Pool,
    provider: &mut ScriptedProvider,
) -> (
    tokio::sync::mpsc::Sender<Result<bytes::Bytes, std::io::Error>>,
    reqwest::Response,
) {
    let request = pool.http.get(pool.mcp("mcp-1234"));
    let request = request
        .header("accept", "text/event-stream")
        .header("mcp-session-id", "session");
    let mut call = PendingCall::start(request);
    let (pieces, answer) = event_stream();
    provider.next_request().await.answer(answer);
    (pieces, call.answer().await)
}

/// It would wait for it until its timeout, as the stream has no end of its own.
#[tokio::test]
async fn a_listener_holds_no_server_up_and_a_call_does() {
    let mut pool = Pool::start().await;
    let mut provider = ScriptedProvider::start().await;
    let _relay = pool.relay("mcp-1234", &provider.url).await;
    let (messages, mut listener) = listen(&pool, &mut provider).await;
    let mut call = pool.start_call("mcp-1234");
    let (pieces, answer) = event_stream();
    provider.next_request().await.answer(answer);
    let mut streamed = call.answer().await;

    pool.drain();
    messages.send(Ok("data: late\n\n".into())).await.unwrap();
    let late = soon("a message arrives", listener.chunk()).await;
    assert_eq!(late.unwrap().unwrap(), "data: late\n\n");
    tokio::time::sleep(3 * AT_ONCE).await;
    pieces.send(Ok("data: last\n\n".into())).await.unwrap();
    drop(pieces);
    let last = soon("the call goes on", streamed.chunk()).await;
    assert_eq!(last.unwrap().unwrap(), "data: last\n\n");
    assert_eq!(soon("it ends well", streamed.chunk()).await.unwrap(), None);
    let idle_from = Instant::now();

    let ended = soon("the listener ends", listener.chunk()).await;

    assert!(ended.is_err(), "no end is made up");
    assert!(idle_from.elapsed() < 10 * AT_ONCE);
}

#[tokio::test]
async fn a_listener_holds_no_relay_up() {
    let pool = Pool::start().await;
    let mut provider = ScriptedProvider::start().await;
    let mut relay = pool.relay("mcp-1234", &provider.url).await;
    let (_messages, mut listener) = listen(&pool, &mut provider).await;

    relay.drain();

    assert!(soon("the listener ends", listener.chunk()).await.is_err());
    assert!(relay.ended().await.is_ok());
}
