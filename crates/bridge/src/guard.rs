//! The guard: the process between a bridge and a program that the bridge started, so that nothing
//! of the program outlives the bridge. It is started as `llamapool guard`, which people never type.
//!
//! The program inherits the guard's own standard output and error, and gets the standard input that
//! the bridge has sent to the guard, so no byte passes through the guard. One sign means both that
//! the bridge wants the program to end and that the bridge is dead: the guard's standard input has
//! lost its peer. The program's has then lost its writer. The program is asked to end in the order
//! of MCP (2025-11-25, lifecycle, shutdown): end of input, SIGTERM, SIGKILL. The guard exits last,
//! after everything that descends from it.
//!
//! A program can kill its guard: it runs as the same user. So the kernel kills the program when its
//! guard dies (`PR_SET_PDEATHSIG`). Only a process itself can ask for that, and what it asked for
//! outlives `exec`: the guard starts the same executable, which asks and becomes the program.

mod descendants;

use std::ffi::{OsStr, OsString};
use std::io::{self, Write};
use std::process::{Command, ExitCode};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::thread;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, poll};
#[cfg(target_os = "linux")]
use rustix::process::DumpableBehavior;
use rustix::process::{Pid, Signal, WaitOptions, WaitStatus, getpid, getppid, wait};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

use self::descendants::signal_all;
#[cfg(target_os = "linux")]
use crate::guard_command::BECOME;
use crate::guard_command::{CommandLine, Patience};
use crate::guard_input;

pub use crate::guard_command::WORD;

/// How long descendants of the program may go on once the program itself has exited.
const LEFTOVERS: Duration = Duration::from_millis(500);
/// The interval between two rounds of SIGKILL: a killed process may have started another one
/// before.
const LOOK: Duration = Duration::from_millis(10);
/// The exit codes of shells, for a program that cannot be run and for one that does not exist.
const CANNOT_RUN: u8 = 126;
const NOT_FOUND: u8 = 127;
/// `EX_USAGE` of `sysexits.h`.
const WRONG_USAGE: u8 = 64;
/// Shells add this to the number of the signal that ended a program.
const BY_SIGNAL: u8 = 128;

enum GuardEvent {
    /// The bridge closed the program's input, or is dead.
    InputClosed,
    /// The program has exited with this code.
    Exited(u8),
    /// The guard has no descendants any more.
    NoDescendants,
}

/// Guards the program of a command line: the arguments that follow [`WORD`]. Returns when the
/// program and all its descendants have exited.
pub fn run(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let mut arguments = arguments.into_iter().peekable();
    #[cfg(target_os = "linux")]
    if arguments.next_if(|word| *word == *BECOME).is_some() {
        return become_program(arguments);
    }

    let command_line = match CommandLine::parse(arguments) {
        Ok(command_line) => command_line,
        Err(error) => {
            let _ = writeln!(io::stderr(), "llamapool: the guard {error}");
            return ExitCode::from(WRONG_USAGE);
        }
    };
    let program = &command_line.program;
    let mut command = start_command(program);
    command.args(&command_line.arguments);

    match guard(command, command_line.patience) {
        Ok(code) => ExitCode::from(code),
        Err(error) => not_started(program, &error),
    }
}

/// Reports a program that cannot be started as shells do, and returns their exit code for it.
fn not_started(program: &OsStr, error: &io::Error) -> ExitCode {
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

/// Returns the command that starts a program which does not outlive this process.
#[cfg(target_os = "linux")]
fn start_command(program: &OsStr) -> Command {
    // The executable of this process, also where it was replaced since.
    let mut command = Command::new("/proc/self/exe");
    command.args([WORD, BECOME]).arg(program);
    command
}

#[cfg(not(target_os = "linux"))]
fn start_command(program: &OsStr) -> Command {
    Command::new(program)
}

/// Becomes a program that the kernel kills when its guard dies. Returns only if that fails.
#[cfg(target_os = "linux")]
fn become_program(mut arguments: impl Iterator<Item = OsString>) -> ExitCode {
    use std::os::unix::process::CommandExt;

    let Some(program) = arguments.next() else {
        return ExitCode::from(WRONG_USAGE);
    };
    // The signal comes at the end of the thread that started this process, which is the guard's
    // first and lives as long as the guard. A guard that has died already leaves the program
    // without input, which ends it.
    let asked = rustix::process::set_parent_process_death_signal(Some(Signal::KILL));
    let error = match asked {
        Ok(()) => Command::new(&program).args(arguments).exec(),
        Err(error) => error.into(),
    };
    not_started(&program, &error)
}

/// Runs the program to its end. Returns its exit code as a shell would.
fn guard(mut command: Command, patience: Patience) -> io::Result<u8> {
    // What this process has of the bridge is not for the program, which runs as the same user.
    #[cfg(target_os = "linux")]
    rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable)?;
    ignore_signals()?;
    // A descendant that loses its parent becomes a child of the guard, even after `setsid`.
    #[cfg(target_os = "linux")]
    rustix::process::set_child_subreaper(Some(getpid()))?;
    let bridge = getppid();
    let program = command.stdin(guard_input::receive()?).spawn()?;
    let pid = Pid::from_child(&program);
    // The program has the pipes. A second holder would hide that they are closed.
    drop(command);
    release_stdout()?;

    let (sender, events) = mpsc::channel();
    let reaper = sender.clone();
    thread::spawn(move || reap(pid, &reaper));
    thread::spawn(move || watch_input(&sender));

    let mut exit_code = None;
    match next(&events, None, &mut exit_code) {
        Some(GuardEvent::Exited(_)) | None => {}
        Some(GuardEvent::InputClosed | GuardEvent::NoDescendants) => {
            let is_orphan = getppid() != bridge;
            let input = if is_orphan {
                Duration::ZERO
            } else {
                patience.input
            };
            wait_for_exit(&events, input, &mut exit_code);
        }
    }

    let term = if exit_code.is_some() {
        LEFTOVERS
    } else {
        patience.term
    };
    signal_all(Signal::TERM);
    if !wait_for_descendants(&events, term, &mut exit_code) {
        while !wait_for_descendants(&events, LOOK, &mut exit_code) {
            signal_all(Signal::KILL);
        }
    }
    Ok(exit_code.unwrap_or(BY_SIGNAL))
}

