//! An authority for tests, which does what a test wants: refuses, hangs, suggests, issues certificates
//! of any life. It looks at no signature; the software of others that does is in the tests of the
//! executable.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use bytes::Bytes;
use http::{Method, Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, PKCS_ECDSA_P256_SHA256,
    PublicKeyData, SignatureAlgorithm,
};
use rustls::crypto::ring::default_provider;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use x509_cert::der::{Decode, Encode};
use x509_cert::request::CertReq;

use crate::resolver::Certificates;

/// A problem document, and the `Retry-After` beside it.
#[derive(Clone)]
pub(super) struct Refusal {
    pub(super) kind: &'static str,
    pub(super) detail: &'static str,
    pub(super) retry_after: Option<&'static str>,
}

/// What the authority is to do, and what it was asked for.
pub(super) struct Script {
    /// Answers to the next requests of this path, in place of the real ones.
    pub(super) refusals: BTreeMap<&'static str, Refusal>,
    /// Names whose checks fail.
    pub(super) unreachable: Vec<&'static str>,
    /// Where an answer to the check over HTTP must be; `None`: it is not looked at.
    pub(super) checked: Option<Certificates>,
    /// Set if a certificate takes until [`ScriptedAuthority::issue`].
    pub(super) hangs: bool,
    /// The window of every certificate, if the authority suggests any.
    pub(super) window: Option<(SystemTime, SystemTime)>,
    pub(super) profiles: Vec<&'static str>,
    pub(super) not_before: SystemTime,
    pub(super) life: Duration,
    /// The payloads of the accounts and orders that were asked for.
    pub(super) accounts: Vec<Value>,
    pub(super) orders: Vec<Value>,
    /// The kinds of the checks that were asked for.
    pub(super) checks: Vec<String>,
    /// The certificates that were asked about.
    pub(super) asked: Vec<String>,
    /// The states of the orders: their names, and the chains that were issued.
    states: Vec<OrderState>,
}

struct OrderState {
    names: Vec<String>,
    failed: Vec<String>,
    checked: usize,
    finalized: bool,
    chain: Option<String>,
    replaces: Value,
}

/// A running authority. Dropping it ends it.
pub(super) struct ScriptedAuthority {
    pub(super) script: Arc<Mutex<Script>>,
    pub(super) url: String,
    pub(super) ca_file: PathBuf,
    finalized: Arc<Notify>,
    _folder: tempfile::TempDir,
    _tasks: JoinSet<()>,
}

struct State {
    base: String,
    script: Arc<Mutex<Script>>,
    finalized: Arc<Notify>,
    issuer: CertifiedIssuer<'static, KeyPair>,
}

/// The key of a request for a certificate.
struct RequestedKey(Vec<u8>);

impl PublicKeyData for RequestedKey {
    fn der_bytes(&self) -> &[u8] {
        &self.0
    }

    fn algorithm(&self) -> &'static SignatureAlgorithm {
        &PKCS_ECDSA_P256_SHA256
    }
}

impl ScriptedAuthority {
    pub(super) async fn start() -> Self {
        let mut params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let ca_file = folder.path().join("ca.pem");
        std::fs::write(&ca_file, issuer.pem()).unwrap();

        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let base = format!(
            "https://localhost:{}",
            port_of(listener.local_addr().unwrap())
        );
        let script = Arc::new(Mutex::new(Script {
            refusals: BTreeMap::new(),
            unreachable: Vec::new(),
            checked: None,
            hangs: false,
            window: None,
            profiles: Vec::new(),
            not_before: SystemTime::now() - Duration::from_secs(60),
            life: Duration::from_secs(90 * 24 * 60 * 60),
            accounts: Vec::new(),
            orders: Vec::new(),
            checks: Vec::new(),
            asked: Vec::new(),
            states: Vec::new(),
        }));
        let finalized = Arc::new(Notify::new());
        let acceptor = acceptor(&issuer);
        let state = Arc::new(State {
            base: base.clone(),
            script: script.clone(),
            finalized: finalized.clone(),
            issuer,
        });
        let mut tasks = JoinSet::new();
        tasks.spawn(serve(listener, acceptor, state));
        Self {
            script,
            url: format!("{base}/directory"),
            ca_file,
            finalized,
            _folder: folder,
            _tasks: tasks,
        }
    }

    /// Waits until a certificate was asked for.
    pub(super) async fn finalized(&self) {
        self.finalized.notified().await;
    }

    /// Issues what hangs.
    pub(super) fn issue(&self) {
        self.script.lock().hangs = false;
    }

    pub(super) fn refuse(&self, path: &'static str, refusal: Refusal) {
        self.script.lock().refusals.insert(path, refusal);
    }

    /// The names of every order.
    pub(super) fn ordered(&self) -> Vec<Vec<String>> {
        let script = self.script.lock();
        script.orders.iter().map(names_of).collect()
    }
}

