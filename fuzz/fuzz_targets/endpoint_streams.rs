//! Event streams of HTTP with SSE: the endpoint becomes public, however the stream is cut, and
//! nothing else changes.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| llamapool_relay::fuzzing::endpoint_stream(data));
