//! Responses of a provider, in pieces of any size: hyper and the client of our own read the same heads, the
//! same bodies and the same ends of them. The first three bytes choose the method, what follows the last
//! piece, and the sizes of the pieces.
//!
//! Ours may refuse what hyper takes where trailers are not fields to their last byte, and may give a
//! connection up that hyper would use again, never the other way round.

#![no_main]

use std::collections::VecDeque;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use http::{HeaderMap, Method, Request, StatusCode};
use http_body::Body;
use http_body_util::Empty;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use libfuzzer_sys::fuzz_target;
use llamapool_head::Fields;
use llamapool_http::http1::{
    BodyError, ClientConnection, ClientError, OutgoingRequest, RequestBody,
};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Polls of hyper for one input: each reads one piece at least, or all is over.
const MAX_POLLS: usize = 10_000;

/// What a client has made of the bytes.
#[derive(Debug, PartialEq)]
enum Read {
    /// The head has not arrived whole.
    Waiting,
    /// The bytes are not HTTP.
    Garbage,
    /// The connection ended before the head.
    Closed,
    Response {
        status: StatusCode,
        headers: HeaderMap,
        body: Vec<u8>,
        end: End,
        is_free: bool,
    },
}

#[derive(Debug, PartialEq)]
enum End {
    Clean,
    Broken,
    BrokenByTrailers,
    Waiting,
}

fuzz_target!(|data: &[u8]| {
    let [kind, one, other, bytes @ ..] = data else {
        return;
    };
    let method = [Method::GET, Method::HEAD, Method::POST][usize::from(kind % 3)].clone();
    let ends = kind & 0x80 == 0;
    let sizes = [*one, *other].map(|size| usize::from(size).max(1));

    let theirs = by_hyper(&method, script(bytes, sizes, ends));
    let ours = by_ours(&method, script(bytes, sizes, ends));

    compare(theirs, ours);
});

fn compare(theirs: Read, ours: Read) {
    match (theirs, ours) {
        (
            Read::Response {
                status,
                headers,
                body,
                end,
                is_free,
            },
            Read::Response {
                status: our_status,
                headers: our_headers,
                body: our_body,
                end: our_end,
                is_free: ours_is_free,
            },
        ) => {
            assert_eq!(status, our_status);
            assert_eq!(headers, our_headers);
            assert_eq!(body, our_body);
            assert!(
                end == our_end || our_end == End::BrokenByTrailers,
                "{end:?} {our_end:?}"
            );
            assert!(is_free || !ours_is_free);
        }
        (theirs, ours) => assert_eq!(theirs, ours),
    }
}

fn by_hyper(method: &Method, script: Script) -> Read {
    let mut cx = Context::from_waker(Waker::noop());
    let mut handshake = Box::pin(http1::handshake::<_, Empty<Bytes>>(TokioIo::new(script)));
    let Poll::Ready(Ok((mut requests, driver))) = handshake.as_mut().poll(&mut cx) else {
        panic!("no handshake");
    };
    let mut driver = Some(Box::pin(driver));
    let mut request = Request::new(Empty::new());
    *request.method_mut() = method.clone();
    let mut response = Box::pin(requests.send_request(request));

    let mut answer = None;
    for _ in 0..MAX_POLLS {
        let over = driver
            .as_mut()
            .map(|driver| driver.as_mut().poll(&mut cx).is_ready());
        if over == Some(true) {
            driver = None;
        }
        if let Poll::Ready(ready) = response.as_mut().poll(&mut cx) {
            answer = Some(ready);
            break;
        }
    }
    drop(response);
    let response = match answer {
        None => return Read::Waiting,
        Some(Err(error)) if error.is_parse() || error.is_parse_status() => return Read::Garbage,
        Some(Err(_)) => return Read::Closed,
        Some(Ok(response)) => response,
    };

    let (head, mut incoming) = response.into_parts();
    let mut body = Vec::new();
    let mut end = End::Waiting;
    for _ in 0..MAX_POLLS {
        match Pin::new(&mut incoming).poll_frame(&mut cx) {
            Poll::Ready(Some(Ok(frame))) => {
                body.extend_from_slice(&frame.into_data().unwrap_or_default());
                continue;
            }
            Poll::Ready(Some(Err(_))) => end = End::Broken,
            Poll::Ready(None) => end = End::Clean,
            Poll::Pending => {
                let over = driver
                    .as_mut()
                    .map(|driver| driver.as_mut().poll(&mut cx).is_ready());
                if over == Some(true) {
                    driver = None;
                }
                continue;
            }
        }
        break;
    }
    for _ in 0..4 {
        if driver
            .as_mut()
            .is_some_and(|driver| driver.as_mut().poll(&mut cx).is_ready())
        {
            driver = None;
        }
    }
    Read::Response {
        status: head.status,
        headers: head.headers,
        body,
        end,
        is_free: driver.is_some() && requests.is_ready(),
    }
}

fn by_ours(method: &Method, script: Script) -> Read {
    let mut cx = Context::from_waker(Waker::noop());
    let mut connection = ClientConnection::<_, Empty<Bytes>>::new(script);
    let request = OutgoingRequest {
        method,
        target: "/",
        fields: &Fields::new(),
        host: None,
    };
    connection
        .begin(request, RequestBody::Empty)
        .expect("it has no body");
    let head = match connection.poll_head(&mut cx) {
        Poll::Pending => return Read::Waiting,
        Poll::Ready(Err(error)) if error.is_not_http() => return Read::Garbage,
        Poll::Ready(Err(_)) => return Read::Closed,
        Poll::Ready(Ok(head)) => head,
    };

    let mut body = Vec::new();
    let end = loop {
        match connection.poll_body(&mut cx) {
            Poll::Ready(Some(Ok(data))) => {
                assert!(!data.is_empty());
                body.extend_from_slice(&data);
            }
            Poll::Ready(Some(Err(ClientError::Body(BodyError::Trailers)))) => {
                break End::BrokenByTrailers;
            }
            Poll::Ready(Some(Err(_))) => break End::Broken,
            Poll::Ready(None) => break End::Clean,
            Poll::Pending => break End::Waiting,
        }
    };
    Read::Response {
        status: head.status,
        headers: head.fields.to_http().expect("at most 100"),
        body,
        end,
        is_free: connection.is_free(),
    }
}

/// A stream whose other end answers a request with these pieces, one for each read.
struct Script {
    pieces: VecDeque<Bytes>,
    was_asked: bool,
    /// Whether the connection ends behind the last piece.
    ends: bool,
}

fn script(bytes: &[u8], sizes: [usize; 2], ends: bool) -> Script {
    let mut rest = Bytes::copy_from_slice(bytes);
    let mut pieces = VecDeque::new();
    for size in sizes.into_iter().cycle() {
        if rest.is_empty() {
            break;
        }
        pieces.push_back(rest.split_to(size.min(rest.len())));
    }
    Script {
        pieces,
        was_asked: false,
        ends,
    }
}

impl AsyncRead for Script {
    fn poll_read(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let Some(piece) = this.pieces.front_mut().filter(|_| this.was_asked) else {
            return if this.ends && this.was_asked {
                Poll::Ready(Ok(()))
            } else {
                Poll::Pending
            };
        };
        let room = buffer.remaining().min(piece.len());
        buffer.put_slice(&piece.split_to(room));
        if piece.is_empty() {
            this.pieces.pop_front();
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Script {
    fn poll_write(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.get_mut().was_asked = true;
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
