//! The event of HTTP with SSE that names the endpoint to which the client posts (MCP 2024-11-05),
//! rewritten to the public endpoint.
//!
//! It is looked for among the first events of a stream. An event counts as a whole, whatever the
//! order of its fields is, and is held back only for as long as it may be the endpoint. Nothing else
//! of the stream is changed. The endpoint becomes reachable while the stream is open, and no other
//! path does.

use std::ops::Range;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::Uri;
use http_body::{Body, Frame, SizeHint};
use llamapool_http::sse;
use llamapool_wire::path;

use super::address::{end_of_path, resolve_on_provider};
use super::allowed_paths::{AllowedPaths, OpenEndpoint};
use super::public_url::ProviderPublicUrl;

/// How much of an event is held back, in bytes. One with an endpoint is far shorter.
const MAX_EVENT_BYTES: usize = 16 * 1024;
/// How many events are looked at. The endpoint comes first (MCP 2024-11-05), though some servers
/// send a greeting before it.
const MAX_EVENTS: usize = 8;

/// An event stream in which the event that names an endpoint names the public one.
pub(super) struct EndpointRewriter<B: Body> {
    inner: B,
    /// `None` when the endpoint was found, or is not looked for any more.
    search: Option<EndpointSearch>,
    /// The endpoint that the stream named, allowed while the stream is open.
    endpoint: Option<OpenEndpoint>,
    /// The stream's error, while the bytes before it are on their way.
    error: Option<B::Error>,
}

/// Looks for the endpoint in the bytes of a stream.
struct EndpointSearch {
    answered: Uri,
    public: ProviderPublicUrl,
    allowed: AllowedPaths,
    /// The events that were seen.
    events: usize,
    /// The bytes that have arrived and are not sent yet. While an event is passed on, there are none
    /// between two pieces.
    held: Vec<u8>,
    /// Set while an event is passed on that is another one.
    passing: Option<LinePosition>,
}

/// The place in a line where the bytes that were passed on end.
#[derive(Debug, Clone, Copy)]
struct LinePosition {
    is_start: bool,
    /// The last byte was a CR: an LF that follows belongs to it.
    is_after_return: bool,
}

impl<B: Body> EndpointRewriter<B> {
    /// Wraps a stream that the provider sent from the URL `answered` to a caller at `public`.
    pub(super) fn new(
        inner: B,
        answered: Uri,
        public: ProviderPublicUrl,
        allowed: AllowedPaths,
    ) -> Self {
        let search = EndpointSearch {
            answered,
            public,
            allowed,
            events: 0,
            held: Vec::new(),
            passing: None,
        };
        Self {
            inner,
            search: Some(search),
            endpoint: None,
            error: None,
        }
    }
}

impl<B: Body<Data = Bytes, Error: Unpin> + Unpin> Body for EndpointRewriter<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        let this = self.get_mut();
        if let Some(error) = this.error.take() {
            return Poll::Ready(Some(Err(error)));
        }

        loop {
            let frame = ready!(Pin::new(&mut this.inner).poll_frame(cx));
            let Some(search) = &mut this.search else {
                return Poll::Ready(frame);
            };

            let data = match frame {
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) => data,
                    Err(other) => return Poll::Ready(Some(Ok(other))),
                },
                // An unfinished event was held back: it is sent as it came, and the end after it.
                end => {
                    let held = std::mem::take(&mut search.held);
                    this.search = None;
                    let error = end.and_then(Result::err);
                    if held.is_empty() {
                        return Poll::Ready(error.map(Err));
                    }
                    this.error = error;
                    return Poll::Ready(Some(Ok(Frame::data(held.into()))));
                }
            };

            search.held.extend_from_slice(&data);
            let found = search.advance();
            if found.is_over {
                this.search = None;
                this.endpoint = found.endpoint;
            }
            if !found.sent.is_empty() {
                return Poll::Ready(Some(Ok(Frame::data(found.sent.into()))));
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        let is_held = self
            .search
            .as_ref()
            .is_some_and(|search| !search.held.is_empty());
        !is_held && self.error.is_none() && self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::default()
    }
}

