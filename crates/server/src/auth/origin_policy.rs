//! The accepted values of `Origin` and `Host` (MCP 2025-11-25 and 2026-07-28, transports,
//! security).
//!
//! A browser that was lured to a hostile page can reach a server on loopback through DNS rebinding;
//! its `Origin` and its `Host` give it away. Programs send no `Origin` and are not concerned.

use std::net::IpAddr;

use axum::http::{HeaderName, Uri, header};
use llamapool_head::{FieldLookup, FieldValue};
use llamapool_http::host::{AllowedHosts, without_port};
use llamapool_wire::{CallError, Cause};

use super::AuthConfig;

/// The most characters of a refused value that an error message quotes.
const QUOTED_CHARS: usize = 128;

/// The policy for `Origin` and `Host`.
#[derive(Debug)]
pub(crate) struct OriginPolicy {
    allowed_origins: Vec<String>,
    allows_any_origin: bool,
    hosts: AllowedHosts,
    /// The host of the public URL.
    own_host: Option<String>,
}

/// The `Host` and the `Origin` of a request, each sent once at most.
#[derive(Debug)]
pub(crate) struct HostAndOrigin<'a, H> {
    host: Option<&'a str>,
    origin: Option<(&'a str, FieldValue<'a>)>,
    headers: &'a H,
}

impl<'a, H: FieldLookup> HostAndOrigin<'a, H> {
    /// Reads both headers of a request. Fails if one is there twice: two readers that take one of
    /// several may take different ones. That is checked on every port, for every request.
    pub(crate) fn read(headers: &'a H) -> Result<Self, CallError> {
        let host = the_one(headers, &header::HOST).map_err(|wrong| host_refused(&wrong))?;
        let origin = the_one(headers, &header::ORIGIN).map_err(|wrong| origin_refused(&wrong))?;
        Ok(Self {
            host: host.map(|(text, _)| text),
            origin,
            headers,
        })
    }

    /// Returns the headers that both were read of.
    pub(crate) fn headers(&self) -> &'a H {
        self.headers
    }

    /// Returns the `Origin` as it was sent.
    pub(crate) fn origin_value(&self) -> Option<FieldValue<'a>> {
        self.origin.map(|(_, value)| value)
    }
}

impl OriginPolicy {
    /// Returns the policy of a server that listens on `bind`.
    pub(crate) fn new(config: &AuthConfig, public_url: Option<&Uri>, bind: IpAddr) -> Self {
        let mut allowed_origins = lowercase(&config.allowed_origins);
        // Pages of the server's own come from providers that sign callers in. The address that a
        // request names is no reason: with DNS rebinding it names what the hostile page wants.
        allowed_origins.extend(public_url.and_then(origin_of));

        Self {
            allows_any_origin: allowed_origins.iter().any(|origin| origin == "*"),
            allowed_origins,
            hosts: AllowedHosts::new(&config.allowed_hosts, bind),
            own_host: public_url.and_then(Uri::host).map(str::to_owned),
        }
    }

    /// Checks both, `Host` and `Origin`.
    pub(crate) fn check(
        &self,
        source: &HostAndOrigin<'_, impl FieldLookup>,
        uri: &Uri,
    ) -> Result<(), CallError> {
        self.check_host(source, uri)?;
        self.check_origin(source)
    }

    /// Checks what [`check`](Self::check) does of a request whose `Host` is one that it has admitted.
    pub(super) fn check_again(
        &self,
        source: &HostAndOrigin<'_, impl FieldLookup>,
    ) -> Result<(), CallError> {
        self.check_rebound(source, source.host.unwrap_or_default())?;
        self.check_origin(source)
    }

    /// Checks that a request addresses this server at all: for documents that pages of any origin
    /// may read.
    pub(crate) fn check_host(
        &self,
        source: &HostAndOrigin<'_, impl FieldLookup>,
        uri: &Uri,
    ) -> Result<(), CallError> {
        let sent = match uri.authority() {
            Some(authority) => authority.as_str(),
            None => source.host.unwrap_or_default(),
        };

        // The name of the public URL is one that the operator chose.
        if !self.hosts.allows(sent) && !self.is_own(sent) {
            return Err(host_refused(&format!("the Host {}", quoted(sent))));
        }
        self.check_rebound(source, sent)
    }

    /// Checks that a request is not that of a page whose name was bound to this server's address.
    fn check_rebound(
        &self,
        source: &HostAndOrigin<'_, impl FieldLookup>,
        sent: &str,
    ) -> Result<(), CallError> {
        if self.hosts.may_be_rebound(sent, source.headers) && !self.is_own(sent) {
            let wrong = format!("the Host {} in a browser without TLS", quoted(sent));
            return Err(host_refused(&wrong));
        }
        Ok(())
    }

    fn is_own(&self, sent: &str) -> bool {
        let own = self.own_host.as_deref();
        own.is_some_and(|own| own.eq_ignore_ascii_case(without_port(sent)))
    }

