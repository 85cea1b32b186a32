//! Redirect URIs: where the answer to an authorization goes.
//!
//! `https` with a host; `http` to this computer alone, with any port; and the schemes of programs
//! that are on a list. Lists of what is forbidden were passed by case and control characters, so
//! these are lists of what is allowed. Comparison is exact, but for the port of a loopback redirect:
//! programs listen where there is room (RFC 8252, 7.3).

use std::collections::BTreeSet;
use std::fmt;

use crate::uri::{UriError, UriParts};

/// The schemes of programs that sign in to MCP servers.
const SCHEMES: [&str; 4] = ["cursor", "vscode", "vscode-insiders", "windsurf"];
/// Schemes that are no program's: some run what follows them, others are redirects of another kind.
const NEVER: [&str; 15] = [
    "about",
    "blob",
    "chrome",
    "content",
    "data",
    "file",
    "filesystem",
    "ftp",
    "http",
    "https",
    "javascript",
    "mailto",
    "vbscript",
    "view-source",
    "ws",
];
/// The longest scheme of a program, in bytes.
const MAX_SCHEME_BYTES: usize = 64;

/// A redirect URI that was checked. Its text is the one that was presented.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct RedirectUri {
    text: Box<str>,
    target: RedirectTarget,
    /// The text without its port, of a loopback redirect.
    without_port: Option<Box<str>>,
}

/// The place that a redirect leads to, as the consent page shows it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum RedirectTarget {
    /// A web site, by its host in lower case.
    Web(Box<str>),
    /// A program on the person's computer that listens on a port.
    Loopback,
    /// The program that is registered for a scheme.
    Program(Box<str>),
}

/// The redirects that this server takes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RedirectPolicy {
    schemes: BTreeSet<String>,
    /// The hosts of web sites, in lower case; none: all.
    hosts: BTreeSet<String>,
}

/// The reasons for refusing a redirect URI.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RedirectError {
    /// It is no URI, or one that browsers would change.
    #[error("{0}")]
    Uri(#[from] UriError),
    /// `http` leads to another computer.
    #[error("http is for 127.0.0.1, [::1] and localhost alone")]
    NotLoopback,
    /// The scheme is not on the list.
    #[error("the scheme {0:?} is not on the list")]
    Scheme(String),
    /// The host is not on the list of this server.
    #[error("the host {0:?} is not on the list of this server")]
    Host(String),
}

/// A scheme that cannot be put on the list.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no scheme of a program, expected a-z, 0-9, + - . and none that browsers run")]
pub struct RedirectSchemeError(String);

impl Default for RedirectPolicy {
    fn default() -> Self {
        Self {
            schemes: SCHEMES.map(str::to_owned).into(),
            hosts: BTreeSet::new(),
        }
    }
}

impl RedirectPolicy {
    /// Adds the scheme of a program.
    ///
    /// # Errors
    ///
    /// If it is no scheme in lower case, or one that browsers themselves run.
    pub fn allow_scheme(&mut self, scheme: &str) -> Result<(), RedirectSchemeError> {
        let is_letter = |byte: u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'+' | b'-' | b'.');
        let is_scheme = scheme.starts_with(|c: char| c.is_ascii_lowercase())
            && scheme.len() <= MAX_SCHEME_BYTES
            && scheme.bytes().all(is_letter);
        if !is_scheme || NEVER.contains(&scheme) {
            let shown = scheme.chars().take(MAX_SCHEME_BYTES).collect();
            return Err(RedirectSchemeError(shown));
        }
        self.schemes.insert(scheme.to_owned());
        Ok(())
    }

    /// Adds a host to those that web sites may have: from the first one on, others are refused.
    pub fn allow_host(&mut self, host: &str) {
        self.hosts.insert(host.to_ascii_lowercase());
    }

    /// Checks a redirect URI.
    ///
    /// # Errors
    ///
    /// If it leads where no answer may go, or is spelled as browsers would not spell it.
    pub fn parse(&self, text: &str) -> Result<RedirectUri, RedirectError> {
        let redirect = RedirectUri::read(text)?;
        match &redirect.target {
            RedirectTarget::Loopback => {}
            RedirectTarget::Web(host) => {
                if !self.hosts.is_empty() && !self.hosts.contains(&**host) {
                    return Err(RedirectError::Host(host.to_string()));
                }
            }
            RedirectTarget::Program(scheme) => {
                if !self.schemes.contains(&**scheme) {
                    return Err(RedirectError::Scheme(scheme.to_string()));
                }
            }
        }
        Ok(redirect)
    }
}