/// The result of a piece of the stream.
#[derive(Default)]
struct Advance {
    /// The bytes that go to the caller.
    sent: Vec<u8>,
    /// Set when nothing more is looked for.
    is_over: bool,
    endpoint: Option<OpenEndpoint>,
}

impl EndpointSearch {
    /// Judges the bytes that have arrived so far.
    fn advance(&mut self) -> Advance {
        let mut advance = Advance::default();
        while !advance.is_over && !self.held.is_empty() {
            if let Some(position) = self.passing {
                self.pass_on(position, &mut advance);
                continue;
            }
            match judge(&self.held) {
                Judgement::Nothing(length) => advance.sent.extend(self.held.drain(..length)),
                Judgement::Event(length) => {
                    advance.sent.extend(self.held.drain(..length));
                    self.count_event(&mut advance);
                }
                Judgement::Endpoint(data) => self.finish(data, &mut advance),
                Judgement::Undecided if self.held.len() <= MAX_EVENT_BYTES => break,
                Judgement::Undecided | Judgement::Other => {
                    self.passing = Some(LinePosition {
                        is_start: true,
                        is_after_return: false,
                    });
                }
            }
        }
        if advance.is_over {
            advance.sent.append(&mut self.held);
        }
        advance
    }

    /// Sends the bytes of an event that is another one, up to its end if that has arrived.
    fn pass_on(&mut self, position: LinePosition, advance: &mut Advance) {
        let mut position = position;
        for (at, &byte) in self.held.iter().enumerate() {
            let is_pair = byte == b'\n' && position.is_after_return;
            let is_line_end = matches!(byte, b'\n' | b'\r');
            if is_line_end && position.is_start && !is_pair {
                self.passing = None;
                advance.sent.extend(self.held.drain(..=at));
                self.count_event(advance);
                return;
            }
            position = LinePosition {
                is_start: is_line_end,
                is_after_return: byte == b'\r',
            };
        }
        self.passing = Some(position);
        advance.sent.append(&mut self.held);
    }

    fn count_event(&mut self, advance: &mut Advance) {
        self.events += 1;
        advance.is_over = self.events >= MAX_EVENTS;
    }

    /// Replaces the endpoint, whose place is `data`.
    fn finish(&mut self, data: Option<Range<usize>>, advance: &mut Advance) {
        advance.is_over = true;
        let public = data.and_then(|place| {
            let endpoint = std::str::from_utf8(&self.held[place.clone()]).ok()?;
            Some((place, self.public_form(endpoint)?))
        });
        if let Some((place, (public, endpoint))) = public {
            self.held.splice(place, public.into_bytes());
            advance.endpoint = Some(endpoint);
        }
    }

    /// Returns the endpoint below the public URL. `None` for one on another host, which stays as it
    /// is: no client follows it.
    fn public_form(&self, endpoint: &str) -> Option<(String, OpenEndpoint)> {
        let resolved = resolve_on_provider(&self.answered, Some(&self.public), endpoint)?;
        let (path, rest) = resolved.split_at(end_of_path(&resolved));
        let open = self.allowed.open_endpoint(path)?;
        let public = format!("{}{}{path}{rest}", self.public.prefix(), path::ANNOUNCED);
        Some((public, open))
    }
}

/// The judgement of the bytes at the beginning of an event.
enum Judgement {
    /// They begin with this many bytes of blank lines and comments.
    Nothing(usize),
    /// They begin with a whole event of this length, which is another one.
    Event(usize),
    /// They begin with a whole event that names an endpoint; its data are at this place.
    Endpoint(Option<Range<usize>>),
    /// The event is another one, and not whole yet.
    Other,
    /// The event may name an endpoint when it is whole.
    Undecided,
}

