//! The relay's own token, `AUTH_TOKEN`, which callers of a protected provider must present.

use http::header::{self, HeaderMap};
use llamapool_wire::{Cause, Failure, Secret};

/// Checks a caller's token, where one is wanted.
pub(super) fn check_token(token: Option<&Secret>, headers: &HeaderMap) -> Result<(), Failure> {
    let Some(token) = token else { return Ok(()) };
    let mut values = headers.get_all(header::AUTHORIZATION).into_iter();
    let presented = match (values.next(), values.next()) {
        (Some(value), None) => value.as_bytes().split_at_checked("bearer ".len()),
        _ => None,
    };
    let is_right = presented.is_some_and(|(scheme, presented)| {
        scheme.eq_ignore_ascii_case(b"bearer ") && token.matches(presented.trim_ascii())
    });
    let message = "the token of this id is missing or wrong, expected Authorization: Bearer <AUTH_TOKEN>";
    if is_right { Ok(()) } else { Err(Failure::new(Cause::WrongToken, message)) }
}
