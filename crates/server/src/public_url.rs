//! The address under which callers know this server: told by `PUBLIC_URL`, or read off a request.
//!
//! What a request says of it is believed only where it cannot lie about more than itself: the host that it addresses,
//! and, if `TRUST_FORWARDED` says so, what the reverse proxies in front add. Of several the first counts, which the caller
//! itself has reached.

use axum::http::uri::Authority;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Uri, header};

use crate::peer::Peer;

pub(crate) const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
pub(crate) const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
pub(crate) const FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");

/// Where the address comes from.
#[derive(Debug, Clone)]
pub(crate) struct PublicUrl {
    told: Option<Uri>,
    trusts_forwarded: bool,
}

/// The address, as one request knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Address {
    /// `http` or `https`.
    pub(crate) scheme: &'static str,
    /// Host and port.
    pub(crate) authority: String,
    /// The path below which everything is, without a slash at its end; mostly empty.
    pub(crate) path: String,
}

impl PublicUrl {
    pub(crate) fn new(told: Option<Uri>, trusts_forwarded: bool) -> Self {
        Self {
            told,
            trusts_forwarded,
        }
    }

    /// The address under which the sender of this request knows the server; nothing, if it addresses no host.
    pub(crate) fn of(&self, headers: &HeaderMap, uri: &Uri) -> Option<Address> {
        if let Some(told) = &self.told {
            let authority = told.authority()?.as_str().to_owned();
            let path = told.path().trim_end_matches('/').to_owned();
            return Some(Address {
                scheme: scheme(told.scheme_str()),
                authority,
                path,
            });
        }
        let forwarded = |name: &HeaderName| self.forwarded(headers, name).next();
        let addressed = uri.authority().map(Authority::as_str);
        let host = forwarded(&FORWARDED_HOST)
            .or(addressed)
            .or_else(|| headers.get(header::HOST)?.to_str().ok())?;
        let authority: Authority = host.parse().ok()?;
        let scheme = scheme(forwarded(&FORWARDED_PROTO));
        Some(Address {
            scheme,
            authority: authority.as_str().to_owned(),
            path: String::new(),
        })
    }

    /// Where the caller is: the peer, behind those whom a trusted proxy names.
    pub(crate) fn forwarded_for(&self, headers: &HeaderMap, peer: Peer) -> Option<HeaderValue> {
        let peer = peer.0.ip().to_string();
        let mut callers = String::new();
        for caller in self.forwarded(headers, &FORWARDED_FOR) {
            callers.push_str(caller);
            callers.push_str(", ");
        }
        callers.push_str(&peer);
        HeaderValue::try_from(callers).ok()
    }

    /// What tells callers apart by where they are.
    pub(crate) fn client(&self, headers: &HeaderMap, peer: Peer) -> String {
        let named = self.forwarded(headers, &FORWARDED_FOR).next();
        named.map_or_else(|| peer.0.ip().to_string(), str::to_owned)
    }

    /// What the proxies in front say, the outermost first: several lines are one list (RFC 9110, section 5.3).
    fn forwarded<'a>(
        &self,
        headers: &'a HeaderMap,
        name: &HeaderName,
    ) -> impl Iterator<Item = &'a str> + use<'a> {
        let lines = headers
            .get_all(name)
            .into_iter()
            .filter_map(|line| line.to_str().ok());
        let entries = lines
            .flat_map(|line| line.split(','))
            .map(str::trim)
            .filter(|entry| !entry.is_empty());
        entries.take(if self.trusts_forwarded { usize::MAX } else { 0 })
    }
}

impl Address {
    /// The public URL of a path.
    pub(crate) fn url(&self, path: &str) -> String {
        format!("{}://{}{}{path}", self.scheme, self.authority, self.path)
    }

    /// The URL of a well-known document about the resource at a path: its name comes first (RFC 9728, 3.1).
    pub(crate) fn well_known(&self, name: &str, path: &str) -> String {
        format!(
            "{}://{}/.well-known/{name}{}{path}",
            self.scheme, self.authority, self.path
        )
    }
}

