//! The routes of the LLM APIs: what a public path asks for, and the path at the runtime. A path that
//! is not in this table reaches no runtime, so the server and the worker look up the same table.

use std::borrow::Cow;
use std::fmt;

use http::Method;
use percent_encoding::percent_decode_str;

use crate::error_body::LlmErrorKind;

/// The longest id of a stored response, in bytes.
const MAX_RESPONSE_ID_BYTES: usize = 256;

/// The API whose error bodies, streams and signs of life an answer has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Dialect {
    /// OpenAI's, which most runtimes have.
    OpenAi,
    /// Anthropic's.
    Anthropic,
    /// Ollama's own.
    Ollama,
}

/// The purpose of a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Endpoint {
    /// `POST /v1/chat/completions`.
    ChatCompletions,
    /// `POST /v1/completions`.
    Completions,
    /// `POST /v1/responses`.
    Responses,
    /// `POST /v1/responses/input_tokens`.
    ResponseInputTokens,
    /// A response that a runtime keeps: `GET`, `DELETE`, `cancel`, `input_items`.
    StoredResponse,
    /// `POST /v1/messages`.
    Messages,
    /// `POST /v1/messages/count_tokens`.
    CountTokens,
    /// `POST /v1/embeddings`.
    Embeddings,
    /// `POST /v1/rerank`.
    Rerank,
    /// `POST /v1/audio/transcriptions`.
    Transcriptions,
    /// `POST /v1/audio/translations`.
    Translations,
    /// `POST /v1/audio/speech`.
    Speech,
    /// `POST /v1/images/generations`.
    ImageGenerations,
    /// `POST /v1/images/edits`.
    ImageEdits,
    /// `POST /v1/images/variations`.
    ImageVariations,
    /// `POST /api/chat`.
    OllamaChat,
    /// `POST /api/generate`.
    OllamaGenerate,
    /// `POST /api/embed`.
    OllamaEmbed,
    /// `POST /api/embeddings`.
    OllamaEmbeddings,
    /// `POST /api/show`.
    OllamaShow,
    /// `GET /v1/models`, answered by the server.
    Models,
    /// `GET /v1/models/{id}`, answered by the server.
    Model,
    /// `GET /api/tags`, answered by the server.
    OllamaTags,
    /// `GET /api/ps`, answered by the server.
    OllamaPs,
    /// `GET /api/version`, answered by the server.
    OllamaVersion,
    /// Ollama's paths that change a runtime or an account, refused by the server.
    OllamaManagement,
    /// `GET /`, which clients probe, answered by the server.
    Root,
}

/// A path that was found in the table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    /// The purpose of the path.
    pub endpoint: Endpoint,
    /// The path at the runtime. Empty if the server answers by itself.
    pub at_runtime: Cow<'static, str>,
    /// The id of a model or of a stored response, percent-decoded once.
    pub argument: Option<String>,
}

/// A request that is not in the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RouteError {
    /// There is no such path.
    NotFound,
    /// The path exists for other methods.
    WrongMethod {
        /// The value of the header `Allow`.
        allow: &'static str,
    },
    /// A WebSocket for `/v1/responses`. A client goes on at once without it after 426, and after
    /// other answers only seconds later.
    WebSocket,
}

impl Endpoint {
    /// Returns the API that the endpoint belongs to.
    pub fn dialect(self) -> Dialect {
        match self {
            Self::Messages | Self::CountTokens => Dialect::Anthropic,
            Self::OllamaChat
            | Self::OllamaGenerate
            | Self::OllamaEmbed
            | Self::OllamaEmbeddings
            | Self::OllamaShow
            | Self::OllamaTags
            | Self::OllamaPs
            | Self::OllamaVersion
            | Self::OllamaManagement
            | Self::Root => Dialect::Ollama,
            _ => Dialect::OpenAi,
        }
    }

