//! The causes of the failures that llamapool itself responds to, and the response.
//!
//! A cause determines everything that a program can read: status, JSON-RPC code, the name in
//! `data.mcp`, the hop, and the word in the `Llamapool-Error` header. None has status 400, 404 or
//! 405: MCP clients read those as protocol (MCP 2025-11-25 and 2026-07-28, transports). The JSON-RPC
//! codes are positive, outside of everything that JSON-RPC 2.0 and MCP reserve.

mod advice;

use std::time::Duration;

use http::{HeaderValue, Response, StatusCode, header};
use serde::Serialize;
use serde_json::value::RawValue;

use crate::header as llamapool;
use crate::limit_policy::LimitPolicy;

/// The hop on the way from caller to provider where a call failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Hop {
    /// The public server.
    Server,
    /// The tunnel between server and relay.
    Tunnel,
    /// The relay.
    Relay,
    /// The provider behind the relay.
    Provider,
}

macro_rules! causes {
    ($($(#[doc = $doc:literal])+ $variant:ident = $word:literal $status:ident $code:literal $mcp:literal $hop:ident;)+) => {
        /// The reason for which llamapool itself responds to a call.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum Cause { $($(#[doc = $doc])+ $variant,)+ }

        impl Cause {
            /// Every cause, for tables and tests.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// Returns the word in the `Llamapool-Error` header and in metrics.
            pub fn word(self) -> &'static str {
                match self { $(Self::$variant => $word,)+ }
            }

            /// Returns the status of the response.
            pub fn status(self) -> StatusCode {
                match self { $(Self::$variant => StatusCode::$status,)+ }
            }

            /// Returns the JSON-RPC error code.
            pub fn code(self) -> u16 {
                match self { $(Self::$variant => $code,)+ }
            }

            /// Returns the name in `data.mcp`.
            pub fn mcp(self) -> &'static str {
                match self { $(Self::$variant => $mcp,)+ }
            }

            /// Returns the hop that failed.
            pub fn hop(self) -> Hop {
                match self { $(Self::$variant => Hop::$hop,)+ }
            }

            /// Returns the meaning in one sentence, for documents.
            pub fn meaning(self) -> &'static str {
                match self { $(Self::$variant => concat!($($doc),+),)+ }
            }
        }
    };
}

