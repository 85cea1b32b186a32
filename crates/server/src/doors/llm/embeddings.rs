//! A request for embeddings in parts: some of its inputs each, sent to several workers at once, and
//! joined to one answer. Callers see one call.
//!
//! All parts go to workers of one variant of the model, as the pool places calls for embeddings: vectors
//! of other weights, or of another kind of runtime, are of another space.

use std::collections::BTreeSet;
use std::ops::Range;
use std::time::Duration;

use axum::http::response::Parts as Head;
use bytes::Bytes;
use futures_util::future::try_join_all;
use llamapool_dialect::{
    EmbeddingsPart, InputList, LlmErrorKind, check_embeddings, join_embeddings,
};
use llamapool_http::{CountedMemory, collect};
use llamapool_pool::{Ask, CallId};
use parking_lot::Mutex;
use tokio::time::Instant;

use super::answer::broken_answer;
use super::call::Call;
use super::context::LlmDoor;
use super::dispatch::{CallAnswer, Running};
use super::error::LlmError;
use super::failed_attempt::{Attempts, FailedAnswer, FailedAttempt};
use super::headers::RouteOfCall;
use crate::pool::{AnswerTimes, Estimate, RunningCall, Spending};

/// The inputs from which on a request is divided where several workers are free, although one of them
/// would take it whole.
const MIN_DIVIDED: usize = 64;
/// The inputs of a part at least, where its worker takes as many: a request costs as much as some of
/// them.
const MIN_PART: usize = 16;
/// The parts for each lane at least, so that faster workers take more of them.
const PARTS_PER_LANE: usize = 2;

/// An answer that was joined from those to parts.
pub(super) struct JoinedAnswer {
    /// The head of the answer to the first part.
    pub(super) head: Head,
    pub(super) body: Bytes,
    pub(super) route: RouteOfCall,
}

/// How a request is divided.
pub(super) struct Division {
    inputs: InputList,
    /// The parts that run at once, at most.
    lanes: usize,
    /// The inputs of a part, where its worker takes as many.
    size: usize,
    /// The call as it was placed first, from which the others are made.
    ask: Ask,
}

/// What the lanes of a divided call share.
struct Progress {
    /// The first input that no part has.
    next: usize,
    spending: Option<Spending>,
    answers: Vec<(Head, EmbeddingsPart)>,
    /// Bytes of the answers.
    bytes: usize,
    attempts: u32,
    workers: BTreeSet<String>,
}

/// The reason why no part follows: the answer of the call.
type Failure = FailedAnswer;

impl Division {
    /// Returns how a request is divided for which a worker was found, `None` if it is not. `free` is the
    /// number of workers that were free before.
    pub(super) fn of(
        door: &LlmDoor,
        running: &RunningCall,
        (inputs, ask): (InputList, Ask),
        free: usize,
    ) -> Option<Self> {
        let items = inputs.len();
        let batch = running.worker.embedding_batch_size(items);
        let spread = if items >= MIN_DIVIDED { free } else { 1 };
        let most = door.config.max_parallel_embeddings;
        let lanes = spread.max(items.div_ceil(batch)).clamp(1, most.max(1));
        if items <= batch && lanes == 1 {
            return None;
        }
        let size = items.div_ceil(lanes * PARTS_PER_LANE).max(MIN_PART);
        Some(Self {
            inputs,
            lanes,
            size,
            ask,
        })
    }

    /// Returns the call for another part. One that may wait does so for the time that the caller allows.
    fn ask(&self, door: &LlmDoor, may_wait: bool, timeout: Option<Duration>) -> Ask {
        let micros = |span: Duration| u64::try_from(span.as_micros()).unwrap_or(u64::MAX);
        let deadline = timeout.map(|span| door.pool.now().saturating_add(micros(span)));
        let share = self.share(self.ask.prompt_tokens, self.size.min(self.inputs.len()));
        Ask {
            call: CallId(door.pool.next_number()),
            prompt_tokens: share,
            inputs: u32::try_from(self.size).unwrap_or(u32::MAX),
            // Learned from whole calls alone: parts of unequal inputs have no known size.
            prompt_bytes: 0,
            may_wait,
            deadline,
            ..self.ask.clone()
        }
    }

    /// Returns the share of a number that some of the inputs have.
    fn share(&self, of_all: u64, items: usize) -> u64 {
        let share = u128::from(of_all) * items as u128 / self.inputs.len() as u128;
        u64::try_from(share).unwrap_or(u64::MAX)
    }
}

impl Running {
    /// Runs a divided call, whose first part has a worker.
    pub(super) async fn run_divided(
        mut self,
        call: &Call,
        first: RunningCall,
        division: Division,
    ) -> Result<CallAnswer, LlmError> {
        let queued = Duration::from_micros(first.run.waited);
        let began = Instant::now();
        let model = first.run.model_name.as_ref().to_owned();
        let reason = first.run.reason.as_str();
        let progress = Mutex::new(Progress {
            next: 0,
            spending: self.spending.take(),
            answers: Vec::new(),
            bytes: 0,
            attempts: 0,
            workers: BTreeSet::new(),
        });

        let mut first = Some(first);
        let lanes = (0..division.lanes).map(|_| Lane {
            of: &self,
            call,
            division: &division,
            progress: &progress,
            first: first.take(),
        });
        if let Err(failure) = try_join_all(lanes.map(Lane::run)).await {
            return failure.into();
        }
        let progress = progress.into_inner();
        let waits = AnswerTimes {
            queued,
            first_content: began.elapsed(),
            predicted_prefix: 0,
        };
        let metrics = call.door.pool.metrics();
        metrics.answered(&call.model(), self.class, waits);
        let route = RouteOfCall {
            worker: Vec::from_iter(progress.workers.clone()).join(","),
            model,
            reason,
            waited: queued,
            attempts: progress.attempts,
            prefix: 0,
        };
        self.joined(call, progress, route)
    }

