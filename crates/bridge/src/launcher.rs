//! Starts the program, but not too often: a bound on how many are started in a minute, and a wait that grows while they end
//! before they have said anything.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use llamapool_wire::{CallError, Cause};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::child::{Child, Ended, Hears};
use crate::config::BridgeConfig;
use crate::crew::Crew;
use crate::health::Health;
use crate::input::Input;
use crate::load::Load;

/// So many ends without a word are an accident; from then on the next start waits.
const ACCIDENTS: u32 = 2;
/// The first wait, and the longest. Each is twice the one before.
const FIRST_WAIT: Duration = Duration::from_secs(1);
const LONGEST_WAIT: Duration = Duration::from_secs(60);
const MINUTE: Duration = Duration::from_secs(60);

/// Starts programs. Clones are the same one.
#[derive(Clone)]
pub(crate) struct Launcher(Arc<Inner>);

struct Inner {
    config: BridgeConfig,
    crew: Crew,
    /// Closes the input of every program.
    bridge: CancellationToken,
    load: Load,
    health: Health,
    starts: Mutex<Starts>,
}

/// What is remembered of starts.
#[derive(Default)]
struct Starts {
    /// Those of the last minute.
    recent: VecDeque<Instant>,
    /// How many ended without a word since one that spoke, and how the last of them did.
    silent_ends: u32,
    last_silent_end: Option<String>,
    has_spoken: bool,
    /// Until when nothing is started, and why.
    pause: Option<(Instant, String)>,
}

impl Launcher {
    pub(crate) fn new(config: BridgeConfig, load: Load, health: Health) -> Self {
        let (crew, bridge, starts) = (Crew::default(), CancellationToken::new(), Mutex::default());
        Self(Arc::new(Inner {
            config,
            crew,
            bridge,
            load,
            health,
            starts,
        }))
    }

    pub(crate) fn config(&self) -> &BridgeConfig {
        &self.0.config
    }

    pub(crate) fn load(&self) -> &Load {
        &self.0.load
    }

    /// Starts the program, heard by whoever `hearer` makes for its input.
    pub(crate) fn start<H: Hears>(
        &self,
        hearer: impl FnOnce(Input) -> Arc<H>,
    ) -> Result<Arc<H>, CallError> {
        self.starts()
            .admit(self.0.config.max_starts_per_minute, Instant::now())?;
        let child =
            Child::start(&self.0.config, &self.0.crew, &self.0.bridge).map_err(|error| {
                let why = format!("cannot be started: {error}");
                self.0.health.unreachable(why.clone());
                self.starts().ended_silently(&why, Instant::now());
                CallError::new(Cause::ProviderNotStarted, format!("the MCP server {why}"))
            })?;
        tracing::debug!(pid = child.pid(), "started the provider's program");
        let (hears, running) = (hearer(child.input.clone()), self.0.load.child());
        let launcher = self.clone();
        let heard = Attentive {
            launcher: self.clone(),
            hears: hears.clone(),
            has_spoken: AtomicBool::new(false),
        };
        let heard = Arc::new(heard);
        self.0.crew.take(async move {
            let _running = running;
            let ended = child.attend(heard).await;
            launcher.note(&ended);
        });
        Ok(hears)
    }

    /// Whether any program of this bridge has ever said anything.
    pub(crate) fn has_spoken(&self) -> bool {
        self.starts().has_spoken
    }

    /// Ends every program, and waits until none is left.
    pub(crate) async fn end_all(&self) {
        self.0.bridge.cancel();
        let mut changes = self.0.load.changes();
        while self.0.load.now().children > 0 {
            // Its sender is in the load.
            let _ = changes.changed().await;
        }
    }

    /// The failure of a call for which there is no program, as it ended before it said anything.
    pub(crate) fn not_started(&self) -> Option<CallError> {
        let why = self.starts().last_silent_end.clone()?;
        Some(CallError::new(
            Cause::ProviderNotStarted,
            format!("the MCP server does not run: {why}"),
        ))
    }

