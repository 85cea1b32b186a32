//! The waits for a runtime: for first content, and between two events. A wait that is over is
//! prolonged while the runtime shows that it works. While it loads the model, no time for first content
//! passes.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use llamapool_dialect::LlmErrorKind;
use tokio::time::Instant;

use super::client::PollClient;
use super::error::LlmError;
use super::runtime;
use super::state::RuntimeState;

/// The wait between two events of an answer with tools, of a runtime that does not show whether it
/// works: several send a tool call only when it is complete.
const SILENT_TOOL_CALL: Duration = Duration::from_secs(600);

/// How often a wait for first content looks whether the model is being loaded.
const LOADING_LOOK: Duration = Duration::from_secs(1);

/// What is waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum WaitFor {
    /// The first content of a stream.
    FirstContent,
    /// A whole answer.
    WholeAnswer,
    /// The next event.
    NextEvent,
}

/// The wait for a runtime.
pub(super) struct Patience {
    state: Arc<RuntimeState>,
    polls: Arc<PollClient>,
    model: String,
    has_tools: bool,
    wait_for: WaitFor,
    timeout: Duration,
    /// The moment of the last sign of life of the runtime.
    since: Instant,
    deadline: Instant,
    /// The end of the whole call.
    call_deadline: Option<Instant>,
}

impl Patience {
    /// A wait that begins now.
    pub(super) fn new(
        state: Arc<RuntimeState>,
        polls: Arc<PollClient>,
        model: &str,
        has_tools: bool,
    ) -> Self {
        let now = Instant::now();
        let request_timeout = state.config().request_timeout;
        Self {
            model: model.to_owned(),
            has_tools,
            wait_for: WaitFor::FirstContent,
            timeout: Duration::ZERO,
            since: now,
            deadline: now,
            call_deadline: request_timeout.map(|timeout| now + timeout),
            state,
            polls,
        }
    }

    /// Begins to wait for something else.
    pub(super) fn begin(&mut self, wait_for: WaitFor, timeout: Duration) {
        self.wait_for = wait_for;
        self.timeout = timeout;
        self.prolong();
    }

    /// Begins the wait anew: the runtime has sent something.
    pub(super) fn prolong(&mut self) {
        self.since = Instant::now();
        self.deadline = self.since + self.timeout;
    }

    /// Waits for a future, as long as there is reason to.
    ///
    /// # Errors
    ///
    /// If the runtime does not work, as far as it shows that, or the call takes too long.
    pub(super) async fn wait<T>(&mut self, future: impl Future<Output = T>) -> Result<T, LlmError> {
        let mut future = std::pin::pin!(future);
        loop {
            let mut alarm = self
                .call_deadline
                .map_or(self.deadline, |end| end.min(self.deadline));
            if self.wait_for != WaitFor::NextEvent {
                alarm = alarm.min(Instant::now() + LOADING_LOOK);
            }
            if let Ok(done) = tokio::time::timeout_at(alarm, future.as_mut()).await {
                return Ok(done);
            }

            let now = Instant::now();
            if self.call_deadline.is_some_and(|end| now >= end) {
                let message = "the call took longer than REQUEST_TIMEOUT of the worker";
                return Err(LlmError::new(LlmErrorKind::CallTimeout, message));
            }
            if self.wait_for != WaitFor::NextEvent && self.is_loading() {
                self.deadline = now + self.timeout;
            } else if now >= self.deadline {
                if !self.is_working().await {
                    return Err(self.error());
                }
                self.deadline = self.next_deadline();
            }
        }
    }

    /// Returns whether the model is being loaded: the runtime reports it, or what it has loaded, and
    /// this model is not there.
    fn is_loading(&self) -> bool {
        let is_known = !self.model.is_empty();
        self.state.is_loading(&self.model) || (is_known && !self.state.is_resident(&self.model))
    }

    /// Returns when to look again whether the runtime works.
    fn next_deadline(&self) -> Instant {
        let next = Instant::now() + self.timeout;
        let is_blind = !self.state.kind().is_some_and(runtime::shows_work);
        if is_blind && self.wait_for == WaitFor::NextEvent {
            next.min(self.since + SILENT_TOOL_CALL)
        } else {
            next
        }
    }

    /// Returns whether the runtime shows that it works on the call, or may well do so.
    async fn is_working(&self) -> bool {
        let kind = self.state.kind().filter(|&kind| runtime::shows_work(kind));
        match (self.wait_for, kind) {
            (WaitFor::FirstContent, _) => false,
            (WaitFor::WholeAnswer | WaitFor::NextEvent, Some(kind)) => {
                let busy = runtime::busy(kind, &self.polls).await;
                busy.is_ok_and(|busy| busy.is_some_and(|busy| busy > 0))
            }
            (WaitFor::NextEvent, None) => self.has_tools && self.since.elapsed() < SILENT_TOOL_CALL,
            (WaitFor::WholeAnswer, None) => false,
        }
    }

