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
pub fn is_reserved_in_request<N: AsRef<[u8]> + ?Sized>(name: &N) -> bool {
    IN_REQUESTS.lists(name.as_ref())
}

/// Returns whether a provider's response loses the header of this name.
pub fn is_reserved_in_response<N: AsRef<[u8]> + ?Sized>(name: &N) -> bool {
    let name = name.as_ref();
    // It is an end, not a beginning.
    let beginning = name.len().saturating_sub(TARGETED_CACHE_CONTROL.len());
    let end = name.get(beginning..).unwrap_or_default();
    let is_same = |(&byte, other): (&u8, u8)| byte == other || (byte, other) == (b'_', b'-');
    if beginning > 0 && end.iter().zip(TARGETED_CACHE_CONTROL.bytes()).all(is_same) {
        return true;
    }
    name != BUFFERING.as_bytes() && IN_RESPONSES.lists(name)
}

/// Returns a name with `_` as `-`, the form in which names are compared.
pub fn folded<N: AsRef<str> + ?Sized>(name: &N) -> Cow<'_, str> {
    let name = name.as_ref();
    if name.as_bytes().contains(&b'_') {
        Cow::Owned(name.replace('_', "-"))
    } else {
        Cow::Borrowed(name)
    }
}

/// Returns the bytes of a name with `_` as `-`.
pub fn folded_bytes<N: AsRef<[u8]> + ?Sized>(name: &N) -> Cow<'_, [u8]> {
    let name = name.as_ref();
    if name.contains(&b'_') {
        let dashed = |&byte: &u8| if byte == b'_' { b'-' } else { byte };
        Cow::Owned(name.iter().map(dashed).collect())
    } else {
        Cow::Borrowed(name)
    }
}

/// Names and beginnings of names. Every header of every call is looked up, and hardly any is listed: most
/// are told by their first two bytes.
struct NameTable {
    /// A bit for each pair of bytes with which a listed name begins, in any spelling.
    starts: Vec<u64>,
    /// The names, by a byte that few of them share.
    names: Vec<Vec<&'static str>>,
}

impl NameTable {
    fn new(lists: &[&'static [&'static str]]) -> Self {
        let mut names = vec![Vec::new(); 1 << 8];
        let mut starts = vec![0; (1 << 16) / 64];
        for &name in lists.iter().copied().flatten() {
            names[Self::place(name.as_bytes())].push(name);
        }
        let listed = lists.iter().copied().flatten();
        for name in listed.chain(ONLY_WITH_UNDERSCORE) {
            let (word, bit) = Self::start(name.as_bytes());
            starts[word] |= bit;
        }
        Self { starts, names }
    }

    /// Returns whether a name is listed in any spelling. With a `_`, it may also be another spelling of one that
    /// HTTP or llamapool gives a meaning.
    fn lists(&self, name: &[u8]) -> bool {
        let (word, bit) = Self::start(name);
        let may_be = self.starts.get(word).is_some_and(|word| word & bit != 0);
        may_be
            && match folded_bytes(name) {
                Cow::Borrowed(name) => self.contains(name),
                Cow::Owned(name) => {
                    let mut others = ONLY_WITH_UNDERSCORE.iter();
                    self.contains(&name) || others.any(|other| other.as_bytes() == name)
                }
            }
    }

    fn contains(&self, name: &[u8]) -> bool {
        let names = &self.names[Self::place(name)];
        names.iter().any(|&listed| match listed.strip_suffix('*') {
            Some(beginning) => name.starts_with(beginning.as_bytes()),
            None => name == listed.as_bytes(),
        })
    }

    /// Returns the place of the first two bytes of a name: a word, and a bit of it.
    fn start(name: &[u8]) -> (usize, u64) {
        let dashed = |byte: u8| if byte == b'_' { b'-' } else { byte };
        let pair = match *name {
            [first, second, ..] => u16::from_be_bytes([dashed(first), dashed(second)]),
            _ => 0,
        };
        (usize::from(pair / 64), 1 << (pair % 64))
    }

    /// Returns the place of a name: its first byte, behind `x-` the one after that. Names are ASCII,
    /// so the upper half of the places is free for those.
    fn place(name: &[u8]) -> usize {
        match *name {
            [b'x', b'-', third, ..] => usize::from(third | 0x80),
            [first, ..] => usize::from(first & 0x7f),
            [] => 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderName;

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
            "Other-Cache-Control",
            "Other_Cache_Control",
            "Other_cache-control",
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
