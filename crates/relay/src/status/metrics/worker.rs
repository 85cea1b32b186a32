//! The metrics of a relay of LLM runtimes, over all of its runtimes.

use prometheus::core::Collector;
use prometheus::proto::MetricFamily;

use super::{counter, gauge};
use crate::app::App;
use crate::providers::RuntimeState;

/// Returns the metrics, none for a relay without LLM runtimes.
pub(super) fn families(app: &App) -> Vec<MetricFamily> {
    let entries = app.providers();
    let runtimes: Vec<&RuntimeState> = entries
        .iter()
        .filter_map(|entry| entry.provider.runtime())
        .map(AsRef::as_ref)
        .collect();
    if runtimes.is_empty() {
        return Vec::new();
    }
    [connections(app), jobs(&runtimes), durations(&runtimes)].concat()
}

fn connections(app: &App) -> Vec<MetricFamily> {
    let server = gauge(
        "llamapool_worker_connected_to_server",
        "Whether the tunnel is up.",
        &[],
    );
    let is_connected = app.link.is_connected();
    server
        .with_label_values::<&str>(&[])
        .set(is_connected.into());
    let backend = gauge(
        "llamapool_worker_connected_to_backend",
        "Whether all LLM runtimes can be reached.",
        &[],
    );
    let is_reachable = app
        .providers()
        .iter()
        .all(|entry| entry.status.is_reachable());
    backend
        .with_label_values::<&str>(&[])
        .set(is_reachable.into());
    [server.collect(), backend.collect()].concat()
}

fn jobs(runtimes: &[&RuntimeState]) -> Vec<MetricFamily> {
    let sum = |of: &dyn Fn(&RuntimeState) -> u64| runtimes.iter().map(|runtime| of(runtime)).sum();
    let gauges: [(&str, &str, u64); 3] = [
        (
            "llamapool_worker_current_jobs",
            "Calls that hold a slot of a runtime now.",
            sum(&|runtime| runtime.running().into()),
        ),
        (
            "llamapool_worker_max_concurrency",
            "Most concurrent calls to the runtimes.",
            sum(&|runtime| runtime.info().borrow().max_concurrency.into()),
        ),
        (
            "llamapool_worker_embedding_batch_size",
            "Most inputs of one embeddings request, EMBEDDING_BATCH_SIZE; 0 is any number.",
            sum(&|runtime| runtime.config().embedding_batch_size.into()),
        ),
    ];
    let counters: [(&str, &str, u64); 3] = [
        (
            "llamapool_worker_jobs_started_total",
            "Calls that were sent to a runtime.",
            sum(&|runtime| runtime.jobs.totals()[0]),
        ),
        (
            "llamapool_worker_jobs_succeeded_total",
            "Calls that a runtime answered to the end.",
            sum(&|runtime| runtime.jobs.totals()[1]),
        ),
        (
            "llamapool_worker_jobs_failed_total",
            "Calls that a runtime refused or broke off, that could not be sent, or that were cancelled.",
            sum(&|runtime| runtime.jobs.totals()[2]),
        ),
    ];

    let gauges = gauges.into_iter().flat_map(|(name, help, value)| {
        let gauge = gauge(name, help, &[]);
        gauge.with_label_values::<&str>(&[]).set(value as i64);
        gauge.collect()
    });
    let counters = counters.into_iter().flat_map(|(name, help, value)| {
        let counter = counter(name, help, &[]);
        counter.with_label_values::<&str>(&[]).inc_by(value);
        counter.collect()
    });
    gauges.chain(counters).collect()
}

/// Returns the durations of all runtimes as one family, which has a name once.
fn durations(runtimes: &[&RuntimeState]) -> Vec<MetricFamily> {
    let durations = runtimes
        .iter()
        .filter_map(|runtime| runtime.jobs.durations.as_ref());
    let families = durations.flat_map(Collector::collect);
    let merged = families.reduce(|mut all, family| {
        let metrics = [all.get_metric(), family.get_metric()].concat();
        all.set_metric(metrics);
        all
    });
    merged.into_iter().collect()
}
