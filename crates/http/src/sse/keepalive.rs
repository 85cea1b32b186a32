//! Comments in an event stream that is idle, so that middleboxes do not close its connection.
//!
//! A comment stands only between two events, and only where nothing else was sent for a while.
//! Every client must ignore it (the HTML standard, server-sent events; MCP 2026-07-28 encourages
//! comments). No other byte is changed, except for a byte order mark behind the first comment.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;
use tokio::time::{Instant, Sleep};

use super::scan::{BYTE_ORDER_MARK, without_line_end};

/// An empty comment, with the blank line that some clients need behind it.
const COMMENT: Bytes = Bytes::from_static(b":\n\n");
/// How long a stream may send nothing at all before its first comment: some middleboxes hold even
/// the head back until the first byte of the body. Not at once, as most streams send an event at
/// once, and then need no comment.
const FIRST_COMMENT: Duration = Duration::from_millis(250);

pin_project! {
    /// The body of an event stream, with comments while it is idle.
    pub struct KeepAlive<B> {
        #[pin]
        inner: B,
        interval: Duration,
        alarm: Pin<Box<Sleep>>,
        last_byte: Option<Instant>,
        boundary: EventBoundary,
        mark: MarkFilter,
    }
}

impl<B> KeepAlive<B> {
    /// Wraps the body of a stream that gets a comment whenever it was idle for `interval`.
    pub fn new(inner: B, interval: Duration) -> Self {
        let alarm = Box::pin(tokio::time::sleep(FIRST_COMMENT.min(interval)));
        Self {
            inner,
            interval,
            alarm,
            last_byte: None,
            boundary: EventBoundary::default(),
            mark: MarkFilter::AtStart,
        }
    }
}

impl<B: Body<Data = Bytes>> Body for KeepAlive<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        // The stream's own frames come first.
        match self.as_mut().poll_inner(cx) {
            Poll::Ready(frame) => Poll::Ready(frame),
            Poll::Pending => self
                .poll_comment(cx)
                .map(|()| Some(Ok(Frame::data(COMMENT)))),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::default()
    }
}

impl<B: Body<Data = Bytes>> KeepAlive<B> {
    /// Polls the stream itself, without a byte order mark behind a comment.
    fn poll_inner(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        let mut this = self.project();
        loop {
            let frame = match ready!(this.inner.as_mut().poll_frame(cx)) {
                Some(Ok(frame)) if *this.mark != MarkFilter::Done => match frame.into_data() {
                    Ok(data) => match this.mark.filter(data) {
                        Some(data) => Some(Ok(Frame::data(data))),
                        None => continue,
                    },
                    Err(other) => Some(Ok(other)),
                },
                other => other,
            };
            if let Some(data) = data_of(frame.as_ref()) {
                this.boundary.observe(data);
                *this.last_byte = Some(Instant::now());
            }
            return Poll::Ready(frame);
        }
    }

    /// Waits until a comment is due, between two events.
    fn poll_comment(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = self.project();
        loop {
            ready!(this.alarm.as_mut().poll(cx));
            let now = Instant::now();
            let due = this.last_byte.map_or(now, |last| last + *this.interval);
            let next = if due > now { due } else { now + *this.interval };
            this.alarm.as_mut().reset(next);

            // Inside an event there is no place for a comment: the next alarm looks again.
            if due <= now && this.boundary.is_between_events() {
                this.mark.comment_sent();
                *this.last_byte = Some(now);
                return Poll::Ready(());
            }
        }
    }
}

fn data_of<E>(frame: Option<&Result<Frame<Bytes>, E>>) -> Option<&Bytes> {
    frame?.as_ref().ok()?.data_ref()
}

/// Removes the byte order mark that a stream may begin with, where a comment precedes it. There it
/// is no mark any more, and would make the first line unreadable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum MarkFilter {
    /// Nothing was sent: a mark stays in its place.
    AtStart,
    /// A comment was sent first. This many bytes of a mark have been removed behind it.
    AfterComment(usize),
    /// The beginning of the stream is over.
    Done,
}

impl MarkFilter {
    fn comment_sent(&mut self) {
        if *self == Self::AtStart {
            *self = Self::AfterComment(0);
        }
    }

