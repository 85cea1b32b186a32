//! The transport of MCP 2024-11-05: the provider's first event names the endpoint to which the client posts.
//!
//! The provider names it in its own address space; the caller sees it below the public URL, and nothing else of the
//! stream is touched. What a caller may then reach is what the provider itself announced, and no other path.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::Uri;
use http_body::{Body, Frame, SizeHint};
use llamapool_http::sse;
use llamapool_wire::path;

use super::announced::{Announced, OpenEndpoint};
use super::own_url::{PublicPlace, end_of_path, own_path};

/// How much of a stream is looked at for its first event. One with an endpoint is far shorter.
const FIRST_EVENT_BYTES: usize = 16 * 1024;

/// An event stream whose first event, if it names an endpoint, names the public one.
pub(super) struct EndpointRewriter<B: Body> {
    inner: B,
    /// Where the stream was asked for, and what the public URL starts with; gone when the first event is over.
    first: Option<FirstEvent>,
    /// What the stream announced, for as long as it is open.
    endpoint: Option<OpenEndpoint>,
    /// Why the stream broke off, while what came before that is on its way.
    broken_off: Option<B::Error>,
}

struct FirstEvent {
    answered: Uri,
    public: PublicPlace,
    announced: Announced,
    held: Vec<u8>,
}

impl<B: Body> EndpointRewriter<B> {
    /// A stream from this URL of the provider, for a caller who is there.
    pub(super) fn new(inner: B, answered: Uri, public: PublicPlace, announced: Announced) -> Self {
        let first = FirstEvent {
            answered,
            public,
            announced,
            held: Vec::new(),
        };
        Self {
            inner,
            first: Some(first),
            endpoint: None,
            broken_off: None,
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
        if let Some(error) = this.broken_off.take() {
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
                // Held back was an event that has not ended: it goes on as it came, and the end after it.
                end => {
                    let held = this
                        .first
                        .take()
                        .map(|first| first.held)
                        .unwrap_or_default();
                    let error = end.and_then(Result::err);
                    if held.is_empty() {
                        return Poll::Ready(error.map(Err));
                    }
                    this.broken_off = error;
                    return Poll::Ready(Some(Ok(Frame::data(held.into()))));
                }
            };
            first.held.extend_from_slice(&data);
            let data = match first.decide() {
                Verdict::Hold => continue,
                Verdict::NotYet(data) => data,
                Verdict::Over(data, endpoint) => {
                    (this.first, this.endpoint) = (None, endpoint);
                    data
                }
            };
            return Poll::Ready(Some(Ok(Frame::data(data.into()))));
        }
    }

    fn is_end_stream(&self) -> bool {
        let holds_nothing = self
            .first
            .as_ref()
            .is_none_or(|first| first.held.is_empty())
            && self.broken_off.is_none();
        holds_nothing && self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::default()
    }
}

impl FirstEvent {
    /// What is to become of what has come so far.
    fn decide(&mut self) -> Verdict {
        let found = match look(&self.held) {
            Look::Nothing => return Verdict::NotYet(std::mem::take(&mut self.held)),
            Look::MayBeEndpoint if self.held.len() <= FIRST_EVENT_BYTES => return Verdict::Hold,
            Look::MayBeEndpoint | Look::Another => None,
            Look::Endpoint(data) => data,
        };
        let public = found.and_then(|(start, end)| {
            let data = std::str::from_utf8(&self.held[start..end]).ok()?;
            Some((start, end, self.public_form(data)?))
        });
        let mut held = std::mem::take(&mut self.held);
        let Some((start, end, (public, endpoint))) = public else {
            return Verdict::Over(held, None);
        };
        held.splice(start..end, public.into_bytes());
        Verdict::Over(held, Some(endpoint))
    }

    /// The endpoint below the public URL. One on another host stays as it is: no client would follow it anyway.
    fn public_form(&self, endpoint: &str) -> Option<(String, OpenEndpoint)> {
        let own = own_path(&self.answered, Some(&self.public), endpoint)?;
        let (path, rest) = own.split_at(end_of_path(&own));
        let open = self.announced.endpoint(path)?;
        Some((
            format!("{}{}{path}{rest}", self.public.prefix(), path::ANNOUNCED),
            open,
        ))
    }
}

