//! The lists of models, in OpenAI's, Anthropic's and Ollama's form. No worker is asked.

use std::time::{Duration, UNIX_EPOCH};

use axum::body::Body;
use axum::http::{HeaderMap, HeaderValue, Method, Response, StatusCode, header};
use llamapool_dialect::{
    Endpoint, ListedModel, LlmErrorKind, LoadedModel, ModelsPage, Route, model_json,
    models_page_json, ollama_ps, ollama_show, ollama_tags, ollama_version,
};
use llamapool_http::json_response;
use llamapool_pool::{KeyId, ModelView};
use ring::digest;

use super::context::LlmDoor;
use super::error::LlmError;

/// The line of text at the root, which clients of Ollama probe.
const ROOT: &str = "llamapool is running\n";

/// A request that the server answers by itself.
pub(super) struct ListRequest<'a> {
    pub(super) route: &'a Route,
    pub(super) method: &'a Method,
    pub(super) query: Option<&'a str>,
    pub(super) headers: &'a HeaderMap,
}

/// Answers a request that needs no worker.
pub(super) fn answer(
    door: &LlmDoor,
    key: KeyId,
    request: &ListRequest<'_>,
) -> Result<Response<Body>, LlmError> {
    let body = match request.route.endpoint {
        Endpoint::Models => models_page_json(&door.names(key), &page(request.query)),
        Endpoint::Model => one_model(door, key, request.route)?,
        Endpoint::OllamaTags => ollama_tags(&door.names(key)),
        Endpoint::OllamaPs => loaded(door, key),
        Endpoint::OllamaVersion => version(door),
        Endpoint::OllamaManagement => {
            let message = "models are managed at the runtimes, not by this API";
            return Err(LlmError::new(LlmErrorKind::NotOffered, message));
        }
        _ => return Ok(root()),
    };
    Ok(tagged(body, request))
}

/// Returns the details of a model, where no worker with Ollama has it.
pub(super) fn show(door: &LlmDoor, key: KeyId, name: &str) -> Result<Response<Body>, LlmError> {
    let models = door.listed(key);
    let model =
        find(&models, name).ok_or_else(|| LlmError::model_not_found(name, Endpoint::OllamaShow))?;
    Ok(json_response(StatusCode::OK, ollama_show(model)))
}

impl LlmDoor {
    /// Returns the models that a key may use, as the lists show them.
    fn listed(&self, key: KeyId) -> Vec<ListedModel> {
        let started = self.started.duration_since(UNIX_EPOCH).unwrap_or_default();
        let models = self.pool.models(key);
        models
            .into_iter()
            .map(|view| listed_model(view, started))
            .collect()
    }

    /// Returns the same, and the server's aliases that stand for one of them: some clients offer
    /// nothing but names of a list, and Claude Code of those only what begins with `claude`.
    fn names(&self, key: KeyId) -> Vec<ListedModel> {
        let models = self.listed(key);
        let is_name = |name: &str| !name.is_empty() && !name.ends_with('*');
        let aliases = self.config.aliases.iter().filter(|alias| {
            is_name(&alias.name) && models.iter().all(|model| model.id != alias.name)
        });
        let named: Vec<_> = aliases
            .filter_map(|alias| {
                let target = alias.targets.iter().find_map(|name| find(&models, name))?;
                Some(ListedModel {
                    id: alias.name.clone(),
                    ..target.clone()
                })
            })
            .collect();
        models.into_iter().chain(named).collect()
    }
}

fn listed_model(view: ModelView, started: Duration) -> ListedModel {
    let count = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
    let more = view.workers.saturating_sub(view.worker_names.len());
    let mut owned_by = view.worker_names;
    if more > 0 {
        owned_by.push(format!("+{more}"));
    }
    let first_seen = started + Duration::from_micros(view.first_seen);
    ListedModel {
        id: view.name.as_ref().to_owned(),
        owned_by,
        created: first_seen.as_secs(),
        context: view.context,
        context_max: view.context_max,
        params: view.model.params,
        size: view.model.size,
        digest: view.model.digest,
        quantization: view.model.quantization,
        family: view.model.family,
        inputs: view.model.inputs,
        outputs: view.model.outputs,
        capabilities: view.model.capabilities,
        apis: view.apis,
        aliases: view.aliases,
        workers: count(view.workers),
        resident_on: count(view.resident_on),
        free_slots: count(view.free_slots),
        waiting: count(view.waiting),
        runtimes: view.runtimes,
    }
}

