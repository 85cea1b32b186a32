//! The public address of this server: configured as `PUBLIC_URL`, or taken from a request.
//!
//! A request is believed only where it cannot lie about more than itself: the host that it
//! addresses, and, with `TRUST_FORWARDED`, what the reverse proxies in front add. Most proxies append
//! to what a caller has sent, so of several entries the last is that of the peer, and those before it
//! count only as far as `TRUSTED_PROXIES` names the proxies that were passed.

use std::net::IpAddr;

use axum::http::uri::Authority;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Uri, header};
use ipnet::IpNet;
use llamapool_head::FieldLookup;
use llamapool_wire::PublicBase;

use super::peer::{CallerAddress, Peer};

pub(crate) const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
pub(crate) const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
pub(crate) const FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");

/// The source of the public address.
#[derive(Debug, Clone)]
pub(crate) struct PublicUrl {
    configured: Option<Uri>,
    trust: ForwardedTrust,
    /// The scheme of the listener's own connections.
    spoken: &'static str,
}

/// The reverse proxies whose word about a request is believed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) enum ForwardedTrust {
    /// None: the peer is the caller.
    #[default]
    Untrusted,
    /// The peer, and the proxies in front of it that have an address in one of these networks.
    Proxies(Vec<IpNet>),
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
    pub(crate) fn new(configured: Option<Uri>, trust: ForwardedTrust) -> Self {
        Self {
            configured,
            trust,
            spoken: "http",
        }
    }

    /// Returns the source of the public address of a listener that speaks TLS.
    pub(crate) fn over_tls(self) -> Self {
        Self {
            spoken: "https",
            ..self
        }
    }

    /// Returns whether the word of a proxy in front is believed.
    pub(crate) fn trusts_proxies(&self) -> bool {
        self.trust != ForwardedTrust::Untrusted
    }

    /// Returns the base of the public URLs, `None` if none is configured.
    pub(crate) fn base(&self) -> Option<PublicBase> {
        PublicBase::parse(&self.configured.as_ref()?.to_string())
    }

    /// Returns the address under which the sender of this request reaches the server. `None` if the
    /// request addresses no host.
    pub(crate) fn of(&self, headers: &impl FieldLookup, uri: &Uri) -> Option<Address> {
        if let Some(configured) = &self.configured {
            return Some(Address {
                scheme: scheme(configured.scheme_str()),
                authority: configured.authority()?.as_str().to_owned(),
                path: configured.path().trim_end_matches('/').to_owned(),
            });
        }

        let addressed = uri.authority().map(Authority::as_str);
        let host = self
            .forwarded(headers, &FORWARDED_HOST)
            .or(addressed)
            .or_else(|| headers.text_of(&header::HOST))?;
        let authority: Authority = host.parse().ok()?;

        Some(Address {
            scheme: match self.forwarded(headers, &FORWARDED_PROTO) {
                Some(forwarded) => scheme(Some(forwarded)),
                None => self.spoken,
            },
            authority: authority.as_str().to_owned(),
            path: String::new(),
        })
    }

    /// Returns the base of all public URLs, where it is set.
    pub(crate) fn configured_base(&self) -> Option<String> {
        self.configured.as_ref()?;
        let base = self.of(&HeaderMap::new(), &Uri::default())?;
        Some(base.url(""))
    }

    /// Returns the `X-Forwarded-For` of a request: the peer, behind the caller and the proxies that
    /// a trusted proxy names. What the caller itself has put in front of that is left out.
    pub(crate) fn forwarded_for(
        &self,
        headers: &impl FieldLookup,
        peer: Peer,
    ) -> Option<HeaderValue> {
        let peer = peer.0.ip().to_string();
        let mut path = String::new();

        for address in self.trusted_path(headers).into_iter().rev() {
            path.push_str(address);
            path.push_str(", ");
        }
        path.push_str(&peer);

        HeaderValue::try_from(path).ok()
    }

    /// Returns the IP address of the caller: the peer's, or the one that a trusted proxy names.
    pub(crate) fn caller_ip(&self, headers: &impl FieldLookup, peer: Peer) -> String {
        let named = self.trusted_path(headers).pop();
        named.map_or_else(|| peer.0.ip().to_string(), str::to_owned)
    }

    /// Returns the IP address of the caller, for rules about addresses: the peer's, or the one that a
    /// trusted proxy names. `None` if that is no IP address.
    pub(crate) fn address_of(&self, headers: &impl FieldLookup, peer: Peer) -> Option<IpAddr> {
        match self.trusted_path(headers).pop() {
            Some(named) => CallerAddress::ip_of(named),
            None => Some(peer.0.ip().to_canonical()),
        }
    }

    /// Returns the address of the caller, as far as it counts as one party.
    pub(crate) fn caller_address<'a>(
        &self,
        headers: &'a impl FieldLookup,
        peer: Peer,
    ) -> CallerAddress<'a> {
        let named = self.trusted_path(headers).pop();
        named.map_or_else(|| peer.into(), CallerAddress::of)
    }

    /// Returns the addresses in `X-Forwarded-For` that trusted proxies have put there, the peer's
    /// first. Each proxy appends the address that it was called from, so the entries are believed
    /// from the right up to the first one that is no trusted proxy: the caller. Those in front of it
    /// are that caller's own words.
    fn trusted_path<'a>(&self, headers: &'a impl FieldLookup) -> Vec<&'a str> {
        let ForwardedTrust::Proxies(proxies) = &self.trust else {
            return Vec::new();
        };
        let is_proxy = |entry: &str| {
            CallerAddress::ip_of(entry)
                .is_some_and(|ip| proxies.iter().any(|network| network.contains(&ip)))
        };

        let mut path = Vec::new();
        for entry in entries(headers, &FORWARDED_FOR) {
            path.push(entry);
            if !is_proxy(entry) {
                break;
            }
        }
        path
    }

    /// Returns the entry of another header of the proxies that the outermost trusted one has made. A
    /// proxy in between may replace the header, which then has fewer entries: the first counts.
    fn forwarded<'a>(&self, headers: &'a impl FieldLookup, name: &HeaderName) -> Option<&'a str> {
        if self.trust == ForwardedTrust::Untrusted {
            return None;
        }
        let proxies = self.trusted_path(headers).len().max(1);
        entries(headers, name).take(proxies).last()
    }
}