    /// Returns what is sent of the next bytes of the stream, `None` for nothing. Bytes that begin
    /// like a mark and are none are not UTF-8, and so no event stream; they are sent as they are.
    fn filter(&mut self, data: Bytes) -> Option<Bytes> {
        let Self::AfterComment(seen) = *self else {
            *self = Self::Done;
            return Some(data);
        };

        let rest = &BYTE_ORDER_MARK[seen..];
        let same = data
            .iter()
            .zip(rest)
            .take_while(|(byte, expected)| byte == expected)
            .count();
        if same == data.len() && same < rest.len() {
            *self = Self::AfterComment(seen + same);
            return None;
        }

        *self = Self::Done;
        let is_mark = same == rest.len();
        if is_mark {
            Some(data.slice(same..)).filter(|rest| !rest.is_empty())
        } else {
            Some([&BYTE_ORDER_MARK[..seen], &data].concat().into())
        }
    }
}

/// The last bytes of a stream, by which its place between or inside events is known.
#[derive(Debug, Default)]
struct EventBoundary {
    /// Four bytes at most: two line ends fit.
    tail: Vec<u8>,
}

impl EventBoundary {
    fn observe(&mut self, data: &[u8]) {
        let fresh = &data[data.len().saturating_sub(4)..];
        self.tail.extend_from_slice(fresh);
        let surplus = self.tail.len().saturating_sub(4);
        self.tail.drain(..surplus);
    }

    /// Returns whether the stream is at its beginning, or behind a blank line.
    fn is_between_events(&self) -> bool {
        let Some(line) = without_line_end(&self.tail) else {
            return self.tail.is_empty();
        };
        without_line_end(line).is_some()
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::{BodyExt, StreamBody};
    use tokio::sync::mpsc;

    use super::*;

    type Piece = Result<Frame<Bytes>, std::io::Error>;
    type Stream = Pin<Box<dyn Body<Data = Bytes, Error = std::io::Error>>>;

    fn stream(every: u64) -> (mpsc::Sender<Piece>, Stream) {
        let (sender, receiver) = mpsc::channel::<Piece>(8);
        let pieces = futures_util::stream::unfold(receiver, |mut receiver| async move {
            receiver.recv().await.map(|piece| (piece, receiver))
        });
        (
            sender,
            Box::pin(KeepAlive::new(
                StreamBody::new(pieces),
                Duration::from_secs(every),
            )),
        )
    }

    async fn next(body: &mut Stream) -> String {
        let data = body.frame().await.unwrap().unwrap().into_data().unwrap();
        String::from_utf8(data.to_vec()).unwrap()
    }

    fn piece(text: &'static str) -> Piece {
        Ok(Frame::data(Bytes::from_static(text.as_bytes())))
    }

    #[tokio::test(start_paused = true)]
    async fn an_idle_stream_gets_comments_early_and_at_intervals() {
        let (_sender, mut body) = stream(15);
        let started = Instant::now();

        for expected in [250, 15_250, 30_250] {
            assert_eq!(next(&mut body).await, ":\n\n");
            assert_eq!(started.elapsed().as_millis(), expected);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn only_a_byte_order_mark_behind_a_comment_is_removed() {
        for pieces in [
            &["\u{feff}data: 1\n\n"][..],
            &["\u{feff}", "data: 1\n\n"],
            &["data: 1\n\n"],
        ] {
            let (sender, mut body) = stream(15);
            assert_eq!(next(&mut body).await, ":\n\n");
            let mut received = String::new();
            for text in pieces {
                sender.send(piece(text)).await.unwrap();
            }
            while received.len() < 9 {
                received.push_str(&next(&mut body).await);
            }
            assert_eq!(received, "data: 1\n\n");
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
    fn a_mark_is_recognized_however_it_is_cut() {
        for (whole, expected) in [
            (&b"\xef\xbb\xbfdata"[..], &b"data"[..]),
            (b"\xef\xbbx", b"\xef\xbbx"),
            (b"\xefx", b"\xefx"),
            (b"\xef\xbb\xbf\xef\xbb\xbf", b"\xef\xbb\xbf"),
            (b"data", b"data"),
        ] {
            for size in 1..=whole.len() {
                let mut mark = MarkFilter::AfterComment(0);
                let pieces = whole
                    .chunks(size)
                    .filter_map(|piece| mark.filter(Bytes::copy_from_slice(piece)));
                assert_eq!(
                    pieces.collect::<Vec<_>>().concat(),
                    expected,
                    "{whole:?} in pieces of {size}"
                );
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn an_active_stream_gets_no_comments() {
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
    fn a_blank_line_is_recognized_with_every_line_end() {
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
            let mut boundary = EventBoundary::default();
            pieces
                .iter()
                .for_each(|piece| boundary.observe(piece.as_bytes()));
            assert_eq!(boundary.is_between_events(), expected, "{pieces:?}");
        }
    }
}
