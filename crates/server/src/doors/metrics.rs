//! `/metrics`, for Prometheus: the counters of `metrics`, and the statistics of every id as they
//! are at this moment.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::SystemTime;

use axum::body::Body;
use axum::extract::{FromRef, State};
use axum::http::{HeaderValue, Response, header};
use llamapool_certificates::Certificates;
use llamapool_limits::MemoryBudget;
use llamapool_mcp::MethodLabel;
use llamapool_wire::BuildInfo;
use prometheus::core::Collector;
use prometheus::proto::MetricFamily;
use prometheus::{Encoder, IntCounterVec, IntGaugeVec, Opts, TextEncoder};

use crate::audit::{Audit, AuditStatus};
use crate::auth::{AccessControl, Operator};
use crate::calls::Outcome;
use crate::directory::{Directory, McpCallStats};
use crate::identity::Identity;
use crate::metrics::{Metrics, defined};
use crate::pool::WorkerPool;

const TEXT_FORMAT: HeaderValue =
    HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");

/// The label of the ids that were forgotten, which no id can have.
const FORGOTTEN: &str = "(forgotten)";

/// The most keys with series of their own.
const KEY_SERIES: usize = 200;
/// The label of the others. A key could have this name, and would then be counted with them.
const OTHERS: &str = "(others)";

/// The context of the metrics.
pub(crate) struct MetricsApi {
    /// Checks the API key, and `Host` and `Origin`. On an address of its own `/metrics` needs no
    /// key; it names ids, so a page in a browser must not read it there either.
    pub(crate) access: AccessControl,
    pub(crate) metrics: Metrics,
    pub(crate) directory: Directory,
    pub(crate) pool: WorkerPool,
    pub(crate) memory: MemoryBudget,
    pub(crate) certificates: Certificates,
    pub(crate) audit: Audit,
    /// The keys, for their names and what they have used.
    pub(crate) identity: Identity,
    pub(crate) build: BuildInfo,
}

/// The labels whose values only an operator may read. A key may be kept from models, so that their
/// names are no public matter either.
const PRIVATE_LABELS: [&str; 7] = [
    "id",
    "certificate",
    "worker_id",
    "key",
    "model",
    "gen_ai_request_model",
    "gen_ai_response_model",
];

/// The extent of what is rendered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Detail {
    /// All metrics.
    WithIds,
    /// Those that do not name an id, a key or a model.
    WithoutIds,
}

impl FromRef<Arc<MetricsApi>> for AccessControl {
    fn from_ref(api: &Arc<MetricsApi>) -> Self {
        api.access.clone()
    }
}

/// `GET /metrics`. An id can be all that protects a provider, so only an operator reads what
/// belongs to one.
pub(crate) async fn metrics(
    operator: Option<Operator>,
    State(api): State<Arc<MetricsApi>>,
) -> Response<Body> {
    let detail = match operator {
        Some(_) => Detail::WithIds,
        None => Detail::WithoutIds,
    };

    let mut response = Response::new(Body::from(api.render(detail)));
    response
        .headers_mut()
        .insert(header::CONTENT_TYPE, TEXT_FORMAT);
    response
}

impl MetricsApi {
    fn render(&self, detail: Detail) -> String {
        let mut families = self.metrics.gather();
        families.extend(build_info(&self.build));
        families.extend(connected(&self.directory));
        families.extend(memory(&self.memory));
        families.extend(queue(&self.pool));
        if detail == Detail::WithIds {
            families.extend(by_id(&self.directory));
            families.extend(by_certificate(&self.certificates));
            families.extend(self.audit.status().iter().flat_map(audit));
            families.extend(by_worker(&self.pool));
            families.extend(by_key(&self.identity));
            families.push(self.pool.metrics().durations().family());
        } else {
            families.retain(is_public);
        }
        families.retain(|family| !family.get_metric().is_empty());

        let mut text = Vec::new();
        if let Err(error) = TextEncoder::new().encode(&families, &mut text) {
            tracing::error!(%error, "the metrics cannot be written");
        }
        String::from_utf8(text).unwrap_or_default()
    }
}