causes! {
    /// As many connections are open as there may be, all together or from the caller's address.
    TooManyConnections = "too_many_connections" SERVICE_UNAVAILABLE 5030 "MCP_LIMIT_EXCEEDED" Server;
    /// No relay of this id is connected.
    RelayOffline = "relay_offline" SERVICE_UNAVAILABLE 5031 "MCP_PROVIDER_UNAVAILABLE" Relay;
    /// The relay finishes what runs and takes nothing new.
    RelayDraining = "relay_draining" SERVICE_UNAVAILABLE 5032 "MCP_PROVIDER_UNAVAILABLE" Relay;
    /// The server finishes what runs and takes nothing new.
    ServerDraining = "server_draining" SERVICE_UNAVAILABLE 5033 "MCP_PROVIDER_UNAVAILABLE" Server;
    /// The tunnel has no room for another call.
    TunnelFull = "tunnel_full" SERVICE_UNAVAILABLE 5034 "MCP_LIMIT_EXCEEDED" Tunnel;
    /// The program that is the provider cannot be started, or is not started again yet; the call was not executed.
    ProviderNotStarted = "provider_not_started" SERVICE_UNAVAILABLE 5035 "MCP_PROVIDER_UNAVAILABLE" Provider;
    /// As many sessions or starts of the program that is the provider as there may be.
    TooManySessions = "too_many_sessions" SERVICE_UNAVAILABLE 5036 "MCP_LIMIT_EXCEEDED" Relay;
    /// The calls to one id, or its callers that listen, use up their share of the places of a relay, or of the memory.
    IdShare = "id_share" SERVICE_UNAVAILABLE 5037 "MCP_LIMIT_EXCEEDED" Server;
    /// The memory of the server for calls is in use.
    MemoryFull = "memory_full" SERVICE_UNAVAILABLE 5038 "MCP_LIMIT_EXCEEDED" Server;
    /// The memory of the relay for calls is in use, or the call's share of it; the provider has not seen the call.
    RelayMemoryFull = "relay_memory_full" SERVICE_UNAVAILABLE 5039 "MCP_LIMIT_EXCEEDED" Relay;
    /// As many calls are running as the id, its access or the caller key may have.
    TooManyCalls = "too_many_calls" TOO_MANY_REQUESTS 4291 "MCP_LIMIT_EXCEEDED" Server;
    /// The caller, or its address, uses up its share of the places of a relay, or of the memory.
    CallerShare = "caller_share" TOO_MANY_REQUESTS 4292 "MCP_LIMIT_EXCEEDED" Server;
    /// Calls come faster than the rate of the caller key or of the id's access, or an address presents wrong keys faster than it may.
    RateLimited = "rate_limited" TOO_MANY_REQUESTS 4293 "MCP_LIMIT_EXCEEDED" Server;
    /// The caller key has used up what it has for the day or the month.
    QuotaUsedUp = "quota_used_up" TOO_MANY_REQUESTS 4294 "MCP_LIMIT_EXCEEDED" Server;
    /// The request's body stopped or trickled; the provider has not received its end.
    RequestTooSlow = "request_too_slow" REQUEST_TIMEOUT 4081 "MCP_TIMEOUT" Server;
    /// The request body exceeds the limit.
    RequestTooLarge = "request_too_large" PAYLOAD_TOO_LARGE 4131 "MCP_LIMIT_EXCEEDED" Server;
    /// The message exceeds what the relay takes for a provider that is a program.
    MessageTooLarge = "message_too_large" PAYLOAD_TOO_LARGE 4132 "MCP_LIMIT_EXCEEDED" Relay;
    /// The request's head exceeds what the tunnel carries.
    HeadTooLarge = "head_too_large" REQUEST_HEADER_FIELDS_TOO_LARGE 4311 "MCP_LIMIT_EXCEEDED" Server;
    /// The request's body broke off, or is not framed as HTTP frames it.
    RequestBroken = "request_broken" UNPROCESSABLE_ENTITY 4221 "MCP_SCHEMA_ERROR" Server;
    /// The id has a policy of messages, and providers could read the message differently, or it is none.
    MessageUnreadable = "message_unreadable" UNPROCESSABLE_ENTITY 4222 "MCP_SCHEMA_ERROR" Server;
    /// The id has a policy of messages, and the body is not `application/json` as it is.
    MediaTypeRefused = "media_type_refused" UNSUPPORTED_MEDIA_TYPE 4151 "MCP_SCHEMA_ERROR" Server;
    /// The relay's own token is missing or wrong.
    WrongToken = "wrong_token" UNAUTHORIZED 4011 "MCP_UNAUTHORIZED" Relay;
    /// The id asks for a caller key or an access token, and none was sent.
    KeyMissing = "key_missing" UNAUTHORIZED 4012 "MCP_UNAUTHORIZED" Server;
    /// The caller key or the access token is not valid: it is unknown, has expired or was revoked, or is for another id.
    KeyInvalid = "key_invalid" UNAUTHORIZED 4013 "MCP_UNAUTHORIZED" Server;
    /// The Origin header is not one of the allowed ones.
    OriginRefused = "origin_refused" FORBIDDEN 4031 "MCP_FORBIDDEN" Server;
    /// The Host header is not one of the allowed ones.
    HostRefused = "host_refused" FORBIDDEN 4032 "MCP_FORBIDDEN" Server;
    /// The path behind the id would leave the provider's path.
    PathRefused = "path_refused" FORBIDDEN 4033 "MCP_FORBIDDEN" Server;
    /// The answer is a page, which a script of another page on the public origin may not read.
    PageRefused = "page_refused" FORBIDDEN 4034 "MCP_FORBIDDEN" Server;
    /// The method has no meaning behind the server.
    MethodRefused = "method_refused" FORBIDDEN 4035 "MCP_FORBIDDEN" Server;
    /// The caller key does not cover the id, or key or id are not for the address of the caller.
    NotAllowed = "not_allowed" FORBIDDEN 4036 "MCP_FORBIDDEN" Server;
    /// A browser asks for the answer as a page, a script or a part of one, and the server has pages of its own on the same origin.
    NoPages = "no_pages" FORBIDDEN 4037 "MCP_FORBIDDEN" Server;
    /// The policy of the id, or what the caller presented, does not allow the message; the provider has not seen it.
    MessageDenied = "message_denied" FORBIDDEN 4039 "MCP_FORBIDDEN" Server;
    /// The tunnel was lost while the call was running; the provider may have executed it.
    TunnelLost = "tunnel_lost" BAD_GATEWAY 5021 "MCP_PROVIDER_UNAVAILABLE" Tunnel;
    /// The relay could not connect to the provider; the provider has not seen the call.
    ProviderUnreachable = "provider_unreachable" BAD_GATEWAY 5022 "MCP_UPSTREAM_ERROR" Provider;
    /// The provider closed the connection before it answered; it may have executed the call.
    ProviderClosed = "provider_closed" BAD_GATEWAY 5023 "MCP_UPSTREAM_ERROR" Provider;
    /// The provider's answer is not HTTP.
    ProviderGarbage = "provider_garbage" BAD_GATEWAY 5024 "MCP_UPSTREAM_ERROR" Provider;
    /// The provider redirected in a way that cannot be followed.
    ProviderRedirect = "provider_redirect" BAD_GATEWAY 5025 "MCP_UPSTREAM_ERROR" Provider;
    /// The provider's event stream ended without the response that a caller who takes no event stream waits for.
    NoResponse = "no_response" BAD_GATEWAY 5026 "MCP_UPSTREAM_ERROR" Provider;
    /// The response that was to be made of an event stream exceeds the limit.
    AnswerTooLarge = "answer_too_large" BAD_GATEWAY 5027 "MCP_LIMIT_EXCEEDED" Server;
    /// The relay's answer breaks the tunnel's protocol.
    RelayGarbage = "relay_garbage" BAD_GATEWAY 5028 "MCP_UPSTREAM_ERROR" Relay;
    /// The program that is the provider ended before it had answered; it may have executed the call.
    ProviderExited = "provider_exited" BAD_GATEWAY 5029 "MCP_UPSTREAM_ERROR" Provider;
    /// The provider did not begin to answer in time; it may still execute the call.
    FirstByteTimeout = "first_byte_timeout" GATEWAY_TIMEOUT 5041 "MCP_TIMEOUT" Provider;
    /// A program that callers share did not answer in time; it was asked to cancel the call.
    CallTimeout = "call_timeout" GATEWAY_TIMEOUT 5042 "MCP_TIMEOUT" Provider;
}

