//! The relay's own token, `AUTH_TOKEN`, which callers of a protected provider must present.

use http::HeaderMap;
use llamapool_wire::{CallError, Cause, Secret};

/// Checks a caller's token, where one is wanted.
pub(super) fn check_token(token: Option<&Secret>, headers: &HeaderMap) -> Result<(), CallError> {
    let Some(token) = token else { return Ok(()) };
    let message =
        "the token of this id is missing or wrong, expected Authorization: Bearer <AUTH_TOKEN>";
    if token.is_presented_in(headers) {
        Ok(())
    } else {
        Err(CallError::new(Cause::WrongToken, message))
    }
}
