//! Messages of a program that two callers share: each caller gets its own alone. `$1` and `$2` stand
//! for the program's ids of their calls.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| llamapool_bridge::fuzzing::shared_program(text));
