//! What the server answers to a relay: whether it is llamapool, whether it takes the key, and who holds
//! the ids. No id is claimed.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use http::{Uri, header};
use hyper_util::rt::TokioIo;
use llamapool_relay::{DialError, ProbedStream, RelayConfig, ServerProbe};
use llamapool_wire::{AskAnswer, IdAnswer, IdStanding, Refusal, RelayId, path};
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;

use super::clock;
use super::way::with_scheme;
use crate::doctor::answer::Answer;
use crate::doctor::check::{ID, KEY, Looked, PROTOCOL};
use crate::doctor::examination::Examination;
use crate::doctor::https::{Client, Way};

/// The longest time for the first bytes of an answer to a question that may not be understood.
const SNIFF: Duration = Duration::from_secs(5);

/// What the server answered.
pub(super) struct Asked {
    /// The public URL, as the server has it; `None` where it has none, or does not tell.
    pub(super) public_url: Option<String>,
    /// The path before those of llamapool, mostly empty.
    pub(super) prefix: String,
    /// The id for a trial; `None`: there is none that the key may serve and that is free.
    pub(super) trial: Option<TrialId>,
}

/// An id under which a relay connects for the time of a check.
#[derive(Debug, Clone)]
pub(super) struct TrialId {
    pub(super) id: RelayId,
    /// Whether it is made for the check, and not one of the configuration.
    pub(super) is_temporary: bool,
}

impl Asked {
    /// Returns an id for another trial.
    pub(super) fn next_id(&self) -> Option<TrialId> {
        match &self.trial {
            Some(trial) if trial.is_temporary => Some(TrialId {
                id: RelayId::of_doctor(),
                is_temporary: true,
            }),
            other => other.clone(),
        }
    }
}

/// Asks the server. `None`: what depends on its answer cannot be looked at.
pub(super) async fn look(
    probe: &Arc<ServerProbe>,
    config: &RelayConfig,
    examination: &mut Examination,
) -> Option<Asked> {
    let (prefix, ready) = readiness(probe, config).await;
    let wanted: Vec<_> = config.providers.iter().map(|it| it.id.clone()).collect();
    let asked = probe.ask(&wanted).await;
    let has_key = config.identity.worker_key.is_some();
    let goes_on = examination.add(protocol(&asked, ready.as_ref(), probe).await);
    let headers = ready.as_ref().map(|answer| &answer.headers);
    if let Some(looked) = headers.and_then(|it| clock::judged(it, SystemTime::now())) {
        examination.add(looked);
    }
    if !goes_on {
        return None;
    }

    match asked {
        Err(DialError::Refused {
            refusal: Some(refusal),
            message,
            ..
        }) => {
            refused(refusal, &message, has_key, examination);
            None
        }
        // It was judged above.
        Err(_) => None,
        Ok(None) => {
            examination.add(KEY.ok("not refused; the server is too old to be asked more"));
            let trial = temporary(probe).await;
            Some(Asked {
                public_url: None,
                prefix,
                trial,
            })
        }
        Ok(Some(answer)) => {
            examination.add(KEY.ok("the server takes the key"));
            for answer in &answer.ids {
                examination.add(standing(answer));
            }
            let trial = match temporary(probe).await {
                Some(trial) => Some(trial),
                None => own(&answer),
            };
            Some(Asked {
                public_url: answer.public_url,
                prefix,
                trial,
            })
        }
    }
}

/// Returns the path before those of llamapool, and what answers at its health below it.
async fn readiness(probe: &Arc<ServerProbe>, config: &RelayConfig) -> (String, Option<Answer>) {
    let target = probe.target();
    let path = target.path();
    let prefix = [path::MCP_CONNECT, path::WORKER_CONNECT]
        .iter()
        .find_map(|connect| path.strip_suffix(connect))
        .unwrap_or_default();
    let client = Client {
        way: Way::OfRelay(probe.clone(), target.clone()),
        authority: target
            .authority()
            .map(ToString::to_string)
            .unwrap_or_default(),
        timeout: config.dial.connect_timeout,
    };
    let ready = client.get(&format!("{prefix}/readyz")).await.ok();
    (prefix.to_owned(), ready)
}

/// Judges whether a llamapool of the same protocol answers.
async fn protocol(
    asked: &Result<Option<AskAnswer>, DialError>,
    ready: Option<&Answer>,
    probe: &ServerProbe,
) -> Looked {
    let is_ready = ready.is_some_and(|it| it.json() == Some(json!({"status": "ready"})));
    let path = probe.target().path();
    match asked {
        Ok(Some(answer)) => {
            let version = &answer.version;
            PROTOCOL.ok(format!("llamapool {version}, of the same protocol"))
        }
        Ok(None) => PROTOCOL.ok("llamapool, of the same protocol, older than this one"),
        Err(DialError::Refused {
            refusal: Some(Refusal::Draining),
            ..
        }) => PROTOCOL.fail("the server is being stopped", "Try again when it has started."),
        Err(DialError::Refused {
            refusal: Some(_), ..
        }) => PROTOCOL.ok("llamapool, of the same protocol"),
        Err(DialError::Refused { status, .. }) if is_ready => PROTOCOL.fail(
            format!("llamapool is on this host, but {path} has the status {}", status.as_u16()),
            format!(
                "Leave the path out of SERVER_URL, or use {}. Behind a proxy, let it forward that path \
                 with its upgrade.",
                path::MCP_CONNECT
            ),
        ),
        Err(DialError::Refused { status, .. }) => {
            let server = ready.and_then(|answer| answer.header(header::SERVER));
            let server = server.map(|name| format!(" of {name}")).unwrap_or_default();
            PROTOCOL.fail(
                format!("another program answers, with the status {}{server} to {path}", status.as_u16()),
                "Are host, port and path of SERVER_URL those of the llamapool server?",
            )
        }
        Err(_) if speaks_tls(probe).await => PROTOCOL.fail(
            "the port speaks TLS, and SERVER_URL says that it does not",
            "Use wss:// in SERVER_URL.",
        ),
        Err(error) => PROTOCOL.fail(
            error.to_string(),
            "Is that the port of the llamapool server, and does a proxy between forward upgrades?",
        ),
    }
}