/// Finds a model by its name or one of its aliases, with or without `:latest`.
fn find<'a>(models: &'a [ListedModel], name: &str) -> Option<&'a ListedModel> {
    let with_tag = format!("{name}:latest");
    let is_named = |model: &&ListedModel| {
        let names = || model.aliases.iter().chain([&model.id]);
        names().any(|known| known == name || *known == with_tag)
    };
    models.iter().find(is_named)
}

fn one_model(door: &LlmDoor, key: KeyId, route: &Route) -> Result<String, LlmError> {
    let name = route.argument.as_deref().unwrap_or_default();
    let models = door.names(key);
    let model = find(&models, name);
    let model = model.ok_or_else(|| LlmError::model_not_found(name, route.endpoint))?;
    Ok(model_json(model))
}

fn loaded(door: &LlmDoor, key: KeyId) -> String {
    let models = door.listed(key);
    let resident = models.iter().filter(|model| model.resident_on > 0);
    let loaded: Vec<_> = resident
        .map(|model| LoadedModel {
            model,
            size: model.size * u64::from(model.resident_on),
            size_vram: 0,
            expires_at: None,
        })
        .collect();
    ollama_ps(&loaded)
}

fn version(door: &LlmDoor) -> String {
    let workers = door.pool.workers();
    let versions: Vec<_> = workers
        .iter()
        .map(|(worker, _)| worker.reported().runtime)
        .filter(|runtime| runtime.runtime == "ollama")
        .map(|runtime| runtime.version)
        .collect();
    ollama_version(versions.iter().map(String::as_str))
}

fn root() -> Response<Body> {
    let mut response = Response::new(Body::from(ROOT));
    let text = HeaderValue::from_static("text/plain; charset=utf-8");
    response.headers_mut().insert(header::CONTENT_TYPE, text);
    response
}

/// Reads Anthropic's parameters of a list.
fn page(query: Option<&str>) -> ModelsPage {
    let mut page = ModelsPage::default();
    for pair in query.unwrap_or_default().split('&') {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let value = percent_encoding::percent_decode_str(value).decode_utf8_lossy();
        match name {
            "limit" => page.limit = value.parse().ok(),
            "after_id" => page.after_id = Some(value.into_owned()),
            "before_id" => page.before_id = Some(value.into_owned()),
            _ => {}
        }
    }
    page
}

/// Returns a document with its tag, or that it has not changed.
fn tagged(body: String, request: &ListRequest<'_>) -> Response<Body> {
    let hash = digest::digest(&digest::SHA256, body.as_bytes());
    let tag: String = hash.as_ref()[..8]
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    let tag = format!("\"{tag}\"");

    let known = request.headers.get(header::IF_NONE_MATCH);
    let is_known = known.is_some_and(|known| {
        let known = String::from_utf8_lossy(known.as_bytes());
        known
            .split(',')
            .any(|one| one.trim().trim_start_matches("W/") == tag)
    });
    let mut response = if is_known && *request.method != Method::HEAD {
        let mut unchanged = Response::new(Body::empty());
        *unchanged.status_mut() = StatusCode::NOT_MODIFIED;
        unchanged
    } else {
        json_response(StatusCode::OK, body)
    };
    if let Ok(tag) = HeaderValue::from_str(&tag) {
        response.headers_mut().insert(header::ETAG, tag);
    }
    let cache = HeaderValue::from_static("no-cache");
    response.headers_mut().insert(header::CACHE_CONTROL, cache);
    response
}