/// Returns the next event; `None` after `patience`. Records the program's exit code.
fn next(
    events: &Receiver<GuardEvent>,
    patience: Option<Duration>,
    exit_code: &mut Option<u8>,
) -> Option<GuardEvent> {
    let event = match patience {
        Some(patience) => events
            .recv_timeout(patience)
            .map_err(|error| error == RecvTimeoutError::Timeout)
            .ok()?,
        None => events.recv().ok()?,
    };
    if let GuardEvent::Exited(code) = event {
        *exit_code = Some(code);
    }
    Some(event)
}

/// Waits up to `patience` for the exit of the program.
fn wait_for_exit(events: &Receiver<GuardEvent>, patience: Duration, exit_code: &mut Option<u8>) {
    let end = Instant::now() + patience;
    while exit_code.is_none() {
        let left = end.saturating_duration_since(Instant::now());
        if next(events, Some(left), exit_code).is_none() {
            return;
        }
    }
}

/// Waits up to `patience` for the exit of all descendants. Returns whether they have exited.
fn wait_for_descendants(
    events: &Receiver<GuardEvent>,
    patience: Duration,
    exit_code: &mut Option<u8>,
) -> bool {
    let end = Instant::now() + patience;
    loop {
        let left = end.saturating_duration_since(Instant::now());
        match next(events, Some(left), exit_code) {
            Some(GuardEvent::NoDescendants) => return true,
            Some(_) => {}
            None => return false,
        }
    }
}

/// Reaps every child that exits: the program, and processes that lost their parent.
fn reap(program: Pid, events: &Sender<GuardEvent>) {
    loop {
        match wait(WaitOptions::empty()) {
            Ok(Some((pid, status))) if pid == program => {
                let _ = events.send(GuardEvent::Exited(code_of(status)));
            }
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(_) => break,
        }
    }
    let _ = events.send(GuardEvent::NoDescendants);
}

fn code_of(status: WaitStatus) -> u8 {
    let code = status.exit_status().map(|code| code as u8);
    let by_signal = || {
        let signal = status.terminating_signal()?;
        Some(BY_SIGNAL.wrapping_add(signal as u8))
    };
    code.or_else(by_signal).unwrap_or(BY_SIGNAL)
}

/// Waits until the guard's standard input has no peer any more. Does not read from it.
fn watch_input(events: &Sender<GuardEvent>) {
    let stdin = io::stdin();
    loop {
        // A hang-up is always reported, so no flag is requested.
        let mut lifeline = [PollFd::new(&stdin, PollFlags::empty())];
        let closed = PollFlags::HUP | PollFlags::ERR | PollFlags::NVAL;
        match poll(&mut lifeline, None) {
            Ok(_) if lifeline[0].revents().intersects(closed) => break,
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(_) => break,
        }
    }
    let _ = events.send(GuardEvent::InputClosed);
}

/// Makes signals to the whole group or service of the bridge not end the guard, which has work to
/// do then. A handler, unlike `SIG_IGN`, is not inherited by the program.
fn ignore_signals() -> io::Result<()> {
    let received = Arc::new(AtomicBool::new(false));
    for signal in [SIGTERM, SIGINT, SIGHUP] {
        signal_hook::flag::register(signal, received.clone())?;
    }
    Ok(())
}

/// Replaces the guard's standard output by `/dev/null`.
fn release_stdout() -> io::Result<()> {
    let null = std::fs::OpenOptions::new().write(true).open("/dev/null")?;
    Ok(rustix::stdio::dup2_stdout(null)?)
}