    /// Checks that a request comes from no page, or from one of an allowed origin: for what
    /// programs request under any name of the server.
    pub(crate) fn check_origin(
        &self,
        source: &HostAndOrigin<'_, impl FieldLookup>,
    ) -> Result<(), CallError> {
        let Some((origin, _)) = source.origin else {
            return Ok(());
        };
        let origin = origin.to_ascii_lowercase();

        let is_own_machine = self.hosts.allows_own_page(&origin);
        let is_listed = self.allows_any_origin || self.allowed_origins.contains(&origin);

        if origin != "null" && (is_own_machine || is_listed) {
            Ok(())
        } else {
            Err(origin_refused(&format!("the Origin {}", quoted(&origin))))
        }
    }
}

fn lowercase(entries: &[String]) -> Vec<String> {
    entries
        .iter()
        .map(|entry| entry.to_ascii_lowercase())
        .collect()
}

/// Returns the origin of a URL, as browsers write it.
fn origin_of(url: &Uri) -> Option<String> {
    let scheme = url.scheme_str()?;
    let authority = url.authority()?;

    let default_port = if scheme == "https" { 443 } else { 80 };
    let port = authority
        .port_u16()
        .filter(|&port| port != default_port)
        .map(|port| format!(":{port}"))
        .unwrap_or_default();

    let origin = format!("{scheme}://{}{port}", authority.host());
    Some(origin.to_ascii_lowercase())
}

/// Returns the only value of a header. Fails with what is wrong, if there are several or one that
/// is no text.
fn the_one<'a>(
    headers: &'a impl FieldLookup,
    name: &'a HeaderName,
) -> Result<Option<(&'a str, FieldValue<'a>)>, String> {
    let mut values = headers.all_values(name);
    match (values.next(), values.next()) {
        (None, _) => Ok(None),
        (Some(value), None) => match value.to_str() {
            Ok(text) => Ok(Some((text, value))),
            Err(_) => Err(format!("the {name} header is not ASCII text")),
        },
        (Some(_), Some(_)) => Err(format!("more than one {name} header")),
    }
}

fn host_refused(wrong: &str) -> CallError {
    CallError::new(
        Cause::HostRefused,
        format!(
            "{wrong} is refused, expected the host of PUBLIC_URL or one that ALLOWED_HOSTS lists"
        ),
    )
}

fn origin_refused(wrong: &str) -> CallError {
    CallError::new(
        Cause::OriginRefused,
        format!("{wrong} is refused, expected an origin that ALLOWED_ORIGINS lists"),
    )
}

