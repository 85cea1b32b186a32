//! How long calls took, by worker and model.
//!
//! The histograms of a worker that leaves go on as those of all that have left: the sum over all
//! workers never goes back, and the number of series has a bound however often workers come and go.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use llamapool_pool::WorkerId;
use parking_lot::Mutex;
use prometheus::proto::{Bucket, Histogram, LabelPair, Metric, MetricFamily, MetricType};

use super::worker::PoolWorker;
use crate::metrics::BUCKETS;

/// The most series of workers that are connected, each of some 20 lines. Calls beyond it count for
/// no worker by itself.
const MAX_SERIES: usize = 10_000;
/// The label of the workers that have left, which no id can be.
const GONE: &str = "(gone)";
/// The label of calls that ended without a worker.
const NONE: &str = "(none)";
/// The label of workers beyond the most series.
const OTHER: &str = "(other)";

const HELP: &str = "Time from a call to an LLM to the last byte of its answer, by worker and model. Calls at workers that have left count under (gone), those that ended without one under (none).";

/// The times of calls, by worker and model.
#[derive(Debug, Default)]
pub(crate) struct RequestDurations(Mutex<Series>);

#[derive(Debug, Default)]
struct Series {
    workers: HashMap<WorkerId, OfWorker>,
    /// The number of histograms in `workers`.
    number: usize,
    gone: ByModel,
    none: ByModel,
    other: ByModel,
}

#[derive(Debug)]
struct OfWorker {
    label: String,
    models: ByModel,
}

type ByModel = HashMap<Arc<str>, Times>;

/// The histogram of one series.
#[derive(Debug, Default, Clone, PartialEq)]
struct Times {
    /// The observations up to each bound and above the one before.
    buckets: [u64; BUCKETS.len()],
    count: u64,
    sum: f64,
}

impl RequestDurations {
    /// Counts a call that is over. `model` is a label, of which there is a bounded number.
    pub(super) fn observe(
        &self,
        worker: Option<&PoolWorker>,
        model: &Arc<str>,
        duration: Duration,
    ) {
        let mut series = self.0.lock();
        let seconds = duration.as_secs_f64();
        let label = |worker: &PoolWorker| worker.member.id.to_string();
        match worker {
            None => add(&mut series.none, model, seconds),
            // Read under the lock that `forget` takes after the worker has left.
            Some(worker) if worker.has_left() => add(&mut series.gone, model, seconds),
            Some(worker) => series.observe(worker.id, || label(worker), model, seconds),
        }
    }

    /// Moves the series of a worker to those of all that have left.
    pub(super) fn forget(&self, worker: WorkerId) {
        self.0.lock().forget(worker);
    }

    /// Returns the histograms.
    pub(crate) fn family(&self) -> MetricFamily {
        let series = self.0.lock();
        let together = [
            (GONE, &series.gone),
            (NONE, &series.none),
            (OTHER, &series.other),
        ];
        let of_workers = series
            .workers
            .values()
            .map(|one| (one.label.as_str(), &one.models));
        let metrics = together.into_iter().chain(of_workers);
        let metrics = metrics.flat_map(|(worker, models)| {
            let times = models.iter();
            times.map(move |(model, times)| times.to_metric(worker, model))
        });

        let mut family = MetricFamily::default();
        family.set_name("llamapool_request_duration_seconds".to_owned());
        family.set_help(HELP.to_owned());
        family.set_field_type(MetricType::HISTOGRAM);
        family.set_metric(metrics.collect());
        family
    }
}

impl Series {
    fn observe(
        &mut self,
        worker: WorkerId,
        label: impl FnOnce() -> String,
        model: &Arc<str>,
        seconds: f64,
    ) {
        let known = self.workers.get_mut(&worker);
        if let Some(times) = known.and_then(|one| one.models.get_mut(model)) {
            times.observe(seconds);
            return;
        }
        if self.number >= MAX_SERIES {
            add(&mut self.other, model, seconds);
            return;
        }
        self.number += 1;
        let of_worker = self.workers.entry(worker).or_insert_with(|| OfWorker {
            label: label(),
            models: ByModel::new(),
        });
        add(&mut of_worker.models, model, seconds);
    }

    fn forget(&mut self, worker: WorkerId) {
        let Some(left) = self.workers.remove(&worker) else {
            return;
        };
        self.number -= left.models.len();
        for (model, times) in left.models {
            self.gone.entry(model).or_default().merge(&times);
        }
    }
}

