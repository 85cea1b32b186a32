//! One call inside the pool.

use std::sync::Arc;

use crate::queue::LineKey;
use crate::{Class, KeyId, PrefixMark, WorkerId};

/// A call that waits or runs.
#[derive(Debug)]
pub(crate) struct Call {
    pub(crate) key: KeyId,
    /// The entry of the catalogue, and its serial.
    pub(crate) entry: (usize, u64),
    /// The number of its arrival.
    pub(crate) seq: u64,
    pub(crate) queued_at: u64,
    pub(crate) deadline: u64,
    /// The bit of the API that it asks for.
    pub(crate) api: u32,
    /// The bit of workers that make it of another API, 0 if none may.
    pub(crate) translated_api: u32,
    pub(crate) class: Class,
    pub(crate) prompt_tokens: u64,
    /// The same for one of its inputs: so many must fit into the context.
    pub(crate) input_tokens: u64,
    pub(crate) prompt_bytes: u64,
    /// Tokens that are expected to be written.
    pub(crate) output: u64,
    /// Beginnings of the prompt. Most calls have few.
    pub(crate) marks: Box<[PrefixMark]>,
    pub(crate) num_ctx: Option<u64>,
    /// A context of this many tokens was too small.
    pub(crate) min_context: u64,
    pub(crate) excluded: Box<[WorkerId]>,
    pub(crate) only: Option<WorkerId>,
    pub(crate) may_wait: bool,
    /// Whether it had a worker before: then it is within the bounds of the queue.
    pub(crate) was_placed: bool,
    pub(crate) takes_slot: bool,
    /// The slot time that its key is charged with when it starts, in microseconds.
    pub(crate) charge: u64,
    pub(crate) state: CallState,
}

/// The state of a call.
#[derive(Debug)]
pub(crate) enum CallState {
    /// Between two states.
    Moving,
    /// In a line.
    Waiting { line: usize },
    /// On a worker.
    Running(Box<Running>),
}

/// A call on a worker.
#[derive(Debug)]
pub(crate) struct Running {
    /// The worker's serial: its place may be another's by now.
    pub(crate) worker: u32,
    pub(crate) worker_id: WorkerId,
    pub(crate) model: u16,
    pub(crate) model_name: Arc<str>,
    pub(crate) started: u64,
    pub(crate) expected_end: u64,
    /// Tokens of the prompt that the longest remembered prefix has.
    pub(crate) matched: u64,
}

impl Call {
    /// Returns the context that a worker with these APIs loads the model with for it. Where the API is made
    /// of another one, nothing is loaded.
    pub(crate) fn num_ctx_at(&self, apis: u32) -> Option<u64> {
        self.num_ctx.filter(|_| apis & self.api != 0)
    }

    /// Returns the line in which it waits.
    pub(crate) fn line(&self, id: crate::CallId) -> LineKey {
        let is_bound = !self.excluded.is_empty() || self.min_context > 0;
        LineKey {
            key: self.key,
            class: self.class,
            api: self.api,
            num_ctx: self.num_ctx,
            alone: is_bound.then_some(id),
        }
    }

    pub(crate) fn running(&self) -> Option<&Running> {
        match &self.state {
            CallState::Running(running) => Some(running),
            CallState::Waiting { .. } | CallState::Moving => None,
        }
    }
}