/// Returns whether the port speaks TLS where the URL is one without.
async fn speaks_tls(probe: &ServerProbe) -> bool {
    if probe.target().scheme_str() == Some("https") {
        return false;
    }
    let Some(plain) = with_scheme(probe.target(), "http") else {
        return false;
    };
    let Ok(stream) = probe.connect(&plain).await else {
        return false;
    };
    // A server of TLS answers plain HTTP with an alert (RFC 8446, 5.1), or with a page that a proxy
    // such as nginx has for it.
    matches!(
        first_bytes(stream, &plain).await.as_slice(),
        [0x15, 0x03, ..]
    ) || match with_scheme(probe.target(), "https") {
        Some(secure) => probe.connect(&secure).await.is_ok(),
        None => false,
    }
}

/// Returns whether an answer of HTTP comes.
pub(super) async fn answers_http(stream: ProbedStream, url: &Uri) -> bool {
    first_bytes(stream, url).await.starts_with(b"HTTP/1.")
}

/// Sends a request without TLS. Returns the first bytes of the answer.
async fn first_bytes(stream: ProbedStream, url: &Uri) -> Vec<u8> {
    let mut stream = TokioIo::new(stream.into_io());
    let host = url.authority().map(ToString::to_string).unwrap_or_default();
    let request = format!("GET /readyz HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
    let exchange = async {
        stream.write_all(request.as_bytes()).await?;
        let mut first = [0; 7];
        let length = stream.read(&mut first).await?;
        std::io::Result::Ok(first[..length].to_vec())
    };
    match timeout(SNIFF, exchange).await {
        Ok(Ok(bytes)) => bytes,
        _ => Vec::new(),
    }
}

/// Adds what a refusal means.
fn refused(refusal: Refusal, message: &str, has_key: bool, examination: &mut Examination) {
    let looked = match refusal {
        Refusal::WrongKey if !has_key => KEY.fail(
            "WORKER_KEY is not set, and the server wants one",
            "It is WORKER_KEY of the server, which prints it at its start if it is not set, or one of \
             `llamapool key create worker`.",
        ),
        Refusal::WrongKey => KEY.fail(
            "the server does not take the key",
            "It must be WORKER_KEY of the server, or one of `llamapool key create worker`, whole and \
             without spaces. API_KEY is another one.",
        ),
        Refusal::TooManyWrongKeys => KEY.fail(
            message,
            "Wait as long as the server asks, then try with the right key.",
        ),
        Refusal::KeyEnded => KEY.fail(message, "Create another one: `llamapool key create worker`."),
        Refusal::IdNotAllowed => {
            examination.add(KEY.ok("the server knows the key"));
            ID.fail(message, "`llamapool key edit ID --ids …` lets the key serve it.")
        }
        Refusal::IdTaken | Refusal::IdKept => {
            examination.add(KEY.ok("the server takes the key"));
            ID.fail(message, "Choose another CLIENT_ID, or share the CLIENT_SECRET.")
        }
        Refusal::InvalidHeader
        | Refusal::Version
        | Refusal::Draining
        | Refusal::TooManyRelays => KEY.fail(
            message,
            "docs/reference/errors.md says what this refusal means.",
        ),
    };
    examination.add(looked);
}

/// Judges what would become of a claim of an id.
fn standing(answer: &IdAnswer) -> Looked {
    let Some(id) = &answer.id else {
        return ID.ok("the server assigns one");
    };
    let holder = answer.display_holder().unwrap_or_default();
    match answer.standing {
        IdStanding::Free => ID.ok(format!("{id} is free")),
        IdStanding::Shared => ID.ok(format!("{id} is shared with the relay {holder:?}")),
        IdStanding::Taken => ID.fail(
            format!("{id} is held by the relay {holder:?}"),
            "End that relay, choose another CLIENT_ID, or give both the same CLIENT_SECRET to share it.",
        ),
        IdStanding::Kept => ID.fail(
            format!("{id} is kept for relays with the CLIENT_SECRET that it was held with last"),
            "Give this relay that CLIENT_SECRET, or choose another CLIENT_ID.",
        ),
    }
}

/// Returns a temporary id, if the key may serve it.
async fn temporary(probe: &ServerProbe) -> Option<TrialId> {
    let id = RelayId::of_doctor();
    // A key that is bound to ids is refused here, without a claim.
    let is_allowed = probe.ask(&[Some(id.clone())]).await.is_ok();
    is_allowed.then_some(TrialId {
        id,
        is_temporary: true,
    })
}

/// Returns an id of the configuration that is free.
fn own(answer: &AskAnswer) -> Option<TrialId> {
    let mut free = answer
        .ids
        .iter()
        .filter(|it| it.standing == IdStanding::Free);
    let id = free.find_map(|it| it.id.as_deref()?.parse().ok())?;
    Some(TrialId {
        id,
        is_temporary: false,
    })
}
