//! Ollama: `/api/tags`, `/api/show`, `/api/ps`, `/api/version`.

use llamapool_wire::llm::{MAX_MODELS, ModelInfo};
use serde_json::{Value, json};

use super::{ModelDetails, PolledLoad, Resident, ResidentModel, number, parameters, text, texts};
use crate::providers::llm::client::{PollClient, PollError, unexpected};

const TAGS: &str = "/api/tags";
const SHOW: &str = "/api/show";
const PS: &str = "/api/ps";
/// The first version with `/v1/responses`, as major and minor number.
const WITH_RESPONSES: (u32, u32) = (0, 13);
/// The first version with `/v1/messages`.
const WITH_MESSAGES: (u32, u32) = (0, 14);

/// What `/api/show` reports of one model.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Details {
    context: u64,
    context_trained: u64,
    params: u64,
    capabilities: Vec<String>,
}

pub(super) async fn version(client: &PollClient) -> Option<String> {
    let answer = client.get_json("/api/version").await.ok()?;
    Some(text(&answer, "version")).filter(|version| !version.is_empty())
}

pub(super) async fn models(
    client: &PollClient,
    details: &mut ModelDetails,
) -> Result<Vec<ModelInfo>, PollError> {
    let mut models = models_of(&client.get_json(TAGS).await?)?;
    details
        .0
        .retain(|digest, _| models.iter().any(|model| model.digest == *digest));
    for model in &mut models {
        let known = details.0.get(&model.digest);
        let found = match known {
            Some(known) => known.clone(),
            None => match client
                .post_json(SHOW, &json!({ "model": model.name }))
                .await
            {
                Ok(answer) => details_of(&answer),
                // The model is offered all the same.
                Err(_) => continue,
            },
        };
        if !model.digest.is_empty() {
            details.0.insert(model.digest.clone(), found.clone());
        }
        found.add_to(model);
    }
    Ok(models)
}

pub(super) async fn load(client: &PollClient) -> Result<PolledLoad, PollError> {
    Ok(load_of(&client.get_json(PS).await?))
}

pub(super) fn load_of(ps: &Value) -> PolledLoad {
    let models = ps["models"].as_array().map_or(&[][..], Vec::as_slice);
    let models = models.iter().take(MAX_MODELS);
    let resident = models.map(|model| ResidentModel {
        name: text(model, "name"),
        context: number(model, "context_length"),
        is_loading: false,
    });
    PolledLoad {
        resident: Resident::These(resident.collect()),
        ..PolledLoad::default()
    }
}

/// Returns the APIs of a version. A build from source has the version `0.0.0`, and counts as newest.
pub(super) fn apis(version: &str) -> Vec<String> {
    let mut numbers = version
        .split('.')
        .map(|part| part.parse::<u32>().unwrap_or_default());
    let version = (
        numbers.next().unwrap_or_default(),
        numbers.next().unwrap_or_default(),
    );
    let has = |first: (u32, u32)| version == (0, 0) || version >= first;

    let mut apis = vec!["chat", "completions", "embeddings", "ollama"];
    if has(WITH_RESPONSES) {
        apis.push("responses");
    }
    if has(WITH_MESSAGES) {
        apis.push("messages");
    }
    apis.into_iter().map(str::to_owned).collect()
}

fn models_of(tags: &Value) -> Result<Vec<ModelInfo>, PollError> {
    let models = tags["models"]
        .as_array()
        .ok_or_else(|| unexpected(TAGS, "has no list `models`"))?;
    let models = models.iter().take(MAX_MODELS).map(|model| {
        let details = &model["details"];
        ModelInfo {
            name: text(model, "name"),
            digest: text(model, "digest"),
            size: number(model, "size"),
            params: parameters(details["parameter_size"].as_str().unwrap_or_default()),
            quantization: text(details, "quantization_level"),
            family: text(details, "family"),
            capabilities: texts(model, "capabilities"),
            ..ModelInfo::default()
        }
    });
    Ok(models.collect())
}

