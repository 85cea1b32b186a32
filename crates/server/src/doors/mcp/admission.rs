//! The choice of the relay that runs a call.
//!
//! With one relay there is nothing to decide. Where several share an id, a session belongs to the
//! relay that began it (see `session_seal`), and callers without a session keep to one relay: task
//! handles and request state are often valid in one provider process only. In MCP 2026-07-28 they
//! go elsewhere when that relay is clearly busier than others, except for requests about a task.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use axum::http::{HeaderValue, Method, header};
use llamapool_head::{FieldLookup, Fields, RequestHead};
use llamapool_limits::{Claim, MemoryAccount, ShareError};
use llamapool_mcp::Revision;
use llamapool_mcp::header::{METHOD, PROTOCOL_VERSION, SESSION_ID};
use llamapool_wire::{CallError, Cause};

use super::context::McpDoor;
use super::error::McpError;
use super::session_seal::Scope;
use super::target::Target;
use crate::auth::{Caller, CallerFacts};
use crate::calls::failure::{not_admitted, too_many};
use crate::directory::{Listing, Member, RelayTag};
use crate::scheduler::{self, AdmissionError, CallKind, Permit, PlaceClaims, Wish};

/// The factor of the share that one id has of the server's memory: one greedy id leaves a ninth.
const ID_MEMORY_FACTOR: usize = 8;
/// The memory that must be left for a call when more than half of all is in use: as much as an
/// answer may take at once.
const CALL_BYTES: usize = 64 * 1024;

/// The relay that runs a call, and how.
pub(super) struct Admission {
    pub(super) member: Arc<Member>,
    /// What follows of the caller from the head of its request.
    pub(super) facts: Arc<CallerFacts>,
    /// The tag by which the relay counts what the caller holds.
    pub(super) caller_tag: HeaderValue,
    /// The provider's own session id, where the caller has a sealed one.
    pub(super) session: Option<HeaderValue>,
    /// Set if several relays may share this id.
    pub(super) is_shared: bool,
    /// What the caller's sessions are bound to, if the id asks for a key or a token.
    pub(super) key: Option<Arc<str>>,
    /// Set if session ids of this call are sealed.
    pub(super) has_sessions: bool,
}

/// The relay that a call belongs to, and the provider's own session id, as far as they are sealed
/// into the call.
type Binding = (Option<RelayTag>, Option<HeaderValue>);

/// Admits a call to one of the relays of its id. Fails if none runs it.
pub(super) fn admit(
    door: &McpDoor,
    listing: &Listing,
    target: &Target,
    request: &RequestHead,
    caller: &Caller,
) -> Result<(Admission, Permit), McpError> {
    let headers = &request.fields;
    let is_shared = listing
        .members
        .iter()
        .any(|member| member.identity.secret.is_some());
    let key = caller
        .principal
        .key_use()
        .map(|key| key.holder().binding().clone());
    let is_sealed = is_shared || key.is_some();
    let has_sessions = is_sealed && !is_sessionless(headers);

    let (tag, session) = if is_sealed {
        read_binding(door, target, key.as_deref(), headers, has_sessions)?
    } else {
        (None, None)
    };
    // One relay after the other may hold an id that they do not share: a session is its provider's.
    let wish = match tag.filter(|_| is_shared) {
        Some(tag) => Wish::Only(index_of(door, listing, tag)?),
        None if is_shared => wish_without_session(headers),
        None => Wish::Any,
    };

    let affinity = affinity(door, listing, headers, caller);
    let claims = PlaceClaims {
        caller: caller.owners.claims(),
        kind: kind_of(request),
    };
    let admitted = scheduler::admit(&door.gate, &listing.members, wish, affinity, claims);
    let (member, mut permit) = admitted.map_err(|error| {
        // A session cannot go on where its relay takes no calls, but it can begin again at another
        // one.
        let is_bound = matches!(wish, Wish::Only(_));
        let others_take = || listing.members.iter().any(|member| !member.is_draining());
        if is_bound && error == AdmissionError::RelayDraining && others_take() {
            McpError::SessionGone
        } else {
            McpError::Failed(not_admitted(error, &listing.id))
        }
    })?;

    if let Some(calls) = &listing.calls {
        let of_id = calls
            .take(claims.caller, 1)
            .map_err(|error| too_many(error, &listing.id, calls.capacity()))?;
        permit.place.set_within(of_id);
    }

    let admission = Admission {
        member,
        caller_tag: door.auth.caller_tag(&caller.facts, caller.owners),
        facts: caller.facts.clone(),
        session,
        is_shared,
        key,
        has_sessions,
    };
    Ok((admission, permit))
}

/// Returns the account of the memory of a call. Fails if more than half of all memory is in use,
/// and a party of the call has used up its share.
pub(super) fn account(
    door: &McpDoor,
    caller: &Caller,
    member: &Member,
) -> Result<MemoryAccount, ShareError> {
    let [caller, address] = caller.owners.claims();
    let id = Claim {
        owner: member.owner,
        factor: ID_MEMORY_FACTOR,
    };
    let account = door.memory.account([caller, address, id]);
    if door.memory.used() > door.memory.capacity() / 2 {
        drop(account.take(CALL_BYTES)?);
    }
    Ok(account)
}

