//! The names of headers that end at llamapool, in one table for both hops and both directions.
//!
//! A *request* loses the headers by which a proxy tells a provider about the caller, and those that
//! make a provider or a proxy treat it as another request: they would be the caller's own word, and
//! a provider believes its proxy. A *response* loses the headers that speak for the whole origin,
//! which all providers share, and those that command the proxy in front of the server.
//!
//! Names are compared with `_` as `-`: gateways that make variables of them (RFC 3875, section
//! 4.1.18) cannot distinguish the two. Headers of one hop are not here but in `hop_by_hop`.

use std::borrow::Cow;
use std::sync::LazyLock;

use http::HeaderName;

/// Statements of a proxy about the caller: its address, the URL that it asked for, its certificate
/// (RFC 7239; RFC 9440; the documentation of proxies and content delivery networks). A `*` at the
/// end stands for anything.
const ABOUT_THE_CALLER: &[&str] = &[
    "ali-cdn-real-ip",
    "cdn-real-ip",
    "cdn-src-ip",
    "cf-connecting-*",
    "cf-ipcountry",
    "cf-pseudo-ipv4",
    "cf-visitor",
    "client-cert",
    "client-cert-chain",
    "client-ip",
    "cluster-client-ip",
    "fastly-client-ip",
    "fastly-ssl",
    "fly-client-ip",
    "fly-forwarded-*",
    "forwarded",
    "forwarded-*",
    "front-end-https",
    "incap-client-ip",
    "remote-addr",
    "ssl-client-*",
    "true-client-ip",
    "wl-proxy-*",
    "x-amzn-mtls-*",
    "x-appengine-*",
    "x-arr-*",
    "x-azure-clientip",
    "x-azure-socketip",
    "x-client-cert",
    "x-client-cert-*",
    "x-client-ip",
    "x-cluster-client-ip",
    "x-forwarded",
    "x-forwarded-*",
    "x-nf-client-connection-ip",
    "x-originating-*",
    "x-proxyuser-ip",
    "x-real-*",
    "x-remote-addr",
    "x-remote-ip",
    "x-scheme",
    "x-ssl-*",
    "x-sucuri-clientip",
    "x-true-client-ip",
    "x-url-scheme",
    "x-vercel-forwarded-*",
    "x-vercel-ip-*",
];

/// Commands to treat a request as another one: another method, another URL, another way to send the
/// answer. `Proxy` becomes the variable `HTTP_PROXY` in CGI (CVE-2016-5385).
const OF_ANOTHER_REQUEST: &[&str] = &[
    "proxy",
    "surrogate-*",
    "x-accel-*",
    "x-envoy-*",
    "x-host",
    "x-http-host-override",
    "x-http-method",
    "x-http-method-override",
    "x-http-methodoverride",
    "x-method-override",
    "x-original-*",
    "x-override-url",
    "x-rewrite-*",
    "x-sendfile-*",
];

/// Statements about the whole origin, which the provider of one id cannot make for all others.
/// `Refresh` leads the page away without a word of the caller, as no other header does.
const OF_THE_ORIGIN: &[&str] = &[
    "accept-ch",
    "accept-ch-lifetime",
    "access-control-allow-credentials",
    "activate-storage-access",
    "alt-svc",
    "attribution-reporting-*",
    "clear-site-data",
    "critical-ch",
    "expect-ct",
    "nel",
    "observe-browsing-topics",
    "origin-agent-cluster",
    "origin-isolation",
    "origin-trial",
    "public-key-pins",
    "public-key-pins-report-only",
    "refresh",
    "report-to",
    "reporting-endpoints",
    "sec-session-*",
    "secure-session-*",
    "service-worker-allowed",
    "set-cookie2",
    "set-login",
    "strict-transport-security",
    "use-as-dictionary",
];

/// Commands to a proxy: files and URLs that it serves instead (nginx, lighttpd, Apache, LiteSpeed,
/// Perlbal, H2O, `mod_zip`), and what its cache stores, tags and forgets (the Edge Architecture
/// specification, Varnish, content delivery networks). Those of RFC 9213 end in `-cache-control`.
const TO_A_PROXY: &[&str] = &[
    "cache-tag",
    "cache-tags",
    "edge-cache-tag",
    "edge-control",
    "hash-two",
    "netlify-cache-tag",
    "netlify-vary",
    "proxy-authentication-info",
    "surrogate-*",
    "vercel-cache-tag",
    "x-accel-*",
    "x-archive-*",
    "x-cache-tag",
    "x-cache-tags",
    "x-envoy-*",
    "x-esi",
    "x-fastly-*",
    "x-lighttpd-*",
    "x-litespeed-*",
    "x-reproxy-*",
    "x-sendfile",
    "x-sendfile2",
    "x-sendfile-*",
    "x-xkey",
    "xkey",
];
/// The end of the names of cache commands to one kind of proxy (RFC 9213).
const TARGETED_CACHE_CONTROL: &str = "-cache-control";
/// The one command to a proxy that a provider may give: it concerns the buffering of its own answer
/// alone.
const BUFFERING: &str = "x-accel-buffering";

/// Names that frame a message or that each hop sets itself. With a `-` they are handled where they
/// have their meaning; with a `_` they are nothing but another spelling.
const ONLY_WITH_UNDERSCORE: &[&str] = &[
    "content-length",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "transfer-encoding",
    "x-request-id",
];

static IN_REQUESTS: LazyLock<NameTable> =
    LazyLock::new(|| NameTable::new(&[ABOUT_THE_CALLER, OF_ANOTHER_REQUEST]));
