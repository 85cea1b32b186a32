//! What Prometheus reads. Totals of calls come straight from the books of each id, so that they and the state can
//! never disagree; here are only the counts that no books keep.
//!
//! No label value comes unlimited from the network: methods, outcomes, causes and reasons are fixed lists, and ids are
//! those of relays that hold the worker key, of which a bounded number is remembered.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use llamapool_mcp::MethodLabel;
use llamapool_tunnel::TunnelEnd;
use llamapool_wire::BuildInfo;
use prometheus::core::Collector;
use prometheus::{
    Encoder, Histogram, HistogramOpts, HistogramVec, IntCounterVec, IntGaugeVec, Opts,
    Registry as Registered, TextEncoder,
};

use crate::books::{Outcome, methods};
use crate::registry::Registry;

/// The upper bounds of the call times, in seconds: from a fast tool on the same machine to a long one.
const BUCKETS: [f64; 14] = [
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 60.0, 300.0,
];

/// How much a look at the metrics shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Detail {
    /// Everything.
    WithIds,
    /// What does not name an id.
    WithoutIds,
}

/// The counts. Clones are the same counts.
#[derive(Clone)]
pub(crate) struct Metrics(Arc<Inner>);

struct Inner {
    registered: Registered,
    /// By the index of the method.
    durations: Vec<Histogram>,
    completed: AtomicU64,
    failed: AtomicU64,
    losses: IntCounterVec,
    refusals: IntCounterVec,
}

impl Metrics {
    pub(crate) fn new() -> Self {
        let registered = Registered::new();
        let durations = "Time from a call's arrival to the last byte of its answer, by method; calls that a caller left count up to then.";
        let durations = register(
            &registered,
            HistogramVec::new(
                HistogramOpts::new("llamapool_call_duration_seconds", durations)
                    .buckets(BUCKETS.to_vec()),
                &["method"],
            ),
        );
        let losses =
            "Tunnels that ended, by reason; ends that this server asked for count as closed.";
        let losses = register(
            &registered,
            IntCounterVec::new(
                Opts::new("llamapool_tunnel_losses_total", losses),
                &["reason"],
            ),
        );
        let refusals =
            "Requests that llamapool answered with an error of its own, by door and reason.";
        let refusals = register(
            &registered,
            IntCounterVec::new(
                Opts::new("llamapool_refusals_total", refusals),
                &["door", "reason"],
            ),
        );
        #[cfg(target_os = "linux")]
        keep(
            &registered,
            prometheus::process_collector::ProcessCollector::for_self(),
        );
        let durations = methods()
            .map(|method| durations.with_label_values(&[method.as_str()]))
            .collect();
        let (completed, failed) = (AtomicU64::new(0), AtomicU64::new(0));
        Self(Arc::new(Inner {
            registered,
            durations,
            completed,
            failed,
            losses,
            refusals,
        }))
    }

    /// A call is over.
    pub(crate) fn observe(&self, method: MethodLabel, outcome: Outcome, duration: Duration) {
        let total = if outcome.is_error() {
            &self.0.failed
        } else {
            &self.0.completed
        };
        total.fetch_add(1, Ordering::Relaxed);
        self.0.durations[usize::from(method.index())].observe(duration.as_secs_f64());
    }

    /// How many calls of all ids, those forgotten by now included, went well or were left by their callers, and how
    /// many failed.
    pub(crate) fn totals(&self) -> (u64, u64) {
        (
            self.0.completed.load(Ordering::Relaxed),
            self.0.failed.load(Ordering::Relaxed),
        )
    }

    /// llamapool answered with an error of its own.
    pub(crate) fn refused(&self, door: &'static str, reason: &'static str) {
        self.0.refusals.with_label_values(&[door, reason]).inc();
    }

    /// A tunnel ended.
    pub(crate) fn tunnel_ended(&self, end: &TunnelEnd) {
        let reason = match end {
            TunnelEnd::Closed => "closed",
            TunnelEnd::ClosedByPeer(_) => "closed_by_relay",
            TunnelEnd::Silent => "silent",
            TunnelEnd::Broken(_) => "broken",
        };
        self.0.losses.with_label_values(&[reason]).inc();
    }

    /// Everything, as text.
    pub(crate) fn render(&self, registry: &Registry, build: &BuildInfo, detail: Detail) -> String {
        let mut families = self.0.registered.gather();
        families.extend(build_info(build));
        families.extend(relays(registry));
        if detail == Detail::WithIds {
            families.extend(by_id(registry));
        }
        families.retain(|family| !family.get_metric().is_empty());
        let mut text = Vec::new();
        if let Err(error) = TextEncoder::new().encode(&families, &mut text) {
            tracing::error!(%error, "the metrics cannot be written");
        }
        String::from_utf8(text).unwrap_or_default()
    }
}

