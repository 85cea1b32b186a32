//! A WebSocket receives the messages that tungstenite receives, and refuses what it refuses, on
//! both sides and however the bytes are cut.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| llamapool_tunnel::fuzzing::websocket_messages(data));
