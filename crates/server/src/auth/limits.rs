//! Where calls are let in by the limits of their key and of their id, after both are known and before
//! it is looked up whether the id exists.

use std::net::IpAddr;
use std::time::Duration;

use axum::http::{HeaderMap, Method, header};
use llamapool_head::{FieldLookup, Fields, RequestHead};
use llamapool_identity::{AuditEvent, Counted, EventKind, Networks, QuotaError};
use llamapool_mcp::is_listening;
use llamapool_wire::{CallError, Cause, LimitPolicy, LimitUnit, RelayId};

use super::Auth;
use super::limiter::{LimitError, LimitOf, LimitedCall, LimitedRequest};
use super::principal::{Caller, Principal};
use crate::listen::Peer;

/// The answer to a wrong key after too many from one address.
pub(crate) const TOO_MANY_WRONG_KEYS: &str = "too many wrong keys came from this address";

impl Auth {
    /// Lets a call to an id in, by where it comes from, how fast, how many run and how much was used.
    /// `None` if nothing limits it.
    pub(crate) fn limit(
        &self,
        id: &RelayId,
        caller: &Caller,
        request: &RequestHead,
    ) -> Result<Option<LimitedCall>, CallError> {
        let key = caller.principal.key_use().map(|key| key.holder().as_ref());
        let limits = self.identity.limits(id.as_str());
        if key.is_none() && limits.is_none() {
            return Ok(None);
        }

        let limits = limits.as_deref();
        let address = || self.public_url.address_of(&request.fields, caller.peer);
        if let Some(key) = key {
            check_network("the caller key", key.networks(), address)?;
        }
        if let Some(limits) = limits {
            check_network("the id", &limits.networks, address)?;
        }

        let call = self.limiter.begin(&LimitedRequest {
            id: Some(id),
            key,
            limits,
            only_listens: only_listens(&request.method, &request.fields),
            now: self.identity.now(),
        });
        call.map(Some).map_err(|error| refused(error, id.as_str()))
    }

    /// Lets a call to the LLM API in by the limits of its key. `None` without a key.
    pub(crate) fn limit_llm(
        &self,
        principal: &Principal,
        headers: &HeaderMap,
        peer: Peer,
    ) -> Result<Option<LimitedCall>, CallError> {
        let Some(key) = principal.key_use().map(|key| key.holder().as_ref()) else {
            return Ok(None);
        };
        let address = || self.public_url.address_of(headers, peer);
        check_network("the caller key", key.networks(), address)?;
        let call = self.limiter.begin(&LimitedRequest {
            id: None,
            key: Some(key),
            limits: None,
            only_listens: false,
            now: self.identity.now(),
        });
        call.map(Some)
            .map_err(|error| refused(error, "the LLM API"))
    }

    /// Counts a wrong key. Returns the time after which the next one is answered as such, if too many
    /// come from the address. A right key is never asked about.
    pub(crate) fn count_wrong_key(
        &self,
        headers: &impl FieldLookup,
        peer: Peer,
    ) -> Option<Duration> {
        self.limiter
            .failed(self.public_url.caller_address(headers, peer))
    }

    /// Returns the failure of a call with a wrong key: the same for all, or that too many came from
    /// its address. A right key is never asked about.
    pub(super) fn wrong_key(
        &self,
        failure: CallError,
        headers: &impl FieldLookup,
        peer: Peer,
    ) -> CallError {
        match self.count_wrong_key(headers, peer) {
            None => failure,
            Some(wait) => {
                let address = self.audited_address(headers, peer);
                let throttled = || AuditEvent::new(EventKind::SignInThrottled).address(address);
                self.audit().write(throttled);
                CallError::new(Cause::RateLimited, TOO_MANY_WRONG_KEYS).with_retry_after(wait)
            }
        }
    }
}

/// Returns whether a request opens an event stream that only listens.
fn only_listens(method: &Method, headers: &Fields) -> bool {
    let takes_events = || {
        let accepted = headers.all_values(&header::ACCEPT);
        let mut accepted = accepted.filter_map(|accepted| accepted.to_str().ok());
        accepted.any(|accepted| accepted.contains("text/event-stream"))
    };
    is_listening(method, headers) || (method == Method::GET && takes_events())
}

fn check_network(
    what: &str,
    networks: &Networks,
    address: impl Fn() -> Option<IpAddr>,
) -> Result<(), CallError> {
    if networks.is_all() {
        return Ok(());
    }
    let address = address();
    if networks.admit(address) {
        return Ok(());
    }
    let address = address.map_or("an unknown address".to_owned(), |it| it.to_string());
    let message = format!("{what} is not for calls from {address}");
    Err(CallError::new(Cause::NotAllowed, message))
}

/// Returns the failure of a call that exceeds a limit.
fn refused(error: LimitError, id: &str) -> CallError {
    match error {
        LimitError::Rate { of, rate, wait } => {
            let name = match of {
                LimitOf::Key => "key-rate",
                LimitOf::KeyAtId => "key-rate-at-id",
                LimitOf::Id => "id-rate",
            };
            let message = match of {
                LimitOf::Key => format!("the caller key may call {rate}"),
                LimitOf::KeyAtId => format!("a caller key may call {id} {rate}"),
                LimitOf::Id => format!("all callers of {id} may call {rate} in all"),
            };
            let policy = LimitPolicy {
                name,
                quota: rate.count().into(),
                unit: LimitUnit::Requests,
                window: Some(rate.window()),
            };
            CallError::new(Cause::RateLimited, message)
                .with_retry_after(wait)
                .with_policy(policy)
        }
        LimitError::Running { of, most } => {
            let name = match of {
                LimitOf::Key | LimitOf::KeyAtId => "key-concurrency",
                LimitOf::Id => "id-concurrency",
            };
            let message = match of {
                LimitOf::Key | LimitOf::KeyAtId => {
                    format!("{most} calls of the caller key are running, as many as it may have")
                }
                LimitOf::Id => {
                    format!("{most} calls to {id} are running, as many as its access allows")
                }
            };
            at_once(name, most, message)
        }
        LimitError::Streams { most } => {
            let message =
                format!("{most} event streams of the caller key are open at {id}, as many as may");
            at_once("key-streams", most, message)
        }
        LimitError::Quota(error) => used_up(error),
    }
}

fn at_once(name: &'static str, most: u32, message: String) -> CallError {
    CallError::new(Cause::TooManyCalls, message).with_policy(LimitPolicy {
        name,
        quota: most.into(),
        unit: LimitUnit::ConcurrentRequests,
        window: None,
    })
}

fn used_up(error: QuotaError) -> CallError {
    let unit = match error.what {
        Counted::Calls => LimitUnit::Requests,
        Counted::BytesIn | Counted::BytesOut => LimitUnit::Bytes,
        Counted::Tokens => LimitUnit::Tokens,
    };
    CallError::new(Cause::QuotaUsedUp, error.to_string())
        .with_retry_after(error.resets_in)
        .with_policy(LimitPolicy {
            name: error.name,
            quota: error.most,
            unit,
            window: Some(error.window),
        })
}
