//! The executable `llamapool`. Everything it does is in the library of the same name.
//!
//! Exit code 64 is wrong usage and wrong settings, 1 is everything that fails later. `doctor` also has 2,
//! for warnings alone; the commands of `remote` have 69 and 77 for servers and keys.

use std::fmt::Display;
use std::io::Write;
use std::process::ExitCode;

use llamapool::cli::{self, CommandLine, Invocation};
use llamapool::settings::Environment;
#[cfg(unix)]
use llamapool_bridge::guard;

/// Every call allocates and frees some dozens of small values, which takes less time with this
/// allocator. Without huge pages, of which every relay and every guard of a program would hold
/// some.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Exit code of wrong usage and wrong settings: `EX_USAGE` of `sysexits.h`.
const USAGE: u8 = 64;
/// Exit code of everything that fails later.
const FAILURE: u8 = 1;

fn main() -> ExitCode {
    #[cfg(unix)]
    if std::env::args_os()
        .nth(1)
        .is_some_and(|word| word == guard::WORD)
    {
        return guard::run(std::env::args_os().skip(2));
    }

    forbid_inspection();
    let command_line = CommandLine::new(std::env::args_os(), Environment::of_process());
    let invocation = match command_line.parse() {
        Ok(invocation) => invocation,
        Err(error) => return fail(&error, USAGE),
    };

    let mut code = ExitCode::SUCCESS;
    let result = match invocation {
        Invocation::Print(text) => print(&text),
        Invocation::PrintWithNotes { text, notes } => {
            print_note(&notes);
            print(&text)
        }
        Invocation::Usage(text) => {
            print_note(&text);
            return ExitCode::from(USAGE);
        }
        Invocation::ManPages(directory) => cli::write_man_pages(&directory),
        Invocation::Run(settings) => settings.run(command_line),
        Invocation::Admin(command) => command.run().and_then(|printed| {
            print_note(&printed.notes);
            print(&printed.output)
        }),
        Invocation::Doctor(command) => command.run().and_then(|diagnosis| {
            code = ExitCode::from(diagnosis.code);
            print(&diagnosis.output)
        }),
        Invocation::Remote(command) => command.run().and_then(|finished| {
            code = ExitCode::from(finished.code);
            print_note(&finished.notes);
            print(&finished.output)
        }),
        Invocation::Support(command) => command.run().and_then(|text| print(&text)),
    };
    match result {
        Ok(()) => code,
        Err(error) => fail(&format_args!("{error:#}"), FAILURE),
    }
}

/// Keeps other processes of the same user, such as the programs of providers, from reading the memory
/// and the environment of this one, which have its keys. Without it a program finds them in
/// `/proc/<pid>/environ`.
fn forbid_inspection() {
    #[cfg(target_os = "linux")]
    {
        use rustix::process::{DumpableBehavior, set_dumpable_behavior};
        // A system that refuses it is as safe as before.
        let _ = set_dumpable_behavior(DumpableBehavior::NotDumpable);
    }
}

/// Writes a text to standard output. A reader that has closed it, as `head` does, is no failure.
fn print(text: &str) -> anyhow::Result<()> {
    let _ = std::io::stdout().write_all(text.as_bytes());
    Ok(())
}

/// Writes a note for people to standard error.
fn print_note(text: &str) {
    let _ = std::io::stderr().write_all(text.as_bytes());
}

/// Writes an error to standard error, and returns the exit code.
fn fail(error: &dyn Display, code: u8) -> ExitCode {
    // If standard error is closed, too, no place is left to report it.
    let _ = writeln!(std::io::stderr(), "llamapool: {error}");
    ExitCode::from(code)
}