/// Returns whether no series of a family has a private label.
fn is_public(family: &MetricFamily) -> bool {
    let mut labels = family
        .get_metric()
        .iter()
        .flat_map(|metric| metric.get_label());
    labels.all(|label| !PRIVATE_LABELS.contains(&label.name()))
}

fn build_info(build: &BuildInfo) -> Vec<MetricFamily> {
    let info = gauge(
        "llamapool_build_info",
        "What runs here; always 1.",
        &["component", "version", "sha", "date"],
    );
    info.with_label_values(&["server", build.version, build.sha, build.date])
        .set(1);
    info.collect()
}

/// Returns the relays and tunnels that are connected now.
fn connected(directory: &Directory) -> Vec<MetricFamily> {
    let listings = directory.listings();
    let members: Vec<_> = listings
        .iter()
        .flat_map(|listing| listing.members.iter())
        .collect();
    let tunnels: HashSet<_> = members
        .iter()
        .map(|member| Arc::as_ptr(&member.tunnel))
        .collect();

    let relays = gauge(
        "llamapool_relays_connected",
        "Relays that are connected now, each counted once for each of its ids.",
        &[],
    );
    set_only(&relays, members.len());
    let connected_tunnels = gauge(
        "llamapool_tunnels_connected",
        "Tunnels of relays that are connected now.",
        &[],
    );
    set_only(&connected_tunnels, tunnels.len());
    [relays.collect(), connected_tunnels.collect()].concat()
}

/// Returns the memory that is held for callers.
fn memory(budget: &MemoryBudget) -> Vec<MetricFamily> {
    let used = gauge(
        "llamapool_memory_used_bytes",
        "Bytes held for callers now: windows of unread bodies, collected answers.",
        &[],
    );
    set_only(&used, budget.used());
    let most = gauge(
        "llamapool_memory_max_bytes",
        "Most bytes that may be held for callers, MAX_MEMORY.",
        &[],
    );
    set_only(&most, budget.capacity());
    [used.collect(), most.collect()].concat()
}

/// Returns the calls that wait for LLM runtimes, and the slots that would serve them at once.
fn queue(pool: &WorkerPool) -> Vec<MetricFamily> {
    let waiting = gauge(
        "llamapool_autoscale_waiting_slots",
        "Calls to LLMs that wait now: as many more slots would serve them at once.",
        &[],
    );
    set_only(&waiting, pool.waiting());
    let length = gauge(
        "llamapool_queue_length",
        "Calls to LLMs that wait now, by model and class; the first 10000 in the order of dispatch.",
        &["model", "class"],
    );
    for call in pool.queue().calls() {
        let entry = &call.entry;
        let model = pool.metrics().model_label(&entry.model);
        length
            .with_label_values(&[&*model, entry.class.as_str()])
            .inc();
    }
    [waiting.collect(), length.collect()].concat()
}

/// Returns the statistics of every worker that is connected.
fn by_worker(pool: &WorkerPool) -> Vec<MetricFamily> {
    let tokens = counter(
        "llamapool_worker_tokens_total",
        "Tokens of the attempts at a worker since it connected, by kind: in, out.",
        &["worker_id", "kind"],
    );
    let seconds = counter(
        "llamapool_worker_processing_seconds_total",
        "Whole seconds of the attempts at a worker since it connected.",
        &["worker_id"],
    );
    let embeddings = counter(
        "llamapool_worker_embeddings_total",
        "Vectors of embeddings that a worker made since it connected.",
        &["worker_id"],
    );
    let embedding_seconds = counter(
        "llamapool_worker_embedding_processing_seconds_total",
        "Whole seconds of the attempts for embeddings at a worker since it connected.",
        &["worker_id"],
    );
    let loads = counter(
        "llamapool_model_loads_total",
        "Models that a worker has loaded since it connected, as far as its runtime reports it.",
        &["worker_id", "model"],
    );
    let in_flight = gauge(
        "llamapool_worker_calls_in_flight",
        "Calls that hold slots of a worker now.",
        &["worker_id"],
    );

    for (worker, view) in pool.workers() {
        let id = worker.member.id.as_str();
        let totals = &worker.totals;
        let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        tokens
            .with_label_values(&[id, "in"])
            .inc_by(get(&totals.tokens_in));
        tokens
            .with_label_values(&[id, "out"])
            .inc_by(get(&totals.tokens_out));
        seconds
            .with_label_values(&[id])
            .inc_by(get(&totals.processing_ms) / 1000);
        embeddings
            .with_label_values(&[id])
            .inc_by(get(&totals.embeddings));
        embedding_seconds
            .with_label_values(&[id])
            .inc_by(get(&totals.embedding_ms) / 1000);
        in_flight.with_label_values(&[id]).set(view.running.into());
        for (model, totals) in totals.per_model() {
            if totals.loads > 0 {
                let model = pool.metrics().model_label(&model);
                let loads = loads.with_label_values(&[id, &*model]);
                loads.inc_by(totals.loads);
            }
        }
    }
    let counters = [tokens, seconds, embeddings, embedding_seconds, loads];
    let mut families: Vec<_> = counters.iter().flat_map(Collector::collect).collect();
    families.extend(in_flight.collect());
    families
}

