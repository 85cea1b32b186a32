//! Starts programs, within a rate: so many in a minute, and after a growing wait while they exit
//! before their first line.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use llamapool_limits::{Claim, MemoryAccount, Owner};
use llamapool_wire::{CallError, Cause};
use parking_lot::{Mutex, MutexGuard};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::child::{Child, Exit, ProgramObserver};
use crate::config::BridgeConfig;
use crate::health::BridgeHealth;
use crate::program_input::ProgramInput;
use crate::stats::BridgeStats;

/// So many exits without a line may be accidents; after one more the next start waits.
const ACCIDENTS: u32 = 2;
/// The first wait, and the longest. Each is twice the one before.
const FIRST_WAIT: Duration = Duration::from_secs(1);
const LONGEST_WAIT: Duration = Duration::from_secs(60);
/// The factor of the share that one bridge has of the memory: one greedy bridge leaves a ninth.
const BRIDGE_MEMORY_FACTOR: usize = 8;
const MINUTE: Duration = Duration::from_secs(60);

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
    limiter: Mutex<StartLimiter>,
}

/// The history of starts, which decides about the next.
#[derive(Default)]
struct StartLimiter {
    /// The starts of the last minute.
    recent: VecDeque<Instant>,
    /// How many programs exited without a line since one that wrote a line.
    silent_exits: u32,
    /// How the last of them exited.
    last_silent_exit: Option<String>,
    /// True if any program has ever written a line.
    has_written: bool,
    /// Until when no program is started, and why.
    pause: Option<(Instant, String)>,
}

/// Returns the claims of one bridge on the memory that all have in common. Its callers are told
/// apart by the server.
fn memory_claims() -> [Claim; 3] {
    static BRIDGES: AtomicU64 = AtomicU64::new(0);
    let number = BRIDGES.fetch_add(1, Ordering::Relaxed);
    let bridge = Claim {
        owner: Owner::of(&("bridge", number)),
        factor: BRIDGE_MEMORY_FACTOR,
    };
    let all = |name| Claim {
        owner: Owner::of(&name),
        factor: usize::MAX,
    };
    [all("callers"), all("addresses"), bridge]
}

