//! An LLM runtime on one thread whose answers cost nothing: `llm-mock PORT [ADDRESS [SLOTS]]`.
//!
//! * `GET /v1/models`, `/health`: one model, `bench`, and that it can be asked
//! * `POST /v1/chat/completions`: an answer of 1 KiB, or 16 events in one write if the request has `"stream":true`
//! * the same with `pause_ms=N events=M` in the prompt: M events, one every N milliseconds, each with the time
//!   at which it was made
//! * `first_ms=N` in the prompt: the answer begins N milliseconds after the call has its slot
//! * `GET /left`: the time at which the last caller left before the end of its answer, 0 if none did; times are
//!   nanoseconds since 1970
//! * `GET /arrived`: the number of calls so far
//!
//! With SLOTS it runs so many calls at once, and the others wait in the order of their arrival. It looks for these words in
//! the bytes of a request, so that what is in front of it is measured. They are in the prompt because some routers drop or
//! rename members.

use std::convert::Infallible;
use std::fmt::Write;
use std::pin::Pin;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bench_provider::BODY_BYTES;
use bench_provider::server::{AnyBody, serve};
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::{Body, Frame, Incoming};
use hyper::{Request, Response, StatusCode};
use memchr::memmem;
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::{Interval, interval, sleep};

/// When the last caller left before the end of its answer.
static LEFT: AtomicU64 = AtomicU64::new(0);
/// Calls that arrived.
static ARRIVED: AtomicU64 = AtomicU64::new(0);
/// Calls that may run at once.
static SLOTS: LazyLock<Semaphore> = LazyLock::new(|| Semaphore::new(slots()));
/// Events of a stream that comes in one write.
const EVENTS: usize = 16;
/// Bytes of the text in each of them.
const EVENT_TEXT_BYTES: usize = 45;

fn main() {
    serve("llm-mock PORT [ADDRESS [SLOTS]]", answer);
}

/// Returns the number that is the third word of the command line; as many as there can be without one.
fn slots() -> usize {
    let slots = std::env::args().nth(3);
    slots
        .and_then(|slots| slots.parse().ok())
        .unwrap_or(Semaphore::MAX_PERMITS)
}

async fn answer(request: Request<Incoming>) -> Result<Response<AnyBody>, Infallible> {
    Ok(match request.uri().path() {
        "/v1/models" => whole(
            "application/json",
            r#"{"object":"list","data":[{"id":"bench","object":"model","created":1,"owned_by":"bench"}]}"#,
        ),
        "/health" => empty(StatusCode::OK),
        "/left" => whole("text/plain", LEFT.load(Ordering::Relaxed).to_string()),
        "/arrived" => whole("text/plain", ARRIVED.load(Ordering::Relaxed).to_string()),
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
    let pause = number(&body, b"pause_ms=");
    let first = number(&body, b"first_ms=");

    ARRIVED.fetch_add(1, Ordering::Relaxed);
    let mut call = Call::default();
    call.slot = SLOTS.acquire().await.ok();
    if first > 0 {
        sleep(Duration::from_millis(first)).await;
    }

    if pause > 0 {
        let events = Events {
            left: number(&body, b"events="),
            ticks: interval(Duration::from_millis(pause)),
            call,
        };
        return stream(events.boxed_unsync());
    }
    call.is_answered = true;
    if is_stream {
        stream(Full::from(events_at_once()).boxed_unsync())
    } else {
        whole("application/json", chat_completion())
    }
}

/// Returns a whole answer of [`BODY_BYTES`].
fn chat_completion() -> String {
    const HEAD: &str = concat!(
        r#"{"id":"chatcmpl-1","object":"chat.completion","created":1,"model":"bench","choices":[{"index":0,"#,
        r#""message":{"role":"assistant","content":""#
    );
    const TAIL: &str = concat!(
        r#""},"finish_reason":"stop"}],"#,
        r#""usage":{"prompt_tokens":20,"completion_tokens":16,"total_tokens":36}}"#
    );
    let text = "w".repeat(BODY_BYTES - HEAD.len() - TAIL.len());
    [HEAD, &text, TAIL].concat()
}

fn events_at_once() -> String {
    let text = "w".repeat(EVENT_TEXT_BYTES);
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

/// Returns the number behind a name, 0 without one.
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

/// A call and its slot, from its arrival to the end of its answer. Dropped before that end, its caller has left.
#[derive(Default)]
struct Call {
    slot: Option<SemaphorePermit<'static>>,
    is_answered: bool,
}

impl Drop for Call {
    fn drop(&mut self) {
        if !self.is_answered {
            LEFT.store(now(), Ordering::Relaxed);
        }
    }
}

/// Events that come one by one. The last one has the end of the answer.
struct Events {
    left: u64,
    ticks: Interval,
    call: Call,
}

impl Body for Events {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if self.left == 0 {
            self.call.is_answered = true;
            return Poll::Ready(None);
        }
        ready!(self.ticks.poll_tick(cx));
        self.left -= 1;

        let mut event = String::with_capacity(256);
        push_event(&mut event, &now().to_string(), "null");
        if self.left == 0 {
            self.call.is_answered = true;
            push_event(&mut event, "", "\"stop\"");
            event.push_str("data: [DONE]\n\n");
        }
        Poll::Ready(Some(Ok(Frame::data(Bytes::from(event)))))
    }
}