static IN_RESPONSES: LazyLock<NameTable> =
    LazyLock::new(|| NameTable::new(&[OF_THE_ORIGIN, TO_A_PROXY]));

/// Returns whether a caller's request loses the header of this name.
pub fn is_reserved_in_request(name: &HeaderName) -> bool {
    is_listed(name, |name| IN_REQUESTS.contains(name))
}

/// Returns whether a provider's response loses the header of this name.
pub fn is_reserved_in_response(name: &HeaderName) -> bool {
    name.as_str() != BUFFERING
        && is_listed(name, |name| {
            IN_RESPONSES.contains(name) || name.ends_with(TARGETED_CACHE_CONTROL)
        })
}

/// Returns whether a list has a name in any spelling. With a `_`, it may also be another spelling of
/// one that HTTP or llamapool gives a meaning.
fn is_listed(name: &HeaderName, contains: impl Fn(&str) -> bool) -> bool {
    match folded(name) {
        Cow::Borrowed(name) => contains(name),
        Cow::Owned(name) => contains(&name) || ONLY_WITH_UNDERSCORE.contains(&name.as_str()),
    }
}

/// Returns a name with `_` as `-`, the form in which names are compared.
pub fn folded(name: &HeaderName) -> Cow<'_, str> {
    let name = name.as_str();
    if name.as_bytes().contains(&b'_') {
        Cow::Owned(name.replace('_', "-"))
    } else {
        Cow::Borrowed(name)
    }
}

/// Names and beginnings of names, found by a byte that few of them share: every header of every call
/// is looked up.
struct NameTable(Vec<Vec<&'static str>>);

impl NameTable {
    fn new(lists: &[&'static [&'static str]]) -> Self {
        let mut table = vec![Vec::new(); 1 << 8];
        for &name in lists.iter().copied().flatten() {
            table[Self::place(name)].push(name);
        }
        Self(table)
    }

    fn contains(&self, name: &str) -> bool {
        let names = &self.0[Self::place(name)];
        names.iter().any(|&listed| match listed.strip_suffix('*') {
            Some(beginning) => name.starts_with(beginning),
            None => name == listed,
        })
    }

    /// Returns the place of a name: its first byte, behind `x-` the one after that. Names are ASCII,
    /// so the upper half of the places is free for those.
    fn place(name: &str) -> usize {
        match *name.as_bytes() {
            [b'x', b'-', third, ..] => usize::from(third | 0x80),
            [first, ..] => usize::from(first & 0x7f),
            [] => 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(name: &str) -> HeaderName {
        HeaderName::from_bytes(name.as_bytes()).unwrap()
    }

    #[test]
    fn a_caller_cannot_speak_as_a_proxy_in_any_spelling() {
        for reserved in [
            "X-Forwarded-For",
            "x_forwarded_for",
            "X-Forwarded_Proto",
            "Forwarded",
            "CF-Connecting-IP",
            "True-Client-IP",
            "true_client_ip",
            "X-Original-URL",
            "X-Rewrite-URL",
            "X-HTTP-Method-Override",
            "Proxy",
            "X-Accel-Mapping",
            "X-Sendfile-Type",
            "Content_Length",
            "Transfer_Encoding",
            "X_Request_Id",
        ] {
            assert!(is_reserved_in_request(&name(reserved)), "{reserved}");
        }
        for other in [
            "Content-Length",
            "X-Request-Id",
            "Accept",
            "Mcp-Param-user_id",
            "Mcp_Something",
            "X-Api-Key",
            "X-Forwardedness",
            "Traceparent",
            "X",
            "X-",
        ] {
            assert!(!is_reserved_in_request(&name(other)), "{other}");
        }
    }

    #[test]
    fn a_provider_speaks_for_itself_and_commands_no_proxy() {
        for reserved in [
            "Service-Worker-Allowed",
            "Clear-Site-Data",
            "NEL",
            "Report-To",
            "Reporting-Endpoints",
            "Strict-Transport-Security",
            "Alt-Svc",
            "Refresh",
            "Access-Control-Allow-Credentials",
            "X-Accel-Redirect",
            "X_Accel_Redirect",
            "X_Accel_Buffering",
            "X-Sendfile",
            "X-LIGHTTPD-send-file",
            "X-LiteSpeed-Location",
            "X-Reproxy-URL",
            "X-Archive-Files",
            "Surrogate-Control",
            "Surrogate-Key",
            "CDN-Cache-Control",
            "Cloudflare-CDN-Cache-Control",
            "Edge-Control",
            "Content_Length",
        ] {
            assert!(is_reserved_in_response(&name(reserved)), "{reserved}");
        }
        for other in [
            "X-Accel-Buffering",
            "Cache-Control",
            "Content-Length",
            "Set-Cookie",
            "Content-Security-Policy",
            "Access-Control-Allow-Origin",
            "Mcp-Session-Id",
            "Location",
            "Retry-After",
        ] {
            assert!(!is_reserved_in_response(&name(other)), "{other}");
        }
    }

    #[test]
    fn every_listed_name_is_found() {
        let found = |is_reserved: fn(&HeaderName) -> bool, listed: &str| {
            let example = listed.replace('*', "anything");
            assert!(is_reserved(&name(&example)), "{example}");
            assert!(is_reserved(&name(&example.replace('-', "_"))), "{example}");
        };
        for listed in [ABOUT_THE_CALLER, OF_ANOTHER_REQUEST].concat() {
            found(is_reserved_in_request, listed);
        }
        for listed in [OF_THE_ORIGIN, TO_A_PROXY].concat() {
            found(is_reserved_in_response, listed);
        }
    }
}
