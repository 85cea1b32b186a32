//! The same exchange twice: straight at the provider, and through a server and a relay.
//!
//! A scenario makes its own provider, and is told the way. The one rule: a scenario never asks which way it goes in order
//! to expect something else, only where the way itself must be broken.

use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::time::Duration;

use futures_util::FutureExt;
use tokio::sync::OnceCell;

use crate::compare::{Seen, Wrong, compare};
use crate::faulty::{Fault, FaultyProxy};
use crate::harness::{BodyEnd, Link, Pool, Process, RawHead, RawHttp, Settings};
use crate::matrix::{Feature, Revision};
use crate::transcript::{COMMENT, Transcript};

/// The id of every provider here.
const ID: &str = "same";
/// After this a scenario has failed.
const LONGEST: Duration = Duration::from_secs(60);
/// How often a scenario runs before what may be the moment's counts.
const TRIES: usize = 4;
/// What MCP clients send with every message.
const BOTH_TYPES: &str = "application/json, text/event-stream";

/// The path of the MCP endpoint of providers that are made of connections.
pub(crate) const MCP_PATH: &str = "/mcp";
/// Settings of a server whose event streams show life so often that comments stand between all events.
pub(crate) const MANY_COMMENTS: Settings<'_> = &[("STREAM_KEEPALIVE", "5ms")];

/// How a provider is reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    Direct,
    Through,
    /// Through a proxy that does one thing wrong.
    Past(Fault),
}

/// Where a provider is reached.
pub(crate) struct Place {
    /// Host and port.
    authority: String,
    /// The path of the provider's MCP endpoint.
    pub(crate) path: String,
    /// What the provider's own authority is.
    provider: String,
    pub(crate) through: Option<Through>,
    _faulty: Option<FaultyProxy>,
}

/// What is between.
pub(crate) struct Through {
    /// Between server and relay.
    pub(crate) link: Link,
    _pool: Pool,
    _relay: Process,
}

impl Way {
    /// Where the provider with this URL is reached.
    pub(crate) async fn to(self, provider_url: &str) -> Place {
        self.with(provider_url, &[]).await
    }

    /// The same with these settings of the server.
    pub(crate) async fn with(self, provider_url: &str, settings: Settings<'_>) -> Place {
        self.between(provider_url, settings, &[]).await
    }

