//! A server's response to the upgrade of a relay: ids, version, refusals. The first line is the
//! status.

#![no_main]

use bytes::Bytes;
use http::StatusCode;
use libfuzzer_sys::fuzz_target;
use llamapool_fuzz::parts;
use llamapool_relay::fuzzing::server_response;

fuzz_target!(|data: &[u8]| {
    let Some(parts) = parts(data) else {
        return;
    };
    let status = parts
        .line
        .parse()
        .unwrap_or(StatusCode::SWITCHING_PROTOCOLS);
    let body = Bytes::copy_from_slice(parts.body);
    let runtime = tokio::runtime::Builder::new_current_thread().build();
    runtime
        .unwrap()
        .block_on(server_response(status, parts.headers, body));
});
