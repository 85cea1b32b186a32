//! The decisions of the LLM pool: which models there are and who has them, which worker runs a call,
//! and which of the waiting calls is next.
//!
//! No I/O, no clock, no async runtime: time is an argument, so that fairness is tested with a virtual
//! clock, and ten thousand workers run in one test. The server tells the pool what happens, and
//! carries out what it decides.
