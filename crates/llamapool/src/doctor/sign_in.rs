//! The way to sign-in: the challenge, the documents behind it, and the page.

use http::{Request, StatusCode, header};
use http_body_util::Full;
use llamapool_http::challenge::{parameter_values, unquote};
use serde_json::Value;

use super::answer::Answer;
use super::call;
use super::https::Client;
use super::origin::Origin;
use super::report::Finding;

const CHALLENGE: &str = "challenge";
const RESOURCE: &str = "resource";
const SERVER: &str = "metadata";
const CLIENTS: &str = "clients";
const CORS: &str = "cors";
const PAGE: &str = "page";

/// The agents that CDNs and firewalls block most, as their clients send them.
const AGENTS: [(&str, &str); 4] = [
    ("Claude", "Claude-User"),
    ("ChatGPT", "openai-mcp/1.0.0"),
    ("Cursor", "Cursor/2.0.0"),
    ("VS Code", "Visual Studio Code/1.105.0"),
];
/// The origin of a page that is an MCP client.
const PAGE_ORIGIN: &str = "http://localhost:6274";
/// Claude, by its document: its id, and where it is led back to.
const CLAUDE: (&str, &str) = (
    "https://claude.ai/oauth/mcp-oauth-client-metadata",
    "https://claude.ai/api/mcp/auth_callback",
);
/// A challenge of PKCE (RFC 7636, appendix B). Nothing is redeemed with it.
const PKCE: &str = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM";
/// What most wrong addresses in documents come from.
const PUBLIC_URL: &str = "PUBLIC_URL of the server must be exactly the URL that people type, without \
     /api/mcp/id/…";

/// Where the walk is.
pub(super) struct SignIn<'a> {
    pub(super) client: &'a Client,
    pub(super) origin: &'a Origin,
    /// The URL of the id, as it is typed.
    pub(super) url: &'a str,
}

/// The content of the challenge.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Challenge {
    /// The id asks for nothing.
    Open,
    /// It asks for a key, and offers no sign-in.
    Keys,
    /// Sign-in is described by the document at this URL.
    Metadata(String),
    /// Clients cannot go on.
    Broken,
}

