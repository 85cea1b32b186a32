//! What is known of one runtime: its kind, its models, its load, and the reports of its calls. The
//! event stream of its id, the status server and the calls read it.

use std::sync::Arc;
use std::time::Duration;

use llamapool_wire::Event;
use llamapool_wire::llm::{
    CallProgress, CallReport, Load, MAX_MODELS, MAX_MODELS_BYTES, ModelInfo, Models, RuntimeInfo,
};
use parking_lot::Mutex;
use tokio::sync::{Notify, watch};
use tokio::time::Instant;

use super::call_gate::CallGate;
use super::job_stats::JobStats;
use super::learned::{Learned, Lesson};
use super::reports::Reports;
use super::runtime::{self, PolledLoad, Resident};
use super::speeds::{Measurement, Speeds};
use super::translation;
use crate::config::{LlmConfig, RuntimeKind};
use crate::shown_calls::show_llm;

/// The most models that count as loaded because a call to them went well.
const MAX_USED: usize = MAX_MODELS;
/// Between two reports of speeds that have changed: they change with every call.
const SPEEDS_INTERVAL: Duration = Duration::from_secs(10);

/// What is known of one runtime.
pub(crate) struct RuntimeState {
    config: LlmConfig,
    /// The name of the provider in the log.
    label: String,
    /// True if every call is shown.
    shows_calls: bool,
    known: Mutex<Known>,
    info: watch::Sender<RuntimeInfo>,
    models: watch::Sender<Option<Models>>,
    load: watch::Sender<Load>,
    pub(super) reports: Reports,
    pub(super) gate: CallGate,
    pub(super) learned: Learned,
    pub(crate) jobs: JobStats,
    /// A poll is due at once.
    pub(super) poll_now: Notify,
}

#[derive(Default)]
struct Known {
    kind: Option<RuntimeKind>,
    version: String,
    /// The models as they were polled, before patterns, aliases and lessons.
    polled_models: Vec<ModelInfo>,
    load: PolledLoad,
    elsewhere_before: u32,
    elsewhere: u32,
    abandoned: u32,
    /// Models to which a call went well, where the runtime does not report what is loaded.
    used: Vec<String>,
    speeds: Speeds,
    speeds_sent: Option<Instant>,
    last_call: Option<Instant>,
}

impl RuntimeState {
    /// The state of a runtime that was not asked yet. `label` is its name in the metrics.
    pub(super) fn new(config: LlmConfig, label: &str, shows_calls: bool) -> Arc<Self> {
        let this = Self {
            info: watch::Sender::default(),
            models: watch::Sender::default(),
            load: watch::Sender::default(),
            known: Mutex::default(),
            reports: Reports::default(),
            gate: CallGate::default(),
            learned: Learned::default(),
            jobs: JobStats::new(label),
            label: label.to_owned(),
            shows_calls,
            poll_now: Notify::new(),
            config,
        };
        this.update_info(&this.known.lock());
        Arc::new(this)
    }

    /// Returns the settings of the runtime.
    pub(crate) fn config(&self) -> &LlmConfig {
        &self.config
    }

    /// Returns the runtime as the server is told of it, now and at every change.
    pub(crate) fn info(&self) -> watch::Receiver<RuntimeInfo> {
        self.info.subscribe()
    }

    /// Returns the models, `None` before the first list, now and at every change.
    pub(crate) fn models(&self) -> watch::Receiver<Option<Models>> {
        self.models.subscribe()
    }

    /// Returns the load, now and at every change.
    pub(crate) fn load(&self) -> watch::Receiver<Load> {
        self.load.subscribe()
    }

    /// Returns how many calls run.
    pub(crate) fn running(&self) -> u32 {
        self.gate.running()
    }

    /// Returns the kind, `None` while it is not known.
    pub(super) fn kind(&self) -> Option<RuntimeKind> {
        self.known.lock().kind
    }

    /// Returns the version as the runtime reports it.
    pub(super) fn version(&self) -> String {
        self.known.lock().version.clone()
    }

    /// Sets which runtime answers. Another one than before begins without lessons.
    pub(super) fn set_kind(&self, kind: RuntimeKind, version: String) {
        let mut known = self.known.lock();
        if known.kind != Some(kind) || known.version != version {
            self.learned.forget();
            known.used.clear();
        }
        known.kind = Some(kind);
        known.version = version;
        self.update_info(&known);
    }

