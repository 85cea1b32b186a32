//! What the server answers in Ollama's API by itself: the models, the loaded ones, the details of
//! one, and a version.

use serde_json::{Map, Value, json};

use crate::models::{ListedModel, timestamp};

/// The version of Ollama's API that is spoken where no worker has Ollama.
const SPOKEN_VERSION: [u32; 3] = [0, 17, 4];
/// A moment that clients show as "forever".
const NEVER: &str = "2318-01-01T00:00:00Z";
/// What stands for the architecture of a model whose family is not known.
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

/// Returns the three numbers that a version begins with. What follows them is left out.
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