/// Returns the calls and bytes of caller keys, by name. The keys of most series are those that were made
/// first, so that a series does not go as others come; the rest is one, which only grows.
fn by_key(identity: &Identity) -> Vec<MetricFamily> {
    let published = identity.published();
    let ended = identity.meters().ended().into_iter();
    let mut ended: Vec<_> = ended
        .map(|(id, ended)| (published.snapshot.key(&id), id, ended))
        .collect();
    ended.sort_by_cached_key(|(key, id, _)| (key.map(|key| key.created_at), id.clone()));

    let calls = counter(
        "llamapool_key_calls_total",
        "Calls by a caller key, or by a grant of it, that are over since the start.",
        &["key"],
    );
    let bytes = counter(
        "llamapool_key_bytes_total",
        "Bytes of the bodies of these calls, by direction: in, out.",
        &["key", "direction"],
    );
    for (place, (key, id, ended)) in ended.iter().enumerate() {
        let name = key.map_or(id.as_str(), |key| &key.name);
        let name = if place < KEY_SERIES { name } else { OTHERS };
        calls.with_label_values(&[name]).inc_by(ended.calls);
        let [received, sent] = ["in", "out"].map(|direction| [name, direction]);
        bytes.with_label_values(&received).inc_by(ended.bytes_in);
        bytes.with_label_values(&sent).inc_by(ended.bytes_out);
    }
    [calls.collect(), bytes.collect()].concat()
}

/// Returns the end of every certificate, and the tries to renew it that failed.
fn by_certificate(certificates: &Certificates) -> Vec<MetricFamily> {
    let ends = gauge(
        "llamapool_certificate_not_after_seconds",
        "End of a certificate that is presented, in seconds since 1970. The days left are (this - time()) / 86400.",
        &["certificate"],
    );
    let failures = counter(
        "llamapool_certificate_failures_total",
        "Times that a new certificate could not be used or had, and the one of before stayed.",
        &["certificate"],
    );
    for certificate in certificates.status() {
        let label = [&*certificate.label];
        failures
            .with_label_values(&label)
            .inc_by(certificate.failures);
        let since_1970 = |it: SystemTime| it.duration_since(SystemTime::UNIX_EPOCH).ok();
        if let Some(end) = certificate.not_after.and_then(since_1970) {
            ends.with_label_values(&label).set(end.as_secs() as i64);
        }
    }
    [ends.collect(), failures.collect()].concat()
}

/// Returns the state of the audit log.
fn audit(status: &AuditStatus) -> Vec<MetricFamily> {
    let checkpoint = gauge(
        "llamapool_audit_checkpoint",
        "Number of the line of the audit log that was noted last, with its hash: what `llamapool audit verify --checkpoint` takes.",
        &["hash"],
    );
    if let Some((noted, _)) = status.checkpoint {
        let label = [noted.link.to_string()];
        checkpoint
            .with_label_values(&label)
            .set(noted.sequence as i64);
    }
    let failing = gauge(
        "llamapool_audit_failing",
        "1 while the audit log cannot be written, 0 otherwise.",
        &[],
    );
    set_only(&failing, status.is_failing.into());
    let failures = counter(
        "llamapool_audit_write_failures_total",
        "Attempts to write the audit log that failed. It is tried again every second.",
        &[],
    );
    let lost = counter(
        "llamapool_audit_lost_total",
        "Events that are not in the audit log, because as many waited for the disk as may.",
        &[],
    );
    failures
        .with_label_values::<&str>(&[])
        .inc_by(status.failures);
    lost.with_label_values::<&str>(&[]).inc_by(status.lost);
    let gauges = [checkpoint.collect(), failing.collect()].concat();
    [gauges, failures.collect(), lost.collect()].concat()
}

