//! Pages of providers. A browser runs them on the public origin, which all ids share, so a page of
//! one id could act as any other's: read its pages, and send its forms.
//!
//! An answer of a type that browsers run, or that they would guess, is put into a sandbox, where it
//! has an origin of its own that no other page shares (Content Security Policy, `sandbox`). No page
//! is given to a script that a browser runs on the public origin. Both end where the operator trusts
//! the pages of an id.

use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use llamapool_head::{FieldLookup, Fields};
use llamapool_wire::{CallError, Cause, RelayId};

/// An origin of its own, without scripts and forms.
const SANDBOX: HeaderValue = HeaderValue::from_static("sandbox");
const NO_SNIFF: HeaderValue = HeaderValue::from_static("nosniff");
/// The headers by which browsers name the purpose of a request (Fetch Metadata Request Headers).
static FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");
static FETCH_MODE: HeaderName = HeaderName::from_static("sec-fetch-mode");
static FETCH_DESTINATION: HeaderName = HeaderName::from_static("sec-fetch-dest");
/// Media types that a browser shows or stores, and never runs. `*` at the end stands for anything.
const INERT: &[&str] = &[
    "application/json",
    "text/event-stream",
    "text/plain",
    "application/octet-stream",
    "application/jsonl",
    "application/x-ndjson",
    "application/jwt",
    "application/pdf",
    "application/gzip",
    "application/zip",
    "audio/*",
    "font/*",
    "image/*",
    "text/csv",
    "text/markdown",
    "video/*",
];

/// The ids whose pages a browser runs as pages of the public origin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TrustedPages {
    /// Those of all ids.
    All,
    /// Those of these ids.
    Of(Vec<RelayId>),
}

impl TrustedPages {
    /// Returns whether the pages of an id are trusted.
    pub(super) fn contains(&self, id: &RelayId) -> bool {
        match self {
            Self::All => true,
            Self::Of(ids) => ids.contains(id),
        }
    }
}

impl Default for TrustedPages {
    fn default() -> Self {
        Self::Of(Vec::new())
    }
}

/// Returns whether a script of a page on the public origin sends a request (Fetch Metadata Request
/// Headers): a browser that opens a page navigates to it.
pub(super) fn is_of_own_script(headers: &Fields) -> bool {
    let has = |name: &HeaderName, value: &str| headers.get(name).is_some_and(|sent| sent == value);
    has(&FETCH_SITE, "same-origin") && !has(&FETCH_MODE, "navigate")
}

/// Returns whether a browser sends a request for something that it shows, runs or plays (Fetch Metadata
/// Request Headers, `Sec-Fetch-Dest`). What a script reads has the destination `empty`, and programs
/// send none.
pub(super) fn is_for_a_page(headers: &Fields) -> bool {
    let mut destinations = headers.all_values(&FETCH_DESTINATION);
    destinations.any(|destination| destination != "empty")
}

/// Returns the failure of a call for a page where no provider may have one.
pub(super) fn none_here() -> CallError {
    CallError::new(
        Cause::NoPages,
        "this is the address of an MCP server, for the settings of an app: a browser cannot open it, as SIGN_IN is on",
    )
}

/// Returns whether a browser could take an answer for a page. `is_empty`: nothing is in its body.
pub(super) fn is_page(status: StatusCode, headers: &Fields, is_empty: bool) -> bool {
    let mut types = headers.all_values(&header::CONTENT_TYPE);
    match (types.next(), types.next()) {
        // Nearly all answers have one of two types.
        (Some(media_type), None) if media_type == INERT[0] || media_type == INERT[1] => false,
        (Some(media_type), None) => !media_type.to_str().is_ok_and(is_inert),
        (Some(_), Some(_)) => true,
        (None, _) => {
            let has_no_body = matches!(
                status,
                StatusCode::NO_CONTENT | StatusCode::RESET_CONTENT | StatusCode::NOT_MODIFIED
            );
            let length = headers.get(&header::CONTENT_LENGTH);
            !(is_empty || has_no_body || length.is_some_and(|length| length == "0"))
        }
    }
}

/// Puts a page into a sandbox. Its own policies stay: a browser applies all of them.
pub(super) fn sandbox(headers: &mut Fields) {
    headers.append(&header::CONTENT_SECURITY_POLICY, &SANDBOX);
    headers.insert(&header::X_CONTENT_TYPE_OPTIONS, &NO_SNIFF);
}

