//! Answers of Ollama's API that the server makes by itself: the models, the loaded ones, the details of
//! one, and a version.

use serde_json::{Map, Value, json};

use crate::models::{ListedModel, timestamp};

/// The version of Ollama's API that is spoken where no worker has Ollama.
const SPOKEN_VERSION: [u32; 3] = [0, 17, 4];
/// A moment that clients show as "forever".
const NEVER: &str = "2318-01-01T00:00:00Z";
/// The architecture of a model without a family.
const UNKNOWN_ARCHITECTURE: &str = "unknown";

/// A model that is loaded, for `GET /api/ps`.
#[derive(Debug, Clone, Copy)]
pub struct LoadedModel<'a> {
    /// The model.
    pub model: &'a ListedModel,
    /// Bytes of memory on all workers together, 0 if unknown.
    pub size: u64,
    /// Those of them on GPUs, 0 if unknown.
    pub size_vram: u64,
    /// When the first runtime unloads it, in seconds since 1970. `None` if none does, or unknown.
    pub expires_at: Option<u64>,
}

/// Returns the answer to `GET /api/tags`.
pub fn ollama_tags(models: &[ListedModel]) -> String {
    let tags = models.iter().map(|model| {
        json!({
            "name": model.id,
            "model": model.id,
            "modified_at": timestamp(model.created),
            "size": model.size,
            "digest": model.digest,
            "details": details(model),
            "capabilities": model.capabilities,
        })
    });
    list(tags)
}

/// Returns the answer to `GET /api/ps`.
pub fn ollama_ps(models: &[LoadedModel<'_>]) -> String {
    let loaded = models.iter().map(|loaded| {
        let model = loaded.model;
        json!({
            "name": model.id,
            "model": model.id,
            "size": loaded.size,
            "digest": model.digest,
            "details": details(model),
            "expires_at": loaded.expires_at.map_or_else(|| NEVER.to_owned(), timestamp),
            "size_vram": loaded.size_vram,
            "context_length": model.context,
        })
    });
    list(loaded)
}

/// Returns the answer to `POST /api/show`, where no runtime with Ollama's API has the model.
///
/// Clients read the context by the name of the architecture, and stop at a null where they expect an
/// object.
pub fn ollama_show(model: &ListedModel) -> String {
    let architecture = Some(model.family.as_str()).filter(|family| !family.is_empty());
    let architecture = architecture.unwrap_or(UNKNOWN_ARCHITECTURE);
    let mut model_info = Map::new();
    model_info.insert("general.architecture".to_owned(), architecture.into());
    if model.params > 0 {
        model_info.insert("general.parameter_count".to_owned(), model.params.into());
    }
    if model.context > 0 {
        let name = format!("{architecture}.context_length");
        model_info.insert(name, model.context.into());
    }

    let show = json!({
        "details": details(model),
        "model_info": model_info,
        "capabilities": model.capabilities,
        "modified_at": timestamp(model.created),
    });
    show.to_string()
}

/// Returns the answer to `GET /api/version`, from the versions of the workers with Ollama: the
/// lowest one, so that what it promises holds everywhere.
///
/// It is always three numbers, as clients parse it. A build from source calls itself 0.0.0, which is
/// no version.
pub fn ollama_version<'a>(versions: impl IntoIterator<Item = &'a str>) -> String {
    let known = versions.into_iter().filter_map(version_numbers);
    let lowest = known.filter(|version| *version != [0; 3]).min();
    let [major, minor, patch] = lowest.unwrap_or(SPOKEN_VERSION);
    json!({ "version": format!("{major}.{minor}.{patch}") }).to_string()
}

/// Returns the three numbers that a version begins with. The rest is left out.
fn version_numbers(version: &str) -> Option<[u32; 3]> {
    let version = version.trim().trim_start_matches('v');
    let end = version.find(|char: char| !char.is_ascii_digit() && char != '.');
    let mut numbers = version[..end.unwrap_or(version.len())].split('.');
    let mut next = || numbers.next()?.parse().ok();
    Some([next()?, next()?, next()?])
}

fn list(models: impl Iterator<Item = Value>) -> String {
    let models: Vec<Value> = models.collect();
    json!({ "models": models }).to_string()
}

fn details(model: &ListedModel) -> Value {
    let is_gguf = |runtime: &String| matches!(runtime.as_str(), "ollama" | "llama_cpp");
    let families: Vec<&str> = Some(model.family.as_str())
        .filter(|family| !family.is_empty())
        .into_iter()
        .collect();
    json!({
        "parent_model": "",
        "format": if model.runtimes.iter().any(is_gguf) { "gguf" } else { "" },
        "family": model.family,
        "families": families,
        "parameter_size": parameter_size(model.params),
        "quantization_level": model.quantization,
    })
}

