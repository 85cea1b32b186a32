//! The tables of errors are those of the code, and no document points to a file that is not there.
//!
//! `UPDATE_DOCS=1 cargo test -p llamapool --test repo docs_errors` writes the tables. The one rule: what can be read off the
//! code is, and what cannot, the advice, stands here beside a match that a new cause does not get past.

use std::path::{Path, PathBuf};

use llamapool_wire::{Cause, Refusal};

/// Every refusal, in the order of its table.
const REFUSALS: [Refusal; 6] = [
    Refusal::WrongKey,
    Refusal::InvalidHeader,
    Refusal::IdTaken,
    Refusal::Version,
    Refusal::Draining,
    Refusal::TooManyRelays,
];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

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
        Cause::RelayOffline => {
            "Check the id, and whether the relay runs. Try again: the call was not executed."
        }
        Cause::RelayDraining | Cause::ServerDraining => "Try again: the call was not executed.",
        Cause::TunnelFull => {
            "Try again: the call was not executed. The bound is `TUNNEL_MAX_STREAMS` of the relay."
        }
        Cause::TooManyCalls => {
            "Try again: the call was not executed. The bound is `MAX_CONCURRENCY_PER_CLIENT` of the server."
        }
        Cause::ProviderNotStarted => {
            "Look at the log of the relay: the program of `PROVIDER_COMMAND` cannot be started, or ends at once. Try again: the call was not executed."
        }
        Cause::TooManySessions => {
            "Try again: the call was not executed. The bounds are `MAX_SESSIONS` and `PROVIDER_MAX_STARTS` of the relay."
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
        Cause::FirstByteTimeout => {
            "Raise `FIRST_BYTE_TIMEOUT` or `CALL_TIMEOUT` of the server. Try again only if the call may be executed twice."
        }
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
        Refusal::Version => {
            "Run relay and server of the same version, and check that a proxy in between passes the WebSocket upgrade on."
        }
        Refusal::Draining => "Wait; a relay with `RECONNECT` does so by itself.",
        Refusal::TooManyRelays => "Raise `MAX_RELAYS` of the server, or end relays.",
    }
}

/// The document with the text between two markers replaced.
fn with_table(document: &str, name: &str, table: &str) -> String {
    let (open, close) = (format!("<!-- {name} -->\n"), format!("<!-- /{name} -->"));
    let (before, rest) = document
        .split_once(&open)
        .unwrap_or_else(|| panic!("{open} is missing"));
    let (_, after) = rest
        .split_once(&close)
        .unwrap_or_else(|| panic!("{open} is never closed"));
    format!("{before}{open}\n{table}\n{close}{after}")
}

#[test]
fn the_tables_of_errors_are_those_of_the_code() {
    let path = root().join("docs/errors.md");
    let document = std::fs::read_to_string(&path).expect("docs/errors.md is there");
    let current = with_table(&document, "causes", &causes());
    let current = with_table(&current, "refusals", &refusals());
    if std::env::var_os("UPDATE_DOCS").is_some_and(|value| value == "1") {
        std::fs::write(&path, &current).unwrap();
    } else {
        let how = "UPDATE_DOCS=1 cargo test -p llamapool --test repo docs_errors";
        assert!(
            current == document,
            "docs/errors.md is behind the code: {how}"
        );
    }
}

/// Every document of the workspace: those at its root, and those in its folders for documents and examples.
fn documents() -> Vec<PathBuf> {
    let list = |folder: &Path| {
        let entries = std::fs::read_dir(folder).expect("the folder can be read");
        entries
            .map(|entry| entry.expect("the folder can be read").path())
            .collect::<Vec<_>>()
    };
    let mut found: Vec<PathBuf> = list(&root())
        .into_iter()
        .filter(|path| path.is_file())
        .collect();
    let mut folders = vec![root().join("docs"), root().join("examples")];
    while let Some(folder) = folders.pop() {
        let (below, files): (Vec<_>, Vec<_>) =
            list(&folder).into_iter().partition(|path| path.is_dir());
        folders.extend(below);
        found.extend(files);
    }
    found.retain(|path| path.extension().is_some_and(|end| end == "md"));
    found
}

/// What the links of a document point to, without what stands in blocks of code.
fn targets(document: &str) -> Vec<&str> {
    let outside: Vec<&str> = document.split("\n```").step_by(2).collect();
    outside
        .iter()
        .flat_map(|text| {
            text.split("](")
                .skip(1)
                .filter_map(|rest| rest.split(')').next())
        })
        .collect()
}

#[test]
fn every_relative_link_leads_to_a_file() {
    let documents = documents();
    for name in [
        "README.md",
        "ARCHITECTURE.md",
        "docs/errors.md",
        "docs/design/0001-tunnel.md",
    ] {
        assert!(documents.contains(&root().join(name)), "{name} is missing");
    }
    let mut followed = 0;
    for document in documents {
        let text = std::fs::read_to_string(&document).unwrap();
        for target in targets(&text)
            .into_iter()
            .filter(|target| !target.contains("://") && !target.starts_with('#'))
        {
            let file = target.split('#').next().unwrap_or_default();
            assert!(
                document.parent().unwrap().join(file).exists(),
                "{document:?} points to {target}"
            );
            followed += 1;
        }
    }
    assert!(followed > 10, "only {followed} links were found");
}