/// Returns the failure of a call whose page is for no script.
pub(super) fn refused() -> CallError {
    CallError::new(
        Cause::PageRefused,
        "the answer is a page, and a script on the public origin asked for it; pages of an id are open to scripts if TRUSTED_PAGES lists the id",
    )
}

/// Returns whether a browser runs nothing of this type, nor guesses another one.
fn is_inert(media_type: &str) -> bool {
    // Of several in one value, browsers take the last.
    if media_type.contains(',') {
        return false;
    }
    let essence = media_type.split(';').next().unwrap_or_default().trim();
    if essence == INERT[0] || essence == INERT[1] {
        return true;
    }
    let essence = essence.to_ascii_lowercase();
    let is_json = essence.starts_with("application/") && essence.ends_with("+json");
    let is_xml = essence.ends_with("xml");
    let is_listed = || {
        INERT.iter().any(|inert| match inert.strip_suffix('*') {
            Some(start) => essence.len() > start.len() && essence.starts_with(start),
            None => essence == *inert,
        })
    };
    is_json || (!is_xml && is_listed())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_page_of(types: &[&'static str]) -> bool {
        let mut headers = Fields::new();
        for media_type in types {
            headers.append(&header::CONTENT_TYPE, &HeaderValue::from_static(media_type));
        }
        is_page(StatusCode::OK, &headers, false)
    }

    #[test]
    fn a_type_that_browsers_run_or_guess_is_a_page() {
        for page in [
            "text/html",
            "Text/HTML; charset=utf-8",
            "application/xhtml+xml",
            "image/svg+xml",
            "text/xml",
            "application/xml",
            "application/atom+xml",
            "multipart/x-mixed-replace",
            "text/javascript",
            "application/unknown",
            "*/*",
            "",
            "image/",
            "application/json, text/html",
        ] {
            assert!(is_page_of(&[page]), "{page}");
        }
        assert!(is_page_of(&[]));
        assert!(is_page_of(&["application/json", "text/html"]));
    }

    #[test]
    fn data_are_no_page() {
        for data in [
            "application/json",
            "Application/JSON; charset=utf-8",
            "application/problem+json",
            "text/event-stream;charset=utf-8",
            "text/plain",
            "image/png",
            "audio/wav",
        ] {
            assert!(!is_page_of(&[data]), "{data}");
        }
    }

    #[test]
    fn an_answer_without_a_body_is_no_page() {
        let none = Fields::new();
        let zero = Fields::from_iter([(header::CONTENT_LENGTH, HeaderValue::from(0))]);

        assert!(!is_page(StatusCode::NO_CONTENT, &none, false));
        assert!(!is_page(StatusCode::ACCEPTED, &none, true));
        assert!(!is_page(StatusCode::ACCEPTED, &zero, false));
        assert!(is_page(StatusCode::ACCEPTED, &none, false));
    }

    #[test]
    fn a_browser_that_shows_or_runs_an_answer_asks_for_a_page() {
        let asks = |destinations: &[&'static str]| {
            let mut headers = Fields::new();
            for destination in destinations {
                let destination = HeaderValue::from_static(destination);
                headers.append(&FETCH_DESTINATION, &destination);
            }
            is_for_a_page(&headers)
        };

        for page in [
            "document",
            "iframe",
            "script",
            "serviceworker",
            "image",
            "Empty",
            "",
        ] {
            assert!(asks(&[page]), "{page}");
        }
        assert!(asks(&["empty", "document"]));
        assert!(!asks(&["empty"]));
        assert!(!asks(&[]));
    }

    #[test]
    fn only_a_script_on_the_public_origin_is_one_of_its_own() {
        let is_own = |site: &'static str, mode: &'static str| {
            let headers = [("sec-fetch-site", site), ("sec-fetch-mode", mode)];
            let headers = headers
                .into_iter()
                .filter(|(_, value)| !value.is_empty())
                .map(|(name, value)| {
                    (
                        header::HeaderName::from_static(name),
                        HeaderValue::from_static(value),
                    )
                });
            is_of_own_script(&headers.collect())
        };

        assert!(is_own("same-origin", "cors"));
        assert!(is_own("same-origin", "no-cors"));
        assert!(is_own("same-origin", ""));
        assert!(!is_own("same-origin", "navigate"));
        assert!(!is_own("cross-site", "cors"));
        assert!(!is_own("", ""));
    }
}
