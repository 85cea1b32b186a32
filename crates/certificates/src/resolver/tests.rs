//! Tests of the choice of a certificate, and of handshakes with real clients of rustls.

use std::time::Duration;

use rcgen::{CertificateParams, CustomExtension, KeyPair};
use rustls::pki_types::{PrivateKeyDer, ServerName};
use rustls::{AlertDescription, ClientConfig, RootCertStore, SupportedProtocolVersion};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use tokio_rustls::TlsConnector;
use tokio_rustls::server::TlsStream as ServerStream;

use super::*;
use crate::AcceptError;
use crate::test_certificates::Authority;

struct Client {
    name: &'static str,
    sends_name: bool,
    alpn: Vec<&'static [u8]>,
    versions: Vec<&'static SupportedProtocolVersion>,
}

impl Client {
    fn new(name: &'static str) -> Self {
        Self {
            name,
            sends_name: true,
            alpn: vec![],
            versions: vec![&TLS13, &TLS12],
        }
    }

    fn config(&self, authority: &Authority) -> ClientConfig {
        let mut roots = RootCertStore::empty();
        roots.add(authority.root()).unwrap();
        let mut config = ClientConfig::builder_with_provider(Arc::new(default_provider()))
            .with_protocol_versions(&self.versions)
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.enable_sni = self.sends_name;
        config.alpn_protocols = self.alpn.iter().map(|&name| name.to_vec()).collect();
        config
    }
}

/// What client and server got of a handshake.
struct Outcome {
    client: Result<tokio_rustls::client::TlsStream<DuplexStream>, std::io::Error>,
    server: Result<ServerStream<DuplexStream>, AcceptError>,
}

impl Outcome {
    fn alert(&self) -> Option<AlertDescription> {
        let error = self.client.as_ref().err()?.get_ref()?;
        match error.downcast_ref::<Error>()? {
            Error::AlertReceived(alert) => Some(*alert),
            _ => None,
        }
    }

    fn protocol(&self) -> Option<Vec<u8>> {
        let stream = self.client.as_ref().ok()?;
        stream.get_ref().1.alpn_protocol().map(<[u8]>::to_vec)
    }
}

async fn shake(certificates: &Certificates, authority: &Authority, client: Client) -> Outcome {
    let (near, far) = duplex(64 * 1024);
    let config = certificates.server_config().unwrap();
    let connector = TlsConnector::from(Arc::new(client.config(authority)));
    let name = ServerName::try_from(client.name).unwrap();

    let server = certificates.accept(config, far);
    let (client, server) = tokio::join!(connector.connect(name, near), server);
    Outcome { client, server }
}

fn with(authority: &Authority, names: &[&[&str]]) -> (Certificates, Vec<Slot>) {
    let certificates = Certificates::new();
    let slot = |names: &&[&str]| {
        let slot = certificates.slot(Source::File, names.join(","));
        slot.publish(authority.issue(names).read());
        slot
    };
    let slots = names.iter().map(slot).collect();
    (certificates, slots)
}

fn label(certificates: &Certificates, name: Option<&str>) -> Option<String> {
    let found = certificates.find(name)?;
    let table = certificates.table.read();
    let mut slots = table.slots.iter();
    let slot = slots.find(|slot| {
        let certificate = slot.certificate.as_ref();
        certificate.is_some_and(|certificate| Arc::ptr_eq(certificate.key(), &found))
    });
    slot.map(|slot| slot.label.clone())
}

#[test]
fn a_name_gets_the_most_exact_certificate_of_the_earliest_slot() {
    let authority = Authority::new();
    let (certificates, _slots) = with(
        &authority,
        &[
            &["a.example"],
            &["*.b.example"],
            &["x.b.example"],
            &["x.b.example", "c.example"],
        ],
    );
    let label = |name| label(&certificates, Some(name));

    assert_eq!(label("A.example.").as_deref(), Some("a.example"));
    assert_eq!(label("x.b.example").as_deref(), Some("x.b.example"));
    assert_eq!(label("y.b.example").as_deref(), Some("*.b.example"));
    assert_eq!(label("c.example").as_deref(), Some("x.b.example,c.example"));
    for unknown in ["z.y.b.example", "b.example", "other.example", "a", ""] {
        assert_eq!(label(unknown), None, "{unknown}");
    }
}

#[test]
fn a_client_without_name_gets_the_earliest_certificate() {
    let authority = Authority::new();
    let certificates = Certificates::new();
    let _empty = certificates.slot(Source::Acme, "pending");
    assert!(!certificates.is_ready() && certificates.find(None).is_none());

    let first = certificates.slot(Source::File, "first");
    first.publish(authority.issue(&["a.example"]).read());
    let second = certificates.slot(Source::File, "second");
    second.publish(authority.issue(&["b.example"]).read());
    assert_eq!(label(&certificates, None).as_deref(), Some("first"));

    drop(first);
    assert_eq!(label(&certificates, None).as_deref(), Some("second"));
    assert_eq!(label(&certificates, Some("a.example")), None);
}

