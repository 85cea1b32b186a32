//! What an event stream needs to get past middleboxes: headers that keep them from holding it back, and comments that
//! show life while the provider has nothing to say.
//!
//! Comments stand only between events and only where nothing else was sent for a while; every client must ignore them
//! (the HTML standard, server-sent events; MCP 2026-07-28 encourages them). No other byte is touched.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::http::{HeaderMap, HeaderName, HeaderValue, header};
use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;
use tokio::time::{Instant, Sleep};

/// A sign of life that means nothing.
const COMMENT: Bytes = Bytes::from_static(b":\n\n");
/// How long a stream may say nothing at all before its first sign of life: some middleboxes hold even the head back
/// until the first byte of the body. Not at once, as most streams speak at once, and then need no comment.
const FIRST_SIGN: Duration = Duration::from_millis(250);

/// What may stand at the very beginning of a stream, and there means nothing (the HTML standard, server-sent events).
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// Whether an answer is an event stream.
pub(crate) fn is_event_stream(headers: &HeaderMap) -> bool {
    let media_type = headers
        .get(header::CONTENT_TYPE)
        .and_then(|value| value.to_str().ok());
    let media_type = media_type
        .and_then(|value| value.split(';').next())
        .unwrap_or_default();
    media_type.trim().eq_ignore_ascii_case("text/event-stream")
}

/// Asks the middleboxes on the way not to hold the stream back, unless the provider has said what it wants of them.
pub(crate) fn ask_for_no_buffering(headers: &mut HeaderMap) {
    const NO_BUFFERING: HeaderName = HeaderName::from_static("x-accel-buffering");
    headers
        .entry(NO_BUFFERING)
        .or_insert(HeaderValue::from_static("no"));
    headers
        .entry(header::CACHE_CONTROL)
        .or_insert(HeaderValue::from_static("no-cache, no-transform"));
}

pin_project! {
    /// An event stream that shows life while it is idle.
    pub(crate) struct KeptAlive<B> {
        #[pin]
        inner: B,
        every: Duration,
        alarm: Pin<Box<Sleep>>,
        last_byte: Option<Instant>,
        between_events: BetweenEvents,
        mark: Mark,
    }
}

impl<B> KeptAlive<B> {
    /// Shows life whenever nothing was sent for `every`.
    pub(crate) fn new(inner: B, every: Duration) -> Self {
        let alarm = Box::pin(tokio::time::sleep(FIRST_SIGN.min(every)));
        Self {
            inner,
            every,
            alarm,
            last_byte: None,
            between_events: BetweenEvents::default(),
            mark: Mark::First,
        }
    }
}

impl<B: Body<Data = Bytes>> Body for KeptAlive<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        let mut this = self.project();
        while let Poll::Ready(frame) = this.inner.as_mut().poll_frame(cx) {
            let frame = match frame {
                Some(Ok(frame)) if *this.mark != Mark::Over => match frame.into_data() {
                    Ok(data) => match this.mark.without(data) {
                        Some(data) => Some(Ok(Frame::data(data))),
                        None => continue,
                    },
                    Err(other) => Some(Ok(other)),
                },
                other => other,
            };
            if let Some(data) = frame
                .as_ref()
                .and_then(|frame| frame.as_ref().ok()?.data_ref())
            {
                this.between_events.saw(data);
                *this.last_byte = Some(Instant::now());
            }
            return Poll::Ready(frame);
        }
        loop {
            ready!(this.alarm.as_mut().poll(cx));
            let now = Instant::now();
            let due = this.last_byte.map_or(now, |last| last + *this.every);
            // In the middle of an event there is no place for a comment; the event's end is looked for again later.
            let is_place = this.between_events.here();
            this.alarm
                .as_mut()
                .reset(if due > now { due } else { now + *this.every });
            if due <= now && is_place {
                this.mark.is_late();
                *this.last_byte = Some(now);
                return Poll::Ready(Some(Ok(Frame::data(COMMENT))));
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::default()
    }
}

