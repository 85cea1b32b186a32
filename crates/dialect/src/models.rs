//! The list of models, as OpenAI's and Anthropic's clients read it: one object serves both.

use serde_json::{Value, json};

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
    /// What goes in: `text`, `image`, `audio`.
    pub inputs: Vec<String>,
    /// What comes out: `text`, `embedding`, `image`, `audio`.
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

/// Returns a part of the list of models, as JSON.
pub fn models_page_json(models: &[ListedModel], _page: &ModelsPage) -> String {
    let data: Vec<Value> = models.iter().map(model_value).collect();
    json!({ "object": "list", "has_more": false, "data": data }).to_string()
}

/// Returns one model, as JSON.
pub fn model_json(model: &ListedModel) -> String {
    model_value(model).to_string()
}

fn model_value(model: &ListedModel) -> Value {
    json!({ "id": model.id, "object": "model", "type": "model" })
}
