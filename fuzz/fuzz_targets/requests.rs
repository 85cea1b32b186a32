//! Whatever is sent on a connection, our own loop of HTTP/1.1 and hyper show a handler the same requests, and the
//! sender the same answers. The first byte is the length of the pieces in which the rest is sent.

#![no_main]

use libfuzzer_sys::fuzz_target;
use llamapool_http::listen::fuzz_requests;

fuzz_target!(|data: &[u8]| fuzz_requests(data));
