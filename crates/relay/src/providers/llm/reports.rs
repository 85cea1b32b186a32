//! The reports of calls that the server has not received yet.

use std::collections::{BTreeMap, VecDeque};

use llamapool_wire::Event;
use llamapool_wire::llm::{CallProgress, CallReport};
use parking_lot::Mutex;
use tokio::sync::Notify;

/// The most reports that wait: more than calls can end while one line is sent.
const MAX_REPORTS: usize = 4096;

/// Reports of calls, for the reader of the current stream of events.
#[derive(Default)]
pub(super) struct Reports {
    queue: Mutex<Queue>,
    added: Notify,
}

#[derive(Default)]
struct Queue {
    session: u64,
    reports: VecDeque<CallReport>,
    /// The share of the prompt that is read, by the numbers of attempts.
    progress: BTreeMap<u64, f32>,
}

impl Reports {
    /// Begins a new stream of events. The numbers of attempts are those of one server: reports of
    /// calls that came through an earlier tunnel are of no use to its reader.
    pub(super) fn begin(&self) -> u64 {
        let mut queue = self.queue.lock();
        queue.session += 1;
        queue.reports.clear();
        queue.progress.clear();
        queue.session
    }

    /// Returns the number of the current stream.
    pub(super) fn session(&self) -> u64 {
        self.queue.lock().session
    }

    /// Adds the report of a call that began in a session.
    pub(super) fn add(&self, session: u64, report: CallReport) {
        let mut queue = self.queue.lock();
        if queue.session != session {
            return;
        }
        queue.progress.remove(&report.attempt);
        if queue.reports.len() >= MAX_REPORTS {
            // The server estimates what it gets no report of.
            queue.reports.pop_front();
        }
        queue.reports.push_back(report);
        self.added.notify_one();
    }

    /// Adds how much of its prompt a call has read that began in a session. What was added before and
    /// was not received yet is replaced.
    pub(super) fn add_progress(&self, session: u64, progress: CallProgress) {
        let mut queue = self.queue.lock();
        let has_room = queue.progress.len() < MAX_REPORTS;
        if queue.session == session && (has_room || queue.progress.contains_key(&progress.attempt))
        {
            queue.progress.insert(progress.attempt, progress.read);
            self.added.notify_one();
        }
    }

    /// Waits for the next report, before which no progress is sent. Without loss if the future is
    /// dropped.
    pub(super) async fn next(&self) -> Event {
        loop {
            let added = self.added.notified();
            if let Some(event) = self.take() {
                return event;
            }
            added.await;
        }
    }

    /// Takes the next report, if there is one.
    pub(super) fn take(&self) -> Option<Event> {
        self.queue.lock().pop()
    }
}

impl Queue {
    fn pop(&mut self) -> Option<Event> {
        if let Some(report) = self.reports.pop_front() {
            return Some(Event::Call(report));
        }
        let (attempt, read) = self.progress.pop_first()?;
        Some(Event::Progress(CallProgress { attempt, read }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(attempt: u64) -> CallReport {
        CallReport {
            attempt,
            ..CallReport::default()
        }
    }

    #[tokio::test]
    async fn reports_arrive_in_order_and_only_in_their_session() {
        let reports = Reports::default();
        let first = reports.begin();
        reports.add(first, report(1));
        let second = reports.begin();

        reports.add(first, report(2));
        reports.add(second, report(3));
        reports.add(second, report(4));

        assert_eq!(reports.next().await, Event::Call(report(3)));
        assert_eq!(reports.take(), Some(Event::Call(report(4))));
        assert_eq!(reports.take(), None);
        assert!(futures_util::poll!(std::pin::pin!(reports.next())).is_pending());
    }

    #[tokio::test]
    async fn progress_is_the_latest_and_ends_with_the_report() {
        let reports = Reports::default();
        let first = reports.begin();
        let progress = |attempt, read| CallProgress { attempt, read };
        reports.add_progress(first, progress(9, 0.5));
        let second = reports.begin();

        for (attempt, read) in [(1, 0.1), (2, 0.2), (1, 0.3)] {
            reports.add_progress(second, progress(attempt, read));
        }
        reports.add_progress(first, progress(9, 0.6));
        reports.add(second, report(2));

        assert_eq!(reports.next().await, Event::Call(report(2)));
        assert_eq!(reports.next().await, Event::Progress(progress(1, 0.3)));
        assert!(futures_util::poll!(std::pin::pin!(reports.next())).is_pending());
    }
}
