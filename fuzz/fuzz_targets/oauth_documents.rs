//! OAuth documents of a provider: only its own host becomes reachable.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| llamapool_relay::fuzzing::metadata(data));