/// The word in the `Llamapool-Error` header of an answer that a relay gives to a browser in the name of a program: the
/// request is none of MCP, and nothing is wrong with the call.
pub const NOT_FOR_BROWSERS: &str = "not_for_browsers";

/// After how many seconds a caller may retry a call that failed for lack of a relay, a program or
/// room, where nothing more precise is known.
pub const RETRY_AFTER_SECONDS: u16 = 2;

impl Cause {
    /// Returns whether the same call may succeed a little later without the risk of being executed
    /// twice.
    pub fn is_retryable(self) -> bool {
        matches!(
            self.status(),
            StatusCode::SERVICE_UNAVAILABLE | StatusCode::TOO_MANY_REQUESTS
        )
    }

    /// Returns whether the request is at fault (a status of the 400s). Every caller can cause such
    /// failures at will.
    pub fn is_client_error(self) -> bool {
        self.status().is_client_error()
    }

    /// Returns what to do about it, in Markdown.
    pub fn advice(self) -> &'static str {
        advice::advice(self)
    }

    /// Returns the challenge of the response (RFC 6750, 3), `None` if another credential changes
    /// nothing.
    fn challenge(self) -> Option<&'static str> {
        match self {
            Self::WrongToken | Self::KeyMissing => Some("Bearer"),
            Self::KeyInvalid => Some("Bearer error=\"invalid_token\""),
            _ => None,
        }
    }

    /// Returns the cause that a `Llamapool-Error` header names, `None` for an unknown word.
    pub fn from_word(word: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|cause| cause.word() == word)
    }
}