#[tokio::test]
async fn a_handshake_gives_an_encrypted_stream_of_the_best_protocol() {
    let authority = Authority::new();
    let (certificates, _slots) = with(&authority, &[&["a.example"], &["b.example"]]);

    for (alpn, chosen) in [
        (vec![&b"http/1.1"[..], b"h2"], Some(b"h2".to_vec())),
        (vec![b"http/1.1"], Some(b"http/1.1".to_vec())),
        (vec![], None),
    ] {
        for version in [&TLS13, &TLS12] {
            let client = Client {
                alpn: alpn.clone(),
                versions: vec![version],
                ..Client::new("b.example")
            };
            let mut outcome = shake(&certificates, &authority, client).await;
            assert_eq!(outcome.protocol(), chosen);

            let client = outcome.client.as_mut().unwrap();
            client.write_all(b"ping").await.unwrap();
            client.flush().await.unwrap();
            let mut got = [0; 4];
            outcome
                .server
                .as_mut()
                .unwrap()
                .read_exact(&mut got)
                .await
                .unwrap();
            assert_eq!(&got, b"ping");
        }
    }
}

#[tokio::test]
async fn an_unknown_name_ends_the_handshake_by_its_alert() {
    let authority = Authority::new();
    let (certificates, _slots) = with(&authority, &[&["a.example"]]);

    let outcome = shake(&certificates, &authority, Client::new("other.example")).await;

    assert_eq!(outcome.alert(), Some(AlertDescription::UnrecognisedName));
    let error = outcome.server.unwrap_err();
    assert!(matches!(&error, AcceptError::UnknownName(name) if name == "other.example"));
}

#[tokio::test]
async fn a_handshake_without_name_gets_the_first_certificate() {
    let authority = Authority::new();
    let (certificates, _slots) = with(&authority, &[&["a.example"], &["b.example"]]);
    let client = || Client {
        sends_name: false,
        ..Client::new("a.example")
    };

    let outcome = shake(&certificates, &authority, client()).await;
    assert!(outcome.client.is_ok());

    let none = Certificates::new();
    let outcome = shake(&none, &authority, client()).await;
    assert_eq!(outcome.alert(), Some(AlertDescription::AccessDenied));
    assert!(outcome.server.is_err());
}

#[tokio::test]
async fn a_session_is_resumed_and_still_asks_for_a_known_name() {
    let authority = Authority::new();
    let (certificates, slots) = with(&authority, &[&["a.example"], &["b.example"]]);
    let config = certificates.server_config().unwrap();
    let connector = TlsConnector::from(Arc::new(Client::new("a.example").config(&authority)));
    let connect = async || {
        let (near, far) = duplex(64 * 1024);
        let name = ServerName::try_from("a.example").unwrap();
        let server = certificates.accept(config.clone(), far);
        let (client, server) = tokio::join!(connector.connect(name, near), server);
        // The tickets come with what is sent first.
        if let (Ok(mut client), Ok(mut server)) = (client, server) {
            server.write_all(b"x").await.unwrap();
            server.flush().await.unwrap();
            client.read_exact(&mut [0]).await.unwrap();
            return client.get_ref().1.handshake_kind();
        }
        None
    };

    assert_eq!(connect().await, Some(rustls::HandshakeKind::Full));
    assert_eq!(connect().await, Some(rustls::HandshakeKind::Resumed));
    slots[0].publish(authority.issue(&["c.example"]).read());
    assert_eq!(connect().await, None);
}

#[tokio::test]
async fn the_check_of_an_authority_sees_its_challenge_alone() {
    let authority = Authority::new();
    let (certificates, _slots) = with(&authority, &[&["a.example"]]);
    let client = || Client {
        alpn: vec![ACME_TLS_ALPN],
        ..Client::new("a.example")
    };
    let certificate = || {
        let mut params = CertificateParams::new(vec!["a.example".to_owned()]).unwrap();
        params.custom_extensions = vec![CustomExtension::new_acme_identifier(&[7; 32])];
        let key = KeyPair::generate().unwrap();
        let der = params.self_signed(&key).unwrap().der().clone();
        let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
        let key = default_provider().key_provider.load_private_key(key);
        CertifiedKey::new(vec![der], key.unwrap())
    };

    let refused = shake(&certificates, &authority, client()).await;
    assert_eq!(refused.alert(), Some(AlertDescription::AccessDenied));

    let first = certificates.challenge("A.example", certificate());
    let second = certificates.challenge("a.example", certificate());
    drop(first);
    let presented = certificates.find_challenge("a.example").unwrap();
    let answered = shake(&certificates, &authority, client()).await;
    // The client here checks the certificate, which an authority does not.
    assert!(answered.client.is_err() && answered.alert().is_none());
    assert!(!Arc::ptr_eq(
        &presented,
        &certificates.find(Some("a.example")).unwrap()
    ));
    assert!(
        shake(&certificates, &authority, Client::new("a.example"))
            .await
            .client
            .is_ok()
    );

    drop(second);
    assert!(certificates.find_challenge("a.example").is_none());
}

#[tokio::test(start_paused = true)]
async fn a_stalled_handshake_waits_for_its_callers_bound() {
    let authority = Authority::new();
    let (certificates, _slots) = with(&authority, &[&["a.example"]]);
    let (_near, far) = duplex(64);
    let config = certificates.server_config().unwrap();

    let accept = certificates.accept(config, far);
    let bounded = tokio::time::timeout(Duration::from_secs(30), accept).await;

    assert!(bounded.is_err());
}
