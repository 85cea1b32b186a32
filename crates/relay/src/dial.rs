//! Dials the server: name, TCP, proxy, TLS, and the WebSocket upgrade.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response, StatusCode, Uri, header};
use http_body_util::{BodyExt, Empty, Limited};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper::upgrade::Upgraded;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder, MaybeHttpsStream};
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::connect::proxy::Tunnel as ProxyTunnel;
use hyper_util::client::proxy::matcher::Matcher;
use hyper_util::rt::TokioIo;
use llamapool_http::host;
use llamapool_wire::{
    DisplayName, InstanceId, Refusal, RefusalBody, RelayId, SUBPROTOCOL, header as wire, read_ids,
    write_ids,
};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio_tungstenite::tungstenite::handshake::client::generate_key;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tower_service::Service;

use crate::config::{DialConfig, Identity, RelayConfig};
use crate::error::error_chain;

/// The longest body of a refusal that is read, in bytes.
const MAX_REFUSAL_BYTES: usize = 16 * 1024;
/// The longest wait that a server can ask for before the next attempt.
const MAX_RETRY_AFTER: Duration = Duration::from_secs(60);

type Stream = MaybeHttpsStream<TokioIo<TcpStream>>;

/// Dials the server, again and again, as the same instance.
pub(crate) struct Dialer {
    target: Uri,
    proxy: Option<Proxy>,
    tls: rustls::ClientConfig,
    connect_timeout: Duration,
    headers: HeaderMap,
}

struct Proxy {
    uri: Uri,
    authorization: Option<HeaderValue>,
}

/// A tunnel's byte stream, its upgrade done.
pub(crate) struct Connected {
    pub(crate) io: TokioIo<Upgraded>,
    /// The ids of the providers, in their order.
    pub(crate) ids: Vec<RelayId>,
    pub(crate) server_version: DisplayName,
}

/// What was to be a proxy's address is none.
#[derive(Debug, thiserror::Error)]
#[error("the proxy {0:?} is not a URL such as http://proxy:3128")]
pub struct NoProxy(String);

/// Why the server was not reached.
#[derive(Debug, thiserror::Error)]
pub enum DialError {
    /// No connection.
    #[error("cannot connect to {server}: {error}")]
    Connect {
        /// The server's address.
        server: String,
        /// What the system, the proxy or TLS says.
        error: String,
    },
    /// It took too long.
    #[error("no connection to {server} within {patience:?}, see CONNECT_TIMEOUT")]
    Timeout {
        /// The server's address.
        server: String,
        /// How long was waited.
        patience: Duration,
    },
    /// The server refused.
    #[error("the server refused the relay with status {status}: {message}")]
    Refused {
        /// The status of its answer.
        status: StatusCode,
        /// Which refusal, if it says so in llamapool's words.
        refusal: Option<Refusal>,
        /// What it says.
        message: String,
        /// How long it asks to wait.
        retry_after: Duration,
    },
    /// The answer is no upgrade to a tunnel.
    #[error("the answer is not that of a llamapool server: {0}")]
    NotALlamapool(String),
}

impl Dialer {
    /// A dialer for this configuration, with a new instance id.
    pub(crate) fn new(config: &RelayConfig, tls: rustls::ClientConfig) -> Result<Self, NoProxy> {
        let target = as_http(&config.dial.server_url);
        let is_plain = target.scheme_str() == Some("http");
        if is_plain
            && config.identity.worker_key.is_some()
            && !host::is_loopback(target.host().unwrap_or_default())
        {
            tracing::warn!(server = %address(&target), "the connection is not encrypted: the worker key and all calls can be read on the way; use wss://");
        }
        Ok(Self {
            proxy: proxy(&config.dial, &target)?,
            headers: headers(&config.identity, config.build.version),
            connect_timeout: config.dial.connect_timeout,
            target,
            tls,
        })
    }

    /// Dials once; `wanted` are the ids to ask for, none where the server is to assign one.
    pub(crate) async fn dial(&self, wanted: &[Option<RelayId>]) -> Result<Connected, DialError> {
        match tokio::time::timeout(self.connect_timeout, self.connect_and_upgrade(wanted)).await {
            Ok(result) => result,
            Err(_) => Err(DialError::Timeout {
                server: self.server(),
                patience: self.connect_timeout,
            }),
        }
    }

    async fn connect_and_upgrade(
        &self,
        wanted: &[Option<RelayId>],
    ) -> Result<Connected, DialError> {
        let stream = self.connect().await?;
        let key = generate_key();
        let request = self.request(wanted, &key)?;
        let (mut sender, connection) = http1::handshake(stream)
            .await
            .map_err(|error| self.no_connection(error_chain(&error)))?;
        // Whatever becomes of the answer, the connection's own work ends with this function, or with the upgrade.
        let mut connection_work = JoinSet::new();
        connection_work.spawn(connection.with_upgrades());
        let answer =
            sender
                .send_request(request)
                .await
                .map_err(|error| match error.is_parse() {
                    true => DialError::NotALlamapool(format!(
                        "{}; is SERVER_URL right?",
                        error_chain(&error)
                    )),
                    false => self.no_connection(error_chain(&error)),
                })?;
        if answer.status() != StatusCode::SWITCHING_PROTOCOLS {
            return Err(refused(answer).await);
        }
        let (ids, server_version) = check(&answer, wanted, &key)?;
        let upgraded = hyper::upgrade::on(answer)
            .await
            .map_err(|error| DialError::NotALlamapool(error.to_string()))?;
        Ok(Connected {
            io: TokioIo::new(upgraded),
            ids,
            server_version,
        })
    }

