//! Runs the same exchange twice: directly with the provider, and through a server and a relay.
//!
//! A scenario starts its own provider and gets a route to it. It must not expect something else on
//! one of the routes, and may look at the route only to break it.

use std::future::Future;
use std::io::BufRead;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::time::Duration;

use futures_util::FutureExt;
use tokio::sync::OnceCell;

use crate::compare::{DifferenceNames, MismatchError, compare};
use crate::faulty_proxy::{Fault, FaultyProxy};
use crate::harness::{BodyEnd, Link, Pool, Process, RawHead, RawHttp, Settings};
use crate::matrix::{Feature, Revision};
use crate::transcript::{COMMENT, Transcript};

/// The id of every provider here.
const ID: &str = "same";
/// The time limit of one run of a scenario.
const LONGEST: Duration = Duration::from_secs(60);
/// Runs of a scenario before a transient mismatch counts as a failure.
const TRIES: usize = 4;
/// The `Accept` of MCP clients.
const BOTH_TYPES: &str = "application/json, text/event-stream";

/// The path of the MCP endpoint of a [`crate::harness::RawProvider`].
pub(crate) const MCP_PATH: &str = "/mcp";
/// Settings of a server whose keep-alive comments are so frequent that they stand between all
/// events.
pub(crate) const MANY_COMMENTS: Settings<'_> = &[("STREAM_KEEPALIVE", "5ms")];

/// The way from a caller to a provider.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Route {
    Direct,
    Through,
    /// Through a proxy with one fault.
    Past(Fault),
}

/// The address of a provider on one route.
pub(crate) struct Endpoint {
    /// Host and port.
    authority: String,
    /// The path of the provider's MCP endpoint.
    pub(crate) path: String,
    /// Host and port of the provider itself.
    provider: String,
    /// Server and relay, if the route goes through them.
    pub(crate) deployment: Option<Deployment>,
    _faulty: Option<FaultyProxy>,
}

/// A server and a relay in front of one provider. Dropping it ends both.
pub(crate) struct Deployment {
    /// The network link between server and relay.
    pub(crate) link: Link,
    _pool: Pool,
    _relay: Process,
}

impl Route {
    /// Opens the route to the provider with this URL.
    pub(crate) async fn endpoint(self, provider_url: &str) -> Endpoint {
        self.endpoint_with(provider_url, &[]).await
    }

    /// Like `endpoint`, with settings of the server.
    pub(crate) async fn endpoint_with(
        self,
        provider_url: &str,
        settings: Settings<'_>,
    ) -> Endpoint {
        self.endpoint_configured(provider_url, settings, &[]).await
    }

    /// Like `endpoint`, with settings of the server and of the relay; all others have their
    /// defaults.
    pub(crate) async fn endpoint_configured(
        self,
        provider_url: &str,
        server: Settings<'_>,
        relay: Settings<'_>,
    ) -> Endpoint {
        let rest = provider_url.strip_prefix("http://").expect("a plain URL");
        let (provider, path) = rest.split_at(rest.find('/').expect("a path"));
        let provider = provider.to_owned();
        let at = |authority: String| Endpoint {
            authority,
            path: path.to_owned(),
            provider: provider.clone(),
            deployment: None,
            _faulty: None,
        };

        match self {
            Self::Direct => return at(provider.clone()),
            Self::Past(fault) => {
                let proxy = FaultyProxy::before(&provider, fault).await;
                let authority = proxy.authority.clone();
                return Endpoint {
                    _faulty: Some(proxy),
                    ..at(authority)
                };
            }
            Self::Through => {}
        }

        let pool = Pool::as_shipped(server).await;
        let link = Link::to(&pool.url).await;
        let relay = Pool::relay_to(&link.url, ID, provider_url, relay);
        pool.connected(ID).await;

        let authority = pool
            .url
            .strip_prefix("http://")
            .expect("a plain URL")
            .to_owned();
        Endpoint {
            authority,
            path: format!("/api/mcp/id/{ID}"),
            provider,
            deployment: Some(Deployment {
                link,
                _pool: pool,
                _relay: relay,
            }),
            _faulty: None,
        }
    }
}

impl Endpoint {
    /// Returns the URL of the MCP endpoint.
    pub(crate) fn url(&self) -> String {
        format!("http://{}{}", self.authority, self.path)
    }

    /// Returns a path below the MCP endpoint.
    pub(crate) fn below(&self, path: &str) -> String {
        format!("{}{path}", self.path.trim_end_matches('/'))
    }

    /// Returns an empty transcript that has aliases for the addresses of this endpoint.
    pub(crate) fn transcript(&self) -> Transcript {
        self.with_aliases(Transcript::default())
    }

    /// Like `transcript`, for a real program as provider, whose session and event ids are random.
    pub(crate) fn transcript_of_a_program(&self) -> Transcript {
        self.with_aliases(Transcript::of_random_ids())
    }

    fn with_aliases(&self, mut log: Transcript) -> Transcript {
        log.alias(&self.provider, "provider");
        log.alias(&self.authority, "server");
        log
    }

