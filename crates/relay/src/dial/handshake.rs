//! The WebSocket upgrade to a tunnel: the request, and the checks of the response.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response, StatusCode, Uri, header};
use http_body::Body;
use http_body_util::{BodyExt, Empty, Limited};
use llamapool_http::BoxError;
use llamapool_wire::{
    BuildInfo, DisplayName, InstanceId, PublicBase, RefusalBody, RelayId, SUBPROTOCOL,
    header as wire, path, read_ids, write_ids,
};
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

use super::error::DialError;
use crate::config::Identity;

/// The longest body of a refusal that is read, in bytes.
const MAX_REFUSAL_BYTES: usize = 16 * 1024;
/// The longest wait that a server can ask for before the next attempt.
const MAX_RETRY_AFTER: Duration = Duration::from_secs(60);

/// Returns the headers that identify the relay; the ids are added to each request.
pub(super) fn identity_headers(identity: &Identity, build: &BuildInfo) -> HeaderMap {
    let key = identity
        .worker_key
        .as_ref()
        .map(|key| format!("Bearer {}", key.expose()));
    let secret = identity
        .client_secret
        .as_ref()
        .map(|secret| secret.expose().to_owned());
    let instance = InstanceId::random().expose().to_owned();
    let all: [(HeaderName, Option<String>); 6] = [
        (header::AUTHORIZATION, key),
        (wire::NAME, Some(identity.name.encode())),
        (wire::VERSION, Some(build.version.to_owned())),
        (wire::BUILD, Some(format!("{} {}", build.sha, build.date))),
        (wire::INSTANCE, Some(instance)),
        (wire::SECRET, secret),
    ];

    let mut headers = HeaderMap::new();
    for (name, text) in all {
        if let Some(mut value) = text.and_then(|text| HeaderValue::from_str(&text).ok()) {
            value.set_sensitive(true);
            headers.insert(name, value);
        }
    }
    headers
}

/// Returns the request for an upgrade. `wanted` are the ids of the providers, `None` where the
/// server is to assign one; `key` is the WebSocket key.
pub(super) fn upgrade_request(
    target: &Uri,
    identity: &HeaderMap,
    wanted: &[Option<RelayId>],
    key: &str,
) -> http::Result<Request<Empty<Bytes>>> {
    let path = target.path_and_query().map_or("/", |path| path.as_str());
    let authority = target
        .authority()
        .map_or("", |authority| authority.as_str());
    let mut request = Request::get(path)
        .header(header::HOST, authority)
        .header(header::CONNECTION, "upgrade")
        .header(header::UPGRADE, "websocket")
        .header(header::SEC_WEBSOCKET_VERSION, "13")
        .header(header::SEC_WEBSOCKET_PROTOCOL, SUBPROTOCOL)
        .header(header::SEC_WEBSOCKET_KEY, key)
        .body(Empty::new())?;
    request.headers_mut().extend(identity.clone());
    write_ids(request.headers_mut(), wanted);
    Ok(request)
}

/// Checks that a response with status 101 is an upgrade to a tunnel. Returns the ids of the
/// providers, those that were wanted and assigned ones, and the server's version.
pub(super) fn check_response<B>(
    response: &Response<B>,
    wanted: &[Option<RelayId>],
    key: &str,
) -> Result<(Vec<RelayId>, DisplayName), DialError> {
    let text = |name: HeaderName| {
        response
            .headers()
            .get(&name)
            .and_then(|value| value.to_str().ok())
    };
    if text(header::SEC_WEBSOCKET_ACCEPT) != Some(derive_accept_key(key.as_bytes()).as_str()) {
        return Err(handshake_error(
            "the WebSocket upgrade does not match the request",
        ));
    }
    if text(header::SEC_WEBSOCKET_PROTOCOL) != Some(SUBPROTOCOL) {
        return Err(handshake_error(
            "it does not speak the same version of the tunnel",
        ));
    }

    let ids = check_ids(response.headers(), wanted)?;
    let version = text(wire::VERSION).unwrap_or_default();
    Ok((ids, DisplayName::decode(version).unwrap_or_default()))
}

/// Returns the base of the callers' URLs: the one that the server names, or else the one that its
/// address suggests. A server can name any; it is only shown, and nothing dials it.
pub(super) fn public_base(headers: &HeaderMap, target: &Uri) -> Option<PublicBase> {
    let named = headers.get(wire::PUBLIC_URL);
    named
        .and_then(|named| PublicBase::parse(named.to_str().ok()?))
        .or_else(|| PublicBase::of_server(target))
}

/// Checks that the server has sent one id for each provider, and the wanted one where there is one.
fn check_ids(headers: &HeaderMap, wanted: &[Option<RelayId>]) -> Result<Vec<RelayId>, DialError> {
    let ids = read_ids(headers)
        .map_err(|error| handshake_error(&format!("what it says of ids is wrong: {error}")))?;
    let ids: Option<Vec<RelayId>> = ids.into_iter().collect();
    let ids = ids.ok_or_else(|| handshake_error("it left out an id"))?;
    if ids.len() != wanted.len() {
        return Err(handshake_error(&format!(
            "it gave {} ids to {} providers",
            ids.len(),
            wanted.len()
        )));
    }

    for (wanted, id) in wanted.iter().zip(&ids) {
        if let Some(wanted) = wanted
            && wanted != id
        {
            return Err(handshake_error(&format!(
                "it gave the id {id} instead of {wanted}"
            )));
        }
    }
    Ok(ids)
}

