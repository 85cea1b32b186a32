//! The URLs of calls below the provider's URL, and its redirects.
//!
//! A redirect on the provider's own host and port is followed with method and body unchanged. The
//! target of the configured URL is remembered for a while, so that not every call pays for it twice.

use std::time::Duration;

use http::{Response, StatusCode, Uri, header};
use parking_lot::Mutex;
use tokio::time::Instant;

use super::address::resolve_on_provider;
use super::public_url::ProviderPublicUrl;

/// How long the target of the configured URL is remembered.
const REDIRECT_TTL: Duration = Duration::from_secs(60);

/// The provider's URL and its redirect.
pub(super) struct Route {
    base: Uri,
    redirect: Mutex<BaseRedirect>,
}

/// The redirect of the configured URL.
enum BaseRedirect {
    /// The URL was not tried yet, or its redirect was forgotten.
    Untried,
    /// It has none.
    None,
    /// It redirects to another path.
    To { path: String, until: Instant },
}

impl Route {
    pub(super) fn new(base: Uri) -> Self {
        Self {
            base,
            redirect: Mutex::new(BaseRedirect::Untried),
        }
    }

    /// Returns the configured URL.
    pub(super) fn base(&self) -> &Uri {
        &self.base
    }

    /// Returns the URL of a call: the configured path, the part of the caller's path below the id,
    /// and both queries.
    pub(super) fn target(&self, below: &str, query: Option<&str>) -> Uri {
        if below.is_empty() && query.is_none() {
            return self.base.clone();
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
        self.at(&format!("{path}{query}"))
    }

    /// Returns a URL on the provider's host, with a path from its root.
    pub(super) fn at_root(&self, path: &str, query: Option<&str>) -> Uri {
        let query = query.map(|query| format!("?{query}")).unwrap_or_default();
        self.at(&format!("{path}{query}"))
    }

    /// Returns the remembered target of `asked`, `asked` itself if there is none.
    pub(super) fn shortcut(&self, asked: &Uri) -> Uri {
        if asked.path() != self.base.path() {
            return asked.clone();
        }
        let mut redirect = self.redirect.lock();
        match &*redirect {
            BaseRedirect::To { until, .. } if *until <= Instant::now() => {
                *redirect = BaseRedirect::Untried;
                asked.clone()
            }
            BaseRedirect::To { path, .. } => {
                let query = asked
                    .query()
                    .map(|query| format!("?{query}"))
                    .unwrap_or_default();
                self.at(&format!("{path}{query}"))
            }
            BaseRedirect::Untried | BaseRedirect::None => asked.clone(),
        }
    }

    /// Returns whether it is unknown if the configured URL redirects.
    pub(super) fn is_untried(&self) -> bool {
        matches!(*self.redirect.lock(), BaseRedirect::Untried)
    }

    /// Forgets the redirect of the configured URL.
    pub(super) fn forget(&self) {
        *self.redirect.lock() = BaseRedirect::Untried;
    }

    /// Returns the URL to which a response redirects, `None` if it is not to be followed. Remembers
    /// the redirect of the configured URL. `asked` is the URL of the call, `tried` the one that was
    /// answered.
    pub(super) fn next_url<B>(
        &self,
        asked: &Uri,
        tried: &Uri,
        response: &Response<B>,
        public: Option<&ProviderPublicUrl>,
    ) -> Option<Uri> {
        let next = self.redirect_target(tried, response, public);
        if asked.path() != self.base.path() {
            return next;
        }

        let mut redirect = self.redirect.lock();
        match &next {
            Some(next) => {
                *redirect = BaseRedirect::To {
                    path: next.path().to_owned(),
                    until: Instant::now() + REDIRECT_TTL,
                }
            }
            None if asked == tried => *redirect = BaseRedirect::None,
            // The remembered target is gone.
            None if response.status() == StatusCode::NOT_FOUND => *redirect = BaseRedirect::Untried,
            None => {}
        }
        next
    }

    fn redirect_target<B>(
        &self,
        tried: &Uri,
        response: &Response<B>,
        public: Option<&ProviderPublicUrl>,
    ) -> Option<Uri> {
        // 303 asks for GET, which is another call.
        let keeps_the_call = matches!(response.status().as_u16(), 301 | 302 | 307 | 308);
        if !keeps_the_call {
            return None;
        }
        let location = response.headers().get(header::LOCATION)?.to_str().ok()?;
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

    fn answer(status: u16, location: &str) -> Response<()> {
        Response::builder()
            .status(status)
            .header(header::LOCATION, location)
            .body(())
            .unwrap()
    }

    fn follow(status: u16, location: &str) -> Option<String> {
        let route = route();
        let asked = route.target("", None);
        route
            .next_url(
                &asked,
                &asked,
                &answer(status, location),
                Some(&public_url("/api/mcp/id/x")),
            )
            .map(|uri| uri.to_string())
    }

    #[test]
    fn a_call_goes_to_the_url_and_below_it_with_both_queries() {
        let route = route();

        assert_eq!(route.target("", None), "http://clock:7777/mcp/?k=1");
        assert_eq!(
            route.target("", Some("a=2")),
            "http://clock:7777/mcp/?k=1&a=2"
        );
        assert_eq!(
            route.target("/messages/x", Some("a=2")),
            "http://clock:7777/mcp/messages/x?k=1&a=2"
        );
        assert_eq!(
            Route::new(Uri::from_static("http://clock:7777")).target("/x", None),
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

    #[tokio::test(start_paused = true)]
    async fn the_target_of_a_redirect_is_remembered_for_a_while() {
        let route = route();
        let asked = route.target("", Some("a=2"));

        assert!(route.is_untried());

        route.next_url(&asked, &asked, &answer(307, "/mcp?k=1&a=2"), None);

        assert_eq!(route.shortcut(&asked), "http://clock:7777/mcp?k=1&a=2");
        assert_eq!(
            route.shortcut(&route.target("/below", None)),
            "http://clock:7777/mcp/below?k=1"
        );

        tokio::time::advance(REDIRECT_TTL).await;

        assert_eq!(route.shortcut(&asked), asked);
        assert!(route.is_untried());
    }

    #[test]
    fn a_remembered_target_is_forgotten_when_it_is_gone() {
        let route = route();
        let asked = route.target("", None);
        let next = route
            .next_url(&asked, &asked, &answer(307, "/mcp"), None)
            .unwrap();

        assert!(!route.is_untried());

        route.next_url(&asked, &next, &answer(404, "/"), None);

        assert!(route.is_untried());
    }
}