    /// Joins the answers to all parts.
    fn joined(
        &self,
        call: &Call,
        mut progress: Progress,
        route: RouteOfCall,
    ) -> Result<CallAnswer, LlmError> {
        let most = call.door.bounds.max_answer_bytes;
        let mut memory = CountedMemory::new(&self.party.memory);
        memory.cover(progress.bytes).map_err(LlmError::no_memory)?;

        progress.answers.sort_by_key(|(_, part)| part.items.start);
        let (heads, parts): (Vec<Head>, Vec<EmbeddingsPart>) = progress.answers.into_iter().unzip();
        let joined = join_embeddings(call.endpoint, &parts);
        let body = joined
            .map_err(|error| LlmError::new(LlmErrorKind::RuntimeGarbage, error.to_string()))?;
        if body.len() > most {
            return Err(broken_answer(&llamapool_http::CollectError::TooLarge(most)));
        }
        let head = heads.into_iter().next().ok_or_else(|| {
            LlmError::new(LlmErrorKind::RuntimeGarbage, "the request has no inputs")
        })?;
        Ok(CallAnswer::Joined(Box::new(JoinedAnswer {
            head,
            body: memory.seal(body, progress.bytes),
            route,
        })))
    }
}

/// One of the parts that run at once: one after the other, until none is left.
struct Lane<'a> {
    of: &'a Running,
    call: &'a Call,
    division: &'a Division,
    progress: &'a Mutex<Progress>,
    /// The place of the first part. The lane that has it waits for further ones; the others run while
    /// a slot is free, so that a call takes no more places in the queue than one.
    first: Option<RunningCall>,
}

impl Lane<'_> {
    async fn run(mut self) -> Result<(), Failure> {
        let may_wait = self.first.is_some();
        loop {
            if self.progress.lock().next >= self.division.inputs.len() {
                return Ok(());
            }
            let running = match self.first.take() {
                Some(running) => running,
                None => match self.place(may_wait).await {
                    Ok(running) => running,
                    Err(error) if may_wait => return Err(Failure::Own(error)),
                    Err(_) => return Ok(()),
                },
            };
            let Some(items) = self.take(&running) else {
                return Ok(());
            };
            self.part(running, items).await?;
        }
    }

    async fn place(&self, may_wait: bool) -> Result<RunningCall, LlmError> {
        let door = &self.call.door;
        let timeout = self.of.party.wishes.timeout;
        let ask = self.division.ask(door, may_wait, timeout);
        Ok(door.pool.place(ask, &self.call.req_id).await?)
    }

    /// Takes the next inputs, as many as the worker takes at once. `None` if none are left.
    fn take(&self, running: &RunningCall) -> Option<Range<usize>> {
        let all = self.division.inputs.len();
        let size = self.division.size;
        let batch = running.worker.embedding_batch_size(size);

        let mut progress = self.progress.lock();
        let from = progress.next;
        progress.next = (from + size.min(batch)).min(all);
        (from < all).then_some(from..progress.next)
    }

    /// Runs a part. One that fails is tried once more, on another worker.
    async fn part(&self, mut running: RunningCall, items: Range<usize>) -> Result<(), Failure> {
        let mut attempts = Attempts::of_part();
        loop {
            let part = Some((&self.division.inputs, &items));
            let failed = match self.attempt(&mut running, part).await {
                Ok((head, answer)) => {
                    self.answered(running, (head, EmbeddingsPart { items, answer }));
                    return Ok(());
                }
                Err(failed) => failed,
            };
            let next = self.of.after(self.call, running, &failed, &mut attempts);
            self.progress.lock().attempts += 1;
            match next.await {
                Some(other) => {
                    running = other;
                    attempts.remember(failed);
                }
                None => return Err(attempts.answer(failed)),
            }
        }
    }

    /// Sends a part, and collects its answer.
    async fn attempt(
        &self,
        running: &mut RunningCall,
        part: Option<(&InputList, &Range<usize>)>,
    ) -> Result<(Head, Bytes), FailedAttempt> {
        let answer = self.of.attempt(self.call, running, part).await?;
        let (head, body) = answer.response.into_parts();
        let most = self.call.door.bounds.max_answer_bytes;
        let left = most.saturating_sub(self.progress.lock().bytes);
        let body = collect(body, left, &self.of.party.memory).await;
        let body = body.map_err(|error| FailedAttempt::own(broken_answer(&error)))?;

        let items = part.map_or(0, |(_, items)| items.len());
        let checked = check_embeddings(self.call.endpoint, &body, items);
        checked.map_err(|error| {
            let kind = LlmErrorKind::RuntimeGarbage;
            FailedAttempt::own(LlmError::new(kind, error.to_string()))
        })?;
        Ok((head, body))
    }

    /// Keeps the answer to a part, whose key is charged for it.
    fn answered(&self, mut running: RunningCall, (head, part): (Head, EmbeddingsPart)) {
        let prompt = self
            .division
            .share(self.of.estimate.prompt, part.items.len());
        let estimate = Estimate {
            prompt,
            completion: 0,
        };
        let mut progress = self.progress.lock();
        let spending = progress.spending.as_mut().map(|all| all.split(prompt));
        progress.attempts += 1;
        progress.bytes += part.answer.len();
        progress.workers.insert(running.worker.name().to_owned());
        progress.answers.push((head, part));
        drop(progress);

        if let Some(spending) = spending {
            running.answered(spending, estimate);
        }
    }
}
