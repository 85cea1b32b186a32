//! Calls through the public URL: a round trip, a stream, a silence, and what clients find.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{HeaderName, Method, Request, StatusCode, Uri, header};
use http_body_util::Full;
use llamapool_relay::ServerProbe;
use llamapool_wire::{RelayId, Secret, path};

use super::asking::Asked;
use super::metronome::{EVENTS, EVENTS_PATH, INTERVAL, SILENCE, SILENCE_PATH};
use super::program::{TestedProgram, described, exchange};
use super::trial::Trial;
use super::way::with_scheme;
use crate::doctor::answer::Answer;
use crate::doctor::call::{self, Caller};
use crate::doctor::check::{
    HTTPS, Looked, MCP_ANSWER, OAUTH, ROUND_TRIP, SILENCE as SILENCE_CHECK, STREAMING,
};
use crate::doctor::examination::{Examination, shown_time};
use crate::doctor::https::{Client, Way};
use crate::doctor::origin::Origin;
use crate::doctor::role::Options;

/// The longest time for a call through the public URL.
const CALL_TIMEOUT: Duration = Duration::from_secs(30);
/// What a call may take besides the silence in it.
const BESIDES: Duration = Duration::from_secs(10);
/// The time between two tries while the server does not have the relay in its directory yet.
const RETRY: Duration = Duration::from_millis(200);
const TRIES: u32 = 10;

/// The way to the public URL, as clients on this machine have it.
pub(super) struct PublicClient {
    client: Client,
    origin: Origin,
}

/// Finds the way to the public URL.
pub(super) async fn client(
    probe: &Arc<ServerProbe>,
    asked: &Asked,
    examination: &mut Examination,
) -> PublicClient {
    let dialled = dialled_base(probe.target(), &asked.prefix);
    let base = asked.public_url.clone().unwrap_or_else(|| dialled.clone());
    let origin = Origin::parse(&base).or_else(|_| Origin::parse(&dialled));
    // The URL that was dialled has a host and a scheme, so it is one.
    let origin = origin.unwrap_or_else(|_| Origin::of_loopback());
    let mut url = base.parse().unwrap_or_else(|_| probe.target().clone());
    if let Err(error) = probe.connect(&url).await {
        let found =
            format!("{base}, the public URL of the server, is not reached from here: {error}");
        let remedy = "Some networks do not lead back to their own public address. Look from another \
                      one: `llamapool doctor connect ID --server URL`.";
        examination.add(HTTPS.warn(found, remedy));
        url = probe.target().clone();
    }
    PublicClient {
        client: Client {
            way: Way::OfRelay(probe.clone(), url),
            authority: origin.authority(),
            timeout: CALL_TIMEOUT,
        },
        origin,
    }
}

/// Returns the public URL that follows from the URL that relays dial.
fn dialled_base(target: &Uri, prefix: &str) -> String {
    let scheme = target.scheme_str().unwrap_or("http");
    let bare = with_scheme(target, scheme).unwrap_or_else(|| target.clone());
    let authority = bare
        .authority()
        .map(ToString::to_string)
        .unwrap_or_default();
    format!("{scheme}://{authority}{prefix}")
}

impl PublicClient {
    /// Returns the path of an id.
    fn path(&self, id: &RelayId) -> String {
        let path = format!("{}{id}", path::MCP_BY_ID);
        let url = self.origin.url(&path);
        self.origin.below(&url).unwrap_or(&path).to_owned()
    }

    /// Waits until the server has the relay of an id in its directory. Returns whether it lets the
    /// caller in.
    async fn admission(&self, id: &RelayId, key: Option<&Secret>) -> Admission {
        let path = self.path(id);
        for _ in 0..TRIES {
            // Providers of every kind answer it without doing anything.
            let mut request = Request::head(&path);
            if let Some(key) = key {
                let credential = format!("Bearer {}", key.expose());
                request = request.header(header::AUTHORIZATION, credential);
            }
            let Ok(request) = request.body(Full::<Bytes>::default()) else {
                break;
            };
            let Ok(answer) = self.client.send(request).await else {
                break;
            };
            match answer.cause() {
                Some("relay_offline") => tokio::time::sleep(RETRY).await,
                Some("key_missing") => return Admission::WantsKey,
                _ => break,
            }
        }
        // What is wrong else is found by the call itself.
        Admission::Open
    }
}

/// Whether the server lets a caller in.
#[derive(Debug, PartialEq, Eq)]
enum Admission {
    Open,
    /// Callers need a key, and this one has none.
    WantsKey,
}

/// Looks whether events arrive when they are sent.
pub(super) async fn streaming(
    public: &PublicClient,
    id: &RelayId,
    options: &Options,
    examination: &mut Examination,
) {
    let key = options.key.as_ref();
    if public.admission(id, key).await == Admission::WantsKey {
        examination.add(wants_key_for(&STREAMING));
        return;
    }
    let path = format!("{}{EVENTS_PATH}", public.path(id));
    let looked = match public.client.event_times(&path, key).await {
        Ok(times) => judged(&times),
        Err(error) => STREAMING.fail(
            format!("no stream comes through: {error}"),
            "Something between ends or refuses it. docs/guides/reverse-proxy.md has what proxies need.",
        ),
    };
    examination.add(looked);
}

