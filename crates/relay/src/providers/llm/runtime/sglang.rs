//! SGLang: its list is OpenAI's, its load is in `/metrics` if that is enabled.

use super::{PolledLoad, prometheus, text, vllm};
use crate::providers::llm::client::{PollClient, PollError};

pub(super) async fn version(client: &PollClient) -> Option<String> {
    let answer = client.get_json("/get_server_info").await.ok()?;
    Some(text(&answer, "version")).filter(|version| !version.is_empty())
}

pub(super) async fn load(client: &PollClient) -> Result<PolledLoad, PollError> {
    let resident = vllm::readiness(client).await?;
    let metrics = client.get("/metrics").await?;
    let metrics = metrics.text().unwrap_or_default();
    Ok(PolledLoad {
        resident,
        ..load_of(metrics)
    })
}

pub(super) fn load_of(metrics: &str) -> PolledLoad {
    PolledLoad {
        busy: prometheus::count(metrics, "sglang:num_running_reqs"),
        waiting: prometheus::count(metrics, "sglang:num_queue_reqs"),
        ..PolledLoad::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_load_of_sglang_is_read() {
        let metrics = "sglang:num_running_reqs{model_name=\"m\"} 2.0\n\
            sglang:num_queue_reqs{model_name=\"m\"} 5.0\n";

        let load = load_of(metrics);

        assert_eq!((load.busy, load.waiting), (Some(2), Some(5)));
        assert_eq!(load_of("").busy, None);
    }
}