fn handshake_error(message: &str) -> DialError {
    DialError::Handshake(message.to_owned())
}

/// Reads the response of a server that refuses the relay, which has dialled this path.
pub(super) async fn read_refusal<B>(response: Response<B>, path: &str) -> DialError
where
    B: Body<Data = Bytes>,
    B::Error: Into<BoxError>,
{
    let status = response.status();
    let retry_after = response
        .headers()
        .get(header::RETRY_AFTER)
        .and_then(|value| value.to_str().ok()?.parse().ok())
        .map_or(Duration::ZERO, Duration::from_secs)
        .min(MAX_RETRY_AFTER);

    let other_program = other_program(&response, path);
    let body = Limited::new(response.into_body(), MAX_REFUSAL_BYTES)
        .collect()
        .await
        .ok()
        .and_then(|body| serde_json::from_slice::<RefusalBody>(&body.to_bytes()).ok());
    match body {
        Some(body) => DialError::Refused {
            status,
            refusal: Some(body.error),
            message: body.display_message(),
            retry_after,
        },
        None => DialError::Refused {
            status,
            refusal: None,
            message: other_program,
            retry_after,
        },
    }
}

/// Returns what is likely wrong where the response is none of llamapool.
fn other_program<B>(response: &Response<B>, path: &str) -> String {
    let server = response.headers().get(header::SERVER);
    let server = server.and_then(|server| server.to_str().ok());
    let server = server.map_or("the answer does not name it".to_owned(), |server| {
        format!("its answer names {}", DisplayName::new(server).as_str())
    });
    let is_ours = [path::MCP_CONNECT, path::WORKER_CONNECT].contains(&path);

    match response.status() {
        StatusCode::NOT_FOUND | StatusCode::METHOD_NOT_ALLOWED if !is_ours => format!(
            "the host answers, but llamapool is not at {path}; leave the path out of SERVER_URL, \
             so that it is {}, or it is another program: {server}",
            path::MCP_CONNECT
        ),
        _ => format!("another program answers, and not llamapool: {server}; is SERVER_URL right?"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";

    /// Returns the ids that a relay gets which wants some ids, from a server that sends others.
    fn checked_ids(wanted: &[&str], sent: &[&str]) -> Result<String, String> {
        let wanted: Vec<Option<RelayId>> = wanted.iter().map(|id| id.parse().ok()).collect();
        let mut response = Response::new(());
        let headers = response.headers_mut();
        headers.insert(
            header::SEC_WEBSOCKET_ACCEPT,
            derive_accept_key(KEY.as_bytes()).parse().unwrap(),
        );
        headers.insert(
            header::SEC_WEBSOCKET_PROTOCOL,
            HeaderValue::from_static(SUBPROTOCOL),
        );
        headers.extend(
            sent.iter()
                .map(|id| (wire::ID, id.parse::<HeaderValue>().unwrap())),
        );
        let (ids, _) =
            check_response(&response, &wanted, KEY).map_err(|error| error.to_string())?;
        Ok(ids
            .iter()
            .map(RelayId::as_str)
            .collect::<Vec<_>>()
            .join(" "))
    }

    #[test]
    fn a_server_names_its_public_url_or_its_address_does() {
        let target = Uri::from_static("https://pool.example/api/mcp/connect");
        let base = |named: Option<&'static [u8]>| {
            let mut headers = HeaderMap::new();
            let named = named.map(|named| HeaderValue::from_bytes(named).unwrap());
            headers.extend(named.map(|named| (wire::PUBLIC_URL, named)));
            public_base(&headers, &target).unwrap().as_str().to_owned()
        };

        assert_eq!(
            base(Some(b"https://mcp.example/x")),
            "https://mcp.example/x"
        );
        assert_eq!(
            base(None),
            "https://pool.example",
            "an older server names none"
        );
        for hostile in [
            &b"javascript:alert(1)"[..],
            b"https://a/';rm",
            b"https://\xff",
            b"\t",
        ] {
            assert_eq!(base(Some(hostile)), "https://pool.example");
        }
    }

    #[test]
    fn each_provider_gets_the_id_it_wants_or_an_assigned_one() {
        assert_eq!(checked_ids(&["a"], &["a"]), Ok("a".to_owned()));
        assert_eq!(
            checked_ids(&["", "b", "", "d"], &["w", "b", "x", "d"]),
            Ok("w b x d".to_owned())
        );
    }

    #[test]
    fn ids_that_do_not_fit_the_wanted_ones_are_an_error() {
        for (wanted, sent, error) in [
            (
                &["", "b"][..],
                &["b", "x"][..],
                "it gave the id x instead of b",
            ),
            (&["a", "b"], &["a"], "it gave 1 ids to 2 providers"),
            (&["a"], &["a", "b"], "it gave 2 ids to 1 providers"),
            (&["a"], &[], "it left out an id"),
            (&["", ""], &["x", ""], "it left out an id"),
            (&["", ""], &["x", "x"], "the id x is there twice"),
            (&["a"], &["a/b"], "the id has the character '/'"),
        ] {
            let text = checked_ids(wanted, sent).unwrap_err();
            assert!(text.contains(error), "{text}");
        }
    }
}
