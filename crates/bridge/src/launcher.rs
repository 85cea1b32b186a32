//! Starts programs: so many at once, so many in a minute, and after a growing wait while they exit
//! before their first message. Logs what is started, that it still loads, and why it ended.

mod program_task;
mod spare_program;
mod start_limiter;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use llamapool_limits::{Claim, MemoryAccount, Owner};
use llamapool_mcp::ServerFacts;
use llamapool_wire::{CallError, Cause};
use parking_lot::{Mutex, MutexGuard};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub(crate) use self::program_task::ProgramHandle;
use self::program_task::{LaunchedProgram, Startup, attend_in_task, transfer};
use self::spare_program::TakenObserver;
pub(crate) use self::spare_program::{SparePlace, SpareUse};
use self::start_limiter::StartLimiter;
pub(crate) use self::start_limiter::Starter;
use crate::caller::BridgeCaller;
use crate::child::{Child, Exit, ProgramObserver};
use crate::config::BridgeConfig;
use crate::health::BridgeHealth;
use crate::program_input::ProgramInput;
use crate::program_log::ProgramLog;
use crate::start_gate::StartGate;
use crate::stats::BridgeStats;

/// The factor of the share that one bridge has of the memory: one greedy bridge leaves a ninth.
const BRIDGE_MEMORY_FACTOR: usize = 8;

/// Starts programs. Clones share one state.
#[derive(Clone)]
pub(crate) struct Launcher(Arc<Inner>);

struct Inner {
    config: BridgeConfig,
    /// The memory for messages and events, of which each bridge has a share.
    memory: MemoryAccount,
    /// The tasks of all programs: one attends to a program, one writes to it, one logs its standard
    /// error. Each ends with its program.
    tasks: TaskTracker,
    /// Closes the input of every program when it is cancelled.
    bridge: CancellationToken,
    stats: BridgeStats,
    health: BridgeHealth,
    gate: StartGate,
    limiter: Mutex<StartLimiter>,
    spare: SparePlace,
    /// The program of the bridge itself that has not written a message yet.
    starting: Mutex<Option<(Instant, ProgramLog)>>,
    /// Set once the withheld variables were logged.
    has_named_variables: AtomicBool,
}

/// A program that has not written a message yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StartingProgram {
    /// The time since its start.
    pub elapsed: Duration,
    /// The last line that it wrote to standard error, without control characters; empty if there is
    /// none.
    pub last_words: String,
}

/// Returns the claim of one bridge on the memory that all have in common.
fn memory_claim() -> Claim {
    static BRIDGES: AtomicU64 = AtomicU64::new(0);
    let number = BRIDGES.fetch_add(1, Ordering::Relaxed);
    Claim {
        owner: Owner::of(&("bridge", number)),
        factor: BRIDGE_MEMORY_FACTOR,
    }
}

impl Launcher {
    pub(crate) fn new(config: BridgeConfig, health: BridgeHealth, gate: StartGate) -> Self {
        let limiter = StartLimiter::new(config.starts.max_per_minute);
        Self(Arc::new(Inner {
            memory: config.memory.account_of_id(memory_claim()),
            config,
            tasks: TaskTracker::new(),
            bridge: CancellationToken::new(),
            stats: BridgeStats::new(),
            health,
            gate,
            limiter: Mutex::new(limiter),
            spare: SparePlace::new(),
            starting: Mutex::default(),
            has_named_variables: AtomicBool::new(false),
        }))
    }

    pub(crate) fn config(&self) -> &BridgeConfig {
        &self.0.config
    }

    /// Returns the account of the memory for messages and events.
    pub(crate) fn memory(&self) -> &MemoryAccount {
        &self.0.memory
    }

    pub(crate) fn stats(&self) -> &BridgeStats {
        &self.0.stats
    }

    /// Returns the name of the provider in the log.
    pub(crate) fn label(&self) -> Option<&str> {
        self.0.config.label.as_deref()
    }