/// Judges when events arrived that were sent at intervals.
fn judged(times: &[Duration]) -> Looked {
    let sent = INTERVAL * (EVENTS - 1);
    let [first, .., last] = times else {
        let remedy = "Something between takes the events out of the stream.";
        return STREAMING.fail("the stream came without its events", remedy);
    };
    let shown = shown_time(*first);
    // A third: a slow way delays single events, and only a buffer brings them together.
    if (*last).saturating_sub(*first) < sent / 3 {
        let found = format!(
            "the first event came after {shown}, together with the last: something between buffers"
        );
        let remedy = "nginx: proxy_buffering off, or let it obey X-Accel-Buffering; see \
                      docs/guides/reverse-proxy.md. CDNs have a switch, or do not buffer text/event-stream.";
        return STREAMING.fail(found, remedy);
    }
    STREAMING.ok(format!(
        "events arrive when they are sent, the first after {shown}"
    ))
}

fn wants_key_for(check: &'static crate::doctor::check::Check) -> Looked {
    check.warn(
        "not tried: the server asks callers for a key",
        "--key-file FILE names one that may call any id; `llamapool key create caller` makes it.",
    )
}

/// Looks whether a tunnel and a call stay open on which nothing is sent.
pub(super) async fn silence(
    public: &PublicClient,
    trial: &Trial,
    is_worker: bool,
    options: &Options,
    examination: &mut Examination,
) {
    let begun = Instant::now();
    let answered = if is_worker {
        tokio::time::sleep(SILENCE).await;
        Ok(None)
    } else {
        silent_call(public, &trial.id, options.key.as_ref())
            .await
            .map(Some)
    };
    let took = begun.elapsed();
    let seconds = took.as_secs();
    let looked = match (trial.lost(), answered) {
        (Some(error), _) => SILENCE_CHECK.fail(
            format!("the tunnel was lost within {seconds} s: {error}"),
            "Something between cuts connections although heartbeats pass every few seconds (HEARTBEAT).",
        ),
        (None, Ok(None)) => SILENCE_CHECK.ok(format!("the tunnel stays open for {seconds} s")),
        (None, Ok(Some(answer))) if answer.status == StatusCode::OK => SILENCE_CHECK.ok(format!(
            "tunnel and call stay open through {} s of silence",
            SILENCE.as_secs()
        )),
        (None, Ok(Some(answer))) if answer.cause() == Some("key_missing") => {
            wants_key_for(&SILENCE_CHECK)
        }
        (None, Ok(Some(answer))) => cut_off(seconds, &answer.shown()),
        (None, Err(error)) => cut_off(seconds, &error),
    };
    examination.add(looked);
}

fn cut_off(seconds: u64, error: &str) -> Looked {
    SILENCE_CHECK.warn(
        format!("a call that waited for its answer was cut off after {seconds} s: {error}"),
        "Something between ends connections on which nothing is sent for so long: nginx by \
         proxy_read_timeout, others by an idle timeout. Calls that take longer fail.",
    )
}

async fn silent_call(
    public: &PublicClient,
    id: &RelayId,
    key: Option<&Secret>,
) -> Result<Answer, String> {
    let client = Client {
        timeout: SILENCE + BESIDES,
        ..public.client.clone()
    };
    let path = format!("{}{SILENCE_PATH}", public.path(id));
    let message = serde_json::json!({"jsonrpc": "2.0", "id": 1, "method": "ping"});
    let caller = Caller {
        key,
        ..Caller::default()
    };
    call::send(&client, &path, &message, caller).await
}

/// Looks at what clients on the internet would find.
pub(super) async fn clients(
    public: &PublicClient,
    asked: &Asked,
    id: &RelayId,
    examination: &mut Examination,
) {
    let origin = &public.origin;
    let is_known = asked.public_url.is_some();
    let base = origin.url("");
    let is_judged = examination.looked.iter().any(|it| it.check == &HTTPS);
    if !is_judged {
        let looked = if origin.is_loopback() {
            HTTPS.ok(format!("{base} is for clients on this machine alone"))
        } else if !origin.is_tls() {
            let found = format!("{base} has no https: Claude and ChatGPT do not connect");
            HTTPS.warn(
                found,
                "Give the server a certificate (ACME_DOMAINS), or a reverse proxy.",
            )
        } else if origin.port() != 443 {
            let found =
                format!("{base} is not on port 443, the only one that Claude's cloud dials");
            HTTPS.warn(
                found,
                "Let the server, or a proxy before it, listen on 443.",
            )
        } else if is_known {
            HTTPS.ok(format!("{base}, as PUBLIC_URL of the server says"))
        } else {
            HTTPS.ok(format!(
                "{base}, as SERVER_URL has it; the server has no PUBLIC_URL"
            ))
        };
        examination.add(looked);
    }

    let well_known = format!("/.well-known/oauth-protected-resource{}", public.path(id));
    let looked = match public.client.get(&well_known).await {
        Ok(answer) if answer.status.is_success() && answer.json().is_some() => {
            OAUTH.ok("OAuth metadata is found: clients offer a sign-in")
        }
        Ok(_) => OAUTH
            .ok("no OAuth metadata: clients offer no sign-in, unless the MCP server has its own"),
        Err(error) => OAUTH.warn(
            format!("no answer for OAuth metadata: {error}"),
            "Let whatever is before the server forward /.well-known/ to it.",
        ),
    };
    examination.add(looked);
}