/// The failure of one call: a message for its caller, and one for the log.
#[derive(Debug, Clone)]
pub struct CallError {
    /// The cause.
    pub cause: Cause,
    /// A sentence that names the wrong value and the expected one, for the caller.
    pub message: String,
    /// The error behind it, for the log alone.
    source: Option<String>,
    /// The value of `Retry-After`, where it is known.
    retry_after: Option<Duration>,
    /// The value of `WWW-Authenticate`, where the cause alone does not determine it.
    challenge: Option<Box<str>>,
    /// The limit that the call exceeds. Boxed, as few failures have one.
    policy: Option<Box<LimitPolicy>>,
}

impl CallError {
    /// A failure with its sentence for the caller.
    pub fn new(cause: Cause, message: impl Into<String>) -> Self {
        Self {
            cause,
            message: message.into(),
            source: None,
            retry_after: None,
            challenge: None,
            policy: None,
        }
    }

    /// Sets the value of `WWW-Authenticate`.
    pub fn with_challenge(self, challenge: impl Into<Box<str>>) -> Self {
        Self {
            challenge: Some(challenge.into()),
            ..self
        }
    }

    /// Names the limit that the call exceeds.
    pub fn with_policy(self, policy: LimitPolicy) -> Self {
        Self {
            policy: Some(Box::new(policy)),
            ..self
        }
    }

    /// Sets the time after which the call may succeed, for a cause that can be retried.
    pub fn with_retry_after(self, wait: Duration) -> Self {
        Self {
            retry_after: Some(wait),
            ..self
        }
    }

    /// Returns after how many seconds the caller may retry, `None` if that may execute the call
    /// twice.
    pub fn retry_after_seconds(&self) -> Option<u64> {
        let known = self
            .retry_after
            .map(|wait| wait.as_secs_f64().ceil() as u64);
        let seconds = known.unwrap_or(RETRY_AFTER_SECONDS.into()).max(1);
        self.cause.is_retryable().then_some(seconds)
    }

    /// Adds the error behind it, for the log alone.
    pub fn with_source(self, error: impl Into<String>) -> Self {
        Self {
            source: Some(error.into()),
            ..self
        }
    }

    /// Returns the error behind it, for the log alone.
    pub fn log_source(&self) -> Option<&str> {
        self.source.as_deref()
    }

    /// Returns the message with the error behind it, for the log alone.
    pub fn log_message(&self) -> String {
        match &self.source {
            Some(source) if !self.message.contains(source) => {
                format!("{}: {source}", self.message)
            }
            _ => self.message.clone(),
        }
    }

    /// Returns the response to the call, with a JSON-RPC error object as its body.
    pub fn to_response<B: From<String>>(&self, req_id: &str) -> Response<B> {
        let json = HeaderValue::from_static("application/json");
        self.response_with(json, self.to_json(None, req_id).into())
    }

    /// Returns the response to the call with a body in another format.
    pub fn response_with<B>(&self, content_type: HeaderValue, body: B) -> Response<B> {
        let mut response = Response::new(body);
        *response.status_mut() = self.cause.status();

        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, content_type);
        headers.insert(
            llamapool::ERROR,
            HeaderValue::from_static(self.cause.word()),
        );
        if let Some(seconds) = self.retry_after_seconds() {
            headers.insert(header::RETRY_AFTER, seconds.into());
            if let Some(policy) = &self.policy {
                headers.extend(policy.fields(seconds));
            }
        }
        let challenge = self.challenge.as_deref().or(self.cause.challenge());
        let challenge = challenge.and_then(|challenge| HeaderValue::from_str(challenge).ok());
        headers.extend(challenge.map(|challenge| (header::WWW_AUTHENTICATE, challenge)));
        response
    }

    /// Returns the body of the response: a JSON-RPC error object. Its id is null, as the request's body
    /// is never parsed, except by the bridge of a program.
    pub fn to_json(&self, id: Option<&RawValue>, req_id: &str) -> String {
        #[derive(Serialize)]
        struct Body<'a> {
            jsonrpc: &'a str,
            id: Option<&'a RawValue>,
            error: Error<'a>,
        }
        #[derive(Serialize)]
        struct Error<'a> {
            code: u16,
            message: &'a str,
            data: Data<'a>,
        }
        #[derive(Serialize)]
        struct Data<'a> {
            mcp: &'a str,
            hop: Hop,
            req_id: &'a str,
        }
        let data = Data {
            mcp: self.cause.mcp(),
            hop: self.cause.hop(),
            req_id,
        };
        let error = Error {
            code: self.cause.code(),
            message: &self.message,
            data,
        };
        // Plain structs of texts and numbers always have a JSON form.
        serde_json::to_string(&Body {
            jsonrpc: "2.0",
            id,
            error,
        })
        .unwrap_or_default()
    }
}

