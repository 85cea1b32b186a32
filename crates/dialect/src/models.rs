//! The list of models, as OpenAI's and Anthropic's clients read it: one object serves both.

use std::time::{Duration, UNIX_EPOCH};

use serde_json::{Value, json};

/// The most names of workers in the list: ten thousand are no answer.
const MAX_OWNERS: usize = 8;
/// The last second of the year 9999, behind which there is no RFC 3339.
const MAX_TIMESTAMP: u64 = 253_402_300_799;

/// A model of the pool, for the lists.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ListedModel {
    /// The name.
    pub id: String,
    /// The names of the workers that have it.
    pub owned_by: Vec<String>,
    /// When it was first seen, in seconds since 1970.
    pub created: u64,
    /// The smallest loaded context of its workers, in tokens; 0 if unknown.
    pub context: u64,
    /// The largest loaded context of its workers, in tokens; 0 if unknown.
    pub context_max: u64,
    /// Number of parameters, 0 if unknown.
    pub params: u64,
    /// Size in bytes, 0 if unknown.
    pub size: u64,
    /// Digest of the weights; empty if unknown.
    pub digest: String,
    /// Quantization, such as `Q4_K_M`; empty if unknown.
    pub quantization: String,
    /// Family, such as `qwen3`; empty if unknown.
    pub family: String,
    /// Kinds of input: `text`, `image`, `audio`.
    pub inputs: Vec<String>,
    /// Kinds of output: `text`, `embedding`, `image`, `audio`.
    pub outputs: Vec<String>,
    /// Capabilities in Ollama's words: `completion`, `tools`, `vision`, `thinking`, `embedding`.
    pub capabilities: Vec<String>,
    /// The endpoints that take it, in the words of `Endpoint::api`.
    pub apis: Vec<String>,
    /// Its other names.
    pub aliases: Vec<String>,
    /// How many workers have it.
    pub workers: u32,
    /// How many of them have it loaded.
    pub resident_on: u32,
    /// Free slots of its workers.
    pub free_slots: u32,
    /// Calls that wait for it.
    pub waiting: u32,
    /// The kinds of the runtimes, such as `ollama`.
    pub runtimes: Vec<String>,
}

/// A part of the list of models, in Anthropic's parameters.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ModelsPage {
    /// The most models. `None` for all of them.
    pub limit: Option<usize>,
    /// Only those after this id.
    pub after_id: Option<String>,
    /// Only those before this id.
    pub before_id: Option<String>,
}

/// Returns the list of all models, as JSON.
pub fn models_json(models: &[ListedModel]) -> String {
    models_page_json(models, &ModelsPage::default())
}

/// Returns a part of the list of models, as JSON. An id that is not in the list cuts nothing off.
pub fn models_page_json(models: &[ListedModel], page: &ModelsPage) -> String {
    let place = |id: &Option<String>| {
        let id = id.as_deref()?;
        models.iter().position(|model| model.id == id)
    };
    let start = place(&page.after_id).map_or(0, |after| after + 1);
    let end = place(&page.before_id).unwrap_or(models.len()).max(start);
    let range = &models[start..end];

    let limit = page.limit.unwrap_or(range.len());
    // Going backwards, the ones next to `before_id` are meant.
    let is_backwards = page.before_id.is_some() && page.after_id.is_none();
    let shown = if is_backwards {
        &range[range.len().saturating_sub(limit)..]
    } else {
        &range[..range.len().min(limit)]
    };

    let data: Vec<Value> = shown.iter().map(model_value).collect();
    let list = json!({
        "object": "list",
        "has_more": shown.len() < range.len(),
        "first_id": shown.first().map(|model| &model.id),
        "last_id": shown.last().map(|model| &model.id),
        "data": data,
    });
    list.to_string()
}

/// Returns one model, as JSON.
pub fn model_json(model: &ListedModel) -> String {
    model_value(model).to_string()
}

/// Returns a moment in the form of RFC 3339, from seconds since 1970.
pub(crate) fn timestamp(seconds: u64) -> String {
    let moment = UNIX_EPOCH + Duration::from_secs(seconds.min(MAX_TIMESTAMP));
    humantime::format_rfc3339_seconds(moment).to_string()
}

/// Returns a number, or null for 0, which stands for an unknown one.
fn known(number: u64) -> Option<u64> {
    Some(number).filter(|number| *number > 0)
}

fn model_value(model: &ListedModel) -> Value {
    let context = known(model.context);
    let mut pool = json!({
        "workers": model.workers,
        "resident_on": model.resident_on,
        "free_slots": model.free_slots,
        "waiting": model.waiting,
        "runtimes": model.runtimes,
        "apis": model.apis,
        "aliases": model.aliases,
    });
    if model.context_max > model.context {
        pool["context_max"] = model.context_max.into();
    }
    json!({
        "id": model.id,
        "object": "model",
        "type": "model",
        "created": model.created,
        "created_at": timestamp(model.created),
        "display_name": model.id,
        "lifecycle": "active",
        "owned_by": owners(&model.owned_by),
        "context_length": context,
        "context_window": context,
        "max_model_len": context,
        "max_output_tokens": null,
        "meta": {
            "n_ctx": context,
            "n_params": known(model.params),
            "size": known(model.size),
        },
        "architecture": {
            "input_modalities": model.inputs,
            "output_modalities": model.outputs,
        },
        "capabilities": model.capabilities,
        "quantization": Some(&model.quantization).filter(|text| !text.is_empty()),
        "llamapool": pool,
    })
}