    /// The same with these settings of the server and of the relay; whatever they do not say is as it is shipped.
    pub(crate) async fn between(
        self,
        provider_url: &str,
        server: Settings<'_>,
        relay: Settings<'_>,
    ) -> Place {
        let rest = provider_url.strip_prefix("http://").expect("a plain URL");
        let (provider, path) = rest.split_at(rest.find('/').expect("a path"));
        let provider = provider.to_owned();
        let at = |authority: String| Place {
            authority,
            path: path.to_owned(),
            provider: provider.clone(),
            through: None,
            _faulty: None,
        };
        match self {
            Self::Direct => return at(provider.clone()),
            Self::Past(fault) => {
                let proxy = FaultyProxy::before(&provider, fault).await;
                let place = at(proxy.authority.clone());
                return Place {
                    _faulty: Some(proxy),
                    ..place
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
        let path = format!("/api/mcp/id/{ID}");
        let through = Through {
            link,
            _pool: pool,
            _relay: relay,
        };
        Place {
            authority,
            path,
            provider,
            through: Some(through),
            _faulty: None,
        }
    }
}

impl Place {
    /// The whole URL.
    pub(crate) fn url(&self) -> String {
        format!("http://{}{}", self.authority, self.path)
    }

    /// The path of what is below the provider's URL.
    pub(crate) fn below(&self, path: &str) -> String {
        format!("{}{path}", self.path.trim_end_matches('/'))
    }

    /// A transcript that knows what this place is called.
    pub(crate) fn transcript(&self) -> Transcript {
        self.named(Transcript::default())
    }

    /// The same for a provider that is a program of others, which makes up session and event ids by chance.
    pub(crate) fn transcript_of_a_program(&self) -> Transcript {
        self.named(Transcript::of_random_ids())
    }

    fn named(&self, mut log: Transcript) -> Transcript {
        log.alias(&self.provider, "provider");
        log.alias(&self.authority, "server");
        log
    }

    /// The bytes of a request; `fields` come besides `Host` and the length.
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

    /// The path that a reference means to a client which found it at a path here.
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

    /// A connection on which these bytes were sent.
    pub(crate) async fn send(&self, request: &[u8]) -> RawHttp {
        let mut caller = RawHttp::connect(&format!("http://{}", self.authority)).await;
        caller.send(request).await;
        caller
    }

    /// A connection on which a message was sent as an MCP client does.
    pub(crate) async fn post(&self, fields: &[(&str, &str)], message: &[u8]) -> RawHttp {
        self.send(&self.request_to("POST", &self.path, &mcp_fields(fields), message))
            .await
    }

    /// A connection on which an event stream was asked for.
    pub(crate) async fn get(&self, fields: &[(&str, &str)]) -> RawHttp {
        let fields: Vec<_> = [("accept", "text/event-stream")]
            .into_iter()
            .chain(fields.iter().copied())
            .collect();
        self.send(&self.request_to("GET", &self.path, &fields, b""))
            .await
    }
}

/// The headers of a message, and these.
pub(crate) fn mcp_fields<'a>(fields: &[(&'a str, &'a str)]) -> Vec<(&'a str, &'a str)> {
    let own = [("accept", BOTH_TYPES), ("content-type", "application/json")];
    own.into_iter().chain(fields.iter().copied()).collect()
}

/// An answer that is read to its end and recorded: each event of a stream for itself, any other body whole.
pub(crate) async fn read_answer(caller: &mut RawHttp, log: &mut Transcript) -> (RawHead, Vec<u8>) {
    let head = final_head(caller, log).await;
    if is_stream(&head) {
        let body = Events::of(&head).rest(caller, log).await;
        return (head, body);
    }
    let (body, end) = match [204, 304].contains(&head.status()) {
        true => (Vec::new(), BodyEnd::Clean),
        false => caller.body_and_end(&head).await,
    };
    log.body(&body);
    log.trailers(caller.trailers());
    log.end(end);
    (head, body)
}

/// The head of an answer, behind those of interim ones; all of them are recorded.
pub(crate) async fn final_head(caller: &mut RawHttp, log: &mut Transcript) -> RawHead {
    loop {
        let head = caller.head().await;
        log.answered(&head);
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

/// The events of a stream, as they come.
#[derive(Default)]
pub(crate) struct Events {
    held: Vec<u8>,
    ended: Option<BodyEnd>,
    /// The head of a stream that is not in chunks, before its body is read.
    whole: Option<RawHead>,
}

impl Events {
    /// The events of the stream with this head.
    pub(crate) fn of(head: &RawHead) -> Self {
        let is_in_chunks = head.values("transfer-encoding") == ["chunked"];
        Self {
            whole: (!is_in_chunks).then(|| head.clone()),
            ..Self::default()
        }
    }

    /// The next event that is not the server's comment, recorded with what precedes it; none at the stream's end.
    pub(crate) async fn next(
        &mut self,
        caller: &mut RawHttp,
        log: &mut Transcript,
    ) -> Option<Vec<u8>> {
        loop {
            while let Some(length) = event_length(&self.held) {
                let event: Vec<u8> = self.held.drain(..length).collect();
                log.event(&event);
                if event != COMMENT {
                    return Some(event);
                }
            }
            if self.ended.is_some() {
                return None;
            }
            if let Some(head) = self.whole.take() {
                let (body, end) = caller.body_and_end(&head).await;
                self.held.extend(body);
                self.ended = Some(end);
                continue;
            }
            match caller.chunk().await {
                Ok(Some(chunk)) => self.held.extend(chunk),
                end => {
                    self.ended = Some(if end.is_ok() {
                        BodyEnd::Clean
                    } else {
                        BodyEnd::Aborted
                    });
                }
            }
        }
    }

    /// The next event, which contains a text; those before it are recorded.
    pub(crate) async fn with(
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

    /// Records the rest and how it ended; all of its bytes.
    pub(crate) async fn rest(&mut self, caller: &mut RawHttp, log: &mut Transcript) -> Vec<u8> {
        let mut all = Vec::new();
        while let Some(event) = self.next(caller, log).await {
            all.extend(event);
        }
        log.body(&self.held);
        all.append(&mut self.held);
        log.trailers(caller.trailers());
        log.end(self.ended.take().expect("it has ended"));
        all
    }
}

/// The length of the event or comment that a text begins with, up to the end of the blank line.
fn event_length(text: &[u8]) -> Option<usize> {
    let mut line_start = 0;
    for (place, byte) in text.iter().enumerate() {
        if *byte == b'\n' {
            let line = text[line_start..place]
                .strip_suffix(b"\r")
                .unwrap_or(&text[line_start..place]);
            if line.is_empty() {
                return Some(place + 1);
            }
            line_start = place + 1;
        }
    }
    None
}

type Running = Pin<Box<dyn Future<Output = Transcript> + Send>>;

/// An exchange that must be the same both ways.
pub(crate) struct Scenario {
    pub(crate) name: &'static str,
    pub(crate) feature: Feature,
    /// The revisions for which it is an exchange as the revision has it.
    pub(crate) revisions: &'static [Revision],
    pub(crate) run: fn(Way) -> Running,
    /// It runs once in a process, however many tests ask for it.
    pub(crate) outcome: OnceCell<Result<Seen, String>>,
}

impl Scenario {
    /// Which allowed differences there were; it fails if there was any other.
    pub(crate) async fn holds(&'static self) -> Result<Seen, String> {
        self.outcome
            .get_or_init(|| self.differs_from_direct(Way::Through))
            .await
            .clone()
    }

    /// How another way differs from the direct one. What may be the moment's is looked at again before it counts.
    pub(crate) async fn differs_from_direct(&'static self, way: Way) -> Result<Seen, String> {
        let mut tries = 1;
        loop {
            match self.differs_once(way).await {
                Err(wrong) if wrong.is_of_the_moment && tries < TRIES => tries += 1,
                outcome => return outcome.map_err(|wrong| wrong.says),
            }
        }
    }

    async fn differs_once(&'static self, way: Way) -> Result<Seen, Wrong> {
        let direct = self.run_one(Way::Direct).await.map_err(Wrong::new)?;
        let other = self.run_one(way).await.map_err(Wrong::new)?;
        if direct.is_empty() {
            return Err(Wrong::new("nothing was seen"));
        }
        compare(&direct, &other)
    }

    async fn run_one(&'static self, way: Way) -> Result<Transcript, String> {
        // Keep-alive comments arrive however long it takes, so no single wait ends a scenario that hangs.
        let run = tokio::time::timeout(LONGEST, (self.run)(way))
            .map(|log| log.expect("it took too long"));
        AssertUnwindSafe(run).catch_unwind().await.map_err(|panic| {
            let text = panic.downcast_ref::<String>().cloned();
            let text = text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
            format!("{way:?}: {}", text.unwrap_or_default())
        })
    }
}

/// Makes a list of scenarios of the functions with these names, and a test of each.
macro_rules! scenarios {
    ($($name:ident: $feature:ident, $revisions:ident;)*) => {
        pub(crate) static SCENARIOS: std::sync::LazyLock<Vec<$crate::differential::Scenario>> =
            std::sync::LazyLock::new(|| vec![$($crate::differential::Scenario {
            name: stringify!($name),
            feature: $crate::matrix::Feature::$feature,
            revisions: $crate::matrix::$revisions,
            run: |way| Box::pin($name(way)),
            outcome: tokio::sync::OnceCell::const_new(),
        }),*]);

        mod is_the_same {
            $(#[tokio::test]
            async fn $name() {
                let scenario = super::SCENARIOS.iter().find(|scenario| scenario.name == stringify!($name)).unwrap();
                if let Err(difference) = scenario.holds().await {
                    panic!("{}: {difference}", scenario.name);
                }
            })*
        }
    };
}
pub(crate) use scenarios;