    /// Returns the word for the endpoint in a worker's list of the APIs of a model. Empty if the
    /// server answers by itself.
    pub fn api(self) -> &'static str {
        match self {
            Self::ChatCompletions => "chat",
            Self::Completions => "completions",
            Self::Responses | Self::ResponseInputTokens | Self::StoredResponse => "responses",
            Self::Messages => "messages",
            Self::CountTokens => "count_tokens",
            Self::Embeddings => "embeddings",
            Self::Rerank => "rerank",
            Self::Transcriptions | Self::Translations => "transcriptions",
            Self::Speech => "speech",
            Self::ImageGenerations | Self::ImageEdits | Self::ImageVariations => "images",
            Self::OllamaChat
            | Self::OllamaGenerate
            | Self::OllamaEmbed
            | Self::OllamaEmbeddings
            | Self::OllamaShow => "ollama",
            Self::Models
            | Self::Model
            | Self::OllamaTags
            | Self::OllamaPs
            | Self::OllamaVersion
            | Self::OllamaManagement
            | Self::Root => "",
        }
    }

    /// Returns the word for the endpoint in that list where the worker makes it of another API of the
    /// runtime. `None` if it cannot be made.
    pub fn translated_api(self) -> Option<&'static str> {
        match self {
            Self::OllamaChat | Self::OllamaGenerate => Some("ollama_translated"),
            Self::OllamaEmbed => Some("ollama_embed_translated"),
            _ => None,
        }
    }

    /// Returns whether a request can ask for a stream by a member or part `stream`.
    pub fn can_stream(self) -> bool {
        matches!(
            self,
            Self::ChatCompletions
                | Self::Completions
                | Self::Responses
                | Self::Messages
                | Self::Transcriptions
                | Self::ImageGenerations
                | Self::ImageEdits
                | Self::OllamaChat
                | Self::OllamaGenerate
        )
    }

    /// Returns whether a request without `stream` asks for a stream. True for Ollama's chat and
    /// generate alone.
    pub fn streams_by_default(self) -> bool {
        matches!(self, Self::OllamaChat | Self::OllamaGenerate)
    }

    /// Returns whether the body of a request is JSON. False for forms and for requests without a
    /// body.
    pub fn takes_json(self) -> bool {
        self.is_forwarded() && !self.takes_form() && self != Self::StoredResponse
    }

    /// Returns whether the body of a request may be a form.
    pub fn takes_form(self) -> bool {
        matches!(
            self,
            Self::Transcriptions | Self::Translations | Self::ImageEdits | Self::ImageVariations
        )
    }

    /// Returns whether a call may be sent again after a runtime may have begun with it, as far as
    /// the endpoint is concerned. `RequestInfo::is_repeatable` includes the body.
    ///
    /// Generating has no effect outside of the runtime, but images and audio are costly.
    pub fn is_repeatable(self) -> bool {
        !self.takes_form() && !matches!(self, Self::StoredResponse | Self::ImageGenerations)
    }

    /// Returns whether a runtime answers. False if the server does by itself.
    pub fn is_forwarded(self) -> bool {
        !self.api().is_empty()
    }
}

impl RouteError {
    /// Returns the kind of the error, which has the status.
    pub fn kind(self) -> LlmErrorKind {
        match self {
            Self::NotFound => LlmErrorKind::UnsupportedEndpoint,
            Self::WrongMethod { .. } => LlmErrorKind::MethodNotAllowed,
            Self::WebSocket => LlmErrorKind::WebSocketNotSupported,
        }
    }
}

impl fmt::Display for RouteError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotFound => f.write_str(
                "there is no such path: the base URL of OpenAI clients ends in /v1, \
                 that of Anthropic and Ollama clients has no path",
            ),
            Self::WrongMethod { allow } => {
                write!(f, "this path does not take this method, expected {allow}")
            }
            Self::WebSocket => {
                f.write_str("responses are not served over WebSocket, expected POST")
            }
        }
    }
}

