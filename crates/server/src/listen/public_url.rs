//! The public address of this server: configured as `PUBLIC_URL`, or taken from a request.
//!
//! A request is believed only where it cannot lie about more than itself: the host that it
//! addresses, and, with `TRUST_FORWARDED`, what the reverse proxies in front add. Of several the
//! first counts, which the caller itself has reached.

use axum::http::uri::Authority;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Uri, header};

use super::peer::{CallerAddress, Peer};

pub(crate) const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
pub(crate) const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
pub(crate) const FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");

/// The source of the public address.
#[derive(Debug, Clone)]
pub(crate) struct PublicUrl {
    configured: Option<Uri>,
    trusts_forwarded: bool,
}

/// The public address, as one request addresses it.
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
    /// Returns the source of the public address.
    pub(crate) fn new(configured: Option<Uri>, trusts_forwarded: bool) -> Self {
        Self {
            configured,
            trusts_forwarded,
        }
    }

    /// Returns the address under which the sender of this request reaches the server. `None` if the
    /// request addresses no host.
    pub(crate) fn of(&self, headers: &HeaderMap, uri: &Uri) -> Option<Address> {
        if let Some(configured) = &self.configured {
            return Some(Address {
                scheme: scheme(configured.scheme_str()),
                authority: configured.authority()?.as_str().to_owned(),
                path: configured.path().trim_end_matches('/').to_owned(),
            });
        }

        let forwarded = |name: &HeaderName| self.forwarded(headers, name).next();
        let addressed = uri.authority().map(Authority::as_str);
        let host = forwarded(&FORWARDED_HOST)
            .or(addressed)
            .or_else(|| headers.get(header::HOST)?.to_str().ok())?;
        let authority: Authority = host.parse().ok()?;

        Some(Address {
            scheme: scheme(forwarded(&FORWARDED_PROTO)),
            authority: authority.as_str().to_owned(),
            path: String::new(),
        })
    }

    /// Returns the `X-Forwarded-For` of a request: the peer, behind those that a trusted proxy
    /// names.
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

    /// Returns the IP address of the caller: the peer's, or the first that a trusted proxy names.
    pub(crate) fn caller_ip(&self, headers: &HeaderMap, peer: Peer) -> String {
        let named = self.forwarded(headers, &FORWARDED_FOR).next();
        named.map_or_else(|| peer.0.ip().to_string(), str::to_owned)
    }

    /// Returns the address of the caller, as far as it counts as one party.
    pub(crate) fn caller_address<'a>(
        &self,
        headers: &'a HeaderMap,
        peer: Peer,
    ) -> CallerAddress<'a> {
        let named = self.forwarded(headers, &FORWARDED_FOR).next();
        named.map_or_else(|| peer.into(), CallerAddress::of)
    }

    /// Returns the entries of a header of the proxies in front, the outermost first: several lines
    /// are one list (RFC 9110, section 5.3).
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
    /// Returns the public URL of a path.
    pub(crate) fn url(&self, path: &str) -> String {
        format!("{}://{}{}{path}", self.scheme, self.authority, self.path)
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
    fn a_configured_address_counts_before_any_request() {
        let configured =
            PublicUrl::new(Some(Uri::from_static("https://pool.example/llama/")), true);
        assert_eq!(
            of(&configured, &[HOST, FORWARDED]).as_deref(),
            Some("https://pool.example/llama/p")
        );
    }

    #[test]
    fn a_proxy_is_believed_only_if_that_is_configured() {
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
    fn of_several_proxies_the_outermost_counts() {
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
        assert_eq!(trusting.caller_ip(&lines, peer), "1.1.1.1");

        let wary = PublicUrl::new(None, false);
        assert_eq!(wary.forwarded_for(&lines, peer).unwrap(), &*ip.to_string());
        assert_eq!(wary.caller_ip(&lines, peer), ip.to_string());
    }

    #[test]
    fn an_invalid_host_gives_no_address() {
        assert_eq!(of(&PublicUrl::new(None, false), &[]), None);
        assert_eq!(
            of(&PublicUrl::new(None, false), &[(header::HOST, "a b")]),
            None
        );
    }
}
