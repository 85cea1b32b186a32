//! The counts of the LLM API: by worker, model and key, for the state, and for Prometheus.
//!
//! Models are counted under names of the catalogue, which workers choose, and beyond a bound
//! together as `other`.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, SystemTime};

use llamapool_dialect::Endpoint;
use llamapool_identity::Usage;
use llamapool_pool::{IdMap, KeyId};
use llamapool_wire::llm::{CallEnd, CallReport};
use parking_lot::{Mutex, RwLock};
use prometheus::{HistogramVec, IntCounterVec};

use super::durations::RequestDurations;
use super::gen_ai::{self, Attributes, GenAiMetrics};
use super::ledger::SettledAttempt;
use super::worker::PoolWorker;
use crate::calls::Outcome;
use crate::metrics::{Door, Metrics};

/// The most models that are counted by themselves.
const MAX_MODELS: usize = 1000;
/// The name of all other models together.
const OTHER: &str = "other";

/// The counts of the calls at one worker.
#[derive(Debug, Default)]
pub(crate) struct WorkerTotals {
    pub(crate) succeeded: AtomicU64,
    pub(crate) failed: AtomicU64,
    pub(crate) processing_ms: AtomicU64,
    pub(crate) tokens_in: AtomicU64,
    pub(crate) tokens_out: AtomicU64,
    pub(crate) embeddings: AtomicU64,
    pub(crate) embedding_ms: AtomicU64,
    /// Milliseconds of calls that wrote tokens.
    pub(crate) decode_ms: AtomicU64,
    last_error: Mutex<Option<String>>,
    per_model: Mutex<HashMap<Arc<str>, ModelTotals>>,
}

/// The counts of one model at one worker.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct ModelTotals {
    pub(crate) success: u64,
    pub(crate) error: u64,
    pub(crate) tokens_in: u64,
    pub(crate) tokens_out: u64,
    /// How often the worker has loaded it.
    pub(crate) loads: u64,
}

/// The tokens of one key.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct KeyTotals {
    pub(crate) calls: u64,
    pub(crate) tokens_in: u64,
    pub(crate) tokens_out: u64,
}

/// Whether there are metrics under OpenTelemetry's names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum GenAi {
    /// There are.
    On,
    /// There are none.
    Off,
}

/// The counts of all calls. Clones are the same counts.
#[derive(Clone)]
pub(crate) struct LlmMetrics(Arc<Counts>);

struct Counts {
    metrics: Metrics,
    /// The calls that have not ended.
    running: AtomicUsize,
    completed: AtomicU64,
    failed: AtomicU64,
    keys: Mutex<IdMap<KeyId, KeyTotals>>,
    /// The names of the keys that have called.
    key_names: RwLock<IdMap<KeyId, Arc<str>>>,
    /// The models that are counted by themselves.
    models: Mutex<HashSet<Arc<str>>>,
    requests: IntCounterVec,
    tokens: IntCounterVec,
    embeddings: IntCounterVec,
    durations: RequestDurations,
    first_tokens: HistogramVec,
    queue_waits: HistogramVec,
    attempts: IntCounterVec,
    failovers: IntCounterVec,
    prefix_tokens: IntCounterVec,
    wasted_tokens: IntCounterVec,
    key_tokens: IntCounterVec,
    /// `None` unless `GENAI_METRICS` is set.
    gen_ai: Option<GenAiMetrics>,
}

/// A call that is over, as far as it is counted.
#[derive(Clone, Copy)]
pub(crate) struct EndedCall<'a> {
    pub(crate) model: Option<&'a Arc<str>>,
    /// The worker of its last attempt, and the worker's own name of the model.
    pub(crate) worker: Option<(&'a PoolWorker, &'a Arc<str>)>,
    pub(crate) endpoint: Endpoint,
    /// The word of its failure, if it has one.
    pub(crate) failure: Option<&'static str>,
    pub(crate) key: KeyId,
    pub(crate) outcome: Outcome,
    pub(crate) duration: Duration,
}

impl WorkerTotals {
    /// Counts an attempt that failed before the runtime had it.
    pub(crate) fn count_failure(&self, model: &Arc<str>, error: String) {
        self.failed.fetch_add(1, Ordering::Relaxed);
        *self.last_error.lock() = Some(error);
        self.count_model(model, |totals| totals.error += 1);
    }

