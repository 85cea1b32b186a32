//! vLLM: its list is OpenAI's, its load is in `/metrics`.

use http::StatusCode;

use super::{PolledLoad, Resident, prometheus, text};
use crate::providers::llm::client::{PollClient, PollError};

/// The concurrent calls of an engine that batches as long as it has memory.
pub(super) const CONCURRENCY: u32 = 64;

pub(super) async fn version(client: &PollClient) -> Option<String> {
    let answer = client.get_json("/version").await.ok()?;
    Some(text(&answer, "version")).filter(|version| !version.is_empty())
}

pub(super) async fn load(client: &PollClient) -> Result<PolledLoad, PollError> {
    let resident = readiness(client).await?;
    let metrics = client.get("/metrics").await?;
    let metrics = metrics.text().unwrap_or_default();
    Ok(PolledLoad {
        resident,
        ..load_of(metrics)
    })
}

/// Asks whether the engine is ready: its list of models answers before that.
pub(super) async fn readiness(client: &PollClient) -> Result<Resident, PollError> {
    let health = client.get("/health").await?;
    if health.status == StatusCode::OK {
        Ok(Resident::All)
    } else {
        Ok(Resident::AllLoading)
    }
}

pub(super) fn load_of(metrics: &str) -> PolledLoad {
    PolledLoad {
        busy: prometheus::count(metrics, "vllm:num_requests_running"),
        waiting: prometheus::count(metrics, "vllm:num_requests_waiting"),
        ..PolledLoad::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_load_of_vllm_is_read() {
        let metrics = "vllm:num_requests_running{engine=\"0\",model_name=\"m\"} 3.0\n\
            vllm:num_requests_waiting{engine=\"0\",model_name=\"m\"} 1.0\n\
            vllm:num_requests_waiting_by_reason{reason=\"capacity\"} 1.0\n";

        let load = load_of(metrics);

        assert_eq!((load.busy, load.waiting), (Some(3), Some(1)));
        assert_eq!(load_of("nothing"), PolledLoad::default());
    }
}