/// Returns an error and its sources as one line.
pub fn error_chain(error: &(impl std::error::Error + ?Sized)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(deeper) = cause {
        let more = deeper.to_string();
        if !text.contains(&more) {
            text.push_str(": ");
            text.push_str(&more);
        }
        cause = deeper.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn no_cause_has_a_status_that_clients_read_as_protocol() {
        for cause in Cause::ALL {
            assert!(
                ![400, 404, 405].contains(&cause.status().as_u16()),
                "{cause:?}"
            );
        }
    }

    #[test]
    fn words_and_codes_are_unique_and_contain_the_status() {
        let words: HashSet<_> = Cause::ALL.iter().map(|cause| cause.word()).collect();
        let codes: HashSet<_> = Cause::ALL.iter().map(|cause| cause.code()).collect();

        assert_eq!(
            (words.len(), codes.len()),
            (Cause::ALL.len(), Cause::ALL.len())
        );
        for cause in Cause::ALL {
            assert_eq!(cause.code() / 10, cause.status().as_u16(), "{cause:?}");
            assert_eq!(Cause::from_word(cause.word()), Some(*cause));
        }
    }

    #[test]
    fn a_response_names_the_cause_and_the_time_of_a_retry() {
        let retryable: Response<String> =
            CallError::new(Cause::RelayOffline, "no relay").to_response("r1");
        let wrong_token: Response<String> =
            CallError::new(Cause::WrongToken, "no token").to_response("r1");

        assert_eq!(retryable.status(), StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(retryable.headers()["content-type"], "application/json");
        assert_eq!(retryable.headers()["llamapool-error"], "relay_offline");
        assert_eq!(retryable.headers()["retry-after"], "2");
        assert_eq!(wrong_token.headers()["www-authenticate"], "Bearer");
        let own = CallError::new(Cause::KeyMissing, "none").with_challenge("Bearer scope=\"mcp\"");
        let own: Response<String> = own.to_response("r1");
        assert_eq!(own.headers()["www-authenticate"], "Bearer scope=\"mcp\"");
        assert!(!wrong_token.headers().contains_key("retry-after"));
    }

    #[test]
    fn a_known_time_of_a_retry_is_rounded_up() {
        let after = |milliseconds: u64| {
            let failure = CallError::new(Cause::TooManySessions, "full");
            let failure = failure.with_retry_after(Duration::from_millis(milliseconds));
            failure.retry_after_seconds()
        };

        assert_eq!(after(0), Some(1));
        assert_eq!(after(1000), Some(1));
        assert_eq!(after(27_001), Some(28));
        let executed = CallError::new(Cause::ProviderExited, "ended");
        let executed = executed.with_retry_after(Duration::from_secs(1));
        assert_eq!(executed.retry_after_seconds(), None);
    }

    #[test]
    fn a_failure_has_exactly_these_bytes() {
        let failure = CallError::new(Cause::RelayOffline, "no relay is connected as mcp-1234");
        let json = concat!(
            r#"{"jsonrpc":"2.0","id":null,"error":{"code":5031,"message":"no relay is connected as mcp-1234","#,
            r#""data":{"mcp":"MCP_PROVIDER_UNAVAILABLE","hop":"relay","req_id":"r1"}}}"#
        );

        assert_eq!(failure.to_json(None, "r1"), json);

        let failure = failure.with_source("what only the log may know");

        assert_eq!(
            failure.to_json(None, "r1"),
            json,
            "the caller does not get to see it"
        );
        assert_eq!(
            failure.log_message(),
            "no relay is connected as mcp-1234: what only the log may know"
        );
    }
}