    /// Counts a model that the worker has loaded.
    pub(super) fn count_load(&self, model: &Arc<str>) {
        self.count_model(model, |totals| totals.loads += 1);
    }

    /// Returns the last failure.
    pub(crate) fn last_error(&self) -> Option<String> {
        self.last_error.lock().clone()
    }

    /// Returns the counts of each model, by name.
    pub(crate) fn per_model(&self) -> Vec<(Arc<str>, ModelTotals)> {
        let mut models: Vec<_> = self
            .per_model
            .lock()
            .iter()
            .map(|(name, totals)| (name.clone(), *totals))
            .collect();
        models.sort_by(|one, other| one.0.cmp(&other.0));
        models
    }

    fn count_model(&self, model: &Arc<str>, count: impl FnOnce(&mut ModelTotals)) {
        let mut models = self.per_model.lock();
        if models.len() >= MAX_MODELS && !models.contains_key(model) {
            count(models.entry(OTHER.into()).or_default());
        } else {
            count(models.entry(model.clone()).or_default());
        }
    }

    fn count(&self, model: &Arc<str>, report: &CallReport) {
        let add = |counter: &AtomicU64, more| {
            counter.fetch_add(more, Ordering::Relaxed);
        };
        let is_failure = report.end == CallEnd::Failed;
        add(
            if is_failure {
                &self.failed
            } else {
                &self.succeeded
            },
            1,
        );
        add(&self.processing_ms, report.total_ms);
        add(&self.tokens_in, report.prompt);
        add(&self.tokens_out, report.completion);
        if report.embeddings > 0 {
            add(&self.embeddings, report.embeddings);
            add(&self.embedding_ms, report.total_ms);
        }
        if report.completion > 0 {
            add(&self.decode_ms, report.total_ms);
        }
        self.count_model(model, |totals| {
            if is_failure {
                totals.error += 1;
            } else {
                totals.success += 1;
            }
            totals.tokens_in += report.prompt;
            totals.tokens_out += report.completion;
        });
    }
}

impl LlmMetrics {
    /// Adds the counts to the metrics.
    pub(crate) fn new(metrics: &Metrics, gen_ai: GenAi) -> Self {
        let counts = Counts {
            running: AtomicUsize::new(0),
            completed: AtomicU64::new(0),
            failed: AtomicU64::new(0),
            keys: Mutex::default(),
            key_names: RwLock::default(),
            models: Mutex::default(),
            requests: metrics.counter(
                "llamapool_model_requests_total",
                "Calls to the LLM API that are over, by model and outcome; success: also those that their callers left. Calls refused before their model was found do not count.",
                &["model", "outcome"],
            ),
            tokens: metrics.counter(
                "llamapool_model_tokens_total",
                "Tokens of calls that were answered, by model and kind: in, out. Estimated where a runtime reports none.",
                &["model", "kind"],
            ),
            embeddings: metrics.counter(
                "llamapool_model_embeddings_total",
                "Vectors of embeddings that were made, by model.",
                &["model"],
            ),
            durations: RequestDurations::default(),
            first_tokens: metrics.histogram(
                "llamapool_first_token_seconds",
                "Time from sending a call to its worker to the first content of its answer, by model.",
                "model",
            ),
            queue_waits: metrics.histogram(
                "llamapool_queue_wait_seconds",
                "Time that calls with an answer waited for a worker, by the class that the caller asked for; key: that of its key.",
                "class",
            ),
            attempts: metrics.counter(
                "llamapool_attempts_total",
                "Attempts of calls that reached a worker, by outcome: answered, failed.",
                &["outcome"],
            ),
            failovers: metrics.counter(
                "llamapool_failovers_total",
                "Attempts after which a call was sent to another worker, by cause.",
                &["cause"],
            ),
            prefix_tokens: metrics.counter(
                "llamapool_prefix_tokens_total",
                "Tokens of prompts that were in the cache of their worker, by kind: predicted, cached.",
                &["kind"],
            ),
            wasted_tokens: metrics.counter(
                "llamapool_wasted_tokens_total",
                "Tokens of attempts that another attempt followed, which no key is charged for.",
                &[],
            ),
            key_tokens: metrics.counter(
                "llamapool_key_tokens_total",
                "Tokens of calls that were answered, by key and kind: in, out.",
                &["key", "kind"],
            ),
            gen_ai: (gen_ai == GenAi::On).then(|| GenAiMetrics::new(metrics)),
            metrics: metrics.clone(),
        };
        Self(Arc::new(counts))
    }

