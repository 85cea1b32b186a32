//! The URLs of calls below the provider's URL, and its redirects.
//!
//! A redirect on the provider's own host and port is followed with method and body unchanged. One
//! that only adds or removes the slash at the end of the configured URL, as frameworks do, is
//! remembered for a while and for its method, so that not every call pays for it twice. Any other may
//! depend on the caller (its token, its session), and one caller's must not decide where others' go.

use std::borrow::Cow;
use std::time::Duration;

use http::{Method, Uri, header};
use llamapool_head::{FieldLookup, ResponseHead};
use parking_lot::Mutex;
use tokio::time::Instant;

use super::address::resolve_on_provider;
use super::public_url::ProviderPublicUrl;

/// How long the target of the configured URL is remembered.
const REDIRECT_TTL: Duration = Duration::from_secs(60);
/// The methods of MCP, whose redirects are remembered.
const METHODS: [Method; 3] = [Method::POST, Method::GET, Method::DELETE];

/// The provider's URL and its redirects.
pub(super) struct Route {
    base: Uri,
    /// For each of [`METHODS`].
    redirects: Mutex<[BaseRedirect; METHODS.len()]>,
}

/// The URL of a call, and the one of its URLs that was answered.
#[derive(Clone, Copy)]
pub(super) struct Tried<'a> {
    pub(super) asked: &'a Uri,
    pub(super) tried: &'a Uri,
}

/// The redirect of the configured URL.
#[derive(Clone, Copy)]
enum BaseRedirect {
    /// The URL was not tried yet, or its redirect was forgotten, or is not to be remembered.
    Untried,
    /// It has none.
    None,
    /// It redirects to its path with the other form of the end: with a slash, or without.
    ToOtherSlash { until: Instant },
}

impl Route {
    pub(super) fn new(base: Uri) -> Self {
        Self {
            base,
            redirects: Mutex::new([BaseRedirect::Untried; METHODS.len()]),
        }
    }

    /// Returns the configured URL.
    pub(super) fn base(&self) -> &Uri {
        &self.base
    }

