//! Output of a program, on both of its streams: lines however they are cut, and none that a terminal
//! would interpret.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| llamapool_bridge::fuzzing::lines(data));
