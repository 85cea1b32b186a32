//! The pages that llamapool itself shows to people: what they have in common, the front page, and the errors
//! of calls as a browser shows them.
//!
//! They have no script and no cookie, and need nothing from elsewhere. Programs never get one: a page is for a GET
//! that accepts HTML and no event stream. A provider's answer is never replaced.

use std::sync::LazyLock;

use askama::Template;
use axum::body::Body;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode, header};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use llamapool_head::FieldLookup;
use llamapool_wire::{Cause, NOT_FOR_BROWSERS, header as wire};
use ring::digest;

/// The style of all pages. It stands in them, so that a page needs nothing else.
pub(crate) const STYLE: &str = include_str!("../templates/style.css");
const HTML: HeaderValue = HeaderValue::from_static("text/html; charset=utf-8");
const OPENER_POLICY: HeaderName = HeaderName::from_static("cross-origin-opener-policy");

/// The policy of all pages. There is no `form-action`: browsers apply it to the redirect behind the
/// form as well, and so it would cut the way back to the client. The image is the icon, which is empty: without
/// it, browsers would ask for one.
static POLICY: LazyLock<HeaderValue> = LazyLock::new(|| {
    let hash = STANDARD.encode(digest::digest(&digest::SHA256, STYLE.as_bytes()));
    let policy = format!(
        "default-src 'none'; style-src 'sha256-{hash}'; img-src data:; base-uri 'none'; frame-ancestors 'none'"
    );
    HeaderValue::from_str(&policy).unwrap_or(HeaderValue::from_static("default-src 'none'"))
});

/// The page at the root.
#[derive(Template)]
#[template(path = "front.html")]
struct FrontPage {
    style: &'static str,
}

/// The page of an error.
#[derive(Template)]
#[template(path = "error.html")]
struct ErrorPage<'a> {
    style: &'static str,
    headline: &'static str,
    /// What has happened; empty where nothing is wrong but the browser.
    meaning: &'static str,
    advice: Vec<Part<'static>>,
    /// The word of the error; empty as above.
    word: &'a str,
    req_id: &'a str,
}

/// A piece of a sentence in Markdown, which is code or is not.
struct Part<'a> {
    text: &'a str,
    is_code: bool,
}

/// `GET /`: what a browser finds at the root. Programs do not get here.
pub(crate) async fn front() -> Response<Body> {
    answer(StatusCode::OK, &FrontPage { style: STYLE })
}

/// Returns whether a request is that of a browser that opens an address.
pub(crate) fn is_wanted(method: &Method, headers: &impl FieldLookup) -> bool {
    // Nearly all calls are POST: they pay for a comparison.
    *method == Method::GET && accepts_html(headers)
}

fn accepts_html(headers: &impl FieldLookup) -> bool {
    let accepted = headers.all_values(&header::ACCEPT);
    let accepted: Vec<_> = accepted.filter_map(|value| value.to_str().ok()).collect();
    let accepts = |media_type| accepted.iter().any(|value| value.contains(media_type));
    accepts("text/html") && !accepts("text/event-stream")
}

/// Makes a page of an answer in which llamapool itself, here or at the relay, reports an error.
pub(crate) fn instead_of_error(answer: Response<Body>, req_id: &str) -> Response<Body> {
    let word = answer.headers().get(wire::ERROR).cloned();
    let Some(word) = word.as_ref().and_then(|word| word.to_str().ok()) else {
        return answer;
    };

    let is_for_programs = word == NOT_FOR_BROWSERS;
    let cause = Cause::from_word(word);
    let page = ErrorPage {
        style: STYLE,
        headline: headline(cause, answer.status(), is_for_programs),
        meaning: cause.map_or("", |cause| cause.meaning().trim()),
        advice: parts(cause.map_or("", Cause::advice)),
        word: if is_for_programs { "" } else { word },
        req_id,
    };
    // What the answer had in it is for programs.
    let html = page.render().unwrap_or_default();
    let (mut head, _) = answer.into_parts();
    head.headers.remove(header::CONTENT_LENGTH);
    head.headers.insert(header::CONTENT_TYPE, HTML);
    protect(&mut head.headers);
    Response::from_parts(head, Body::from(html))
}

