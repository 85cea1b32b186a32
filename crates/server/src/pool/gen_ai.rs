//! Metrics under OpenTelemetry's names for generative AI (semantic conventions for GenAI, status
//! Development), in the spelling of Prometheus: dots are underscores, and a unit is at the end.
//!
//! Off unless `GENAI_METRICS` is set: the names may change while their status is Development.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use llamapool_dialect::Endpoint;
use llamapool_wire::llm::{CallEnd, CallReport, CountSource};
use parking_lot::Mutex;
use prometheus::{HistogramOpts, HistogramVec};

use crate::metrics::Metrics;

/// The bounds of the durations of requests, in seconds, as the conventions have them.
const DURATIONS: [f64; 14] = [
    0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92,
];
/// The bounds of the time to the first token, in seconds.
const FIRST_TOKENS: [f64; 16] = [
    0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0,
];
/// The bounds of the time for each further token, in seconds.
const OUTPUT_TOKENS: [f64; 13] = [
    0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0, 2.5,
];
/// The bounds of counts of tokens: the powers of four.
const TOKENS: [f64; 14] = [
    1.0,
    4.0,
    16.0,
    64.0,
    256.0,
    1024.0,
    4096.0,
    16384.0,
    65536.0,
    262_144.0,
    1_048_576.0,
    4_194_304.0,
    16_777_216.0,
    67_108_864.0,
];
/// The most sets of attributes that are counted by themselves.
const MAX_SERIES: usize = 2000;
/// The value of attributes beyond them.
const OTHER: &str = "other";
/// The kinds of runtimes that are values of an attribute. A worker may report any text.
const PROVIDERS: [&str; 6] = [
    "ollama",
    "llama_cpp",
    "vllm",
    "sglang",
    "lm_studio",
    "openai",
];
/// The attributes of all metrics.
const ATTRIBUTES: [&str; 4] = [
    "gen_ai_operation_name",
    "gen_ai_provider_name",
    "gen_ai_request_model",
    "gen_ai_response_model",
];

/// The metrics.
pub(super) struct GenAiMetrics {
    durations: HistogramVec,
    first_tokens: HistogramVec,
    output_tokens: HistogramVec,
    tokens: HistogramVec,
    series: Mutex<HashSet<Attributes>>,
}

/// What a call or an attempt is counted under.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Attributes {
    operation: &'static str,
    /// Empty for a call without a worker.
    provider: &'static str,
    request_model: Arc<str>,
    /// Empty for a call without a worker.
    response_model: Arc<str>,
}

impl Attributes {
    /// Returns the attributes of a call for a model. `runtime` is the kind of the runtime that
    /// answered, with its own name of the model.
    pub(super) fn new(
        operation: &'static str,
        request_model: Arc<str>,
        at_runtime: Option<(&str, Arc<str>)>,
    ) -> Self {
        let (provider, response_model) = match at_runtime {
            Some((runtime, model)) => (provider(runtime), model),
            None => ("", "".into()),
        };
        Self {
            operation,
            provider,
            request_model,
            response_model,
        }
    }

    fn values(&self) -> [&str; 4] {
        [
            self.operation,
            self.provider,
            &self.request_model,
            &self.response_model,
        ]
    }
}

impl GenAiMetrics {
    /// Adds the metrics.
    pub(super) fn new(metrics: &Metrics) -> Self {
        let histogram = |name: &str, help: &str, buckets: &[f64], further: Option<&str>| {
            let opts = HistogramOpts::new(name, help).buckets(buckets.to_vec());
            let labels: Vec<&str> = ATTRIBUTES.into_iter().chain(further).collect();
            metrics.histogram_of(opts, &labels)
        };
        Self {
            durations: histogram(
                "gen_ai_server_request_duration_seconds",
                "Time from a call to the last byte of its answer; error_type is a word of llamapool's errors.",
                &DURATIONS,
                Some("error_type"),
            ),
            first_tokens: histogram(
                "gen_ai_server_time_to_first_token_seconds",
                "Time from sending a call to its runtime to first content; of answers that the runtime streamed.",
                &FIRST_TOKENS,
                None,
            ),
            output_tokens: histogram(
                "gen_ai_server_time_per_output_token_seconds",
                "Time for each token after the first, as a mean of an answer that the runtime streamed.",
                &OUTPUT_TOKENS,
                None,
            ),
            tokens: histogram(
                "gen_ai_client_token_usage",
                "Tokens of calls whose runtime reported them; gen_ai_token_type: input, output.",
                &TOKENS,
                Some("gen_ai_token_type"),
            ),
            series: Mutex::default(),
        }
    }

    /// Counts a call that is over. `error` is empty for one that went well.
    pub(super) fn ended(&self, call: Attributes, error: &'static str, duration: Duration) {
        let call = self.bounded(call);
        let values: Vec<&str> = call.values().into_iter().chain([error]).collect();
        let durations = self.durations.with_label_values(&values);
        durations.observe(duration.as_secs_f64());
    }

    /// Counts an attempt that answered its call, as its worker reports it.
    pub(super) fn reported(&self, attempt: Attributes, report: &CallReport) {
        let attempt = self.bounded(attempt);
        let is_counted = matches!(report.source, CountSource::Usage | CountSource::Timings);
        if is_counted {
            for (kind, number) in [("input", report.prompt), ("output", report.completion)] {
                let values: Vec<&str> = attempt.values().into_iter().chain([kind]).collect();
                self.tokens
                    .with_label_values(&values)
                    .observe(number as f64);
            }
        }

        let Some(first_ms) = report.first_ms.filter(|_| report.end == CallEnd::Complete) else {
            return;
        };
        let seconds = |ms: u64| ms as f64 / 1000.0;
        let values = attempt.values();
        self.first_tokens
            .with_label_values(&values)
            .observe(seconds(first_ms));
        let further = report.completion.saturating_sub(1);
        if is_counted && further > 0 {
            let rest = seconds(report.total_ms.saturating_sub(first_ms));
            self.output_tokens
                .with_label_values(&values)
                .observe(rest / further as f64);
        }
    }