    /// Gives a caller a program: the spare one, or else one that is started. `make_observer` makes
    /// its observer, which is given the program's input. Also returns whether the bridge has
    /// initialized the program.
    pub(crate) async fn program_for<O: ProgramObserver>(
        &self,
        caller: BridgeCaller,
        spare_use: SpareUse,
        make_observer: impl FnOnce(ProgramInput) -> Arc<O>,
    ) -> Result<(Arc<O>, bool), CallError> {
        let starter = Starter::Caller(caller);
        let memory = match spare_use {
            SpareUse::Session => self.0.memory.of_caller(caller.claims()),
            // Many callers use it, and each has its own account for what waits for it.
            SpareUse::SharedSession => self.0.memory.clone(),
        };
        let Some(spare) = self.0.spare.take(spare_use).await else {
            let (observer, _) = self.start_in(&memory, starter, make_observer).await?;
            return Ok((observer, false));
        };

        let observer = make_observer(spare.handle.input.clone().with_memory(&memory));
        let taken = Arc::new(TakenObserver {
            asked_by: spare.asked_by,
            inner: observer.clone(),
        });
        transfer(spare.handle, starter, memory, taken);
        Ok((observer, spare.is_initialized))
    }

    /// Starts a program of the bridge itself, once few enough others are starting. `make_observer`
    /// makes its observer, which is given the program's input.
    pub(crate) async fn start<O: ProgramObserver>(
        &self,
        make_observer: impl FnOnce(ProgramInput) -> Arc<O>,
    ) -> Result<(Arc<O>, ProgramHandle), CallError> {
        self.start_in(&self.0.memory, Starter::Bridge, make_observer)
            .await
    }

    async fn start_in<O: ProgramObserver>(
        &self,
        memory: &MemoryAccount,
        starter: Starter,
        make_observer: impl FnOnce(ProgramInput) -> Arc<O>,
    ) -> Result<(Arc<O>, ProgramHandle), CallError> {
        self.limiter().check(starter, Instant::now())?;
        let starting = self.0.gate.enter(starter.caller()).await;

        let is_retry = {
            let mut limiter = self.limiter();
            limiter.admit(starter, Instant::now())?;
            limiter.has_failed()
        };
        let log = ProgramLog::new(self.0.config.label.clone(), is_retry);
        let inner = &self.0;
        let child = Child::start(&inner.config, &inner.tasks, &inner.bridge, memory, &log)
            .map_err(|error| self.start_failed(starter, &error))?;
        log.started(&inner.config.command, starter == Starter::Bridge);
        if starter == Starter::Bridge && !is_retry {
            *inner.starting.lock() = Some((Instant::now(), log.clone()));
        }

        let observer = make_observer(child.input.clone());
        let program = LaunchedProgram {
            child,
            startup: Arc::new(Startup::new(self.clone(), starter, log, starting)),
            running: self.0.stats.program_started(),
        };
        let handle = attend_in_task(program, observer.clone());
        Ok((observer, handle))
    }

    /// Returns the program of the bridge itself that has not written a message yet.
    pub(crate) fn starting(&self) -> Option<StartingProgram> {
        let starting = self.0.starting.lock();
        let (since, log) = starting.as_ref()?;
        Some(StartingProgram {
            elapsed: since.elapsed(),
            last_words: log.last_line.get(),
        })
    }

    /// Forgets the program that has not written a message yet: none is waited for.
    fn forget_start(&self) {
        self.0.starting.lock().take();
    }

    /// Reports the facts of the first exchange.
    pub(crate) fn note_facts(&self, facts: Option<ServerFacts>) {
        self.0.health.set_facts(facts);
    }

    /// Returns the place of the program that the bridge has asked for its revisions.
    pub(crate) fn spare(&self) -> &SparePlace {
        &self.0.spare
    }

    fn tasks(&self) -> &TaskTracker {
        &self.0.tasks
    }

    /// Returns whether any program of this bridge has ever written a message.
    pub(crate) fn has_answered(&self) -> bool {
        self.limiter().has_answered()
    }

