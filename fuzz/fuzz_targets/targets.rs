//! Targets of calls: each leads to the id it names, and to nothing above it in any spelling.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    llamapool_server::fuzzing::target(text);
    llamapool_server::fuzzing::target(&format!("/api/mcp/id/x/{text}"));
    let (below, query) = match text.split_once('?') {
        Some((below, query)) => (below, Some(query)),
        None => (text, None),
    };
    llamapool_relay::fuzzing::call_url(&format!("/{below}"), query);
});
