//! Calls whose caller has left and that the runtime still computes.
//!
//! llama.cpp and Ollama notice a lost connection when they write, and they write nothing while they
//! read a prompt: a slot that is given back when the caller leaves may stay busy for a minute. Where
//! the runtime shows its slots, they are looked at; elsewhere the expected rest of the prompt counts.

use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::Instant;

use super::client::PollClient;
use super::runtime;
use super::state::RuntimeState;

/// Between two looks at the slots.
const LOOK_INTERVAL: Duration = Duration::from_millis(250);
/// The longest time that a call counts: what the runtime computes then is another one.
const LIMIT: Duration = Duration::from_secs(600);
/// The most calls that are watched: more than any runtime has slots.
const MAX_CALLS: usize = 4096;

/// The abandoned calls of one runtime, each with the moment until which it counts at the most.
#[derive(Default)]
pub(super) struct AbandonedCalls {
    until: Mutex<Vec<Instant>>,
    added: Notify,
}

impl AbandonedCalls {
    /// Adds a call that was cancelled before its first content. `rest` is the expected time in which
    /// its prompt is read, `None` if it is not known.
    pub(super) fn add(&self, state: &RuntimeState, rest: Option<Duration>) {
        let Some(kind) = state.kind() else { return };
        if runtime::aborts_at_once(kind) {
            return;
        }
        let counts_for = if runtime::shows_work(kind) {
            LIMIT
        } else {
            rest.unwrap_or_default().min(LIMIT)
        };
        if counts_for.is_zero() {
            return;
        }

        let count = {
            let mut until = self.until.lock();
            if until.len() < MAX_CALLS {
                until.push(Instant::now() + counts_for);
            }
            until.len()
        };
        state.set_abandoned(count as u32);
        self.added.notify_one();
    }

    /// Watches the abandoned calls, for as long as the relay lives.
    pub(super) async fn watch(&self, state: &RuntimeState, client: &PollClient) {
        loop {
            self.added.notified().await;
            while !self.until.lock().is_empty() {
                tokio::time::sleep(LOOK_INTERVAL).await;
                self.look(state, client).await;
            }
        }
    }

    async fn look(&self, state: &RuntimeState, client: &PollClient) {
        let busy = match state.kind() {
            Some(kind) => runtime::busy(kind, client).await,
            None => Ok(None),
        };
        let count = {
            let mut until = self.until.lock();
            let now = Instant::now();
            until.retain(|until| *until > now);
            match busy {
                // The own calls hold the other slots.
                Ok(Some(busy)) => {
                    let most = busy.saturating_sub(state.gate.running()) as usize;
                    let ended = until.len().saturating_sub(most);
                    until.drain(..ended);
                }
                Ok(None) => {}
                // A runtime that has gone computes nothing.
                Err(_) => until.clear(),
            }
            until.len()
        };
        state.set_abandoned(count as u32);
    }
}
