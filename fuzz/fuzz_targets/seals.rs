//! Sealed session ids: nothing but what was sealed opens. The first line is the id of the URL.

#![no_main]

use libfuzzer_sys::fuzz_target;
use llamapool_fuzz::parts;

fuzz_target!(|data: &[u8]| {
    if let Some(parts) = parts(data) {
        llamapool_server::fuzzing::seal(parts.line, parts.body);
    }
});
