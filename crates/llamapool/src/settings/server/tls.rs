//! Settings of TLS in the server's own process. Each certificate is a `[[certificate]]` table of the
//! file, or one without a table.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use http::Uri;
use http::uri::Scheme;
use llamapool_server::{CertificateFiles, TlsConfig};
use llamapool_settings::value::{PATH, POSITIVE_DURATION};
use llamapool_settings::{EntryScope, EntrySources, Setting, Sources, TypedSetting};

use super::{acme, listen};
use crate::settings::address::PORT_OR_NONE;
use crate::settings::error::ConfigError;
use crate::settings::group::{MAIN, TIME};

/// The port of plain HTTP.
const PLAIN_PORT: u16 = 80;
/// The most certificates of a server.
const MAX_CERTIFICATES: usize = 1000;

static TLS_CERT_FILE: TypedSetting<Option<PathBuf>> = TypedSetting::new(
    "TLS_CERT_FILE",
    MAIN,
    PATH,
    "PEM file with the server's certificate, and those of its issuers behind it. With it PORT speaks \
     https only.",
)
.entry("certificate", "cert_file", EntryScope::PerEntry);
static TLS_KEY_FILE: TypedSetting<Option<PathBuf>> = TypedSetting::new(
    "TLS_KEY_FILE",
    MAIN,
    PATH,
    "PEM file with the key of that certificate, which other users of the machine cannot read.",
)
.entry("certificate", "key_file", EntryScope::PerEntry);
static TLS_RELOAD_INTERVAL: TypedSetting<Duration> = TypedSetting::new(
    "TLS_RELOAD_INTERVAL",
    TIME,
    POSITIVE_DURATION,
    "Time between two looks whether certificate files have changed. SIGHUP reads them at once.",
)
.default("10s");
static HTTP_PORT: TypedSetting<Option<u16>> = TypedSetting::new(
    "HTTP_PORT",
    MAIN,
    PORT_OR_NONE,
    "Port of plain HTTP beside https on PORT: it answers the checks of an authority, redirects \
     readers, and refuses calls. Without PORT, and with ACME_DOMAINS: 80.",
);

/// The settings declared here.
pub(super) static SETTINGS: &[&Setting] = &[
    &TLS_CERT_FILE.setting,
    &TLS_KEY_FILE.setting,
    &HTTP_PORT.setting,
    &TLS_RELOAD_INTERVAL.setting,
];

/// Returns TLS of a server that listens on this address, `None` if no certificate is set.
pub(super) fn resolve(sources: &Sources, bind: IpAddr) -> Result<Option<TlsConfig>, ConfigError> {
    let mut files = Vec::new();
    for entry in sources.entries("certificate") {
        files.extend(certificate(&entry)?);
    }
    if files.len() > MAX_CERTIFICATES {
        return Err(ConfigError::TooManyCertificates(
            files.len(),
            MAX_CERTIFICATES,
        ));
    }

    let reload_interval = sources.value(&TLS_RELOAD_INTERVAL)?;
    let http_port = match sources.explicit(&HTTP_PORT)? {
        None if listen::has_default_ports(sources)? => Some(PLAIN_PORT),
        explicit => explicit.flatten(),
    };
    let acme = acme::resolve(sources, http_port.is_some())?;
    if files.is_empty() && acme.is_none() {
        return match http_port {
            Some(_) => Err(ConfigError::HttpPortWithoutTls),
            None => Ok(None),
        };
    }
    Ok(Some(TlsConfig {
        acme,
        reload_interval,
        http_bind: http_port.map(|port| SocketAddr::new(bind, port)),
        ..TlsConfig::new(files)
    }))
}

/// Refuses a public URL that callers could not use.
pub(super) fn check_public_url(
    tls: Option<&TlsConfig>,
    public_url: Option<&Uri>,
) -> Result<(), ConfigError> {
    let is_plain = public_url.is_some_and(|url| url.scheme() == Some(&Scheme::HTTP));
    if tls.is_some() && is_plain {
        return Err(ConfigError::PlainPublicUrl);
    }
    Ok(())
}

fn certificate(entry: &EntrySources<'_>) -> Result<Option<CertificateFiles>, ConfigError> {
    let chain = entry.required(&TLS_CERT_FILE)?.flatten();
    let key = entry.required(&TLS_KEY_FILE)?.flatten();
    match (chain, key) {
        (Some(chain), Some(key)) => Ok(Some(CertificateFiles { chain, key })),
        (None, None) => Ok(None),
        (Some(_), None) => Err(ConfigError::HalfOfCertificate {
            set: TLS_CERT_FILE.setting.name,
            missing: TLS_KEY_FILE.setting.name,
        }),
        (None, Some(_)) => Err(ConfigError::HalfOfCertificate {
            set: TLS_KEY_FILE.setting.name,
            missing: TLS_CERT_FILE.setting.name,
        }),
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;
    use crate::settings::server::sources_of_file;

    fn resolved(file: &str) -> Result<Option<TlsConfig>, String> {
        let sources = sources_of_file(file)?;
        let tls = resolve(&sources, Ipv4Addr::LOCALHOST.into());
        tls.map_err(|error| error.to_string())
    }

    fn pair(chain: &str, key: &str) -> CertificateFiles {
        CertificateFiles {
            chain: chain.into(),
            key: key.into(),
        }
    }

    #[test]
    fn one_certificate_needs_no_table_and_several_have_one_each() {
        let one = "tls_cert_file = \"/a.pem\"\ntls_key_file = \"/a.key\"\nhttp_port = 8081\n";
        let one = resolved(one).unwrap().unwrap();
        assert_eq!(one.files, [pair("/a.pem", "/a.key")]);
        assert_eq!(one.http_bind, Some("127.0.0.1:8081".parse().unwrap()));
        assert_eq!(one.reload_interval, Duration::from_secs(10));

        let several = "[[certificate]]\ncert_file = \"/a.pem\"\nkey_file = \"/a.key\"\n\
                       [[certificate]]\ncert_file = \"/b.pem\"\nkey_file = \"/b.key\"\n";
        let several = resolved(several).unwrap().unwrap();
        assert_eq!(
            several.files,
            [pair("/a.pem", "/a.key"), pair("/b.pem", "/b.key")]
        );

        assert!(resolved("").unwrap().is_none());
    }

    #[test]
    fn half_a_certificate_and_a_port_beside_none_are_refused() {
        let half = resolved("tls_cert_file = \"/a.pem\"\n").unwrap_err();
        let half_table = resolved("[[certificate]]\ncert_file = \"/a.pem\"\n").unwrap_err();
        let port = resolved("http_port = 80\n").unwrap_err();

        assert!(half.contains("TLS_KEY_FILE"), "{half}");
        assert!(half_table.contains("key_file"), "{half_table}");
        assert!(port.contains("HTTP_PORT"), "{port}");
    }

    #[test]
    fn a_public_url_without_tls_is_refused_beside_it() {
        let tls = TlsConfig::new(vec![pair("/a.pem", "/a.key")]);
        let plain = Uri::from_static("http://pool.example");
        let encrypted = Uri::from_static("https://pool.example");

        assert!(check_public_url(Some(&tls), Some(&plain)).is_err());
        assert!(check_public_url(Some(&tls), Some(&encrypted)).is_ok());
        assert!(check_public_url(None, Some(&plain)).is_ok());
    }
}
