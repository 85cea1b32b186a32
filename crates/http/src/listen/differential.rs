//! Compares the two ways in which a connection is served over HTTP/1.1: plain requests by our own loop, or all
//! by hyper. A handler must see the same requests, and the peer get the same answers, whatever is sent.
//!
//! Compiled for tests and with the feature `fuzzing` alone; not a part of the interface.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Request, Response, StatusCode, Uri, header};
use http_body::{Body, Frame};
use parking_lot::Mutex;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::connection::{LoopEnd, Session};
use super::http1_loop::Http1Loop;
use super::places::Places;
use super::prefixed::Prefixed;
use super::{Handler, ListenLimits, Overload, ReceivedBody, Versions};

/// The time of one connection. The clock is paused, so it passes at once where nothing happens.
const TIME: Duration = Duration::from_secs(5);
const LIMITS: ListenLimits = ListenLimits {
    max_connections: 10,
    header_timeout: Duration::from_secs(60),
    idle_timeout: Duration::from_secs(60),
    send_timeout: Duration::from_secs(60),
    max_head_bytes: 16 * 1024,
    versions: Versions::Http1AndHttp2,
};

/// A way to serve a connection.
#[derive(Debug, Clone, Copy)]
enum Way {
    Loop,
    Hyper,
}

/// A request as a handler has seen it.
#[derive(Debug, PartialEq, Eq)]
struct Seen {
    method: String,
    uri: String,
    fields: Vec<(String, Vec<u8>)>,
    /// `None` if it broke off.
    body: Option<Vec<u8>>,
}

/// What has become of a connection.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Outcome {
    seen: Vec<Seen>,
    /// What the peer got, without dates.
    answers: String,
    is_closed: bool,
}

impl Outcome {
    /// Checks that this is the outcome by hyper. Only the moment in which a malformed head without an end is
    /// refused may differ: hyper looks at a head that it had a part of before only once its end is there.
    fn assert_as(&self, by_hyper: &Self) {
        let is_refused_sooner = |sooner: &Self, later: &Self| {
            let more = sooner.answers.strip_prefix(&*later.answers);
            sooner.is_closed
                && !later.is_closed
                && sooner.seen == later.seen
                && more.is_some_and(|more| more.starts_with("HTTP/1.1 400 "))
        };
        if !is_refused_sooner(self, by_hyper) && !is_refused_sooner(by_hyper, self) {
            assert_eq!(self, by_hyper);
        }
    }
}

/// Sends bytes in pieces over two connections, and returns what has become of each.
pub(super) fn both(sent: &[u8], piece: usize) -> [Outcome; 2] {
    [Way::Loop, Way::Hyper].map(|way| {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .expect("a runtime without a driver of the system");
        runtime.block_on(serve(way, sent, piece))
    })
}

async fn serve(way: Way, sent: &[u8], piece: usize) -> Outcome {
    let (near, far) = tokio::io::duplex(1 << 20);
    let handler = Recorder::default();
    let seen = handler.0.clone();

    let (received, is_closed) = {
        let serving = serve_connection(way, near, handler);
        let mut serving = std::pin::pin!(tokio::time::timeout(2 * TIME, serving));
        let mut talking = std::pin::pin!(talk(far, sent, piece));
        let talked = tokio::select! {
            biased;
            _ = &mut serving => None,
            talked = &mut talking => Some(talked),
        };
        match talked {
            Some(talked) => talked,
            // What is still on its way to the peer is read behind the end.
            None => talking.await,
        }
    };
    let answers = String::from_utf8_lossy(&received).into_owned();
    Outcome {
        seen: std::mem::take(&mut seen.lock()),
        answers: without_dates(&answers),
        is_closed,
    }
}

async fn serve_connection(way: Way, near: DuplexStream, handler: Recorder) {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, 1));
    let places = Places::new(LIMITS.max_connections);
    let place = places.take(address.ip()).expect("a place");
    let session = Session {
        peer: address,
        limits: LIMITS,
        overload: None,
        head_deadline: Instant::now() + LIMITS.header_timeout,
        activity: place.activity().clone(),
        first_request: CancellationToken::new(),
        farewell: CancellationToken::new(),
    };
    let (received, near) = match way {
        Way::Loop => {
            let mut requests = Http1Loop::new(near, LIMITS.max_head_bytes as usize);
            let memory = (&mut (), false);
            match session.serve_plain(&mut requests, memory, &handler).await {
                LoopEnd::Closed | LoopEnd::Answered => return,
                LoopEnd::Unusual => requests.into_parts(),
            }
        }
        Way::Hyper => (Bytes::new(), near),
    };
    session
        .serve_by_hyper(Prefixed::new(received, near), handler)
        .await;
}

