//! The server of llama.cpp: `/v1/models`, `/props`, `/slots`. With many models it is a router.

pub(super) mod router;

use http::StatusCode;
use llamapool_wire::llm::{MAX_MODELS, ModelInfo};
use serde_json::Value;

use super::{PolledLoad, Resident, number, text, texts};
use crate::providers::llm::client::{PollClient, PollError, unexpected};

const MODELS: &str = "/v1/models";
const PROPS: &str = "/props";
const SLOTS: &str = "/slots";

pub(super) async fn version(client: &PollClient) -> Option<String> {
    let answer = client.get_json(PROPS).await.ok()?;
    Some(text(&answer, "build_info")).filter(|version| !version.is_empty())
}

pub(super) async fn models(client: &PollClient) -> Result<Vec<ModelInfo>, PollError> {
    let mut models = models_of(&client.get_json(MODELS).await?)?;
    if let [only] = &mut models[..]
        && let Ok(props) = client.get_json(PROPS).await
        && !router::is_router(&props)
    {
        add_props(only, &props);
    }
    Ok(models)
}

pub(super) async fn load(client: &PollClient) -> Result<PolledLoad, PollError> {
    let props = client.get(PROPS).await?;
    if props.status == StatusCode::SERVICE_UNAVAILABLE {
        return Ok(PolledLoad {
            resident: Resident::AllLoading,
            ..PolledLoad::default()
        });
    }
    let props = props.json(PROPS)?;
    if router::is_router(&props) {
        return router::load(client).await;
    }
    let mut load = load_of(&props);
    // Asking for the slots of a model that sleeps would wake it.
    if props["is_sleeping"] != true {
        load.busy = busy(client).await?;
    }
    Ok(load)
}

/// Asks how many slots compute, `None` if the server was started without `/slots`.
pub(super) async fn busy(client: &PollClient) -> Result<Option<u32>, PollError> {
    let answer = client.get(SLOTS).await?;
    if answer.status == StatusCode::BAD_REQUEST {
        // A router wants the name of a model.
        return router::busy(client).await;
    }
    Ok(answer.json(SLOTS).ok().and_then(|slots| busy_of(&slots)))
}

pub(super) fn busy_of(slots: &Value) -> Option<u32> {
    let busy = slots.as_array()?.iter();
    let busy = busy.filter(|slot| slot["is_processing"] == true).count();
    u32::try_from(busy).ok()
}

pub(super) fn load_of(props: &Value) -> PolledLoad {
    let slots = props["total_slots"].as_u64();
    let resident = if props["is_sleeping"] == true {
        Resident::These(Vec::new())
    } else {
        Resident::All
    };
    PolledLoad {
        resident,
        slots: slots.and_then(|slots| u32::try_from(slots).ok()),
        ..PolledLoad::default()
    }
}

fn models_of(list: &Value) -> Result<Vec<ModelInfo>, PollError> {
    let models = list["data"]
        .as_array()
        .ok_or_else(|| unexpected(MODELS, "has no list `data`"))?;
    let models = models.iter().filter(|model| router::is_usable(model));
    let models = models.take(MAX_MODELS).map(|model| {
        let meta = &model["meta"];
        let architecture = &model["architecture"];
        let name = text(model, "id");
        let mut aliases = texts(model, "aliases");
        // Its own name is among them.
        aliases.retain(|alias| *alias != name);
        ModelInfo {
            name,
            aliases,
            size: number(meta, "size"),
            params: number(meta, "n_params"),
            quantization: text(meta, "ftype"),
            context: number(meta, "n_ctx"),
            context_trained: number(meta, "n_ctx_train"),
            inputs: texts(architecture, "input_modalities"),
            outputs: texts(architecture, "output_modalities"),
            created: number(model, "created"),
            ..ModelInfo::default()
        }
    });
    Ok(models.collect())
}

/// Reads JSON as the list, and as the properties of a model.
#[cfg(feature = "fuzzing")]
pub(super) fn fuzz_models(json: &Value) -> Vec<Vec<ModelInfo>> {
    let mut only = ModelInfo::default();
    add_props(&mut only, json);
    vec![models_of(json).unwrap_or_default(), vec![only]]
}

/// Adds what the properties of a server with one model have of it.
fn add_props(model: &mut ModelInfo, props: &Value) {
    if model.context == 0 {
        model.context = number(&props["default_generation_settings"], "n_ctx");
    }
    let can = |is_set: &Value, word: &str| (*is_set == true).then(|| word.to_owned());
    let modalities = &props["modalities"];
    if model.inputs.is_empty() {
        model.inputs.push("text".to_owned());
        model.inputs.extend(can(&modalities["vision"], "image"));
        model.inputs.extend(can(&modalities["audio"], "audio"));
    }
    model.capabilities.push("completion".to_owned());
    let tools = &props["chat_template_caps"]["supports_tools"];
    model.capabilities.extend(can(tools, "tools"));
    model
        .capabilities
        .extend(can(&modalities["vision"], "vision"));
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_model_of_llama_cpp_is_read() {
        let list = json!({"object": "list", "data": [{"id": "smollm2", "aliases": ["smollm2", "small"],
            "created": 1795644861, "meta": {"n_ctx": 2048, "n_ctx_train": 8192,
            "n_params": 134515008, "size": 98363062, "ftype": "Q4_1"}}]});
        let props = json!({"total_slots": 2, "chat_template_caps": {"supports_tools": true},
            "modalities": {"vision": true, "audio": false}});

        let mut models = models_of(&list).unwrap();
        add_props(&mut models[0], &props);

        assert_eq!(models[0].name, "smollm2");
        assert_eq!(models[0].aliases, ["small"]);
        assert_eq!((models[0].context, models[0].context_trained), (2048, 8192));
        assert_eq!(models[0].quantization, "Q4_1");
        assert_eq!(models[0].inputs, ["text", "image"]);
        assert_eq!(models[0].capabilities, ["completion", "tools", "vision"]);
        assert!(models_of(&json!({"models": []})).is_err());
    }

    #[test]
    fn slots_and_sleep_of_llama_cpp_are_read() {
        let slots = json!([{"id": 0, "is_processing": true}, {"id": 1, "is_processing": false}]);
        let awake = load_of(&json!({"total_slots": 2, "is_sleeping": false}));
        let asleep = load_of(&json!({"total_slots": 2, "is_sleeping": true}));

        assert_eq!(busy_of(&slots), Some(1));
        assert_eq!(busy_of(&json!({"error": 1})), None);
        assert_eq!((awake.slots, awake.resident), (Some(2), Resident::All));
        assert_eq!(asleep.resident, Resident::These(Vec::new()));
    }
}
