//! Methods that are about the way to a server, not about what it has.

use http::Method;

/// Returns whether a method asks for a tunnel or for an echo of the request (`CONNECT`, `TRACE`: RFC
/// 9110, sections 9.3.6 and 9.3.8). Neither has an answer that could be forwarded: the success of a
/// `CONNECT` has no body, and an echo has the headers that only the provider may see. Servers that
/// ignore case get no other spelling either.
pub fn is_of_the_connection(method: &Method) -> bool {
    [Method::CONNECT, Method::TRACE]
        .iter()
        .any(|refused| refused.as_str().eq_ignore_ascii_case(method.as_str()))
}
