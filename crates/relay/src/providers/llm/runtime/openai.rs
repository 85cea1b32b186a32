//! Any runtime with OpenAI's API: `/v1/models` is all that they have in common.

use llamapool_wire::llm::{MAX_MODELS, ModelInfo};
use serde_json::Value;

use super::{PolledLoad, number, text};
use crate::providers::llm::client::{PollClient, PollError, unexpected};

const MODELS: &str = "/v1/models";

pub(super) async fn models(client: &PollClient) -> Result<Vec<ModelInfo>, PollError> {
    models_of(&client.get_json(MODELS).await?)
}

/// Makes a request, so that a runtime that has gone is noticed. It reports no load.
pub(super) async fn load(client: &PollClient) -> Result<PolledLoad, PollError> {
    client.get(MODELS).await?;
    Ok(PolledLoad::default())
}

fn models_of(list: &Value) -> Result<Vec<ModelInfo>, PollError> {
    // Some answer with a bare list.
    let models = list["data"].as_array().or_else(|| list.as_array());
    let models = models.ok_or_else(|| unexpected(MODELS, "has no list `data`"))?;
    let models = models.iter().take(MAX_MODELS).map(|model| ModelInfo {
        name: text(model, "id"),
        context: context_of(model),
        created: number(model, "created"),
        ..ModelInfo::default()
    });
    Ok(models.collect())
}

/// Reads JSON as the list.
#[cfg(feature = "fuzzing")]
pub(super) fn fuzz_models(json: &Value) -> Vec<Vec<ModelInfo>> {
    vec![models_of(json).unwrap_or_default()]
}

/// Returns the context under the names that runtimes have for it.
fn context_of(model: &Value) -> u64 {
    ["max_model_len", "context_length", "context_window"]
        .into_iter()
        .map(|member| number(model, member))
        .find(|&context| context > 0)
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_list_of_models_is_read_in_every_form() {
        let vllm = json!({"object": "list", "data": [{"id": "org/m", "object": "model",
            "created": 1795644861, "owned_by": "vllm", "root": "org/m", "max_model_len": 4096}]});
        let bare = json!([{"id": "a", "context_window": 1000}, 7]);

        let models = models_of(&vllm).unwrap();
        assert_eq!(models.len(), 1);
        assert_eq!(
            (models[0].name.as_str(), models[0].context),
            ("org/m", 4096)
        );
        let models = models_of(&bare).unwrap();
        assert_eq!((models[0].name.as_str(), models[0].context), ("a", 1000));
        assert!(models_of(&json!({"error": "no"})).is_err());
    }
}
