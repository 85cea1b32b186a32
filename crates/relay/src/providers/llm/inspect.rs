//! Looks once at a runtime as a worker does again and again: for `llamapool doctor`.

use std::path::Path;
use std::time::Duration;

use llamapool_wire::llm::ModelInfo;
use serde_json::json;

use super::client::{PollClient, RuntimeAddress};
use super::poll::Poller;
use super::state::RuntimeState;
use crate::config::{LlmConfig, RuntimeKind};
use crate::providers::pool;
use crate::status::provider::ProviderStatus;
use crate::tls::tls_config;

/// The longest time for one token: a model may have to be loaded before.
const GENERATION_TIMEOUT: Duration = Duration::from_secs(300);

/// What one look at a runtime found.
#[derive(Debug, Clone)]
pub struct RuntimeReport {
    /// Its kind.
    pub kind: RuntimeKind,
    /// Its version, empty where it reports none.
    pub version: String,
    /// The models that a worker with this configuration offers.
    pub models: Vec<ModelInfo>,
    /// The calls that it takes at once.
    pub slots: u32,
}

/// Looks once at the runtime of a configuration.
///
/// # Errors
///
/// A text for people, if it does not answer or is none.
pub async fn inspect_runtime(
    config: &LlmConfig,
    ca_file: Option<&Path>,
) -> Result<RuntimeReport, String> {
    let client = client(config, ca_file)?;
    let status = ProviderStatus::new("runtime".into(), false);
    let state = RuntimeState::new(config.clone(), "runtime", false);
    let health = status.health_reporter();

    let kind = Poller::new(&client, &state, &health).poll().await;
    let kind = kind.map_err(|error| error.to_string())?;
    let models = state.models().borrow().clone();
    Ok(RuntimeReport {
        kind,
        version: state.version(),
        models: models.map(|models| models.models).unwrap_or_default(),
        slots: state.info().borrow().max_concurrency,
    })
}

/// Has a model generate one token.
///
/// # Errors
///
/// A text for people, if none came.
pub async fn generate_one_token(
    config: &LlmConfig,
    ca_file: Option<&Path>,
    model: &str,
) -> Result<(), String> {
    let client = client(config, ca_file)?.with_timeout(GENERATION_TIMEOUT);
    let request = json!({
        "model": model, "max_tokens": 1, "stream": false,
        "messages": [{"role": "user", "content": "Hi"}],
    });
    let answer = client.post_json("/v1/chat/completions", &request).await;
    let answer = answer.map_err(|error| error.to_string())?;
    if answer["choices"]
        .as_array()
        .is_some_and(|it| !it.is_empty())
    {
        Ok(())
    } else {
        Err("the answer has no choice".to_owned())
    }
}

fn client(config: &LlmConfig, ca_file: Option<&Path>) -> Result<PollClient, String> {
    let tls = tls_config(ca_file).map_err(|error| error.to_string())?;
    let connector = pool::connector(tls, config.connect_timeout);
    let address = RuntimeAddress::new(&config.url, config.api_key.as_ref());
    Ok(PollClient::new(connector, address))
}