impl std::error::Error for RouteError {}

/// Looks a request up in the table, after its path was normalized.
///
/// `path` is without its query. `wants_upgrade`: the request asks for a WebSocket. A worker looks
/// [`Route::at_runtime`] up again: what this returns for it has the same `at_runtime`.
pub fn route(method: &Method, path: &str, wants_upgrade: bool) -> Result<Route, RouteError> {
    let found = find(&normalize(path)).ok_or(RouteError::NotFound)?;
    let Entry {
        endpoint,
        allow,
        at_runtime,
    } = found.entry;

    if wants_upgrade && endpoint == Endpoint::Responses && method == Method::GET {
        return Err(RouteError::WebSocket);
    }
    let is_allowed = allow == ANY || allow.split(", ").any(|one| one == method.as_str());
    if !is_allowed {
        return Err(RouteError::WrongMethod { allow });
    }
    let at_runtime = match (&found.argument, endpoint) {
        (Some(id), Endpoint::StoredResponse) => {
            Cow::Owned(format!("/v1/responses/{id}{at_runtime}"))
        }
        _ => Cow::Borrowed(at_runtime),
    };
    Ok(Route {
        endpoint,
        at_runtime,
        argument: found.argument,
    })
}

/// Returns whether a public path belongs to the LLM APIs, known or not: everything below `/v1` and
/// `/api/v1`, and at the root what Ollama has and what clients ask for with a base URL without
/// `/v1`.
pub fn is_llm_path(path: &str) -> bool {
    let path = normalize(path);
    path == "/v1" || path.starts_with("/v1/") || find(&path).is_some()
}

/// Returns the dialect that errors of a path have, also where the path does not exist.
pub fn dialect_of(path: &str) -> Dialect {
    let path = normalize(path);
    let below = path.strip_prefix("/v1").unwrap_or(&path);
    if below == "/messages" || below.starts_with("/messages/") {
        Dialect::Anthropic
    } else if path.starts_with("/api/") {
        Dialect::Ollama
    } else {
        Dialect::OpenAi
    }
}

/// One line of the table.
#[derive(Clone, Copy)]
struct Entry {
    endpoint: Endpoint,
    /// The value of the header `Allow`, or [`ANY`].
    allow: &'static str,
    /// The path at the runtime; of a stored response what follows its id.
    at_runtime: &'static str,
}

/// A line of the table with the argument of a path.
struct Found {
    entry: Entry,
    argument: Option<String>,
}

const ANY: &str = "*";
const GET: &str = "GET, HEAD";

const fn post(endpoint: Endpoint, at_runtime: &'static str) -> Entry {
    Entry {
        endpoint,
        allow: "POST",
        at_runtime,
    }
}

const fn answered(endpoint: Endpoint, allow: &'static str) -> Entry {
    Entry {
        endpoint,
        allow,
        at_runtime: "",
    }
}

