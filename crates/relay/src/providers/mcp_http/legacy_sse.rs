//! The transport of MCP 2024-11-05: the provider's first event names the endpoint to which the client posts.
//!
//! The provider names it in its own address space; the caller sees it below the public URL, and nothing else of the
//! stream is touched. What a caller may then reach is what the provider itself announced, and no other path.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::Uri;
use http_body::{Body, Frame, SizeHint};
use llamapool_wire::path;

/// How many announced paths are remembered. Most providers have one, some have one per session.
const REMEMBERED_PATHS: usize = 4096;
/// How much of a stream is looked at for its first event. One with an endpoint is far shorter.
const FIRST_EVENT_BYTES: usize = 16 * 1024;

/// The paths that the provider announced. Clones are the same list.
#[derive(Clone, Default)]
pub(super) struct Announced(Arc<Mutex<VecDeque<String>>>);

impl Announced {
    fn add(&self, path: &str) {
        let mut paths = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if paths.iter().any(|known| known == path) {
            return;
        }
        if paths.len() == REMEMBERED_PATHS {
            paths.pop_front();
        }
        paths.push_back(path.to_owned());
    }

    /// The path on the provider that a caller's path stands for, if the provider announced it.
    pub(super) fn path_of(&self, below: &str) -> Option<String> {
        let path = below.strip_prefix(path::ANNOUNCED)?;
        let paths = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        paths.iter().any(|known| known == path).then(|| path.to_owned())
    }
}

/// An event stream whose first event, if it names an endpoint, names the public one.
pub(super) struct EndpointRewriter<B: Body> {
    inner: B,
    /// Where the stream was asked for, and what the public URL starts with; gone when the first event is over.
    first: Option<FirstEvent>,
    /// Why the stream broke off, while what came before that is on its way.
    broken_off: Option<B::Error>,
}

struct FirstEvent {
    asked: Uri,
    public_prefix: String,
    announced: Announced,
    held: Vec<u8>,
}

impl<B: Body> EndpointRewriter<B> {
    pub(super) fn new(inner: B, asked: Uri, public_prefix: String, announced: Announced) -> Self {
        Self { inner, first: Some(FirstEvent { asked, public_prefix, announced, held: Vec::new() }), broken_off: None }
    }
}

impl<B: Body<Data = Bytes, Error: Unpin> + Unpin> Body for EndpointRewriter<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        let this = self.get_mut();
        if let Some(error) = this.broken_off.take() {
            return Poll::Ready(Some(Err(error)));
        }
        loop {
            let frame = ready!(Pin::new(&mut this.inner).poll_frame(cx));
            let Some(first) = &mut this.first else { return Poll::Ready(frame) };
            let data = match frame {
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) => data,
                    Err(other) => return Poll::Ready(Some(Ok(other))),
                },
                // Held back was an event that has not ended: it goes on as it came, and the end after it.
                end => {
                    let held = this.first.take().map(|first| first.held).unwrap_or_default();
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
                Verdict::Over(data) => {
                    this.first = None;
                    data
                }
            };
            return Poll::Ready(Some(Ok(Frame::data(data.into()))));
        }
    }

    fn is_end_stream(&self) -> bool {
        let holds_nothing = self.first.as_ref().is_none_or(|first| first.held.is_empty()) && self.broken_off.is_none();
        holds_nothing && self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::default()
    }
}

impl FirstEvent {
    /// What is to become of what has come so far.
    fn decide(&mut self) -> Verdict {
        let lines = Lines::of(&self.held);
        let Some(event) = lines.first_event() else {
            return match lines.beginning() {
                Beginning::MayBeEndpoint if self.held.len() <= FIRST_EVENT_BYTES => Verdict::Hold,
                Beginning::Nothing => Verdict::NotYet(std::mem::take(&mut self.held)),
                Beginning::MayBeEndpoint | Beginning::Another => Verdict::Over(std::mem::take(&mut self.held)),
            };
        };
        let public = event.and_then(|(start, end)| {
            let data = std::str::from_utf8(&self.held[start..end]).ok()?;
            Some((start, end, self.public_form(data)?))
        });
        let mut held = std::mem::take(&mut self.held);
        if let Some((start, end, public)) = public {
            held.splice(start..end, public.into_bytes());
        }
        Verdict::Over(held)
    }