/// Judges bytes that begin where an event may begin.
fn judge(bytes: &[u8]) -> Judgement {
    let mut end = 0;
    let mut has_fields = false;
    let mut is_endpoint = false;
    let mut data: Option<Range<usize>> = None;
    for place in sse::lines(bytes) {
        let is_pair = bytes[place.end..].starts_with(b"\r\n");
        end = place.end + if is_pair { 2 } else { 1 };
        let line = &bytes[place.clone()];
        if line.is_empty() && has_fields {
            return if is_endpoint {
                Judgement::Endpoint(data)
            } else {
                Judgement::Event(end)
            };
        }
        if line.is_empty() || line.starts_with(b":") {
            if has_fields {
                continue;
            }
            return Judgement::Nothing(end);
        }

        has_fields = true;
        if let Some(name) = line.strip_prefix(b"event:") {
            // The last one counts (HTML, server-sent events).
            is_endpoint = name.trim_ascii() == b"endpoint";
        } else if let Some(value) = line.strip_prefix(b"data:") {
            if data.is_some() || !may_be_address(value) {
                return Judgement::Other;
            }
            let skipped = if value.starts_with(b" ") { 6 } else { 5 };
            data = Some(place.start + skipped..place.end);
        }
    }

    let unfinished = bytes.get(end..).unwrap_or_default();
    let is_other = unfinished
        .strip_prefix(b"data:")
        .is_some_and(|value| data.is_some() || !may_be_address(value));
    if is_other {
        Judgement::Other
    } else {
        Judgement::Undecided
    }
}