/// The paths without an argument, after [`normalize`].
#[rustfmt::skip]
const PATHS: &[(&str, Entry)] = &[
    ("/v1/chat/completions", post(Endpoint::ChatCompletions, "/v1/chat/completions")),
    ("/v1/completions", post(Endpoint::Completions, "/v1/completions")),
    ("/v1/responses", post(Endpoint::Responses, "/v1/responses")),
    ("/v1/responses/input_tokens", post(Endpoint::ResponseInputTokens, "/v1/responses/input_tokens")),
    ("/v1/messages", post(Endpoint::Messages, "/v1/messages")),
    ("/v1/messages/count_tokens", post(Endpoint::CountTokens, "/v1/messages/count_tokens")),
    ("/v1/embeddings", post(Endpoint::Embeddings, "/v1/embeddings")),
    ("/v1/rerank", post(Endpoint::Rerank, "/v1/rerank")),
    ("/v1/reranking", post(Endpoint::Rerank, "/v1/rerank")),
    ("/v2/rerank", post(Endpoint::Rerank, "/v1/rerank")),
    ("/v1/audio/transcriptions", post(Endpoint::Transcriptions, "/v1/audio/transcriptions")),
    ("/v1/audio/translations", post(Endpoint::Translations, "/v1/audio/translations")),
    ("/v1/audio/speech", post(Endpoint::Speech, "/v1/audio/speech")),
    ("/v1/images/generations", post(Endpoint::ImageGenerations, "/v1/images/generations")),
    ("/v1/images/edits", post(Endpoint::ImageEdits, "/v1/images/edits")),
    ("/v1/images/variations", post(Endpoint::ImageVariations, "/v1/images/variations")),
    ("/v1/models", answered(Endpoint::Models, GET)),
    ("/api/chat", post(Endpoint::OllamaChat, "/api/chat")),
    ("/api/generate", post(Endpoint::OllamaGenerate, "/api/generate")),
    ("/api/embed", post(Endpoint::OllamaEmbed, "/api/embed")),
    ("/api/embeddings", post(Endpoint::OllamaEmbeddings, "/api/embeddings")),
    ("/api/show", post(Endpoint::OllamaShow, "/api/show")),
    ("/api/tags", answered(Endpoint::OllamaTags, GET)),
    ("/api/ps", answered(Endpoint::OllamaPs, GET)),
    ("/api/version", answered(Endpoint::OllamaVersion, GET)),
    ("/api/pull", answered(Endpoint::OllamaManagement, ANY)),
    ("/api/push", answered(Endpoint::OllamaManagement, ANY)),
    ("/api/create", answered(Endpoint::OllamaManagement, ANY)),
    ("/api/copy", answered(Endpoint::OllamaManagement, ANY)),
    ("/api/delete", answered(Endpoint::OllamaManagement, ANY)),
    ("/api/me", answered(Endpoint::OllamaManagement, ANY)),
    ("/api/signout", answered(Endpoint::OllamaManagement, ANY)),
    ("/", answered(Endpoint::Root, GET)),
];

/// Paths that the root takes as well, with those below them, for clients whose base URL lacks
/// `/v1`.
const ALSO_AT_ROOT: [&str; 8] = [
    "/chat/completions",
    "/completions",
    "/responses",
    "/embeddings",
    "/messages",
    "/models",
    "/rerank",
    "/reranking",
];

/// Looks up a normalized path.
fn find(path: &str) -> Option<Found> {
    let without_argument = PATHS.iter().find(|(known, _)| *known == path);
    if let Some((_, entry)) = without_argument {
        return Some(Found {
            entry: *entry,
            argument: None,
        });
    }
    if let Some(id) = path.strip_prefix("/v1/models/") {
        let id = percent_decode_str(id).decode_utf8().ok()?;
        return Some(Found {
            entry: answered(Endpoint::Model, GET),
            argument: Some(id.into_owned()),
        });
    }
    if path.starts_with("/api/blobs/") {
        return Some(Found {
            entry: answered(Endpoint::OllamaManagement, ANY),
            argument: None,
        });
    }
    stored_response(path.strip_prefix("/v1/responses/")?)
}

fn stored_response(below: &str) -> Option<Found> {
    let id = below.split('/').next()?;
    let (allow, at_runtime) = match &below[id.len()..] {
        "" => ("GET, DELETE", ""),
        "/cancel" => ("POST", "/cancel"),
        "/input_items" => ("GET", "/input_items"),
        _ => return None,
    };
    let id = percent_decode_str(id).decode_utf8().ok()?;
    is_response_id(&id).then(|| Found {
        entry: Entry {
            endpoint: Endpoint::StoredResponse,
            allow,
            at_runtime,
        },
        argument: Some(id.into_owned()),
    })
}