/// A call through the public URL.
pub(super) struct RoundTrip<'a> {
    pub(super) client: &'a PublicClient,
    pub(super) id: &'a RelayId,
    /// The key or token of the caller.
    pub(super) credential: Option<&'a Secret>,
    /// The program with its session, if the provider is one.
    pub(super) program: Option<&'a TestedProgram>,
    pub(super) label: Option<&'a str>,
}

impl RoundTrip<'_> {
    /// Makes the call.
    pub(super) async fn look(self, examination: &mut Examination) {
        if self.client.admission(self.id, self.credential).await == Admission::WantsKey {
            examination.add(wants_key_for(&ROUND_TRIP).of(self.label));
            return;
        }
        let path = self.client.path(self.id);
        let session = match self.program {
            Some(program) => program.session.clone(),
            None => match self.initialize(&path, examination).await {
                Some(session) => session,
                None => return,
            },
        };
        let caller = Caller {
            key: self.credential,
            agent: None,
            session: session.as_deref(),
        };
        let exchanged = exchange(&self.client.client, &path, caller).await;
        let looked = match exchanged {
            Ok(exchanged) => {
                let url = self.client.origin.url(path::MCP_BY_ID);
                let straight = self.program.and_then(|program| program.ping);
                let straight =
                    straight.map(|it| format!(", of which the program took {}", shown_time(it)));
                ROUND_TRIP.ok(format!(
                    "ping through {url}…: {}{}, {}",
                    shown_time(exchanged.ping),
                    straight.unwrap_or_default(),
                    exchanged.shown
                ))
            }
            Err(error) => ROUND_TRIP.fail(
                error,
                "The error names where it broke; docs/reference/errors.md has each.",
            ),
        };
        examination.add(looked.of(self.label));
        if session.is_some() && self.program.is_none() {
            self.end(&path, caller).await;
        }
    }

    /// Begins a session with an HTTP provider. `None` if it does not answer.
    async fn initialize(
        &self,
        path: &str,
        examination: &mut Examination,
    ) -> Option<Option<String>> {
        let client = &self.client.client;
        let answer = call::initialize(client, path, self.credential, None).await;
        let found = match answer {
            Ok(answer) => match call::result_of(&answer) {
                Some(result) => {
                    let looked = MCP_ANSWER.ok(described(&result));
                    examination.add(looked.of(self.label));
                    let session = answer.header(HeaderName::from_static("mcp-session-id"));
                    return Some(session.map(str::to_owned));
                }
                None => format!("initialize has {}", answer.shown()),
            },
            Err(error) => format!("initialize has no answer: {error}"),
        };
        let remedy = "Is PROVIDER_URL the MCP endpoint, with its path? Does the server want a token \
                      (PROVIDER_HEADERS)? Its own log says why.";
        examination.add(MCP_ANSWER.fail(found, remedy).of(self.label));
        None
    }

    /// Ends the session, which would end by itself.
    async fn end(&self, path: &str, caller: Caller<'_>) {
        let mut request = Request::builder().method(Method::DELETE).uri(path);
        if let Some(session) = caller.session {
            request = request
                .header("mcp-session-id", session)
                .header("mcp-protocol-version", call::REVISION);
        }
        if let Some(key) = caller.key {
            let credential = format!("Bearer {}", key.expose());
            request = request.header(header::AUTHORIZATION, credential);
        }
        if let Ok(request) = request.body(Full::<Bytes>::default()) {
            let _ = self.client.client.send(request).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::report::Status;

    #[test]
    fn events_that_arrive_together_were_buffered() {
        let at = |milliseconds: &[u64]| {
            let times: Vec<_> = milliseconds
                .iter()
                .copied()
                .map(Duration::from_millis)
                .collect();
            judged(&times)
        };

        assert_eq!(at(&[5, 310, 620, 900, 1210, 1500]).status, Status::Ok);
        assert_eq!(at(&[900, 901, 902, 1203, 1204, 1800]).status, Status::Ok);
        let buffered = at(&[1500, 1500, 1501, 1501, 1501, 1502]);
        assert_eq!(buffered.status, Status::Fail);
        assert!(buffered.found.contains("1.5 s"), "{}", buffered.found);
        assert_eq!(at(&[]).status, Status::Fail);
    }
}