fn add(models: &mut ByModel, model: &Arc<str>, seconds: f64) {
    models
        .entry(Arc::clone(model))
        .or_default()
        .observe(seconds);
}

impl Times {
    fn observe(&mut self, seconds: f64) {
        self.count += 1;
        self.sum += seconds;
        if let Some(at) = BUCKETS.iter().position(|bound| seconds <= *bound) {
            self.buckets[at] += 1;
        }
    }

    fn merge(&mut self, other: &Self) {
        self.count += other.count;
        self.sum += other.sum;
        for (bucket, more) in self.buckets.iter_mut().zip(other.buckets) {
            *bucket += more;
        }
    }

    fn to_metric(&self, worker: &str, model: &str) -> Metric {
        let mut below = 0;
        let buckets = BUCKETS.iter().zip(self.buckets).map(|(bound, number)| {
            below += number;
            let mut bucket = Bucket::default();
            bucket.set_upper_bound(*bound);
            bucket.set_cumulative_count(below);
            bucket
        });
        let mut histogram = Histogram::default();
        histogram.set_bucket(buckets.collect());
        histogram.set_sample_count(self.count);
        histogram.set_sample_sum(self.sum);

        let labels = [("model", model), ("worker_id", worker)].map(|(name, value)| {
            let mut label = LabelPair::default();
            label.set_name(name.to_owned());
            label.set_value(value.to_owned());
            label
        });
        let mut metric = Metric::from_label(labels.to_vec());
        metric.set_histogram(histogram);
        metric
    }
}

#[cfg(test)]
mod tests {
    use prometheus::TextEncoder;

    use super::*;

    fn text(series: Series) -> String {
        let durations = RequestDurations(Mutex::new(series));
        let families = [durations.family()];
        TextEncoder::new().encode_to_string(&families).unwrap()
    }

    fn label(id: &str) -> impl FnOnce() -> String + use<> {
        let id = id.to_owned();
        || id
    }

    #[test]
    fn times_are_counted_by_worker_and_model() {
        let mut series = Series::default();
        let model: Arc<str> = "m".into();

        series.observe(WorkerId(1), label("alpha"), &model, 0.02);
        series.observe(WorkerId(1), label("alpha"), &model, 400.0);
        series.observe(WorkerId(2), label("beta"), &model, 0.001);
        let text = text(series);

        let name = "llamapool_request_duration_seconds";
        for line in [
            r#"_bucket{model="m",worker_id="alpha",le="0.01"} 0"#,
            r#"_bucket{model="m",worker_id="alpha",le="0.025"} 1"#,
            r#"_bucket{model="m",worker_id="alpha",le="300"} 1"#,
            r#"_bucket{model="m",worker_id="alpha",le="+Inf"} 2"#,
            r#"_sum{model="m",worker_id="alpha"} 400.02"#,
            r#"_bucket{model="m",worker_id="beta",le="0.001"} 1"#,
        ] {
            assert!(text.contains(&format!("{name}{line}\n")), "{line}\n{text}");
        }
    }

    #[test]
    fn the_times_of_workers_that_leave_are_kept_together() {
        let mut series = Series::default();
        let model: Arc<str> = "m".into();
        series.observe(WorkerId(1), label("alpha"), &model, 0.02);
        series.observe(WorkerId(2), label("beta"), &model, 0.02);

        series.forget(WorkerId(1));
        series.forget(WorkerId(2));
        series.forget(WorkerId(3));

        assert_eq!(series.number, 0);
        let text = text(series);
        assert!(
            text.contains(r#"_count{model="m",worker_id="(gone)"} 2"#),
            "{text}"
        );
        assert!(!text.contains("alpha"), "{text}");
    }

    #[test]
    fn the_number_of_series_has_a_bound() {
        let mut series = Series::default();
        let model: Arc<str> = "m".into();

        for number in 0..=MAX_SERIES as u64 {
            series.observe(WorkerId(number), label("x"), &model, 0.1);
        }
        series.observe(WorkerId(0), label("x"), &model, 0.1);

        assert_eq!(series.workers.len(), MAX_SERIES);
        assert_eq!(series.other[&model].count, 1);
        assert_eq!(series.workers[&WorkerId(0)].models[&model].count, 2);
        series.forget(WorkerId(0));
        series.observe(WorkerId(MAX_SERIES as u64), label("x"), &model, 0.1);
        assert_eq!(series.other[&model].count, 1, "there is room again");
    }
}
