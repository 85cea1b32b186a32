//! What to do about each cause, in Markdown: for the documents, for pages and for problems in the state.
//!
//! The `match` does not compile when a cause is added without advice.

use super::Cause;

/// Returns what to do about a cause, in Markdown.
pub(super) fn advice(cause: Cause) -> &'static str {
    match cause {
        Cause::TooManyConnections
        | Cause::TunnelFull
        | Cause::TooManyCalls
        | Cause::CallerShare
        | Cause::IdShare
        | Cause::MemoryFull
        | Cause::RelayMemoryFull
        | Cause::TooManySessions => advice_for_room(cause),
        Cause::MessageDenied | Cause::MessageUnreadable | Cause::MediaTypeRefused => {
            advice_for_messages(cause)
        }
        Cause::RelayOffline => {
            "Check the id, and whether the relay runs. Try again: the call was not executed."
        }
        Cause::RelayDraining | Cause::ServerDraining => "Try again: the call was not executed.",
        Cause::KeyMissing
        | Cause::KeyInvalid
        | Cause::NotAllowed
        | Cause::RateLimited
        | Cause::QuotaUsedUp => advice_for_keys(cause),
        Cause::RequestTooSlow => {
            "Send the body without long pauses. The bounds are `REQUEST_IDLE_TIMEOUT` and `REQUEST_MIN_RATE` of the server. What was sent of it may have reached the provider, but never its end."
        }
        Cause::ProviderNotStarted => {
            "Look at the log of the relay: the program of `PROVIDER_COMMAND` cannot be started, or ends at once. Try again: the call was not executed."
        }
        Cause::MessageTooLarge => "Send less, or raise `PROVIDER_MAX_MESSAGE_BYTES` of the relay.",
        Cause::ProviderExited => {
            "Look at the log of the relay. The program may have executed the call. In an MCP session, initialize again."
        }
        Cause::RequestTooLarge => {
            "Send less, or raise `MAX_REQUEST_BYTES` of the server, for an id with a policy of messages `POLICY_MAX_BYTES`; the message names which. What was sent up to the bound may have reached the provider."
        }
        Cause::HeadTooLarge => {
            "Send smaller headers, or raise `TUNNEL_MAX_HEADER_BYTES` of server and relay."
        }
        Cause::RequestBroken => "Send the body that `Content-Length` or the chunks announce.",
        Cause::WrongToken => {
            "Send `Authorization: Bearer <AUTH_TOKEN>` with the token of this relay."
        }
        Cause::OriginRefused
        | Cause::HostRefused
        | Cause::PathRefused
        | Cause::PageRefused
        | Cause::NoPages => advice_for_addresses(cause),
        Cause::MethodRefused => "Send another method than `CONNECT` and `TRACE`.",
        Cause::TunnelLost => "Try again only if the call may be executed twice.",
        Cause::ProviderUnreachable => {
            "Start the provider, or check `PROVIDER_URL` of the relay. Try again: the call was not executed."
        }
        Cause::ProviderClosed => {
            "Look into the provider's log. Try again only if the call may be executed twice."
        }
        Cause::ProviderGarbage => "Check whether `PROVIDER_URL` of the relay is an HTTP server.",
        Cause::ProviderRedirect => {
            "Set `PROVIDER_URL` to where the provider redirects to, or raise `REDIRECT_REPLAY_BYTES` of the relay."
        }
        Cause::NoResponse => {
            "Send `Accept: application/json, text/event-stream` and read the stream."
        }
        Cause::AnswerTooLarge => {
            "Send `Accept: application/json, text/event-stream` and read the stream, or raise `MAX_ANSWER_BYTES` of the server."
        }
        Cause::RelayGarbage => {
            "Keep the headers of the call and of its answer below `TUNNEL_MAX_HEADER_BYTES`; else look into the relay's log."
        }
        Cause::CallTimeout => {
            "Raise `SHARED_CALL_TIMEOUT` of the relay. Try again only if the call may be executed twice."
        }
        Cause::FirstByteTimeout => {
            "Raise `FIRST_BYTE_TIMEOUT` or `CALL_TIMEOUT` of the server. Try again only if the call may be executed twice."
        }
    }
}

