//! What Prometheus reads of a relay: rendered from the board at each look, so it cannot disagree with the status.

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::header;
use axum::response::IntoResponse;
use axum::routing::get;
use prometheus::core::Collector;
use prometheus::{IntCounterVec, IntGaugeVec, Opts, TextEncoder};
use tokio::net::TcpListener;

use crate::app::App;
use crate::board::{Health, LinkState};
use crate::status::without_browsers;

/// Serves `/metrics` on an address of its own.
pub(crate) async fn serve(app: Arc<App>, listener: TcpListener) {
    let router = Router::new().route("/metrics", get(render)).with_state(app);
    let router = without_browsers(router, &listener);
    if let Err(error) = axum::serve(listener, router).await {
        tracing::error!(%error, "the metrics server ended");
    }
}

/// `GET /metrics`.
pub(crate) async fn render(State(app): State<Arc<App>>) -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text(&app))
}

fn text(app: &App) -> String {
    let build = &app.config.build;
    let connected = matches!(*app.board.link().borrow(), LinkState::Connected { .. });
    let reachable = app.board.offer().health == Health::Reachable;
    let info = gauge("llamapool_build_info", "What runs here; always 1.", &["component", "version", "sha", "date"]);
    info.with_label_values(&["mcp", build.version, build.sha, build.date]).set(1);
    let calls = counter("llamapool_relay_calls_total", "Calls that are over.", &["outcome"]);
    for (outcome, count) in app.board.calls().totals() {
        calls.with_label_values(&[outcome]).inc_by(count);
    }
    let losses = counter("llamapool_relay_connection_losses_total", "Connections that were refused or lost.", &[]);
    losses.with_label_values::<&str>(&[]).inc_by(app.board.losses());
    let one = |name: &str, help: &str, value: i64| {
        let gauge = gauge(name, help, &[]);
        gauge.with_label_values::<&str>(&[]).set(value);
        gauge.collect()
    };
    let mut families = [info.collect(), calls.collect(), losses.collect()].concat();
    families.extend(one("llamapool_relay_connected", "Whether the tunnel is up.", connected.into()));
    families.extend(one(
        "llamapool_relay_provider_reachable",
        "Whether the provider can be reached.",
        reachable.into(),
    ));
    let running = app.board.calls().running() as i64;
    families.extend(one("llamapool_relay_calls_in_flight", "Calls that run now.", running));
    #[cfg(target_os = "linux")]
    families.extend(prometheus::process_collector::ProcessCollector::for_self().collect());
    TextEncoder::new().encode_to_string(&families).unwrap_or_default()
}

fn gauge(name: &str, help: &str, labels: &[&str]) -> IntGaugeVec {
    defined(IntGaugeVec::new(Opts::new(name, help), labels))
}

fn counter(name: &str, help: &str, labels: &[&str]) -> IntCounterVec {
    defined(IntCounterVec::new(Opts::new(name, help), labels))
}

/// Names and labels of metrics are written in this file.
#[expect(clippy::expect_used, reason = "a definition in this file is valid or every look at the metrics fails")]
fn defined<C>(collector: prometheus::Result<C>) -> C {
    collector.expect("the definition of a metric is valid")
}