/// Returns a number of parameters as Ollama writes it: `134.52M`, `8.2B`. Empty for 0.
fn parameter_size(params: u64) -> String {
    let number = params as f64;
    match params {
        0 => String::new(),
        1_000_000_000_000.. => format!("{:.1}T", number / 1e12),
        1_000_000_000.. => format!("{:.1}B", number / 1e9),
        1_000_000.. => format!("{:.2}M", number / 1e6),
        1_000.. => format!("{:.0}K", number / 1e3),
        _ => params.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn model() -> ListedModel {
        ListedModel {
            id: "smollm2:latest".to_owned(),
            created: 1_795_655_658,
            context: 2048,
            params: 134_515_008,
            size: 98_363_062,
            digest: "a64d".to_owned(),
            quantization: "Q4_1".to_owned(),
            family: "llama".to_owned(),
            capabilities: vec!["completion".to_owned()],
            runtimes: vec!["ollama".to_owned()],
            ..ListedModel::default()
        }
    }

    fn parsed(text: &str) -> Value {
        serde_json::from_str(text).unwrap()
    }

    /// The members of a recorded answer of Ollama 0.17.4.
    fn details_of_model() -> Value {
        json!({"parent_model": "", "format": "gguf", "family": "llama", "families": ["llama"],
            "parameter_size": "134.52M", "quantization_level": "Q4_1"})
    }

    #[test]
    fn tags_have_the_shape_of_ollamas() {
        let expected = json!({"models": [{"name": "smollm2:latest", "model": "smollm2:latest",
            "modified_at": "2026-11-26T01:14:18Z", "size": 98_363_062, "digest": "a64d",
            "details": details_of_model(), "capabilities": ["completion"]}]});

        assert_eq!(parsed(&ollama_tags(&[model()])), expected);
        assert_eq!(ollama_tags(&[]), r#"{"models":[]}"#);
    }

    #[test]
    fn loaded_models_have_the_shape_of_ollamas() {
        let model = model();
        let loaded = LoadedModel {
            model: &model,
            size: 143_762_688,
            size_vram: 0,
            expires_at: Some(1_795_655_961),
        };
        let expected = json!({"models": [{"name": "smollm2:latest", "model": "smollm2:latest",
            "size": 143_762_688, "digest": "a64d", "details": details_of_model(),
            "expires_at": "2026-11-26T01:19:21Z", "size_vram": 0, "context_length": 2048}]});

        assert_eq!(parsed(&ollama_ps(&[loaded])), expected);
        let forever = LoadedModel {
            expires_at: None,
            ..loaded
        };
        assert!(ollama_ps(&[forever]).contains(r#""expires_at":"2318-"#));
        assert_eq!(ollama_ps(&[]), r#"{"models":[]}"#);
    }

    #[test]
    fn details_have_the_context_by_architecture() {
        let shown = parsed(&ollama_show(&model()));

        assert_eq!(shown["details"], details_of_model());
        assert_eq!(
            shown["model_info"],
            json!({"general.architecture": "llama", "general.parameter_count": 134_515_008,
                "llama.context_length": 2048})
        );
        assert_eq!(shown["capabilities"], json!(["completion"]));
    }

    /// Editors stop at a null where they expect an object or a list.
    #[test]
    fn details_of_an_unknown_model_are_never_null() {
        let unknown = ListedModel {
            id: "m".to_owned(),
            context: 4096,
            runtimes: vec!["vllm".to_owned()],
            ..ListedModel::default()
        };
        let shown = parsed(&ollama_show(&unknown));

        assert_eq!(shown["model_info"]["unknown.context_length"], 4096);
        assert_eq!(shown["model_info"]["general.architecture"], "unknown");
        assert_eq!(shown["capabilities"], json!([]));
        assert_eq!(shown["details"]["families"], json!([]));
        assert_eq!(shown["details"]["format"], "");
        assert!(!shown.to_string().contains("null"));
    }

    #[test]
    fn the_version_is_the_lowest_and_always_three_numbers() {
        let version = |versions: &[&str]| {
            let text = parsed(&ollama_version(versions.iter().copied()));
            text["version"].as_str().unwrap().to_owned()
        };

        assert_eq!(version(&["0.17.4", "0.9.10", "0.12.0"]), "0.9.10");
        assert_eq!(version(&["v0.13.1-rc2+build"]), "0.13.1");
        assert_eq!(version(&["0.0.0", "0.14.2"]), "0.14.2");
        for none in [
            &[][..],
            &["0.0.0"],
            &["", "b7062", "1.2", "1.2.x", "99999999999.1.1"],
        ] {
            assert_eq!(version(none), "0.17.4", "{none:?}");
        }
    }

    #[test]
    fn numbers_of_parameters_are_written_as_ollamas() {
        for (params, expected) in [
            (0, ""),
            (999, "999"),
            (22_700, "23K"),
            (134_515_008, "134.52M"),
            (8_190_735_360, "8.2B"),
            (1_000_000_000_000, "1.0T"),
        ] {
            assert_eq!(parameter_size(params), expected);
        }
    }
}
