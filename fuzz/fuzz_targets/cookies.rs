//! Cookies that a provider sets: each is one of its id alone, and no other id gets it back.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| llamapool_server::fuzzing::cookie(text));
