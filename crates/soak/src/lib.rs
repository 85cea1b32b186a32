//! Real processes under faults, and the checker of the history of their calls. For tests.
//!
//! A *window* is the unit of a run: for half a minute callers call while faults drawn from a seed
//! meet processes and connections; then everything settles, and the history of the window is
//! checked and dropped. [`check`] is a pure function. The test target `history` of the crate
//! `llamapool` runs this crate's [`main`]: without arguments a short run, with `soak` a long one,
//! and with `provider`, `program` and `runtime` the peers of the processes under test.

pub mod check;
pub mod history;

mod caller;
mod clock;
mod command;
mod edge;
mod fault;
mod http_provider;
mod inject;
mod journal;
mod llm;
mod picture;
mod plant;
mod process;
mod program;
mod report;
mod short;
mod site;
mod soak;
mod tool;
mod totals;
mod window;
mod work;

pub use command::main;
