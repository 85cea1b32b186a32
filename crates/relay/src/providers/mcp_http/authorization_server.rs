//! The authorization server on the provider's own origin, made reachable below the public URL (opt-in; design 0002).
//!
//! Here is what its metadata announce, and how they read in public. Fetching them is `documents`' business. The one
//! rule: only what the metadata announce becomes reachable, and nothing while nobody opted in.

use std::collections::HashSet;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use form_urlencoded::{byte_serialize, parse};
use http::{HeaderMap, HeaderValue, Uri, header};
use llamapool_wire::path;
use serde_json::{Map, Value};
use tokio::time::Instant;

use super::announced::Announced;
use super::own_url::{PublicPlace, end_of_path, own_path};

/// How long the metadata are believed to be all there is, when somebody asks for a path that they do not announce.
const AGAIN: Duration = Duration::from_secs(10);
/// Addresses in metadata whose names do not end as addresses' names do (OpenID Connect Session Management 1.0; RFC 8414).
const OTHER_ADDRESSES: [&str; 2] = ["check_session_iframe", "service_documentation"];

/// A JSON object.
pub(super) type Object = Map<String, Value>;

/// Which metadata an authorization server has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Kind {
    /// Those of OAuth (RFC 8414).
    OAuth,
    /// Those of OpenID Connect.
    OpenId,
}

/// What is known of the authorization server.
pub(super) struct AuthorizationServer {
    is_public: bool,
    known: Mutex<Known>,
}

#[derive(Default)]
struct Known {
    /// What it calls itself.
    issuers: HashSet<String>,
    /// What its metadata announce, of each kind.
    paths: HashSet<(Kind, String)>,
    looked: Option<Instant>,
}

impl AuthorizationServer {
    pub(super) fn new(is_public: bool) -> Self {
        Self {
            is_public,
            known: Mutex::default(),
        }
    }

    /// Whether somebody opted in.
    pub(super) fn is_public(&self) -> bool {
        self.is_public
    }

    /// The path on the provider that a caller's path stands for, if the metadata announce it.
    pub(super) fn path_of(&self, below: &str) -> Option<String> {
        let path = below
            .strip_prefix(path::ANNOUNCED)
            .filter(|_| self.is_public)?;
        self.known()
            .paths
            .iter()
            .any(|(_, known)| known == path)
            .then(|| path.to_owned())
    }

    /// Whether a path that is not known is reason to look at the metadata. Says so once, and then not for a while.
    pub(super) fn wants_a_look(&self) -> bool {
        let mut known = self.known();
        let is_fresh = known.looked.is_some_and(|looked| looked.elapsed() < AGAIN);
        if self.is_public && !is_fresh {
            known.looked = Some(Instant::now());
        }
        self.is_public && !is_fresh
    }

    /// Makes metadata public: the issuer is the id's URL, and what is on the provider's origin is below it. What they
    /// announce is reachable from now on, in place of what they announced before.
    pub(super) fn make_public(
        &self,
        kind: Kind,
        document: &mut Object,
        base: &Uri,
        public: &PublicPlace,
    ) {
        let url = public.url_of_id().unwrap_or_default();
        let mut paths = HashSet::new();
        let mut rewrite = |address: &str| {
            let already = address
                .strip_prefix(&url)
                .and_then(|below| below.strip_prefix(path::ANNOUNCED));
            let own = already
                .map(str::to_owned)
                .or_else(|| own_path(base, Some(public), address))?;
            paths.insert((kind, own[..end_of_path(&own)].to_owned()));
            Some(format!("{url}{}{own}", path::ANNOUNCED))
        };
        rewrite_addresses(document, &mut rewrite);
        if let Some(Value::Object(aliases)) = document.get_mut("mtls_endpoint_aliases") {
            rewrite_addresses(aliases, &mut rewrite);
        }
        // It says the private names, under a signature.
        document.remove("signed_metadata");
        let issuer = document.insert("issuer".to_owned(), url.into());
        let mut known = self.known();
        known
            .issuers
            .extend(issuer.and_then(|issuer| issuer.as_str().map(str::to_owned)));
        known.paths.retain(|(other, _)| *other != kind);
        known.paths.extend(paths);
    }