/// Returns the advice for a cause that has to do with addresses and with pages in browsers.
fn advice_for_addresses(cause: Cause) -> &'static str {
    match cause {
        Cause::OriginRefused => {
            "Add the origin to `ALLOWED_ORIGINS` of the server, if it is to be trusted."
        }
        Cause::HostRefused => {
            "Use a name that the server is meant to have, or add it to `ALLOWED_HOSTS` of the server."
        }
        Cause::PathRefused => {
            "Send the path without segments `.` and `..`, however they are spelt."
        }
        Cause::PageRefused => {
            "Open the page in the browser, or add its id to `TRUSTED_PAGES` of the server, if its provider is to be trusted. The provider may have executed the call."
        }
        Cause::NoPages => {
            "Give the address to an app as that of an MCP server. With `SIGN_IN` browsers open no page of a provider."
        }
        _ => "",
    }
}

/// Returns the advice for a cause that only ids with a policy of messages have.
fn advice_for_messages(cause: Cause) -> &'static str {
    match cause {
        Cause::MessageDenied => {
            "Do without: who runs the server does not want it. `llamapool access show` shows them the policy of the id, and the log what it has denied. With a key or a token that only reads, use another; where the answer has a challenge with `insufficient_scope`, sign in again for the scope `mcp`."
        }
        Cause::MessageUnreadable => {
            "Send one JSON-RPC message as every parser reads it: UTF-8 without a byte order mark, no key twice, nothing behind it. The message names what is wrong. A `GET` or `DELETE` must have no body."
        }
        Cause::MediaTypeRefused => {
            "Send `Content-Type: application/json`, in UTF-8, and no `Content-Encoding`."
        }
        _ => "",
    }
}

/// Returns the advice for a cause that has to do with the key of a caller or its limits.
fn advice_for_keys(cause: Cause) -> &'static str {
    match cause {
        Cause::KeyMissing | Cause::KeyInvalid => {
            "Send `Authorization: Bearer` with a caller key of the server, which `llamapool key create caller` makes, or sign in."
        }
        Cause::NotAllowed => {
            "Use a key that covers the id, or widen it with `llamapool key edit`. Where the message names an address, call from one of the `networks` of the key or of the id's access; behind a reverse proxy see `TRUST_FORWARDED`."
        }
        Cause::RateLimited => {
            "Call again after `Retry-After`. `RateLimit-Policy` names the limit: the `--rate` of the key, or that of the id's access. Without that field, too many wrong keys came from the address."
        }
        Cause::QuotaUsedUp => {
            "Wait for the next day or month in UTC, or raise the quota with `llamapool key edit`."
        }
        _ => "",
    }
}

/// Returns the advice for a cause that is a lack of room.
fn advice_for_room(cause: Cause) -> &'static str {
    match cause {
        Cause::TooManyConnections => {
            "Close connections that are not used, or try again: nothing was executed. The bound is `MAX_CONNECTIONS` of the server, of which one address gets at most eight ninths."
        }
        Cause::TunnelFull => {
            "Try again: the call was not executed. The bound is `TUNNEL_MAX_STREAMS` of the relay."
        }
        Cause::TooManyCalls => {
            "Try again: the call was not executed. The bound is `MAX_CONCURRENCY_PER_CLIENT` of the server, or, where `RateLimit-Policy` names it, the `--concurrency` or `--streams` of the key or of the id's access."
        }
        Cause::CallerShare => {
            "Try again when calls of this caller are over: the call was not executed. A caller has a share of what all have: of `TUNNEL_MAX_STREAMS` of the relay, `MAX_CONCURRENCY_PER_CLIENT` and `MAX_MEMORY` of the server; the message names which."
        }
        Cause::IdShare => {
            "Try again: the call was not executed. An id has a share of `TUNNEL_MAX_STREAMS` of its relay and of `MAX_MEMORY` of the server; the message names which."
        }
        Cause::MemoryFull => {
            "Try again: the call was not executed. The bound is `MAX_MEMORY` of the server."
        }
        Cause::RelayMemoryFull => {
            "Try again: the call was not executed. The bound is `MAX_MEMORY` of the relay."
        }
        Cause::TooManySessions => {
            "Try again after `Retry-After`: the call was not executed. The message names the share that is used up. The bounds are `MAX_SESSIONS` and `PROVIDER_MAX_STARTS` of the relay."
        }
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_cause_has_advice() {
        for cause in Cause::ALL {
            assert!(!cause.advice().is_empty(), "{cause:?}");
        }
    }
}
