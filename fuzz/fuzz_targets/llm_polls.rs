//! Answers of LLM runtimes to polls: lists of models, properties, slots, loads, metrics, pushed changes.
//! Whatever a runtime sends, what is read of it has bounds and reaches a server as it was read.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| llamapool_relay::fuzzing::poll_answers(data));