    /// Returns the URL of a call: the configured path, the part of the caller's path below the id,
    /// and both queries.
    pub(super) fn target(&self, below: &str, query: Option<&str>) -> Cow<'_, Uri> {
        if below.is_empty() && query.is_none() {
            return Cow::Borrowed(&self.base);
        }
        let path = match below {
            "" => self.base.path().to_owned(),
            below => format!("{}{below}", self.base.path().trim_end_matches('/')),
        };
        let queries: Vec<_> = [self.base.query(), query]
            .into_iter()
            .flatten()
            .filter(|query| !query.is_empty())
            .collect();
        let query = if queries.is_empty() {
            String::new()
        } else {
            format!("?{}", queries.join("&"))
        };
        Cow::Owned(self.at(&format!("{path}{query}")))
    }

    /// Returns a URL on the provider's host, with a path from its root.
    pub(super) fn at_root(&self, path: &str, query: Option<&str>) -> Uri {
        let query = query.map(|query| format!("?{query}")).unwrap_or_default();
        self.at(&format!("{path}{query}"))
    }

    /// Returns the remembered target of `asked`, `None` if there is none.
    pub(super) fn shortcut(&self, method: &Method, asked: &Uri) -> Option<Uri> {
        let place = self.place(method, asked)?;
        let mut redirects = self.redirects.lock();
        match redirects[place] {
            BaseRedirect::ToOtherSlash { until } if until <= Instant::now() => {
                redirects[place] = BaseRedirect::Untried;
                None
            }
            BaseRedirect::ToOtherSlash { .. } => self.with_other_slash(asked),
            BaseRedirect::Untried | BaseRedirect::None => None,
        }
    }

    /// Returns whether it is unknown if the URL of a call redirects. A call that is none of those
    /// whose redirects are remembered is taken for known as soon as any other is.
    pub(super) fn is_untried(&self, method: &Method, asked: &Uri) -> bool {
        let is_untried = |redirect: &BaseRedirect| matches!(redirect, BaseRedirect::Untried);
        let redirects = self.redirects.lock();
        match self.place(method, asked) {
            Some(place) => is_untried(&redirects[place]),
            None => redirects.iter().all(is_untried),
        }
    }

    /// Forgets the redirects of the configured URL.
    pub(super) fn forget(&self) {
        *self.redirects.lock() = [BaseRedirect::Untried; METHODS.len()];
    }

    /// Returns the URL to which a response redirects, `None` if it is not to be followed. Remembers
    /// the redirect of the configured URL.
    pub(super) fn next_url(
        &self,
        method: &Method,
        urls: Tried<'_>,
        response: &ResponseHead,
        public: Option<&ProviderPublicUrl>,
    ) -> Option<Uri> {
        let Tried { asked, tried } = urls;
        let next = self.redirect_target(tried, response, public);
        let is_asked = std::ptr::eq(asked, tried) || asked == tried;
        if is_asked && let Some(place) = self.place(method, asked) {
            let is_other_slash = next.is_some() && next == self.with_other_slash(asked);
            self.redirects.lock()[place] = match &next {
                None => BaseRedirect::None,
                Some(_) if is_other_slash => BaseRedirect::ToOtherSlash {
                    until: Instant::now() + REDIRECT_TTL,
                },
                Some(_) => BaseRedirect::Untried,
            };
        }
        next
    }

    /// Returns the place of a call's redirect among those that are remembered, `None` for a call that
    /// is not to the configured URL, or with a method that MCP has not.
    fn place(&self, method: &Method, asked: &Uri) -> Option<usize> {
        let is_base = std::ptr::eq(asked, &self.base) || asked.path() == self.base.path();
        if !is_base {
            return None;
        }
        METHODS.iter().position(|of_mcp| of_mcp == method)
    }

    /// Returns a URL with a slash at the end of its path, or without the one that it has. `None` for
    /// the root, which has no other form.
    fn with_other_slash(&self, url: &Uri) -> Option<Uri> {
        let path = match url.path().strip_suffix('/') {
            Some("") => return None,
            Some(path) => path.to_owned(),
            None => format!("{}/", url.path()),
        };
        Some(self.at_root(&path, url.query()))
    }

    fn redirect_target(
        &self,
        tried: &Uri,
        response: &ResponseHead,
        public: Option<&ProviderPublicUrl>,
    ) -> Option<Uri> {
        // 303 asks for GET, which is another call.
        let keeps_the_call = matches!(response.status.as_u16(), 301 | 302 | 307 | 308);
        if !keeps_the_call {
            return None;
        }
        let location = response.fields.text_of(&header::LOCATION)?;
        let resolved = resolve_on_provider(tried, public, location)?;
        let next = self.at(resolved.split('#').next().unwrap_or_default());
        (next != *tried).then_some(next)
    }

    /// Returns the configured URL with another path and query.
    fn at(&self, path_and_query: &str) -> Uri {
        let mut parts = self.base.clone().into_parts();
        if let Ok(path_and_query) = path_and_query.parse() {
            parts.path_and_query = Some(path_and_query);
        }
        Uri::from_parts(parts).unwrap_or_else(|_| self.base.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::super::public_url::tests::public_url;
    use super::*;

    fn route() -> Route {
        Route::new(Uri::from_static("http://clock:7777/mcp/?k=1"))
    }

    fn answer(status: u16, location: &str) -> ResponseHead {
        let mut head = ResponseHead::new(status.try_into().unwrap());
        let location = location.parse().unwrap();
        head.fields.append(&header::LOCATION, &location);
        head
    }

    fn follow(status: u16, location: &str) -> Option<String> {
        let route = route();
        let asked = route.target("", None);
        let urls = Tried {
            asked: &asked,
            tried: &asked,
        };
        let public = public_url("/api/mcp/id/x");
        route
            .next_url(
                &Method::POST,
                urls,
                &answer(status, location),
                Some(&public),
            )
            .map(|uri| uri.to_string())
    }

    #[test]
    fn a_call_goes_to_the_url_and_below_it_with_both_queries() {
        let route = route();

        assert_eq!(*route.target("", None), "http://clock:7777/mcp/?k=1");
        assert_eq!(
            *route.target("", Some("a=2")),
            "http://clock:7777/mcp/?k=1&a=2"
        );
        assert_eq!(
            *route.target("/messages/x", Some("a=2")),
            "http://clock:7777/mcp/messages/x?k=1&a=2"
        );
        assert_eq!(
            *Route::new(Uri::from_static("http://clock:7777")).target("/x", None),
            "http://clock:7777/x"
        );
    }

    #[test]
    fn redirects_on_the_host_of_the_provider_are_followed() {
        for location in [
            "http://clock:7777/mcp",
            "https://clock:7777/mcp",
            "//clock:7777/mcp",
            "/mcp",
            "https://pool.example/mcp",
        ] {
            let next = follow(307, location);
            assert!(
                next.as_deref()
                    .is_some_and(|uri| uri == "http://clock:7777/mcp"),
                "{location}: {next:?}"
            );
        }
        assert_eq!(
            follow(308, "sub?x=1").as_deref(),
            Some("http://clock:7777/mcp/sub?x=1")
        );
        assert!(follow(301, "/mcp").is_some() && follow(302, "/mcp").is_some());
    }

    #[test]
    fn redirects_elsewhere_and_to_other_methods_are_not_followed() {
        for location in [
            "http://169.254.169.254/latest",
            "http://clock:7778/mcp",
            "http://clock/mcp",
            "http://clock.evil.example:7777/mcp",
            "http://evil@other:7777/mcp",
            "file:///etc/passwd",
            "//other:7777/mcp",
            "https://pool.example/api/mcp/id/x/mcp",
            "",
        ] {
            assert_eq!(
                follow(307, location).filter(|uri| !uri.starts_with("http://clock:7777/")),
                None,
                "{location}"
            );
        }
        assert_eq!(follow(307, "http://clock:7778/mcp"), None);
        assert_eq!(follow(303, "/mcp"), None);
        assert_eq!(follow(200, "/mcp"), None);
        assert_eq!(follow(307, "/mcp/?k=1"), None, "a redirect to itself");
    }

    /// The route after a call with this method was redirected to `location`.
    fn redirected(method: &Method, location: &str) -> (Route, Uri) {
        let route = route();
        let asked = route.target("", None).into_owned();
        let urls = Tried {
            asked: &asked,
            tried: &asked,
        };
        let next = route.next_url(method, urls, &answer(307, location), None);
        assert!(next.is_some(), "{location}");
        (route, asked)
    }

    #[tokio::test(start_paused = true)]
    async fn another_slash_is_remembered_for_a_while() {
        let (route, asked) = redirected(&Method::POST, "/mcp?k=1");
        let with_query = route.target("", Some("a=2"));

        assert_eq!(
            route.shortcut(&Method::POST, &with_query).unwrap(),
            "http://clock:7777/mcp?k=1&a=2"
        );
        assert!(!route.is_untried(&Method::POST, &asked));

        let below = route.target("/below", None);
        assert_eq!(route.shortcut(&Method::POST, &below), None);

        tokio::time::advance(REDIRECT_TTL).await;

        assert_eq!(route.shortcut(&Method::POST, &asked), None);
        assert!(route.is_untried(&Method::POST, &asked));
    }

    #[test]
    fn a_redirect_is_remembered_for_its_method_alone() {
        let (route, asked) = redirected(&Method::GET, "/mcp?k=1");

        assert!(route.shortcut(&Method::GET, &asked).is_some());
        for other in [&Method::POST, &Method::DELETE] {
            assert_eq!(route.shortcut(other, &asked), None, "{other}");
            assert!(route.is_untried(other, &asked), "{other}");
        }
        assert_eq!(route.shortcut(&Method::PUT, &asked), None);
    }

    #[test]
    fn a_redirect_that_may_depend_on_the_caller_is_not_remembered() {
        for location in [
            "/t/alice/mcp?k=1",
            "/docs",
            "/mcp",
            "/mcp?k=1&session=2",
            "/",
        ] {
            let (route, asked) = redirected(&Method::POST, location);

            assert_eq!(route.shortcut(&Method::POST, &asked), None, "{location}");
            assert!(route.is_untried(&Method::POST, &asked), "{location}");
        }
    }
}
