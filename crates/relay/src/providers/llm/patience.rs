//! The waits for a runtime: for first content, and between two events. A wait that is over is
//! prolonged while the runtime shows that it works.

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
    /// When the runtime was last heard of.
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
            let alarm = self
                .call_deadline
                .map_or(self.deadline, |end| end.min(self.deadline));
            if let Ok(done) = tokio::time::timeout_at(alarm, future.as_mut()).await {
                return Ok(done);
            }

            let now = Instant::now();
            if self.call_deadline.is_some_and(|end| now >= end) {
                let message = "the call took longer than REQUEST_TIMEOUT of the worker";
                return Err(LlmError::new(LlmErrorKind::CallTimeout, message));
            }
            if !self.is_working().await {
                return Err(self.error());
            }
            self.deadline = Instant::now() + self.timeout;
        }
    }

    /// Returns whether the runtime shows that it works on the call, or may well do so.
    async fn is_working(&self) -> bool {
        if self.wait_for != WaitFor::NextEvent && self.state.is_loading(&self.model) {
            return true;
        }
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
