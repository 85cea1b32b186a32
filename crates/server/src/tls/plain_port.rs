//! The port of plain HTTP beside the one of TLS: the checks of an authority, probes, and the way to
//! https for those who only read.
//!
//! A request that carries more than an address is refused and not redirected: it has already gone over
//! the network in the clear, and after a redirect clients repeat it or drop what it carried.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::body::Body;
use axum::http::{
    HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, Uri, header,
};
use http_body::Body as _;
use llamapool_certificates::{Certificates, HTTP_CHALLENGE_PATH};
use llamapool_http::host::without_port;
use llamapool_http::json_response;
use llamapool_http::listen::{Handler, Overload, ReceivedBody};
use llamapool_wire::header as wire;
use parking_lot::Mutex;

use crate::error;
use crate::scheduler::DrainGate;

/// The time between two warnings of credentials that were sent in the clear.
const WARNINGS: Duration = Duration::from_secs(60);
/// The headers that carry credentials, of callers, of relays and of clients of LLM APIs.
const CREDENTIALS: [HeaderName; 5] = [
    header::AUTHORIZATION,
    header::COOKIE,
    header::PROXY_AUTHORIZATION,
    HeaderName::from_static("x-api-key"),
    wire::SECRET,
];

/// Answers the requests of the plain port. Clones are the same port.
#[derive(Clone)]
pub(crate) struct PlainPort(Arc<Context>);

struct Context {
    certificates: Certificates,
    /// The public URL, if it is configured.
    public_url: Option<Uri>,
    /// The port of TLS.
    tls_port: u16,
    gate: Arc<DrainGate>,
    warnings: Mutex<Warnings>,
}

/// The credentials that came in the clear.
#[derive(Default)]
struct Warnings {
    last: Option<Instant>,
    /// Those since the last warning.
    unreported: u64,
}

impl PlainPort {
    pub(crate) fn new(
        certificates: Certificates,
        public_url: Option<Uri>,
        tls_port: u16,
        gate: Arc<DrainGate>,
    ) -> Self {
        Self(Arc::new(Context {
            certificates,
            public_url,
            tls_port,
            gate,
            warnings: Mutex::default(),
        }))
    }
}

impl Handler for PlainPort {
    type Body = Body;
    type Connection = ();

    async fn answer(&self, peer: SocketAddr, request: Request<ReceivedBody>) -> Response<Body> {
        let has_body = !request.body().is_end_stream();
        let (head, _) = request.into_parts();
        self.0
            .respond(peer, &Request::from_parts(head, ()), has_body)
    }

    fn is_essential(&self, _: &Uri) -> bool {
        // Every answer here takes microseconds.
        true
    }

    fn refuse(&self, _: &Request<ReceivedBody>, _: Overload) -> Response<Body> {
        use_https()
    }
}

impl Context {
    fn respond(&self, peer: SocketAddr, request: &Request<()>, has_body: bool) -> Response<Body> {
        let headers = request.headers();
        if CREDENTIALS.iter().any(|name| headers.contains_key(name)) {
            self.warn_of_credential(peer);
            return use_https();
        }
        let only_reads = [Method::GET, Method::HEAD].contains(request.method());
        if !only_reads || has_body || headers.contains_key(header::UPGRADE) {
            return use_https();
        }

        let path = request.uri().path();
        if path.starts_with(HTTP_CHALLENGE_PATH) {
            return self.challenge(path);
        }
        match path {
            "/healthz" => json_response(StatusCode::OK, r#"{"status":"ok"}"#),
            "/readyz" => self.readiness(),
            _ => self.redirect(request.uri(), headers),
        }
    }

    /// Answers the check of an authority.
    fn challenge(&self, path: &str) -> Response<Body> {
        let Some(answer) = self.certificates.http_answer(path) else {
            return error::not_found();
        };
        let mut response = Response::new(Body::from(answer));
        let binary = HeaderValue::from_static("application/octet-stream");
        response.headers_mut().insert(header::CONTENT_TYPE, binary);
        response
    }

    fn readiness(&self) -> Response<Body> {
        if self.gate.is_closed() {
            return error::draining();
        }
        if !self.certificates.is_ready() {
            let status = self.certificates.status();
            let pending: Vec<&str> = status.iter().map(|it| it.label.as_str()).collect();
            return error::certificate_pending(&pending.join(", "));
        }
        json_response(StatusCode::OK, r#"{"status":"ready"}"#)
    }

    /// Sends a reader to the same address on the public URL.
    fn redirect(&self, uri: &Uri, headers: &HeaderMap) -> Response<Body> {
        let Some(base) = self.base(uri, headers) else {
            return use_https();
        };
        let path = uri.path_and_query().map_or("/", |path| path.as_str());
        let mut response = Response::new(Body::empty());
        *response.status_mut() = StatusCode::PERMANENT_REDIRECT;
        match format!("{base}{path}").parse() {
            Ok(location) => {
                response.headers_mut().insert(header::LOCATION, location);
                response
            }
            Err(_) => use_https(),
        }
    }

    /// Returns the public URL without a slash at its end. Where none is configured, a request may name
    /// the host only if a certificate proves it: any other would let its sender choose where others
    /// are sent.
    fn base(&self, uri: &Uri, headers: &HeaderMap) -> Option<String> {
        if let Some(url) = &self.public_url {
            return Some(url.to_string().trim_end_matches('/').to_owned());
        }

        let in_header = || headers.get(header::HOST)?.to_str().ok();
        let authority = uri.authority().map(|authority| authority.as_str());
        let host = without_port(authority.or_else(in_header)?);
        if !self.certificates.is_for(host) {
            return None;
        }
        Some(match self.tls_port {
            443 => format!("https://{host}"),
            port => format!("https://{host}:{port}"),
        })
    }

    /// Reports that a credential has to be replaced, at most once a minute for all.
    fn warn_of_credential(&self, peer: SocketAddr) {
        let mut warnings = self.warnings.lock();
        warnings.unreported += 1;
        let is_due = warnings.last.is_none_or(|last| last.elapsed() >= WARNINGS);
        if is_due {
            warnings.last = Some(Instant::now());
            let requests = std::mem::take(&mut warnings.unreported);
            drop(warnings);
            tracing::warn!(
                %peer,
                requests,
                "a credential was sent in the clear to HTTP_PORT: replace it, and use https"
            );
        }
    }
}

fn use_https() -> Response<Body> {
    error::use_https()
}