/// Returns the kind of a call: listeners ask for no response, but for what may come (MCP
/// 2025-11-25, listening for messages: a GET that accepts an event stream; MCP 2026-07-28,
/// subscriptions).
fn kind_of(request: &RequestHead) -> CallKind {
    let method = request.fields.get(&METHOD);
    let is_subscription = method.is_some_and(|method| method == "subscriptions/listen");
    let takes_events = || {
        let accepted = request.fields.all_values(&header::ACCEPT);
        accepted
            .filter_map(|value| value.to_str().ok())
            .any(|value| value.contains("text/event-stream"))
    };
    if is_subscription || (request.method == Method::GET && takes_events()) {
        CallKind::Listener
    } else {
        CallKind::Ordinary
    }
}

/// Opens what is sealed into a call.
fn read_binding(
    door: &McpDoor,
    target: &Target,
    key: Option<&str>,
    headers: &Fields,
    has_sessions: bool,
) -> Result<Binding, McpError> {
    if let Some(place) = &target.at {
        let opened = door
            .seal
            .open(Scope::place(&target.id, key), place.as_bytes())
            .ok_or(McpError::SessionGone)?;
        return Ok((Some(opened.tag), None));
    }

    let Some(sealed) = headers.get(&SESSION_ID).filter(|_| has_sessions) else {
        return Ok((None, None));
    };
    let opened = door
        .seal
        .open(Scope::session(&target.id, key), sealed.as_bytes())
        .ok_or(McpError::SessionGone)?;
    let session = HeaderValue::from_bytes(&opened.session).map_err(|_| McpError::SessionGone)?;
    Ok((Some(opened.tag), Some(session)))
}

/// Returns the index of the relay with this tag. One that is away may come back for a while.
fn index_of(door: &McpDoor, listing: &Listing, tag: RelayTag) -> Result<usize, McpError> {
    let index = listing.members.iter().position(|member| member.tag == tag);
    if let Some(index) = index {
        return Ok(index);
    }

    let grace = door.config.session_grace;
    if door.registry.may_return(&listing.id, tag, grace) {
        let message = format!(
            "the relay of {} that holds this session is reconnecting",
            listing.id
        );
        return Err(CallError::new(Cause::RelayOffline, message).into());
    }
    Err(McpError::SessionGone)
}

/// Returns the wish of a call without a session.
fn wish_without_session(headers: &Fields) -> Wish {
    if !headers.contains_key(&PROTOCOL_VERSION) {
        // It may begin a session.
        return Wish::Any;
    }

    let is_about_a_task = headers
        .get(&METHOD)
        .is_some_and(|method| method.as_bytes().starts_with(b"tasks/"));
    if is_sessionless(headers) && !is_about_a_task {
        Wish::Steady
    } else {
        // An answer to a request of the provider's, for instance.
        Wish::Same
    }
}

/// Returns whether a call is of a revision without sessions. A name that is no date is taken for an
/// older revision.
fn is_sessionless(headers: &Fields) -> bool {
    let version = headers.text_of(&PROTOCOL_VERSION).unwrap_or_default();
    Revision::by_date(version).is_some_and(|revision| !revision.has_sessions())
}

/// Returns a stable hash of a caller: of its `Authorization`, or of its IP address where all
/// callers share one token. 0 where there is only one relay.
fn affinity(door: &McpDoor, listing: &Listing, headers: &Fields, caller: &Caller) -> u64 {
    if listing.members.len() == 1 {
        return 0;
    }

    let has_common_token = listing.members.iter().any(|member| member.is_protected());
    let own_token = headers
        .get(&header::AUTHORIZATION)
        .filter(|_| !has_common_token);
    let mut hasher = DefaultHasher::new();
    match own_token {
        Some(token) => token.as_bytes().hash(&mut hasher),
        None => door
            .public_url
            .caller_ip(headers, caller.peer)
            .hash(&mut hasher),
    }
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderName;

    use super::*;

    fn headers(pairs: &[(HeaderName, &'static str)]) -> Fields {
        pairs
            .iter()
            .map(|(name, value)| (name.clone(), HeaderValue::from_static(value)))
            .collect()
    }

    fn is_sessionless_in(version: &'static str) -> bool {
        is_sessionless(&headers(&[(PROTOCOL_VERSION, version)]))
    }

    #[test]
    fn revisions_without_sessions_are_recognized_by_their_date() {
        for version in ["2026-07-28", "2026-07-29", "2030-01-01"] {
            assert!(is_sessionless_in(version), "{version}");
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
            assert!(!is_sessionless_in(version), "{version}");
        }
        assert!(!is_sessionless(&Fields::new()));
    }

    /// Calls without a session are steady, and those about a task more so.
    #[test]
    fn the_wish_without_a_session_depends_on_the_revision() {
        let new = (PROTOCOL_VERSION, "2026-07-28");
        let old = (PROTOCOL_VERSION, "2025-11-25");
        let wish = |pairs: &[_]| wish_without_session(&headers(pairs));

        assert_eq!(wish(&[new.clone(), (METHOD, "tools/call")]), Wish::Steady);
        assert_eq!(wish(&[new, (METHOD, "tasks/get")]), Wish::Same);
        assert_eq!(wish(&[old]), Wish::Same);
        assert_eq!(wish(&[]), Wish::Any);
    }
}
