//! The counters for Prometheus that no other part keeps. `doors/metrics` renders them.
//!
//! Totals of calls come straight from the statistics of each id, so that they and the state can
//! never disagree. No label value comes unlimited from the network: methods, outcomes, causes and
//! reasons are fixed lists, and ids are those of relays that hold the worker key, of which a
//! bounded number is remembered.

use llamapool_tunnel::TunnelEnd;
use prometheus::core::Collector;
use prometheus::proto::MetricFamily;
use prometheus::{HistogramOpts, HistogramVec, IntCounter, IntCounterVec, Opts, Registry};

use crate::relays::HolderChange;

/// The upper bounds of the call times, in seconds: from a fast tool on the same machine to a long
/// one.
pub(crate) const BUCKETS: [f64; 14] = [
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 60.0, 300.0,
];

const DURATIONS: &str = "Time from a call's arrival to the last byte of its answer, by method; calls that a caller left count up to then.";
const LOSSES: &str =
    "Tunnels that ended, by reason; ends that this server asked for count as closed.";
const HOLDER_CHANGES: &str = "Ids that went from one relay process to another without a CLIENT_SECRET that both have, by the network of the newcomer: same, other. A relay that was restarted counts, too.";
const DATA_FAILURES: &str = "Attempts to write the data directory that failed, such as on a full disk. The server goes on with what it has in memory, and tries again every 10 s.";
const REFUSALS: &str =
    "Requests that llamapool answered with an error of its own, by door and reason.";

/// The counters. Clones are the same counters.
#[derive(Clone)]
pub(crate) struct Metrics {
    registry: Registry,
    losses: IntCounterVec,
    refusals: IntCounterVec,
    holder_changes: IntCounterVec,
    data_failures: IntCounter,
}

/// The part of the server that refused a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Door {
    /// Before any door: more than one `Host` or `Origin`.
    Edge,
    /// Calls to MCP providers, and the documents about them.
    Mcp,
    /// Calls to LLM runtimes.
    Llm,
    /// The endpoints and pages of the own authorization server.
    SignIn,
    /// The door where relays connect.
    Relay,
    /// State, health and metrics.
    State,
    /// The administration API.
    Admin,
}

impl Metrics {
    /// Returns counters that are all zero.
    pub(crate) fn new() -> Self {
        let registry = Registry::new();
        let losses = Opts::new("llamapool_tunnel_losses_total", LOSSES);
        let losses = register(&registry, IntCounterVec::new(losses, &["reason"]));
        let refusals = Opts::new("llamapool_refusals_total", REFUSALS);
        let refusals = register(&registry, IntCounterVec::new(refusals, &["door", "reason"]));

        let changes = Opts::new("llamapool_id_holder_changes_total", HOLDER_CHANGES);
        let holder_changes = register(&registry, IntCounterVec::new(changes, &["network"]));

        let failures = Opts::new("llamapool_data_dir_write_failures_total", DATA_FAILURES);
        let data_failures = register(&registry, IntCounter::with_opts(failures));

        #[cfg(target_os = "linux")]
        keep(
            &registry,
            prometheus::process_collector::ProcessCollector::for_self(),
        );

        Self {
            registry,
            losses,
            refusals,
            holder_changes,
            data_failures,
        }
    }

    /// Adds a histogram of call times, by one label.
    pub(crate) fn durations(&self, name: &str, label_name: &str) -> HistogramVec {
        self.histogram(name, DURATIONS, label_name)
    }

    /// Adds a histogram of times in seconds, by one label.
    pub(crate) fn histogram(&self, name: &str, help: &str, label_name: &str) -> HistogramVec {
        let opts = HistogramOpts::new(name, help).buckets(BUCKETS.to_vec());
        register(&self.registry, HistogramVec::new(opts, &[label_name]))
    }

    /// Adds a histogram with bounds of its own and these labels.
    pub(crate) fn histogram_of(&self, opts: HistogramOpts, labels: &[&str]) -> HistogramVec {
        register(&self.registry, HistogramVec::new(opts, labels))
    }

    /// Adds a counter with these labels.
    pub(crate) fn counter(&self, name: &str, help: &str, labels: &[&str]) -> IntCounterVec {
        register(
            &self.registry,
            IntCounterVec::new(Opts::new(name, help), labels),
        )
    }

    /// Counts an error of llamapool's own.
    pub(crate) fn refused(&self, door: Door, reason: &'static str) {
        self.refusals
            .with_label_values(&[door.label(), reason])
            .inc();
    }

    /// Counts an id whose holder changed.
    pub(crate) fn holder_changed(&self, change: HolderChange) {
        let network = match change {
            HolderChange::SameNetwork => "same",
            HolderChange::OtherNetwork => "other",
        };
        self.holder_changes.with_label_values(&[network]).inc();
    }

    /// Counts an attempt to write the data directory that failed.
    pub(crate) fn data_not_written(&self) {
        self.data_failures.inc();
    }

    /// Counts a tunnel that ended.
    pub(crate) fn tunnel_ended(&self, end: &TunnelEnd) {
        let reason = match end {
            TunnelEnd::Closed => "closed",
            TunnelEnd::ClosedByPeer(_) => "closed_by_relay",
            TunnelEnd::Silent => "silent",
            TunnelEnd::Broken(_) => "broken",
        };
        self.losses.with_label_values(&[reason]).inc();
    }

    /// Returns all counters as they are now.
    pub(crate) fn gather(&self) -> Vec<MetricFamily> {
        self.registry.gather()
    }
}

impl Door {
    fn label(self) -> &'static str {
        match self {
            Self::Edge => "edge",
            Self::Mcp => "mcp",
            Self::Llm => "llm",
            Self::SignIn => "sign_in",
            Self::Relay => "relay",
            Self::State => "state",
            Self::Admin => "admin",
        }
    }
}

/// Returns a metric whose name and labels are written in this crate, where a test renders them all.
#[expect(
    clippy::expect_used,
    reason = "a definition in this crate is valid or the test of `doors/metrics` fails"
)]
pub(crate) fn defined<C>(collector: prometheus::Result<C>) -> C {
    collector.expect("the definition of a metric is valid")
}

fn register<C: Collector + Clone + 'static>(
    registry: &Registry,
    collector: prometheus::Result<C>,
) -> C {
    let collector = defined(collector);
    keep(registry, collector.clone());
    collector
}

fn keep(registry: &Registry, collector: impl Collector + 'static) {
    if let Err(error) = registry.register(Box::new(collector)) {
        tracing::error!(%error, "a metric is missing");
    }
}
