//! The failures of calls, in words for the caller. `error` makes statuses and bodies of them.

use llamapool_http::{ForwardError, RequestMeter, RequestPace};
use llamapool_limits::ShareError;
use llamapool_tunnel::SendError;
use llamapool_wire::{CallError, Cause, RelayId, error_chain};

use super::forward::Forwarder;
use crate::scheduler::{AdmissionError, ShareOf};

/// Returns whether the caller broke its own request off: it has left, and that is no error of the
/// call.
pub(super) fn is_by_the_caller(error: &ForwardError<SendError>, meter: &RequestMeter) -> bool {
    matches!(error, ForwardError::Upstream(SendError::RequestBody(_)))
        && !meter.has_exceeded()
        && !meter.is_too_slow()
}

/// Returns the failure of a call before the head of its answer.
pub(super) fn forward_failed(
    error: ForwardError<SendError>,
    meter: &RequestMeter,
    forwarder: &Forwarder,
) -> CallError {
    let log_message = error_chain(&error);
    public_failure(error, meter, forwarder).with_source(log_message)
}

fn public_failure(
    error: ForwardError<SendError>,
    meter: &RequestMeter,
    forwarder: &Forwarder,
) -> CallError {
    match error {
        ForwardError::FirstByteTimeout(patience) => {
            let message = format!(
                "the provider did not begin to answer within {patience:?}, see FIRST_BYTE_TIMEOUT"
            );
            CallError::new(Cause::FirstByteTimeout, message)
        }
        ForwardError::CallTimeout(patience) => {
            let message = format!("the call took longer than {patience:?}, see CALL_TIMEOUT");
            CallError::new(Cause::FirstByteTimeout, message)
        }
        ForwardError::Upstream(_) if meter.has_exceeded() => {
            too_large(None, forwarder.max_request_bytes)
        }
        ForwardError::Upstream(_) if meter.is_too_slow() => {
            too_slow(meter.bytes(), &forwarder.pace)
        }
        ForwardError::Upstream(SendError::NotAccepted(_)) => CallError::new(
            Cause::RelayOffline,
            "the tunnel ended before it took the call",
        ),
        ForwardError::Upstream(SendError::TunnelLost(_)) => CallError::new(
            Cause::TunnelLost,
            "the tunnel to the relay was lost; the provider may have executed the call",
        ),
        ForwardError::Upstream(SendError::RequestBody(_)) => CallError::new(
            Cause::RequestBroken,
            "the request's body broke off, or its framing is not that of HTTP",
        ),
        ForwardError::Upstream(SendError::HeadTooLarge(why)) => CallError::new(
            Cause::HeadTooLarge,
            format!("the request cannot go through the tunnel: {why}, see TUNNEL_MAX_HEADER_BYTES"),
        ),
        ForwardError::Upstream(SendError::GivenUp(why)) => CallError::new(
            Cause::RelayGarbage,
            format!("the relay ended the call: {why}"),
        ),
        ForwardError::Upstream(SendError::Malformed(_)) => CallError::new(
            Cause::RelayGarbage,
            "the call cannot be sent through the tunnel",
        ),
    }
}

/// Returns the failure of a call whose caller's key has ended.
pub(crate) fn key_ended() -> CallError {
    let message = "the caller key has ended while the call ran; the provider may have executed it";
    CallError::new(Cause::KeyInvalid, message)
}

/// Returns the failure of a call that is not admitted.
pub(crate) fn not_admitted(error: AdmissionError, id: &RelayId) -> CallError {
    match error {
        AdmissionError::ServerDraining => {
            CallError::new(Cause::ServerDraining, "the server is draining")
        }
        AdmissionError::Offline => offline(id),
        AdmissionError::RelayDraining => CallError::new(
            Cause::RelayDraining,
            format!("the relay of {id} is draining"),
        ),
        AdmissionError::Share(of) => share_used_up(of, id),
        AdmissionError::Full => CallError::new(
            Cause::TunnelFull,
            format!("the tunnel of {id} carries as many calls as it can"),
        ),
    }
}

