//! The authorization server on the provider's own origin, made reachable below the public URL
//! (opt-in by `PROVIDER_OAUTH`; design 0002).
//!
//! Only the paths that its metadata name become reachable, and none without the opt-in.

use std::collections::HashSet;
use std::time::Duration;

use form_urlencoded::{byte_serialize, parse};
use http::{HeaderValue, Uri, header};
use llamapool_head::{FieldLookup, Fields};
use llamapool_wire::path;
use parking_lot::Mutex;
use serde_json::Value;
use tokio::time::Instant;

use super::discovery::MetadataKind;
use super::fetch::Object;
use crate::providers::mcp_http::address::{end_of_path, resolve_on_provider};
use crate::providers::mcp_http::allowed_paths::AllowedPaths;
use crate::providers::mcp_http::public_url::ProviderPublicUrl;

/// How long the metadata are taken for complete when a caller asks for a path that they do not name.
const REFRESH_INTERVAL: Duration = Duration::from_secs(10);
/// Members of metadata that are addresses although their names do not end as addresses' names do
/// (OpenID Connect Session Management 1.0; RFC 8414).
const OTHER_ADDRESSES: [&str; 2] = ["check_session_iframe", "service_documentation"];

/// The authorization server of one provider.
pub(super) struct AuthorizationServer {
    is_public: bool,
    metadata: Mutex<ServerMetadata>,
}

/// The content of the metadata that were read.
#[derive(Default)]
struct ServerMetadata {
    /// The names that the server has for itself.
    issuers: HashSet<String>,
    /// The paths that its metadata name, by kind.
    paths: HashSet<(MetadataKind, String)>,
    refreshed: Option<Instant>,
}

impl AuthorizationServer {
    pub(super) fn new(is_public: bool) -> Self {
        Self {
            is_public,
            metadata: Mutex::default(),
        }
    }

    /// Returns whether callers reach the server.
    pub(super) fn is_public(&self) -> bool {
        self.is_public
    }

    /// Returns the path on the provider for a caller's path, `None` if the metadata do not name it.
    pub(super) fn resolve(&self, below: &str) -> Option<String> {
        let path = below
            .strip_prefix(path::ANNOUNCED)
            .filter(|_| self.is_public)?;
        self.metadata
            .lock()
            .paths
            .iter()
            .any(|(_, named)| named == path)
            .then(|| path.to_owned())
    }

    /// Returns whether an unknown path is a reason to read the metadata again. Returns true once,
    /// and then not for a while.
    pub(super) fn should_refresh(&self) -> bool {
        if !self.is_public {
            return false;
        }
        let mut metadata = self.metadata.lock();
        let is_fresh = metadata
            .refreshed
            .is_some_and(|refreshed| refreshed.elapsed() < REFRESH_INTERVAL);
        if !is_fresh {
            metadata.refreshed = Some(Instant::now());
        }
        !is_fresh
    }

    /// Rewrites metadata for callers: the issuer becomes the id's URL, and addresses on the
    /// provider's origin move below it. The paths that they name are reachable from now on, in
    /// place of those that they named before.
    pub(super) fn rewrite_metadata(
        &self,
        kind: MetadataKind,
        document: &mut Object,
        base: &Uri,
        public: &ProviderPublicUrl,
    ) {
        let url = public.url_of_id().unwrap_or_default();
        let mut paths = HashSet::new();
        let mut rewrite = |address: &str| {
            let already_public = address
                .strip_prefix(&url)
                .and_then(|below| below.strip_prefix(path::ANNOUNCED));
            let resolved = already_public
                .map(str::to_owned)
                .or_else(|| resolve_on_provider(base, Some(public), address))?;
            paths.insert((kind, resolved[..end_of_path(&resolved)].to_owned()));
            Some(format!("{url}{}{resolved}", path::ANNOUNCED))
        };
        rewrite_addresses(document, &mut rewrite);
        if let Some(Value::Object(aliases)) = document.get_mut("mtls_endpoint_aliases") {
            rewrite_addresses(aliases, &mut rewrite);
        }
        // It contains the private names, under a signature.
        document.remove("signed_metadata");

        let issuer = document.insert("issuer".to_owned(), url.into());
        let issuer = issuer.and_then(|issuer| issuer.as_str().map(str::to_owned));
        let mut metadata = self.metadata.lock();
        metadata.issuers.extend(issuer);
        metadata.paths.retain(|(other, _)| *other != kind);
        metadata.paths.extend(paths);
    }

