//! The tables of docs/reference/errors.md are those of the code.
//!
//! Statuses, codes, meanings and advice come from the code. The advice for each refusal of a relay is here,
//! in a `match` that does not compile when a refusal is added without one.

use llamapool_wire::{Cause, Refusal};

use crate::document::{assert_current, read, with_part};

/// Every refusal, in the order of its table.
const REFUSALS: [Refusal; 10] = [
    Refusal::WrongKey,
    Refusal::TooManyWrongKeys,
    Refusal::KeyEnded,
    Refusal::IdNotAllowed,
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
            cause.advice(),
        ));
    }
    table
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
        Refusal::TooManyWrongKeys => {
            "Give the relay the server's `WORKER_KEY`, or a worker key. A right key is never refused for the wrong ones of its address."
        }
        Refusal::KeyEnded => {
            "Create another key with `llamapool key create worker`, and give it to the relay as `WORKER_KEY`."
        }
        Refusal::IdNotAllowed => {
            "Choose a `CLIENT_ID` that the worker key covers, or change the key with `llamapool key edit`."
        }
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