/// Returns the statistics of every id.
fn by_id(directory: &Directory) -> Vec<MetricFamily> {
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

    let forgotten = directory.forgotten_stats();
    let forgotten = (!forgotten.is_empty()).then_some((FORGOTTEN, forgotten));
    let all = directory.all_stats();
    let by_id = all.iter().map(|(id, stats)| (id.as_str(), stats.clone()));
    for (id, stats) in by_id.chain(forgotten) {
        add_calls(&calls, id, &stats);

        let (bytes_in, bytes_out) = stats.bytes();
        bytes.with_label_values(&[id, "in"]).inc_by(bytes_in);
        bytes.with_label_values(&[id, "out"]).inc_by(bytes_out);

        let running = stats.in_flight() as i64;
        in_flight.with_label_values(&[id]).set(running);
    }

    [calls.collect(), bytes.collect(), in_flight.collect()].concat()
}

fn add_calls(calls: &IntCounterVec, id: &str, stats: &McpCallStats) {
    for &method in MethodLabel::ALL {
        for outcome in Outcome::ALL {
            let count = stats.count(method, outcome);
            if count > 0 {
                calls
                    .with_label_values(&[id, method.as_str(), outcome.label()])
                    .inc_by(count);
            }
        }
    }
}

fn counter(name: &str, help: &str, labels: &[&str]) -> IntCounterVec {
    defined(IntCounterVec::new(Opts::new(name, help), labels))
}

fn gauge(name: &str, help: &str, labels: &[&str]) -> IntGaugeVec {
    defined(IntGaugeVec::new(Opts::new(name, help), labels))
}

/// Sets the value of a gauge without labels.
fn set_only(gauge: &IntGaugeVec, value: usize) {
    gauge.with_label_values::<&str>(&[]).set(value as i64);
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use llamapool_tunnel::TunnelEnd;

    use super::*;
    use crate::auth::{Auth, AuthConfig, Keys, OriginPolicy};
    use crate::doors::mcp::mcp_metrics;
    use llamapool_identity::{AdminRight, Records};

    use crate::identity::IdentityConfig;
    use crate::listen::{ForwardedTrust, PublicUrl};
    use crate::metrics::Door;

    #[test]
    fn every_metric_is_valid_and_there_from_the_start() {
        let metrics = Metrics::new();
        let calls = mcp_metrics(&metrics);
        let policy = OriginPolicy::new(&AuthConfig::default(), None, [127, 0, 0, 1].into());
        let api = MetricsApi {
            access: AccessControl {
                auth: Arc::new(Auth::new(
                    &Keys::default(),
                    Identity::new(IdentityConfig::default(), Records::default()),
                    policy,
                    PublicUrl::new(None, ForwardedTrust::Untrusted),
                )),
                metrics: metrics.clone(),
                right: AdminRight::Metrics,
            },
            metrics: metrics.clone(),
            directory: Directory::new(0),
            pool: WorkerPool::empty(&metrics),
            memory: MemoryBudget::new(1 << 30),
            certificates: Certificates::new(),
            audit: Audit::default(),
            identity: Identity::new(IdentityConfig::default(), Records::default()),
            build: BuildInfo {
                version: "1.2.3",
                sha: "abc",
                date: "2026-01-02",
            },
        };

        metrics.refused(Door::Mcp, "relay_offline");
        metrics.tunnel_ended(&TunnelEnd::Silent);
        calls.observe(
            MethodLabel::from_name("tools/call"),
            Outcome::Ok,
            Duration::from_millis(7),
        );
        let text = api.render(Detail::WithIds);

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
