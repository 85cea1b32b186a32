//! Answers of the runtime with a status of their own, and what they teach about it.

use bytes::Bytes;
use http::{Response, StatusCode, response};
use llamapool_dialect::{AnswerTranslator, Endpoint, LlmErrorKind};
use llamapool_wire::llm::CallEnd;
use serde_json::Value;

use super::LlmCall;
use crate::providers::llm::error::{LlmError, whole_body};
use crate::providers::llm::headers::{JSON, replace_body};
use crate::providers::llm::learned::Lesson;
use crate::providers::llm::meter::CallMeter;
use crate::response_body::ResponseBody;

/// The most bytes of an error that are read.
const MAX_READ_BYTES: usize = 64 * 1024;

/// The runtime refused a call.
pub(super) struct Refused {
    pub(super) head: response::Parts,
    pub(super) body: Bytes,
    pub(super) meter: CallMeter,
}

impl Refused {
    /// Returns the status.
    pub(super) fn status(&self) -> StatusCode {
        self.head.status
    }

    /// Returns the response: the runtime's own, or that it lacks the endpoint.
    pub(super) fn response(
        mut self,
        call: &LlmCall<'_>,
    ) -> Result<Response<ResponseBody>, LlmError> {
        self.meter.end(CallEnd::Refused);
        let state = &call.runtime.state;
        let is_about_model = is_about_model(&self.body);
        let is_missing = matches!(
            self.head.status,
            StatusCode::NOT_FOUND | StatusCode::METHOD_NOT_ALLOWED | StatusCode::NOT_IMPLEMENTED
        );

        // The list is stale, or a model is being loaded.
        let is_unavailable = self.head.status == StatusCode::SERVICE_UNAVAILABLE;
        if is_unavailable || (is_missing && is_about_model) {
            state.poll_now.notify_one();
        }
        let api = call.endpoint.api();
        let has_own_api = !matches!(
            call.endpoint,
            Endpoint::StoredResponse | Endpoint::ResponseInputTokens
        );
        if is_missing
            && !is_about_model
            && has_own_api
            && !state.learned.has_worked(api, &call.model)
        {
            state.learn(Lesson::Lacks, api, &call.model);
            return Err(lacking(api));
        }
        if call.translator.is_some() {
            self.body = AnswerTranslator::error(&self.body);
            replace_body(&mut self.head.headers, JSON);
        }
        Ok(Response::from_parts(self.head, whole_body(self.body)))
    }
}

/// Returns the error for an API that the runtime turned out to lack.
pub(super) fn lacking(api: &str) -> LlmError {
    let message = format!("the runtime of this worker has no API `{api}` for this model");
    LlmError::new(LlmErrorKind::UnsupportedEndpoint, message)
}

/// Returns whether an error is about a model, and not about an endpoint: by its `param` or `code`,
/// or by the word in its message.
fn is_about_model(body: &[u8]) -> bool {
    let body = &body[..body.len().min(MAX_READ_BYTES)];
    let Ok(answer) = serde_json::from_slice::<Value>(body) else {
        return false;
    };
    let error = &answer["error"];
    let message = error.as_str().or_else(|| error["message"].as_str());
    let words = message
        .or_else(|| answer["message"].as_str())
        .unwrap_or_default();
    let has_word = words
        .split(|c: char| !c.is_alphanumeric())
        .any(|word| word.eq_ignore_ascii_case("model") || word.eq_ignore_ascii_case("models"));
    error["param"] == "model" || error["code"] == "model_not_found" || has_word
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_about_models_are_told_from_missing_endpoints() {
        for about_model in [
            r#"{"error":{"message":"No models loaded. Please load a model.","param":"model"}}"#,
            r#"{"error":{"message":"model 'x' not found, try pulling it first","code":null}}"#,
            r#"{"error":"model \"x\" not found"}"#,
            r#"{"error":{"message":"","code":"model_not_found"}}"#,
            r#"{"object":"error","message":"The model `x` does not exist.","code":404}"#,
        ] {
            assert!(is_about_model(about_model.as_bytes()), "{about_model}");
        }
        for other in [
            "404 page not found",
            r#"{"error":{"code":404,"message":"File Not Found","type":"not_found_error"}}"#,
            r#"{"detail":"Not Found"}"#,
            r#"{"error":{"message":"This server does not support embeddings","code":501}}"#,
            "[]",
        ] {
            assert!(!is_about_model(other.as_bytes()), "{other}");
        }
    }
}
