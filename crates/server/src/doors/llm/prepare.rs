//! The facts of a request once its body is here: the model, the bounds of its key, its prompt,
//! its place among the keys.

use std::hash::BuildHasher;
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use llamapool_dialect::{
    Edits, Endpoint, InputList, LlmErrorKind, RequestInfo, Route, read_request,
};
use llamapool_limits::MemoryAccount;
use llamapool_pool::{
    Ask, AskedApi, CallId, Class, KeyId, PrefixMark, Resolution, ResolvedModel, reserved_tokens,
};
use llamapool_wire::llm::ResponseForm;

use super::context::{AffinityScope, LlmDoor};
use super::error::LlmError;
use super::headers::QueueWishes;
use crate::auth::LlmParty;
use crate::pool::{PoolWorker, Spending};

/// Bodies above this many bytes are read on a thread that may block.
const BLOCKING_BYTES: usize = 1 << 20;
/// The most names of models in an error.
const LISTED_NAMES: usize = 10;

/// A request with what it asks for.
pub(super) struct ReadRequest {
    pub(super) route: Route,
    pub(super) query: Option<String>,
    pub(super) body: Bytes,
    pub(super) info: RequestInfo,
    pub(super) form: ResponseForm,
}

/// The party of a request, with its bounds.
#[derive(Clone)]
pub(super) struct Party {
    pub(super) key: KeyId,
    pub(super) party: LlmParty,
    pub(super) memory: MemoryAccount,
    pub(super) wishes: QueueWishes,
}

impl ReadRequest {
    /// Reads the body of a request.
    pub(super) async fn read(
        route: Route,
        query: Option<String>,
        content_type: String,
        body: Bytes,
    ) -> Result<Self, LlmError> {
        let endpoint = route.endpoint;
        let info = if body.len() < BLOCKING_BYTES {
            read_request(endpoint, Some(&content_type), &body)?
        } else {
            let body = body.clone();
            let reading = tokio::task::spawn_blocking(move || {
                read_request(endpoint, Some(&content_type), &body)
            });
            let read = reading.await.map_err(|error| {
                LlmError::new(LlmErrorKind::InvalidRequest, "the body cannot be read")
                    .because(error)
            })?;
            read?
        };

        let streams = info.stream.unwrap_or(endpoint.streams_by_default());
        let form = if streams && endpoint.can_stream() {
            ResponseForm::Stream
        } else {
            ResponseForm::Whole
        };
        Ok(Self {
            route,
            query,
            body,
            info,
            form,
        })
    }

    /// Returns the endpoint.
    pub(super) fn endpoint(&self) -> Endpoint {
        self.route.endpoint
    }

    /// Returns the API that a worker must have, or make of another one.
    fn asked_api(&self) -> AskedApi {
        AskedApi {
            word: placed_by(self.endpoint()),
            translated: self.endpoint().translated_api(),
        }
    }

    /// Returns whether the runtime gives a slot to such a call.
    fn takes_slot(&self) -> bool {
        !matches!(
            self.endpoint(),
            Endpoint::CountTokens | Endpoint::ResponseInputTokens | Endpoint::OllamaShow
        )
    }

    /// Finds the model that is asked for.
    pub(super) fn resolve(&self, door: &LlmDoor, key: KeyId) -> Result<ResolvedModel, LlmError> {
        let api = self.asked_api();
        let name = match &self.info.model {
            Some(name) => name.clone(),
            None => self.only_model(door, key)?,
        };
        match door.pool.resolve(&name, api, key) {
            Resolution::Found(model) => Ok(model),
            Resolution::UnsupportedApi { name } => {
                Err(LlmError::unsupported(&name, self.endpoint().api()))
            }
            Resolution::NotFound if self.info.model.is_none() => {
                Err(missing_model(&door.pool.model_names(api, key)))
            }
            Resolution::NotFound => Err(LlmError::model_not_found(&name, self.endpoint())),
        }
    }

    /// Returns the name of the model of a request without one: the only model that the key may use
    /// there, else that of the alias for it.
    fn only_model(&self, door: &LlmDoor, key: KeyId) -> Result<String, LlmError> {
        let names = door.pool.model_names(self.asked_api(), key);
        match &names[..] {
            [only] => Ok(only.as_ref().to_owned()),
            _ => Ok(String::new()),
        }
    }

    /// Refuses what only the operator may do.
    pub(super) fn check_rights(&self, door: &LlmDoor, party: LlmParty) -> Result<(), LlmError> {
        let is_restricted = party == LlmParty::Caller && !door.config.passes_keep_alive;
        if is_restricted && self.info.is_unload {
            let message = "this key may not unload models";
            return Err(LlmError::new(LlmErrorKind::NotOffered, message));
        }
        Ok(())
    }

