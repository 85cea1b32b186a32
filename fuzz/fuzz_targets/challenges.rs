//! `WWW-Authenticate` headers and names of hosts: every place that is found is a part of the text.

#![no_main]

use libfuzzer_sys::fuzz_target;
use llamapool_http::challenge::{parameter_values, unquote};
use llamapool_http::host;

fuzz_target!(|text: &str| {
    let mut end = 0;
    for value in parameter_values("resource_metadata", text) {
        assert!(value.start >= end, "values are in order and apart");
        end = value.end;
        let _ = unquote(&text[value]);
    }

    assert!(text.contains(host::without_port(text)));
    let _ = host::is_loopback(text);
    let _ = host::is_loopback_origin(text);
});