fn scheme(text: Option<&str>) -> &'static str {
    if text.is_some_and(|text| text.eq_ignore_ascii_case("https")) {
        "https"
    } else {
        "http"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(public: &PublicUrl, pairs: &[(HeaderName, &'static str)]) -> Option<String> {
        let headers = pairs
            .iter()
            .map(|(name, value)| (name.clone(), HeaderValue::from_static(value)))
            .collect();
        public
            .of(&headers, &Uri::from_static("/api/mcp/id/x"))
            .map(|address| address.url("/p"))
    }

    const HOST: (HeaderName, &str) = (header::HOST, "pool.example:8080");
    const PROTO: (HeaderName, &str) = (FORWARDED_PROTO, "https");
    const FORWARDED: (HeaderName, &str) = (FORWARDED_HOST, "public.example");

    #[test]
    fn what_was_told_counts_whatever_the_request_says() {
        let told = PublicUrl::new(Some(Uri::from_static("https://pool.example/llama/")), true);
        assert_eq!(
            of(&told, &[HOST, FORWARDED]).as_deref(),
            Some("https://pool.example/llama/p")
        );
        let address = told.of(&HeaderMap::new(), &Uri::from_static("/")).unwrap();
        assert_eq!(
            address.well_known("name", "/p"),
            "https://pool.example/.well-known/name/llama/p"
        );
    }

    #[test]
    fn a_proxy_is_believed_only_if_somebody_said_so() {
        let all = [HOST, PROTO, FORWARDED];
        assert_eq!(
            of(&PublicUrl::new(None, false), &all).as_deref(),
            Some("http://pool.example:8080/p")
        );
        assert_eq!(
            of(&PublicUrl::new(None, true), &all).as_deref(),
            Some("https://public.example/p")
        );
        assert_eq!(
            of(&PublicUrl::new(None, true), &[HOST]).as_deref(),
            Some("http://pool.example:8080/p")
        );
    }

    #[test]
    fn of_several_proxies_the_outermost_counts_however_they_say_it() {
        let trusting = PublicUrl::new(None, true);
        for lists in [
            &[
                (FORWARDED_HOST, "public.example, inner"),
                (FORWARDED_PROTO, "https,http"),
            ][..],
            &[
                (FORWARDED_HOST, " ,public.example"),
                (FORWARDED_PROTO, "HTTPS"),
            ],
        ] {
            assert_eq!(
                of(&trusting, lists).as_deref(),
                Some("https://public.example/p"),
                "{lists:?}"
            );
        }
        let mut lines = HeaderMap::new();
        for (name, value) in [
            (FORWARDED_HOST, "public.example"),
            (FORWARDED_HOST, "inner"),
            (FORWARDED_FOR, "1.1.1.1"),
            (FORWARDED_FOR, "2.2.2.2, 3.3.3.3"),
        ] {
            lines.append(name, HeaderValue::from_static(value));
        }
        assert_eq!(
            trusting
                .of(&lines, &Uri::from_static("/"))
                .unwrap()
                .authority,
            "public.example"
        );
        let peer = Peer::default();
        let ip = peer.0.ip();
        assert_eq!(
            trusting.forwarded_for(&lines, peer).unwrap(),
            &*format!("1.1.1.1, 2.2.2.2, 3.3.3.3, {ip}")
        );
        assert_eq!(trusting.client(&lines, peer), "1.1.1.1");
        let wary = PublicUrl::new(None, false);
        assert_eq!(wary.forwarded_for(&lines, peer).unwrap(), &*ip.to_string());
        assert_eq!(wary.client(&lines, peer), ip.to_string());
    }

    #[test]
    fn a_host_that_is_none_gives_no_address() {
        assert_eq!(of(&PublicUrl::new(None, false), &[]), None);
        assert_eq!(
            of(&PublicUrl::new(None, false), &[(header::HOST, "a b")]),
            None
        );
    }
}
