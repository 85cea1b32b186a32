//! Frames of the tunnel: a decoder gives the same frames however their bytes are cut, and every
//! frame survives being encoded and decoded again.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| llamapool_tunnel::fuzzing::frames(data));