    /// Removes the paths of metadata that do not exist any more.
    pub(super) fn forget(&self, kind: MetadataKind) {
        self.metadata
            .lock()
            .paths
            .retain(|(other, _)| *other != kind);
    }

    /// Makes the issuer public in a redirect back to a client (RFC 9207), and allows the callback
    /// of the provider in a redirect to another authorization server.
    pub(super) fn rewrite_redirect(
        &self,
        fields: &mut Fields,
        public: &ProviderPublicUrl,
        allowed: &AllowedPaths,
    ) {
        let Some(url) = public.url_of_id().filter(|_| self.is_public) else {
            return;
        };
        let Some(location) = fields.text_of(&header::LOCATION) else {
            return;
        };

        let metadata = self.metadata.lock();
        let parameters = location.split_inclusive(['?', '&', '#']).map(|part| {
            let (text, end) = part.split_at(part.trim_end_matches(['?', '&', '#']).len());
            let (name, value) = parse(text.as_bytes()).next().unwrap_or_default();
            if name == "redirect_uri"
                && let Some(callback) = value
                    .strip_prefix(&url)
                    .and_then(|below| below.strip_prefix(path::ANNOUNCED))
            {
                allowed.allow_target(&callback[..end_of_path(callback)]);
            }

            let is_private_issuer = name == "iss" && metadata.issuers.contains(&*value);
            if is_private_issuer {
                let encoded: String = byte_serialize(url.as_bytes()).collect();
                format!("iss={encoded}{end}")
            } else {
                part.to_owned()
            }
        });
        let rewritten = HeaderValue::from_str(&parameters.collect::<String>());
        drop(metadata);
        if let Ok(rewritten) = rewritten {
            fields.insert(&header::LOCATION, &rewritten);
        }
    }
}

/// Returns the path of the issuer on the provider's own origin that the metadata of the resource
/// name, `None` if they name none there.
pub(super) fn own_issuer(
    resource: &Object,
    base: &Uri,
    public: &ProviderPublicUrl,
) -> Option<String> {
    let named = resource.get("authorization_servers")?.as_array()?;
    let url = public.url_of_id();
    let resolved = named.iter().filter_map(Value::as_str).find_map(|issuer| {
        if Some(issuer) == url.as_deref() {
            Some("/".to_owned())
        } else {
            resolve_on_provider(base, Some(public), issuer)
        }
    })?;
    Some(resolved[..end_of_path(&resolved)].to_owned())
}

/// Replaces the authorization server on the provider's own origin by the public one in the metadata
/// of the resource. There is one public name, so of several the first is replaced and the others
/// are removed.
pub(super) fn rewrite_resource(resource: &mut Object, base: &Uri, public: &ProviderPublicUrl) {
    let Some(url) = public.url_of_id() else {
        return;
    };
    let Some(Value::Array(named)) = resource.get_mut("authorization_servers") else {
        return;
    };
    let is_own = |issuer: &Value| {
        issuer
            .as_str()
            .is_some_and(|issuer| resolve_on_provider(base, Some(public), issuer).is_some())
    };
    let Some(place) = named.iter().position(is_own) else {
        return;
    };
    named[place] = url.into();
    named.retain(|issuer| !is_own(issuer));
    resource.remove("signed_metadata");
}

