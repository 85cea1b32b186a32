//! What the server demands of one attempt, in its headers.

use std::str::FromStr;
use std::time::Duration;

use http::{HeaderMap, HeaderName};
use llamapool_wire::header as wire;
use llamapool_wire::llm::ResponseForm;
use percent_encoding::percent_decode_str;

/// The waits of a server that names none.
const FIRST_CONTENT_TIMEOUT: Duration = Duration::from_secs(600);
const IDLE_TIMEOUT: Duration = Duration::from_secs(120);

/// What the server demands of one attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct CallParams {
    /// The number of the attempt.
    pub(super) attempt: u64,
    /// The runtime's name of the model, `None` if the call has none.
    pub(super) model: Option<String>,
    /// The form that the caller wants, `None` if the server leaves it to the body.
    pub(super) form: Option<ResponseForm>,
    /// The longest wait for the first content.
    pub(super) first_content: Duration,
    /// The longest wait between two events after it.
    pub(super) idle: Duration,
}

impl CallParams {
    /// Reads the headers of a call. What is missing or wrong has a default.
    pub(super) fn of(headers: &HeaderMap) -> Self {
        let text = |name: &HeaderName| headers.get(name)?.to_str().ok();
        let model = text(&wire::MODEL).and_then(|model| {
            let model = percent_decode_str(model).decode_utf8().ok()?;
            Some(model.into_owned())
        });
        let wait = |name: &HeaderName| number(headers, name).map(Duration::from_millis);
        Self {
            attempt: number(headers, &wire::ATTEMPT).unwrap_or_default(),
            model,
            form: text(&wire::RESPONSE_FORM).and_then(ResponseForm::parse),
            first_content: wait(&wire::FIRST_CONTENT_TIMEOUT).unwrap_or(FIRST_CONTENT_TIMEOUT),
            idle: wait(&wire::IDLE_TIMEOUT).unwrap_or(IDLE_TIMEOUT),
        }
    }
}

fn number<T: FromStr>(headers: &HeaderMap, name: &HeaderName) -> Option<T> {
    headers.get(name)?.to_str().ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn the_demands_of_the_server_are_read_from_headers() {
        let mut headers = HeaderMap::new();
        headers.insert(wire::ATTEMPT, HeaderValue::from_static("771"));
        headers.insert(wire::MODEL, HeaderValue::from_static("qwen%C3%A4%3A8b"));
        headers.insert(wire::RESPONSE_FORM, HeaderValue::from_static("whole"));
        headers.insert(wire::IDLE_TIMEOUT, HeaderValue::from_static("1500"));
        headers.insert(wire::FIRST_CONTENT_TIMEOUT, HeaderValue::from_static("x"));

        let params = CallParams::of(&headers);

        assert_eq!(params.attempt, 771);
        assert_eq!(params.model.as_deref(), Some("qwenä:8b"));
        assert_eq!(params.form, Some(ResponseForm::Whole));
        assert_eq!(params.idle, Duration::from_millis(1500));
        assert_eq!(params.first_content, FIRST_CONTENT_TIMEOUT);
    }
}
