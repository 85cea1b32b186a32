//! What goes wrong with calls, in words that a caller may know. Statuses and bodies are made of them in `error`.

use llamapool_proxy::{ForwardError, RequestMeter};
use llamapool_tunnel::SendError;
use llamapool_wire::{Cause, Failure, RelayId, with_causes};

/// Whether the caller broke its own request off: it has left, and that is no error of the call.
pub(super) fn is_by_the_caller(error: &ForwardError<SendError>, meter: &RequestMeter) -> bool {
    matches!(error, ForwardError::Upstream(SendError::RequestBody(_))) && !meter.has_exceeded()
}

/// What a call failed with before the head of its answer.
pub(super) fn failure(
    error: ForwardError<SendError>,
    meter: &RequestMeter,
    max_bytes: u64,
) -> Failure {
    let for_the_log = with_causes(&error);
    as_the_caller_may_know(error, meter, max_bytes).because(for_the_log)
}

fn as_the_caller_may_know(
    error: ForwardError<SendError>,
    meter: &RequestMeter,
    max_bytes: u64,
) -> Failure {
    match error {
        ForwardError::NoHeaders(patience) => {
            let message = format!(
                "the provider did not begin to answer within {patience:?}, see FIRST_BYTE_TIMEOUT"
            );
            Failure::new(Cause::FirstByteTimeout, message)
        }
        ForwardError::TooLong(patience) => {
            let message = format!("the call took longer than {patience:?}, see CALL_TIMEOUT");
            Failure::new(Cause::FirstByteTimeout, message)
        }
        ForwardError::Upstream(_) if meter.has_exceeded() => too_large(None, max_bytes),
        ForwardError::Upstream(SendError::NotTaken(_)) => Failure::new(
            Cause::RelayOffline,
            "the tunnel ended before it took the call",
        ),
        ForwardError::Upstream(SendError::TunnelLost(_)) => Failure::new(
            Cause::TunnelLost,
            "the tunnel to the relay was lost; the provider may have executed the call",
        ),
        ForwardError::Upstream(SendError::RequestBody(_)) => Failure::new(
            Cause::RequestBroken,
            "the request's body broke off, or its framing is not that of HTTP",
        ),
        ForwardError::Upstream(SendError::HeadTooLarge(why)) => Failure::new(
            Cause::HeadTooLarge,
            format!("the request cannot go through the tunnel: {why}, see TUNNEL_MAX_HEADER_BYTES"),
        ),
        ForwardError::Upstream(SendError::GivenUp(why)) => Failure::new(
            Cause::RelayGarbage,
            format!("the relay ended the call: {why}"),
        ),
        ForwardError::Upstream(SendError::Malformed(_)) => Failure::new(
            Cause::RelayGarbage,
            "the call cannot be sent through the tunnel",
        ),
    }
}

pub(super) fn offline(id: &RelayId) -> Failure {
    Failure::new(
        Cause::RelayOffline,
        format!("no relay is connected as {id}"),
    )
}

pub(super) fn too_many(id: &RelayId, limit: usize) -> Failure {
    let message =
        format!("{limit} calls to {id} are running, as many as MAX_CONCURRENCY_PER_CLIENT allows");
    Failure::new(Cause::TooManyCalls, message)
}

pub(super) fn path_refused(why: &str) -> Failure {
    Failure::new(
        Cause::PathRefused,
        format!("the path behind the id is refused: {why}"),
    )
}

pub(super) fn too_large(declared: Option<u64>, max_bytes: u64) -> Failure {
    let size = declared
        .map(|bytes| format!(" of {bytes} bytes"))
        .unwrap_or_default();
    Failure::new(
        Cause::RequestTooLarge,
        format!("the request body{size} exceeds {max_bytes} bytes, see MAX_REQUEST_BYTES"),
    )
}