/// Returns whether a text may stand as the id of a response in the path of a runtime, as it is. No
/// character of it can end a segment or leave it.
fn is_response_id(id: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"_-:=~.".contains(&byte);
    (1..=MAX_RESPONSE_ID_BYTES).contains(&id.len())
        && id.bytes().all(allowed)
        && id.bytes().any(|byte| byte != b'.')
}

/// Returns a path as the table has it: clients double slashes and `/v1`, add them and leave them
/// out. A redirect would make a GET of their POST.
fn normalize(path: &str) -> Cow<'_, str> {
    // Nearly all requests have a path of the table.
    if PATHS.iter().any(|(known, _)| *known == path) {
        return Cow::Borrowed(path);
    }
    let mut path = without_repeated_slashes(path);
    if let Some(below) = below(&path, "/api/v1") {
        path = format!("/v1{below}");
    }
    if let Some(below) = below(&path, "/v1/v1") {
        path = format!("/v1{below}");
    }

    let without_v1 = below(&path, "/v1").filter(|below| below.starts_with("/api/"));
    if let Some(ollamas) = without_v1
        && find(ollamas).is_some()
    {
        return Cow::Owned(ollamas.to_owned());
    }
    if ALSO_AT_ROOT
        .iter()
        .any(|known| below(&path, known).is_some())
    {
        path.insert_str(0, "/v1");
    }
    Cow::Owned(path)
}

/// Returns what follows a prefix that ends at the end of a segment.
fn below<'a>(path: &'a str, prefix: &str) -> Option<&'a str> {
    let below = path.strip_prefix(prefix)?;
    (below.is_empty() || below.starts_with('/')).then_some(below)
}