    /// Counts a call that begins.
    pub(crate) fn began(&self) {
        self.0.running.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts a call that is over.
    pub(crate) fn ended(&self, call: EndedCall<'_>) {
        let counts = &self.0;
        counts.running.fetch_sub(1, Ordering::Relaxed);
        let total = if call.outcome.is_error() {
            &counts.failed
        } else {
            &counts.completed
        };
        total.fetch_add(1, Ordering::Relaxed);
        counts.keys.lock().entry(call.key).or_default().calls += 1;

        let Some(model) = call.model else { return };
        let model = self.model_label(model);
        let outcome = if call.outcome.is_error() {
            "error"
        } else {
            "success"
        };
        counts.requests.with_label_values(&[&*model, outcome]).inc();
        let worker = call.worker.map(|(worker, _)| worker);
        counts.durations.observe(worker, &model, call.duration);
        if let Some(gen_ai) = &counts.gen_ai {
            let is_error = call.outcome.is_error();
            let error = call.failure.or(is_error.then_some("_OTHER"));
            let attributes = self.attributes(gen_ai::operation(call.endpoint), model, call.worker);
            gen_ai.ended(attributes, error.unwrap_or_default(), call.duration);
        }
    }

    fn attributes(
        &self,
        operation: &'static str,
        model: Arc<str>,
        worker: Option<(&PoolWorker, &Arc<str>)>,
    ) -> Attributes {
        let runtime = worker.map(|(worker, _)| worker.runtime());
        let own_name = worker.map(|(_, name)| self.model_label(name));
        let at_runtime = runtime.as_deref().zip(own_name);
        Attributes::new(operation, model, at_runtime)
    }

    /// Moves what is counted of a worker to what has left.
    pub(super) fn worker_left(&self, worker: &PoolWorker) {
        self.0.durations.forget(worker.id);
    }

    /// Returns the times of calls.
    pub(crate) fn durations(&self) -> &RequestDurations {
        &self.0.durations
    }

    /// Counts an error of llamapool's own.
    pub(crate) fn refused(&self, word: &'static str) {
        self.0.metrics.refused(Door::Llm, word);
    }

    /// Counts an attempt after which the call went to another worker.
    pub(crate) fn failed_over(&self, cause: &'static str) {
        self.0.attempts.with_label_values(&["failed"]).inc();
        self.0.failovers.with_label_values(&[cause]).inc();
    }

    /// Counts an attempt that has the answer of its call.
    pub(crate) fn answered(&self, model: &Arc<str>, class: &'static str, waits: AnswerTimes) {
        let counts = &self.0;
        counts.attempts.with_label_values(&["answered"]).inc();
        counts
            .queue_waits
            .with_label_values(&[class])
            .observe(waits.queued.as_secs_f64());
        let model = self.model_label(model);
        counts
            .first_tokens
            .with_label_values(&[&*model])
            .observe(waits.first_content.as_secs_f64());
        counts
            .prefix_tokens
            .with_label_values(&["predicted"])
            .inc_by(waits.predicted_prefix);
    }

    /// Counts an attempt that is over in every respect.
    pub(super) fn record(&self, settled: &SettledAttempt) {
        let counts = &self.0;
        let report = &settled.report;
        settled.worker.totals.count(&settled.of.model, report);
        let Some(key) = settled.key else {
            let wasted = report.prompt + report.completion;
            counts
                .wasted_tokens
                .with_label_values::<&str>(&[])
                .inc_by(wasted);
            return;
        };

        if let Some(meter) = &settled.of.meter {
            let used = Usage {
                tokens: report.prompt + report.completion,
                ..Usage::default()
            };
            meter.count(used, SystemTime::now());
        }
        let model = self.model_label(&settled.of.model);
        if let Some(gen_ai) = &counts.gen_ai {
            let operation = gen_ai::operation(settled.of.endpoint);
            let worker = Some((&*settled.worker, &settled.of.model_at_worker));
            gen_ai.reported(self.attributes(operation, model.clone(), worker), report);
        }
        let name = self.key_name(key);
        let kinds = [("in", report.prompt), ("out", report.completion)];
        for (kind, tokens) in kinds {
            counts
                .tokens
                .with_label_values(&[&*model, kind])
                .inc_by(tokens);
            counts
                .key_tokens
                .with_label_values(&[&*name, kind])
                .inc_by(tokens);
        }
        if report.embeddings > 0 {
            let embeddings = counts.embeddings.with_label_values(&[&*model]);
            embeddings.inc_by(report.embeddings);
        }
        let cached = counts.prefix_tokens.with_label_values(&["cached"]);
        cached.inc_by(report.cached);

        let mut keys = counts.keys.lock();
        let totals = keys.entry(key).or_default();
        totals.tokens_in += report.prompt;
        totals.tokens_out += report.completion;
    }

    /// Returns the number of calls that have not ended.
    pub(crate) fn running(&self) -> usize {
        self.0.running.load(Ordering::Relaxed)
    }

    /// Returns the number of calls that went well or were left by their callers, and of those that
    /// failed.
    pub(crate) fn totals(&self) -> (u64, u64) {
        (
            self.0.completed.load(Ordering::Relaxed),
            self.0.failed.load(Ordering::Relaxed),
        )
    }

    /// Returns the counts of a key.
    pub(crate) fn key(&self, key: KeyId) -> KeyTotals {
        self.0.keys.lock().get(&key).copied().unwrap_or_default()
    }

    /// Returns the name of a key, empty if it has none.
    pub(crate) fn key_name(&self, key: KeyId) -> Arc<str> {
        let names = self.0.key_names.read();
        names.get(&key).cloned().unwrap_or_default()
    }

    /// Takes the name of a key.
    pub(super) fn name_key(&self, key: KeyId, name: &str) {
        self.0.key_names.write().insert(key, name.into());
    }

    /// Returns the name that a model is counted under.
    pub(crate) fn model_label(&self, model: &Arc<str>) -> Arc<str> {
        let mut models = self.0.models.lock();
        if models.contains(model) {
            return model.clone();
        }
        if models.len() >= MAX_MODELS {
            return OTHER.into();
        }
        models.insert(model.clone());
        model.clone()
    }
}

/// The times up to an answer.
#[derive(Debug, Clone, Copy)]
pub(crate) struct AnswerTimes {
    /// In the queue.
    pub(crate) queued: Duration,
    /// From the request to first content.
    pub(crate) first_content: Duration,
    /// Tokens of the prompt that were expected in the worker's cache.
    pub(crate) predicted_prefix: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(number: usize) -> Arc<str> {
        format!("m{number}").into()
    }

    #[test]
    fn models_beyond_a_thousand_are_counted_together() {
        let metrics = LlmMetrics::new(&Metrics::new(), GenAi::Off);

        let labels: HashSet<_> = (0..MAX_MODELS + 50)
            .map(|number| metrics.model_label(&name(number)))
            .collect();

        assert_eq!(labels.len(), MAX_MODELS + 1);
        assert_eq!(&*metrics.model_label(&name(7)), "m7");
        assert_eq!(&*metrics.model_label(&name(MAX_MODELS)), "other");
    }

    #[test]
    fn a_worker_with_too_many_models_counts_some_together() {
        let totals = WorkerTotals::default();

        for number in 0..MAX_MODELS + 50 {
            totals.count_load(&name(number));
        }
        totals.count_failure(&name(3), "it broke".to_owned());

        let models = totals.per_model();
        assert_eq!(models.len(), MAX_MODELS + 1);
        let of = |name: &str| models.iter().find(|(model, _)| &**model == name).unwrap().1;
        assert_eq!(of("other").loads, 50);
        assert_eq!((of("m3").loads, of("m3").error), (1, 1));
        assert_eq!(totals.last_error().as_deref(), Some("it broke"));
    }
}