    /// Returns the bytes of a request with `Host`, these fields, and the length.
    pub(crate) fn request_to(
        &self,
        method: &str,
        path: &str,
        fields: &[(&str, &str)],
        body: &[u8],
    ) -> Vec<u8> {
        let mut request =
            format!("{method} {path} HTTP/1.1\r\nhost: {}\r\n", self.authority).into_bytes();
        for (name, value) in fields {
            request.extend(format!("{name}: {value}\r\n").bytes());
        }
        if !body.is_empty() {
            request.extend(format!("content-length: {}\r\n", body.len()).bytes());
        }

        request.extend(b"\r\n");
        request.extend(body);
        request
    }

    /// Resolves a reference that a client found at this path, and returns path and query.
    pub(crate) fn resolved(&self, path: &str, reference: &str) -> String {
        let base = reqwest::Url::parse(&format!("http://{}{path}", self.authority)).expect("a URL");
        let url = base.join(reference).expect("a reference");
        assert_eq!(
            url.origin(),
            base.origin(),
            "a client takes no other origin"
        );

        let query = url
            .query()
            .map(|query| format!("?{query}"))
            .unwrap_or_default();
        format!("{}{query}", url.path())
    }

    /// Sends these bytes on a new connection.
    pub(crate) async fn send(&self, request: &[u8]) -> RawHttp {
        let mut caller = RawHttp::connect(&format!("http://{}", self.authority)).await;
        caller.send(request).await;
        caller
    }

    /// Posts a message as an MCP client does.
    pub(crate) async fn post(&self, fields: &[(&str, &str)], message: &[u8]) -> RawHttp {
        self.send(&self.request_to("POST", &self.path, &mcp_fields(fields), message))
            .await
    }

    /// Requests an event stream with `GET`.
    pub(crate) async fn get(&self, fields: &[(&str, &str)]) -> RawHttp {
        let fields: Vec<_> = [("accept", "text/event-stream")]
            .into_iter()
            .chain(fields.iter().copied())
            .collect();
        self.send(&self.request_to("GET", &self.path, &fields, b""))
            .await
    }
}

/// Returns the headers of a posted message, and these.
pub(crate) fn mcp_fields<'a>(fields: &[(&'a str, &'a str)]) -> Vec<(&'a str, &'a str)> {
    let own = [("accept", BOTH_TYPES), ("content-type", "application/json")];
    own.into_iter().chain(fields.iter().copied()).collect()
}

/// Reads an answer to its end and records it: a stream event by event, any other body as a whole.
pub(crate) async fn read_answer(caller: &mut RawHttp, log: &mut Transcript) -> (RawHead, Vec<u8>) {
    let head = final_head(caller, log).await;
    if is_stream(&head) {
        let body = EventReader::of(&head).rest(caller, log).await;
        return (head, body);
    }

    let has_no_body = [204, 304].contains(&head.status());
    let (body, end) = if has_no_body {
        (Vec::new(), BodyEnd::Clean)
    } else {
        caller.body_and_end(&head).await
    };

    log.body(&body);
    log.trailers(caller.trailers());
    log.end(end);
    (head, body)
}

/// Reads and records the heads of interim answers and of the final one, which it returns.
pub(crate) async fn final_head(caller: &mut RawHttp, log: &mut Transcript) -> RawHead {
    loop {
        let head = caller.head().await;
        log.answer_head(&head);
        if !(100..200).contains(&head.status()) {
            return head;
        }
    }
}

fn is_stream(head: &RawHead) -> bool {
    head.values("content-type")
        .iter()
        .any(|value| value.starts_with("text/event-stream"))
}

/// Splits the body of an event stream into events.
#[derive(Default)]
pub(crate) struct EventReader {
    buffer: Vec<u8>,
    end: Option<BodyEnd>,
    /// The head of a stream that is not chunked, until its body is read.
    unread: Option<RawHead>,
}

impl EventReader {
    /// Returns a reader for the stream with this head.
    pub(crate) fn of(head: &RawHead) -> Self {
        let is_chunked = head.values("transfer-encoding") == ["chunked"];
        Self {
            unread: (!is_chunked).then(|| head.clone()),
            ..Self::default()
        }
    }

    /// Returns the next event that is not a keep-alive comment, `None` at the end; records it and
    /// the comments before it.
    pub(crate) async fn next(
        &mut self,
        caller: &mut RawHttp,
        log: &mut Transcript,
    ) -> Option<Vec<u8>> {
        loop {
            while let Some(length) = event_length(&self.buffer) {
                let event: Vec<u8> = self.buffer.drain(..length).collect();
                log.event(&event);
                if event != COMMENT {
                    return Some(event);
                }
            }

            if self.end.is_some() {
                return None;
            }
            if let Some(head) = self.unread.take() {
                let (body, end) = caller.body_and_end(&head).await;
                self.buffer.extend(body);
                self.end = Some(end);
                continue;
            }

            match caller.chunk().await {
                Ok(Some(chunk)) => self.buffer.extend(chunk),
                end => {
                    self.end = Some(if end.is_ok() {
                        BodyEnd::Clean
                    } else {
                        BodyEnd::Aborted
                    });
                }
            }
        }
    }

