//! The headers of an answer on its way to the caller: those that are removed, and those that keep
//! providers apart which share the public origin.
//!
//! A relay has removed most of it already. It is done again here, as a relay is not trusted with the
//! origin of all others.

use llamapool_head::ResponseHead;
use llamapool_http::{normalize_length_of, reserved, strip_fields};
use llamapool_wire::{CallError, Cause, RelayId};

use super::call_headers::is_end_to_end;
use super::{cookies, pages};

/// The place of an answer on the public origin.
pub(super) struct AnswerOrigin<'a> {
    pub(super) id: &'a RelayId,
    /// The public path of the server, mostly empty.
    pub(super) public_path: &'a str,
    /// Whether the operator trusts the pages of the id.
    pub(super) is_trusted: bool,
    /// Whether a script of a page on the public origin has sent the request.
    pub(super) is_of_own_script: bool,
}

/// Makes the headers of a relay's answer those of the caller's. `is_empty`: nothing is in its body.
///
/// # Errors
///
/// The answer declares several lengths or none that is a number, or it is a page that is not for
/// its reader.
pub(super) fn rewrite(
    answer: &mut ResponseHead,
    is_empty: bool,
    origin: &AnswerOrigin<'_>,
) -> Result<(), CallError> {
    let status = answer.status;
    let headers = &mut answer.fields;

    strip_fields(headers, is_end_to_end, reserved::is_reserved_in_response);
    normalize_length_of(headers).map_err(|error| {
        CallError::new(
            Cause::RelayGarbage,
            "the relay's answer has a Content-Length that is not one number",
        )
        .with_source(error.to_string())
    })?;

    cookies::to_caller(headers, origin.id, origin.public_path, origin.is_trusted);
    if !origin.is_trusted && pages::is_page(status, headers, is_empty) {
        if origin.is_of_own_script {
            return Err(pages::refused());
        }
        pages::sandbox(headers);
    }
    Ok(())
}
