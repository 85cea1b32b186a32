//! The failures of calls, in words for the caller. `error` makes statuses and bodies of them.

use llamapool_http::{ForwardError, RequestMeter};
use llamapool_tunnel::SendError;
use llamapool_wire::{CallError, Cause, RelayId, error_chain};

use crate::scheduler::AdmissionError;

/// Returns whether the caller broke its own request off: it has left, and that is no error of the
/// call.
pub(super) fn is_by_the_caller(error: &ForwardError<SendError>, meter: &RequestMeter) -> bool {
    matches!(error, ForwardError::Upstream(SendError::RequestBody(_))) && !meter.has_exceeded()
}

/// Returns the failure of a call before the head of its answer.
pub(super) fn forward_failed(
    error: ForwardError<SendError>,
    meter: &RequestMeter,
    max_bytes: u64,
) -> CallError {
    let log_message = error_chain(&error);
    public_failure(error, meter, max_bytes).with_source(log_message)
}

fn public_failure(
    error: ForwardError<SendError>,
    meter: &RequestMeter,
    max_bytes: u64,
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
        ForwardError::Upstream(_) if meter.has_exceeded() => too_large(None, max_bytes),
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
        AdmissionError::Full => CallError::new(
            Cause::TunnelFull,
            format!("the tunnel of {id} carries as many calls as it can"),
        ),
    }
}

/// Returns the failure of a call to an id without relays.
pub(crate) fn offline(id: &RelayId) -> CallError {
    CallError::new(
        Cause::RelayOffline,
        format!("no relay is connected as {id}"),
    )
}

/// Returns the failure of a call beyond the bound of its id.
pub(crate) fn too_many(id: &RelayId, limit: usize) -> CallError {
    let message =
        format!("{limit} calls to {id} are running, as many as MAX_CONCURRENCY_PER_CLIENT allows");
    CallError::new(Cause::TooManyCalls, message)
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
