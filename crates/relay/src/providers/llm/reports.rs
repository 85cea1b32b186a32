//! The reports of calls that the server has not received yet.

use std::collections::VecDeque;

use llamapool_wire::llm::CallReport;
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
}

impl Reports {
    /// Begins a new stream of events. The numbers of attempts are those of one server: reports of
    /// calls that came through an earlier tunnel are of no use to its reader.
    pub(super) fn begin(&self) -> u64 {
        let mut queue = self.queue.lock();
        queue.session += 1;
        queue.reports.clear();
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
        if queue.reports.len() >= MAX_REPORTS {
            // The server estimates what it gets no report of.
            queue.reports.pop_front();
        }
        queue.reports.push_back(report);
        self.added.notify_one();
    }

    /// Waits for the next report. Without loss if the future is dropped.
    pub(super) async fn next(&self) -> CallReport {
        loop {
            let added = self.added.notified();
            if let Some(report) = self.take() {
                return report;
            }
            added.await;
        }
    }

    /// Takes the next report, if there is one.
    pub(super) fn take(&self) -> Option<CallReport> {
        self.queue.lock().reports.pop_front()
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

        assert_eq!(reports.next().await.attempt, 3);
        assert_eq!(reports.take().map(|report| report.attempt), Some(4));
        assert_eq!(reports.take(), None);
        assert!(futures_util::poll!(std::pin::pin!(reports.next())).is_pending());
    }
}
