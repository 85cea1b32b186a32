//! Which of an id's relays a call goes to, and whether it may.
//!
//! With one relay there is nothing to decide. Where several share an id, a session belongs to the relay that began it
//! (see `sessions`), and callers without a session keep to one relay: task handles and request state are often good in one
//! provider process only. In MCP 2026-07-28 they go elsewhere when that relay is clearly busier than others, except for
//! what is about a task.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use axum::http::{HeaderMap, HeaderValue, header};
use llamapool_mcp::Revision;
use llamapool_mcp::header::{METHOD, PROTOCOL_VERSION, SESSION_ID};
use llamapool_wire::{CallError, Cause};

use super::failures::offline;
use super::target::Target;
use crate::app::App;
use crate::peer::Peer;
use crate::registry::{Client, Relay};
use crate::scheduler::{Choice, Permit, Wish, choose};
use crate::sessions::{Purpose, RelayTag};

/// The relay that runs a call.
pub(super) struct Admitted {
    pub(super) relay: Arc<Relay>,
    /// Who calls.
    pub(super) peer: Peer,
    /// The provider's own session id, where the caller has a sealed one.
    pub(super) session: Option<HeaderValue>,
    /// Whether several relays may share this id.
    pub(super) is_shared: bool,
    /// Whether session ids of this call are sealed.
    pub(super) has_sessions: bool,
}

/// Why a call is not let in.
pub(super) enum NotAdmitted {
    /// llamapool's own failure.
    CallError(CallError),
    /// The session's relay is gone for good: the client must initialize again.
    SessionGone,
}

/// Lets a call in, if there is a relay for it.
pub(super) fn admit(
    app: &App,
    client: &Client,
    target: &Target,
    headers: &HeaderMap,
    peer: Peer,
) -> Result<(Admitted, Permit), NotAdmitted> {
    let is_shared = client
        .relays
        .iter()
        .any(|relay| relay.identity.secret.is_some());
    let has_sessions = is_shared && !is_sessionless(headers);
    let (binding, session) = if is_shared {
        binding(app, target, headers, has_sessions)?
    } else {
        (None, None)
    };
    let wish = match binding {
        Some(tag) => Wish::Only(place_of(app, client, tag)?),
        None if is_shared => wish_without_session(headers),
        None => Wish::Anyone,
    };
    let caller = caller_number(app, client, headers, peer);
    let (relay, permit) = take_permit(app, client, wish, caller).map_err(|failure| {
        // A session cannot go on where its relay takes nothing new, but it can begin again at another one.
        let others_take = client.relays.iter().any(|relay| !relay.is_draining());
        let begins_again =
            matches!(wish, Wish::Only(_)) && failure.cause == Cause::RelayDraining && others_take;
        if begins_again {
            NotAdmitted::SessionGone
        } else {
            NotAdmitted::CallError(failure)
        }
    })?;
    Ok((
        Admitted {
            relay,
            peer,
            session,
            is_shared,
            has_sessions,
        },
        permit,
    ))
}

/// The relay that a call of a shared id belongs to, and the provider's own session id.
fn binding(
    app: &App,
    target: &Target,
    headers: &HeaderMap,
    has_sessions: bool,
) -> Result<(Option<RelayTag>, Option<HeaderValue>), NotAdmitted> {
    if let Some(at) = &target.at {
        let (tag, _) = app
            .seal
            .open(Purpose::Place, &target.id, at.as_bytes())
            .ok_or(NotAdmitted::SessionGone)?;
        return Ok((Some(tag), None));
    }
    let Some(sealed) = headers.get(SESSION_ID).filter(|_| has_sessions) else {
        return Ok((None, None));
    };
    let opened = app
        .seal
        .open(Purpose::Session, &target.id, sealed.as_bytes());
    let (tag, session) = opened.ok_or(NotAdmitted::SessionGone)?;
    let session = HeaderValue::from_bytes(&session).map_err(|_| NotAdmitted::SessionGone)?;
    Ok((Some(tag), Some(session)))
}

/// Which of the relays is meant. One that is away may come back for a while.
fn place_of(app: &App, client: &Client, tag: RelayTag) -> Result<usize, NotAdmitted> {
    if let Some(place) = client.relays.iter().position(|relay| relay.tag == tag) {
        return Ok(place);
    }
    if app
        .registry
        .may_return(&client.id, tag, app.config.mcp.session_grace)
    {
        let message = format!(
            "the relay of {} that holds this session is reconnecting",
            client.id
        );
        return Err(NotAdmitted::CallError(CallError::new(
            Cause::RelayOffline,
            message,
        )));
    }
    Err(NotAdmitted::SessionGone)
}

