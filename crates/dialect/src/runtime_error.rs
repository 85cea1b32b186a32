//! Errors that a runtime reports inside a 200: in an event, or as the whole answer.

use crate::members::{NotJsonError, decoded, each_member, is_filled, whole_number};

/// The status of an error that names none.
const UNKNOWN_STATUS: u16 = 502;
/// The longest message that is passed on, in characters.
const MAX_MESSAGE_CHARS: usize = 2000;

/// The words of runtimes for what went wrong, and the statuses that they stand for.
const STATUSES: &[(&str, u16)] = &[
    ("BadRequestError", 400),
    ("invalid_request_error", 400),
    ("invalid_prompt", 400),
    ("context_length_exceeded", 400),
    ("exceed_context_size_error", 400),
    ("AuthenticationError", 401),
    ("authentication_error", 401),
    ("PermissionDeniedError", 403),
    ("permission_error", 403),
    ("NotFoundError", 404),
    ("not_found_error", 404),
    ("model_not_found", 404),
    ("request_too_large", 413),
    ("UnprocessableEntityError", 422),
    ("RateLimitError", 429),
    ("rate_limit_error", 429),
    ("rate_limit_exceeded", 429),
    ("insufficient_quota", 429),
    ("not_supported_error", 501),
    ("ServiceUnavailableError", 503),
    ("unavailable_error", 503),
    ("timeout_error", 504),
    ("overloaded_error", 529),
];

/// An error of a runtime, with the status that it would have had as the head of an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RuntimeError {
    pub(crate) status: u16,
    pub(crate) message: String,
}

/// The members that describe an error, of it or of what it stands in.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct ErrorMembers<'a> {
    error: Option<&'a str>,
    code: Option<&'a str>,
    kind: Option<&'a str>,
    message: Option<&'a str>,
    is_error: bool,
}

impl<'a> ErrorMembers<'a> {
    /// Takes a member of the event or of the answer. Returns `false` if it describes no error.
    pub(crate) fn take(&mut self, name: &str, value: &'a str) -> bool {
        match name {
            "error" => {
                self.error = Some(value);
                self.is_error |= is_filled(value);
            }
            // `{"object":"error","message":…}` without an `error` (vLLM before 0.10).
            "object" => self.is_error |= value == "\"error\"",
            "code" => self.code = Some(value),
            "type" => {
                self.kind = Some(value);
                self.is_error |= value == "\"error\"";
            }
            "message" => self.message = Some(value),
            _ => return false,
        }
        true
    }

    /// Returns the error, `None` if the members are not those of one.
    pub(crate) fn error(&self) -> Option<RuntimeError> {
        self.is_error.then(|| self.described())
    }

    /// Returns the error that the members describe, also where they do not look like one.
    pub(crate) fn described(&self) -> RuntimeError {
        let mut inner = ErrorMembers::default();
        let inner_is_object = self.error.is_some_and(|error| {
            each_member::<NotJsonError>(error, |member| {
                inner.take(&member.name, member.value);
                Ok(())
            })
            .is_ok()
        });
        let text = match self.error {
            Some(error) if !inner_is_object => decoded(error),
            _ => None,
        };

        let codes = [inner.code, self.code];
        let words = [inner.kind, self.kind, inner.code, self.code];
        let number = codes.into_iter().flatten().find_map(status_of_number);
        let word = words.into_iter().flatten().find_map(status_of_word);
        let messages = [inner.message, self.message];
        let message = messages.into_iter().flatten().find_map(decoded);
        let raw = || self.error.unwrap_or("the runtime names no reason").into();
        RuntimeError {
            status: number.or(word).unwrap_or(UNKNOWN_STATUS),
            message: shortened(text.or(message).unwrap_or_else(raw)),
        }
    }
}

impl RuntimeError {
    /// Returns the error of an event that is not JSON.
    pub(crate) fn garbage(data: &[u8]) -> Self {
        let text: String = String::from_utf8_lossy(data).chars().take(80).collect();
        Self {
            status: UNKNOWN_STATUS,
            message: format!("an event of the runtime is no JSON object: {text:?}"),
        }
    }
}

fn status_of_number(code: &str) -> Option<u16> {
    let status = u16::try_from(whole_number(code)?).ok()?;
    (400..=599).contains(&status).then_some(status)
}

fn status_of_word(word: &str) -> Option<u16> {
    let word = decoded(word)?;
    let found = STATUSES.iter().find(|(known, _)| *known == word);
    found.map(|(_, status)| *status)
}

fn shortened(message: String) -> String {
    match message.char_indices().nth(MAX_MESSAGE_CHARS) {
        Some((end, _)) => message[..end].to_owned(),
        None => message,
    }
}
