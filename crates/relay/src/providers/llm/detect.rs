//! Finds out which kind of runtime answers at a URL, and whether one runs on this machine.
//!
//! A search asks on loopback alone, and with `GET` alone: other programs that listen there must
//! neither be changed nor become public by a guess.

use std::time::Duration;

use futures_util::future::join_all;
use http::header::{SERVER, VIA};
use http::{HeaderMap, StatusCode, Uri};

use super::client::{PollAnswer, PollClient, PollError, RuntimeAddress};
use crate::config::RuntimeKind;
use crate::providers::pool;
use crate::tls::{TlsError, tls_config};

/// The ports that runtimes have by default: Ollama, llama.cpp, vLLM, SGLang, LM Studio, LMDeploy,
/// Docker Model Runner, and llama.cpp in a version of its documentation.
pub const RUNTIME_PORTS: [u16; 8] = [11434, 8080, 8000, 30000, 1234, 23333, 12434, 9931];

/// How long each request of a search may take: a runtime on this machine answers at once.
const SEARCH_TIMEOUT: Duration = Duration::from_millis(500);

/// A runtime that was found on this machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FoundRuntime {
    /// Its kind.
    pub kind: RuntimeKind,
    /// Its URL.
    pub url: Uri,
}

/// No runtime was chosen.
#[derive(Debug, thiserror::Error)]
pub enum FindRuntimeError {
    /// No port has a runtime.
    #[error("no LLM runtime on this machine, looked at the ports {} of 127.0.0.1", ports(.0))]
    None(Vec<u16>),
    /// More than one has, and a guess could make the wrong one public.
    #[error("several LLM runtimes on this machine: {}", names(.0))]
    Several(Vec<FoundRuntime>),
    /// The certificates cannot be used.
    #[error(transparent)]
    Tls(#[from] TlsError),
}

/// The kind of a runtime is not known.
#[derive(Debug, thiserror::Error)]
pub(super) enum IdentifyError {
    /// It does not answer.
    #[error(transparent)]
    Poll(#[from] PollError),
    /// It is llamapool: a pool must not feed itself.
    #[error("it is llamapool itself, expected an LLM runtime")]
    Llamapool,
    /// It answers as no runtime does.
    #[error("it is no LLM runtime that is known: GET /v1/models has the status {0}")]
    Unknown(StatusCode),
}

/// Looks for the one LLM runtime on this machine, at these ports of 127.0.0.1.
///
/// # Errors
///
/// If there is none, or more than one.
pub async fn find_runtime(search_ports: &[u16]) -> Result<FoundRuntime, FindRuntimeError> {
    let connector = pool::connector(tls_config(None)?, SEARCH_TIMEOUT);
    let searches = search_ports.iter().map(|port| {
        let connector = connector.clone();
        async move {
            let url: Uri = format!("http://127.0.0.1:{port}").parse().ok()?;
            let address = RuntimeAddress::new(&url, None);
            let client = PollClient::new(connector, address).with_timeout(SEARCH_TIMEOUT);
            let kind = identify(&client).await.ok()?;
            Some(FoundRuntime { kind, url })
        }
    });

    let mut found: Vec<_> = join_all(searches).await.into_iter().flatten().collect();
    match (found.pop(), found.is_empty()) {
        (None, _) => Err(FindRuntimeError::None(search_ports.to_vec())),
        (Some(only), true) => Ok(only),
        (Some(last), false) => {
            found.push(last);
            Err(FindRuntimeError::Several(found))
        }
    }
}

/// Finds out the kind of a runtime, with `GET` alone.
pub(super) async fn identify(client: &PollClient) -> Result<RuntimeKind, IdentifyError> {
    let root = client.get("/").await?;
    refuse_llamapool(&root.headers)?;
    let version = client.get("/api/version").await?;
    refuse_llamapool(&version.headers)?;
    let is_ollama = root.text().is_some_and(|text| text.contains("Ollama"));
    if is_ollama && has_member(&version, "version") {
        return Ok(RuntimeKind::Ollama);
    }

    if is_llama_cpp(&root.headers) || is_llama_cpp(&version.headers) {
        return Ok(RuntimeKind::LlamaCpp);
    }
    if has_member(&client.get("/props").await?, "total_slots") {
        return Ok(RuntimeKind::LlamaCpp);
    }

    let metrics = client.get("/metrics").await?;
    let has_metric = |prefix: &str| metrics.text().is_some_and(|text| text.contains(prefix));
    if has_metric("vllm:") && has_member(&client.get("/version").await?, "version") {
        return Ok(RuntimeKind::Vllm);
    }
    if has_metric("sglang:") || has_member(&client.get("/get_model_info").await?, "model_path") {
        return Ok(RuntimeKind::Sglang);
    }

    if is_lm_studio(client).await? {
        return Ok(RuntimeKind::LmStudio);
    }
    let models = client.get("/v1/models").await?;
    refuse_llamapool(&models.headers)?;
    if models.status == StatusCode::OK && models.json("/v1/models").is_ok() {
        return Ok(RuntimeKind::OpenAi);
    }
    Err(IdentifyError::Unknown(models.status))
}

async fn is_lm_studio(client: &PollClient) -> Result<bool, PollError> {
    let has = |answer: PollAnswer, list: &str, member: &str| {
        let json = answer.json("").unwrap_or_default();
        let models = json[list].as_array();
        models.is_some_and(|models| models.iter().any(|model| model.get(member).is_some()))
    };
    let current = client.get("/api/v1/models").await?;
    if has(current, "models", "loaded_instances") {
        return Ok(true);
    }
    let before_0_4 = client.get("/api/v0/models").await?;
    Ok(has(before_0_4, "data", "state"))
}

/// Refuses answers of llamapool: the default port of the server is one of llama.cpp, too.
fn refuse_llamapool(headers: &HeaderMap) -> Result<(), IdentifyError> {
    let mut vias = headers
        .get_all(VIA)
        .iter()
        .filter_map(|via| via.to_str().ok());
    if vias.any(|via| via.contains("llamapool")) {
        return Err(IdentifyError::Llamapool);
    }
    Ok(())
}

fn is_llama_cpp(headers: &HeaderMap) -> bool {
    headers.get(SERVER).is_some_and(|name| name == "llama.cpp")
}

fn has_member(answer: &PollAnswer, member: &str) -> bool {
    answer.json("").is_ok_and(|json| json.get(member).is_some())
}

fn ports(ports: &[u16]) -> String {
    let ports: Vec<_> = ports.iter().map(u16::to_string).collect();
    ports.join(", ")
}

fn names(found: &[FoundRuntime]) -> String {
    let names = found
        .iter()
        .map(|it| format!("{} at {}", it.kind.word(), it.url));
    names.collect::<Vec<_>>().join(", ")
}