/// What is known of the byte order mark that a stream may begin with. Behind a comment it is none any more, and would make
/// the first line unreadable; so there it is left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mark {
    /// Whatever comes first is the beginning.
    First,
    /// A comment came first; so many bytes of a mark have been left out behind it.
    Late(usize),
    /// The beginning is over.
    Over,
}

impl Mark {
    /// A comment is sent.
    fn is_late(&mut self) {
        if *self == Self::First {
            *self = Self::Late(0);
        }
    }

    /// What goes on of the next bytes; nothing, if that is none of them. What only begins like a mark is no UTF-8, and
    /// so no event stream.
    fn without(&mut self, data: Bytes) -> Option<Bytes> {
        let Self::Late(seen) = *self else {
            *self = Self::Over;
            return Some(data);
        };
        let rest = &BYTE_ORDER_MARK[seen..];
        let same = data
            .iter()
            .zip(rest)
            .take_while(|(byte, expected)| byte == expected)
            .count();
        let is_unfinished = same == data.len() && same < rest.len();
        *self = if is_unfinished {
            Self::Late(seen + same)
        } else {
            Self::Over
        };
        let is_mark = same == rest.len();
        match (is_unfinished, is_mark) {
            (true, _) => None,
            (false, true) => Some(data.slice(same..)).filter(|rest| !rest.is_empty()),
            (false, false) => Some([&BYTE_ORDER_MARK[..seen], &data].concat().into()),
        }
    }
}

/// Knows whether a stream stands between two events: at its beginning, or behind a blank line.
#[derive(Debug, Default)]
struct BetweenEvents {
    /// The last bytes that went by, four at most: two line ends fit.
    tail: Vec<u8>,
}

impl BetweenEvents {
    fn saw(&mut self, data: &[u8]) {
        let fresh = &data[data.len().saturating_sub(4)..];
        self.tail.extend_from_slice(fresh);
        let surplus = self.tail.len().saturating_sub(4);
        self.tail.drain(..surplus);
    }

    fn here(&self) -> bool {
        let Some(line) = without_line_end(&self.tail) else {
            return self.tail.is_empty();
        };
        without_line_end(line).is_some()
    }
}

/// What precedes the line end (CRLF, LF or CR) that these bytes end with.
fn without_line_end(bytes: &[u8]) -> Option<&[u8]> {
    bytes
        .strip_suffix(b"\r\n")
        .or_else(|| bytes.strip_suffix(b"\n"))
        .or_else(|| bytes.strip_suffix(b"\r"))
}

#[cfg(test)]
mod tests {
    use http_body_util::{BodyExt, StreamBody};
    use tokio::sync::mpsc;

    use super::*;

    type Piece = Result<Frame<Bytes>, std::io::Error>;
    type Kept = Pin<Box<dyn Body<Data = Bytes, Error = std::io::Error>>>;

    fn stream(every: u64) -> (mpsc::Sender<Piece>, Kept) {
        let (sender, receiver) = mpsc::channel::<Piece>(8);
        let pieces = futures_util::stream::unfold(receiver, |mut receiver| async move {
            receiver.recv().await.map(|piece| (piece, receiver))
        });
        (
            sender,
            Box::pin(KeptAlive::new(
                StreamBody::new(pieces),
                Duration::from_secs(every),
            )),
        )
    }

    async fn next(body: &mut Kept) -> String {
        let data = body.frame().await.unwrap().unwrap().into_data().unwrap();
        String::from_utf8(data.to_vec()).unwrap()
    }

    fn piece(text: &'static str) -> Piece {
        Ok(Frame::data(Bytes::from_static(text.as_bytes())))
    }