fn headline(cause: Option<Cause>, status: StatusCode, is_for_programs: bool) -> &'static str {
    match (cause, status) {
        _ if is_for_programs => "This address is for an app",
        (Some(Cause::NoPages), _) => "This address is for an app",
        (Some(Cause::RelayOffline), _) => "Nothing is connected here now",
        (_, StatusCode::UNAUTHORIZED) => "This MCP server asks for a key",
        (_, StatusCode::TOO_MANY_REQUESTS) => "Too many calls",
        (_, status) if status.is_client_error() => "This is refused",
        _ => "This MCP server cannot be reached now",
    }
}

/// Returns the pieces of a text in Markdown, in which only code is marked.
fn parts(markdown: &'static str) -> Vec<Part<'static>> {
    let pieces = markdown.split('`').enumerate();
    pieces
        .filter(|(_, text)| !text.is_empty())
        .map(|(place, text)| Part {
            text,
            is_code: place % 2 == 1,
        })
        .collect()
}

/// Returns the answer with a page.
pub(crate) fn answer(status: StatusCode, page: &impl Template) -> Response<Body> {
    // A page is a text of texts: there is nothing that could fail.
    let html = page.render().unwrap_or_default();
    let mut answer = Response::new(Body::from(html));
    *answer.status_mut() = status;
    answer.headers_mut().insert(header::CONTENT_TYPE, HTML);
    protect(answer.headers_mut());
    answer
}

/// Adds the headers of all pages, and of the redirects behind them.
pub(crate) fn protect(headers: &mut HeaderMap) {
    let fixed = [
        (header::X_FRAME_OPTIONS, "DENY"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::CACHE_CONTROL, "no-store"),
        (OPENER_POLICY, "same-origin"),
        // With `no-referrer` browsers would send `Origin: null` with the form (Fetch, 3.1).
        (header::REFERRER_POLICY, "same-origin"),
    ];
    for (name, value) in fixed {
        headers.insert(name, HeaderValue::from_static(value));
    }
    headers.insert(header::CONTENT_SECURITY_POLICY, POLICY.clone());
}

#[cfg(test)]
mod tests {
    use super::*;

    fn accepting(values: &[&'static str]) -> HeaderMap {
        let values = values.iter().map(|value| HeaderValue::from_static(value));
        values.map(|value| (header::ACCEPT, value)).collect()
    }

    #[test]
    fn a_page_is_for_a_get_that_accepts_html_and_no_events() {
        let browser = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8";
        let wants =
            |method: Method, values: &[&'static str]| is_wanted(&method, &accepting(values));

        assert!(wants(Method::GET, &[browser]));
        assert!(!wants(Method::POST, &[browser]));
        assert!(!wants(Method::GET, &[]));
        assert!(!wants(Method::GET, &["*/*"]));
        assert!(!wants(Method::GET, &["application/json"]));
        assert!(!wants(Method::GET, &["text/html", "text/event-stream"]));
    }

    #[test]
    fn code_in_advice_is_marked() {
        let parts = parts("Raise `MAX_RELAYS` of the server.");
        let shown: Vec<_> = parts.iter().map(|it| (it.text, it.is_code)).collect();

        let expected = [
            ("Raise ", false),
            ("MAX_RELAYS", true),
            (" of the server.", false),
        ];
        assert_eq!(shown, expected);
    }

    #[test]
    fn every_error_of_llamapool_has_a_page_and_keeps_its_status() {
        for cause in Cause::ALL {
            let failure = llamapool_wire::CallError::new(*cause, "for programs");
            let page = instead_of_error(failure.to_response("r-1"), "r-1");

            assert_eq!(page.status(), cause.status());
            assert_eq!(page.headers()["content-type"], "text/html; charset=utf-8");
            assert_eq!(page.headers()["llamapool-error"], cause.word());
            assert!(!headline(Some(*cause), cause.status(), false).is_empty());
        }
    }

    #[test]
    fn an_answer_of_a_provider_stays() {
        let mut answer = Response::new(Body::from("its page"));
        *answer.status_mut() = StatusCode::BAD_GATEWAY;

        let kept = instead_of_error(answer, "r-1");

        assert!(!kept.headers().contains_key("content-type"));
    }
}