    /// The endpoint below the public URL. One on another host stays as it is: no client would follow it anyway.
    fn public_form(&self, endpoint: &str) -> Option<String> {
        let own = self.asked.authority()?.as_str();
        let path = match endpoint.split_once("://") {
            Some((_, rest)) => {
                let (authority, path) = rest.find('/').map_or((rest, "/"), |slash| rest.split_at(slash));
                (authority.eq_ignore_ascii_case(own)).then(|| path.to_owned())?
            }
            None if endpoint.starts_with("//") => return None,
            None if endpoint.starts_with('/') => endpoint.to_owned(),
            None if endpoint.starts_with('?') => format!("{}{endpoint}", self.asked.path()),
            None => {
                let folder = self.asked.path().rsplit_once('/').map_or("", |(folder, _)| folder);
                format!("{folder}/{endpoint}")
            }
        };
        let (path, query) = path.split_at(path.find(['?', '#']).unwrap_or(path.len()));
        let path = without_dot_segments(path);
        self.announced.add(&path);
        Some(format!("{}{}{path}{query}", self.public_prefix, path::ANNOUNCED))
    }
}

/// The path that is meant (RFC 3986, section 5.2.4). A client would resolve the segments too, but against the public URL.
fn without_dot_segments(path: &str) -> String {
    let mut kept: Vec<&str> = Vec::new();
    let mut segments = path.split('/').skip(1).peekable();
    while let Some(segment) = segments.next() {
        let is_last = segments.peek().is_none();
        match segment {
            "." => {}
            ".." => drop(kept.pop()),
            other => {
                kept.push(other);
                continue;
            }
        }
        if is_last {
            kept.push("");
        }
    }
    format!("/{}", kept.join("/"))
}

/// What is to become of the bytes that have come.
enum Verdict {
    /// They may be the beginning of the event that is looked for.
    Hold,
    /// They go on; the first event has not begun.
    NotYet(Vec<u8>),
    /// They go on, and so does everything after them.
    Over(Vec<u8>),
}

/// What a stream begins with, behind comments and blank lines.
enum Beginning {
    Nothing,
    MayBeEndpoint,
    Another,
}

/// The beginning of an event stream, as lines.
struct Lines<'a> {
    bytes: &'a [u8],
}

impl<'a> Lines<'a> {
    fn of(bytes: &'a [u8]) -> Self {
        Self { bytes }
    }