fn names_of(order: &Value) -> Vec<String> {
    let identifiers = order["identifiers"].as_array().unwrap().iter();
    identifiers
        .map(|it| it["value"].as_str().unwrap().to_owned())
        .collect()
}

fn port_of(address: SocketAddr) -> u16 {
    address.port()
}

fn acceptor(issuer: &CertifiedIssuer<'static, KeyPair>) -> TlsAcceptor {
    let key = KeyPair::generate().unwrap();
    let params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
    let certificate = params.signed_by(&key, issuer).unwrap();
    let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
    let chain: Vec<CertificateDer<'static>> = vec![certificate.der().clone()];
    let config = rustls::ServerConfig::builder_with_provider(Arc::new(default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .unwrap();
    TlsAcceptor::from(Arc::new(config))
}

async fn serve(listener: TcpListener, acceptor: TlsAcceptor, state: Arc<State>) {
    let mut connections = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        let acceptor = acceptor.clone();
        let state = state.clone();
        connections.spawn(async move {
            let Ok(stream) = acceptor.accept(stream).await else {
                return;
            };
            let service = service_fn(move |request| {
                let state = state.clone();
                async move { Ok::<_, Infallible>(state.answer(request).await) }
            });
            let connection = http1::Builder::new().serve_connection(TokioIo::new(stream), service);
            connection.await.ok();
        });
    }
}

impl State {
    async fn answer(&self, request: Request<Incoming>) -> Response<Full<Bytes>> {
        let (head, body) = request.into_parts();
        let path = head.uri.path().to_owned();
        let body = body.collect().await.unwrap().to_bytes();
        let payload = if head.method == Method::POST {
            payload(&body)
        } else {
            Value::Null
        };

        let step = path.split('/').nth(1).unwrap_or_default();
        let refusal = self.script.lock().refusals.remove(step);
        let (status, location, body) = match refusal {
            Some(refusal) => return refused(&refusal),
            None => self.act(&path, &payload),
        };
        let mut response = Response::builder()
            .status(status)
            .header("replay-nonce", "nonce-1")
            .header("retry-after", if step == "renewal" { "21600" } else { "0" });
        if let Some(location) = location {
            response = response.header("location", location);
        }
        response.body(Full::new(Bytes::from(body))).unwrap()
    }

    /// Returns status, location and body of an answer.
    fn act(&self, path: &str, payload: &Value) -> (u16, Option<String>, String) {
        let parts: Vec<&str> = path.split('/').skip(1).collect();
        let number = |index: usize| parts.get(index)?.parse::<usize>().ok();
        let base = &self.base;
        let mut script = self.script.lock();
        match parts[0] {
            "directory" => (200, None, self.directory(&script).to_string()),
            "nonce" => (200, None, String::new()),
            "account" if parts.len() > 1 => (200, None, json!({"status": "valid"}).to_string()),
            "account" => {
                script.accounts.push(payload.clone());
                (201, Some(format!("{base}/account/1")), "{}".to_owned())
            }
            "order" if number(1).is_none() => {
                script.orders.push(payload.clone());
                script.states.push(OrderState {
                    names: names_of(payload),
                    failed: Vec::new(),
                    checked: 0,
                    finalized: false,
                    chain: None,
                    replaces: payload["replaces"].clone(),
                });
                let order = script.states.len() - 1;
                let body = self.order(&script, order).to_string();
                (201, Some(format!("{base}/order/{order}")), body)
            }
            "order" => (
                200,
                None,
                self.order(&script, number(1).unwrap()).to_string(),
            ),
            "authorization" => {
                let order = number(1).unwrap();
                let name = number(2).unwrap();
                (
                    200,
                    None,
                    self.authorization(&script, order, name).to_string(),
                )
            }
            "check" => {
                let order = number(1).unwrap();
                let name = number(2).unwrap();
                self.check(&mut script, order, name, parts[3]);
                let body = json!({
                    "type": parts[3], "url": format!("{base}{path}"), "status": "processing",
                    "token": format!("token-{order}-{name}"),
                });
                (200, None, body.to_string())
            }
            "finalize" => {
                let order = number(1).unwrap();
                script.states[order].finalized = true;
                let chain = self.issue(&script, payload);
                script.states[order].chain = Some(chain);
                self.finalized.notify_one();
                (200, None, self.order(&script, order).to_string())
            }
            "certificate" => {
                let order = &script.states[number(1).unwrap()];
                (200, None, order.chain.clone().unwrap())
            }
            "renewal" => {
                script.asked.push(parts[1].to_owned());
                let (start, end) = script.window.unwrap();
                let text = |at| humantime_of(at);
                let window = json!({"start": text(start), "end": text(end)});
                (200, None, json!({ "suggestedWindow": window }).to_string())
            }
            _ => panic!("no such path: {path}"),
        }
    }

    fn directory(&self, script: &Script) -> Value {
        let base = &self.base;
        let profiles = script.profiles.iter();
        let profiles: BTreeMap<_, _> = profiles.map(|name| (*name, "a profile")).collect();
        let mut directory = json!({
            "newNonce": format!("{base}/nonce"),
            "newAccount": format!("{base}/account"),
            "newOrder": format!("{base}/order"),
            "meta": { "profiles": profiles },
        });
        if script.window.is_some() {
            directory["renewalInfo"] = json!(format!("{base}/renewal"));
        }
        directory
    }

    fn order(&self, script: &Script, order: usize) -> Value {
        let base = &self.base;
        let state = &script.states[order];
        let authorizations = (0..state.names.len())
            .map(|name| format!("{base}/authorization/{order}/{name}"))
            .collect::<Vec<_>>();
        let status = if !state.failed.is_empty() {
            "invalid"
        } else if state.finalized && script.hangs {
            "processing"
        } else if state.finalized {
            "valid"
        } else if state.checked >= state.names.len() {
            "ready"
        } else {
            "pending"
        };
        json!({
            "status": status,
            "authorizations": authorizations,
            "finalize": format!("{base}/finalize/{order}"),
            "certificate": format!("{base}/certificate/{order}"),
            "replaces": state.replaces,
        })
    }

    fn authorization(&self, script: &Script, order: usize, name: usize) -> Value {
        let base = &self.base;
        let state = &script.states[order];
        let text = &state.names[name];
        let is_failed = state.failed.contains(text);
        let challenges = ["tls-alpn-01", "http-01", "dns-01"].map(|kind| {
            let mut challenge = json!({
                "type": kind,
                "url": format!("{base}/check/{order}/{name}/{kind}"),
                "status": if is_failed { "invalid" } else { "pending" },
                "token": format!("token-{order}-{name}"),
            });
            if is_failed && script.checks.last().is_some_and(|last| last == kind) {
                challenge["error"] = json!({
                    "type": "urn:ietf:params:acme:error:connection",
                    "detail": format!("{text}: nothing answers on the port"),
                });
            }
            challenge
        });
        json!({
            "identifier": { "type": "dns", "value": text },
            "status": if is_failed { "invalid" } else { "pending" },
            "challenges": challenges,
        })
    }

    fn check(&self, script: &mut Script, order: usize, name: usize, kind: &str) {
        script.checks.push(kind.to_owned());
        if let Some(certificates) = &script.checked {
            let path = format!("/.well-known/acme-challenge/token-{order}-{name}");
            let answer = certificates.http_answer(&path).unwrap();
            assert!(
                answer.starts_with(&format!("token-{order}-{name}.")),
                "{answer}"
            );
        }
        let text = script.states[order].names[name].clone();
        if script.unreachable.iter().any(|it| *it == text) {
            script.states[order].failed.push(text);
        } else {
            script.states[order].checked += 1;
        }
    }

    fn issue(&self, script: &Script, payload: &Value) -> String {
        let request = payload["csr"].as_str().unwrap();
        let request = BASE64_URL_SAFE_NO_PAD.decode(request).unwrap();
        let request = CertReq::from_der(&request).unwrap();
        let key = request.info.public_key.subject_public_key.raw_bytes();

        let names = script.orders.last().map(names_of).unwrap();
        let mut params = CertificateParams::new(names).unwrap();
        params.not_before = script.not_before.into();
        params.not_after = (script.not_before + script.life).into();
        params.use_authority_key_identifier_extension = true;
        let key = RequestedKey(key.to_vec());
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        assert!(!request.to_der().unwrap().is_empty());
        format!("{}{}", certificate.pem(), self.issuer.pem())
    }
}

fn refused(refusal: &Refusal) -> Response<Full<Bytes>> {
    let body = json!({
        "type": format!("urn:ietf:params:acme:error:{}", refusal.kind),
        "detail": refusal.detail,
    });
    let mut response = Response::builder()
        .status(403)
        .header("replay-nonce", "nonce-1");
    if let Some(retry_after) = refusal.retry_after {
        response = response.header("retry-after", retry_after);
    }
    response
        .body(Full::new(Bytes::from(body.to_string())))
        .unwrap()
}

/// The payload of a signed request; null if it has none.
fn payload(body: &[u8]) -> Value {
    let signed: Value = serde_json::from_slice(body).unwrap();
    let payload = signed["payload"].as_str().unwrap();
    let payload = BASE64_URL_SAFE_NO_PAD.decode(payload).unwrap();
    serde_json::from_slice(&payload).unwrap_or(Value::Null)
}

fn humantime_of(at: SystemTime) -> String {
    humantime::format_rfc3339_seconds(at).to_string()
}
