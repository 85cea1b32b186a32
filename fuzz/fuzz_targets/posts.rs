//! POSTs to a program: their messages, and the headers that repeat values of the body. The first line
//! is a `Last-Event-ID`.

#![no_main]

use libfuzzer_sys::fuzz_target;
use llamapool_bridge::fuzzing as bridge;
use llamapool_fuzz::parts;

fuzz_target!(|data: &[u8]| {
    let Some(parts) = parts(data) else {
        return;
    };
    bridge::event_id(parts.line);
    bridge::post(&parts.headers, parts.body);
    bridge::tool_schema(parts.body, &parts.headers);
});
