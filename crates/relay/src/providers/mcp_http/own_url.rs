//! The addresses that a provider names: which of them are its own, whatever it calls itself, and who asks.
//!
//! Nothing is dialled here. The one rule: only path and query of such an address are ever used; host and port are
//! always those of the configured URL.

use http::{HeaderMap, HeaderName, Uri};
use llamapool_http::host::is_same_origin;
use llamapool_wire::{header as wire, path};

const FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");

/// Under which address the caller of one call knows the provider, as the server says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct PublicPlace {
    /// Scheme and authority; none, if the caller addressed no host.
    origin: Option<(String, String)>,
    /// The path below which the provider is: `/api/mcp/id/<id>`, and on a shared id the name of this relay.
    prefix: String,
}

impl PublicPlace {
    /// What the head of a call says, as it comes out of the tunnel.
    pub(super) fn of(headers: &HeaderMap) -> Option<Self> {
        let text = |name: HeaderName| headers.get(name)?.to_str().ok().map(str::to_owned);
        let origin = text(FORWARDED_PROTO).zip(text(FORWARDED_HOST));
        Some(Self {
            origin,
            prefix: text(wire::PUBLIC_PREFIX)?,
        })
    }

    /// The path below which the caller reaches this relay's provider.
    pub(super) fn prefix(&self) -> &str {
        &self.prefix
    }

    /// The public URL of the id, whichever of its relays answers.
    pub(super) fn url_of_id(&self) -> Option<String> {
        let (scheme, authority) = self.origin.as_ref()?;
        let id = self.prefix.split(path::AT).next().unwrap_or_default();
        Some(format!("{scheme}://{authority}{id}"))
    }

    /// Whether an address is below the public origin, but no id's: a provider that believes in forwarding headers takes
    /// that origin for its own.
    fn is_taken_for_own(&self, authority: &str, path: &str, base: &Uri) -> bool {
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

/// What an address leads to on the provider itself, as path, query and fragment from its root; nothing, if it leads
/// elsewhere. `answered` is the URL whose answer names it.
pub(super) fn own_path(
    answered: &Uri,
    public: Option<&PublicPlace>,
    address: &str,
) -> Option<String> {
    let address = address.trim();
    let whole = match scheme_of(address) {
        Some(scheme)
            if ["http", "https"]
                .iter()
                .any(|known| scheme.eq_ignore_ascii_case(known)) =>
        {
            path_on_own_origin(
                answered,
                public,
                scheme,
                address[scheme.len()..].strip_prefix("://")?,
            )?
        }
        Some(_) => return None,
        None if address.is_empty() => return None,
        None if address.starts_with("//") => path_on_own_origin(
            answered,
            public,
            answered.scheme_str()?,
            &address["//".len()..],
        )?,
        None if address.starts_with('/') => address.to_owned(),
        None if address.starts_with('?') => format!("{}{address}", answered.path()),
        None if address.starts_with('#') => format!("{}{address}", answered.path_and_query()?),
        None => {
            let folder = answered
                .path()
                .rsplit_once('/')
                .map_or("", |(folder, _)| folder);
            format!("{folder}/{address}")
        }
    };
    let (path, rest) = whole.split_at(end_of_path(&whole));
    Some(format!("{}{rest}", without_dot_segments(path)))
}

/// Where the path of an address ends, and its query or fragment begins.
pub(super) fn end_of_path(address: &str) -> usize {
    address.find(['?', '#']).unwrap_or(address.len())
}

fn path_on_own_origin(
    answered: &Uri,
    public: Option<&PublicPlace>,
    scheme: &str,
    rest: &str,
) -> Option<String> {
    let (authority, path) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
    let path = if path.starts_with('/') {
        path.to_owned()
    } else {
        format!("/{path}")
    };
    let is_own = is_same_origin(answered, scheme, authority)
        || public.is_some_and(|public| public.is_taken_for_own(authority, &path, answered));
    is_own.then_some(path)
}

/// The scheme that an address begins with (RFC 3986, section 3.1).
fn scheme_of(address: &str) -> Option<&str> {
    let (scheme, _) = address.split_once(':')?;
    let is_scheme = scheme.starts_with(|first: char| first.is_ascii_alphabetic())
        && scheme
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte));
    is_scheme.then_some(scheme)
}