/// A relay that runs the call, and the right to run it there.
fn take_permit(
    app: &App,
    client: &Client,
    wish: Wish,
    caller: u64,
) -> Result<(Arc<Relay>, Permit), CallError> {
    if !app.gate.enter() {
        return Err(CallError::new(
            Cause::ServerDraining,
            "the server is draining",
        ));
    }
    loop {
        let candidates: Vec<_> = client
            .relays
            .iter()
            .map(|relay| relay.candidate(caller))
            .collect();
        let choice = choose(&candidates, wish);
        if let Choice::Run(index) = choice {
            let relay = &client.relays[index];
            match Permit::take(
                relay.tunnel.slots(),
                relay.tunnel.room(),
                &relay.gate,
                &app.gate,
            ) {
                Some(permit) => return Ok((relay.clone(), permit)),
                // Somebody else took the last slot meanwhile, or the relay left: the next choice is another one.
                None => continue,
            }
        }
        app.gate.leave();
        let id = &client.id;
        return Err(match choice {
            Choice::Draining => CallError::new(
                Cause::RelayDraining,
                format!("the relay of {id} is draining"),
            ),
            Choice::Full => CallError::new(
                Cause::TunnelFull,
                format!("the tunnel of {id} carries as many calls as it can"),
            ),
            Choice::Offline | Choice::Run(_) => offline(id),
        });
    }
}

/// Where a call without a session wants to go.
fn wish_without_session(headers: &HeaderMap) -> Wish {
    let is_about_a_task = headers
        .get(METHOD)
        .is_some_and(|method| method.as_bytes().starts_with(b"tasks/"));
    match headers.contains_key(PROTOCOL_VERSION) {
        true if is_sessionless(headers) && !is_about_a_task => Wish::Steady,
        // An answer to a question of the provider's, for instance.
        true => Wish::Same,
        // It may begin a session.
        false => Wish::Anyone,
    }
}

/// Whether a call is of a revision without sessions. A name that is no date is taken for an older revision.
fn is_sessionless(headers: &HeaderMap) -> bool {
    let version = headers
        .get(PROTOCOL_VERSION)
        .and_then(|version| version.to_str().ok())
        .unwrap_or_default();
    Revision::by_date(version).is_some_and(|revision| !revision.has_sessions())
}

/// A number that stays the same for a caller: of what it presents, or of where it is. What all callers must present says
/// nothing of which one calls.
fn caller_number(app: &App, client: &Client, headers: &HeaderMap, peer: Peer) -> u64 {
    if client.relays.len() == 1 {
        return 0;
    }
    let is_common = client
        .relays
        .iter()
        .any(|relay| relay.offered().offer.protected);
    let mut hasher = DefaultHasher::new();
    match headers.get(header::AUTHORIZATION).filter(|_| !is_common) {
        Some(authorization) => authorization.as_bytes().hash(&mut hasher),
        None => app.public_url.client(headers, peer).hash(&mut hasher),
    }
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderName;

    use super::*;

    fn headers(pairs: &[(HeaderName, &'static str)]) -> HeaderMap {
        pairs
            .iter()
            .map(|(name, value)| (name.clone(), HeaderValue::from_static(value)))
            .collect()
    }

    #[test]
    fn revisions_without_sessions_are_known_by_their_date() {
        for version in ["2026-07-28", "2026-07-29", "2030-01-01"] {
            assert!(
                is_sessionless(&headers(&[(PROTOCOL_VERSION, version)])),
                "{version}"
            );
        }
        for version in [
            "2025-11-25",
            "2026-07-27",
            "DRAFT-2026-v1",
            "9",
            "9999999999",
            "",
            "2026-07-28x",
        ] {
            assert!(
                !is_sessionless(&headers(&[(PROTOCOL_VERSION, version)])),
                "{version}"
            );
        }
        assert!(!is_sessionless(&HeaderMap::new()));
    }

    #[test]
    fn calls_without_a_session_are_steady_and_what_is_about_a_task_more_so() {
        let new = (PROTOCOL_VERSION, "2026-07-28");
        assert_eq!(
            wish_without_session(&headers(&[new.clone(), (METHOD, "tools/call")])),
            Wish::Steady
        );
        assert_eq!(
            wish_without_session(&headers(&[new, (METHOD, "tasks/get")])),
            Wish::Same
        );
        assert_eq!(
            wish_without_session(&headers(&[(PROTOCOL_VERSION, "2025-11-25")])),
            Wish::Same
        );
        assert_eq!(wish_without_session(&HeaderMap::new()), Wish::Anyone);
    }
}
