//! Where calls go below the provider's URL, and what its redirects mean for that.
//!
//! A redirect within the provider's own host and port is followed with method and body kept. Where the base URL leads
//! is remembered for a while, so that not every call pays for it twice.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use http::{Response, StatusCode, Uri, header};
use tokio::time::Instant;

use super::own_url::{PublicPlace, own_path};

/// How long it is remembered where the base URL leads.
const MEMORY: Duration = Duration::from_secs(60);

/// The provider's URL, and where it leads.
pub(super) struct Route {
    base: Uri,
    known: Mutex<Known>,
}

/// Where the base URL leads.
enum Known {
    /// Not tried yet, or forgotten.
    No,
    /// Nowhere else.
    Here,
    /// To another path.
    There { path: String, until: Instant },
}

impl Route {
    pub(super) fn new(base: Uri) -> Self {
        Self {
            base,
            known: Mutex::new(Known::No),
        }
    }

    /// The URL as it was configured.
    pub(super) fn base(&self) -> &Uri {
        &self.base
    }

    /// The URL of a call: the base, what the caller's path has below the id, and both queries.
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

    /// A URL on the provider's host, whatever the base's path.
    pub(super) fn at_root(&self, path: &str, query: Option<&str>) -> Uri {
        let query = query.map(|query| format!("?{query}")).unwrap_or_default();
        self.at(&format!("{path}{query}"))
    }

    /// The URL of a call, without the redirect that it is known to meet.
    pub(super) fn shortcut(&self, asked: &Uri) -> Uri {
        if asked.path() != self.base.path() {
            return asked.clone();
        }
        let mut known = self.known();
        match &*known {
            Known::There { until, .. } if *until <= Instant::now() => {
                *known = Known::No;
                asked.clone()
            }
            Known::There { path, .. } => {
                let query = asked
                    .query()
                    .map(|query| format!("?{query}"))
                    .unwrap_or_default();
                self.at(&format!("{path}{query}"))
            }
            Known::No | Known::Here => asked.clone(),
        }
    }

    /// Whether it is not known where the base URL leads.
    pub(super) fn is_unknown(&self) -> bool {
        matches!(*self.known(), Known::No)
    }

    /// Forgets where the base URL leads.
    pub(super) fn forget(&self) {
        *self.known() = Known::No;
    }

    /// The URL that an answer redirects to, if that is to be followed; notes where the base URL leads. `asked` is the
    /// URL of the call, `tried` the one that was answered.
    pub(super) fn redirect<B>(
        &self,
        asked: &Uri,
        tried: &Uri,
        answer: &Response<B>,
        public: Option<&PublicPlace>,
    ) -> Option<Uri> {
        let next = self.followed(tried, answer, public);
        if asked.path() == self.base.path() {
            let mut known = self.known();
            match &next {
                Some(next) => {
                    *known = Known::There {
                        path: next.path().to_owned(),
                        until: Instant::now() + MEMORY,
                    }
                }
                None if asked == tried => *known = Known::Here,
                // What was remembered leads nowhere any more.
                None if answer.status() == StatusCode::NOT_FOUND => *known = Known::No,
                None => {}
            }
        }
        next
    }

    fn followed<B>(
        &self,
        tried: &Uri,
        answer: &Response<B>,
        public: Option<&PublicPlace>,
    ) -> Option<Uri> {
        // 303 means "look there with GET", which is not the call any more.
        let keeps_the_call = matches!(answer.status().as_u16(), 301 | 302 | 307 | 308);
        let location = answer
            .headers()
            .get(header::LOCATION)
            .filter(|_| keeps_the_call)?
            .to_str()
            .ok()?;
        let own = own_path(tried, public, location)?;
        let next = self.at(own.split('#').next().unwrap_or_default());
        (next != *tried).then_some(next)
    }

    /// The base URL with another path and query.
    fn at(&self, path_and_query: &str) -> Uri {
        let mut parts = self.base.clone().into_parts();
        if let Ok(path_and_query) = path_and_query.parse() {
            parts.path_and_query = Some(path_and_query);
        }
        Uri::from_parts(parts).unwrap_or_else(|_| self.base.clone())
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::super::own_url::tests::public;
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
            .redirect(
                &asked,
                &asked,
                &answer(status, location),
                Some(&public("/api/mcp/id/x")),
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
    fn redirects_within_the_providers_host_and_port_are_followed() {
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
    fn redirects_elsewhere_and_into_other_methods_are_not() {
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
    async fn where_the_url_leads_is_remembered_for_a_while() {
        let route = route();
        let asked = route.target("", Some("a=2"));
        assert!(route.is_unknown());
        route.redirect(&asked, &asked, &answer(307, "/mcp?k=1&a=2"), None);
        assert_eq!(route.shortcut(&asked), "http://clock:7777/mcp?k=1&a=2");
        assert_eq!(
            route.shortcut(&route.target("/below", None)),
            "http://clock:7777/mcp/below?k=1"
        );
        tokio::time::advance(MEMORY).await;
        assert_eq!(route.shortcut(&asked), asked);
        assert!(route.is_unknown());
    }

    #[test]
    fn what_was_remembered_is_forgotten_when_it_leads_nowhere() {
        let route = route();
        let asked = route.target("", None);
        let next = route
            .redirect(&asked, &asked, &answer(307, "/mcp"), None)
            .unwrap();
        assert!(!route.is_unknown());
        route.redirect(&asked, &next, &answer(404, "/"), None);
        assert!(route.is_unknown());
    }
}
