//! The log lines of calls: one for each, with the fields that find it on every hop.

use std::time::Duration;

use llamapool_wire::{CallError, RelayId};

use super::active_call::ActiveCall;
use super::label::LabelSet;
use super::outcome::Outcome;

/// The failure of a call, as it is logged.
pub(super) struct Failure {
    pub(super) cause: &'static str,
    pub(super) error: String,
    pub(super) is_client_error: bool,
}

/// Logs a call that is over. Failures that no caller can cause at will are warnings.
pub(super) fn ended<L: LabelSet>(
    call: &ActiveCall<L>,
    outcome: Outcome,
    duration: Duration,
    failure: Option<&Failure>,
) {
    let id = call.id.as_str();
    let req_id = call.req_id.as_str();
    let principal = call.principal.label();
    let method = call.label().as_str();
    let outcome = outcome.label();
    let ms = duration.as_secs_f64() * 1000.0;

    match failure {
        None => tracing::debug!(req_id, id, principal, method, outcome, ms, "call"),
        Some(Failure {
            cause,
            error,
            is_client_error: true,
        }) => {
            tracing::debug!(
                req_id,
                id,
                principal,
                method,
                outcome,
                ms,
                cause,
                error,
                "call failed"
            );
        }
        Some(Failure {
            cause,
            error,
            is_client_error: false,
        }) => {
            tracing::warn!(
                req_id,
                id,
                principal,
                method,
                outcome,
                ms,
                cause,
                error,
                "call failed"
            );
        }
    }
}

/// Logs a call that was not admitted. Any sender can cause it, so it must not fill the log.
pub(crate) fn refused(req_id: &str, id: Option<&RelayId>, failure: &CallError) {
    let id = id.map(RelayId::as_str);
    let cause = failure.cause.word();
    let error = failure.log_message();
    tracing::debug!(req_id, id, cause, error, "call refused");
}
