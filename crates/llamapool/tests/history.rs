//! The history of calls under faults: real processes, and a checker. See the crate `llamapool-soak`.
//!
//! It has a `main` of its own, because its executable is also the provider and the programs behind
//! the relays: `cargo test -p llamapool --test history`, or `./soak` for a long run.

use std::path::Path;
use std::process::ExitCode;

fn main() -> ExitCode {
    llamapool_soak::main(Path::new(env!("CARGO_BIN_EXE_llamapool")))
}