/// Sends bytes in pieces, and returns what came back and whether the connection was closed.
async fn talk(mut far: DuplexStream, sent: &[u8], piece: usize) -> (Vec<u8>, bool) {
    for piece in sent.chunks(piece.max(1)) {
        if far.write_all(piece).await.is_err() {
            break;
        }
        // Longer than nothing, shorter than any limit.
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let mut received = Vec::new();
    let reading = far.read_to_end(&mut received);
    let is_closed = tokio::time::timeout(TIME, reading).await.is_ok();
    (received, is_closed)
}

fn without_dates(answers: &str) -> String {
    let lines = answers.split_inclusive("\r\n");
    lines.filter(|line| !line.starts_with("date: ")).collect()
}

/// Records requests, and answers them in a way that their length chooses.
#[derive(Clone, Default)]
struct Recorder(Arc<Mutex<Vec<Seen>>>);

impl Handler for Recorder {
    type Body = AnyBody;
    type Connection = ();

    async fn answer(&self, _: SocketAddr, request: Request<ReceivedBody>) -> Response<AnyBody> {
        let (head, body) = request.into_parts();
        let mut fields: Vec<_> = head
            .headers
            .iter()
            .map(|(name, value)| (name.to_string(), value.as_bytes().to_vec()))
            .collect();
        fields.sort();
        let body = read(body).await;
        let length = body.as_ref().map_or(0, Vec::len);
        self.0.lock().push(Seen {
            method: head.method.to_string(),
            uri: head.uri.to_string(),
            fields,
            body,
        });

        let has_length = length % 2 == 0;
        let mut response = Response::new(AnyBody {
            left: vec![b'a'; 3 * length],
            has_length,
        });
        if length % 5 == 4 {
            *response.status_mut() = StatusCode::NO_CONTENT;
        }
        if length % 7 == 6 {
            let close = HeaderValue::from_static("close");
            response.headers_mut().insert(header::CONNECTION, close);
        }
        response
    }

    fn is_essential(&self, _: &Uri) -> bool {
        false
    }

    fn refuse(&self, _: &Request<ReceivedBody>, _: Overload) -> Response<AnyBody> {
        Response::new(AnyBody::default())
    }
}

async fn read(mut body: ReceivedBody) -> Option<Vec<u8>> {
    let mut read = Vec::new();
    let next = |body: &mut ReceivedBody, cx: &mut std::task::Context<'_>| {
        std::pin::Pin::new(body).poll_frame(cx)
    };
    while let Some(frame) = std::future::poll_fn(|cx| next(&mut body, cx)).await {
        if let Ok(data) = frame.ok()?.into_data() {
            read.extend_from_slice(&data);
        }
    }
    Some(read)
}

/// A body of one piece, whose length is known before or is not.
#[derive(Default)]
struct AnyBody {
    left: Vec<u8>,
    has_length: bool,
}

impl Body for AnyBody {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        mut self: std::pin::Pin<&mut Self>,
        _: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Result<Frame<Bytes>, std::convert::Infallible>>> {
        let piece = std::mem::take(&mut self.left);
        std::task::Poll::Ready((!piece.is_empty()).then(|| Ok(Frame::data(piece.into()))))
    }

    fn size_hint(&self) -> http_body::SizeHint {
        if self.has_length {
            http_body::SizeHint::with_exact(self.left.len() as u64)
        } else {
            http_body::SizeHint::default()
        }
    }
}

