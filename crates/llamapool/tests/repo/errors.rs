//! The tables of docs/reference/errors.md are those of the code.
//!
//! Statuses, codes and meanings come from the code. The advice for each cause is here, in a `match`
//! that does not compile when a cause is added without one.

use llamapool_wire::{Cause, Refusal};

use crate::document::{assert_current, read, with_part};

/// Every refusal, in the order of its table.
const REFUSALS: [Refusal; 7] = [
    Refusal::WrongKey,
    Refusal::InvalidHeader,
    Refusal::IdTaken,
    Refusal::IdKept,
    Refusal::Version,
    Refusal::Draining,
    Refusal::TooManyRelays,
];

fn causes() -> String {
    let mut table = String::from(
        "| `Llamapool-Error` | status | `code` | `data.mcp` | `data.hop` | meaning | what to do |\n",
    );
    table.push_str("|---|---|---|---|---|---|---|\n");
    for cause in Cause::ALL {
        let hop = serde_json::to_value(cause.hop()).expect("a hop is a word");
        table.push_str(&format!(
            "| `{}` | {} | {} | `{}` | `{}` | {} | {} |\n",
            cause.word(),
            cause.status().as_u16(),
            cause.code(),
            cause.mcp(),
            hop.as_str().unwrap_or_default(),
            cause.meaning().trim(),
            advice(*cause),
        ));
    }
    table
}

fn advice(cause: Cause) -> &'static str {
    match cause {
        Cause::TooManyConnections
        | Cause::TunnelFull
        | Cause::TooManyCalls
        | Cause::CallerShare
        | Cause::IdShare
        | Cause::MemoryFull
        | Cause::RelayMemoryFull
        | Cause::TooManySessions => advice_for_room(cause),
        Cause::RelayOffline => {
            "Check the id, and whether the relay runs. Try again: the call was not executed."
        }
        Cause::RelayDraining | Cause::ServerDraining => "Try again: the call was not executed.",
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
            "Send less, or raise `MAX_REQUEST_BYTES` of the server. What was sent up to the bound may have reached the provider."
        }
        Cause::HeadTooLarge => {
            "Send smaller headers, or raise `TUNNEL_MAX_HEADER_BYTES` of server and relay."
        }
        Cause::RequestBroken => "Send the body that `Content-Length` or the chunks announce.",
        Cause::WrongToken => {
            "Send `Authorization: Bearer <AUTH_TOKEN>` with the token of this relay."
        }
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
            "Try again: the call was not executed. The bound is `MAX_CONCURRENCY_PER_CLIENT` of the server."
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
        _ => panic!("{cause:?} is no lack of room"),
    }
}

fn refusals() -> String {
    let mut table = String::from("| `error` | status | what to do |\n|---|---|---|\n");
    for refusal in REFUSALS {
        table.push_str(&format!(
            "| `{}` | {} | {} |\n",
            refusal.label(),
            refusal.status().as_u16(),
            remedy(refusal)
        ));
    }
    table
}

fn remedy(refusal: Refusal) -> &'static str {
    match refusal {
        Refusal::WrongKey => "Give the relay the server's `WORKER_KEY`.",
        Refusal::InvalidHeader => {
            "Correct what the message names, such as a `CLIENT_ID` with a character that an id cannot have."
        }
        Refusal::IdTaken => {
            "Choose another `CLIENT_ID`, or give all relays of this id the same `CLIENT_SECRET`."
        }
        Refusal::IdKept => {
            "Give the relay the `CLIENT_SECRET` that the id was held with last, or choose another `CLIENT_ID`. The server keeps the id for `KEEP_IDS`."
        }
        Refusal::Version => {
            "Run relay and server of the same version, and check that a proxy in between passes the WebSocket upgrade on."
        }
        Refusal::Draining => "Wait; a relay with `RECONNECT` does so by itself.",
        Refusal::TooManyRelays => "Raise `MAX_RELAYS` of the server, or end relays.",
    }
}

#[test]
fn tables_of_errors_are_those_of_the_code() {
    let document = read("docs/reference/errors.md");

    let expected = with_part(&document, "causes", &causes());
    let expected = with_part(&expected, "refusals", &refusals());

    assert_current("docs/reference/errors.md", &expected);
}