/// Returns whether data may be an address, as far as they have arrived. No JSON-RPC message and no
/// prose may.
fn may_be_address(data: &[u8]) -> bool {
    let data = data.trim_ascii();
    let is_foreign = |byte: &u8| *byte <= b' ' || b"\"<>\\^`{|}".contains(byte);
    !data.starts_with(b"[") && !data.iter().any(is_foreign)
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use http_body_util::{BodyExt, StreamBody};

    use super::super::public_url::tests::public_url;
    use super::*;

    const PREFIX: &str = "/api/mcp/id/x";

    async fn through(stream: &str, piece: usize) -> (String, AllowedPaths) {
        let allowed = AllowedPaths::default();
        let pieces: Vec<Result<_, Infallible>> = stream
            .as_bytes()
            .chunks(piece)
            .map(|piece| Ok(Frame::data(Bytes::copy_from_slice(piece))))
            .collect();
        let answered = Uri::from_static("http://provider:7777/base/sse");
        let body = StreamBody::new(futures_util::stream::iter(pieces));
        let rewriter = EndpointRewriter::new(body, answered, public_url(PREFIX), allowed.clone());
        let bytes = rewriter.collect().await.unwrap().to_bytes();
        (String::from_utf8(bytes.to_vec()).unwrap(), allowed)
    }

    fn event(endpoint: &str) -> String {
        format!(
            ": hello\n\nevent: endpoint\ndata: {endpoint}\n\nevent: message\ndata: /messages/?session_id=1\n\n"
        )
    }

    #[tokio::test]
    async fn every_form_of_the_endpoint_becomes_the_public_one() {
        for (own, path) in [
            ("/messages/?session_id=1", "/messages/?session_id=1"),
            ("messages?sid=1", "/base/messages?sid=1"),
            ("?sid=1", "/base/sse?sid=1"),
            ("http://provider:7777/messages/1", "/messages/1"),
            ("HTTP://PROVIDER:7777/m", "/m"),
            (
                "../other/./messages?sid=1/../2",
                "/other/messages?sid=1/../2",
            ),
            ("/../../m/..", "/"),
            ("./", "/base/"),
            ("https://pool.example/messages", "/messages"),
        ] {
            let expected = event(&format!("{PREFIX}{}{path}", path::ANNOUNCED));
            for piece in [1, 3, 1000] {
                let (got, allowed) = through(&event(own), piece).await;
                assert_eq!(got, expected, "{own} in pieces of {piece}");
                let without_query = path.split('?').next().unwrap();
                let below = format!("{}{without_query}", path::ANNOUNCED);
                assert_eq!(allowed.resolve(&below).unwrap().0, without_query);
            }
        }
    }

    #[tokio::test]
    async fn endpoints_elsewhere_and_other_streams_do_not_change() {
        let other = "event: message\ndata: {\"a\":1}\n\n";
        let late = format!("{}event: endpoint\ndata: /x\n\n", other.repeat(MAX_EVENTS));
        let renamed = "event: endpoint\ndata: /x\nevent: message\n\n".to_owned();
        let of_two_lines = "event: endpoint\ndata: /x\ndata: /y\n\n".to_owned();
        let large = format!(
            "event: endpoint\ndata: /{}\n\n",
            "x".repeat(MAX_EVENT_BYTES)
        );
        let there = event("https://pool.example/api/mcp/id/x/~announced/m");
        let cut = "data: cut".to_owned();

        for stream in [
            event("http://other:7777/m"),
            event("//other/m"),
            late,
            renamed,
            of_two_lines,
            large,
            there,
            cut,
        ] {
            for piece in [1, 3, 1000] {
                assert_eq!(
                    through(&stream, piece).await.0,
                    stream,
                    "in pieces of {piece}"
                );
            }
        }
    }

    #[tokio::test]
    async fn the_endpoint_is_found_behind_other_fields_and_events() {
        for before in [
            "id: 1\n",
            "retry: 3000\nid: 7\n",
            "event: message\n",
            "id: 1\ndata:\n\n",
            "event: message\ndata: {\"a\":1}\n\n",
            "data: [1,\ndata: 2]\n\n: hello\n\n",
            "event: ping\ndata: 2026-01-01\n\n",
            "event: large\ndata: {\"x\":\"",
        ] {
            let rest = if before.ends_with('\n') {
                String::new()
            } else {
                format!("{}\"}}\n\n", "x".repeat(2 * MAX_EVENT_BYTES))
            };
            let stream =
                |endpoint: &str| format!("{before}{rest}event: endpoint\ndata: {endpoint}\n\n");
            let public = format!("{PREFIX}{}/m", path::ANNOUNCED);
            for piece in [1, 3, 100_000] {
                let (got, _) = through(&stream("/m"), piece).await;
                assert!(got == stream(&public), "{before} in pieces of {piece}");
            }
        }

        for line_end in ["\n", "\r\n", "\r"] {
            let stream = |endpoint: &str| {
                format!("data: {{}}\n\ndata: {endpoint}\nevent: endpoint\n\n")
                    .replace('\n', line_end)
            };
            for piece in [1, 2, 3, 1000] {
                let (got, _) = through(&stream("/m"), piece).await;
                let public = format!("{PREFIX}{}/m", path::ANNOUNCED);
                assert_eq!(got, stream(&public), "{line_end:?} in pieces of {piece}");
            }
        }
    }

    #[tokio::test]
    async fn an_event_with_a_message_is_not_held_back() {
        let allowed = AllowedPaths::default();
        let pieces: [Result<_, Infallible>; 2] = [
            Ok(Frame::data(Bytes::from_static(b"id: 1\ndata: {\"a"))),
            Ok(Frame::data(Bytes::from_static(b"\":1}\n\n"))),
        ];
        let answered = Uri::from_static("http://provider:7777/base/sse");
        let body = StreamBody::new(futures_util::stream::iter(pieces));
        let mut rewriter = EndpointRewriter::new(body, answered, public_url(PREFIX), allowed);

        let first = rewriter.frame().await.unwrap().unwrap();

        assert_eq!(first.into_data().unwrap(), "id: 1\ndata: {\"a");
    }

    #[tokio::test]
    async fn crlf_and_missing_spaces_are_understood() {
        let (got, _) = through("event:endpoint\r\ndata:/m\r\n\r\n", 1).await;
        assert_eq!(
            got,
            format!(
                "event:endpoint\r\ndata:{PREFIX}{}/m\r\n\r\n",
                path::ANNOUNCED
            )
        );
    }

    #[tokio::test]
    async fn a_byte_order_mark_before_the_endpoint_is_understood() {
        for piece in [1, 2, 1000] {
            let (got, _) = through("\u{feff}event: endpoint\ndata: /m\n\n", piece).await;
            assert_eq!(
                got,
                format!(
                    "\u{feff}event: endpoint\ndata: {PREFIX}{}/m\n\n",
                    path::ANNOUNCED
                )
            );
        }
    }
}