impl SignIn<'_> {
    /// Calls the id without a credential, once as each client.
    pub(super) async fn challenge(&self, path: &str) -> (Challenge, Finding) {
        let mut first: Option<Answer> = None;
        let mut blocked = Vec::new();
        for (name, agent) in AGENTS {
            match call::initialize(self.client, path, None, Some(agent)).await {
                Ok(answer) if is_of_llamapool(&answer) => {
                    first.get_or_insert(answer);
                }
                Ok(answer) => blocked.push((name, answer.shown())),
                Err(error) => blocked.push((name, error)),
            }
        }
        if let Some((name, how)) = blocked.first() {
            let names: Vec<_> = blocked.iter().map(|(name, _)| *name).collect();
            let found = format!(
                "the agent of {} does not get to the server ({name}: {how})",
                names.join(", ")
            );
            let remedy = "A CDN or firewall in front blocks it: let this agent pass. Clients show such \
                          a block as a general error.";
            return (Challenge::Broken, Finding::fail(CHALLENGE, found, remedy));
        }
        match first {
            Some(answer) => self.judged(&answer),
            None => (
                Challenge::Broken,
                Finding::fail(CHALLENGE, "nothing was asked", ""),
            ),
        }
    }

    /// Judges the refusal of a call without a credential.
    fn judged(&self, answer: &Answer) -> (Challenge, Finding) {
        if answer.status.is_success() || answer.cause() == Some("relay_offline") {
            let finding = match answer.cause() {
                Some(_) => call::refused(CHALLENGE, answer),
                None => Finding::warn(
                    CHALLENGE,
                    "the id asks for no credential: everyone who knows the URL can call it",
                    "`llamapool access set ID sign-in`, or `keys`, asks for one. The relay's own \
                     AUTH_TOKEN does, too.",
                ),
            };
            return (Challenge::Open, finding);
        }
        if answer.status != StatusCode::UNAUTHORIZED {
            return (Challenge::Broken, call::refused(CHALLENGE, answer));
        }
        let text = answer.header(header::WWW_AUTHENTICATE).unwrap_or_default();
        let metadata = parameter_values("resource_metadata", text);
        let Some(metadata) = metadata.first().map(|at| unquote(&text[at.clone()])) else {
            let remedy = "Clients with a header for a key can use it. Claude and ChatGPT need sign-in: \
                          `llamapool access set ID sign-in`, on a server with SIGN_IN.";
            let found = "the id asks for a key, and offers no sign-in";
            return (Challenge::Keys, Finding::warn(CHALLENGE, found, remedy));
        };
        if self.origin.below(&metadata).is_none() {
            let found = format!(
                "the challenge names {metadata:?}, which is not on {}",
                self.origin.root()
            );
            return (
                Challenge::Broken,
                Finding::fail(CHALLENGE, found, PUBLIC_URL),
            );
        }
        let found = "a call without a credential is refused, and led to sign-in";
        (Challenge::Metadata(metadata), Finding::ok(CHALLENGE, found))
    }

    /// Reads the document of the id. Returns its authorization server.
    pub(super) async fn resource(&self, metadata: &str) -> (Option<String>, Finding) {
        let document = match self.document(RESOURCE, metadata).await {
            Ok((_, document)) => document,
            Err(finding) => return (None, finding),
        };
        let resource = document["resource"].as_str().unwrap_or_default();
        if resource != self.url {
            let found = format!(
                "the resource is {resource:?}, and clients compare it with {:?}",
                self.url
            );
            return (None, Finding::fail(RESOURCE, found, PUBLIC_URL));
        }
        let issuer = document["authorization_servers"][0].as_str();
        match issuer {
            None => {
                let found = "the document names no authorization server";
                (
                    None,
                    Finding::fail(RESOURCE, found, "The provider's own document is wrong."),
                )
            }
            Some(issuer) if self.origin.below(issuer).is_none() => {
                let found = format!("sign-in is at {issuer}, which is another server");
                let remedy = "Some clients find no authorization server on another host. The rest of \
                              the way is that server's.";
                (None, Finding::warn(RESOURCE, found, remedy))
            }
            Some(issuer) => (
                Some(issuer.to_owned()),
                Finding::ok(
                    RESOURCE,
                    format!("the id is described, and its server is {issuer}"),
                ),
            ),
        }
    }

    /// Reads the document of the authorization server.
    pub(super) async fn metadata(&self, issuer: &str) -> (Option<Value>, Finding) {
        let path = self.origin.below(issuer).unwrap_or_default();
        let root = self.origin.root();
        let url = format!("{root}/.well-known/oauth-authorization-server{path}");
        let document = match self.document(SERVER, &url).await {
            Ok((_, document)) => document,
            Err(finding) => return (None, finding),
        };
        if document["issuer"] != issuer {
            let found = format!(
                "the issuer is {}, and clients compare it with {issuer:?}",
                document["issuer"]
            );
            return (None, Finding::fail(SERVER, found, PUBLIC_URL));
        }
        for name in ["authorization_endpoint", "token_endpoint"] {
            let endpoint = document[name].as_str().unwrap_or_default();
            if self.origin.below(endpoint).is_none() {
                let found = format!("{name} is {endpoint:?}, which is not on {root}");
                return (None, Finding::fail(SERVER, found, PUBLIC_URL));
            }
        }
        let has = |name: &str, word: &str| {
            let words = document[name].as_array();
            words.is_some_and(|words| words.iter().any(|own| own == word))
        };
        if !has("code_challenge_methods_supported", "S256") {
            let found =
                "the server does not say that it has PKCE with S256, without which clients stop";
            let remedy = "Something in front changes the document.";
            return (None, Finding::fail(SERVER, found, remedy));
        }
        let finding = Finding::ok(SERVER, "the authorization server is described");
        (Some(document), finding)
    }

    /// Looks how clients become known.
    pub(super) async fn clients(&self, document: &Value) -> Finding {
        let documents = document["client_id_metadata_document_supported"] == true;
        let Some(endpoint) = document["registration_endpoint"].as_str() else {
            let remedy = "CLIENTS says which: with `registered` clients can register themselves, and with \
                          `document` show a document. Others are added by `llamapool client add`.";
            return if documents {
                let found = "clients with a document can sign in; others cannot register";
                Finding::warn(CLIENTS, found, remedy)
            } else {
                let found = "only clients that the operator has added can sign in";
                Finding::warn(CLIENTS, found, remedy)
            };
        };
        // It names no redirect, so nothing is registered.
        let request = Request::post(self.origin.below(endpoint).unwrap_or("/oauth/register"))
            .header(header::CONTENT_TYPE, "application/json")
            .body(Full::from("{}"));
        let answer = match request {
            Ok(request) => self.client.send(request).await,
            Err(error) => Err(error.to_string()),
        };
        let is_alive = |answer: &Answer| {
            let json = answer.json();
            json.is_some_and(|json| json["error"] == "invalid_redirect_uri")
        };
        match answer {
            Ok(answer) if is_alive(&answer) => Finding::ok(
                CLIENTS,
                if documents {
                    "clients can show a document, and register"
                } else {
                    "clients can register"
                },
            ),
            Ok(answer) => {
                let found = format!("the endpoint of registrations has {}", answer.shown());
                let remedy = "A CDN or firewall in front must let POST to /oauth/ pass.";
                Finding::fail(CLIENTS, found, remedy)
            }
            Err(error) => {
                let found = format!("the endpoint of registrations does not answer: {error}");
                Finding::fail(
                    CLIENTS,
                    found,
                    "Something in front holds POST to /oauth/ back.",
                )
            }
        }
    }

    /// Looks whether clients that are pages of a browser can read what they need.
    pub(super) async fn cors(&self, metadata: &str, document: &Value) -> Finding {
        let remedy = "Only clients in a browser, such as the Inspector, need it: something in front \
                      removes Access-Control-Allow-Origin, or answers OPTIONS itself.";
        let endpoint = document["token_endpoint"].as_str().unwrap_or_default();
        let preflight = Request::options(self.origin.below(endpoint).unwrap_or_default())
            .header(header::ORIGIN, PAGE_ORIGIN)
            .header(header::ACCESS_CONTROL_REQUEST_METHOD, "POST")
            .body(Full::default());
        let preflight = match preflight {
            Ok(request) => self.client.send(request).await,
            Err(error) => Err(error.to_string()),
        };
        let read = Request::get(self.origin.below(metadata).unwrap_or_default())
            .header(header::ORIGIN, PAGE_ORIGIN)
            .body(Full::default());
        let read = match read {
            Ok(request) => self.client.send(request).await,
            Err(error) => Err(error.to_string()),
        };
        for (what, answer) in [("the token endpoint", preflight), ("the documents", read)] {
            let can = answer
                .is_ok_and(|answer| answer.status.is_success() && answer.is_readable_by_pages());
            if !can {
                let found = format!("pages of a browser cannot use {what}");
                return Finding::warn(CORS, found, remedy);
            }
        }
        Finding::ok(CORS, "clients in a browser can sign in")
    }

    /// Opens the page as Claude does, whose document the server has to fetch. Nothing is allowed there.
    pub(super) async fn page(&self, document: &Value) -> Finding {
        let endpoint = document["authorization_endpoint"]
            .as_str()
            .unwrap_or_default();
        let (id, redirect) = CLAUDE;
        let parameters = [
            ("response_type", "code"),
            ("client_id", id),
            ("redirect_uri", redirect),
            ("state", "doctor"),
            ("code_challenge", PKCE),
            ("code_challenge_method", "S256"),
            ("resource", self.url),
        ];
        let mut query = form_urlencoded::Serializer::new(String::new());
        query.extend_pairs(parameters);
        let path = self.origin.below(endpoint).unwrap_or_default();
        let answer = self.client.get(&format!("{path}?{}", query.finish())).await;
        match answer {
            Ok(answer) if answer.status.is_success() => {
                Finding::ok(PAGE, "the page opens for Claude, by its document")
            }
            Ok(answer) => {
                let page = String::from_utf8_lossy(&answer.body);
                let reason = page.split("role=\"alert\">").nth(1);
                let reason = reason
                    .and_then(|rest| rest.split('<').next())
                    .map(str::trim);
                let reason = reason.map_or_else(|| answer.shown(), str::to_owned);
                let remedy = "If the document cannot be reached, the server has no way to the internet: \
                              open it, or set CLIENTS=registered,known, so that clients register. \
                              REDIRECT_HOSTS must have claude.ai, if it is set.";
                Finding::warn(
                    PAGE,
                    format!("the page does not open for Claude: {reason}"),
                    remedy,
                )
            }
            Err(error) => {
                let found = format!("the page does not open: {error}");
                Finding::fail(PAGE, found, "Something in front holds /oauth/ back.")
            }
        }
    }

    /// Gets a document that clients read.
    async fn document(&self, step: &'static str, url: &str) -> Result<(Answer, Value), Finding> {
        let path = self.origin.below(url).unwrap_or_default();
        let in_front =
            "Is /.well-known/ at the root of the host forwarded to the server, unchanged?";
        let answer = self.client.get(path).await;
        let answer = answer.map_err(|error| {
            let found = format!("{url} does not answer: {error}");
            Finding::fail(step, found, in_front)
        })?;
        match answer.json().filter(|_| answer.status == StatusCode::OK) {
            Some(document) => Ok((answer, document)),
            None => {
                let found = format!("{url} has {}, expected a document", answer.shown());
                Err(Finding::fail(step, found, in_front))
            }
        }
    }
}

/// Returns whether an answer comes from the server, and not from something in front of it.
fn is_of_llamapool(answer: &Answer) -> bool {
    answer.headers.contains_key("x-request-id")
}