    async fn connect(&self) -> Result<Stream, DialError> {
        let mut tcp = HttpConnector::new();
        tcp.enforce_http(false);
        tcp.set_nodelay(true);
        let stream = match &self.proxy {
            None => secured(tcp, &self.tls).call(self.target.clone()).await,
            Some(proxy) => {
                let through = ProxyTunnel::new(proxy.uri.clone(), tcp);
                let through = match &proxy.authorization {
                    Some(authorization) => through.with_auth(authorization.clone()),
                    None => through,
                };
                secured(through, &self.tls).call(self.target.clone()).await
            }
        };
        stream.map_err(|error| self.no_connection(error_chain(&*error)))
    }

    fn request(
        &self,
        wanted: &[Option<RelayId>],
        key: &str,
    ) -> Result<Request<Empty<Bytes>>, DialError> {
        let path = self
            .target
            .path_and_query()
            .map_or("/", |path| path.as_str());
        let authority = self
            .target
            .authority()
            .map(|authority| authority.as_str())
            .unwrap_or_default();
        let mut request = Request::get(path)
            .header(header::HOST, authority)
            .header(header::CONNECTION, "upgrade")
            .header(header::UPGRADE, "websocket")
            .header(header::SEC_WEBSOCKET_VERSION, "13")
            .header(header::SEC_WEBSOCKET_PROTOCOL, SUBPROTOCOL)
            .header(header::SEC_WEBSOCKET_KEY, key)
            .body(Empty::new())
            .map_err(|error| self.no_connection(error_chain(&error)))?;
        request.headers_mut().extend(self.headers.clone());
        write_ids(request.headers_mut(), wanted);
        Ok(request)
    }

    fn no_connection(&self, error: String) -> DialError {
        DialError::Connect {
            server: self.server(),
            error,
        }
    }

    /// The server, and the way there, for messages.
    fn server(&self) -> String {
        let via = self
            .proxy
            .as_ref()
            .map(|proxy| format!(" (through the proxy {})", address(&proxy.uri)));
        address(&self.target) + via.as_deref().unwrap_or_default()
    }
}

/// TLS on top of a connector, for those addresses that want it.
fn secured<C>(connector: C, tls: &rustls::ClientConfig) -> HttpsConnector<C> {
    HttpsConnectorBuilder::new()
        .with_tls_config(tls.clone())
        .https_or_http()
        .enable_http1()
        .wrap_connector(connector)
}