    #[tokio::test(start_paused = true)]
    async fn an_idle_stream_shows_life_early_and_then_at_intervals() {
        let (_sender, mut body) = stream(15);
        let started = Instant::now();
        for expected in [250, 15_250, 30_250] {
            assert_eq!(next(&mut body).await, ":\n\n");
            assert_eq!(started.elapsed().as_millis(), expected);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_byte_order_mark_behind_a_comment_is_left_out_and_another_goes_through() {
        for pieces in [
            &["\u{feff}data: 1\n\n"][..],
            &["\u{feff}", "data: 1\n\n"],
            &["data: 1\n\n"],
        ] {
            let (sender, mut body) = stream(15);
            assert_eq!(next(&mut body).await, ":\n\n");
            let mut heard = String::new();
            for text in pieces {
                sender.send(piece(text)).await.unwrap();
            }
            while heard.len() < 9 {
                heard.push_str(&next(&mut body).await);
            }
            assert_eq!(heard, "data: 1\n\n");
        }
        let (sender, mut body) = stream(15);
        sender.send(piece("\u{feff}data: 1\n\n")).await.unwrap();
        assert_eq!(next(&mut body).await, "\u{feff}data: 1\n\n");
        tokio::time::advance(Duration::from_secs(20)).await;
        assert_eq!(next(&mut body).await, ":\n\n");
        sender.send(piece("\u{feff}")).await.unwrap();
        assert_eq!(
            next(&mut body).await,
            "\u{feff}",
            "in the middle it is a character"
        );
    }

    #[test]
    fn a_mark_is_known_however_it_is_cut_and_nothing_else_is_lost() {
        for (whole, expected) in [
            (&b"\xef\xbb\xbfdata"[..], &b"data"[..]),
            (b"\xef\xbbx", b"\xef\xbbx"),
            (b"\xefx", b"\xefx"),
            (b"\xef\xbb\xbf\xef\xbb\xbf", b"\xef\xbb\xbf"),
            (b"data", b"data"),
        ] {
            for size in 1..=whole.len() {
                let mut mark = Mark::Late(0);
                let pieces = whole
                    .chunks(size)
                    .filter_map(|piece| mark.without(Bytes::copy_from_slice(piece)));
                assert_eq!(
                    pieces.collect::<Vec<_>>().concat(),
                    expected,
                    "{whole:?} in pieces of {size}"
                );
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_stream_that_speaks_gets_no_comments() {
        let (sender, mut body) = stream(15);
        for _ in 0..5 {
            sender.send(piece("data: 1\n\n")).await.unwrap();
            assert_eq!(next(&mut body).await, "data: 1\n\n");
            tokio::time::advance(Duration::from_secs(14)).await;
        }
        drop(sender);
        assert!(body.frame().await.is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn no_comment_stands_inside_an_event() {
        let (sender, mut body) = stream(15);
        sender
            .send(piece("data: 1\r\n\r\ndata: 2\r\n"))
            .await
            .unwrap();
        next(&mut body).await;
        let mut idle = Box::pin(next(&mut body));
        assert!(futures_util::poll!(idle.as_mut()).is_pending());
        tokio::time::advance(Duration::from_secs(100)).await;
        assert!(futures_util::poll!(idle.as_mut()).is_pending());
        sender.send(piece("\r\n")).await.unwrap();
        assert_eq!(idle.await, "\r\n");
        assert_eq!(next(&mut body).await, ":\n\n");
    }

    #[test]
    fn a_blank_line_is_known_in_every_spelling_and_however_it_is_cut() {
        for (pieces, expected) in [
            (&[][..], true),
            (&["data: 1\n\n"], true),
            (&["data: 1\r\n\r\n"], true),
            (&["data: 1\r\r"], true),
            (&["data: 1\n", "\n"], true),
            (&["data: 1\r\n\r", "\n"], true),
            (&["data: 1\n"], false),
            (&["data: 1\r\n"], false),
            (&["data: 1", "\r", "\n"], false),
            (&["d"], false),
            (&["\n\nd", "ata"], false),
        ] {
            let mut between = BetweenEvents::default();
            pieces
                .iter()
                .for_each(|piece| between.saw(piece.as_bytes()));
            assert_eq!(between.here(), expected, "{pieces:?}");
        }
    }

    #[test]
    fn what_the_provider_asks_of_middleboxes_stays() {
        let mut headers = HeaderMap::new();
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        ask_for_no_buffering(&mut headers);
        assert_eq!(headers[header::CACHE_CONTROL], "no-store");
        assert_eq!(headers["x-accel-buffering"], "no");
    }
}
