//! The cookies of an id: those that its provider has set, and no others.
//!
//! All ids share the public origin, and a browser keeps one jar for it. So a cookie of a provider
//! becomes a cookie of its id on the way out: its path is the id's URL, its domain goes, and its name
//! gets the id in front. On the way in that is removed again, and the cookies of other ids stay
//! behind, wherever they come from. A program that sends a cookie of its own making keeps it; a
//! browser's cookies without an id are those of other services on the same host.

use axum::http::{HeaderName, HeaderValue, header};
use llamapool_head::{FieldLookup, FieldValue, Fields};
use llamapool_wire::{RelayId, path};

/// The beginning of the names of all ids' cookies.
const PREFIX: &str = "llamapool-";
/// What is in the names of all cookies of ids and of the server.
const NAME: &[u8] = b"llamapool";
/// Between the id and the provider's name: a character of names of cookies (RFC 6265, section 4.1.1)
/// that no id has.
const SEPARATOR: char = '!';
/// The beginnings of names that browsers accept with `Path=/` alone (RFC 6265bis, section 4.1.3), in
/// lower case.
const WHOLE_HOST: [&[u8]; 2] = [b"__host-", b"__http-"];
/// The beginnings of the names of cookies of the server itself, which no provider gets or sets, in lower
/// case.
const OF_SERVER: [&[u8]; 3] = [b"llamapool=", b"__host-llamapool", b"__secure-llamapool"];
/// Headers that browsers send and programs do not.
const OF_BROWSERS: [HeaderName; 3] = [
    HeaderName::from_static("sec-fetch-site"),
    header::ORIGIN,
    header::UPGRADE_INSECURE_REQUESTS,
];

/// Makes the cookies of a caller's request the provider's: those of this id get their names back,
/// those of others are removed.
pub(super) fn to_provider(headers: &mut Fields, id: &RelayId, is_trusted: bool) {
    if !headers.contains_key(&header::COOKIE) {
        return;
    }
    let is_browser = OF_BROWSERS.iter().any(|name| headers.contains_key(name));
    let keeps_others = is_trusted || !is_browser;

    let mark = mark(id);
    let values = taken(headers, &header::COOKIE);
    for value in values {
        let has_marks = contains(value.as_bytes(), NAME);
        if keeps_others && !has_marks {
            headers.append(&header::COOKIE, &value);
            continue;
        }
        let cookies = value.as_bytes().split(|&byte| byte == b';');
        let own: Vec<&[u8]> = cookies
            .map(<[u8]>::trim_ascii)
            .filter_map(|cookie| match cookie.strip_prefix(mark.as_bytes()) {
                Some(own) => Some(own),
                None if cookie.starts_with(PREFIX.as_bytes()) || is_of_server(cookie) => None,
                None => (keeps_others && !cookie.is_empty()).then_some(cookie),
            })
            .collect();
        if !own.is_empty() {
            // A part of a value is valid in one.
            let _ = headers.append_bytes(&header::COOKIE, &own.join(&b"; "[..]));
        }
    }
}

/// Makes the cookies that a provider sets those of its id, below the public path of the server.
pub(super) fn to_caller(headers: &mut Fields, id: &RelayId, public_path: &str, is_trusted: bool) {
    if !headers.contains_key(&header::SET_COOKIE) {
        return;
    }
    let mark = mark(id);
    let path = format!("{public_path}{}{id}", path::MCP_BY_ID);
    let values = taken(headers, &header::SET_COOKIE);
    for value in values {
        let own = of_id(value.as_bytes(), &mark, &path, is_trusted);
        if let Some(own) = own {
            let _ = headers.append_bytes(&header::SET_COOKIE, &own);
        }
    }
}

/// Takes all values of a field.
fn taken(fields: &mut Fields, name: &HeaderName) -> Vec<HeaderValue> {
    let values = fields.all_values(name);
    let values = values.filter_map(FieldValue::to_http).collect();
    fields.remove(name);
    values
}

/// Returns a `Set-Cookie` as that of an id. `None` if it is meant for another id: it has that one's
/// path or name. Pages that are trusted find their cookies under the names that they gave them.
fn of_id(cookie: &[u8], mark: &str, path: &str, is_trusted: bool) -> Option<Vec<u8>> {
    let mut parts = cookie.split(|&byte| byte == b';');
    let pair = parts.next()?.trim_ascii_start();
    if is_of_server(pair) {
        return None;
    }
    let lower = pair.to_ascii_lowercase();
    let is_whole_host = WHOLE_HOST.iter().any(|start| lower.starts_with(start));

    let mut own = Vec::with_capacity(mark.len() + cookie.len() + path.len() + "; Path=".len());
    if !is_trusted || is_whole_host {
        own.extend_from_slice(mark.as_bytes());
    } else if lower.starts_with(PREFIX.as_bytes()) {
        return None;
    }
    own.extend_from_slice(pair);
    for attribute in parts {
        let mut halves = attribute.splitn(2, |&byte| byte == b'=');
        let name = halves.next().unwrap_or_default().trim_ascii();
        let value = halves.next().unwrap_or_default().trim_ascii();
        if name.eq_ignore_ascii_case(b"path") {
            if is_of_another_id(value, path) {
                return None;
            }
        } else if !name.eq_ignore_ascii_case(b"domain") {
            own.push(b';');
            own.extend_from_slice(attribute);
        }
    }
    own.extend_from_slice(b"; Path=");
    own.extend_from_slice(path.as_bytes());
    Some(own)
}

