//! The pages that people see: the one on which they allow a client, and the one that says why a sign-in
//! cannot go on.
//!
//! They have no script and no cookie, and work by keyboard. What a client says of itself is escaped by
//! the templates.

use askama::Template;

pub(super) use crate::page::{STYLE, answer, protect};

/// The page on which a person allows a client.
#[derive(Debug, Template)]
#[template(path = "consent.html")]
pub(super) struct ConsentPage<'a> {
    /// The style of the page.
    pub(super) style: &'static str,
    /// The path that the form is sent to.
    pub(super) action: &'a str,
    /// The request, sealed.
    pub(super) request: &'a str,
    /// The name of the client, as it calls itself.
    pub(super) client: &'a str,
    /// What is known of it.
    pub(super) source: ClientSource<'a>,
    /// The URL of the id, or, where the client has named none, of all ids.
    pub(super) service_url: &'a str,
    pub(super) service: Service<'a>,
    pub(super) destination: Destination<'a>,
    pub(super) lives: &'a [LifeChoice],
    /// Whether the box *read only* is checked.
    pub(super) is_read_only: bool,
    /// Whether the client asks for no more than that, so that the person cannot give it more.
    pub(super) asks_to_read: bool,
    /// What was wrong with the form that was sent.
    pub(super) problem: Option<&'a str>,
}

/// What is known of a client.
#[derive(Debug, Clone, Copy)]
pub(super) enum ClientSource<'a> {
    /// The operator has named it.
    Known,
    /// It has named itself.
    Registered,
    /// A document says who it is.
    Document {
        /// The host of the document, which has proven by its certificate who it is.
        host: &'a str,
        /// The age of the document, if it cannot be fetched anew.
        outdated: Option<&'a str>,
    },
}

/// The service that the client is to use.
#[derive(Debug, Clone, Copy)]
pub(super) enum Service<'a> {
    /// The client has named it.
    Named(&'a str),
    /// The person names it; what was typed before.
    Asked(&'a str),
}

/// Where the answer goes.
#[derive(Debug, Clone, Copy)]
pub(super) enum Destination<'a> {
    /// A web site.
    Web(&'a str),
    /// A program on the person's computer.
    Loopback,
    /// The program that is registered for a scheme.
    Program(&'a str),
}

/// One choice of how long a client may do it.
#[derive(Debug)]
pub(super) struct LifeChoice {
    pub(super) value: &'static str,
    pub(super) text: &'static str,
    pub(super) is_checked: bool,
}

/// The page that says why a sign-in cannot go on.
#[derive(Debug, Template)]
#[template(path = "problem.html")]
pub(super) struct ProblemPage<'a> {
    /// The style of the page.
    pub(super) style: &'static str,
    /// What is wrong.
    pub(super) problem: &'a str,
    /// What the person can do.
    pub(super) advice: &'a str,
    pub(super) req_id: &'a str,
}

impl<'a> ProblemPage<'a> {
    /// Returns the page.
    pub(super) fn new(problem: &'a str, advice: &'a str, req_id: &'a str) -> Self {
        Self {
            style: STYLE,
            problem,
            advice,
            req_id,
        }
    }
}

impl ConsentPage<'_> {
    /// The style of the page.
    pub(super) const STYLE: &'static str = STYLE;
}

#[cfg(test)]
mod tests {
    use axum::http::StatusCode;

    use super::*;

    fn page<'a>(client: &'a str, service: Service<'a>) -> ConsentPage<'a> {
        ConsentPage {
            style: STYLE,
            action: "/oauth/consent",
            request: "sealed",
            client,
            source: ClientSource::Registered,
            service_url: "https://pool.example/api/mcp/id/notes",
            service,
            destination: Destination::Web("claude.ai"),
            lives: &[],
            is_read_only: false,
            asks_to_read: false,
            problem: None,
        }
    }

    #[test]
    fn what_a_client_calls_itself_is_escaped() {
        let hostile = "</title><script>alert(1)</script>\"onload='x'&";
        let html = page(hostile, Service::Named("notes")).render().unwrap();

        assert!(!html.contains("<script"), "{html}");
        assert!(!html.contains(hostile), "{html}");
        assert!(html.contains("&#60;script&#62;"), "{html}");
        let typed = page("Claude", Service::Asked("\"><b>")).render().unwrap();
        assert!(!typed.contains("\"><b>"), "{typed}");
    }

    #[test]
    fn a_document_is_shown_by_its_host() {
        let of = |outdated| ConsentPage {
            source: ClientSource::Document {
                host: "claude.ai",
                outdated,
            },
            ..page("Claude", Service::Named("notes"))
        };

        let html = of(None).render().unwrap();
        assert!(
            html.contains("published by <strong>claude.ai</strong></dd>"),
            "{html}"
        );
        let old = of(Some("3 hours")).render().unwrap();
        assert!(old.contains("3 hours ago"), "{old}");
    }

    #[test]
    fn the_policy_allows_the_style_and_no_more() {
        let answer = answer(StatusCode::OK, &page("Claude", Service::Named("notes")));
        let policy = answer.headers()["content-security-policy"]
            .to_str()
            .unwrap();

        assert!(
            policy.starts_with("default-src 'none'; style-src 'sha256-"),
            "{policy}"
        );
        assert!(!policy.contains("form-action"), "{policy}");
        assert!(!policy.contains("unsafe"), "{policy}");
        assert_eq!(answer.headers()["referrer-policy"], "same-origin");
        let html = page("Claude", Service::Named("notes")).render().unwrap();
        assert!(
            html.contains(&format!("<style>{STYLE}</style>")),
            "the hash is of this"
        );
        assert!(!html.contains("style="), "an attribute would be refused");
    }
}
