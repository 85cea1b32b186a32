//! An LLM runtime on one thread whose answers cost nothing: `llm-mock PORT [ADDRESS]`.
//!
//! * `GET /v1/models`: one model, `bench`
//! * `POST /v1/chat/completions`: an answer of 1 KB, or 16 events in one write if the request has `"stream":true`
//! * the same with `"pause_ms":N` and `"max_tokens":M`: M events, one every N milliseconds, each with the time at which it
//!   was made
//! * `GET /left`: the time at which the last caller left such a stream before its end, 0 if none did; times are
//!   nanoseconds since 1970
//!
//! It looks for these members in the bytes of a request, so that what is in front of it is measured.

use std::convert::Infallible;
use std::fmt::Write;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bench_provider::server::{AnyBody, serve};
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::{Body, Frame, Incoming};
use hyper::{Request, Response, StatusCode};
use memchr::memmem;
use tokio::time::{Interval, interval};

/// When the last caller left a stream before its end.
static LEFT: AtomicU64 = AtomicU64::new(0);
/// Events of a stream that comes in one write.
const EVENTS: usize = 16;
/// Bytes of the text of a whole answer, which is some 1 KB with what is around it.
const TEXT_BYTES: usize = 720;

fn main() {
    serve("llm-mock PORT [ADDRESS]", answer);
}

async fn answer(request: Request<Incoming>) -> Result<Response<AnyBody>, Infallible> {
    Ok(match request.uri().path() {
        "/v1/models" => whole(
            "application/json",
            r#"{"object":"list","data":[{"id":"bench","object":"model","created":1,"owned_by":"bench"}]}"#,
        ),
        "/left" => whole("text/plain", LEFT.load(Ordering::Relaxed).to_string()),
        "/v1/chat/completions" => chat(request.into_body()).await,
        _ => empty(StatusCode::NOT_FOUND),
    })
}

async fn chat(body: Incoming) -> Response<AnyBody> {
    let Ok(body) = body.collect().await else {
        return empty(StatusCode::BAD_REQUEST);
    };
    let body = body.to_bytes();
    // A stream is asked for with or without a space behind the colon.
    let is_stream = memmem::find(&body, b"\"stream\":true").is_some()
        || memmem::find(&body, b"\"stream\": true").is_some();
    let pause = number(&body, b"\"pause_ms\":");

    if pause > 0 {
        let events = Events {
            left: number(&body, b"\"max_tokens\":"),
            ticks: interval(Duration::from_millis(pause)),
        };
        return stream(events.boxed_unsync());
    }
    if is_stream {
        return stream(Full::from(events_at_once()).boxed_unsync());
    }
    let text = "word ".repeat(TEXT_BYTES / 5);
    whole(
        "application/json",
        format!(
            r#"{{"id":"chatcmpl-1","object":"chat.completion","created":1,"model":"bench","choices":[{{"index":0,"message":{{"role":"assistant","content":"{text}"}},"finish_reason":"stop"}}],"usage":{{"prompt_tokens":20,"completion_tokens":16,"total_tokens":36}}}}"#
        ),
    )
}

fn events_at_once() -> String {
    let text = "word ".repeat(TEXT_BYTES / 5 / EVENTS);
    let mut events = String::with_capacity(4096);
    for _ in 0..EVENTS {
        push_event(&mut events, &text, "null");
    }
    push_event(&mut events, "", "\"stop\"");
    events.push_str(concat!(
        r#"data: {"id":"chatcmpl-1","object":"chat.completion.chunk","created":1,"model":"bench","choices":[],"#,
        r#""usage":{"prompt_tokens":20,"completion_tokens":16,"total_tokens":36}}"#,
        "\n\ndata: [DONE]\n\n"
    ));
    events
}

fn push_event(events: &mut String, text: &str, finish_reason: &str) {
    let _ = write!(
        events,
        r#"data: {{"id":"chatcmpl-1","object":"chat.completion.chunk","created":1,"model":"bench","choices":[{{"index":0,"delta":{{"content":"{text}"}},"finish_reason":{finish_reason}}}]}}"#
    );
    events.push_str("\n\n");
}

/// Returns the number behind a member's name, 0 without one.
fn number(body: &[u8], name: &[u8]) -> u64 {
    let Some(at) = memmem::find(body, name) else {
        return 0;
    };
    let digits = body[at + name.len()..].trim_ascii_start().iter();
    digits
        .take_while(|byte| byte.is_ascii_digit())
        .fold(0, |number, byte| number * 10 + u64::from(byte - b'0'))
}

fn whole(content_type: &str, text: impl Into<Bytes>) -> Response<AnyBody> {
    Response::builder()
        .header("content-type", content_type)
        .body(Full::from(text.into()).boxed_unsync())
        .expect("a response")
}

fn stream(body: AnyBody) -> Response<AnyBody> {
    Response::builder()
        .header("content-type", "text/event-stream")
        .body(body)
        .expect("a response")
}

fn empty(status: StatusCode) -> Response<AnyBody> {
    Response::builder()
        .status(status)
        .body(Full::default().boxed_unsync())
        .expect("a response")
}

fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.unwrap_or_default().as_nanos() as u64
}

/// Events that come one by one. The last one has the end of the answer.
struct Events {
    left: u64,
    ticks: Interval,
}

impl Body for Events {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if self.left == 0 {
            return Poll::Ready(None);
        }
        ready!(self.ticks.poll_tick(cx));
        self.left -= 1;

        let mut event = String::with_capacity(256);
        push_event(&mut event, &now().to_string(), "null");
        if self.left == 0 {
            push_event(&mut event, "", "\"stop\"");
            event.push_str("data: [DONE]\n\n");
        }
        Poll::Ready(Some(Ok(Frame::data(Bytes::from(event)))))
    }
}

impl Drop for Events {
    fn drop(&mut self) {
        if self.left > 0 {
            LEFT.store(now(), Ordering::Relaxed);
        }
    }
}
