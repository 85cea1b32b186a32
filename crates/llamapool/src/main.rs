//! The executable `llamapool`: a table of contents.
//!
//! What happens is in the library of the same name. The one rule: 64 is the exit code of wrong usage and wrong
//! settings, 1 that of everything that fails later.

use std::io::Write;
use std::process::ExitCode;

use llamapool::cli::{self, Invocation};
use llamapool::run;
use llamapool::settings::Environment;
#[cfg(unix)]
use llamapool_bridge::guard;

/// Every call makes and drops some dozens of small things, and an allocator made for that takes less time for them. Without
/// huge pages, of which every relay and every guard of a program would hold some.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// What `sysexits.h` calls `EX_USAGE`.
const WRONG_USAGE: u8 = 64;
/// Everything else that ends the process.
const FAILED: u8 = 1;

fn main() -> ExitCode {
    #[cfg(unix)]
    if std::env::args_os()
        .nth(1)
        .is_some_and(|word| word == guard::WORD)
    {
        return guard::run(std::env::args_os().skip(2));
    }
    let invocation = match cli::parse(std::env::args_os(), &Environment::of_process()) {
        Ok(invocation) => invocation,
        Err(error) => return fail(&error, WRONG_USAGE),
    };
    let ended = match invocation {
        Invocation::Say(text) => say(&text),
        Invocation::Server(settings) => run::run_server(*settings),
        Invocation::Relay(settings) => run::run_relay(*settings),
        Invocation::Demo(settings) => run::run_demo(settings),
    };
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(&format_args!("{error:#}"), FAILED),
    }
}

/// Whoever asked may have heard enough, as `head` does: that is no failure.
fn say(text: &str) -> anyhow::Result<()> {
    let _ = std::io::stdout().write_all(text.as_bytes());
    Ok(())
}

fn fail(error: &dyn std::fmt::Display, code: u8) -> ExitCode {
    // Where nobody listens on standard error there is nobody to tell.
    let _ = writeln!(std::io::stderr(), "llamapool: {error}");
    ExitCode::from(code)
}
