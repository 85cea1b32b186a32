//! The way to the server: its name, its port, TLS.

use std::time::{Duration, Instant, SystemTime};

use http::Uri;
use llamapool_relay::{ProbedStream, ServerProbe};
use x509_cert::Certificate;
use x509_cert::der::Decode;

use crate::doctor::check::{NAME, TCP, TLS};
use crate::doctor::examination::Examination;

const DAY: u64 = 24 * 60 * 60;
/// The days before the end of a certificate at which its renewal has plainly failed.
const FEW_DAYS: u64 = 7;

/// Looks at the way. Returns whether it leads to a port that speaks as the URL wants it.
pub(super) async fn look(probe: &ServerProbe, examination: &mut Examination) -> bool {
    let through = match probe.proxy() {
        Some(proxy) => format!(", the proxy ({proxy})"),
        None => String::new(),
    };
    match probe.addresses().await {
        Ok(addresses) => {
            let shown: Vec<_> = addresses.iter().map(ToString::to_string).collect();
            let host = probe.target().host().unwrap_or_default();
            let name = if through.is_empty() { host } else { "its name" };
            let found = format!("{name} → {}{through}", shown.join(", "));
            examination.add(NAME.ok(found));
        }
        Err(error) => {
            let remedy =
                "Is the name in SERVER_URL right, and does this machine reach a DNS server?";
            return examination.add(NAME.fail(format!("{error}{through}"), remedy));
        }
    }

    let begun = Instant::now();
    let looked = match probe.connect_tcp().await {
        Ok(()) => TCP.ok(format!("the port takes connections{through}")),
        Err(error) => TCP.fail(
            format!("no connection to {}: {error}", probe.shown()),
            "Does the server run, is its port the one of SERVER_URL, and does a firewall let this \
             machine through?",
        ),
    };
    if !examination.add(looked.within(begun.elapsed())) {
        return false;
    }
    tls(probe, examination).await
}

async fn tls(probe: &ServerProbe, examination: &mut Examination) -> bool {
    let target = probe.target();
    let is_tls = target.scheme_str() == Some("https");
    let begun = Instant::now();
    match probe.connect(target).await {
        Ok(stream) if is_tls => {
            let looked = judged(&stream, SystemTime::now());
            examination.add(looked.within(begun.elapsed()))
        }
        Ok(_) if probe.is_local() => {
            examination.add(TLS.ok("no TLS, which a server on this machine does without"))
        }
        Ok(_) => {
            let found = "no TLS: the worker key and all calls can be read on the way";
            examination.add(TLS.warn(found, "Give the server a certificate, and dial wss://."))
        }
        Err(error) if is_tls && speaks_plain_http(probe).await => {
            let found = format!("the port does not speak TLS: {error}");
            let remedy =
                "Use ws:// in SERVER_URL, or the address of the reverse proxy that speaks TLS.";
            examination.add(TLS.fail(found, remedy))
        }
        Err(error) => {
            let remedy = "Is the certificate of the server one for this name, valid, and of an authority \
                          that this machine trusts? CA_FILE names a private one. A proxy that opens TLS \
                          needs its authority there, too.";
            examination.add(TLS.fail(error, remedy))
        }
    }
}

/// Returns whether the port answers to HTTP without TLS.
async fn speaks_plain_http(probe: &ServerProbe) -> bool {
    let Some(plain) = with_scheme(probe.target(), "http") else {
        return false;
    };
    let Ok(stream) = probe.connect(&plain).await else {
        return false;
    };
    super::asking::answers_http(stream, &plain).await
}

/// Returns a URL with its port and another scheme.
pub(super) fn with_scheme(url: &Uri, scheme: &str) -> Option<Uri> {
    let default = match url.scheme_str() {
        Some("https") => 443,
        _ => 80,
    };
    let port = url.port_u16().unwrap_or(default);
    let host = url.host()?;
    let path = url.path();
    format!("{scheme}://{host}:{port}{path}").parse().ok()
}

/// Judges a certificate that was accepted.
fn judged(stream: &ProbedStream, now: SystemTime) -> crate::doctor::check::Looked {
    let version = stream.tls_version().unwrap_or("TLS");
    let certificate = stream.certificate();
    let certificate = certificate.and_then(|der| Certificate::from_der(&der).ok());
    let Some(certificate) = certificate else {
        return TLS.ok(format!("{version}, the certificate is accepted"));
    };
    let end = certificate.tbs_certificate().validity().not_after;
    let left = end.to_system_time().duration_since(now);
    let days = left.unwrap_or(Duration::ZERO).as_secs() / DAY;
    let found = format!("{version}, the certificate is accepted, {days} days left");
    if days <= FEW_DAYS {
        let remedy =
            "Its renewal should have succeeded by now: the log of the server says why not.";
        return TLS.warn(found, remedy);
    }
    TLS.ok(found)
}
