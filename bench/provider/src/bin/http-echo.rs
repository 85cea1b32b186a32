//! An HTTP server on one thread that answers every path: `http-echo PORT [ADDRESS]`.
//!
//! * `/down/N`: a body of N bytes; `/up`: reads a body and returns its length
//! * `/events/N/MS`: N events, one every MS milliseconds, each with the time at which it was made
//! * `/sized`, `/sized/N`: a JSON-RPC response of 1 KiB, or of N bytes, to the posted message
//! * `/mcp` and anything else: a JSON-RPC response to the message that was posted; 202 for a
//!   notification; 405 for a `GET`
//!
//! It does as little as possible, so that the proxies in front of it are measured.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bench_provider::BODY_BYTES;
use bench_provider::server::{AnyBody, serve};
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::{Body, Frame, Incoming};
use hyper::{Method, Request, Response, StatusCode};
use tokio::time::{Interval, interval};

/// Enough for the response to a call.
const ANSWER_BYTES: usize = 256;
const PIECE: usize = 64 * 1024;

fn main() {
    serve("http-echo PORT [ADDRESS]", answer);
}

async fn answer(request: Request<Incoming>) -> Result<Response<AnyBody>, Infallible> {
    let path: Vec<String> = request.uri().path().split('/').map(str::to_owned).collect();
    let words: Vec<&str> = path.iter().map(String::as_str).collect();
    let number = |word: &str| word.parse().unwrap_or(0);

    Ok(match &words[..] {
        [.., "down", bytes] => Response::new(
            Zeros {
                left: number(bytes),
            }
            .boxed_unsync(),
        ),
        [.., "events", count, millis] => {
            let every = Duration::from_millis(number(millis).max(1) as u64);
            let events = Events {
                left: number(count),
                ticks: interval(every),
            };
            Response::builder()
                .header("content-type", "text/event-stream")
                .body(events.boxed_unsync())
                .expect("a response")
        }
        [.., "up"] => {
            let length = length(request.into_body()).await;
            Response::new(Full::from(length.to_string()).boxed_unsync())
        }
        [.., "sized", bytes] => answer_message(request.into_body(), Some(number(bytes))).await,
        [.., "sized"] => answer_message(request.into_body(), Some(BODY_BYTES)).await,
        _ if request.method() == Method::POST => answer_message(request.into_body(), None).await,
        _ => empty(StatusCode::METHOD_NOT_ALLOWED),
    })
}

/// Answers a message, in so many bytes where there is a size.
async fn answer_message(body: Incoming, size: Option<usize>) -> Response<AnyBody> {
    let Ok(message) = body.collect().await else {
        return empty(StatusCode::BAD_REQUEST);
    };
    let message = message.to_bytes();
    let mut answer = Vec::with_capacity(size.unwrap_or(ANSWER_BYTES));
    match size {
        Some(bytes) => bench_provider::answer_of_size(&message, bytes, &mut answer),
        None => bench_provider::answer(&message, &mut answer),
    }
    if answer.is_empty() {
        return empty(StatusCode::ACCEPTED);
    }

    let body = Full::from(answer).boxed_unsync();
    Response::builder()
        .header("content-type", "application/json")
        .body(body)
        .expect("a response")
}

fn empty(status: StatusCode) -> Response<AnyBody> {
    Response::builder()
        .status(status)
        .body(Full::default().boxed_unsync())
        .expect("a response")
}

async fn length(mut body: Incoming) -> usize {
    let mut length = 0;
    while let Some(Ok(frame)) = body.frame().await {
        length += frame.data_ref().map_or(0, Bytes::len);
    }
    length
}

struct Zeros {
    left: usize,
}

impl Body for Zeros {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        static PIECES: [u8; PIECE] = [0; PIECE];
        let length = self.left.min(PIECE);
        self.left -= length;
        Poll::Ready((length > 0).then(|| Ok(Frame::data(Bytes::from_static(&PIECES[..length])))))
    }

    fn size_hint(&self) -> hyper::body::SizeHint {
        hyper::body::SizeHint::with_exact(self.left as u64)
    }
}

struct Events {
    left: usize,
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

        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default()
            .as_nanos();
        Poll::Ready(Some(Ok(Frame::data(Bytes::from(format!(
            "data: {now}\n\n"
        ))))))
    }
}
