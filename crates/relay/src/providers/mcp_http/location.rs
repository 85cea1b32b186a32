//! The target of a response (`Location`: RFC 9110, section 10.2.2), rewritten for the caller.
//!
//! An address of the provider becomes a path below the public URL; any other stays as it is. The
//! path becomes reachable, as the provider itself has named it.

use http::{HeaderValue, Uri, header};
use llamapool_head::{FieldLookup, FieldValue, Fields};
use llamapool_wire::path;

use super::address::{end_of_path, resolve_on_provider};
use super::allowed_paths::AllowedPaths;
use super::public_url::ProviderPublicUrl;

/// The URLs of one request and its response.
pub(super) struct Exchange<'a> {
    /// The configured URL.
    pub(super) base: &'a Uri,
    /// The URL that was answered, after redirects.
    pub(super) answered: &'a Uri,
    /// The caller's URL.
    pub(super) public: &'a ProviderPublicUrl,
}

/// Rewrites every `Location` that is an address of the provider to one that the caller can reach.
pub(super) fn rewrite(fields: &mut Fields, exchange: &Exchange<'_>, allowed: &AllowedPaths) {
    let rewritten = |location: FieldValue<'_>| {
        let address = location.to_str().ok();
        let public = address.and_then(|address| public_form(address, exchange, allowed));
        let public = public.and_then(|public| HeaderValue::from_str(&public).ok());
        public.or_else(|| location.to_http())
    };
    let locations: Vec<_> = fields
        .all_values(&header::LOCATION)
        .filter_map(rewritten)
        .collect();
    fields.remove(&header::LOCATION);
    for location in locations {
        fields.append(&header::LOCATION, &location);
    }
}

fn public_form(address: &str, exchange: &Exchange<'_>, allowed: &AllowedPaths) -> Option<String> {
    let resolved = resolve_on_provider(exchange.answered, Some(exchange.public), address)?;
    let prefix = exchange.public.prefix();
    let (path, rest) = resolved.split_at(end_of_path(&resolved));
    if let Some(below) = below_base(exchange.base, path) {
        let rest = without_base_query(exchange.base, rest);
        return Some(format!("{prefix}{below}{rest}"));
    }
    allowed
        .allow_target(path)
        .then(|| format!("{prefix}{}{path}{rest}", path::ANNOUNCED))
}

/// Returns the part of a path behind the configured one. `None` if the path is not at or below
/// that, or has another meaning below the public URL.
fn below_base<'a>(base: &Uri, path: &'a str) -> Option<&'a str> {
    let below = path.strip_prefix(base.path().trim_end_matches('/'))?;
    match below {
        "" | "/" => Some(""),
        _ if below.starts_with(path::ANNOUNCED) || below.starts_with(path::AT) => None,
        _ => below.starts_with('/').then_some(below),
    }
}

/// Removes the parameters of the configured URL, which the relay adds again and which may be a key,
/// wherever they are in a query.
fn without_base_query(base: &Uri, rest: &str) -> String {
    let (query, fragment) = rest.split_at(rest.find('#').unwrap_or(rest.len()));
    let Some(own) = base.query() else {
        return rest.to_owned();
    };
    let Some(query) = query.strip_prefix('?') else {
        return rest.to_owned();
    };

    let own: Vec<_> = own.split('&').filter(|part| !part.is_empty()).collect();
    let left: Vec<_> = query
        .split('&')
        .filter(|part| !own.contains(part))
        .collect();
    if left.is_empty() {
        fragment.to_owned()
    } else {
        format!("?{}{fragment}", left.join("&"))
    }
}

#[cfg(test)]
mod tests {
    use super::super::public_url::tests::public_url;
    use super::*;

    const PREFIX: &str = "/api/mcp/id/x";

    fn rewritten(base: &'static str, location: &str) -> (String, AllowedPaths) {
        let base = Uri::from_static(base);
        let allowed = AllowedPaths::default();
        let mut fields = Fields::new();
        fields.append(&header::LOCATION, &location.parse().unwrap());
        let exchange = Exchange {
            base: &base,
            answered: &base,
            public: &public_url(PREFIX),
        };
        rewrite(&mut fields, &exchange, &allowed);
        let rewritten = fields.text_of(&header::LOCATION).unwrap();
        (rewritten.to_owned(), allowed)
    }

    #[test]
    fn paths_below_the_configured_url_are_below_the_public_one() {
        for (own, below) in [
            ("http://clock:7777/mcp/jobs/1?a=1#b", "/jobs/1?a=1#b"),
            ("/mcp", ""),
            ("/mcp/", ""),
            ("jobs/1", "/jobs/1"),
            ("https://pool.example/mcp/jobs", "/jobs"),
            ("/mcp/?k=1", ""),
            ("/mcp/jobs?k=1&a=2", "/jobs?a=2"),
            ("/mcp/jobs?k=12", "/jobs?k=12"),
            ("/mcp/jobs?a=2&k=1&b=3#c", "/jobs?a=2&b=3#c"),
            ("/mcp/jobs?a=2&k=1", "/jobs?a=2"),
            ("/mcp/jobs?", "/jobs?"),
        ] {
            assert_eq!(
                rewritten("http://clock:7777/mcp/?k=1", own).0,
                format!("{PREFIX}{below}"),
                "{own}"
            );
        }
        assert_eq!(
            rewritten("http://clock:7777", "/anything").0,
            format!("{PREFIX}/anything")
        );
    }

    #[test]
    fn other_paths_of_the_provider_become_reachable() {
        for (own, path) in [
            ("/other?a=1", "/other"),
            ("http://clock:7777/mcpx", "/mcpx"),
            ("../up", "/up"),
        ] {
            let (public, allowed) = rewritten("http://clock:7777/mcp/", own);
            let rest = &own[end_of_path(own)..];
            assert_eq!(public, format!("{PREFIX}/~announced{path}{rest}"));
            assert!(
                allowed.resolve(&format!("/~announced{path}")).is_some(),
                "{own}"
            );
        }
        // A path with a meaning of its own below the public URL takes the other form.
        assert_eq!(
            rewritten("http://clock:7777", "/~at/x").0,
            format!("{PREFIX}/~announced/~at/x")
        );
    }

    #[test]
    fn addresses_elsewhere_are_not_changed() {
        for elsewhere in [
            "https://login.example/authorize?a=b",
            "http://clock:1/mcp",
            "cursor://x/y",
            "//other/mcp",
            "",
        ] {
            assert_eq!(rewritten("http://clock:7777/mcp/", elsewhere).0, elsewhere);
        }
    }

    #[test]
    fn every_value_is_rewritten_in_its_place() {
        let base = Uri::from_static("http://clock:7777/mcp");
        let mut fields = Fields::new();
        for own in [&b"/mcp/a"[..], b"\xff", b"https://elsewhere.example/"] {
            assert!(fields.append_bytes(&header::LOCATION, own));
        }
        let exchange = Exchange {
            base: &base,
            answered: &base,
            public: &public_url(PREFIX),
        };
        rewrite(&mut fields, &exchange, &AllowedPaths::default());
        let values: Vec<_> = fields
            .all_values(&header::LOCATION)
            .map(FieldValue::as_bytes)
            .collect();

        assert_eq!(
            values,
            [
                &b"/api/mcp/id/x/a"[..],
                b"\xff",
                b"https://elsewhere.example/"
            ]
        );
    }
}