    /// Each complete line as its place in the bytes.
    fn complete(&self) -> impl Iterator<Item = (usize, usize)> + '_ {
        let mut at = 0;
        std::iter::from_fn(move || {
            let rest = &self.bytes[at..];
            let length = rest.iter().position(|byte| matches!(byte, b'\n' | b'\r'))?;
            let line = (at, at + length);
            let is_pair = rest[length..].starts_with(b"\r\n");
            at += length + if is_pair { 2 } else { 1 };
            Some(line)
        })
    }

    /// Once the first event is complete: the place of its data if it is an endpoint.
    fn first_event(&self) -> Option<Option<(usize, usize)>> {
        let (mut is_endpoint, mut data) = (false, None);
        let mut has_fields = false;
        for (start, end) in self.complete() {
            let line = &self.bytes[start..end];
            if line.is_empty() {
                if has_fields {
                    return Some(data.filter(|_| is_endpoint));
                }
            } else if let Some(name) = line.strip_prefix(b"event:") {
                is_endpoint = name.trim_ascii() == b"endpoint";
                has_fields = true;
            } else if line.starts_with(b"data:") {
                let skip = if line.starts_with(b"data: ") { 6 } else { 5 };
                data = Some((start + skip, end));
                has_fields = true;
            } else if !line.starts_with(b":") {
                has_fields = true;
            }
        }
        None
    }

    /// What an incomplete first event begins with: the first line of an endpoint event is its name with every known
    /// provider, so only what may be that is held back.
    fn beginning(&self) -> Beginning {
        let mut rest = 0;
        for (start, end) in self.complete() {
            let line = &self.bytes[start..end];
            if !line.is_empty() && !line.starts_with(b":") {
                let is_endpoint = line.strip_prefix(b"event:").is_some_and(|name| name.trim_ascii() == b"endpoint");
                return if is_endpoint { Beginning::MayBeEndpoint } else { Beginning::Another };
            }
            rest = end + 1;
        }
        let rest = self.bytes[rest.min(self.bytes.len())..].trim_ascii_start();
        let begins = |name: &[u8]| name.starts_with(&rest[..rest.len().min(name.len())]);
        match rest {
            [] => Beginning::Nothing,
            [b':', ..] => Beginning::MayBeEndpoint,
            _ if begins(b"event: endpoint") || begins(b"event:endpoint") => Beginning::MayBeEndpoint,
            _ => Beginning::Another,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use http_body_util::{BodyExt, StreamBody};

    use super::*;

    const PREFIX: &str = "/api/mcp/id/x";

    async fn through(stream: &str, piece: usize) -> (String, Announced) {
        let announced = Announced::default();
        let pieces: Vec<Result<_, Infallible>> =
            stream.as_bytes().chunks(piece).map(|piece| Ok(Frame::data(Bytes::copy_from_slice(piece)))).collect();
        let asked = Uri::from_static("http://provider:7777/base/sse");
        let body = StreamBody::new(futures_util::stream::iter(pieces));
        let rewriter = EndpointRewriter::new(body, asked, PREFIX.to_owned(), announced.clone());
        let bytes = rewriter.collect().await.unwrap().to_bytes();
        (String::from_utf8(bytes.to_vec()).unwrap(), announced)
    }

    fn event(endpoint: &str) -> String {
        format!(": hello\n\nevent: endpoint\ndata: {endpoint}\n\nevent: message\ndata: /messages/?session_id=1\n\n")
    }

    #[tokio::test]
    async fn every_form_of_the_endpoint_becomes_the_public_one_and_nothing_else_changes() {
        for (own, path) in [
            ("/messages/?session_id=1", "/messages/?session_id=1"),
            ("messages?sid=1", "/base/messages?sid=1"),
            ("?sid=1", "/base/sse?sid=1"),
            ("http://provider:7777/messages/1", "/messages/1"),
            ("HTTP://PROVIDER:7777/m", "/m"),
            ("../other/./messages?sid=1/../2", "/other/messages?sid=1/../2"),
            ("/../../m/..", "/"),
            ("./", "/base/"),
        ] {
            let expected = event(&format!("{PREFIX}{}{path}", path::ANNOUNCED));
            for piece in [1, 3, 1000] {
                let (got, announced) = through(&event(own), piece).await;
                assert_eq!(got, expected, "{own} in pieces of {piece}");
                let without_query = path.split('?').next().unwrap();
                let below = format!("{}{without_query}", path::ANNOUNCED);
                assert_eq!(announced.path_of(&below).as_deref(), Some(without_query));
            }
        }
    }

    #[tokio::test]
    async fn endpoints_elsewhere_and_other_streams_stay_as_they_are() {
        let newer = "event: message\ndata: {\"a\":1}\n\nevent: endpoint\ndata: /x\n\n".to_owned();
        let unnamed = "id: 1\ndata:\n\nevent: endpoint\ndata: /x\n\n".to_owned();
        for stream in [event("http://other:7777/m"), event("//other/m"), newer, unnamed, "data: cut".to_owned()] {
            for piece in [1, 1000] {
                assert_eq!(through(&stream, piece).await.0, stream);
            }
        }
    }

    #[tokio::test]
    async fn crlf_and_missing_spaces_are_understood() {
        let (got, _) = through("event:endpoint\r\ndata:/m\r\n\r\n", 1).await;
        assert_eq!(got, format!("event:endpoint\r\ndata:{PREFIX}{}/m\r\n\r\n", path::ANNOUNCED));
    }

    #[test]
    fn only_announced_paths_are_reachable() {
        let announced = Announced::default();
        announced.add("/messages/");
        for below in ["/messages/", "/~announced/admin", "/~announced/messages/../admin", "/~announced/messages"] {
            assert_eq!(announced.path_of(below), None, "{below}");
        }
        for number in 0..REMEMBERED_PATHS {
            announced.add(&format!("/{number}"));
        }
        assert_eq!(announced.path_of("/~announced/messages/"), None, "the oldest is forgotten");
        assert_eq!(announced.path_of("/~announced/7").as_deref(), Some("/7"));
    }
}
