//! The metrics of a relay for Prometheus, rendered from its state at each scrape.

mod worker;

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::header;
use axum::response::IntoResponse;
use axum::routing::get;
use llamapool_bridge::BridgeStats;
use llamapool_http::listen::Listener;
use prometheus::core::Collector;
use prometheus::{IntCounterVec, IntGaugeVec, Opts, TextEncoder};

use super::listener;
use crate::app::App;

/// Serves `/metrics` on an address of its own.
pub(crate) async fn serve(app: Arc<App>, listener: Listener) {
    let router = Router::new().route("/metrics", get(render)).with_state(app);
    listener::serve(listener, router).await;
}

/// `GET /metrics`.
pub(super) async fn render(State(app): State<Arc<App>>) -> impl IntoResponse {
    let content_type = "text/plain; version=0.0.4; charset=utf-8";
    ([(header::CONTENT_TYPE, content_type)], text(&app))
}

fn text(app: &App) -> String {
    let build = &app.config.build;
    let connected = app.link.is_connected();
    let info = gauge(
        "llamapool_build_info",
        "What runs here; always 1.",
        &["component", "version", "sha", "date"],
    );
    let is_worker = app
        .providers()
        .iter()
        .any(|entry| entry.provider.runtime().is_some());
    let component = if is_worker { "worker" } else { "mcp" };
    info.with_label_values(&[component, build.version, build.sha, build.date])
        .set(1);
    let losses = counter(
        "llamapool_relay_connection_losses_total",
        "Connections that were refused or lost.",
        &[],
    );
    losses
        .with_label_values::<&str>(&[])
        .inc_by(app.link.losses());
    let link = gauge(
        "llamapool_relay_connected",
        "Whether the tunnel is up.",
        &[],
    );
    link.with_label_values::<&str>(&[]).set(connected.into());
    let mut families = [
        info.collect(),
        losses.collect(),
        link.collect(),
        memory(app),
        by_provider(app),
        worker::families(app),
    ]
    .concat();
    #[cfg(target_os = "linux")]
    families.extend(prometheus::process_collector::ProcessCollector::for_self().collect());
    // A relay without programs has no series of theirs, and the encoder takes no empty family.
    families.retain(|family| !family.get_metric().is_empty());
    TextEncoder::new()
        .encode_to_string(&families)
        .unwrap_or_else(|error| {
            tracing::error!(%error, "the metrics cannot be written");
            String::new()
        })
}

/// Returns the memory that is held for callers.
fn memory(app: &App) -> Vec<prometheus::proto::MetricFamily> {
    let used = gauge(
        "llamapool_relay_memory_used_bytes",
        "Bytes held for callers now: windows of unread bodies, collected messages, kept events.",
        &[],
    );
    let used_bytes = app.memory.used() as i64;
    used.with_label_values::<&str>(&[]).set(used_bytes);
    let most = gauge(
        "llamapool_relay_memory_max_bytes",
        "Most bytes that may be held for callers, MAX_MEMORY.",
        &[],
    );
    let most_bytes = app.memory.capacity() as i64;
    most.with_label_values::<&str>(&[]).set(most_bytes);
    [used.collect(), most.collect()].concat()
}

/// Returns the metrics of each provider. There are as many labels as the configuration has
/// providers, whichever ids the server assigns.
fn by_provider(app: &App) -> Vec<prometheus::proto::MetricFamily> {
    let calls = counter(
        "llamapool_relay_calls_total",
        "Calls that are over.",
        &["provider", "outcome"],
    );
    let in_flight = gauge(
        "llamapool_relay_calls_in_flight",
        "Calls that run now.",
        &["provider"],
    );
    let reachable = gauge(
        "llamapool_relay_provider_reachable",
        "Whether the provider can be reached.",
        &["provider"],
    );
    for entry in &app.providers() {
        let label = entry.label();
        let status = &entry.status;
        for (outcome, count) in status.calls().totals() {
            calls.with_label_values(&[label, outcome]).inc_by(count);
        }
        in_flight
            .with_label_values(&[label])
            .set(status.calls().running() as i64);
        reachable
            .with_label_values(&[label])
            .set(status.is_reachable().into());
    }
    [
        calls.collect(),
        in_flight.collect(),
        reachable.collect(),
        by_bridge(app),
    ]
    .concat()
}

/// Returns the metrics of each provider that is a program.
fn by_bridge(app: &App) -> Vec<prometheus::proto::MetricFamily> {
    let label = &["provider"];
    let children = gauge("llamapool_relay_children", "Programs that run now.", label);
    let sessions = gauge(
        "llamapool_relay_sessions",
        "Sessions that are open, each with a program of its own.",
        label,
    );
    let started = counter(
        "llamapool_relay_children_started_total",
        "Programs that were started.",
        label,
    );
    let crashed_help = "Programs that ended without being asked to.";
    let crashed = counter(
        "llamapool_relay_children_crashed_total",
        crashed_help,
        label,
    );
    for entry in &app.providers() {
        let Some(load) = entry.provider.bridge_stats().map(BridgeStats::snapshot) else {
            continue;
        };
        let label = &[entry.label()];
        children.with_label_values(label).set(load.children as i64);
        sessions.with_label_values(label).set(load.sessions as i64);
        started.with_label_values(label).inc_by(load.started_total);
        crashed.with_label_values(label).inc_by(load.crashed_total);
    }
    [
        children.collect(),
        sessions.collect(),
        started.collect(),
        crashed.collect(),
    ]
    .concat()
}

fn gauge(name: &str, help: &str, labels: &[&str]) -> IntGaugeVec {
    defined(IntGaugeVec::new(Opts::new(name, help), labels))
}

fn counter(name: &str, help: &str, labels: &[&str]) -> IntCounterVec {
    defined(IntCounterVec::new(Opts::new(name, help), labels))
}

/// Unwraps a definition of this file.
#[expect(
    clippy::expect_used,
    reason = "a definition in this file is valid, or every scrape fails"
)]
fn defined<C>(collector: prometheus::Result<C>) -> C {
    collector.expect("the definition of a metric is valid")
}
