//! LM Studio: `/api/v1/models`, and `/api/v0/models` of versions before 0.4.

use llamapool_wire::llm::{MAX_MODELS, ModelInfo};
use serde_json::Value;

use super::{PolledLoad, Resident, ResidentModel, number, parameters, text, texts};
use crate::providers::llm::client::{PollClient, PollError, unexpected};

const MODELS: &str = "/api/v1/models";
const MODELS_BEFORE_0_4: &str = "/api/v0/models";

/// A model of LM Studio.
struct Listed {
    info: ModelInfo,
    resident: Option<ResidentModel>,
}

pub(super) async fn models(client: &PollClient) -> Result<Vec<ModelInfo>, PollError> {
    let models = list(client).await?;
    Ok(models.into_iter().map(|model| model.info).collect())
}

pub(super) async fn load(client: &PollClient) -> Result<PolledLoad, PollError> {
    let models = list(client).await?;
    let resident = models.into_iter().filter_map(|model| model.resident);
    Ok(PolledLoad {
        resident: Resident::These(resident.collect()),
        ..PolledLoad::default()
    })
}

async fn list(client: &PollClient) -> Result<Vec<Listed>, PollError> {
    match client.get_json(MODELS).await {
        Ok(list) => models_of(&list),
        Err(PollError::Unexpected { .. }) => {
            models_before_0_4(&client.get_json(MODELS_BEFORE_0_4).await?)
        }
        Err(error) => Err(error),
    }
}

fn models_of(list: &Value) -> Result<Vec<Listed>, PollError> {
    let models = list["models"]
        .as_array()
        .ok_or_else(|| unexpected(MODELS, "has no list `models`"))?;
    Ok(models.iter().take(MAX_MODELS).map(model_of).collect())
}

fn model_of(model: &Value) -> Listed {
    let name = text(model, "key");
    let can = |word: &str| model["capabilities"][word] == true;
    let mut capabilities = Vec::new();
    if can("vision") {
        capabilities.push("vision".to_owned());
    }
    if can("trained_for_tool_use") {
        capabilities.push("tools".to_owned());
    }
    // The instance under the model's own name answers to it; without one, any does.
    let instances = model["loaded_instances"].as_array();
    let instance = instances.and_then(|all| {
        let own = all.iter().find(|instance| instance["id"] == name.as_str());
        own.or_else(|| all.first())
    });
    let context = instance.map_or(0, |instance| number(&instance["config"], "context_length"));
    let trained = number(model, "max_context_length");
    Listed {
        resident: instance.map(|_| ResidentModel {
            name: name.clone(),
            context,
            is_loading: false,
        }),
        info: ModelInfo {
            size: number(model, "size_bytes"),
            params: parameters(model["params_string"].as_str().unwrap_or_default()),
            quantization: text(&model["quantization"], "name"),
            family: text(model, "architecture"),
            context,
            context_trained: trained,
            inputs: inputs(can("vision")),
            outputs: outputs(model),
            capabilities,
            name,
            ..ModelInfo::default()
        },
    }
}

fn models_before_0_4(list: &Value) -> Result<Vec<Listed>, PollError> {
    let models = list["data"]
        .as_array()
        .ok_or_else(|| unexpected(MODELS_BEFORE_0_4, "has no list `data`"))?;
    let models = models.iter().take(MAX_MODELS).map(|model| {
        let name = text(model, "id");
        let context = number(model, "loaded_context_length");
        let uses_tools = texts(model, "capabilities").contains(&"tool_use".to_owned());
        Listed {
            resident: (model["state"] == "loaded").then(|| ResidentModel {
                name: name.clone(),
                context,
                is_loading: false,
            }),
            info: ModelInfo {
                quantization: text(model, "quantization"),
                family: text(model, "arch"),
                context,
                context_trained: number(model, "max_context_length"),
                inputs: inputs(model["type"] == "vlm"),
                outputs: outputs(model),
                capabilities: uses_tools.then(|| "tools".to_owned()).into_iter().collect(),
                name,
                ..ModelInfo::default()
            },
        }
    });
    Ok(models.collect())
}

/// Reads JSON as the lists of both versions.
#[cfg(feature = "fuzzing")]
pub(super) fn fuzz_models(json: &Value) -> Vec<Vec<ModelInfo>> {
    let lists = [models_of(json), models_before_0_4(json)];
    let lists = lists.into_iter().flatten();
    let lists = lists.map(|list| list.into_iter().map(|model| model.info).collect());
    lists.collect()
}

fn inputs(sees: bool) -> Vec<String> {
    let words: &[&str] = if sees { &["text", "image"] } else { &["text"] };
    words.iter().map(|&word| word.to_owned()).collect()
}

fn outputs(model: &Value) -> Vec<String> {
    let kind = model["type"].as_str().unwrap_or_default();
    let word = if kind.starts_with("embedding") {
        "embedding"
    } else {
        "text"
    };
    vec![word.to_owned()]
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// As LM Studio's documentation of its REST API shows it, cut to the members that matter.
    fn list_of_0_4() -> Value {
        json!({"models": [
            {"type": "llm", "publisher": "lmstudio-community", "key": "gemma-3-270m-it-qat",
             "architecture": "gemma3", "quantization": {"name": "Q4_0", "bits_per_weight": 4},
             "size_bytes": 241410208, "params_string": "270M",
             "loaded_instances": [{"id": "gemma-3-270m-it-qat", "config": {"context_length": 4096}}],
             "max_context_length": 32768,
             "capabilities": {"vision": false, "trained_for_tool_use": true}},
            {"type": "embedding", "key": "nomic", "loaded_instances": [], "quantization": null},
        ]})
    }

    #[test]
    fn the_list_of_lm_studio_has_models_and_residency() {
        let models = models_of(&list_of_0_4()).unwrap();

        let gemma = &models[0];
        let nomic = &models[1];
        assert_eq!(gemma.info.name, "gemma-3-270m-it-qat");
        assert_eq!(
            (gemma.info.context, gemma.info.context_trained),
            (4096, 32768)
        );
        assert_eq!(gemma.info.params, 270_000_000);
        assert_eq!(gemma.info.capabilities, ["tools"]);
        assert_eq!(gemma.resident.as_ref().unwrap().context, 4096);
        assert_eq!(nomic.info.outputs, ["embedding"]);
        assert!(nomic.resident.is_none());
    }

    #[test]
    fn the_list_of_older_versions_is_read_too() {
        let list = json!({"object": "list", "data": [
            {"id": "qwen2-vl-7b-instruct", "type": "vlm", "arch": "qwen2_vl", "quantization": "4bit",
             "state": "not-loaded", "max_context_length": 32768},
            {"id": "llama", "type": "llm", "state": "loaded", "loaded_context_length": 4096},
        ]});

        let models = models_before_0_4(&list).unwrap();

        assert_eq!(models[0].info.inputs, ["text", "image"]);
        assert!(models[0].resident.is_none());
        assert_eq!(models[1].info.context, 4096);
        assert!(models[1].resident.is_some());
        assert!(models_before_0_4(&json!({})).is_err());
    }
}
