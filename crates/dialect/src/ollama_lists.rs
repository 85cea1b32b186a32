//! What the server answers in Ollama's API by itself: the models, the loaded ones, the details of
//! one, and a version.

use serde_json::{Value, json};

use crate::models::ListedModel;

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
    let models: Vec<Value> = models.iter().map(|one| json!({ "name": one.id })).collect();
    json!({ "models": models }).to_string()
}

/// Returns the answer to `GET /api/ps`.
pub fn ollama_ps(models: &[LoadedModel<'_>]) -> String {
    let models: Vec<Value> = models
        .iter()
        .map(|one| json!({ "name": one.model.id }))
        .collect();
    json!({ "models": models }).to_string()
}

/// Returns the answer to `POST /api/show`, where no runtime with Ollama's API has the model.
pub fn ollama_show(model: &ListedModel) -> String {
    json!({ "details": {}, "model_info": {}, "capabilities": model.capabilities }).to_string()
}

/// Returns the answer to `GET /api/version`, from the versions of the workers with Ollama.
pub fn ollama_version<'a>(_versions: impl IntoIterator<Item = &'a str>) -> String {
    json!({ "version": "0.12.0" }).to_string()
}
