//! The LLM API: callers, the server, and workers, in one process.

#![allow(
    clippy::unwrap_used,
    reason = "a test may panic, and so may the helpers of tests"
)]

mod calls;
mod embeddings;
mod errors;
mod failover;
mod hostile_worker;
mod keys;
mod kit;
mod lists;
mod operators;
mod queue;
mod responses;
mod runtimes;
mod stored_keys;
mod streams;
mod translating;
mod words;