/// Returns the entries of a header of the proxies in front, the one that was added last first: several
/// lines are one list (RFC 9110, section 5.3).
fn entries<'a>(headers: &'a impl FieldLookup, name: &HeaderName) -> impl Iterator<Item = &'a str> {
    let lines = headers
        .all_values(name)
        .rev()
        .filter_map(|line| line.to_str().ok());
    lines
        .flat_map(|line| line.rsplit(','))
        .map(str::trim)
        .filter(|entry| !entry.is_empty())
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
        let headers: HeaderMap = pairs
            .iter()
            .map(|(name, value)| (name.clone(), HeaderValue::from_static(value)))
            .collect();
        public
            .of(&headers, &Uri::from_static("/api/mcp/id/x"))
            .map(|address| address.url("/p"))
    }

    fn trusting(proxies: &[&str]) -> ForwardedTrust {
        ForwardedTrust::Proxies(proxies.iter().map(|it| it.parse().unwrap()).collect())
    }

    fn lines(pairs: &[(HeaderName, &'static str)]) -> HeaderMap {
        let mut lines = HeaderMap::new();
        for (name, value) in pairs {
            lines.append(name, HeaderValue::from_static(value));
        }
        lines
    }

    const HOST: (HeaderName, &str) = (header::HOST, "pool.example:8080");
    const PROTO: (HeaderName, &str) = (FORWARDED_PROTO, "https");
    const FORWARDED: (HeaderName, &str) = (FORWARDED_HOST, "public.example");

    #[test]
    fn a_configured_address_counts_before_any_request() {
        let configured = PublicUrl::new(
            Some(Uri::from_static("https://pool.example/llama/")),
            trusting(&[]),
        );
        assert_eq!(
            of(&configured, &[HOST, FORWARDED]).as_deref(),
            Some("https://pool.example/llama/p")
        );
    }

    #[test]
    fn a_proxy_is_believed_only_if_that_is_configured() {
        let all = [HOST, PROTO, FORWARDED];
        assert_eq!(
            of(&PublicUrl::new(None, ForwardedTrust::Untrusted), &all).as_deref(),
            Some("http://pool.example:8080/p")
        );
        assert_eq!(
            of(&PublicUrl::new(None, trusting(&[])), &all).as_deref(),
            Some("https://public.example/p")
        );
        assert_eq!(
            of(&PublicUrl::new(None, trusting(&[])), &[HOST]).as_deref(),
            Some("http://pool.example:8080/p")
        );
    }

    #[test]
    fn a_listener_with_tls_gives_its_own_scheme() {
        let own = |trust| PublicUrl::new(None, trust).over_tls();
        assert_eq!(
            of(&own(ForwardedTrust::Untrusted), &[HOST]).as_deref(),
            Some("https://pool.example:8080/p")
        );

        let plain = || (FORWARDED_PROTO, "http");
        assert_eq!(
            of(&own(ForwardedTrust::Untrusted), &[HOST, plain()]).as_deref(),
            Some("https://pool.example:8080/p")
        );
        assert_eq!(
            of(&own(trusting(&[])), &[HOST, plain()]).as_deref(),
            Some("http://pool.example:8080/p")
        );
    }

    #[test]
    fn the_peer_is_believed_about_its_own_entry_alone() {
        let one_proxy = PublicUrl::new(None, trusting(&[]));
        let lists = [
            (FORWARDED_FOR, "6.6.6.6, 192.0.2.7"),
            (FORWARDED_HOST, "evil.example, public.example"),
            (FORWARDED_PROTO, "http, https"),
        ];
        let headers = lines(&lists);
        let peer = Peer::default();
        let ip = peer.0.ip();

        assert_eq!(one_proxy.caller_ip(&headers, peer), "192.0.2.7");
        assert_eq!(
            one_proxy.caller_address(&headers, peer),
            CallerAddress::of("192.0.2.7")
        );
        assert_eq!(
            one_proxy.forwarded_for(&headers, peer).unwrap(),
            &*format!("192.0.2.7, {ip}")
        );
        assert_eq!(
            of(&one_proxy, &lists).as_deref(),
            Some("https://public.example/p")
        );

        let wary = PublicUrl::new(None, ForwardedTrust::Untrusted);
        assert_eq!(wary.caller_ip(&headers, peer), ip.to_string());
        assert_eq!(
            wary.forwarded_for(&headers, peer).unwrap(),
            &*ip.to_string()
        );
    }

    #[test]
    fn proxies_with_names_are_passed_over() {
        let public = PublicUrl::new(None, trusting(&["10.0.0.0/8", "2001:db8::/32"]));
        let lists = [
            (FORWARDED_FOR, "6.6.6.6"),
            (FORWARDED_FOR, "192.0.2.7, [2001:db8::1]:4711"),
            (FORWARDED_FOR, " , 10.1.2.3"),
            (FORWARDED_HOST, "evil.example, public.example, edge"),
            (FORWARDED_HOST, "inner"),
            (FORWARDED_PROTO, "HTTPS"),
        ];
        let headers = lines(&lists);
        let peer = Peer::default();

        assert_eq!(public.caller_ip(&headers, peer), "192.0.2.7");
        assert_eq!(
            public.forwarded_for(&headers, peer).unwrap(),
            &*format!("192.0.2.7, [2001:db8::1]:4711, 10.1.2.3, {}", peer.0.ip())
        );
        assert_eq!(
            public.of(&headers, &Uri::from_static("/")).unwrap(),
            Address {
                scheme: "https",
                authority: "public.example".into(),
                path: String::new()
            }
        );

        let all_named = lines(&[(FORWARDED_FOR, "10.0.0.1, 10.0.0.2")]);
        assert_eq!(public.caller_ip(&all_named, peer), "10.0.0.1");
    }

    #[test]
    fn an_address_for_rules_is_the_one_of_a_proxy_that_is_trusted() {
        let address = |trust, forwarded| {
            let headers = lines(&[(FORWARDED_FOR, forwarded)]);
            let address = PublicUrl::new(None, trust).address_of(&headers, Peer::default());
            address.map(|address| address.to_string())
        };
        let peer = Some(Peer::default().0.ip().to_string());
        let some = |text: &str| Some(text.to_owned());

        assert_eq!(address(ForwardedTrust::Untrusted, "10.0.0.1"), peer);
        assert_eq!(
            address(trusting(&[]), "10.0.0.1, 192.0.2.7"),
            some("192.0.2.7")
        );
        let named = trusting(&["192.0.2.7/32"]);
        assert_eq!(
            address(named, "6.6.6.6, 10.0.0.1, 192.0.2.7"),
            some("10.0.0.1")
        );
        assert_eq!(
            address(trusting(&[]), "[::ffff:10.0.0.1]:80"),
            some("10.0.0.1")
        );
        assert_eq!(address(trusting(&[]), "10.0.0.1, unknown"), None);
        assert_eq!(address(trusting(&[]), ""), peer);
    }

    #[test]
    fn an_invalid_host_gives_no_address() {
        assert_eq!(
            of(&PublicUrl::new(None, ForwardedTrust::Untrusted), &[]),
            None
        );
        assert_eq!(
            of(
                &PublicUrl::new(None, ForwardedTrust::Untrusted),
                &[(header::HOST, "a b")]
            ),
            None
        );
    }
}