    /// Sets what was polled while so many calls of this worker ran: the load, and the models if the
    /// list was asked for.
    pub(super) fn set_polled(&self, models: Option<Vec<ModelInfo>>, load: PolledLoad, own: u32) {
        let mut known = self.known.lock();
        let busy = load.busy.unwrap_or_default();
        let elsewhere = busy.saturating_sub(own.saturating_add(known.abandoned));
        // A call that has just ended holds its slot for a moment: only what lasts counts.
        known.elsewhere = elsewhere.min(known.elsewhere_before);
        known.elsewhere_before = elsewhere;
        known.load = load;
        if let Some(models) = models {
            known.polled_models = models;
        }
        self.update_info(&known);
        // Also without a new list: contexts come with the load, and lessons end with time.
        self.update_models(&mut known);
    }

    /// Sets the number of calls that the runtime computes for callers that have left.
    pub(super) fn set_abandoned(&self, abandoned: u32) {
        let mut known = self.known.lock();
        known.abandoned = abandoned;
        self.gate.set_abandoned(abandoned);
        self.update_load(&mut known);
    }

    /// Returns whether a model is being loaded, as far as the runtime reports it.
    pub(super) fn is_loading(&self, model: &str) -> bool {
        match &self.known.lock().load.resident {
            Resident::AllLoading => true,
            Resident::These(models) => models.iter().any(|it| it.name == model && it.is_loading),
            Resident::Unknown | Resident::All => false,
        }
    }

    /// Returns whether a model is loaded, as far as the runtime reports it.
    pub(super) fn is_resident(&self, model: &str) -> bool {
        match &self.known.lock().load.resident {
            Resident::These(models) => models.iter().any(|it| it.name == model && !it.is_loading),
            Resident::AllLoading => false,
            Resident::Unknown | Resident::All => true,
        }
    }

    /// Returns whether the runtime pushes changes of its models.
    pub(super) fn pushes_changes(&self) -> bool {
        self.known.lock().load.pushes_changes
    }

    /// Notes that a call runs or has just ended, so that the load is polled often.
    pub(super) fn note_use(&self) {
        let mut known = self.known.lock();
        let was_idle = known
            .last_call
            .is_none_or(|last| last.elapsed() > SPEEDS_INTERVAL);
        known.last_call = Some(Instant::now());
        if was_idle {
            self.poll_now.notify_one();
        }
    }

    /// Returns how long ago the last call was, `None` if there was none.
    pub(super) fn idle_for(&self) -> Option<Duration> {
        Some(self.known.lock().last_call?.elapsed())
    }

    /// Notes that a call to a model went well, and what it measured.
    pub(super) fn note_success(&self, model: &str, measured: Option<Measurement>) {
        let mut known = self.known.lock();
        let is_listed = known
            .polled_models
            .iter()
            .any(|listed| listed.name == model);
        let mut is_news = false;
        if is_listed && known.used.len() < MAX_USED && !known.used.iter().any(|it| it == model) {
            known.used.push(model.to_owned());
            is_news = true;
        }
        if let Some(measured) = measured.filter(|_| is_listed) {
            if known.speeds.add(model, measured) {
                known.speeds_sent = None;
            }
            is_news = true;
        }
        if is_news {
            self.update_load(&mut known);
        }
    }

    /// Returns the expected time in which a runtime reads so many tokens.
    pub(super) fn reading_time(&self, model: &str, tokens: u64) -> Option<Duration> {
        self.known.lock().speeds.reading_time(model, tokens)
    }

    /// Notes a lesson about an API and a model, and reports the models anew if that changes them.
    pub(super) fn learn(&self, lesson: Lesson, api: &str, model: &str) {
        let is_news = self.learned.note(lesson, api, model);
        if lesson == Lesson::Lacks {
            self.update_models(&mut self.known.lock());
        }
        if is_news {
            tracing::info!(
                lesson = lesson.word(),
                api,
                model,
                "learned about the runtime"
            );
        }
    }

    /// Shows a call that is over, where calls are shown.
    pub(super) fn show_call(&self, api: &str, model: &str, report: &CallReport) {
        if self.shows_calls {
            show_llm(&self.label, api, model, report);
        }
    }

    /// Adds the report of a call that began in a session of the event stream.
    pub(super) fn add_report(&self, session: u64, report: CallReport) {
        self.reports.add(session, report);
    }

    /// Adds how much of its prompt a call has read that began in a session of the event stream.
    pub(super) fn add_progress(&self, session: u64, progress: CallProgress) {
        self.reports.add_progress(session, progress);
    }