/// The path that is meant (RFC 3986, section 5.2.4). A client would resolve the segments too, but against the public URL.
fn without_dot_segments(path: &str) -> String {
    let mut kept: Vec<&str> = Vec::new();
    let mut segments = path.split('/').skip(1).peekable();
    while let Some(segment) = segments.next() {
        let is_last = segments.peek().is_none();
        match segment {
            "." => {}
            ".." => drop(kept.pop()),
            other => {
                kept.push(other);
                continue;
            }
        }
        if is_last {
            kept.push("");
        }
    }
    format!("/{}", kept.join("/"))
}

#[cfg(test)]
pub(super) mod tests {
    use http::HeaderValue;

    use super::*;

    /// The place of an id of a server, as the server says it.
    pub(in super::super) fn public(prefix: &'static str) -> PublicPlace {
        let mut headers = HeaderMap::new();
        headers.insert(FORWARDED_PROTO, HeaderValue::from_static("https"));
        headers.insert(FORWARDED_HOST, HeaderValue::from_static("pool.example"));
        headers.insert(wire::PUBLIC_PREFIX, HeaderValue::from_static(prefix));
        PublicPlace::of(&headers).unwrap()
    }

    fn own(address: &str) -> Option<String> {
        let answered = Uri::from_static("http://clock:7777/base/sse?k=1");
        own_path(
            &answered,
            Some(&public("/llama/api/mcp/id/x/~at/seal")),
            address,
        )
    }

    #[test]
    fn the_providers_own_addresses_are_known_in_every_form() {
        for (address, path) in [
            ("/messages/?session=1", "/messages/?session=1"),
            ("messages?a=1", "/base/messages?a=1"),
            ("?a=1", "/base/sse?a=1"),
            ("#part", "/base/sse?k=1#part"),
            ("http://clock:7777/m", "/m"),
            ("HTTPS://CLOCK:7777/m", "/m"),
            ("http://clock:7777", "/"),
            ("http://clock:7777?a=1", "/?a=1"),
            ("//clock:7777/m", "/m"),
            ("../other/./m?a=1/../2", "/other/m?a=1/../2"),
            ("/../../m/..", "/"),
            ("./", "/base/"),
            ("https://pool.example/m", "/m"),
            ("//POOL.example/llama/m", "/llama/m"),
        ] {
            assert_eq!(own(address).as_deref(), Some(path), "{address}");
        }
    }

    #[test]
    fn addresses_elsewhere_are_not_the_providers() {
        for address in [
            "",
            "http://clock/m",
            "http://clock:7778/m",
            "http://clock.evil.example:7777/m",
            "http://evil@other:7777/m",
            "http://pool.example.evil/m",
            "//other/m",
            "file:///etc/passwd",
            "mailto:a@clock",
            "cursor://clock:7777/m",
            "https:/clock:7777/m",
            "https://pool.example/llama/api/mcp/id/x/m",
            "https://pool.example/llama/api/mcp/id/other",
        ] {
            assert_eq!(own(address), None, "{address}");
        }
    }

    #[test]
    fn this_machine_has_several_names_and_default_ports_are_understood() {
        let is_own = |base: &'static str, address| {
            own_path(&Uri::from_static(base), None, address).is_some()
        };
        assert!(is_own(
            "http://127.0.0.1:7777/mcp",
            "http://localhost:7777/a"
        ));
        assert!(is_own("http://localhost:7777/mcp", "http://[::1]:7777/a"));
        assert!(!is_own(
            "http://127.0.0.1:7777/mcp",
            "http://localhost:7778/a"
        ));
        assert!(is_own("https://p.example/mcp", "https://p.example:443/a"));
        assert!(is_own("http://p.example:443/mcp", "https://p.example/a"));
        assert!(!is_own("https://p.example/mcp", "http://p.example:80/a"));
    }

    #[test]
    fn the_public_url_of_an_id_names_none_of_its_relays() {
        assert_eq!(
            public("/llama/api/mcp/id/x/~at/seal").url_of_id().unwrap(),
            "https://pool.example/llama/api/mcp/id/x"
        );
        assert_eq!(
            public("/api/mcp/id/x").url_of_id().unwrap(),
            "https://pool.example/api/mcp/id/x"
        );
        assert_eq!(PublicPlace::of(&HeaderMap::new()), None);
    }
}
