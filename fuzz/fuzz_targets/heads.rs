//! Heads of requests and responses in the tunnel: a head that can be read is the same after being
//! written and read again.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| llamapool_tunnel::fuzzing::heads(data));