    fn error(&self) -> LlmError {
        let waited = self.timeout;
        match self.wait_for {
            WaitFor::NextEvent => LlmError::new(
                LlmErrorKind::Stalled,
                format!(
                    "the runtime has sent nothing for {waited:?}, and does not work on the answer"
                ),
            ),
            WaitFor::FirstContent | WaitFor::WholeAnswer => LlmError::new(
                LlmErrorKind::FirstTokenTimeout,
                format!("the runtime has sent no content within {waited:?}"),
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::RuntimeKind;
    use crate::providers::llm::client::RuntimeAddress;
    use crate::providers::llm::runtime::{PolledLoad, Resident, ResidentModel};
    use crate::providers::llm::tests::llm_config;
    use crate::providers::pool;

    /// A runtime of a kind, which no poll reaches.
    fn state(kind: RuntimeKind) -> Arc<RuntimeState> {
        let state = RuntimeState::new(llm_config("http://127.0.0.1:9"), "w1", false);
        state.set_kind(kind, String::new());
        state
    }

    fn patience(state: &Arc<RuntimeState>, has_tools: bool) -> Patience {
        let tls = crate::tls::tls_config(None).unwrap();
        let connector = pool::connector(tls, Duration::from_secs(1));
        let address = RuntimeAddress::new(&state.config().url, None);
        let polls = Arc::new(PollClient::new(connector, address));
        Patience::new(state.clone(), polls, "m", has_tools)
    }

    fn set_resident(state: &RuntimeState, is_loading: Option<bool>) {
        let models = is_loading.map(|is_loading| ResidentModel {
            name: "m".to_owned(),
            context: 0,
            is_loading,
        });
        let load = PolledLoad {
            resident: Resident::These(models.into_iter().collect()),
            ..PolledLoad::default()
        };
        state.set_polled(None, load, 1);
    }

    /// Waits for what never comes. Returns the word, and the seconds until it was given up.
    async fn given_up(patience: &mut Patience) -> (LlmErrorKind, u64) {
        let since = Instant::now();
        let error = patience.wait(std::future::pending::<()>()).await;
        (error.unwrap_err().kind, since.elapsed().as_secs())
    }

    #[tokio::test(start_paused = true)]
    async fn a_silent_runtime_without_tools_is_stalled_after_the_timeout() {
        for kind in [
            RuntimeKind::Ollama,
            RuntimeKind::LmStudio,
            RuntimeKind::OpenAi,
        ] {
            let mut patience = patience(&state(kind), false);
            patience.begin(WaitFor::NextEvent, Duration::from_secs(120));

            assert_eq!(given_up(&mut patience).await, (LlmErrorKind::Stalled, 120));
        }
    }

    /// Several runtimes send a tool call only when it is complete.
    #[tokio::test(start_paused = true)]
    async fn a_silent_runtime_with_tools_has_ten_minutes() {
        for timeout in [50, 120, 500] {
            let mut patience = patience(&state(RuntimeKind::Ollama), true);
            patience.begin(WaitFor::NextEvent, Duration::from_secs(timeout));

            assert_eq!(given_up(&mut patience).await, (LlmErrorKind::Stalled, 600));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn every_byte_begins_the_wait_for_the_next_anew() {
        let mut patience = patience(&state(RuntimeKind::OpenAi), false);
        patience.begin(WaitFor::NextEvent, Duration::from_secs(120));

        for _ in 0..5 {
            let some = tokio::time::sleep(Duration::from_secs(100));
            patience.wait(some).await.unwrap();
            patience.prolong();
        }

        assert_eq!(given_up(&mut patience).await, (LlmErrorKind::Stalled, 120));
    }

    #[tokio::test(start_paused = true)]
    async fn a_poll_that_fails_shows_no_work() {
        let mut patience = patience(&state(RuntimeKind::LlamaCpp), true);
        patience.begin(WaitFor::NextEvent, Duration::from_secs(120));

        let (kind, seconds) = given_up(&mut patience).await;

        assert_eq!(kind, LlmErrorKind::Stalled);
        assert!((120..130).contains(&seconds), "{seconds}");
    }

    #[tokio::test(start_paused = true)]
    async fn no_time_for_first_content_passes_while_a_model_loads() {
        for is_loading in [None, Some(true)] {
            let state = state(RuntimeKind::Ollama);
            set_resident(&state, is_loading);
            let mut patience = patience(&state, false);
            patience.begin(WaitFor::FirstContent, Duration::from_secs(5));

            let loading = tokio::time::sleep(Duration::from_secs(60));
            patience.wait(loading).await.unwrap();
            set_resident(&state, Some(false));
            let (kind, seconds) = given_up(&mut patience).await;

            assert_eq!(kind, LlmErrorKind::FirstTokenTimeout);
            assert!((4..=6).contains(&seconds), "{seconds} s after it is loaded");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_loaded_model_has_the_time_for_first_content() {
        for kind in [RuntimeKind::Ollama, RuntimeKind::OpenAi] {
            let state = state(kind);
            set_resident(&state, Some(false));
            for wait_for in [WaitFor::FirstContent, WaitFor::WholeAnswer] {
                let mut patience = patience(&state, false);
                patience.begin(wait_for, Duration::from_secs(5));

                let end = given_up(&mut patience).await;

                assert_eq!(end, (LlmErrorKind::FirstTokenTimeout, 5));
            }
        }
    }
}