/// Returns the names of workers in one text, sorted, and the number of those that are left out.
fn owners(names: &[String]) -> String {
    let mut names: Vec<&str> = names.iter().map(String::as_str).collect();
    names.sort_unstable();
    names.dedup();

    let more = names.len().saturating_sub(MAX_OWNERS);
    names.truncate(MAX_OWNERS);
    let names = names.join(",");
    if more > 0 {
        format!("{names},+{more}")
    } else {
        names
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn model() -> ListedModel {
        ListedModel {
            id: "qwen3:8b".to_owned(),
            owned_by: vec!["beta".to_owned(), "alpha".to_owned(), "beta".to_owned()],
            created: 1_795_644_861,
            context: 32_768,
            context_max: 32_768,
            params: 8_190_735_360,
            size: 4_912_898_304,
            quantization: "Q4_K_M".to_owned(),
            inputs: vec!["text".to_owned()],
            outputs: vec!["text".to_owned()],
            capabilities: vec!["completion".to_owned(), "tools".to_owned()],
            apis: vec!["chat".to_owned()],
            aliases: vec!["qwen3".to_owned()],
            workers: 2,
            resident_on: 1,
            free_slots: 3,
            runtimes: vec!["ollama".to_owned()],
            ..ListedModel::default()
        }
    }

    fn named(ids: &[&str]) -> Vec<ListedModel> {
        let models = ids.iter().map(|id| ListedModel {
            id: (*id).to_owned(),
            ..ListedModel::default()
        });
        models.collect()
    }

    fn parsed(text: &str) -> Value {
        serde_json::from_str(text).unwrap()
    }

    #[test]
    fn a_model_serves_the_clients_of_both_dialects() {
        let expected = json!({
            "id": "qwen3:8b", "object": "model", "type": "model", "created": 1_795_644_861,
            "created_at": "2026-11-25T22:14:21Z", "display_name": "qwen3:8b",
            "lifecycle": "active", "owned_by": "alpha,beta",
            "context_length": 32_768, "context_window": 32_768, "max_model_len": 32_768,
            "max_output_tokens": null,
            "meta": {"n_ctx": 32_768, "n_params": 8_190_735_360_u64, "size": 4_912_898_304_u64},
            "architecture": {"input_modalities": ["text"], "output_modalities": ["text"]},
            "capabilities": ["completion", "tools"], "quantization": "Q4_K_M",
            "llamapool": {"workers": 2, "resident_on": 1, "free_slots": 3, "waiting": 0,
                "runtimes": ["ollama"], "apis": ["chat"], "aliases": ["qwen3"]},
        });

        assert_eq!(parsed(&model_json(&model())), expected);
        let list = parsed(&models_json(&[model()]));
        assert_eq!(
            list,
            json!({"object": "list", "has_more": false, "first_id": "qwen3:8b",
                "last_id": "qwen3:8b", "data": [expected]})
        );
    }

    #[test]
    fn a_pool_without_models_has_an_empty_list() {
        assert_eq!(
            models_json(&[]),
            r#"{"data":[],"first_id":null,"has_more":false,"last_id":null,"object":"list"}"#
        );
    }

    #[test]
    fn what_is_not_known_is_null() {
        let one = parsed(&model_json(&named(&["m"])[0]));

        for name in [
            "context_length",
            "context_window",
            "max_model_len",
            "quantization",
        ] {
            assert!(one[name].is_null(), "{name}");
        }
        assert!(one["meta"]["n_ctx"].is_null() && one["meta"]["size"].is_null());
        assert_eq!(one["created_at"], "1970-01-01T00:00:00Z");
    }

    #[test]
    fn a_larger_context_elsewhere_is_said() {
        let larger = ListedModel {
            context_max: 131_072,
            ..model()
        };

        assert_eq!(
            parsed(&model_json(&larger))["llamapool"]["context_max"],
            131_072
        );
    }

    #[test]
    fn ten_thousand_owners_are_a_number() {
        let many = ListedModel {
            owned_by: (0..10_000).rev().map(|n| format!("w{n:05}")).collect(),
            ..model()
        };

        assert_eq!(
            parsed(&model_json(&many))["owned_by"],
            "w00000,w00001,w00002,w00003,w00004,w00005,w00006,w00007,+9992"
        );
    }

    #[test]
    fn a_page_has_the_models_next_to_an_id() {
        let models = named(&["a", "b", "c", "d"]);
        let page = |limit, after: Option<&str>, before: Option<&str>| {
            let page = ModelsPage {
                limit,
                after_id: after.map(str::to_owned),
                before_id: before.map(str::to_owned),
            };
            let list = parsed(&models_page_json(&models, &page));
            let ids = list["data"].as_array().unwrap().iter();
            let ids: Vec<_> = ids
                .map(|one| one["id"].as_str().unwrap().to_owned())
                .collect();
            assert_eq!(list["first_id"].as_str(), ids.first().map(String::as_str));
            assert_eq!(list["last_id"].as_str(), ids.last().map(String::as_str));
            (ids.concat(), list["has_more"] == true)
        };

        assert_eq!(page(None, None, None), ("abcd".to_owned(), false));
        assert_eq!(page(Some(2), None, None), ("ab".to_owned(), true));
        assert_eq!(page(Some(2), Some("b"), None), ("cd".to_owned(), false));
        assert_eq!(page(Some(1), None, Some("c")), ("b".to_owned(), true));
        assert_eq!(
            page(Some(9), Some("a"), Some("d")),
            ("bc".to_owned(), false)
        );
        assert_eq!(page(None, Some("d"), Some("a")), (String::new(), false));
        assert_eq!(page(Some(0), Some("x"), None), (String::new(), true));
    }

    #[test]
    fn moments_beyond_the_year_9999_are_its_end() {
        assert_eq!(timestamp(u64::MAX), "9999-12-31T23:59:59Z");
    }
}
