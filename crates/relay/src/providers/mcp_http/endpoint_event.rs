//! The first event of HTTP with SSE, which names the endpoint to which the client posts (MCP
//! 2024-11-05), rewritten to the public endpoint.
//!
//! Nothing else of the stream is changed. The endpoint becomes reachable while the stream is open,
//! and no other path does.

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

/// How much of a stream is held back for its first event, in bytes. One with an endpoint is far
/// shorter.
const MAX_FIRST_EVENT_BYTES: usize = 16 * 1024;

/// An event stream whose first event, if it names an endpoint, names the public one.
pub(super) struct EndpointRewriter<B: Body> {
    inner: B,
    /// `None` when the first event is over.
    first: Option<FirstEvent>,
    /// The endpoint that the stream named, allowed while the stream is open.
    endpoint: Option<OpenEndpoint>,
    /// The stream's error, while the bytes before it are on their way.
    error: Option<B::Error>,
}

struct FirstEvent {
    answered: Uri,
    public: ProviderPublicUrl,
    allowed: AllowedPaths,
    held: Vec<u8>,
}

impl<B: Body> EndpointRewriter<B> {
    /// Wraps a stream that the provider sent from the URL `answered` to a caller at `public`.
    pub(super) fn new(
        inner: B,
        answered: Uri,
        public: ProviderPublicUrl,
        allowed: AllowedPaths,
    ) -> Self {
        let first = FirstEvent {
            answered,
            public,
            allowed,
            held: Vec::new(),
        };
        Self {
            inner,
            first: Some(first),
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
            let Some(first) = &mut this.first else {
                return Poll::Ready(frame);
            };

            let data = match frame {
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) => data,
                    Err(other) => return Poll::Ready(Some(Ok(other))),
                },
                // An unfinished event was held back: it is sent as it came, and the end after it.
                end => {
                    let held = std::mem::take(&mut first.held);
                    this.first = None;
                    let error = end.and_then(Result::err);
                    if held.is_empty() {
                        return Poll::Ready(error.map(Err));
                    }
                    this.error = error;
                    return Poll::Ready(Some(Ok(Frame::data(held.into()))));
                }
            };

            first.held.extend_from_slice(&data);
            let data = match first.decide() {
                Decision::Hold => continue,
                Decision::SendBefore(data) => data,
                Decision::Finish(data, endpoint) => {
                    this.first = None;
                    this.endpoint = endpoint;
                    data
                }
            };
            return Poll::Ready(Some(Ok(Frame::data(data.into()))));
        }
    }

    fn is_end_stream(&self) -> bool {
        let is_held = self
            .first
            .as_ref()
            .is_some_and(|first| !first.held.is_empty());
        !is_held && self.error.is_none() && self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::default()
    }
}

/// The treatment of the bytes that have arrived.
enum Decision {
    /// Hold them back: they may be the beginning of the endpoint event.
    Hold,
    /// Send them; the first event has not begun.
    SendBefore(Vec<u8>),
    /// Send them, and everything after them as it comes.
    Finish(Vec<u8>, Option<OpenEndpoint>),
}

impl FirstEvent {
    /// Decides over the bytes that have arrived so far.
    fn decide(&mut self) -> Decision {
        let found = match classify(&self.held) {
            Beginning::Blank => return Decision::SendBefore(std::mem::take(&mut self.held)),
            Beginning::MayBeEndpoint if self.held.len() <= MAX_FIRST_EVENT_BYTES => {
                return Decision::Hold;
            }
            Beginning::MayBeEndpoint | Beginning::OtherEvent => None,
            Beginning::Endpoint(data) => data,
        };

        let public = found.and_then(|place| {
            let data = std::str::from_utf8(&self.held[place.clone()]).ok()?;
            Some((place, self.public_form(data)?))
        });
        let mut held = std::mem::take(&mut self.held);
        let Some((place, (public, endpoint))) = public else {
            return Decision::Finish(held, None);
        };
        held.splice(place, public.into_bytes());
        Decision::Finish(held, Some(endpoint))
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

/// The beginning of a stream, behind comments and blank lines.
enum Beginning {
    /// Nothing else has arrived.
    Blank,
    /// The first event may become the endpoint event.
    MayBeEndpoint,
    /// The first event is complete and names an endpoint; its data are at this place.
    Endpoint(Option<Range<usize>>),
    /// The first event is another one.
    OtherEvent,
}

/// Classifies the beginning of a stream. The event's name comes first in the streams of the
/// SDKs, so an event that begins with another field is another event, however it is cut into pieces.
fn classify(bytes: &[u8]) -> Beginning {
    let mut end_of_lines = if bytes.starts_with(sse::BYTE_ORDER_MARK) {
        sse::BYTE_ORDER_MARK.len()
    } else {
        0
    };
    let mut data = None;
    let mut is_named = false;

    for place in sse::lines(bytes) {
        end_of_lines = place.end + 1;
        let line = &bytes[place.clone()];
        if line.is_empty() {
            if is_named {
                return Beginning::Endpoint(data);
            }
        } else if line.starts_with(b":") {
            // A comment.
        } else if !is_named {
            is_named = line
                .strip_prefix(b"event:")
                .is_some_and(|name| name.trim_ascii() == b"endpoint");
            if !is_named {
                return Beginning::OtherEvent;
            }
        } else if line.starts_with(b"data:") {
            let skipped = if line.starts_with(b"data: ") { 6 } else { 5 };
            data = Some(place.start + skipped..place.end);
        }
    }

    if is_named {
        return Beginning::MayBeEndpoint;
    }
    classify_unfinished(bytes, &bytes[end_of_lines.min(bytes.len())..])
}

/// Classifies a stream by its last line, which has not ended, where no event has begun before it.
fn classify_unfinished(bytes: &[u8], line: &[u8]) -> Beginning {
    let may_be_mark =
        bytes.len() < sse::BYTE_ORDER_MARK.len() && sse::BYTE_ORDER_MARK.starts_with(bytes);
    if may_be_mark && !line.is_empty() {
        return Beginning::MayBeEndpoint;
    }

    let line = line.trim_ascii_start();
    let may_become = |name: &[u8]| name.starts_with(&line[..line.len().min(name.len())]);
    match line {
        [] => Beginning::Blank,
        [b':', ..] => Beginning::MayBeEndpoint,
        _ if may_become(b"event: endpoint") || may_become(b"event:endpoint") => {
            Beginning::MayBeEndpoint
        }
        _ => Beginning::OtherEvent,
    }
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
        let newer = "event: message\ndata: {\"a\":1}\n\nevent: endpoint\ndata: /x\n\n".to_owned();
        let unnamed = "id: 1\ndata:\n\nevent: endpoint\ndata: /x\n\n".to_owned();
        let nameless = "data: /x\nevent: endpoint\n\n".to_owned();
        let there = event("https://pool.example/api/mcp/id/x/~announced/m");
        let cut = "data: cut".to_owned();

        for stream in [
            event("http://other:7777/m"),
            event("//other/m"),
            newer,
            unnamed,
            nameless,
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