/// Returns the failure of a call whose party has used up its share of the places of its relay.
fn share_used_up(of: ShareOf, id: &RelayId) -> CallError {
    let what = match of {
        ShareOf::Caller => "calls of this caller use up its share of the places of",
        ShareOf::Address => "calls from this address use up its share of the places of",
        ShareOf::Id => "calls to this id use up its share of the places of",
        ShareOf::Listeners => "callers that listen use up their share of the places of",
    };
    let message = format!("{what} the relay of {id}, see TUNNEL_MAX_STREAMS");
    CallError::new(cause_of_share(of), message)
}

/// Returns the failure of a call for which no memory is left, in all or for one party.
pub(crate) fn no_memory(error: ShareError, id: &RelayId) -> CallError {
    match error {
        ShareError::Full => CallError::new(
            Cause::MemoryFull,
            "the memory for calls is in use, see MAX_MEMORY",
        ),
        ShareError::Owner(index) => {
            let of = ShareOf::at(index);
            let whose = match of {
                ShareOf::Caller => "this caller holds its".to_owned(),
                ShareOf::Address => "this address holds its".to_owned(),
                ShareOf::Id | ShareOf::Listeners => format!("the calls to {id} hold their"),
            };
            let message = format!("{whose} share of the memory for calls, see MAX_MEMORY");
            CallError::new(cause_of_share(of), message)
        }
    }
}

fn cause_of_share(of: ShareOf) -> Cause {
    match of {
        ShareOf::Caller | ShareOf::Address => Cause::CallerShare,
        ShareOf::Id | ShareOf::Listeners => Cause::IdShare,
    }
}

/// Returns the failure of a call whose body arrives too slowly.
pub(crate) fn too_slow(bytes: u64, pace: &RequestPace) -> CallError {
    let RequestPace { idle, min_rate } = pace;
    let mut message = format!("the request body stopped or trickled after {bytes} bytes");
    if let Some(idle) = idle {
        message.push_str(&format!(
            ", see REQUEST_IDLE_TIMEOUT ({idle:?}) and REQUEST_MIN_RATE ({min_rate} bytes/s)"
        ));
    }
    CallError::new(Cause::RequestTooSlow, message)
}

/// Returns the failure of a call to an id without relays.
pub(crate) fn offline(id: &RelayId) -> CallError {
    CallError::new(
        Cause::RelayOffline,
        format!("no relay is connected as {id}"),
    )
}

/// Returns the failure of a call beyond the bound of its id, `limit`, or beyond the share that one
/// party has of it.
pub(crate) fn too_many(error: ShareError, id: &RelayId, limit: usize) -> CallError {
    let of = match error {
        ShareError::Full => {
            let message = format!(
                "{limit} calls to {id} are running, as many as MAX_CONCURRENCY_PER_CLIENT allows"
            );
            return CallError::new(Cause::TooManyCalls, message);
        }
        ShareError::Owner(0) => "calls of this caller",
        ShareError::Owner(_) => "calls from this address",
    };
    let message = format!(
        "{of} use up its share of the {limit} calls to {id} that MAX_CONCURRENCY_PER_CLIENT allows"
    );
    CallError::new(Cause::CallerShare, message)
}

/// Returns the failure of a call to a path that no call may have.
pub(crate) fn path_refused(why: &str) -> CallError {
    CallError::new(
        Cause::PathRefused,
        format!("the path behind the id is refused: {why}"),
    )
}

/// Returns the failure of a call with too large a body, of which `declared` is the length, if the
/// caller has declared it.
pub(super) fn too_large(declared: Option<u64>, max_bytes: u64) -> CallError {
    let size = declared
        .map(|bytes| format!(" of {bytes} bytes"))
        .unwrap_or_default();
    CallError::new(
        Cause::RequestTooLarge,
        format!("the request body{size} exceeds {max_bytes} bytes, see MAX_REQUEST_BYTES"),
    )
}
