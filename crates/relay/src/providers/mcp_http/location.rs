//! Where an answer leads (`Location`: RFC 9110, section 10.2.2), as its caller must read it.
//!
//! An address of the provider's own becomes a path below the public URL; one elsewhere stays as it came. The path that
//! is led to becomes reachable, as the provider itself has announced it.

use http::{HeaderMap, HeaderValue, Uri, header};
use llamapool_wire::path;

use super::announced::Announced;
use super::own_url::{PublicPlace, end_of_path, own_path};

/// Who asked, and where the answer came from.
pub(super) struct Asked<'a> {
    /// The configured URL.
    pub(super) base: &'a Uri,
    /// The URL that was answered.
    pub(super) answered: &'a Uri,
    /// Where the caller is.
    pub(super) public: &'a PublicPlace,
}

/// Makes every place that an answer leads to one that its caller can reach.
pub(super) fn make_public(headers: &mut HeaderMap, asked: &Asked<'_>, announced: &Announced) {
    let places: Vec<_> = headers.get_all(header::LOCATION).iter().cloned().collect();
    headers.remove(header::LOCATION);
    for place in places {
        let public = place
            .to_str()
            .ok()
            .and_then(|own| public_form(own, asked, announced));
        let public = public.and_then(|public| HeaderValue::from_str(&public).ok());
        headers.append(header::LOCATION, public.unwrap_or(place));
    }
}

fn public_form(address: &str, asked: &Asked<'_>, announced: &Announced) -> Option<String> {
    let own = own_path(asked.answered, Some(asked.public), address)?;
    let prefix = asked.public.prefix();
    let (path, rest) = own.split_at(end_of_path(&own));
    if let Some(below) = below_base(asked.base, path) {
        return Some(format!(
            "{prefix}{below}{}",
            without_base_query(asked.base, rest)
        ));
    }
    announced
        .led_to(path)
        .then(|| format!("{prefix}{}{path}{rest}", path::ANNOUNCED))
}

/// What a path has behind the configured one, if it is at or below that and can be said so.
fn below_base<'a>(base: &Uri, path: &'a str) -> Option<&'a str> {
    let below = path.strip_prefix(base.path().trim_end_matches('/'))?;
    match below {
        "" | "/" => Some(""),
        _ if below.starts_with(path::ANNOUNCED) || below.starts_with(path::AT) => None,
        _ => below.starts_with('/').then_some(below),
    }
}

/// Query and fragment without the query of the configured URL, which the relay adds again and which may be a key.
fn without_base_query(base: &Uri, rest: &str) -> String {
    let Some(own) = base.query().filter(|own| !own.is_empty()) else {
        return rest.to_owned();
    };
    let (query, fragment) = rest.split_at(rest.find('#').unwrap_or(rest.len()));
    let without = query
        .strip_prefix('?')
        .and_then(|query| query.strip_prefix(own));
    match without {
        Some("") => fragment.to_owned(),
        Some(more) if more.starts_with('&') => format!("?{}{fragment}", &more[1..]),
        _ => rest.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::own_url::tests::public;
    use super::*;

    const PREFIX: &str = "/api/mcp/id/x";

    fn led(base: &'static str, location: &str) -> (String, Announced) {
        let (base, announced) = (Uri::from_static(base), Announced::default());
        let mut headers = HeaderMap::new();
        headers.insert(header::LOCATION, location.parse().unwrap());
        let asked = Asked {
            base: &base,
            answered: &base,
            public: &public(PREFIX),
        };
        make_public(&mut headers, &asked, &announced);
        (
            headers[header::LOCATION].to_str().unwrap().to_owned(),
            announced,
        )
    }

    #[test]
    fn what_is_below_the_configured_url_is_below_the_public_one() {
        for (own, below) in [
            ("http://clock:7777/mcp/jobs/1?a=1#b", "/jobs/1?a=1#b"),
            ("/mcp", ""),
            ("/mcp/", ""),
            ("jobs/1", "/jobs/1"),
            ("https://pool.example/mcp/jobs", "/jobs"),
            ("/mcp/?k=1", ""),
            ("/mcp/jobs?k=1&a=2", "/jobs?a=2"),
            ("/mcp/jobs?k=12", "/jobs?k=12"),
        ] {
            assert_eq!(
                led("http://clock:7777/mcp/?k=1", own).0,
                format!("{PREFIX}{below}"),
                "{own}"
            );
        }
        assert_eq!(
            led("http://clock:7777", "/anything").0,
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
            let (public, announced) = led("http://clock:7777/mcp/", own);
            let rest = &own[end_of_path(own)..];
            assert_eq!(public, format!("{PREFIX}/~announced{path}{rest}"));
            assert!(
                announced.path_of(&format!("/~announced{path}")).is_some(),
                "{own}"
            );
        }
        // What has a meaning of its own below the public URL is said the other way.
        assert_eq!(
            led("http://clock:7777", "/~at/x").0,
            format!("{PREFIX}/~announced/~at/x")
        );
    }

    #[test]
    fn what_is_elsewhere_stays_as_it_came() {
        for elsewhere in [
            "https://login.example/authorize?a=b",
            "http://clock:1/mcp",
            "cursor://x/y",
            "//other/mcp",
            "",
        ] {
            assert_eq!(led("http://clock:7777/mcp/", elsewhere).0, elsewhere);
        }
    }

    #[test]
    fn every_value_is_looked_at_and_keeps_its_place() {
        let (base, mut headers) = (Uri::from_static("http://clock:7777/mcp"), HeaderMap::new());
        for own in [&b"/mcp/a"[..], b"\xff", b"https://elsewhere.example/"] {
            headers.append(header::LOCATION, HeaderValue::from_bytes(own).unwrap());
        }
        let asked = Asked {
            base: &base,
            answered: &base,
            public: &public(PREFIX),
        };
        make_public(&mut headers, &asked, &Announced::default());
        let values: Vec<_> = headers
            .get_all(header::LOCATION)
            .iter()
            .map(HeaderValue::as_bytes)
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
