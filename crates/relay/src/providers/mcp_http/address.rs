//! Addresses that a provider names, resolved to paths on the provider itself.
//!
//! Only path and query of such an address are ever used; host and port are always those of the
//! configured URL. The address is resolved as text (RFC 3986, section 5) and forwarded byte by byte,
//! which is why `url::Url` does not do it: that encodes, lower-cases and repairs what it reads, and
//! takes `https:/host` for `https://host`.

use http::Uri;
use llamapool_http::host;

use super::public_url::ProviderPublicUrl;

/// Resolves `address` against the URL whose response contains it. Returns path, query and fragment
/// if it is an address of the provider, else `None`.
pub(super) fn resolve_on_provider(
    answered: &Uri,
    public: Option<&ProviderPublicUrl>,
    address: &str,
) -> Option<String> {
    let address = address.trim();
    let whole = match scheme_of(address) {
        Some(scheme) if is_http(scheme) => {
            let rest = address[scheme.len()..].strip_prefix("://")?;
            path_on_provider(answered, public, scheme, rest)?
        }
        Some(_) => return None,
        None if address.is_empty() => return None,
        None if address.starts_with("//") => {
            let scheme = answered.scheme_str()?;
            path_on_provider(answered, public, scheme, &address["//".len()..])?
        }
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

/// Returns the place where the path of an address ends, and its query or fragment begins.
pub(super) fn end_of_path(address: &str) -> usize {
    address.find(['?', '#']).unwrap_or(address.len())
}

fn is_http(scheme: &str) -> bool {
    scheme.eq_ignore_ascii_case("http") || scheme.eq_ignore_ascii_case("https")
}

/// Returns path, query and fragment of an address that follows its scheme and `//`, `None` if its
/// authority is not the provider's.
fn path_on_provider(
    answered: &Uri,
    public: Option<&ProviderPublicUrl>,
    scheme: &str,
    rest: &str,
) -> Option<String> {
    let (authority, path) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
    let path = if path.starts_with('/') {
        path.to_owned()
    } else {
        format!("/{path}")
    };

    let is_provider = host::is_same_origin(answered, scheme, authority)
        || public.is_some_and(|public| public.is_provider_address(authority, &path, answered));
    is_provider.then_some(path)
}

/// Returns the scheme that an address begins with (RFC 3986, section 3.1).
fn scheme_of(address: &str) -> Option<&str> {
    let (scheme, _) = address.split_once(':')?;
    let is_scheme = scheme.starts_with(|first: char| first.is_ascii_alphabetic())
        && scheme
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte));
    is_scheme.then_some(scheme)
}

/// Removes dot segments (RFC 3986, section 5.2.4). A client would remove them too, but against the
/// public URL.
fn without_dot_segments(path: &str) -> String {
    let mut segments_left: Vec<&str> = Vec::new();
    let mut segments = path.split('/').skip(1).peekable();
    while let Some(segment) = segments.next() {
        let is_last = segments.peek().is_none();
        match segment {
            "." => {}
            ".." => drop(segments_left.pop()),
            other => {
                segments_left.push(other);
                continue;
            }
        }
        if is_last {
            segments_left.push("");
        }
    }
    format!("/{}", segments_left.join("/"))
}

#[cfg(test)]
mod tests {
    use super::super::public_url::tests::public_url;
    use super::*;

    fn resolved(address: &str) -> Option<String> {
        let answered = Uri::from_static("http://clock:7777/base/sse?k=1");
        resolve_on_provider(
            &answered,
            Some(&public_url("/llama/api/mcp/id/x/~at/seal")),
            address,
        )
    }

    #[test]
    fn addresses_of_the_provider_are_known_in_every_form() {
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
            assert_eq!(resolved(address).as_deref(), Some(path), "{address}");
        }
    }

    #[test]
    fn addresses_elsewhere_are_not_resolved() {
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
            assert_eq!(resolved(address), None, "{address}");
        }
    }

    #[test]
    fn names_of_this_machine_and_default_ports_are_equal() {
        let is_own = |base: &'static str, address| {
            resolve_on_provider(&Uri::from_static(base), None, address).is_some()
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
}