/// Checks that both ways lead to the same, for the fuzz target: the first byte is the length of the pieces.
#[cfg(feature = "fuzzing")]
pub fn requests(data: &[u8]) {
    let [piece, sent @ ..] = data else {
        return;
    };
    let [ours, by_hyper] = both(sent, usize::from(*piece));
    ours.assert_as(&by_hyper);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns what has become of it, which is the same both ways and in all pieces.
    fn outcome(sent: &[u8]) -> Outcome {
        let [whole, by_hyper] = both(sent, usize::MAX);
        assert_eq!(whole, by_hyper);
        for piece in [1, 7, 40] {
            let [ours, by_hyper] = both(sent, piece);
            ours.assert_as(&by_hyper);
        }
        whole
    }

    fn seen(sent: &str) -> usize {
        outcome(sent.as_bytes()).seen.len()
    }

    #[test]
    fn plain_requests_are_served_one_after_the_other() {
        let post = |body: &str| {
            let length = body.len();
            format!(
                "POST /a?b=c HTTP/1.1\r\nHost: x\r\nX-Two: 1\r\nx-two:  2 \r\nContent-Length: {length}\r\nConnection: Keep-Alive\r\n\r\n{body}"
            )
        };
        let sent = ["", "1", "22", "333", "4444"].map(post).concat();

        let outcome = outcome(sent.as_bytes());

        assert_eq!(outcome.seen.len(), 5);
        assert_eq!(outcome.seen[3].body.as_deref(), Some(&b"333"[..]));
        assert!(outcome.answers.contains("transfer-encoding: chunked"));
        assert!(outcome.answers.contains("HTTP/1.1 204 No Content"));
        assert!(!outcome.is_closed);
    }

    #[test]
    fn what_is_unusual_is_served_as_hyper_does() {
        let usual = "GET / HTTP/1.1\r\nHost: x\r\n\r\n";
        for (unusual, many) in [
            (
                "POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n2\r\nab\r\n0\r\n\r\n",
                3,
            ),
            (
                "POST / HTTP/1.1\r\ncontent-length: 2\r\ncontent-length: 2\r\n\r\nab",
                3,
            ),
            ("PATCH / HTTP/1.1\r\ncontent-length: 2\r\n\r\nab", 3),
            ("HEAD / HTTP/1.1\r\n\r\n", 3),
            ("GET / HTTP/1.0\r\n\r\n", 2),
            ("GET / HTTP/1.1\r\nconnection: close\r\n\r\n", 2),
            ("GET http://x/ HTTP/1.1\r\n\r\n", 3),
            ("GET /\u{e4} HTTP/1.1\r\n\r\n", 3),
            ("GET /\"<> HTTP/1.1\r\n\r\n", 1),
        ] {
            assert_eq!(seen(&[usual, unusual, usual].concat()), many, "{unusual}");
        }
    }

    #[test]
    fn what_could_be_read_in_two_ways_is_refused() {
        for ambiguous in [
            "POST / HTTP/1.1\r\ncontent-length: 2\r\ncontent-length: 3\r\n\r\nab",
            "POST / HTTP/1.1\r\ncontent-length: +2\r\n\r\nab",
            "POST / HTTP/1.1\r\ncontent-length: \r\n\r\nab",
            "POST / HTTP/1.1\r\ncontent-length : 2\r\n\r\nab",
            "POST / HTTP/1.1\r\ntransfer-encoding: gzip\r\n\r\nab",
            "POST / HTTP/1.1\r\nx: a\r\n b\r\n\r\n",
            "POST / HTTP/1.1\r\nx\0y: a\r\n\r\n",
            "POST  / HTTP/1.1\r\n\r\n",
        ] {
            let outcome = outcome(ambiguous.as_bytes());
            assert!(outcome.seen.is_empty(), "{ambiguous}");
            assert!(outcome.answers.starts_with("HTTP/1.1 400 "), "{ambiguous}");
        }
    }

    #[test]
    fn a_large_body_and_a_broken_one_end_alike() {
        let large = vec![b'b'; 200_000];
        let head = format!("POST / HTTP/1.1\r\ncontent-length: {}\r\n\r\n", large.len());

        let [ours, hypers] = both(&[head.as_bytes(), &large].concat(), 50_000);
        assert_eq!(ours, hypers);
        assert_eq!(ours.seen[0].body.as_ref().map(Vec::len), Some(200_000));

        let [ours, hypers] = both(&[head.as_bytes(), b"bb"].concat(), 10);
        assert_eq!(ours, hypers);
        assert!(ours.seen.is_empty());
    }
}