fn build_info(build: &BuildInfo) -> Vec<prometheus::proto::MetricFamily> {
    let opts = Opts::new("llamapool_build_info", "What runs here; always 1.");
    let info = defined(IntGaugeVec::new(
        opts,
        &["component", "version", "sha", "date"],
    ));
    info.with_label_values(&["server", build.version, build.sha, build.date])
        .set(1);
    info.collect()
}

/// What the books of every id say, at this moment.
fn by_id(registry: &Registry) -> Vec<prometheus::proto::MetricFamily> {
    let counter = |name: &str, help: &str, labels: &[&str]| {
        defined(IntCounterVec::new(Opts::new(name, help), labels))
    };
    let gauge = |name: &str, help: &str, labels: &[&str]| {
        defined(IntGaugeVec::new(Opts::new(name, help), labels))
    };
    let calls = counter(
        "llamapool_calls_total",
        "Calls that are over.",
        &["id", "method", "outcome"],
    );
    let bytes = counter(
        "llamapool_call_bytes_total",
        "Bytes of bodies; in: requests, out: answers.",
        &["id", "direction"],
    );
    let in_flight = gauge("llamapool_calls_in_flight", "Calls that run now.", &["id"]);
    for (id, books) in registry.all_books() {
        let id = id.as_str();
        for method in methods() {
            for outcome in Outcome::ALL {
                let count = books.count(method, outcome);
                if count > 0 {
                    calls
                        .with_label_values(&[id, method.as_str(), outcome.label()])
                        .inc_by(count);
                }
            }
        }
        let (bytes_in, bytes_out) = books.bytes();
        bytes.with_label_values(&[id, "in"]).inc_by(bytes_in);
        bytes.with_label_values(&[id, "out"]).inc_by(bytes_out);
        in_flight
            .with_label_values(&[id])
            .set(books.in_flight() as i64);
    }
    [calls.collect(), bytes.collect(), in_flight.collect()].concat()
}

fn relays(registry: &Registry) -> Vec<prometheus::proto::MetricFamily> {
    let one = |name: &str, help: &str, value: usize| {
        let gauge = defined(IntGaugeVec::new(Opts::new(name, help), &[]));
        gauge.with_label_values::<&str>(&[]).set(value as i64);
        gauge.collect()
    };
    let clients = registry.clients();
    let relays: Vec<_> = clients.iter().flat_map(|client| &client.relays).collect();
    let tunnels: HashSet<_> = relays
        .iter()
        .map(|relay| Arc::as_ptr(&relay.tunnel))
        .collect();
    let help = "Relays that are connected now, each counted once for each of its ids.";
    let mut families = one("llamapool_relays_connected", help, relays.len());
    families.extend(one(
        "llamapool_tunnels_connected",
        "Tunnels of relays that are connected now.",
        tunnels.len(),
    ));
    families
}

fn register<C: Collector + Clone + 'static>(
    registered: &Registered,
    collector: prometheus::Result<C>,
) -> C {
    let collector = defined(collector);
    keep(registered, collector.clone());
    collector
}

fn keep(registered: &Registered, collector: impl Collector + 'static) {
    if let Err(error) = registered.register(Box::new(collector)) {
        tracing::error!(%error, "a metric is missing");
    }
}

/// Names and labels of metrics are written in this file, and a test renders them all.
#[expect(
    clippy::expect_used,
    reason = "a definition in this file is valid or the test below fails"
)]
fn defined<C>(collector: prometheus::Result<C>) -> C {
    collector.expect("the definition of a metric is valid")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_metric_is_valid_and_there_from_the_start() {
        let metrics = Metrics::new();
        metrics.refused("mcp", "relay_offline");
        metrics.tunnel_ended(&TunnelEnd::Silent);
        metrics.observe(
            MethodLabel::from_name("tools/call"),
            Outcome::Ok,
            Duration::from_millis(7),
        );
        let build = BuildInfo {
            version: "1.2.3",
            sha: "abc",
            date: "2026-01-02",
        };
        let text = metrics.render(&Registry::new(1), &build, Detail::WithIds);
        for line in [
            r#"llamapool_build_info{component="server",date="2026-01-02",sha="abc",version="1.2.3"} 1"#,
            r#"llamapool_refusals_total{door="mcp",reason="relay_offline"} 1"#,
            r#"llamapool_tunnel_losses_total{reason="silent"} 1"#,
            r#"llamapool_call_duration_seconds_count{method="tools/call"} 1"#,
            "llamapool_relays_connected 0",
            "llamapool_tunnels_connected 0",
        ] {
            assert!(text.contains(line), "{line}\n{text}");
        }
        assert!(
            !cfg!(target_os = "linux") || text.contains("process_resident_memory_bytes"),
            "{text}"
        );
    }
}
