//! The certificates of a server: their files as the start reads them, and the authority that issues
//! others.

use std::time::{Duration, SystemTime};

use http::Uri;
use llamapool_server::{AcmeConfig, CertificateFiles, ServerConfig};
use tokio::net::{TcpStream, lookup_host};
use tokio::time::timeout;
use tokio_rustls::rustls::pki_types::CertificateDer;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use x509_cert::Certificate;
use x509_cert::der::Decode;

use crate::doctor::check::{ACME, CERTIFICATE, Check, Looked};
use crate::doctor::examination::Examination;

const DAY: u64 = 24 * 60 * 60;
/// The days before the end of a certificate at which its renewal has plainly failed.
const FEW_DAYS: u64 = 7;
/// The longest time for a name or a connection.
const PATIENCE: Duration = Duration::from_secs(10);

/// Looks at them.
pub(super) async fn look(
    config: &ServerConfig,
    examination: &mut Examination,
    not_for: &mut Vec<&'static Check>,
) {
    let Some(tls) = &config.listen.tls else {
        return;
    };
    for files in &tls.files {
        examination.add(certificate(files, SystemTime::now()));
    }
    if tls.files.is_empty() {
        not_for.push(&CERTIFICATE);
    }
    match &tls.acme {
        Some(acme) => authority(acme, examination).await,
        None => not_for.push(&ACME),
    }
}

/// Judges the end of the certificate in a file. Whether chain and key fit is judged by the start.
fn certificate(files: &CertificateFiles, now: SystemTime) -> Looked {
    let shown = files.chain.display();
    let first = CertificateDer::pem_file_iter(&files.chain);
    let first = first.map_err(|error| error.to_string());
    let first = first.and_then(|mut it| match it.next() {
        Some(found) => found.map_err(|error| error.to_string()),
        None => Err("there is no certificate in it".to_owned()),
    });
    let first = match first {
        Ok(first) => first,
        Err(error) => {
            let remedy = "TLS_CERT_FILE must be the chain in PEM, readable for the server.";
            return CERTIFICATE.fail(format!("{shown}: {error}"), remedy);
        }
    };
    let Ok(certificate) = Certificate::from_der(&first) else {
        let remedy = "TLS_CERT_FILE must be the chain in PEM, the server's own certificate first.";
        return CERTIFICATE.fail(format!("{shown} has no certificate of X.509"), remedy);
    };
    let end = certificate.tbs_certificate().validity().not_after;
    let left = end.to_system_time().duration_since(now);
    let remedy = "Renew it; the server takes a new file within seconds.";
    match left.map(|left| left.as_secs() / DAY) {
        Err(_) => CERTIFICATE.warn(format!("{shown} has expired: clients refuse it"), remedy),
        Ok(days) if days <= FEW_DAYS => {
            CERTIFICATE.warn(format!("{shown} ends in {days} days"), remedy)
        }
        Ok(days) => CERTIFICATE.ok(format!("{shown}, {days} days left")),
    }
}

/// Looks whether the authority is reached, and whether the names have addresses.
async fn authority(acme: &AcmeConfig, examination: &mut Examination) {
    for name in &acme.names {
        let name = name.to_string();
        let found = timeout(PATIENCE, lookup_host((name.as_str(), 443))).await;
        let addresses = match found {
            Ok(Ok(found)) => found.map(|it| it.ip().to_string()).collect::<Vec<_>>(),
            _ => Vec::new(),
        };
        let looked = if addresses.is_empty() {
            ACME.fail(
                format!("{name} has no address: the authority cannot check it"),
                "Add a record with the public address of this machine.",
            )
        } else {
            let shown = addresses.join(", ");
            ACME.ok(format!(
                "{name} → {shown}, where the authority must find this server"
            ))
        };
        examination.add(looked);
    }

    let url = acme.directory.url();
    let host = url.parse::<Uri>().ok();
    let host = host
        .as_ref()
        .and_then(|url| Some((url.host()?, url.port_u16())));
    let Some((host, port)) = host else {
        return;
    };
    let dialled = timeout(PATIENCE, TcpStream::connect((host, port.unwrap_or(443)))).await;
    let looked = match dialled {
        Ok(Ok(_)) => ACME.ok(format!("the authority at {host} takes connections")),
        Ok(Err(error)) => unreachable(host, &error.to_string()),
        Err(_) => unreachable(host, "no answer"),
    };
    examination.add(looked);
}

fn unreachable(host: &str, error: &str) -> Looked {
    ACME.warn(
        format!("the authority at {host} is not reached: {error}"),
        "No certificate can be ordered or renewed: let this machine connect to it.",
    )
}
