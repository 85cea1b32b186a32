//! Heads of a provider's responses: redirects, `Location`, challenges. The first line is the status.

#![no_main]

use http::header::WWW_AUTHENTICATE;
use libfuzzer_sys::fuzz_target;
use llamapool_fuzz::parts;
use llamapool_relay::fuzzing as relay;

fuzz_target!(|data: &[u8]| {
    let Some(parts) = parts(data) else {
        return;
    };
    for challenge in parts.headers.get_all(WWW_AUTHENTICATE) {
        if let Ok(text) = challenge.to_str() {
            relay::challenge(text);
        }
    }
    let status = parts.line.parse().unwrap_or(http::StatusCode::FOUND);
    relay::response_head(status, parts.headers);
});