/// The headers that say who the relay is; the ids are added when they are known.
fn headers(identity: &Identity, version: &str) -> HeaderMap {
    let key = identity
        .worker_key
        .as_ref()
        .map(|key| format!("Bearer {}", key.expose()));
    let all: [(HeaderName, Option<String>); 5] = [
        (header::AUTHORIZATION, key),
        (wire::NAME, Some(identity.name.encode())),
        (wire::VERSION, Some(version.to_owned())),
        (
            wire::INSTANCE,
            Some(InstanceId::random().expose().to_owned()),
        ),
        (
            wire::SECRET,
            identity
                .client_secret
                .as_ref()
                .map(|secret| secret.expose().to_owned()),
        ),
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

/// The ids that the server gave, if its answer is an upgrade to a tunnel: those that were wanted, and others where none
/// was.
fn check<B>(
    answer: &Response<B>,
    wanted: &[Option<RelayId>],
    key: &str,
) -> Result<(Vec<RelayId>, DisplayName), DialError> {
    let text = |name: HeaderName| {
        answer
            .headers()
            .get(&name)
            .and_then(|value| value.to_str().ok())
    };
    let wrong = |what: &str| DialError::NotALlamapool(what.to_owned());
    if text(header::SEC_WEBSOCKET_ACCEPT) != Some(derive_accept_key(key.as_bytes()).as_str()) {
        return Err(wrong("the WebSocket upgrade does not match the request"));
    }
    if text(header::SEC_WEBSOCKET_PROTOCOL) != Some(SUBPROTOCOL) {
        return Err(wrong("it does not speak the same version of the tunnel"));
    }
    let ids = read_ids(answer.headers())
        .map_err(|error| wrong(&format!("what it says of ids is wrong: {error}")))?;
    let ids: Option<Vec<RelayId>> = ids.into_iter().collect();
    let ids = ids.ok_or_else(|| wrong("it left out an id"))?;
    if ids.len() != wanted.len() {
        return Err(wrong(&format!(
            "it gave {} ids to {} providers",
            ids.len(),
            wanted.len()
        )));
    }
    let mut named = wanted
        .iter()
        .zip(&ids)
        .filter_map(|(wanted, got)| Some((wanted.as_ref()?, got)));
    if let Some((wanted, got)) = named.find(|(wanted, got)| wanted != got) {
        return Err(wrong(&format!("it gave the id {got} instead of {wanted}")));
    }
    Ok((
        ids,
        DisplayName::decode(text(wire::VERSION).unwrap_or_default()).unwrap_or_default(),
    ))
}

/// What a refusal says.
async fn refused(answer: Response<Incoming>) -> DialError {
    let status = answer.status();
    let retry_after = answer
        .headers()
        .get(header::RETRY_AFTER)
        .and_then(|value| value.to_str().ok()?.parse().ok());
    let retry_after = retry_after
        .map_or(Duration::ZERO, Duration::from_secs)
        .min(MAX_RETRY_AFTER);
    let body = Limited::new(answer.into_body(), MAX_REFUSAL_BYTES)
        .collect()
        .await;
    let body = body
        .ok()
        .and_then(|body| serde_json::from_slice::<RefusalBody>(&body.to_bytes()).ok());
    let (refusal, message) = match body {
        Some(body) => (Some(body.error), body.display_message()),
        None => (
            None,
            "without a reason in llamapool's words; is SERVER_URL right?".to_owned(),
        ),
    };
    DialError::Refused {
        status,
        refusal,
        message,
        retry_after,
    }
}

fn proxy(config: &DialConfig, target: &Uri) -> Result<Option<Proxy>, NoProxy> {
    let wanted = if target.scheme_str() == Some("https") {
        &config.https_proxy
    } else {
        &config.http_proxy
    };
    let Some(wanted) = wanted.as_ref().map(|proxy| proxy.expose().to_owned()) else {
        return Ok(None);
    };
    let no_proxy = config.no_proxy.clone().unwrap_or_default();
    // The matcher goes by the target's scheme, so both schemes are given the one proxy that was found.
    let matcher = Matcher::builder()
        .http(wanted.clone())
        .https(wanted.clone())
        .no(no_proxy)
        .build();
    match matcher.intercept(target) {
        Some(found) if found.uri().scheme_str() == Some("http") => Ok(Some(Proxy {
            uri: found.uri().clone(),
            authorization: found.basic_auth().cloned(),
        })),
        Some(_) => Err(NoProxy(without_credentials(&wanted))),
        None if Matcher::builder()
            .http(wanted.clone())
            .https(wanted.clone())
            .build()
            .intercept(target)
            .is_none() =>
        {
            Err(NoProxy(without_credentials(&wanted)))
        }
        None => Ok(None),
    }
}

fn without_credentials(proxy: &str) -> String {
    proxy
        .rsplit_once('@')
        .map_or(proxy, |(_, host)| host)
        .to_owned()
}

/// The address with the scheme that HTTP clients know.
fn as_http(uri: &Uri) -> Uri {
    let scheme = match uri.scheme_str() {
        Some("wss" | "https") => "https",
        _ => "http",
    };
    let mut parts = uri.clone().into_parts();
    parts.scheme = scheme.parse().ok();
    Uri::from_parts(parts).unwrap_or_else(|_| uri.clone())
}

/// Scheme, host and port of an address, without anything secret.
fn address(uri: &Uri) -> String {
    let port = uri
        .port_u16()
        .map(|port| format!(":{port}"))
        .unwrap_or_default();
    format!(
        "{}://{}{port}",
        uri.scheme_str().unwrap_or("http"),
        uri.host().unwrap_or_default()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";

    /// The ids that a relay which wants some gets from a server that says others.
    fn check_ids(wanted: &[&str], said: &[&str]) -> Result<String, String> {
        let wanted: Vec<Option<RelayId>> = wanted.iter().map(|id| id.parse().ok()).collect();
        let mut answer = Response::new(());
        let headers = answer.headers_mut();
        headers.insert(
            header::SEC_WEBSOCKET_ACCEPT,
            derive_accept_key(KEY.as_bytes()).parse().unwrap(),
        );
        headers.insert(
            header::SEC_WEBSOCKET_PROTOCOL,
            HeaderValue::from_static(SUBPROTOCOL),
        );
        headers.extend(
            said.iter()
                .map(|id| (wire::ID, id.parse::<HeaderValue>().unwrap())),
        );
        let (ids, _) = check(&answer, &wanted, KEY).map_err(|error| error.to_string())?;
        Ok(ids
            .iter()
            .map(RelayId::as_str)
            .collect::<Vec<_>>()
            .join(" "))
    }

    #[test]
    fn the_server_gives_each_provider_the_id_that_it_wants_and_one_where_it_wants_none() {
        assert_eq!(check_ids(&["a"], &["a"]), Ok("a".to_owned()));
        assert_eq!(
            check_ids(&["", "b", "", "d"], &["w", "b", "x", "d"]),
            Ok("w b x d".to_owned())
        );
    }

    #[test]
    fn ids_that_do_not_fit_those_that_were_wanted_are_no_answer_of_a_llamapool_server() {
        for (wanted, said, error) in [
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
            let text = check_ids(wanted, said).unwrap_err();
            assert!(text.contains(error), "{text}");
        }
    }
}