/// Returns whether a cookie's path is at or below the URL of another id than the one with this path.
fn is_of_another_id(cookie_path: &[u8], path: &str) -> bool {
    let ids = path.rfind('/').map_or(path, |end| &path[..=end]);
    let is_own = || {
        let below = cookie_path.strip_prefix(path.as_bytes());
        below.is_some_and(|below| below.is_empty() || below.starts_with(b"/"))
    };
    cookie_path.starts_with(ids.as_bytes()) && !is_own()
}

/// Returns whether a cookie has a name of the server's own.
fn is_of_server(cookie: &[u8]) -> bool {
    let lower = cookie.to_ascii_lowercase();
    OF_SERVER.iter().any(|start| lower.starts_with(start))
}

fn mark(id: &RelayId) -> String {
    format!("{PREFIX}{id}{SEPARATOR}")
}

fn contains(bytes: &[u8], part: &[u8]) -> bool {
    bytes.windows(part.len()).any(|window| window == part)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATH: &str = "/llama/api/mcp/id/a.b";

    fn id() -> RelayId {
        "a.b".parse().unwrap()
    }

    fn set(cookie: &str, is_trusted: bool) -> Option<String> {
        let mut headers = Fields::new();
        headers.append(&header::SET_COOKIE, &cookie.parse().unwrap());
        to_caller(&mut headers, &id(), "/llama", is_trusted);
        let own = headers.get(&header::SET_COOKIE)?;
        Some(own.to_str().unwrap().to_owned())
    }

    fn sent(cookies: &[&str], browser: Option<&str>, is_trusted: bool) -> Vec<String> {
        let mut headers = Fields::new();
        for cookie in cookies {
            headers.append(&header::COOKIE, &cookie.parse().unwrap());
        }
        if let Some(site) = browser {
            headers.append(&OF_BROWSERS[0], &site.parse().unwrap());
        }
        to_provider(&mut headers, &id(), is_trusted);
        let values = headers.all_values(&header::COOKIE);
        values
            .map(|value| value.to_str().unwrap().to_owned())
            .collect()
    }

    #[test]
    fn a_cookie_is_set_for_the_id_alone() {
        for (cookie, own) in [
            ("s=1", "s=1"),
            ("s=1; Path=/; HttpOnly", "s=1; HttpOnly"),
            (
                "s=1;path=/api/mcp/id/x;DOMAIN=pool.example;Secure",
                "s=1;Secure",
            ),
            ("s=a=b; Path ; SameSite=Lax", "s=a=b; SameSite=Lax"),
            ("__Host-s=1; Path=/; Secure", "__Host-s=1; Secure"),
            ("llamapool-x!s=1", "llamapool-x!s=1"),
            ("=x; Max-Age=1", "=x; Max-Age=1"),
        ] {
            let expected = format!("llamapool-a.b!{own}; Path={PATH}");
            assert_eq!(set(cookie, false), Some(expected), "{cookie}");
        }
    }

    #[test]
    fn a_cookie_with_the_path_of_another_id_is_not_set() {
        for is_trusted in [false, true] {
            for path in [
                "/llama/api/mcp/id/x",
                "/llama/api/mcp/id/a.b2",
                "/llama/api/mcp/id/",
            ] {
                assert_eq!(set(&format!("s=1; Path={path}; Secure"), is_trusted), None);
            }
        }
    }

    #[test]
    fn trusted_pages_find_their_cookies_by_name() {
        let path = format!("; Path={PATH}");

        assert_eq!(set("s=1; Path=/", true), Some(format!("s=1{path}")));
        assert_eq!(
            set("__HOST-s=1; Path=/", true),
            Some(format!("llamapool-a.b!__HOST-s=1{path}")),
            "a browser would refuse it with this path"
        );
        assert_eq!(set("Llamapool-x!s=1", true), None);
        assert_eq!(sent(&["s=1"], Some("same-origin"), true), ["s=1"]);
    }

    #[test]
    fn a_provider_gets_the_cookies_of_its_id_alone() {
        let all = "llamapool-a.b!s=1; llamapool-x!s=2;other=3; llamapool-a.b!t=4";

        assert_eq!(sent(&[all], Some("none"), false), ["s=1; t=4"]);
        assert_eq!(sent(&[all], None, false), ["s=1; other=3; t=4"]);
        assert_eq!(sent(&["llamapool-x!s=2"], None, true), [""; 0]);
        assert_eq!(sent(&["other=3"], Some("cross-site"), false), [""; 0]);
    }

    #[test]
    fn the_servers_own_cookies_reach_and_come_from_no_provider() {
        let all = "__Host-llamapool=1; a=2; llamapool=3; __Host-llamapool-x=4";

        assert_eq!(sent(&[all], None, false), ["a=2"]);
        assert_eq!(sent(&[all], None, true), ["a=2"]);
        for own in [
            "__Host-llamapool=1; Path=/",
            "llamapool=1",
            "__HOST-Llamapool-x=1",
        ] {
            assert_eq!(set(own, false), None, "{own}");
            assert_eq!(set(own, true), None, "{own}");
        }
    }

    #[test]
    fn cookies_that_a_program_sends_stay_as_they_are() {
        let own = ["a=1;b=2;; c", "d=\"4\" "];
        assert_eq!(sent(&own, None, false), own);
    }
}