    /// Metadata of this kind are not there any more, and what they announced is not either.
    pub(super) fn forget(&self, kind: Kind) {
        self.known().paths.retain(|(other, _)| *other != kind);
    }

    /// Makes the issuer public in a redirect that leads back to a client (RFC 9207), and notes the callback that the
    /// provider names in one that leads to somebody who signs in for it.
    pub(super) fn make_redirect_public(
        &self,
        headers: &mut HeaderMap,
        public: &PublicPlace,
        announced: &Announced,
    ) {
        let Some(url) = public.url_of_id().filter(|_| self.is_public) else {
            return;
        };
        let Some(location) = headers
            .get(header::LOCATION)
            .and_then(|location| location.to_str().ok())
        else {
            return;
        };
        let known = self.known();
        let parameters = location.split_inclusive(['?', '&', '#']).map(|part| {
            let (text, end) = part.split_at(part.trim_end_matches(['?', '&', '#']).len());
            let (name, value) = parse(text.as_bytes()).next().unwrap_or_default();
            if name == "redirect_uri"
                && let Some(callback) = value
                    .strip_prefix(&url)
                    .and_then(|below| below.strip_prefix(path::ANNOUNCED))
            {
                announced.led_to(&callback[..end_of_path(callback)]);
            }
            let is_private_issuer = name == "iss" && known.issuers.contains(&*value);
            if is_private_issuer {
                format!(
                    "iss={}{end}",
                    byte_serialize(url.as_bytes()).collect::<String>()
                )
            } else {
                part.to_owned()
            }
        });
        let rewritten = HeaderValue::from_str(&parameters.collect::<String>());
        drop(known);
        if let Ok(rewritten) = rewritten {
            headers.insert(header::LOCATION, rewritten);
        }
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Where the metadata of an issuer may be, by its path (RFC 8414, section 3.1; OpenID Connect Discovery 1.0, section 4).
pub(super) fn places(kind: Kind, issuer: &str) -> Vec<String> {
    let issuer = issuer.trim_end_matches('/');
    match kind {
        Kind::OAuth => vec![format!("/.well-known/oauth-authorization-server{issuer}")],
        Kind::OpenId if issuer.is_empty() => vec!["/.well-known/openid-configuration".to_owned()],
        Kind::OpenId => vec![
            format!("/.well-known/openid-configuration{issuer}"),
            format!("{issuer}/.well-known/openid-configuration"),
        ],
    }
}

/// The path of the authorization server on the provider's own origin, as the metadata of the resource name it.
pub(super) fn own_issuer(resource: &Object, base: &Uri, public: &PublicPlace) -> Option<String> {
    let named = resource.get("authorization_servers")?.as_array()?;
    let url = public.url_of_id();
    let own = named.iter().filter_map(Value::as_str).find_map(|issuer| {
        match Some(issuer) == url.as_deref() {
            true => Some("/".to_owned()),
            false => own_path(base, Some(public), issuer),
        }
    })?;
    Some(own[..end_of_path(&own)].to_owned())
}

/// Makes the metadata of the resource name the public authorization server in place of the one on the provider's own
/// origin. There is one public name, so of several there the first is meant.
pub(super) fn make_resource_public(resource: &mut Object, base: &Uri, public: &PublicPlace) {
    let Some(url) = public.url_of_id() else {
        return;
    };
    let Some(Value::Array(named)) = resource.get_mut("authorization_servers") else {
        return;
    };
    let is_own = |issuer: &Value| {
        issuer
            .as_str()
            .is_some_and(|issuer| own_path(base, Some(public), issuer).is_some())
    };
    let Some(place) = named.iter().position(is_own) else {
        return;
    };
    named[place] = url.into();
    named.retain(|issuer| !is_own(issuer));
    resource.remove("signed_metadata");
}

/// Rewrites what is an address by its name: other texts, such as scopes, may look like one.
fn rewrite_addresses(document: &mut Object, rewrite: &mut impl FnMut(&str) -> Option<String>) {
    for (name, value) in document {
        let is_address = name.ends_with("_endpoint")
            || name.ends_with("_uri")
            || OTHER_ADDRESSES.contains(&name.as_str());
        if let Some(public) = value
            .as_str()
            .filter(|_| is_address)
            .and_then(&mut *rewrite)
        {
            *value = public.into();
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::own_url::tests::public;
    use super::*;

    const URL: &str = "https://pool.example/api/mcp/id/x";

    fn base() -> Uri {
        Uri::from_static("http://127.0.0.1:7777/mcp")
    }

    fn object(value: Value) -> Object {
        value.as_object().unwrap().clone()
    }

    fn metadata() -> Object {
        object(json!({
            "issuer": "http://localhost:7777/",
            "authorization_endpoint": "http://localhost:7777/authorize?tenant=a",
            "token_endpoint": "https://login.example/token",
            "jwks_uri": "http://127.0.0.1:7777/keys",
            "registration_endpoint": format!("{URL}/~announced/register"),
            "scopes_supported": ["http://localhost:7777/scope"],
            "mtls_endpoint_aliases": { "revocation_endpoint": "http://localhost:7777/mtls/revoke" },
            "signed_metadata": "a.b.c",
            "code_challenge_methods_supported": ["S256"],
        }))
    }

    fn reachable(server: &AuthorizationServer, path: &str) -> bool {
        server.path_of(&format!("/~announced{path}")).is_some()
    }

    #[test]
    fn metadata_name_the_public_issuer_and_public_endpoints_and_keep_the_rest() {
        let (server, mut document) = (AuthorizationServer::new(true), metadata());
        server.make_public(
            Kind::OAuth,
            &mut document,
            &base(),
            &public("/api/mcp/id/x/~at/seal"),
        );
        let expected = json!({
            "issuer": URL,
            "authorization_endpoint": format!("{URL}/~announced/authorize?tenant=a"),
            "token_endpoint": "https://login.example/token",
            "jwks_uri": format!("{URL}/~announced/keys"),
            "registration_endpoint": format!("{URL}/~announced/register"),
            "scopes_supported": ["http://localhost:7777/scope"],
            "mtls_endpoint_aliases": { "revocation_endpoint": format!("{URL}/~announced/mtls/revoke") },
            "code_challenge_methods_supported": ["S256"],
        });
        assert_eq!(Value::Object(document), expected);
    }

    #[test]
    fn only_what_metadata_announce_is_reachable_and_only_if_somebody_opted_in() {
        let (server, closed) = (
            AuthorizationServer::new(true),
            AuthorizationServer::new(false),
        );
        for server in [&server, &closed] {
            server.make_public(
                Kind::OAuth,
                &mut metadata(),
                &base(),
                &public("/api/mcp/id/x"),
            );
        }
        for path in ["/authorize", "/keys", "/register", "/mtls/revoke"] {
            assert!(
                reachable(&server, path) && !reachable(&closed, path),
                "{path}"
            );
        }
        for path in [
            "/token",
            "/",
            "",
            "/scope",
            "/authorize/",
            "/authorize/more",
            "/admin",
        ] {
            assert!(!reachable(&server, path), "{path}");
        }
        assert_eq!(
            server.path_of("/authorize"),
            None,
            "only below the reserved name"
        );
        let mut newer = object(json!({ "token_endpoint": "http://localhost:7777/token" }));
        server.make_public(Kind::OAuth, &mut newer, &base(), &public("/api/mcp/id/x"));
        assert!(
            reachable(&server, "/token") && !reachable(&server, "/authorize"),
            "what was withdrawn is closed"
        );
        server.make_public(
            Kind::OpenId,
            &mut metadata(),
            &base(),
            &public("/api/mcp/id/x"),
        );
        server.forget(Kind::OAuth);
        assert!(!reachable(&server, "/token") && reachable(&server, "/authorize"));
    }

    #[test]
    fn the_resource_names_the_public_server_in_place_of_the_providers_own_and_keeps_the_others() {
        let (base, public) = (base(), public("/api/mcp/id/x"));
        let mut resource = object(json!({
            "authorization_servers": ["https://login.example", "http://localhost:7777/", "http://127.0.0.1:7777/t"],
        }));
        assert_eq!(own_issuer(&resource, &base, &public).as_deref(), Some("/"));
        make_resource_public(&mut resource, &base, &public);
        assert_eq!(
            resource["authorization_servers"],
            json!(["https://login.example", URL])
        );
        assert_eq!(
            own_issuer(&resource, &base, &public).as_deref(),
            Some("/"),
            "a provider that was told its public URL"
        );
        let elsewhere = object(json!({ "authorization_servers": ["https://login.example"] }));
        assert_eq!(own_issuer(&elsewhere, &base, &public), None);
    }

    #[test]
    fn metadata_are_looked_for_where_their_issuer_has_them() {
        assert_eq!(
            places(Kind::OAuth, "/"),
            ["/.well-known/oauth-authorization-server"]
        );
        assert_eq!(
            places(Kind::OAuth, "/t/"),
            ["/.well-known/oauth-authorization-server/t"]
        );
        assert_eq!(
            places(Kind::OpenId, ""),
            ["/.well-known/openid-configuration"]
        );
        let with_path = [
            "/.well-known/openid-configuration/t",
            "/t/.well-known/openid-configuration",
        ];
        assert_eq!(places(Kind::OpenId, "/t"), with_path);
    }

    #[test]
    fn a_redirect_back_to_the_client_names_the_public_issuer() {
        let (server, announced) = (AuthorizationServer::new(true), Announced::default());
        let public = public("/api/mcp/id/x");
        server.make_public(Kind::OAuth, &mut metadata(), &base(), &public);
        let led = |location: String| {
            let mut headers = HeaderMap::new();
            headers.insert(header::LOCATION, location.parse().unwrap());
            server.make_redirect_public(&mut headers, &public, &announced);
            headers[header::LOCATION].to_str().unwrap().to_owned()
        };
        let encoded = "https%3A%2F%2Fpool.example%2Fapi%2Fmcp%2Fid%2Fx";
        for (before, after) in [
            ("?code=%2f&", "&state=a+b"),
            ("?x#", "#end"),
            ("#code=1&", ""),
            ("?", ""),
        ] {
            let private =
                format!("http://127.0.0.1:5/cb{before}iss=http%3A%2F%2Flocalhost%3A7777%2F{after}");
            assert_eq!(
                led(private),
                format!("http://127.0.0.1:5/cb{before}iss={encoded}{after}")
            );
        }
        for other in [
            "http://127.0.0.1:5/cb?iss=https%3A%2F%2Flogin.example&miss=http://localhost:7777/",
            "/x?y",
            "?#&",
        ] {
            assert_eq!(led(other.to_owned()), other);
        }
        let callback = format!(
            "https://login.example/authorize?redirect_uri={encoded}%2F~announced%2Fauth%2Fcb"
        );
        assert_eq!(led(callback.clone()), callback);
        assert!(
            announced.path_of("/~announced/auth/cb").is_some(),
            "where the one who signs in comes back to"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_path_that_is_not_known_is_reason_for_a_look_now_and_then() {
        let server = AuthorizationServer::new(true);
        assert!(server.wants_a_look() && !server.wants_a_look());
        tokio::time::advance(AGAIN).await;
        assert!(server.wants_a_look());
        assert!(!AuthorizationServer::new(false).wants_a_look());
    }
}