    /// Waits until the program is known not to run.
    pub(crate) async fn until_unreachable(&self) {
        self.0.health.until_unreachable().await;
    }

    /// When the next start is possible, if not now.
    pub(crate) fn pause(&self) -> Option<Instant> {
        self.starts()
            .pause
            .as_ref()
            .map(|(until, _)| *until)
            .filter(|until| *until > Instant::now())
    }

    fn note(&self, ended: &Ended) {
        if ended.was_asked {
            return tracing::debug!(end = %ended, "the provider's program has ended");
        }
        self.0.load.crashed();
        tracing::warn!(end = %ended, "the provider's program has ended by itself");
        tracing::debug!(
            last_words = ended.last_words,
            "what it said last on standard error"
        );
        if !ended.has_spoken {
            let why = format!("it ended before it said anything ({ended})");
            self.0.health.unreachable(why.clone());
            self.starts().ended_silently(&why, Instant::now());
        }
    }

    fn starts(&self) -> MutexGuard<'_, Starts> {
        self.0.starts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Notes that the program speaks, for whoever hears it.
struct Attentive<H> {
    launcher: Launcher,
    hears: Arc<H>,
    has_spoken: AtomicBool,
}

impl<H: Hears> Hears for Attentive<H> {
    async fn heard(&self, line: bytes::Bytes) {
        // Its first line alone shows that starting works: an old session must not hide that no new one can begin.
        if !self.has_spoken.swap(true, Ordering::Relaxed) {
            self.launcher.starts().speaks();
            self.launcher.0.health.reachable();
        }
        self.hears.heard(line).await;
    }

    fn ended(&self, end: &Ended) {
        self.hears.ended(end);
    }
}

impl Starts {
    fn admit(&mut self, max_per_minute: usize, now: Instant) -> Result<(), CallError> {
        if let Some((until, why)) = self.pause.as_ref().filter(|(until, _)| *until > now) {
            let wait = (*until - now).as_secs() + 1;
            let message =
                format!("the MCP server is not started again for another {wait} s: {why}");
            return Err(CallError::new(Cause::ProviderNotStarted, message));
        }
        while self
            .recent
            .front()
            .is_some_and(|start| *start + MINUTE <= now)
        {
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

    fn speaks(&mut self) {
        self.has_spoken = true;
        self.silent_ends = 0;
        self.last_silent_end = None;
        self.pause = None;
    }

    fn ended_silently(&mut self, why: &str, now: Instant) {
        self.silent_ends += 1;
        self.last_silent_end = Some(why.to_owned());
        let Some(beyond) = self.silent_ends.checked_sub(ACCIDENTS + 1) else {
            return;
        };
        let wait = FIRST_WAIT
            .saturating_mul(1 << beyond.min(16))
            .min(LONGEST_WAIT);
        self.pause = Some((now + wait, why.to_owned()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_more_are_started_in_a_minute_than_may_be() {
        let (start, mut starts) = (Instant::now(), Starts::default());
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
    fn programs_that_end_without_a_word_are_started_ever_more_seldom() {
        let (mut now, mut starts) = (Instant::now(), Starts::default());
        for expected in [0, 0, 1, 2, 4, 8, 16, 32, 60, 60] {
            starts.ended_silently("exit status 1", now);
            let refused = starts.admit(
                1000,
                now + Duration::from_secs(expected).saturating_sub(Duration::from_millis(1)),
            );
            assert_eq!(refused.is_err(), expected > 0, "{expected}");
            now += Duration::from_secs(expected);
            assert!(starts.admit(1000, now).is_ok());
        }
        let refusal = Starts {
            pause: Some((now + MINUTE, "exit status 1".into())),
            ..Starts::default()
        };
        let mut refusal = refusal;
        let message = refusal.admit(1000, now).unwrap_err().message;
        assert!(
            message.contains("exit status 1") && message.contains("61 s"),
            "{message}"
        );
    }
}