    fn update_info(&self, known: &Known) {
        let polled = runtime::concurrency(known.kind, &known.load);
        let max_concurrency = self.config.max_concurrency.unwrap_or(polled);
        self.gate.set_most(max_concurrency);
        let info = RuntimeInfo {
            runtime: known.kind.map_or("unknown", RuntimeKind::word).to_owned(),
            version: self.config.version.clone().unwrap_or(known.version.clone()),
            max_concurrency,
            embedding_batch_size: self.config.embedding_batch_size,
            keeps_responses: known.kind.is_some_and(runtime::keeps_responses),
            weight: self.config.weight,
        };
        self.info.send_if_modified(|current| replace(current, info));
    }

    fn update_models(&self, known: &mut Known) {
        let mut models: Vec<_> = known
            .polled_models
            .iter()
            .filter(|model| self.config.models.contains(&model.name))
            .map(|model| self.offered(known, model))
            .collect();
        let left_out = bound(&mut models);
        if left_out > 0 {
            tracing::warn!(
                left_out,
                "the runtime has more models than one worker can offer"
            );
        }
        known
            .speeds
            .retain(models.iter().map(|model| model.name.as_str()));
        let models = Some(Models { models });
        self.models
            .send_if_modified(|current| replace(current, models));
        self.update_load(known);
    }

    /// Returns a model as it is offered: with aliases, the context that is loaded, without the APIs that
    /// the runtime turned out to lack, and with those that are made of others.
    fn offered(&self, known: &Known, model: &ModelInfo) -> ModelInfo {
        let mut model = model.clone();
        let aliases = self.config.aliases.iter();
        let aliases = aliases.filter(|alias| alias.model == model.name);
        model
            .aliases
            .extend(aliases.map(|alias| alias.alias.clone()));
        if let Resident::These(resident) = &known.load.resident
            && let Some(loaded) = resident.iter().find(|loaded| loaded.name == model.name)
            && loaded.context > 0
        {
            model.context = loaded.context;
        }
        let name = &model.name;
        model
            .apis
            .retain(|api| !self.learned.holds(Lesson::Lacks, api, name));
        translation::add_translated(known.kind, &mut model.apis);
        model
    }

    fn update_load(&self, known: &mut Known) {
        let models = self.models.borrow();
        let names = || {
            models
                .iter()
                .flat_map(|models| &models.models)
                .map(|it| it.name.as_str())
        };
        let indices = |is_wanted: &dyn Fn(&str) -> bool| {
            let wanted = names().zip(0..).filter(|(name, _)| is_wanted(name));
            wanted.map(|(_, index)| index).collect::<Vec<u16>>()
        };
        let (resident, loading) = match &known.load.resident {
            Resident::All => (indices(&|_| true), Vec::new()),
            Resident::AllLoading => (Vec::new(), indices(&|_| true)),
            Resident::Unknown => {
                let is_used = |name: &str| known.used.iter().any(|used| used == name);
                (indices(&is_used), Vec::new())
            }
            Resident::These(found) => {
                let is = |name: &str, is_loading: bool| {
                    found
                        .iter()
                        .any(|it| it.name == name && it.is_loading == is_loading)
                };
                (
                    indices(&|name| is(name, false)),
                    indices(&|name| is(name, true)),
                )
            }
        };

        let are_due = known
            .speeds_sent
            .is_none_or(|sent| sent.elapsed() >= SPEEDS_INTERVAL);
        let speed = if are_due {
            known.speeds_sent = Some(Instant::now());
            known.speeds.of(names())
        } else {
            self.load.borrow().speed.clone()
        };
        let load = Load {
            elsewhere: known.elsewhere,
            abandoned: known.abandoned,
            resident,
            loading,
            speed,
        };
        self.load.send_if_modified(|current| replace(current, load));
    }
}

/// Sets a value, and returns whether that changes it.
fn replace<T: PartialEq>(current: &mut T, new: T) -> bool {
    let is_other = *current != new;
    *current = new;
    is_other
}

/// Removes the last models beyond what one event can have. Returns how many.
fn bound(models: &mut Vec<ModelInfo>) -> usize {
    let before = models.len();
    models.truncate(MAX_MODELS);
    let line = |models: &[ModelInfo]| {
        let models = models.to_vec();
        Event::Models(Models { models }).to_line().len()
    };
    while models.len() > 1 && line(models) > MAX_MODELS_BYTES {
        let keep = models.len() * 9 / 10;
        models.truncate(keep);
    }
    before - models.len()
}

#[cfg(test)]
mod tests;
