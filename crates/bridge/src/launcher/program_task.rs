//! The task that attends to one program, from its start to its exit. Its observer can change: the
//! program that the bridge has asked for its revisions becomes that of a caller.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use llamapool_limits::MemoryAccount;
use parking_lot::Mutex;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::{Launcher, Starter};
use crate::child::{Attended, Child, Exit, ProgramObserver, is_message};
use crate::program_input::ProgramInput;
use crate::program_log::ProgramLog;
use crate::start_gate::Starting;
use crate::stats::RunningProgram;

/// The times after the start at which a program that has not written a message is reported, and the
/// interval after the last of them.
const REPORTS: [Duration; 3] = [
    Duration::from_secs(5),
    Duration::from_secs(30),
    Duration::from_secs(120),
];
const LATER_REPORTS: Duration = Duration::from_secs(5 * 60);
/// The time after which a program has no place in the gate any more: one that takes so long waits for
/// something, and computes little.
const GATE_TIME: Duration = Duration::from_secs(10);

/// A program that runs, and whose observer can be replaced. Dropping the handle does not end it.
pub(crate) struct ProgramHandle {
    pub(crate) input: ProgramInput,
    startup: Arc<Startup>,
    release: CancellationToken,
    task: JoinHandle<TaskEnd>,
}

/// A program that was started, with everything that lives as long as it runs.
pub(super) struct LaunchedProgram {
    pub(super) child: Child,
    pub(super) startup: Arc<Startup>,
    pub(super) running: RunningProgram,
}

/// The way of a program to its first message.
pub(super) struct Startup {
    launcher: Launcher,
    /// The party that a failed start is attributed to: that whose requests the program received.
    starter: Mutex<Starter>,
    started: Instant,
    has_answered: AtomicBool,
    /// False while nothing was asked of the program, which so has nothing to answer.
    is_awaited: AtomicBool,
    log: ProgramLog,
    /// The place in the gate, until the first message.
    starting: Mutex<Option<Starting>>,
}

impl ProgramHandle {
    /// Notes that nothing is asked of the program until a caller gets it.
    pub(crate) fn expect_nothing(&self) {
        self.startup.is_awaited.store(false, Ordering::Relaxed);
        self.startup.launcher.forget_start();
    }
}

/// How the task of one observer ended.
enum TaskEnd {
    /// The program exited.
    Exited(Exit),
    /// It is to have another observer.
    Released(Box<LaunchedProgram>),
}

impl Startup {
    pub(super) fn new(
        launcher: Launcher,
        starter: Starter,
        log: ProgramLog,
        starting: Starting,
    ) -> Self {
        Self {
            launcher,
            starter: Mutex::new(starter),
            started: Instant::now(),
            has_answered: AtomicBool::new(false),
            is_awaited: AtomicBool::new(true),
            log,
            starting: Mutex::new(Some(starting)),
        }
    }

    fn starter(&self) -> Starter {
        *self.starter.lock()
    }

    fn has_answered(&self) -> bool {
        self.has_answered.load(Ordering::Relaxed)
    }

    fn leave_gate(&self) {
        drop(self.starting.lock().take());
    }

    /// Reports that the program, which is attended to since then, has not answered.
    fn report(&self, since: Instant) {
        if !self.has_answered() && self.is_awaited.load(Ordering::Relaxed) {
            self.log.still_starting(since.elapsed());
        }
    }

    /// Only the first message shows that starting works: an old session must not hide that no new
    /// one can begin. Package runners print lines that are no messages.
    fn note_line(&self, line: &Bytes) {
        if !self.has_answered() && is_message(line) {
            self.has_answered.store(true, Ordering::Relaxed);
            self.log.answered();
            self.leave_gate();
            self.launcher.first_message(self.starter());
        }
    }
}

/// Reports that a program has not written a message, again and again while that is so. Never returns.
async fn report_start(startup: &Startup) -> Infallible {
    let leaving = async {
        tokio::time::sleep_until(startup.started + GATE_TIME).await;
        startup.leave_gate();
        std::future::pending::<Infallible>().await
    };
    let since = Instant::now();
    let reporting = async {
        for after in REPORTS {
            tokio::time::sleep_until(since + after).await;
            startup.report(since);
        }
        loop {
            tokio::time::sleep(LATER_REPORTS).await;
            startup.report(since);
        }
    };
    tokio::select! {
        // In any order: neither ends.
        never = leaving => never,
        never = reporting => never,
    }
}

/// Attends to a program that was started, in a task of the launcher.
pub(super) fn attend_in_task<O: ProgramObserver>(
    program: LaunchedProgram,
    observer: Arc<O>,
) -> ProgramHandle {
    let release = CancellationToken::new();
    let startup = program.startup.clone();
    let input = program.child.input.clone();
    let tasks = startup.launcher.tasks().clone();
    ProgramHandle {
        input,
        startup,
        task: tasks.spawn(attend(program, observer, release.clone())),
        release,
    }
}

/// Makes another observer receive what the program writes from now on, for a caller, and counts it in
/// `memory`. If the program has exited meanwhile, the observer receives the exit.
pub(super) fn transfer<O: ProgramObserver>(
    handle: ProgramHandle,
    starter: Starter,
    memory: MemoryAccount,
    observer: Arc<O>,
) {
    *handle.startup.starter.lock() = starter;
    handle.startup.is_awaited.store(true, Ordering::Relaxed);
    let tasks = handle.startup.launcher.tasks().clone();
    tasks.spawn(async move {
        handle.release.cancel();
        match handle.task.await {
            Ok(TaskEnd::Released(mut program)) => {
                program.child.count_in(&memory);
                // It is not released again.
                let release = CancellationToken::new();
                attend(*program, observer, release).await;
            }
            Ok(TaskEnd::Exited(exit)) => observer.on_exit(&exit),
            Err(_) => observer.on_exit(&Exit::unattended()),
        }
    });
}

/// Attends to a program until its exit or its release, and reports that it has not answered yet.
async fn attend<O: ProgramObserver>(
    program: LaunchedProgram,
    observer: Arc<O>,
    release: CancellationToken,
) -> TaskEnd {
    let LaunchedProgram {
        child,
        startup,
        running,
    } = program;
    let observer = Arc::new(StartupObserver {
        startup: startup.clone(),
        inner: observer,
    });
    let attending = child.attend(observer, &release);
    let attended = tokio::select! {
        // Biased towards the program's end, after which there is nothing to report.
        biased;
        attended = attending => attended,
        never = report_start(&startup) => match never {},
    };

    match attended {
        Attended::Exited(exit) => {
            startup
                .launcher
                .note_exit(startup.starter(), &exit, &startup.log);
            TaskEnd::Exited(exit)
        }
        Attended::Released(child) => TaskEnd::Released(Box::new(LaunchedProgram {
            child: *child,
            startup,
            running,
        })),
    }
}

/// Reports the first message of a program as health, and passes everything on.
struct StartupObserver<O> {
    startup: Arc<Startup>,
    inner: Arc<O>,
}

impl<O: ProgramObserver> ProgramObserver for StartupObserver<O> {
    async fn on_line(&self, line: Bytes) {
        self.startup.note_line(&line);
        self.inner.on_line(line).await;
    }

    fn on_exit(&self, exit: &Exit) {
        self.startup.leave_gate();
        self.inner.on_exit(exit);
    }
}
