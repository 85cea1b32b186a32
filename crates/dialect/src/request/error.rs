//! Bodies that cannot be read, in words for the caller.

use super::cursor::WalkError;
use super::{MAX_DEPTH, MAX_MODEL_NAME_CHARS};
use crate::error_body::LlmErrorKind;
use crate::form::FormError;

/// The longest part of a wrong value that an error repeats, in characters.
const MAX_SHOWN_CHARS: usize = 40;

/// A body that cannot be read, or in which a member has a wrong value.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RequestError {
    /// There is no body.
    #[error("the body is empty, expected JSON")]
    Empty,
    /// The body is not JSON.
    #[error("the body is not JSON: {problem}")]
    NotJson {
        /// The problem and its place.
        problem: String,
    },
    /// The body is JSON, and no object.
    #[error("the body is {found}, expected an object")]
    NotAnObject {
        /// The kind of its value.
        found: &'static str,
    },
    /// The body is nested too deeply.
    #[error("the body is nested deeper than {MAX_DEPTH} levels")]
    TooDeep,
    /// A member that is read stands there twice. Readers differ in which one counts.
    #[error("`{name}` is there twice, expected once")]
    Duplicate {
        /// Its name.
        name: &'static str,
    },
    /// A member has the name of one that is read, but for the case of its letters. Some runtimes
    /// take it for that one.
    #[error("the member `{found}` differs from `{name}` in case, expected `{name}`")]
    OtherCase {
        /// The name as it stands there.
        found: String,
        /// The name that is read.
        name: &'static str,
    },
    /// A member has a wrong value.
    #[error("`{name}` is {found}, expected {expected}")]
    WrongValue {
        /// Its name.
        name: &'static str,
        /// The value, or its kind.
        found: String,
        /// The values that it may have.
        expected: &'static str,
    },
    /// A member asks for what a runtime with another API cannot do. Leaving it out would change the
    /// answer.
    #[error("`{name}` cannot be honoured by the runtime of this worker: {reason}")]
    NotTranslatable {
        /// Its name.
        name: &'static str,
        /// Why not.
        reason: &'static str,
    },
    /// The name of a model is too long.
    #[error("`model` has {chars} characters, expected at most {MAX_MODEL_NAME_CHARS}")]
    LongModelName {
        /// Its length in characters.
        chars: usize,
    },
    /// The name of a model has characters that cannot be printed.
    #[error("`model` is {found}, expected printable characters")]
    UnprintableModelName {
        /// The name, with escapes.
        found: String,
    },
    /// The body is a form, and the endpoint takes JSON.
    #[error("the body is multipart/form-data, expected JSON")]
    UnexpectedForm,
    /// The endpoint takes a form, and the body is something else.
    #[error("the body is {found}, expected multipart/form-data")]
    ExpectedForm {
        /// The type of the body.
        found: String,
    },
    /// The form cannot be read.
    #[error(transparent)]
    Form(#[from] FormError),
}

impl RequestError {
    /// Returns the kind of the error, which has the status.
    pub fn kind(&self) -> LlmErrorKind {
        match self {
            Self::UnexpectedForm | Self::ExpectedForm { .. } => LlmErrorKind::UnsupportedMediaType,
            _ => LlmErrorKind::InvalidRequest,
        }
    }

    /// Returns the name of the member or part that is wrong. `None` if it is the body as a whole.
    pub fn param(&self) -> Option<&'static str> {
        match self {
            Self::Duplicate { name }
            | Self::OtherCase { name, .. }
            | Self::WrongValue { name, .. }
            | Self::NotTranslatable { name, .. } => Some(name),
            Self::LongModelName { .. } | Self::UnprintableModelName { .. } => Some("model"),
            Self::Form(error) => error.param(),
            _ => None,
        }
    }
}

impl From<WalkError> for RequestError {
    fn from(error: WalkError) -> Self {
        match error {
            WalkError::TooDeep => Self::TooDeep,
            WalkError::NotJson => Self::NotJson {
                problem: "a value is missing".to_owned(),
            },
        }
    }
}

/// Returns the beginning of a text of the caller, with escapes for control characters.
pub(crate) fn shown(text: &str) -> String {
    let mut shown = escaped(text, MAX_SHOWN_CHARS);
    if text.chars().nth(MAX_SHOWN_CHARS).is_some() {
        shown.push('…');
    }
    shown
}

/// Returns the first characters of a text of the caller, with escapes for control characters.
pub(crate) fn escaped(text: &str, max_chars: usize) -> String {
    let mut escaped = String::with_capacity(text.len().min(max_chars));
    for char in text.chars().take(max_chars) {
        if char.is_control() {
            escaped.extend(char.escape_default());
        } else {
            escaped.push(char);
        }
    }
    escaped
}
