//! One attempt that reaches the runtime: its slot, its counts, and the report of it.

use std::sync::Arc;
use std::time::Duration;

use llamapool_dialect::{CountSource as Counted, Endpoint, StreamReader, Usage};
use llamapool_wire::llm::{CallEnd, CallProgress, CallReport, CountSource};
use tokio::time::Instant;

use super::abandoned::AbandonedCalls;
use super::call_gate::Slot;
use super::learned::Lesson;
use super::speeds::Measurement;
use super::state::RuntimeState;

/// Between two reports of the progress of one call.
const PROGRESS_INTERVAL: Duration = Duration::from_secs(1);

/// One attempt. Dropping it before its end means that the server has cancelled it.
pub(super) struct CallMeter {
    state: Arc<RuntimeState>,
    abandoned: Arc<AbandonedCalls>,
    slot: Option<Slot>,
    session: u64,
    attempt: u64,
    model: String,
    api: &'static str,
    /// The tokens of the prompt, as far as its bytes tell.
    estimated_prompt: u64,
    was_cold: bool,
    sent: Option<Instant>,
    first_content: Option<Instant>,
    /// When progress was reported last.
    reported: Option<Instant>,
    counts: Usage,
    is_over: bool,
    /// The reader of the answer's events, where it has some.
    pub(super) stream: StreamReader,
}

/// The attempt that a meter is for.
pub(super) struct Attempt {
    pub(super) number: u64,
    pub(super) model: String,
    pub(super) endpoint: Endpoint,
    pub(super) estimated_prompt: u64,
}

impl CallMeter {
    /// A meter of an attempt that holds a slot, if its endpoint takes one.
    pub(super) fn new(
        state: Arc<RuntimeState>,
        abandoned: Arc<AbandonedCalls>,
        slot: Option<Slot>,
        attempt: Attempt,
    ) -> Self {
        state.note_use();
        Self {
            session: state.reports.session(),
            was_cold: !state.is_resident(&attempt.model),
            attempt: attempt.number,
            model: attempt.model,
            api: attempt.endpoint.api(),
            estimated_prompt: attempt.estimated_prompt,
            stream: StreamReader::new(attempt.endpoint),
            sent: None,
            first_content: None,
            reported: None,
            counts: Usage::default(),
            is_over: false,
            state,
            abandoned,
            slot,
        }
    }

    /// Notes that the request is sent from now on.
    pub(super) fn send(&mut self) {
        if self.sent.is_none() {
            self.sent = Some(Instant::now());
            self.state.jobs.start();
        }
    }

    /// Returns the time since the request was sent.
    pub(super) fn elapsed(&self) -> Duration {
        self.sent.map_or(Duration::ZERO, |sent| sent.elapsed())
    }

    /// Notes that the request has not reached the runtime.
    pub(super) fn was_not_sent(&mut self) {
        if self.sent.take().is_some() {
            self.state.jobs.end(false, Duration::ZERO);
        }
        self.is_over = true;
        self.slot = None;
    }

    /// Notes how much of the prompt is read, and reports it unless it did so a moment ago.
    pub(super) fn read(&mut self, share: f32) {
        let is_due = self
            .reported
            .is_none_or(|reported| reported.elapsed() >= PROGRESS_INTERVAL);
        if is_due {
            self.reported = Some(Instant::now());
            let progress = CallProgress {
                attempt: self.attempt,
                read: share,
            };
            self.state.add_progress(self.session, progress);
        }
    }

    /// Notes the first content.
    pub(super) fn first_content(&mut self) {
        self.first_content.get_or_insert_with(Instant::now);
    }

    /// Sets the counts of a whole answer.
    pub(super) fn count(&mut self, counts: Usage) {
        self.counts = counts;
    }

    /// Notes what the answer taught about the runtime.
    pub(super) fn learn(&self, lesson: Lesson) {
        self.state.learn(lesson, self.api, &self.model);
    }

    /// Ends the attempt: frees its slot and reports it.
    pub(super) fn end(&mut self, end: CallEnd) {
        if std::mem::replace(&mut self.is_over, true) {
            return;
        }
        self.slot = None;
        let Some(sent) = self.sent else { return };
        let total = sent.elapsed();
        self.state.jobs.end(end == CallEnd::Complete, total);

        let of_stream = self.stream.usage();
        let counts = if self.counts == Usage::default() {
            of_stream
        } else {
            self.counts
        };
        let first = self.first_content.map(|first| first - sent);
        if end == CallEnd::Complete {
            let measured = first.map(|first| self.measurement(&counts, first, total));
            self.state.note_success(&self.model, measured);
            self.state.learned.worked(self.api, &self.model);
        }
        self.state.note_use();
        let report = CallReport {
            attempt: self.attempt,
            end,
            prompt: counts.prompt.unwrap_or_default(),
            cached: counts.cached.unwrap_or_default(),
            completion: counts.completion.unwrap_or_default(),
            embeddings: counts.embeddings.unwrap_or_default(),
            source: source_of(counts.source),
            first_ms: first.map(milliseconds),
            total_ms: milliseconds(total),
        };
        self.state.show_call(self.api, &self.model, &report);
        self.state.add_report(self.session, report);
    }

    fn measurement(&self, counts: &Usage, first: Duration, total: Duration) -> Measurement {
        let (prompt, written) = if counts.source.is_trusted() {
            (counts.prompt, counts.completion)
        } else {
            (None, None)
        };
        let cached = counts.cached.unwrap_or_default();
        Measurement {
            read: prompt.unwrap_or_default().saturating_sub(cached),
            written: written.unwrap_or_default(),
            first,
            rest: total.saturating_sub(first),
            was_cold: self.was_cold,
        }
    }
}

impl Drop for CallMeter {
    fn drop(&mut self) {
        let is_cancelled = !self.is_over && self.sent.is_some();
        let may_be_computed = is_cancelled && self.first_content.is_none();
        self.end(CallEnd::Cancelled);
        if may_be_computed {
            let reading = self.state.reading_time(&self.model, self.estimated_prompt);
            let rest = reading.map(|reading| reading.saturating_sub(self.elapsed()));
            self.abandoned.add(&self.state, rest);
        }
    }
}

fn milliseconds(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}

fn source_of(source: Counted) -> CountSource {
    match source {
        Counted::Usage => CountSource::Usage,
        Counted::Timings => CountSource::Timings,
        Counted::Events => CountSource::Events,
        Counted::Estimate => CountSource::Estimate,
    }
}
