//! Makes every answer that is not a provider's: the only place where an error gets its status and
//! its body.

use std::time::Duration;

use axum::body::Body;
use axum::http::{HeaderName, HeaderValue, Response, StatusCode, header};
use llamapool_dialect::{Dialect, LlmErrorKind, error_body};
use llamapool_http::{JSON_TYPE, json_response};
use llamapool_identity::{OAuthCode, OAuthError};
use llamapool_mcp::error_code;
use llamapool_wire::{
    CallError, Cause, RETRY_AFTER_SECONDS, Refusal, RefusalBody, SUBPROTOCOL, header as wire,
};
use serde_json::value::RawValue;

use crate::auth::TOO_MANY_WRONG_KEYS;
use crate::doors::llm::LlmError;

/// Whether a client may send a call again, which the SDKs of OpenAI and Anthropic obey.
const SHOULD_RETRY: HeaderName = HeaderName::from_static("x-should-retry");
/// The same as `Retry-After`, in milliseconds.
const RETRY_AFTER_MS: HeaderName = HeaderName::from_static("retry-after-ms");

/// After how many seconds a relay may ask again whose key is wrong, has ended, or does not cover its ids: only
/// an operator can change that.
const ENDED_KEY_SECONDS: u16 = 60;

/// The format of error bodies that the callers of a door read.
pub(crate) trait ErrorBody {
    /// The media type of the body.
    const CONTENT_TYPE: HeaderValue;

    /// Renders the body of an error's answer.
    fn render(failure: &CallError, req_id: &str) -> String;
}

/// The error bodies of the MCP door: JSON-RPC error objects. Their id is null, as the body of a
/// request is not parsed, except for [`refused_message`].
pub(crate) struct JsonRpc;

impl ErrorBody for JsonRpc {
    const CONTENT_TYPE: HeaderValue = JSON_TYPE;

    fn render(failure: &CallError, req_id: &str) -> String {
        failure.to_json(None, req_id)
    }
}

/// Returns the answer to a call that llamapool itself must answer.
pub(crate) fn failed_call<B: ErrorBody>(failure: &CallError, req_id: &str) -> Response<Body> {
    let body = Body::from(B::render(failure, req_id));
    failure.response_with(B::CONTENT_TYPE, body)
}

/// Returns the answer to a call whose message is refused. It repeats the id of the request, if that is
/// unambiguous.
pub(crate) fn refused_message(
    failure: &CallError,
    id: Option<&RawValue>,
    req_id: &str,
) -> Response<Body> {
    let body = Body::from(failure.to_json(id, req_id));
    failure.response_with(JsonRpc::CONTENT_TYPE, body)
}