impl RedirectUri {
    /// Reads a redirect URI that the policy once admitted. Whether it still does is checked where it
    /// is asked for.
    pub(crate) fn read(text: &str) -> Result<Self, RedirectError> {
        let uri = UriParts::parse(text)?;
        let target = match (uri.scheme, uri.host) {
            ("https", Some(host)) => RedirectTarget::Web(host.to_ascii_lowercase().into()),
            ("http", Some(host)) if is_loopback(host) => RedirectTarget::Loopback,
            ("http", Some(_)) => return Err(RedirectError::NotLoopback),
            ("http" | "https", None) => return Err(UriError::Host.into()),
            (scheme, _) => {
                let is_lower = !scheme.bytes().any(|byte| byte.is_ascii_uppercase());
                if !is_lower || NEVER.contains(&scheme) {
                    let shown = scheme.chars().take(MAX_SCHEME_BYTES).collect();
                    return Err(RedirectError::Scheme(shown));
                }
                RedirectTarget::Program(scheme.into())
            }
        };

        let host = uri.host.unwrap_or_default();
        let without_port = match target {
            RedirectTarget::Loopback => Some(format!("http://{host}{}", uri.rest).into()),
            RedirectTarget::Web(_) | RedirectTarget::Program(_) => None,
        };
        Ok(Self {
            text: text.into(),
            target,
            without_port,
        })
    }

    /// Returns the text as it was presented.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Returns where it leads.
    pub fn target(&self) -> &RedirectTarget {
        &self.target
    }

    /// Returns whether a client that registered this one may ask for another: the same text, but for
    /// the port of a loopback redirect.
    pub fn admits(&self, asked: &Self) -> bool {
        match (&self.without_port, &asked.without_port) {
            (Some(own), Some(asked)) => own == asked,
            _ => self.text == asked.text,
        }
    }

    /// Returns the URI with parameters added to its query.
    pub fn with_parameters(&self, parameters: &[(&str, &str)]) -> String {
        let added = form_urlencoded::Serializer::new(String::new())
            .extend_pairs(parameters)
            .finish();
        let separator = match self.text.split_once('?') {
            None => "?",
            Some((_, "")) => "",
            Some((_, query)) if query.ends_with('&') => "",
            Some(_) => "&",
        };
        format!("{}{separator}{added}", self.text)
    }
}

