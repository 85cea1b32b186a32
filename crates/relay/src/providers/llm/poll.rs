//! Polls the runtime: which kind it is, its models, its load, its health.

use std::time::Duration;

use tokio::time::Instant;

use super::client::{PollClient, PollError};
use super::detect::{IdentifyError, identify};
use super::runtime::{self, ModelDetails, Pushes};
use super::state::RuntimeState;
use crate::config::RuntimeKind;
use crate::status::provider::HealthReporter;

/// Between two looks at the load while calls run.
const BUSY_INTERVAL: Duration = Duration::from_secs(1);
/// Between two looks at the load while none do.
const IDLE_INTERVAL: Duration = Duration::from_secs(10);
/// Between two looks at LM Studio, which shows no load that changes with calls.
const LM_STUDIO_INTERVAL: Duration = Duration::from_secs(5);
/// How long after a call the runtime counts as used.
const USED_FOR: Duration = Duration::from_secs(30);
/// Between two attempts while the runtime does not answer.
const RETRY_INTERVAL: Duration = Duration::from_secs(1);
/// The fewest time between two polls that calls ask for.
const LEAST_INTERVAL: Duration = Duration::from_millis(200);
/// Between two attempts to get a stream of changes from a runtime that pushes them.
const PUSH_INTERVAL: Duration = Duration::from_secs(10);
/// How many polls in a row may be late before the runtime counts as unreachable: one that computes
/// on all cores is slow to answer.
const LATE_POLLS: u32 = 3;

/// The loop that polls one runtime.
pub(super) struct Poller<'a> {
    client: &'a PollClient,
    state: &'a RuntimeState,
    health: &'a HealthReporter,
    details: ModelDetails,
    models_due: Instant,
    late_polls: u32,
    pushes: PushedChanges,
}

/// The changes that a runtime pushes, if it does.
struct PushedChanges {
    stream: Option<Pushes>,
    /// When a stream that ended, or was refused, is asked for again.
    next: Instant,
}

impl<'a> Poller<'a> {
    /// A loop that has not begun.
    pub(super) fn new(
        client: &'a PollClient,
        state: &'a RuntimeState,
        health: &'a HealthReporter,
    ) -> Self {
        Self {
            client,
            state,
            health,
            details: ModelDetails::default(),
            models_due: Instant::now(),
            late_polls: 0,
            pushes: PushedChanges {
                stream: None,
                next: Instant::now(),
            },
        }
    }

    /// Polls for as long as the relay lives.
    pub(super) async fn run(mut self) {
        loop {
            let wait = match self.poll().await {
                Ok(kind) => self.interval(kind),
                Err(error) => {
                    self.report(&error);
                    RETRY_INTERVAL
                }
            };
            let poked = async {
                tokio::time::sleep(LEAST_INTERVAL).await;
                self.state.poll_now.notified().await;
            };
            let pushed = async {
                tokio::time::sleep(LEAST_INTERVAL).await;
                self.pushes.changed(self.client, self.state).await;
            };
            tokio::select! {
                () = tokio::time::sleep(wait) => {}
                () = poked => self.models_due = Instant::now(),
                () = pushed => self.models_due = Instant::now(),
            }
        }
    }

    /// Polls once.
    pub(super) async fn poll(&mut self) -> Result<RuntimeKind, IdentifyError> {
        // Another program may have taken the place of one that did not answer.
        let known = self.state.kind().filter(|_| self.health.is_reachable());
        let kind = match known {
            Some(kind) => kind,
            None => self.identify().await?,
        };

        let is_list_due = Instant::now() >= self.models_due;
        let models = if is_list_due {
            let version = self.state.version();
            Some(runtime::models(kind, self.client, &version, &mut self.details).await?)
        } else {
            None
        };
        let own_before = self.state.gate.running();
        let load = runtime::load(kind, self.client).await?;
        let own = own_before.max(self.state.gate.running());

        if is_list_due {
            self.models_due = Instant::now() + self.state.config().model_poll_interval;
        }
        self.late_polls = 0;
        self.health.reachable();
        self.state.set_polled(models, load, own);
        Ok(kind)
    }

    async fn identify(&mut self) -> Result<RuntimeKind, IdentifyError> {
        let kind = match self.state.config().kind {
            Some(kind) => kind,
            None => identify(self.client).await?,
        };
        let version = runtime::version(kind, self.client)
            .await
            .unwrap_or_default();
        let is_news = self.state.kind() != Some(kind) || self.state.version() != version;
        self.state.set_kind(kind, version.clone());
        self.models_due = Instant::now();
        if is_news {
            tracing::info!(runtime = kind.word(), version, "found the runtime");
        }
        Ok(kind)
    }

    /// Reports a poll that failed. It changes the health and never the list of models.
    fn report(&mut self, error: &IdentifyError) {
        let is_late = matches!(error, IdentifyError::Poll(PollError::Timeout { .. }));
        self.late_polls += 1;
        if !is_late || self.late_polls >= LATE_POLLS || !self.health.is_reachable() {
            self.health.unreachable(error.to_string());
        }
    }

    fn interval(&self, kind: RuntimeKind) -> Duration {
        let is_used =
            self.state.running() > 0 || self.state.idle_for().is_some_and(|idle| idle < USED_FOR);
        let interval = match kind {
            RuntimeKind::LmStudio => LM_STUDIO_INTERVAL,
            RuntimeKind::OpenAi => IDLE_INTERVAL,
            _ if is_used => BUSY_INTERVAL,
            _ => IDLE_INTERVAL,
        };
        let until_models = self.models_due.saturating_duration_since(Instant::now());
        interval.min(until_models.max(LEAST_INTERVAL))
    }
}

impl PushedChanges {
    /// Waits for a change, for ever where the runtime pushes none. Without loss if the future is
    /// dropped.
    async fn changed(&mut self, client: &PollClient, state: &RuntimeState) {
        if !state.pushes_changes() {
            self.stream = None;
            std::future::pending::<()>().await;
        }
        loop {
            if let Some(stream) = &mut self.stream
                && stream.changed().await.is_some()
            {
                return;
            }
            self.stream = None;
            tokio::time::sleep_until(self.next).await;
            self.next = Instant::now() + PUSH_INTERVAL;
            self.stream = Pushes::open(client).await.ok();
        }
    }
}
