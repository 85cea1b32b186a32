//! Heads of calls: hosts, origins, forwarding headers, request ids, keys and identities. The first
//! line is the URL.

#![no_main]

use http::Uri;
use libfuzzer_sys::fuzz_target;
use llamapool_fuzz::parts;

fuzz_target!(|data: &[u8]| {
    let Some(parts) = parts(data) else {
        return;
    };
    let uri = Uri::try_from(parts.line).unwrap_or_default();
    llamapool_server::fuzzing::call_head(parts.headers, &uri);
});