impl fmt::Display for RedirectUri {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// Returns whether a host is this computer, in one of the spellings that clients use.
fn is_loopback(host: &str) -> bool {
    let is_address = host
        .parse::<std::net::Ipv4Addr>()
        .is_ok_and(|address| address.is_loopback());
    host == "localhost" || host == "[::1]" || is_address
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use url::Url;

    use super::*;

    fn parse(text: &str) -> Result<RedirectUri, RedirectError> {
        RedirectPolicy::default().parse(text)
    }

    #[test]
    fn the_redirects_of_known_clients_are_taken() {
        let web = |host: &str| RedirectTarget::Web(host.into());
        let program = |scheme: &str| RedirectTarget::Program(scheme.into());
        for (text, target) in [
            ("https://claude.ai/api/mcp/auth_callback", web("claude.ai")),
            (
                "https://chatgpt.com/connector/oauth/aB3_x",
                web("chatgpt.com"),
            ),
            ("https://Vscode.dev/redirect", web("vscode.dev")),
            ("https://pool.example:8443/a?b=c", web("pool.example")),
            ("http://localhost/callback", RedirectTarget::Loopback),
            ("http://localhost:33418/", RedirectTarget::Loopback),
            ("http://127.0.0.1:33418", RedirectTarget::Loopback),
            ("http://127.1.2.3:1/cb", RedirectTarget::Loopback),
            (
                "http://[::1]:19876/mcp/oauth/callback",
                RedirectTarget::Loopback,
            ),
            (
                "cursor://anysphere.cursor-mcp/oauth/callback",
                program("cursor"),
            ),
            ("vscode://some.extension/auth", program("vscode")),
            ("windsurf:/callback", program("windsurf")),
        ] {
            let redirect = parse(text).unwrap();
            assert_eq!(*redirect.target(), target, "{text}");
            assert_eq!(redirect.as_str(), text);
        }
    }

    #[test]
    fn redirects_that_lead_elsewhere_are_refused() {
        for text in [
            "",
            "javascript:alert(1)",
            "JavaScript:alert(1)",
            "java\tscript:alert(1)",
            "\u{1}javascript:alert(1)",
            " javascript:alert(1)",
            "data:text/html,x",
            "DATA:text/html,x",
            "vbscript:x",
            "file:///etc/passwd",
            "blob:https://a.example/x",
            "Cursor://anysphere.cursor-mcp/cb",
            "cursor\n://anysphere.cursor-mcp/cb",
            "evil://callback",
            "https:",
            "https://",
            "https:///cb",
            "https:claude.ai/cb",
            "https:/claude.ai/cb",
            "https://user@claude.ai/cb",
            "https://claude.ai@evil.example/cb",
            "https://claude.ai:secret@evil.example/cb",
            "https://claude.ai%40evil.example/cb",
            "https://claude.ai\\@evil.example/cb",
            "https:\\\\claude.ai/cb",
            "https://claude.ai/cb#fragment",
            "https://claude.ai/cb#",
            "https://*.claude.ai/cb",
            "https://claude.ai/*",
            "https://claude.ai/a/../cb",
            "https://claude.ai/./cb",
            "https://claude.ai/..",
            "https://claude.ai/%2e%2e/cb",
            "https://claude.ai/%2E./cb",
            "https://claude.ai/a%2fb",
            "https://claude.ai/a%5cb",
            "https://claude.ai/a%00b",
            "https://claude.ai/cb?a=%0d%0aSet-Cookie:x",
            "https://claude.ai/cb\r\nLocation: https://evil.example",
            "https://claude.ai/%",
            "https://claude.ai/%z1",
            "https://claude.ai/%+1",
            "https://claude.ai:/cb",
            "https://claude.ai:0/cb",
            "https://claude.ai:0443/cb",
            "https://claude.ai:65536/cb",
            "https://claude.ai:4a/cb",
            "https://claude.ai./cb",
            "https://claude..ai/cb",
            "https://cl\u{430}ude.ai/cb",
            "https://1.2.3/cb",
            "https://0x7f.0.0.1/cb",
            "https://2130706433/cb",
            "https://1.2.3.04/cb",
            "https://[::1/cb",
            "https://[::1]x/cb",
            "https://x[::1]/cb",
            "http://claude.ai/cb",
            "http://localhost.evil.example/cb",
            "http://localhost@evil.example/cb",
            "http://evil.example/?http://localhost/",
            "http://LOCALHOST/cb",
            "http://127.0.0.1.evil.example/cb",
            "http://0.0.0.0/cb",
            "http://128.0.0.1/cb",
            "http://127.1/cb",
            "http://0177.0.0.1/cb",
            "http://0x7f000001/cb",
            "http://[0:0:0:0:0:0:0:1]/cb",
            "http://[::ffff:127.0.0.1]/cb",
            "http://[::ffff:7f00:1]/cb",
            "http://[::1%25lo]/cb",
            "http://[::]/cb",
        ] {
            assert!(parse(text).is_err(), "{text:?}");
        }
        let long = format!("https://claude.ai/{}", "a".repeat(2048));
        assert_eq!(parse(&long), Err(UriError::Length.into()));
    }

    #[test]
    fn only_the_port_of_a_loopback_redirect_is_free() {
        let admits = |own: &str, asked: &str| parse(own).unwrap().admits(&parse(asked).unwrap());

        for (own, asked) in [
            (
                "http://localhost/callback",
                "http://localhost:51234/callback",
            ),
            ("http://localhost:1/callback", "http://localhost:2/callback"),
            ("http://127.0.0.1:8000/cb?a=b", "http://127.0.0.1/cb?a=b"),
            ("http://[::1]/cb", "http://[::1]:8080/cb"),
            ("https://claude.ai/cb", "https://claude.ai/cb"),
        ] {
            assert!(admits(own, asked), "{own} {asked}");
        }
        for (own, asked) in [
            ("http://localhost/callback", "http://127.0.0.1/callback"),
            ("http://localhost/callback", "http://localhost/callback/"),
            ("http://localhost/callback", "http://localhost/callback?a"),
            ("http://127.0.0.1/cb", "http://127.0.0.2/cb"),
            ("http://localhost/cb", "https://localhost/cb"),
            ("https://claude.ai/cb", "https://claude.ai:443/cb"),
            ("https://claude.ai/cb", "https://claude.ai:8443/cb"),
            ("https://claude.ai/cb", "https://Claude.ai/cb"),
            ("https://claude.ai/cb", "https://claude.ai/cb?x=y"),
            ("https://claude.ai/cb", "https://claude.ai.evil.example/cb"),
            ("cursor://a.b/cb", "cursor://a.b/cb2"),
        ] {
            assert!(!admits(own, asked), "{own} {asked}");
        }
    }

    #[test]
    fn the_list_of_schemes_grows_by_programs_alone() {
        let mut policy = RedirectPolicy::default();

        policy.allow_scheme("com.example.app").unwrap();

        assert!(policy.parse("com.example.app:/cb").is_ok());
        for wrong in ["javascript", "https", "data", "Zed", "z d", "", "1a"] {
            assert!(policy.allow_scheme(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_list_of_hosts_leaves_the_others_out() {
        let mut policy = RedirectPolicy::default();

        policy.allow_host("Claude.ai");

        assert!(policy.parse("https://claude.ai/cb").is_ok());
        assert!(policy.parse("http://localhost/cb").is_ok());
        let other = policy.parse("https://chatgpt.com/cb");
        assert_eq!(other, Err(RedirectError::Host("chatgpt.com".to_owned())));
    }

    #[test]
    fn the_answer_is_added_to_the_query() {
        let with = |text: &str| parse(text).unwrap().with_parameters(&[("code", "a b&")]);

        assert_eq!(
            with("https://a.example/cb"),
            "https://a.example/cb?code=a+b%26"
        );
        assert_eq!(
            with("https://a.example/cb?x=y"),
            "https://a.example/cb?x=y&code=a+b%26"
        );
        assert_eq!(
            with("https://a.example/cb?"),
            "https://a.example/cb?code=a+b%26"
        );
        assert_eq!(with("cursor:/cb"), "cursor:/cb?code=a+b%26");
    }

    /// Texts near the edge of what is taken.
    fn near() -> impl Strategy<Value = String> {
        let part = prop_oneof![
            Just("https://"),
            Just("http://"),
            Just("cursor://"),
            Just("javascript:"),
            Just("localhost"),
            Just("127.0.0.1"),
            Just("[::1]"),
            Just("claude.ai"),
            Just(".evil.example"),
            Just("@"),
            Just("\\"),
            Just("/"),
            Just(".."),
            Just("."),
            Just("%2e"),
            Just("%2f"),
            Just("?"),
            Just("#"),
            Just(":"),
            Just(":80"),
            Just(":443"),
            Just("*"),
            Just("a"),
            Just("0x7f"),
            Just("1"),
            Just("\t"),
            Just(" "),
            Just("\u{430}"),
        ];
        proptest::collection::vec(part, 0..9).prop_map(|parts| parts.concat())
    }

    /// What is taken is read by browsers as it was read here: same scheme, same host, nothing moved.
    fn check(text: &str) {
        let Ok(redirect) = parse(text) else {
            return;
        };
        assert_eq!(redirect.as_str(), text);
        assert!(redirect.admits(&redirect));
        let browser = Url::parse(text).unwrap();
        let host = browser.host_str().unwrap_or_default();
        match redirect.target() {
            RedirectTarget::Web(own) => {
                assert_eq!((browser.scheme(), host), ("https", &**own), "{text}");
            }
            RedirectTarget::Loopback => {
                let is_here = host == "localhost" || host == "[::1]" || host.starts_with("127.");
                assert!(browser.scheme() == "http" && is_here, "{text}");
            }
            RedirectTarget::Program(own) => assert_eq!(browser.scheme(), &**own, "{text}"),
        }
        let path = UriParts::parse(text).unwrap().path;
        assert!(path.is_empty() || browser.path() == path, "{text}");
        assert!(browser.username().is_empty() && browser.fragment().is_none());

        let answered = Url::parse(&redirect.with_parameters(&[("code", "x")])).unwrap();
        assert_eq!(answered.host_str(), browser.host_str(), "{text}");
        assert!(
            answered
                .query_pairs()
                .any(|pair| pair == ("code".into(), "x".into()))
        );
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4096))]

        #[test]
        fn browsers_read_what_is_taken_as_it_was_read(text in near()) {
            check(&text);
        }

        #[test]
        fn any_text_is_read_without_a_panic(text in "\\PC{0,80}") {
            check(&text);
            check(&format!("https://{text}"));
            check(&format!("http://localhost{text}"));
            check(&format!("cursor:{text}"));
        }
    }
}