/// What is to become of the bytes that have come.
enum Verdict {
    /// They may be the beginning of the event that is looked for.
    Hold,
    /// They go on; the first event has not begun.
    NotYet(Vec<u8>),
    /// They go on, and so does everything after them.
    Over(Vec<u8>, Option<OpenEndpoint>),
}

/// What a stream begins with, behind comments and blank lines.
enum Look {
    Nothing,
    MayBeEndpoint,
    /// An endpoint, and where its data stand.
    Endpoint(Option<(usize, usize)>),
    Another,
}

/// What the beginning of a stream is. The event's name comes first with every known provider, so only what may become
/// that is held back, and an event that begins with anything else is another one, however it is cut.
fn look(bytes: &[u8]) -> Look {
    let start = if bytes.starts_with(sse::BYTE_ORDER_MARK) {
        sse::BYTE_ORDER_MARK.len()
    } else {
        0
    };
    let (mut rest, mut data, mut is_named) = (start, None, false);
    for place in sse::lines(bytes) {
        rest = place.end + 1;
        let line = &bytes[place.clone()];
        if line.is_empty() {
            if is_named {
                return Look::Endpoint(data);
            }
        } else if line.starts_with(b":") {
        } else if !is_named {
            is_named = line
                .strip_prefix(b"event:")
                .is_some_and(|name| name.trim_ascii() == b"endpoint");
            if !is_named {
                return Look::Another;
            }
        } else if line.starts_with(b"data:") {
            let skip = if line.starts_with(b"data: ") { 6 } else { 5 };
            data = Some((place.start + skip, place.end));
        }
    }
    if is_named {
        return Look::MayBeEndpoint;
    }
    let rest = &bytes[rest.min(bytes.len())..];
    if bytes.len() < sse::BYTE_ORDER_MARK.len()
        && sse::BYTE_ORDER_MARK.starts_with(bytes)
        && !rest.is_empty()
    {
        return Look::MayBeEndpoint;
    }
    let rest = rest.trim_ascii_start();
    let begins = |name: &[u8]| name.starts_with(&rest[..rest.len().min(name.len())]);
    match rest {
        [] => Look::Nothing,
        [b':', ..] => Look::MayBeEndpoint,
        _ if begins(b"event: endpoint") || begins(b"event:endpoint") => Look::MayBeEndpoint,
        _ => Look::Another,
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use http_body_util::{BodyExt, StreamBody};

    use super::super::own_url::tests::public;
    use super::*;

    const PREFIX: &str = "/api/mcp/id/x";

    async fn through(stream: &str, piece: usize) -> (String, Announced) {
        let announced = Announced::default();
        let pieces: Vec<Result<_, Infallible>> = stream
            .as_bytes()
            .chunks(piece)
            .map(|piece| Ok(Frame::data(Bytes::copy_from_slice(piece))))
            .collect();
        let answered = Uri::from_static("http://provider:7777/base/sse");
        let body = StreamBody::new(futures_util::stream::iter(pieces));
        let rewriter = EndpointRewriter::new(body, answered, public(PREFIX), announced.clone());
        let bytes = rewriter.collect().await.unwrap().to_bytes();
        (String::from_utf8(bytes.to_vec()).unwrap(), announced)
    }

    fn event(endpoint: &str) -> String {
        format!(
            ": hello\n\nevent: endpoint\ndata: {endpoint}\n\nevent: message\ndata: /messages/?session_id=1\n\n"
        )
    }

    #[tokio::test]
    async fn every_form_of_the_endpoint_becomes_the_public_one_and_nothing_else_changes() {
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
                let (got, announced) = through(&event(own), piece).await;
                assert_eq!(got, expected, "{own} in pieces of {piece}");
                let without_query = path.split('?').next().unwrap();
                let below = format!("{}{without_query}", path::ANNOUNCED);
                assert_eq!(announced.path_of(&below).unwrap().0, without_query);
            }
        }
    }

    #[tokio::test]
    async fn endpoints_elsewhere_and_other_streams_stay_as_they_are() {
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
