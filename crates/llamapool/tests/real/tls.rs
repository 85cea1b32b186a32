//! curl over TLS, with keys and certificates that openssl has made.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use serde_json::Value;

use crate::harness::{Provider, TlsServer};
use crate::parts::{FASTMCP_4, Served, drive_with};
use crate::shell::run;
use crate::stateful::{expected, session};

const LIST: &str = r#"{"jsonrpc": "2.0", "id": 2, "method": "tools/list", "params": {}}"#;

/// The forms in which keys are written: PKCS#8, SEC1 and PKCS#1.
const KEYS: [(&str, &str); 3] = [
    (
        "openssl genpkey -algorithm ec -pkeyopt ec_paramgen_curve:P-384",
        "BEGIN PRIVATE KEY",
    ),
    (
        "openssl ecparam -name prime256v1 -genkey -noout",
        "BEGIN EC PRIVATE KEY",
    ),
    ("openssl genrsa -traditional 2048", "BEGIN RSA PRIVATE KEY"),
];

#[tokio::test]
async fn curl_calls_over_tls_with_each_form_of_key() {
    let mut server = TlsServer::start(&[("TLS_RELOAD_INTERVAL", "1h")]).await;
    let provider = Provider::echoing().await;
    let _relay = server.relay("echo", &provider.url).await;

    for (number, (generate, form)) in (1..).zip(KEYS) {
        replace(&server, generate, form).await;
        server.server.signal("HUP").await;
        let renewed = |line: &str| line.contains("a certificate was read anew and is presented");
        server.server.nth_line(number, form, renewed).await;

        for (option, version) in [("--http2", "2"), ("--http1.1", "1.1")] {
            for tls in ["--tls-max 1.2", "--tlsv1.3"] {
                let (answer, facts) = curl(&server, &format!("{option} {tls}")).await;

                assert_eq!(facts, format!("{version} 200"), "{form} {option} {tls}");
                assert_eq!(answer["method"], "tools/list");
            }
        }
    }
}

/// Has openssl make a key and a certificate for it, which is its own authority.
async fn replace(server: &TlsServer, generate: &str, form: &str) {
    let folder = server.folder().to_str().unwrap();
    let request = "openssl req -x509 -days 30 -subj /CN=localhost \
                   -addext subjectAltName=DNS:localhost \
                   -addext basicConstraints=critical,CA:FALSE";
    run(&format!(
        "cd {folder} && {generate} > key.pem 2> errors && {request} -key key.pem -out chain.pem"
    ))
    .await;

    let key = server.folder().join("key.pem");
    fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).unwrap();
    assert!(
        fs::read_to_string(key).unwrap().contains(form),
        "{generate}"
    );
}

/// Runs curl, which trusts the certificate itself. Returns the body, and the version of HTTP with the
/// status.
async fn curl(server: &TlsServer, options: &str) -> (Value, String) {
    let chain = server.folder().join("chain.pem");
    let written = run(&format!(
        "curl -s --cacert {} {options} -X POST {} -H 'Content-Type: application/json' -d '{LIST}' \
         -w '\\n%{{http_version}} %{{http_code}}'",
        chain.display(),
        server.url("https", "/api/mcp/id/echo"),
    ))
    .await;
    let (body, facts) = written.rsplit_once('\n').unwrap();
    (serde_json::from_str(body).unwrap(), facts.to_owned())
}

/// The official Python client, with calls, streams and a session, and the authority that its
/// environment names.
#[tokio::test]
async fn the_official_client_works_over_tls() {
    let mut server = TlsServer::start(&[]).await;
    let provider = Served::start(FASTMCP_4, "stateful.py").await;
    let _relay = server.relay("stateful", &provider.url).await;

    let url = server.url("https", "/api/mcp/id/stateful");
    let ca = server.ca_file();
    let all = drive_with(&url, 3, &[("SSL_CERT_FILE", ca.to_str().unwrap())]).await;

    assert_eq!(all.len(), 3);
    for (number, seen) in all.iter().enumerate() {
        assert_eq!(seen, &expected(session(seen)), "client {number}");
    }
}