    /// Returns the attributes, or those of all others together where there are too many.
    fn bounded(&self, attributes: Attributes) -> Attributes {
        let mut series = self.series.lock();
        if series.contains(&attributes) {
            return attributes;
        }
        if series.len() < MAX_SERIES {
            series.insert(attributes.clone());
            return attributes;
        }
        Attributes {
            request_model: OTHER.into(),
            response_model: OTHER.into(),
            ..attributes
        }
    }
}

/// Returns the name of the operation of an endpoint: the conventions', or else llamapool's own.
pub(super) fn operation(endpoint: Endpoint) -> &'static str {
    match endpoint {
        Endpoint::ChatCompletions
        | Endpoint::Messages
        | Endpoint::Responses
        | Endpoint::OllamaChat => "chat",
        Endpoint::Completions | Endpoint::OllamaGenerate => "text_completion",
        Endpoint::Embeddings | Endpoint::OllamaEmbed | Endpoint::OllamaEmbeddings => "embeddings",
        other => other.api(),
    }
}

fn provider(runtime: &str) -> &'static str {
    let known = PROVIDERS.into_iter().find(|known| *known == runtime);
    known.unwrap_or(OTHER)
}

#[cfg(test)]
mod tests {
    use prometheus::TextEncoder;

    use super::*;

    fn attributes(number: usize) -> Attributes {
        let model: Arc<str> = format!("m{number}").into();
        Attributes::new("chat", model.clone(), Some(("ollama", model)))
    }

    fn text(metrics: &Metrics) -> String {
        TextEncoder::new()
            .encode_to_string(&metrics.gather())
            .unwrap()
    }

    #[test]
    fn names_bounds_and_attributes_are_those_of_the_conventions() {
        let metrics = Metrics::new();
        let gen_ai = GenAiMetrics::new(&metrics);
        let report = CallReport {
            prompt: 100,
            completion: 11,
            source: CountSource::Usage,
            first_ms: Some(200),
            total_ms: 1200,
            ..CallReport::default()
        };

        gen_ai.ended(attributes(1), "", Duration::from_millis(1300));
        let without_worker = Attributes::new("chat", "m1".into(), None);
        gen_ai.ended(without_worker, "queue_full", Duration::ZERO);
        gen_ai.reported(attributes(1), &report);
        let text = text(&metrics);

        let labels = r#"gen_ai_operation_name="chat",gen_ai_provider_name="ollama",gen_ai_request_model="m1",gen_ai_response_model="m1""#;
        for line in [
            format!(
                r#"gen_ai_server_request_duration_seconds_bucket{{error_type="",{labels},le="1.28"}} 0"#
            ),
            format!(
                r#"gen_ai_server_request_duration_seconds_bucket{{error_type="",{labels},le="2.56"}} 1"#
            ),
            format!(r#"gen_ai_server_time_to_first_token_seconds_bucket{{{labels},le="0.1"}} 0"#),
            format!(r#"gen_ai_server_time_to_first_token_seconds_bucket{{{labels},le="0.25"}} 1"#),
            format!(r#"gen_ai_server_time_per_output_token_seconds_sum{{{labels}}} 0.1"#),
            format!(
                r#"gen_ai_client_token_usage_bucket{{{labels},gen_ai_token_type="input",le="64"}} 0"#
            ),
            format!(
                r#"gen_ai_client_token_usage_bucket{{{labels},gen_ai_token_type="input",le="256"}} 1"#
            ),
            format!(r#"gen_ai_client_token_usage_sum{{{labels},gen_ai_token_type="output"}} 11"#),
        ] {
            assert!(text.contains(&format!("{line}\n")), "{line}\n{text}");
        }
        assert!(text.contains(
            r#"error_type="queue_full",gen_ai_operation_name="chat",gen_ai_provider_name="""#
        ));
        assert!(text.contains(r#"le="81.92""#) && text.contains(r#"le="67108864""#));
    }

    #[test]
    fn counts_that_no_runtime_reported_are_left_out() {
        let metrics = Metrics::new();
        let gen_ai = GenAiMetrics::new(&metrics);
        let estimated = CallReport {
            prompt: 100,
            completion: 11,
            total_ms: 1200,
            ..CallReport::default()
        };
        let cancelled = CallReport {
            end: CallEnd::Cancelled,
            first_ms: Some(5),
            ..estimated.clone()
        };

        gen_ai.reported(attributes(1), &estimated);
        gen_ai.reported(attributes(1), &cancelled);

        assert!(!text(&metrics).contains("gen_ai_"), "{}", text(&metrics));
    }

    #[test]
    fn the_number_of_gen_ai_series_has_a_bound() {
        let metrics = Metrics::new();
        let gen_ai = GenAiMetrics::new(&metrics);

        let all: HashSet<_> = (0..MAX_SERIES + 10)
            .map(|number| gen_ai.bounded(attributes(number)))
            .collect();

        assert_eq!(all.len(), MAX_SERIES + 1);
        let strange = Attributes::new("chat", "m".into(), Some(("x\u{1b}", "m".into())));
        assert_eq!(strange.provider, "other");
        assert_eq!(operation(Endpoint::OllamaGenerate), "text_completion");
        assert_eq!(operation(Endpoint::Rerank), "rerank");
    }
}