    /// Records events up to the one that contains a text, and returns that.
    pub(crate) async fn until(
        &mut self,
        text: &str,
        caller: &mut RawHttp,
        log: &mut Transcript,
    ) -> String {
        loop {
            let event = self.next(caller, log).await;
            let event = event.unwrap_or_else(|| panic!("the stream ended before this: {text}"));
            let event = String::from_utf8_lossy(&event).into_owned();
            if event.contains(text) {
                return event;
            }
        }
    }

    /// Records the rest of the stream and its end, and returns the bytes.
    pub(crate) async fn rest(&mut self, caller: &mut RawHttp, log: &mut Transcript) -> Vec<u8> {
        let mut all = Vec::new();
        while let Some(event) = self.next(caller, log).await {
            all.extend(event);
        }
        log.body(&self.buffer);
        all.append(&mut self.buffer);
        log.trailers(caller.trailers());
        log.end(self.end.take().expect("it has ended"));
        all
    }
}

/// Returns the length of the event or comment that a text begins with, including the blank line.
fn event_length(text: &[u8]) -> Option<usize> {
    let mut line_start = 0;
    loop {
        // The search of the standard library is fast in a build without optimization, too.
        let line_length = (&text[line_start..]).skip_until(b'\n').ok()?;
        let line_end = line_start + line_length;
        let line = text[line_start..line_end].strip_suffix(b"\n")?;
        if line.strip_suffix(b"\r").unwrap_or(line).is_empty() {
            return Some(line_end);
        }
        line_start = line_end;
    }
}

type Running = Pin<Box<dyn Future<Output = Transcript> + Send>>;

/// An exchange that must be the same on both routes.
pub(crate) struct Scenario {
    pub(crate) name: &'static str,
    pub(crate) feature: Feature,
    /// The revisions in which the exchange is valid.
    pub(crate) revisions: &'static [Revision],
    pub(crate) run: fn(Route) -> Running,
    /// The outcome of its single run in this process, which several tests read.
    pub(crate) outcome: OnceCell<Result<DifferenceNames, String>>,
}

impl Scenario {
    /// Runs the scenario once and returns the names of the allowed differences that occurred, or
    /// the message of a mismatch.
    pub(crate) async fn check(&'static self) -> Result<DifferenceNames, String> {
        self.outcome
            .get_or_init(|| self.differs_from_direct(Route::Through))
            .await
            .clone()
    }

    /// Compares a route with the direct one. A transient mismatch is tried again before it counts.
    pub(crate) async fn differs_from_direct(
        &'static self,
        route: Route,
    ) -> Result<DifferenceNames, String> {
        let mut tries = 1;
        loop {
            match self.differs_once(route).await {
                Err(error) if error.is_transient && tries < TRIES => tries += 1,
                outcome => return outcome.map_err(|error| error.message),
            }
        }
    }

    async fn differs_once(&'static self, route: Route) -> Result<DifferenceNames, MismatchError> {
        let direct = self
            .run_one(Route::Direct)
            .await
            .map_err(MismatchError::new)?;
        let other = self.run_one(route).await.map_err(MismatchError::new)?;
        if direct.is_empty() {
            return Err(MismatchError::new("nothing was seen"));
        }
        compare(&direct, &other)
    }

    async fn run_one(&'static self, route: Route) -> Result<Transcript, String> {
        // Keep-alive comments arrive in a scenario that hangs, so that no single read would time
        // out.
        let run = tokio::time::timeout(LONGEST, (self.run)(route))
            .map(|log| log.expect("it took too long"));
        AssertUnwindSafe(run).catch_unwind().await.map_err(|panic| {
            let owned = panic.downcast_ref::<String>().cloned();
            let text =
                owned.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
            format!("{route:?}: {}", text.unwrap_or_default())
        })
    }
}

/// Defines the list of scenarios from the functions with these names, and a test for each.
macro_rules! scenarios {
    ($($name:ident: $feature:ident, $revisions:ident;)*) => {
        pub(crate) static SCENARIOS: std::sync::LazyLock<Vec<$crate::differential::Scenario>> =
            std::sync::LazyLock::new(|| vec![$($crate::differential::Scenario {
            name: stringify!($name),
            feature: $crate::matrix::Feature::$feature,
            revisions: $crate::matrix::$revisions,
            run: |route| Box::pin($name(route)),
            outcome: tokio::sync::OnceCell::const_new(),
        }),*]);

        mod is_the_same {
            $(#[tokio::test]
            async fn $name() {
                let scenario = super::SCENARIOS.iter().find(|scenario| scenario.name == stringify!($name)).unwrap();
                if let Err(difference) = scenario.check().await {
                    panic!("{}: {difference}", scenario.name);
                }
            })*
        }
    };
}
pub(crate) use scenarios;
