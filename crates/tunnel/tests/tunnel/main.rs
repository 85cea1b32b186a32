//! The tunnel from outside: both real ends over an in-memory wire, or one of them against a peer
//! made by hand.

#![allow(
    clippy::unwrap_used,
    reason = "a test says by a panic that it has failed, its helpers too"
)]

mod bodies;
mod cancel;
mod concurrency;
mod ends;
mod frames;
mod harness;
mod heads;
mod hostile;
mod liveness;
mod middlebox;
mod whole;
mod windows;