fn details_of(show: &Value) -> Details {
    let info = &show["model_info"];
    let architecture = info["general.architecture"].as_str().unwrap_or_default();
    let trained = number(info, &format!("{architecture}.context_length"));
    // One parameter a line, its name and its value aligned by spaces.
    let parameters = show["parameters"].as_str().unwrap_or_default();
    let loaded = parameters
        .lines()
        .find_map(|line| line.strip_prefix("num_ctx")?.trim().parse().ok());
    Details {
        context: loaded.unwrap_or_default(),
        context_trained: trained,
        params: number(info, "general.parameter_count"),
        capabilities: texts(show, "capabilities"),
    }
}

/// Reads JSON as the list, and as the details of each model of it.
#[cfg(feature = "fuzzing")]
pub(super) fn fuzz_models(json: &Value) -> Vec<Vec<ModelInfo>> {
    let mut models = models_of(json).unwrap_or_default();
    for model in &mut models {
        details_of(json).add_to(model);
    }
    let mut shown = ModelInfo::default();
    details_of(json).add_to(&mut shown);
    vec![models, vec![shown]]
}

impl Details {
    fn add_to(self, model: &mut ModelInfo) {
        model.context = self.context;
        model.context_trained = self.context_trained;
        if self.params > 0 {
            model.params = self.params;
        }
        if !self.capabilities.is_empty() {
            model.capabilities = self.capabilities;
        }
        let can = |word: &str| {
            model
                .capabilities
                .iter()
                .any(|capability| capability == word)
        };
        let inputs: &[&str] = if can("vision") {
            &["text", "image"]
        } else {
            &["text"]
        };
        let is_embedding = can("embedding") && !can("completion");
        let output = if is_embedding { "embedding" } else { "text" };
        model.inputs = inputs.iter().map(|&word| word.to_owned()).collect();
        model.outputs = vec![output.to_owned()];
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Answers of Ollama 0.17.4, cut to the members that matter.
    fn tags() -> Value {
        json!({"models": [
            {"name": "smollm2:latest", "model": "smollm2:latest", "size": 98363062,
             "digest": "a64d", "details": {"family": "llama", "families": ["llama"],
             "parameter_size": "134.52M", "quantization_level": "Q4_1"}},
            {"name": 5, "details": []},
            null,
        ]})
    }

    #[test]
    fn the_list_of_ollama_is_read() {
        let models = models_of(&tags()).unwrap();

        assert_eq!(models.len(), 3);
        assert_eq!(models[0].name, "smollm2:latest");
        assert_eq!(
            (models[0].size, models[0].params),
            (98_363_062, 134_520_000)
        );
        assert_eq!(models[0].quantization, "Q4_1");
        assert_eq!(models[1], ModelInfo::default());
        assert!(models_of(&json!({"data": []})).is_err());
        assert!(models_of(&json!([])).is_err());
    }

    #[test]
    fn details_of_ollama_are_read() {
        let show = json!({
            "parameters": "seed                           1\nnum_ctx                        2048",
            "model_info": {"general.architecture": "llama", "llama.context_length": 8192,
                "general.parameter_count": 134515008},
            "capabilities": ["completion", "vision"],
        });
        let mut model = ModelInfo::default();

        details_of(&show).add_to(&mut model);

        assert_eq!((model.context, model.context_trained), (2048, 8192));
        assert_eq!(model.params, 134_515_008);
        assert_eq!(model.inputs, ["text", "image"]);
        assert_eq!(model.outputs, ["text"]);
        assert_eq!(details_of(&json!(null)), Details::default());
    }

    #[test]
    fn apis_of_ollama_depend_on_its_version() {
        let has_messages = |version| apis(version).contains(&"messages".to_owned());

        assert!(has_messages("0.0.0") && has_messages("0.14.0") && has_messages("1.0"));
        assert!(!has_messages("0.13.5") && !has_messages("0.9.1"));
        assert!(apis("0.13.5").contains(&"responses".to_owned()));
        assert!(!apis("0.12.9").contains(&"responses".to_owned()));
    }
}