/// Returns a value from outside, cut, for an error message.
fn quoted(value: &str) -> String {
    format!("{:?}", value.chars().take(QUOTED_CHARS).collect::<String>())
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderMap;

    use super::*;

    fn policy(origins: &[&str], hosts: &[&str], bind: &str) -> OriginPolicy {
        let list = |entries: &[&str]| entries.iter().map(|&entry| entry.to_owned()).collect();
        let config = AuthConfig {
            allowed_origins: list(origins),
            allowed_hosts: list(hosts),
            ..AuthConfig::default()
        };
        OriginPolicy::new(&config, None, bind.parse().unwrap())
    }

    fn refusal(policy: &OriginPolicy, pairs: &[(HeaderName, &'static str)]) -> Option<Cause> {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(name, value.parse().unwrap());
        }
        let source = match HostAndOrigin::read(&headers) {
            Ok(source) => source,
            Err(failure) => return Some(failure.cause),
        };

        policy
            .check(&source, &Uri::from_static("/api/state"))
            .err()
            .map(|failure| failure.cause)
    }

    const HOST: HeaderName = header::HOST;
    const ORIGIN: HeaderName = header::ORIGIN;

    #[test]
    fn loopback_admits_loopback_names_and_origins_only() {
        let policy = policy(&[], &[], "127.0.0.1");
        for host in [
            "localhost:8080",
            "localhost",
            "127.0.0.1:1",
            "[::1]:8080",
            "LOCALHOST",
        ] {
            assert_eq!(refusal(&policy, &[(HOST, host)]), None, "{host}");
        }
        for host in [
            "evil.example",
            "localhost.evil.example",
            "127.0.0.1.evil.example",
            "",
            "10.0.0.1",
        ] {
            assert_eq!(
                refusal(&policy, &[(HOST, host)]),
                Some(Cause::HostRefused),
                "{host}"
            );
        }

        let local = (HOST, "localhost:8080");
        for origin in [
            "http://localhost:3000",
            "http://127.0.0.1",
            "https://[::1]:1",
        ] {
            assert_eq!(
                refusal(&policy, &[local.clone(), (ORIGIN, origin)]),
                None,
                "{origin}"
            );
        }
        for origin in [
            "http://evil.example",
            "null",
            "http://localhost:1/x",
            "http://localhost.evil.example",
            "localhost",
        ] {
            let refused = refusal(&policy, &[local.clone(), (ORIGIN, origin)]);
            assert_eq!(refused, Some(Cause::OriginRefused), "{origin}");
        }
    }

    #[test]
    fn a_public_address_admits_any_host_and_listed_origins() {
        let policy = policy(&["https://app.example"], &[], "0.0.0.0");
        assert_eq!(refusal(&policy, &[(HOST, "anything.example")]), None);
        assert_eq!(refusal(&policy, &[(ORIGIN, "https://APP.example")]), None);
        assert_eq!(
            refusal(&policy, &[(ORIGIN, "http://app.example")]),
            Some(Cause::OriginRefused)
        );
        assert_eq!(
            refusal(&policy, &[(ORIGIN, "http://localhost:3000")]),
            Some(Cause::OriginRefused)
        );
    }

    /// Its `GET` has no `Origin`. Programs under the same name are admitted.
    #[test]
    fn a_rebound_page_is_refused_on_a_public_address() {
        let agent = (header::USER_AGENT, "Mozilla/5.0");
        let rebound = [(HOST, "evil.example:8080"), agent.clone()];
        let open = policy(&[], &[], "0.0.0.0");
        assert_eq!(refusal(&open, &rebound), Some(Cause::HostRefused));
        assert_eq!(refusal(&open, &rebound[..1]), None);

        let public_url = Uri::from_static("http://pool.example/llama");
        let any = IpAddr::from([0, 0, 0, 0]);
        let with_url = OriginPolicy::new(&AuthConfig::default(), Some(&public_url), any);
        assert_eq!(refusal(&with_url, &rebound), Some(Cause::HostRefused));
        assert_eq!(
            refusal(&with_url, &[(HOST, "POOL.example:80"), agent]),
            None
        );
    }

    #[test]
    fn pages_of_a_configured_public_address_are_admitted() {
        for (url, origin) in [
            ("https://Pool.example/llama", "https://pool.example"),
            ("https://pool.example:443", "https://pool.example"),
            ("http://pool.example:8080/", "http://pool.example:8080"),
        ] {
            let public_url = Uri::from_static(url);
            let policy = OriginPolicy::new(
                &AuthConfig::default(),
                Some(&public_url),
                IpAddr::from([0, 0, 0, 0]),
            );
            assert_eq!(refusal(&policy, &[(ORIGIN, origin)]), None, "{url}");
            assert_eq!(
                refusal(&policy, &[(ORIGIN, "https://pool.example:1")]),
                Some(Cause::OriginRefused),
                "{url}"
            );
        }

        let unconfigured = policy(&[], &[], "0.0.0.0");
        let rebound = [(HOST, "evil.example"), (ORIGIN, "http://evil.example")];
        assert_eq!(refusal(&unconfigured, &rebound), Some(Cause::OriginRefused));
    }

    #[test]
    fn several_origins_or_hosts_are_refused_if_each_is_allowed() {
        let policy = policy(&["*"], &["a.example"], "0.0.0.0");
        assert_eq!(
            refusal(
                &policy,
                &[(HOST, "a.example"), (ORIGIN, "https://b.example")]
            ),
            None
        );

        let twice = [
            (HOST, "a.example"),
            (ORIGIN, "https://b.example"),
            (ORIGIN, "https://b.example"),
        ];
        assert_eq!(refusal(&policy, &twice), Some(Cause::OriginRefused));
        assert_eq!(
            refusal(&policy, &[(HOST, "a.example"), (HOST, "a.example")]),
            Some(Cause::HostRefused)
        );
        assert_eq!(
            refusal(&policy, &[(HOST, "a.example"), (ORIGIN, "null")]),
            Some(Cause::OriginRefused)
        );

        for name in [HOST, ORIGIN] {
            let mut headers = HeaderMap::new();
            headers.append(&name, "https://b.example".parse().unwrap());
            assert!(HostAndOrigin::read(&headers).is_ok());
            headers.append(&name, "https://b.example".parse().unwrap());
            assert!(
                HostAndOrigin::read(&headers).is_err(),
                "{name}, in spite of *"
            );
        }
    }

    #[test]
    fn listed_hosts_are_compared_without_their_port() {
        let policy = policy(&[], &["Pool.example", "[2001:db8::1]"], "127.0.0.1");
        assert_eq!(refusal(&policy, &[(HOST, "pool.example:8443")]), None);
        assert_eq!(refusal(&policy, &[(HOST, "[2001:db8::1]:8443")]), None);
        assert_eq!(refusal(&policy, &[(HOST, "[2001:DB8::1]")]), None);
        assert_eq!(
            refusal(&policy, &[(HOST, "[2001:db8::2]:8443")]),
            Some(Cause::HostRefused)
        );
        assert_eq!(
            refusal(&policy, &[(HOST, "localhost:8443")]),
            Some(Cause::HostRefused)
        );
    }
}
