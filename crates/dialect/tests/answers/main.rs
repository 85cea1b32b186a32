//! Answers of runtimes: their events, content, usage and assembly, of recorded ones and of those that
//! the rules are about.

#![allow(clippy::unwrap_used, reason = "a panic is a failed test")]

mod assembly;
mod assembly_of_messages;
mod content;
mod events;
mod properties;
mod recordings;
mod stream_filter;
mod streams;
mod usage;
mod whole_answers;