/// Rewrites the members that are addresses by their name: other texts, such as scopes, may look
/// like one.
fn rewrite_addresses(document: &mut Object, rewrite: &mut impl FnMut(&str) -> Option<String>) {
    for (name, value) in document {
        let is_address = name.ends_with("_endpoint")
            || name.ends_with("_uri")
            || OTHER_ADDRESSES.contains(&name.as_str());
        if !is_address {
            continue;
        }
        if let Some(public) = value.as_str().and_then(&mut *rewrite) {
            *value = public.into();
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::providers::mcp_http::public_url::tests::public_url;

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
        server.resolve(&format!("/~announced{path}")).is_some()
    }

    #[test]
    fn metadata_name_the_public_issuer_and_endpoints() {
        let server = AuthorizationServer::new(true);
        let mut document = metadata();
        server.rewrite_metadata(
            MetadataKind::OAuth,
            &mut document,
            &base(),
            &public_url("/api/mcp/id/x/~at/seal"),
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
    fn only_published_metadata_make_paths_reachable() {
        let server = AuthorizationServer::new(true);
        let closed = AuthorizationServer::new(false);

        for server in [&server, &closed] {
            server.rewrite_metadata(
                MetadataKind::OAuth,
                &mut metadata(),
                &base(),
                &public_url("/api/mcp/id/x"),
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
            server.resolve("/authorize"),
            None,
            "only below the reserved name"
        );

        let mut newer = object(json!({ "token_endpoint": "http://localhost:7777/token" }));
        server.rewrite_metadata(
            MetadataKind::OAuth,
            &mut newer,
            &base(),
            &public_url("/api/mcp/id/x"),
        );

        assert!(
            reachable(&server, "/token") && !reachable(&server, "/authorize"),
            "what was withdrawn is closed"
        );

        server.rewrite_metadata(
            MetadataKind::OpenId,
            &mut metadata(),
            &base(),
            &public_url("/api/mcp/id/x"),
        );
        server.forget(MetadataKind::OAuth);

        assert!(!reachable(&server, "/token") && reachable(&server, "/authorize"));
    }

    #[test]
    fn the_resource_names_the_public_server_and_keeps_others() {
        let base = base();
        let public = public_url("/api/mcp/id/x");
        let mut resource = object(json!({
            "authorization_servers": ["https://login.example", "http://localhost:7777/", "http://127.0.0.1:7777/t"],
        }));

        assert_eq!(own_issuer(&resource, &base, &public).as_deref(), Some("/"));

        rewrite_resource(&mut resource, &base, &public);

        assert_eq!(
            resource["authorization_servers"],
            json!(["https://login.example", URL])
        );
        assert_eq!(
            own_issuer(&resource, &base, &public).as_deref(),
            Some("/"),
            "a provider that is configured with its public URL"
        );

        let elsewhere = object(json!({ "authorization_servers": ["https://login.example"] }));

        assert_eq!(own_issuer(&elsewhere, &base, &public), None);
    }

    #[test]
    fn a_redirect_back_to_the_client_names_the_public_issuer() {
        let server = AuthorizationServer::new(true);
        let allowed = AllowedPaths::default();
        let public = public_url("/api/mcp/id/x");
        server.rewrite_metadata(MetadataKind::OAuth, &mut metadata(), &base(), &public);
        let led = |location: String| {
            let mut fields = Fields::new();
            fields.append(&header::LOCATION, &location.parse().unwrap());
            server.rewrite_redirect(&mut fields, &public, &allowed);
            fields.text_of(&header::LOCATION).unwrap().to_owned()
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
            allowed.resolve("/~announced/auth/cb").is_some(),
            "the callback after the sign-in"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn an_unknown_path_is_a_reason_to_refresh_now_and_then() {
        let server = AuthorizationServer::new(true);

        assert!(server.should_refresh() && !server.should_refresh());

        tokio::time::advance(REFRESH_INTERVAL).await;

        assert!(server.should_refresh());
        assert!(!AuthorizationServer::new(false).should_refresh());
    }
}
