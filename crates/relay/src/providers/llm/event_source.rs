//! The events of a runtime's id besides its offers: models, load, and reports of calls.

use std::sync::Arc;
use std::time::Duration;

use llamapool_wire::Event;
use llamapool_wire::llm::{Load, Models, RuntimeInfo};
use tokio::sync::watch;
use tokio::time::Instant;

use super::RuntimeState;

/// Between two lines about the load: it changes with every call.
const LOAD_INTERVAL: Duration = Duration::from_millis(100);
/// The bytes of lines to which no report of a call is added, as those of a hundred calls have.
const LINES_BYTES: usize = 16 * 1024;

/// The events of one runtime, for one stream of them.
pub(crate) struct LlmEvents {
    state: Arc<RuntimeState>,
    info: watch::Receiver<RuntimeInfo>,
    models: watch::Receiver<Option<Models>>,
    load: watch::Receiver<Load>,
    next_load: Instant,
    /// The last load that was sent, `None` if the models were sent after it.
    sent_load: Option<Load>,
}

impl LlmEvents {
    /// The events for a new stream, which begin with the models and the load.
    pub(crate) fn new(state: Arc<RuntimeState>) -> Self {
        state.reports.begin();
        let mut this = Self {
            info: state.info(),
            models: state.models(),
            load: state.load(),
            next_load: Instant::now(),
            sent_load: None,
            state,
        };
        if this.models.borrow().is_some() {
            this.models.mark_changed();
        }
        this
    }

    /// Returns the runtime for an offer, of which the next change is then one.
    pub(crate) fn offered(&mut self) -> RuntimeInfo {
        self.info.borrow_and_update().clone()
    }

    /// Waits until the runtime for an offer has changed. Without loss if the future is dropped.
    pub(crate) async fn offer_changed(info: &mut watch::Receiver<RuntimeInfo>) {
        // The sender lives as long as the provider.
        let _ = info.changed().await;
        info.mark_changed();
    }

    /// Waits for the next event, `None` if it is an offer that is due. Without loss if the future is
    /// dropped.
    pub(crate) async fn next(&mut self) -> Option<Event> {
        loop {
            let event = self.next_change().await?;
            let Event::Load(load) = event else {
                return Some(event);
            };
            // A load that has changed back is no news.
            if self.sent_load.as_ref() != Some(&load) {
                self.sent_load = Some(load.clone());
                return Some(Event::Load(load));
            }
        }
    }

    /// Adds the lines of the reports that are there by now. Calls end in one turn of the runtime, and
    /// each line by itself would be a write of its own.
    pub(crate) fn add_reports(&mut self, lines: &mut String) {
        while lines.len() < LINES_BYTES
            && let Some(report) = self.state.reports.take()
        {
            lines.push_str(&report.to_line());
        }
    }

    async fn next_change(&mut self) -> Option<Event> {
        let Self {
            state,
            info,
            models,
            load,
            next_load,
            sent_load,
        } = self;
        tokio::select! {
            // Biased: counts settle budgets, and the indices of a load are those of the models that
            // were sent before it.
            biased;
            report = state.reports.next() => Some(report),
            () = Self::offer_changed(info) => None,
            () = changed(models) => {
                let models = models.borrow_and_update().clone();
                // A load has indices of the models before it, so that one follows each list.
                load.mark_changed();
                *sent_load = None;
                Some(Event::Models(models.unwrap_or_default()))
            }
            () = changed_since(load, *next_load) => {
                *next_load = Instant::now() + LOAD_INTERVAL;
                Some(Event::Load(load.borrow_and_update().clone()))
            }
        }
    }
}

/// Waits for a change and leaves it noted as one, so that dropping the future loses none.
async fn changed<T>(receiver: &mut watch::Receiver<T>) {
    // The sender lives as long as the provider.
    let _ = receiver.changed().await;
    receiver.mark_changed();
}

/// Waits for a change, and for a moment.
async fn changed_since<T>(receiver: &mut watch::Receiver<T>, moment: Instant) {
    changed(receiver).await;
    tokio::time::sleep_until(moment).await;
}

#[cfg(test)]
mod tests {
    use llamapool_wire::llm::CallReport;

    use super::*;
    use crate::providers::llm::tests::llm_config;

    #[tokio::test]
    async fn reports_that_are_there_go_along_up_to_a_bound() {
        let state = RuntimeState::new(llm_config("http://127.0.0.1:1"), "label", false);
        let mut events = LlmEvents::new(state.clone());
        let session = state.reports.session();
        let reports = (0..500).map(|attempt| CallReport {
            attempt,
            ..CallReport::default()
        });
        reports.for_each(|report| state.reports.add(session, report));

        let mut lines = String::new();
        events.add_reports(&mut lines);
        let next = events.next().await;

        let sent: Vec<_> = lines
            .lines()
            .map(|line| match Event::from_line(line.as_bytes()) {
                Ok(Event::Call(report)) => report.attempt,
                other => panic!("{line} is {other:?}"),
            })
            .collect();
        let count = sent.len() as u64;
        assert_eq!(sent, (0..count).collect::<Vec<_>>());
        assert!((100..200).contains(&count), "{count} reports");
        assert!(lines.len() < LINES_BYTES + 200);
        assert!(matches!(next, Some(Event::Call(report)) if report.attempt == count));
    }
}