    /// Logs the variables that the program was to inherit and that are not set.
    pub(crate) fn warn_of_unset_variables(&self) {
        let unset = &self.0.config.unset_variables;
        if !unset.is_empty() {
            tracing::warn!(
                provider = self.label(),
                variables = unset.join(","),
                "PROVIDER_ENV names variables that are not set; a value with a comma needs a flag \
                 or an element of an array of its own"
            );
        }
    }

    /// Ends every program, and waits until none is left.
    pub(crate) async fn end_all(&self) {
        self.0.bridge.cancel();
        let mut changes = self.0.stats.changes();
        while self.0.stats.snapshot().children > 0 {
            // The sender is part of the stats, so this cannot fail.
            let _ = changes.changed().await;
        }
    }

    /// Returns the failure of a call for which no program runs, if the last one that the bridge
    /// started by itself exited without a message.
    pub(crate) fn not_started(&self) -> Option<CallError> {
        let reason = self.limiter().own_failure()?.to_owned();
        Some(CallError::new(
            Cause::ProviderNotStarted,
            format!("the MCP server does not run: {reason}"),
        ))
    }

    /// Waits until it is not known that programs can be started.
    pub(crate) async fn until_doubtful(&self) {
        self.0.health.until_doubtful().await;
    }

    /// Returns when the bridge itself can start the next program; `None` if it can now.
    pub(crate) fn pause(&self) -> Option<Instant> {
        self.limiter().own_pause(Instant::now())
    }

    /// Records that a program of the bridge itself has not written a message for so long that it is
    /// given up.
    pub(crate) fn note_silence(&self, silence: Duration) -> CallError {
        let reason = format!("it has not answered for {silence:?}");
        tracing::warn!(
            provider = self.label(),
            ?silence,
            "the provider's program is given up: it has not answered"
        );
        self.failed(Starter::Bridge, &reason, &reason);
        CallError::new(
            Cause::ProviderNotStarted,
            format!("the MCP server does not run: {reason}"),
        )
    }

    /// Records that the guard could not be started.
    fn start_failed(&self, starter: Starter, error: &std::io::Error) -> CallError {
        let reason = format!("cannot be started: {error}");
        self.failed(starter, &reason, &reason);
        CallError::new(
            Cause::ProviderNotStarted,
            format!("the MCP server {reason}"),
        )
    }

    fn note_exit(&self, starter: Starter, exit: &Exit, log: &ProgramLog) {
        if exit.is_requested {
            return log.ended(exit);
        }
        self.0.stats.program_crashed();
        log.ended_by_itself(exit);

        if !exit.has_answered {
            let reason = format!("it ended before it answered anything ({exit})");
            let with_last_words = match exit.last_stderr_line.as_str() {
                "" => reason.clone(),
                last_words => format!("{reason}: {last_words}"),
            };
            self.failed(starter, &reason, &with_last_words);
        }
    }

    /// Records a start that failed: with a reason that callers receive, and one for the operator.
    fn failed(&self, starter: Starter, for_callers: &str, for_operator: &str) {
        self.limiter().failed(starter, for_callers, Instant::now());
        self.forget_start();
        match starter {
            Starter::Bridge => self.0.health.set_unhealthy(for_operator.to_owned()),
            Starter::Caller(_) => self.0.health.set_doubtful(),
        }
        self.name_variables();
    }

    /// Logs, once, the variables that a program may have missed.
    fn name_variables(&self) {
        let withheld = &self.0.config.withheld_variables;
        if withheld.is_empty() || self.0.has_named_variables.swap(true, Ordering::Relaxed) {
            return;
        }
        tracing::info!(
            provider = self.label(),
            variables = withheld.join(","),
            "variables that the provider's program does not get unless PROVIDER_ENV names them"
        );
    }

    fn first_message(&self, starter: Starter) {
        self.limiter().succeeded(starter);
        self.forget_start();
        self.0.health.set_healthy();
    }

    fn limiter(&self) -> MutexGuard<'_, StartLimiter> {
        self.0.limiter.lock()
    }
}