/// Returns the answer to a call whose headers do not repeat its message, which is protocol (MCP
/// 2026-07-28, streamable HTTP).
pub(crate) fn header_mismatch(message: &str, id: Option<&RawValue>) -> Response<Body> {
    let message = serde_json::Value::from(message);
    let id = id.map_or("null", RawValue::get);
    let code = error_code::HEADER_MISMATCH;
    let body =
        format!(r#"{{"jsonrpc":"2.0","id":{id},"error":{{"code":{code},"message":{message}}}}}"#);

    let mut response = json_response(StatusCode::BAD_REQUEST, body);
    response
        .headers_mut()
        .insert(wire::ERROR, HeaderValue::from_static("header_mismatch"));
    response
}

/// Returns the answer to a call to the LLM API that llamapool itself must answer.
pub(crate) fn failed_llm_call(
    failure: &LlmError,
    dialect: Dialect,
    req_id: &str,
) -> Response<Body> {
    let LlmError { kind, param, .. } = failure;
    let body = error_body(dialect, *kind, &failure.message, *param, req_id);
    let mut response = json_response(kind.status(dialect), body);

    let headers = response.headers_mut();
    headers.insert(wire::ERROR, HeaderValue::from_static(kind.word()));
    let retry = if kind.should_retry() { "true" } else { "false" };
    headers.insert(SHOULD_RETRY, HeaderValue::from_static(retry));
    let known = failure.retry_after;
    let default = kind
        .should_retry()
        .then_some(Duration::from_secs(RETRY_AFTER_SECONDS.into()));
    if let Some(wait) = known.or(default) {
        let millis = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX);
        headers.insert(header::RETRY_AFTER, millis.div_ceil(1000).max(1).into());
        headers.insert(RETRY_AFTER_MS, millis.into());
    }
    let allow = failure.allow.map(HeaderValue::from_static);
    headers.extend(allow.map(|allow| (header::ALLOW, allow)));
    match kind {
        LlmErrorKind::Unauthorized => {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        LlmErrorKind::WebSocketNotSupported => {
            headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        _ => {}
    }
    response
}

/// Returns the answer to a call whose session is gone for good: the one answer of llamapool's own
/// that is meant as protocol. It makes a client initialize again (MCP 2025-03-26 and later, session
/// management).
pub(crate) fn session_gone() -> Response<Body> {
    let body =
        r#"{"jsonrpc":"2.0","id":null,"error":{"code":-32001,"message":"Session not found"}}"#;

    let mut response = json_response(StatusCode::NOT_FOUND, body.to_owned());
    response
        .headers_mut()
        .insert(wire::ERROR, HeaderValue::from_static("session_gone"));
    response
}

/// Returns the answer to a relay that may not connect.
pub(crate) fn refused_relay(refusal: Refusal, message: String) -> Response<Body> {
    let body = RefusalBody {
        error: refusal,
        message,
    };
    let mut response = json_response(
        refusal.status(),
        serde_json::to_string(&body).unwrap_or_default(),
    );

    let headers = response.headers_mut();
    match refusal {
        Refusal::WrongKey => {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        Refusal::KeyEnded => {
            let challenge = HeaderValue::from_static("Bearer error=\"invalid_token\"");
            headers.insert(header::WWW_AUTHENTICATE, challenge);
            headers.insert(header::RETRY_AFTER, ENDED_KEY_SECONDS.into());
        }
        Refusal::IdNotAllowed | Refusal::TooManyWrongKeys => {
            headers.insert(header::RETRY_AFTER, ENDED_KEY_SECONDS.into());
        }
        Refusal::Version => {
            headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
            headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
            headers.insert(
                header::SEC_WEBSOCKET_VERSION,
                HeaderValue::from_static("13"),
            );
            headers.insert(
                header::SEC_WEBSOCKET_PROTOCOL,
                HeaderValue::from_static(SUBPROTOCOL),
            );
        }
        Refusal::Draining | Refusal::TooManyRelays => {
            headers.insert(header::RETRY_AFTER, RETRY_AFTER_SECONDS.into());
        }
        Refusal::InvalidHeader | Refusal::IdTaken | Refusal::IdKept => {}
    }
    response
}

/// Returns the answer to a request without the API key and without a valid admin key.
pub(crate) fn unauthorized() -> Response<Body> {
    let mut response = plain(
        StatusCode::UNAUTHORIZED,
        "unauthorized",
        "expected Authorization: Bearer <API_KEY>, or an admin key",
    );

    response
        .headers_mut()
        .insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    response
}

/// Returns the answer to an admin key that lacks a right, or is not for the address: the same for both.
pub(crate) fn not_allowed() -> Response<Body> {
    plain(
        StatusCode::FORBIDDEN,
        Cause::NotAllowed.word(),
        "the admin key may not do this, or not from this address",
    )
}

/// Returns the answer to a wrong API key after too many from one address.
pub(crate) fn too_many_wrong_keys(wait: Duration) -> Response<Body> {
    let mut response = plain(
        StatusCode::TOO_MANY_REQUESTS,
        Cause::RateLimited.word(),
        TOO_MANY_WRONG_KEYS,
    );

    let seconds = wait.as_secs_f64().ceil() as u64;
    response
        .headers_mut()
        .insert(header::RETRY_AFTER, seconds.max(1).into());
    response
}

/// Returns the answer to a request for a path that does not exist.
pub(crate) fn not_found() -> Response<Body> {
    plain(
        StatusCode::NOT_FOUND,
        "not_found",
        "no such path; MCP servers are at /api/mcp/id/<id>",
    )
}

/// Returns the answer where there are no metadata: MCP clients then go on without (MCP 2025-06-18,
/// authorization).
pub(crate) fn no_metadata() -> Response<Body> {
    plain(
        StatusCode::NOT_FOUND,
        "not_found",
        "there is no such OAuth metadata; those of an MCP server have its path",
    )
}

/// Returns the answer to a request that would do more with a document than read it.
pub(crate) fn only_get() -> Response<Body> {
    let mut response = plain(
        StatusCode::METHOD_NOT_ALLOWED,
        "method_not_allowed",
        "expected GET",
    );

    response.headers_mut().insert(
        header::ALLOW,
        HeaderValue::from_static("GET, HEAD, OPTIONS"),
    );
    response
}

/// Returns the answer of an OAuth endpoint: JSON that nothing on the way keeps (RFC 6749, 5.1).
pub(crate) fn oauth_answer(status: StatusCode, body: &serde_json::Value) -> Response<Body> {
    let mut response = json_response(status, body.to_string());
    let no_store = HeaderValue::from_static("no-store");
    response
        .headers_mut()
        .insert(header::CACHE_CONTROL, no_store);
    response
}

/// Returns the answer of an OAuth endpoint that refuses (RFC 6749, 5.2).
pub(crate) fn failed_oauth(failure: &OAuthError) -> Response<Body> {
    let status = match failure.code {
        OAuthCode::InvalidClient => StatusCode::UNAUTHORIZED,
        OAuthCode::AccessDenied => StatusCode::FORBIDDEN,
        OAuthCode::ServerError => StatusCode::INTERNAL_SERVER_ERROR,
        OAuthCode::TemporarilyUnavailable => StatusCode::SERVICE_UNAVAILABLE,
        _ => StatusCode::BAD_REQUEST,
    };
    let body = serde_json::json!({
        "error": failure.code.word(),
        "error_description": ascii(&failure.description),
    });
    let mut response = oauth_answer(status, &body);
    if failure.code == OAuthCode::TemporarilyUnavailable {
        let seconds = RETRY_AFTER_SECONDS.into();
        response.headers_mut().insert(header::RETRY_AFTER, seconds);
    }
    response
}

/// Returns a description in the characters that it may have (RFC 6749, 5.2).
fn ascii(description: &str) -> String {
    let shown = |c: char| match c {
        '"' | '\\' => '\'',
        ' '..='~' => c,
        _ => '?',
    };
    description.chars().map(shown).collect()
}

/// Returns the answer to a request for an endpoint that takes POST alone.
pub(crate) fn only_post() -> Response<Body> {
    let mut response = plain(
        StatusCode::METHOD_NOT_ALLOWED,
        "invalid_request",
        "expected POST",
    );
    let allow = HeaderValue::from_static("POST, OPTIONS");
    response.headers_mut().insert(header::ALLOW, allow);
    response
}

/// Returns the answer when all state streams are taken.
pub(crate) fn too_many_streams() -> Response<Body> {
    let mut response = plain(
        StatusCode::SERVICE_UNAVAILABLE,
        "too_many_streams",
        "all state streams are in use",
    );

    response
        .headers_mut()
        .insert(header::RETRY_AFTER, RETRY_AFTER_SECONDS.into());
    response
}

/// Returns the answer of a draining server to a readiness probe.
pub(crate) fn draining() -> Response<Body> {
    plain(
        StatusCode::SERVICE_UNAVAILABLE,
        "draining",
        "the server is draining",
    )
}

/// Returns the answer of a server without certificate to a readiness probe. The names that it waits for
/// are public; the reason, which may name files, is for the operator.
pub(crate) fn certificate_pending(pending: &str) -> Response<Body> {
    plain(
        StatusCode::SERVICE_UNAVAILABLE,
        "certificate_pending",
        &format!("certificate pending: {pending}; the log has the reason if it takes long"),
    )
}

/// Returns the answer to a request that must not come over plain HTTP.
pub(crate) fn use_https() -> Response<Body> {
    let mut response = plain(
        StatusCode::FORBIDDEN,
        "use_https",
        "this port takes no calls and no credentials: use https, and replace a key that was sent here",
    );

    let close = HeaderValue::from_static("close");
    response.headers_mut().insert(header::CONNECTION, close);
    response
}

/// Returns an answer with a word for programs and a sentence for people.
pub(crate) fn plain(status: StatusCode, error: &str, message: &str) -> Response<Body> {
    json_response(
        status,
        serde_json::json!({ "error": error, "message": message }).to_string(),
    )
}