    /// Takes what the call may use out of the buckets of the key. Returns it with the estimated
    /// tokens of the prompt.
    pub(super) fn reserve(
        &self,
        door: &LlmDoor,
        key: KeyId,
        model: &ResolvedModel,
    ) -> Result<(Spending, u64), LlmError> {
        let (bytes_per_token, context) = door.pool.measures(model);
        let prompt = self.info.estimated_prompt_tokens(bytes_per_token);
        let writes = !matches!(
            self.endpoint(),
            Endpoint::Embeddings
                | Endpoint::Rerank
                | Endpoint::OllamaEmbed
                | Endpoint::OllamaEmbeddings
        );
        let tokens = match (self.takes_slot(), writes) {
            (false, _) => 0,
            (true, false) => prompt,
            (true, true) => {
                let most = self.info.max_output_tokens;
                let most = most.and_then(|most| i64::try_from(most).ok());
                reserved_tokens(prompt, most, self.info.choices, context)
            }
        };
        Ok((door.pool.reserve(key, tokens)?, prompt))
    }

    /// Makes the question for a worker.
    pub(super) fn ask(
        &self,
        door: &LlmDoor,
        party: &Party,
        model: ResolvedModel,
        prompt_tokens: u64,
    ) -> Ask {
        let call = CallId(door.pool.next_number());
        let wishes = party.wishes;
        let micros =
            |span: std::time::Duration| u64::try_from(span.as_micros()).unwrap_or(u64::MAX);
        let deadline = wishes
            .timeout
            .map(|timeout| door.pool.now().saturating_add(micros(timeout)));
        let class = wishes.class;
        let class = class.or(self.info.wants_low_priority.then_some(Class::Low));
        let has_pictures = self.info.media > 0;
        Ask {
            prompt_tokens,
            prompt_bytes: if has_pictures {
                0
            } else {
                self.info.prompt_bytes
            },
            inputs: self.info.inputs,
            output_tokens: self.info.max_output_tokens,
            marks: self.marks(door, party.key, &model),
            class,
            num_ctx: self.info.num_ctx,
            deadline,
            may_wait: wishes.may_wait,
            takes_slot: self.takes_slot(),
            ..Ask::new(call, party.key, model, self.asked_api())
        }
    }

    /// Returns the inputs that may be sent by themselves, `None` if there are not several.
    pub(super) fn divisible_inputs(&self) -> Option<InputList> {
        let is_divisible = self.endpoint().is_divisible() && self.info.inputs > 1;
        let inputs = is_divisible.then(|| self.info.divisible_inputs(&self.body));
        inputs.flatten().filter(|inputs| inputs.len() > 1)
    }

    /// Returns the body as a worker gets it, with some of the inputs or with all.
    pub(super) fn body_for(
        &self,
        door: &LlmDoor,
        party: LlmParty,
        model: &str,
        part: Option<(&InputList, &Range<usize>)>,
    ) -> Bytes {
        let mut edits = Edits::new();
        if let Some((inputs, items)) = part {
            edits.select_inputs(inputs, items);
        }
        if self.info.model.as_deref() != Some(model) {
            edits.set_model(&self.info, model);
        }
        let is_restricted = party == LlmParty::Caller && !door.config.passes_keep_alive;
        if is_restricted && self.endpoint().api() == "ollama" {
            edits.remove_keep_alive(&self.info);
        }
        if self.endpoint() == Endpoint::Messages && door.config.strips_billing_header {
            edits.strip_billing_header(&self.info);
        }
        edits.apply(&self.body)
    }

    /// Returns whether the call may be sent again after this worker may have executed it.
    pub(super) fn is_repeatable(&self, worker: &PoolWorker) -> bool {
        self.info.is_repeatable && !(self.info.stores && worker.keeps_responses())
    }

    /// Returns whether its caller may send the call again after it may have been executed, by
    /// whatever worker.
    pub(super) fn is_repeatable_anywhere(&self) -> bool {
        self.info.is_repeatable && !self.info.stores
    }

    fn marks(&self, door: &LlmDoor, key: KeyId, model: &ResolvedModel) -> Vec<PrefixMark> {
        let scope = (door.config.affinity_scope == AffinityScope::Key).then_some(key.0);
        let seed = door.hasher.hash_one((&model.name, scope));
        let marks = self.info.prefix_marks(&self.body, seed);
        let marks = marks.into_iter().map(|mark| PrefixMark {
            hash: mark.hash,
            bytes: mark.bytes,
        });
        marks.collect()
    }
}

/// Returns the API by which the pool places calls of an endpoint.
fn placed_by(endpoint: Endpoint) -> &'static str {
    match endpoint {
        Endpoint::OllamaEmbed | Endpoint::OllamaEmbeddings => "ollama_embed",
        _ => endpoint.api(),
    }
}

fn missing_model(names: &[Arc<str>]) -> LlmError {
    let listed: Vec<_> = names
        .iter()
        .take(LISTED_NAMES)
        .map(|name| &**name)
        .collect();
    let message = match &listed[..] {
        [] => "`model` is missing, and there is no model yet".to_owned(),
        listed => format!("`model` is missing, expected one of: {}", listed.join(", ")),
    };
    LlmError::new(LlmErrorKind::InvalidRequest, message).about("model")
}
