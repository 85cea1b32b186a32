//! The public URL of a provider, as the caller of one call addressed it.

use http::{HeaderName, Uri};
use llamapool_head::FieldLookup;
use llamapool_wire::{header as wire, path};

const FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const RESOURCE_METADATA: &str = "/.well-known/oauth-protected-resource";

/// The address at which the caller of one call reaches the provider, as the server names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ProviderPublicUrl {
    /// Scheme and authority. `None` if the caller addressed no host.
    origin: Option<(String, String)>,
    /// The path below which the provider is: `/api/mcp/id/<id>`, on a shared id with the name of
    /// this relay behind it.
    prefix: String,
}

impl ProviderPublicUrl {
    /// Reads the headers of a call as it leaves the tunnel. `None` if the server sent no prefix.
    pub(super) fn from_headers(headers: &impl FieldLookup) -> Option<Self> {
        let text = |name: HeaderName| headers.text_of(&name).map(str::to_owned);
        let origin = text(FORWARDED_PROTO).zip(text(FORWARDED_HOST));
        Some(Self {
            origin,
            prefix: text(wire::PUBLIC_PREFIX)?,
        })
    }

    /// Returns the path below which the caller reaches this relay's provider.
    pub(super) fn prefix(&self) -> &str {
        &self.prefix
    }

    /// Returns the public URL of the id, without the name of a relay. `None` if the caller
    /// addressed no host.
    pub(super) fn url_of_id(&self) -> Option<String> {
        let (scheme, authority) = self.origin.as_ref()?;
        let id = self.prefix.split(path::AT).next().unwrap_or_default();
        Some(format!("{scheme}://{authority}{id}"))
    }

    /// Returns the public URL of the provider's metadata as a protected resource (RFC 9728, section
    /// 3.1: the document's name comes first). `None` if the caller addressed no host.
    pub(super) fn resource_metadata(&self) -> Option<String> {
        let (scheme, authority) = self.origin.as_ref()?;
        let id = self.prefix.split(path::AT).next().unwrap_or_default();
        Some(format!("{scheme}://{authority}{RESOURCE_METADATA}{id}"))
    }

    /// Returns whether an address is on the public origin, but below no id. A provider that trusts
    /// forwarding headers takes that origin for its own.
    pub(super) fn is_provider_address(&self, authority: &str, path: &str, base: &Uri) -> bool {
        let is_public = self
            .origin
            .as_ref()
            .is_some_and(|(_, own)| own.eq_ignore_ascii_case(authority));
        let ids = self
            .prefix
            .find(path::MCP_BY_ID)
            .map_or("", |start| &self.prefix[..start + path::MCP_BY_ID.len()]);
        is_public && (!path.starts_with(ids) || base.path().starts_with(ids))
    }
}

#[cfg(test)]
pub(super) mod tests {
    use http::{HeaderMap, HeaderValue};

    use super::*;

    /// A public URL at `pool.example`, from the headers that the server sends.
    pub(in super::super) fn public_url(prefix: &'static str) -> ProviderPublicUrl {
        let mut headers = HeaderMap::new();
        headers.insert(FORWARDED_PROTO, HeaderValue::from_static("https"));
        headers.insert(FORWARDED_HOST, HeaderValue::from_static("pool.example"));
        headers.insert(wire::PUBLIC_PREFIX, HeaderValue::from_static(prefix));
        ProviderPublicUrl::from_headers(&headers).unwrap()
    }

    #[test]
    fn the_public_url_of_an_id_names_none_of_its_relays() {
        for (prefix, url) in [
            (
                "/llama/api/mcp/id/x/~at/seal",
                "https://pool.example/llama/api/mcp/id/x",
            ),
            ("/api/mcp/id/x", "https://pool.example/api/mcp/id/x"),
        ] {
            assert_eq!(public_url(prefix).url_of_id().as_deref(), Some(url));
        }
        assert_eq!(
            public_url("/llama/api/mcp/id/x/~at/seal")
                .resource_metadata()
                .as_deref(),
            Some("https://pool.example/.well-known/oauth-protected-resource/llama/api/mcp/id/x")
        );
        assert_eq!(ProviderPublicUrl::from_headers(&HeaderMap::new()), None);
    }
}