/// Returns a path in which every run of slashes is one, and without one at its end.
fn without_repeated_slashes(path: &str) -> String {
    let mut clean = String::with_capacity(path.len());
    for char in path.chars() {
        if char != '/' || !clean.ends_with('/') {
            clean.push(char);
        }
    }
    if clean.len() > 1 && clean.ends_with('/') {
        clean.pop();
    }
    clean
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn found(method: &str, path: &str) -> (Endpoint, String) {
        let method: Method = method.parse().unwrap();
        match route(&method, path, false) {
            Ok(route) => (route.endpoint, route.at_runtime.into_owned()),
            Err(error) => panic!("{method} {path}: {error}"),
        }
    }

    fn error(method: &str, path: &str) -> RouteError {
        let method: Method = method.parse().unwrap();
        match route(&method, path, false) {
            Ok(route) => panic!("{method} {path}: {route:?}"),
            Err(error) => error,
        }
    }

    #[test]
    fn the_table_has_paths_as_they_are_normalized() {
        for (path, _) in PATHS {
            let longer = format!("{path}//").replacen('/', "//", 1);

            assert_eq!(normalize(path), *path);
            assert_eq!(normalize(&longer), *path, "{longer}");
        }
    }

    #[test]
    fn both_base_urls_reach_the_same_endpoints() {
        for (below, endpoint) in [
            ("chat/completions", Endpoint::ChatCompletions),
            ("completions", Endpoint::Completions),
            ("responses", Endpoint::Responses),
            ("responses/input_tokens", Endpoint::ResponseInputTokens),
            ("messages", Endpoint::Messages),
            ("messages/count_tokens", Endpoint::CountTokens),
            ("embeddings", Endpoint::Embeddings),
            ("rerank", Endpoint::Rerank),
            ("audio/transcriptions", Endpoint::Transcriptions),
            ("audio/translations", Endpoint::Translations),
            ("audio/speech", Endpoint::Speech),
            ("images/generations", Endpoint::ImageGenerations),
            ("images/edits", Endpoint::ImageEdits),
            ("images/variations", Endpoint::ImageVariations),
        ] {
            let at_runtime = format!("/v1/{below}");
            for base in ["/v1/", "/api/v1/"] {
                let expected = (endpoint, at_runtime.clone());
                assert_eq!(found("POST", &format!("{base}{below}")), expected);
            }
            assert!(endpoint.is_forwarded() && !endpoint.api().is_empty());
            assert_eq!(
                error("GET", &at_runtime),
                RouteError::WrongMethod { allow: "POST" }
            );
        }
    }

    #[test]
    fn rerank_has_several_names() {
        for path in [
            "/v1/rerank",
            "/v1/reranking",
            "/rerank",
            "/reranking",
            "/v2/rerank",
        ] {
            let expected = (Endpoint::Rerank, "/v1/rerank".to_owned());
            assert_eq!(found("POST", path), expected);
        }
    }

    #[test]
    fn ollamas_paths_are_at_the_root() {
        for (path, endpoint) in [
            ("/api/chat", Endpoint::OllamaChat),
            ("/api/generate", Endpoint::OllamaGenerate),
            ("/api/embed", Endpoint::OllamaEmbed),
            ("/api/embeddings", Endpoint::OllamaEmbeddings),
            ("/api/show", Endpoint::OllamaShow),
        ] {
            assert_eq!(found("POST", path), (endpoint, path.to_owned()));
            assert_eq!(
                (endpoint.dialect(), endpoint.api()),
                (Dialect::Ollama, "ollama")
            );
        }
        for (path, endpoint) in [
            ("/api/tags", Endpoint::OllamaTags),
            ("/api/ps", Endpoint::OllamaPs),
            ("/api/version", Endpoint::OllamaVersion),
            ("/", Endpoint::Root),
        ] {
            for method in ["GET", "HEAD"] {
                assert_eq!(found(method, path), (endpoint, String::new()));
            }
            assert_eq!(
                error("POST", path),
                RouteError::WrongMethod { allow: "GET, HEAD" }
            );
            assert!(!endpoint.is_forwarded());
        }
    }

    #[test]
    fn what_changes_a_runtime_is_refused_for_all_methods() {
        for path in [
            "pull",
            "push",
            "create",
            "copy",
            "delete",
            "me",
            "signout",
            "blobs/sha256:a",
        ] {
            for method in ["POST", "DELETE", "HEAD", "GET"] {
                let expected = (Endpoint::OllamaManagement, String::new());
                assert_eq!(found(method, &format!("/api/{path}")), expected);
            }
        }
        assert!(!Endpoint::OllamaManagement.is_forwarded());
    }

    /// What runtimes have on the same port: loading, writing, files.
    #[test]
    fn other_paths_of_runtimes_are_not_found() {
        for path in [
            "/slots/0",
            "/lora-adapters",
            "/tools",
            "/props",
            "/metrics",
            "/api/state",
            "/api/mcp/id/x",
            "/api/workers/connect",
            "/v1/files",
            "/v1/realtime",
            "/v1/%2e%2e/api/state",
            "/v1/../api/state",
            "/v1/chat%2Fcompletions",
            "/v1/chat/completions/x",
            "/v1/api/state",
            "/V1/completions",
            "/v1",
            "",
            "v1/completions",
            "*",
        ] {
            assert_eq!(error("POST", path), RouteError::NotFound, "{path}");
        }
        let wrong_method = RouteError::WrongMethod { allow: "GET, HEAD" };
        assert_eq!(error("POST", "/models/load"), wrong_method);
    }

    /// Clients double, drop and add slashes and `/v1`. A redirect would make a GET of their POST.
    #[test]
    fn paths_are_normalized() {
        for path in [
            "//v1/chat/completions",
            "/v1//chat/completions/",
            "/v1/v1/chat/completions",
            "/api/v1/v1/chat/completions",
            "/api//v1/chat///completions//",
            "/chat/completions",
            "/chat/completions/",
        ] {
            assert_eq!(found("POST", path).0, Endpoint::ChatCompletions, "{path}");
            assert!(is_llm_path(path), "{path}");
        }
        for (path, endpoint) in [
            ("/completions", Endpoint::Completions),
            ("/responses", Endpoint::Responses),
            ("/embeddings", Endpoint::Embeddings),
            ("/messages", Endpoint::Messages),
            ("/messages/count_tokens", Endpoint::CountTokens),
            ("/v1/api/chat", Endpoint::OllamaChat),
            ("/api/v1/api/chat/", Endpoint::OllamaChat),
        ] {
            assert_eq!(found("POST", path).0, endpoint, "{path}");
        }
        assert_eq!(found("GET", "/models").0, Endpoint::Models);
        assert_eq!(found("GET", "/v1/api/tags").0, Endpoint::OllamaTags);
        assert_eq!(found("GET", "//").0, Endpoint::Root);
    }

    #[test]
    fn names_of_models_are_the_rest_of_the_path() {
        let name = |path| route(&Method::GET, path, false).unwrap().argument.unwrap();

        assert_eq!(name("/v1/models/org/name"), "org/name");
        assert_eq!(name("/v1/models/org%2Fname%3Aq4"), "org/name:q4");
        assert_eq!(name("/models/a%252Fb"), "a%2Fb", "decoded once");
        assert_eq!(name("/v1/models/chat/completions"), "chat/completions");
        assert_eq!(error("GET", "/v1/models/%ff"), RouteError::NotFound);
        assert_eq!(found("GET", "/v1/models/").0, Endpoint::Models);
    }

    #[test]
    fn stored_responses_have_their_id_in_the_path() {
        for (method, path, at_runtime) in [
            ("GET", "/v1/responses/resp_1", "/v1/responses/resp_1"),
            (
                "DELETE",
                "/api/v1/responses/resp_1/",
                "/v1/responses/resp_1",
            ),
            (
                "POST",
                "/responses/resp%5F1/cancel",
                "/v1/responses/resp_1/cancel",
            ),
            (
                "GET",
                "/v1/responses/resp_1/input_items",
                "/v1/responses/resp_1/input_items",
            ),
        ] {
            let method: Method = method.parse().unwrap();
            let route = route(&method, path, false).unwrap();

            assert_eq!(route.endpoint, Endpoint::StoredResponse);
            assert_eq!(route.at_runtime, at_runtime);
            assert_eq!(route.argument.as_deref(), Some("resp_1"));
        }
        assert_eq!(
            error("POST", "/v1/responses/resp_1"),
            RouteError::WrongMethod {
                allow: "GET, DELETE"
            }
        );
        let long = format!("/v1/responses/{}", "a".repeat(257));
        for path in [
            "/v1/responses/..",
            "/v1/responses/%2e%2e",
            "/v1/responses/%2e%2e/cancel",
            "/v1/responses/a%2Fb",
            "/v1/responses/a%3Fb",
            "/v1/responses/a%20b",
            "/v1/responses/%ff",
            "/v1/responses/a/other",
            &long,
        ] {
            assert_eq!(error("GET", path), RouteError::NotFound, "{path}");
        }
    }

    #[test]
    fn a_websocket_for_responses_is_told_apart() {
        let get = |path, wants_upgrade| route(&Method::GET, path, wants_upgrade);

        assert_eq!(get("/v1/responses", true), Err(RouteError::WebSocket));
        assert_eq!(get("/responses/", true), Err(RouteError::WebSocket));
        assert_eq!(
            get("/v1/responses", false),
            Err(RouteError::WrongMethod { allow: "POST" })
        );
        assert!(get("/v1/models", true).is_ok());
        assert!(route(&Method::POST, "/v1/responses", true).is_ok());
    }

    #[test]
    fn errors_have_a_status_and_say_what_was_expected() {
        let not_found = RouteError::NotFound.to_string();
        assert!(not_found.contains("/v1") && not_found.contains("Anthropic"));

        for (error, status) in [
            (RouteError::NotFound, 404),
            (RouteError::WrongMethod { allow: "POST" }, 405),
            (RouteError::WebSocket, 426),
        ] {
            assert_eq!(error.kind().status(Dialect::OpenAi), status);
        }
    }

    #[test]
    fn the_servers_own_paths_are_none_of_the_llm_api() {
        for path in [
            "/api/state",
            "/api/state/stream",
            "/api/mcp/id/x",
            "/api/workers/connect",
            "/metrics",
            "/healthz",
            "/readyz",
            "/.well-known/x",
            "/v10/models",
            "/api",
            "/api/v10",
        ] {
            assert!(!is_llm_path(path), "{path}");
        }
        for path in [
            "/v1",
            "/v1/",
            "/v1/unknown",
            "/api/v1/unknown",
            "/api/tags",
            "/api/blobs/sha256:a",
            "/models/x",
            "/",
            "//v1//x",
        ] {
            assert!(is_llm_path(path), "{path}");
        }
    }

    #[test]
    fn the_path_alone_decides_on_the_dialect_of_an_error() {
        for (path, dialect) in [
            ("/v1/messages", Dialect::Anthropic),
            ("/api/v1/messages/", Dialect::Anthropic),
            ("/v1/messages/batches", Dialect::Anthropic),
            ("/messages", Dialect::Anthropic),
            ("/v1/messagesx", Dialect::OpenAi),
            ("/v1/chat/completions", Dialect::OpenAi),
            ("/v1/unknown", Dialect::OpenAi),
            ("/api/chat", Dialect::Ollama),
            ("/v1/api/chat", Dialect::Ollama),
            ("/api/v1/chat/completions", Dialect::OpenAi),
        ] {
            assert_eq!(dialect_of(path), dialect, "{path}");
        }
    }

    #[test]
    fn endpoints_say_what_can_be_done_with_them() {
        assert!(Endpoint::OllamaChat.streams_by_default());
        assert!(!Endpoint::ChatCompletions.streams_by_default());
        assert!(Endpoint::Messages.can_stream() && !Endpoint::Embeddings.can_stream());
        assert!(Endpoint::Rerank.takes_json() && !Endpoint::Rerank.takes_form());
        assert!(Endpoint::ImageEdits.takes_form() && !Endpoint::ImageEdits.takes_json());
        assert!(!Endpoint::StoredResponse.takes_json() && !Endpoint::Models.takes_json());
        assert!(Endpoint::Speech.is_repeatable() && !Endpoint::Transcriptions.is_repeatable());
    }

    proptest! {
        /// A worker that looks up what the server sends it finds the same, and its path never leaves
        /// the two prefixes.
        #[test]
        fn a_path_at_the_runtime_is_in_the_table_itself(
            segments in proptest::collection::vec(
                proptest::sample::select(vec![
                    "v1", "api", "chat", "completions", "responses", "resp_1", "cancel", "models",
                    "messages", "..", ".", "", "%2e%2e", "%2F", "tags", "input_items", "embed",
                ]),
                0..7,
            ),
            method in proptest::sample::select(vec![Method::GET, Method::POST, Method::DELETE]),
        ) {
            let path = format!("/{}", segments.join("/"));
            if let Ok(first) = route(&method, &path, false) {
                prop_assert!(is_llm_path(&path));
                if first.endpoint.is_forwarded() {
                    let again = route(&method, &first.at_runtime, false);
                    prop_assert_eq!(again.as_ref(), Ok(&first));
                    prop_assert!(!first.at_runtime.contains(".."));
                    prop_assert_eq!(dialect_of(&path), first.endpoint.dialect());
                } else {
                    prop_assert_eq!(&first.at_runtime, "");
                }
            }
        }

        #[test]
        fn any_path_is_found_or_not(path in "\\PC{0,40}") {
            let _ = (route(&Method::GET, &path, false), is_llm_path(&path), dialect_of(&path));
        }
    }
}
