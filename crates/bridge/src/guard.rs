//! Stands between a relay and the program that it has started, so that nothing of it outlives the relay: `llamapool
//! guard`, which nobody types.
//!
//! The program gets the guard's own standard input, output and error, so no byte passes through here. The guard learns that
//! the relay wants an end, or is no more, from the same sign: the pipe of its standard input has lost its writer. What is
//! asked of the program then, and in which order, is MCP's (2025-11-25, lifecycle, shutdown): the end of its input,
//! SIGTERM, SIGKILL. The one rule: the guard ends last, after everything that descends from it.

mod descendants;

use std::ffi::OsString;
use std::io::{self, Write};
use std::process::{Command, ExitCode};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::thread;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::process::{Pid, Signal, WaitOptions, WaitStatus, getpid, getppid, wait};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

use self::descendants::signal_all;
use crate::guard_command::{CommandLine, Patience};

pub use crate::guard_command::WORD;

/// How long what descends from the program may go on once the program itself has ended.
const LEFTOVERS: Duration = Duration::from_millis(500);
/// Between two looks whether something is left that was killed: it may have started another process in between.
const LOOK: Duration = Duration::from_millis(10);
/// The exit codes of shells, for a program that cannot be run and for one that is not there.
const CANNOT_RUN: u8 = 126;
const NOT_FOUND: u8 = 127;
/// What `sysexits.h` calls `EX_USAGE`.
const WRONG_USAGE: u8 = 64;
/// What shells add to the number of the signal that ended a program.
const BY_SIGNAL: u8 = 128;

enum Event {
    /// The relay wants an end, or is no more.
    InputClosed,
    /// The program has ended.
    Ended(u8),
    /// Nothing descends from the guard any more.
    NothingLeft,
}

/// Guards the program that a command line names: the arguments that follow [`WORD`].
pub fn run(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let command_line = match CommandLine::parse(arguments) {
        Ok(command_line) => command_line,
        Err(error) => {
            let _ = writeln!(io::stderr(), "llamapool: the guard {error}");
            return ExitCode::from(WRONG_USAGE);
        }
    };
    let program = &command_line.program;
    let mut command = Command::new(program);
    command.args(&command_line.arguments);

    match guard(&mut command, command_line.patience) {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            let code = if error.kind() == io::ErrorKind::NotFound {
                NOT_FOUND
            } else {
                CANNOT_RUN
            };
            let _ = writeln!(
                io::stderr(),
                "llamapool: {program:?} cannot be started: {error}"
            );
            ExitCode::from(code)
        }
    }
}

/// Runs the program to its end; its exit code as a shell would say it.
fn guard(program: &mut Command, patience: Patience) -> io::Result<u8> {
    outlive_signals()?;
    // What loses its parent becomes the guard's own child, however it got away.
    #[cfg(target_os = "linux")]
    rustix::process::set_child_subreaper(Some(getpid()))?;
    let relay = getppid();
    let (events, heard) = mpsc::channel();
    let program = program.spawn()?;
    let pid = Pid::from_child(&program);
    // The program has the pipe; a second holder here would hide that it is closed.
    give_up_stdout()?;
    let reaper = events.clone();
    thread::spawn(move || reap(pid, &reaper));
    thread::spawn(move || watch_input(&events));
    let mut ended = None;
    match next(&heard, None, &mut ended) {
        Some(Event::Ended(_)) | None => {}
        Some(Event::InputClosed | Event::NothingLeft) => {
            let is_orphan = getppid() != relay;
            let input = if is_orphan {
                Duration::ZERO
            } else {
                patience.input
            };
            until_ended(&heard, input, &mut ended);
        }
    }
    let term = if ended.is_some() {
        LEFTOVERS
    } else {
        patience.term
    };
    signal_all(Signal::TERM);
    if !until_nothing_left(&heard, term, &mut ended) {
        while !until_nothing_left(&heard, LOOK, &mut ended) {
            signal_all(Signal::KILL);
        }
    }
    Ok(ended.unwrap_or(BY_SIGNAL))
}

/// The next event within `patience`; the program's exit code is noted wherever it comes.
fn next(
    heard: &Receiver<Event>,
    patience: Option<Duration>,
    ended: &mut Option<u8>,
) -> Option<Event> {
    let event = match patience {
        Some(patience) => heard
            .recv_timeout(patience)
            .map_err(|error| error == RecvTimeoutError::Timeout)
            .ok()?,
        None => heard.recv().ok()?,
    };
    if let Event::Ended(code) = event {
        *ended = Some(code);
    }
    Some(event)
}

fn until_ended(heard: &Receiver<Event>, patience: Duration, ended: &mut Option<u8>) {
    let end = Instant::now() + patience;
    while ended.is_none() {
        let left = end.saturating_duration_since(Instant::now());
        if next(heard, Some(left), ended).is_none() {
            return;
        }
    }
}

fn until_nothing_left(heard: &Receiver<Event>, patience: Duration, ended: &mut Option<u8>) -> bool {
    let end = Instant::now() + patience;
    loop {
        let left = end.saturating_duration_since(Instant::now());
        match next(heard, Some(left), ended) {
            Some(Event::NothingLeft) => return true,
            Some(_) => {}
            None => return false,
        }
    }
}

/// Takes every process that ends here: the program, and what lost its parent.
fn reap(program: Pid, events: &Sender<Event>) {
    loop {
        match wait(WaitOptions::empty()) {
            Ok(Some((pid, status))) if pid == program => {
                let _ = events.send(Event::Ended(code_of(status)));
            }
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(_) => break,
        }
    }
    let _ = events.send(Event::NothingLeft);
}

fn code_of(status: WaitStatus) -> u8 {
    let code = status.exit_status().map(|code| code as u8);
    code.or_else(|| {
        status
            .terminating_signal()
            .map(|signal| BY_SIGNAL.wrapping_add(signal as u8))
    })
    .unwrap_or(BY_SIGNAL)
}

/// Waits until nobody can write to the program's input any more, without reading from it.
fn watch_input(events: &Sender<Event>) {
    let stdin = io::stdin();
    loop {
        // A hang-up is always reported, so nothing is asked for.
        let mut pipe = [PollFd::new(&stdin, PollFlags::empty())];
        match poll(&mut pipe, None) {
            Ok(_)
                if pipe[0]
                    .revents()
                    .intersects(PollFlags::HUP | PollFlags::ERR | PollFlags::NVAL) =>
            {
                break;
            }
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(_) => break,
        }
    }
    let _ = events.send(Event::InputClosed);
}

/// Whoever ends the relay's whole group or service ends the guard last: it has something to do then. A handler, unlike
/// ignoring, is not passed on to the program.
fn outlive_signals() -> io::Result<()> {
    let told = Arc::new(AtomicBool::new(false));
    for signal in [SIGTERM, SIGINT, SIGHUP] {
        signal_hook::flag::register(signal, told.clone())?;
    }
    Ok(())
}

fn give_up_stdout() -> io::Result<()> {
    let nothing = std::fs::OpenOptions::new().write(true).open("/dev/null")?;
    Ok(rustix::stdio::dup2_stdout(nothing)?)
}