impl Launcher {
    pub(crate) fn new(config: BridgeConfig, stats: BridgeStats, health: BridgeHealth) -> Self {
        Self(Arc::new(Inner {
            memory: config.memory.account(memory_claims()),
            config,
            tasks: TaskTracker::new(),
            bridge: CancellationToken::new(),
            stats,
            health,
            limiter: Mutex::default(),
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

    /// Starts a program. `make_observer` makes its observer, which is given the program's input.
    pub(crate) fn start<O: ProgramObserver>(
        &self,
        make_observer: impl FnOnce(ProgramInput) -> Arc<O>,
    ) -> Result<Arc<O>, CallError> {
        let max_per_minute = self.0.config.max_starts_per_minute;
        self.limiter().admit(max_per_minute, Instant::now())?;

        let child = Child::start(
            &self.0.config,
            &self.0.tasks,
            &self.0.bridge,
            &self.0.memory,
        )
        .map_err(|error| self.start_failed(&error))?;
        tracing::debug!(pid = child.pid(), "started the provider's program");

        let observer = make_observer(child.input.clone());
        let running = self.0.stats.program_started();
        let launcher = self.clone();
        let first_line = Arc::new(FirstLineObserver {
            launcher: self.clone(),
            inner: observer.clone(),
            has_written: AtomicBool::new(false),
        });
        self.0.tasks.spawn(async move {
            let _running = running;
            let exit = child.attend(first_line).await;
            launcher.note_exit(&exit);
        });
        Ok(observer)
    }

    /// Returns whether any program of this bridge has ever written a line.
    pub(crate) fn has_written(&self) -> bool {
        self.limiter().has_written
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

    /// Returns the failure of a call for which no program runs, if the last one exited without a
    /// line.
    pub(crate) fn not_started(&self) -> Option<CallError> {
        let reason = self.limiter().last_silent_exit.clone()?;
        Some(CallError::new(
            Cause::ProviderNotStarted,
            format!("the MCP server does not run: {reason}"),
        ))
    }

    /// Waits until starting a program fails.
    pub(crate) async fn until_unhealthy(&self) {
        self.0.health.until_unhealthy().await;
    }

    /// Returns when the next start is possible; `None` if it is possible now.
    pub(crate) fn pause(&self) -> Option<Instant> {
        self.limiter()
            .pause
            .as_ref()
            .map(|(until, _)| *until)
            .filter(|until| *until > Instant::now())
    }

    /// Records that the guard could not be started.
    fn start_failed(&self, error: &std::io::Error) -> CallError {
        let reason = format!("cannot be started: {error}");
        self.0.health.set_unhealthy(reason.clone());
        self.limiter().silent_exit(&reason, Instant::now());
        CallError::new(
            Cause::ProviderNotStarted,
            format!("the MCP server {reason}"),
        )
    }

    fn note_exit(&self, exit: &Exit) {
        if exit.is_requested {
            return tracing::debug!(end = %exit, "the provider's program has ended");
        }
        self.0.stats.program_crashed();
        tracing::warn!(end = %exit, "the provider's program has ended by itself");
        tracing::debug!(
            last_words = exit.last_stderr_line,
            "what it said last on standard error"
        );

        if !exit.has_written {
            let reason = format!("it ended before it said anything ({exit})");
            self.0.health.set_unhealthy(reason.clone());
            self.limiter().silent_exit(&reason, Instant::now());
        }
    }

    fn limiter(&self) -> MutexGuard<'_, StartLimiter> {
        self.0.limiter.lock()
    }
}

/// Reports the first line of a program as health, and passes everything on.
struct FirstLineObserver<O> {
    launcher: Launcher,
    inner: Arc<O>,
    has_written: AtomicBool,
}

impl<O: ProgramObserver> ProgramObserver for FirstLineObserver<O> {
    async fn on_line(&self, line: bytes::Bytes) {
        // Only the first line shows that starting works: an old session must not hide that no new
        // one can begin.
        if !self.has_written.swap(true, Ordering::Relaxed) {
            self.launcher.limiter().first_line();
            self.launcher.0.health.set_healthy();
        }
        self.inner.on_line(line).await;
    }

    fn on_exit(&self, exit: &Exit) {
        self.inner.on_exit(exit);
    }
}

impl StartLimiter {
    /// Records a start, or refuses it.
    fn admit(&mut self, max_per_minute: usize, now: Instant) -> Result<(), CallError> {
        let pause = self.pause.as_ref().filter(|(until, _)| *until > now);
        if let Some((until, reason)) = pause {
            let wait = (*until - now).as_secs() + 1;
            let message =
                format!("the MCP server is not started again for another {wait} s: {reason}");
            return Err(CallError::new(Cause::ProviderNotStarted, message));
        }

        let is_old = |start: &Instant| *start + MINUTE <= now;
        while self.recent.front().is_some_and(is_old) {
            self.recent.pop_front();
        }
        if self.recent.len() >= max_per_minute {
            let message = format!(
                "{max_per_minute} programs were started within a minute, as many as PROVIDER_MAX_STARTS allows"
            );
            return Err(CallError::new(Cause::TooManySessions, message));
        }
        self.recent.push_back(now);
        Ok(())
    }

    /// Records that a program wrote its first line.
    fn first_line(&mut self) {
        self.has_written = true;
        self.silent_exits = 0;
        self.last_silent_exit = None;
        self.pause = None;
    }

    /// Records that a program exited without a line, or was not started at all.
    fn silent_exit(&mut self, reason: &str, now: Instant) {
        self.silent_exits += 1;
        self.last_silent_exit = Some(reason.to_owned());
        let Some(beyond) = self.silent_exits.checked_sub(ACCIDENTS + 1) else {
            return;
        };
        let wait = FIRST_WAIT
            .saturating_mul(1 << beyond.min(16))
            .min(LONGEST_WAIT);
        self.pause = Some((now + wait, reason.to_owned()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn starts_within_a_minute_are_bounded() {
        let start = Instant::now();
        let mut starts = StartLimiter::default();

        assert!((0..3).all(|_| starts.admit(3, start).is_ok()));
        assert_eq!(
            starts
                .admit(3, start + Duration::from_secs(59))
                .unwrap_err()
                .cause,
            Cause::TooManySessions
        );
        assert!(starts.admit(3, start + MINUTE).is_ok());
    }

    #[test]
    fn silent_exits_delay_the_next_start_ever_longer() {
        let mut now = Instant::now();
        let mut starts = StartLimiter::default();

        for expected in [0, 0, 1, 2, 4, 8, 16, 32, 60, 60] {
            starts.silent_exit("exit status 1", now);
            let refused = starts.admit(
                1000,
                now + Duration::from_secs(expected).saturating_sub(Duration::from_millis(1)),
            );

            assert_eq!(refused.is_err(), expected > 0, "{expected}");

            now += Duration::from_secs(expected);

            assert!(starts.admit(1000, now).is_ok());
        }

        let refusal = StartLimiter {
            pause: Some((now + MINUTE, "exit status 1".into())),
            ..StartLimiter::default()
        };
        let mut refusal = refusal;
        let message = refusal.admit(1000, now).unwrap_err().message;

        assert!(
            message.contains("exit status 1") && message.contains("61 s"),
            "{message}"
        );
    }
}
