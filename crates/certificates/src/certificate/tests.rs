//! Tests of reading certificates and keys.

use super::*;
use crate::test_certificates::Authority;

fn read(chain: &[u8], key: &[u8]) -> Result<Certificate, CertificateError> {
    Certificate::from_pem(chain, key, SystemTime::now())
}

#[test]
fn names_and_life_are_those_of_the_certificate() {
    let authority = Authority::new();
    let end = SystemTime::UNIX_EPOCH + Duration::from_secs(4_000_000_000);
    let pem = authority.issue_until(
        &["A.example", "*.b.example", "192.0.2.1", "2001:db8::1"],
        end,
    );

    let certificate = pem.read();

    assert_eq!(
        certificate.names(),
        ["a.example", "*.b.example", "192.0.2.1", "2001:db8::1"]
    );
    assert_eq!(certificate.not_after(), end);
    assert!(certificate.not_before() < end);
    assert!(!certificate.is_self_signed());
}

#[test]
fn a_certificate_ends_with_its_last_second() {
    let authority = Authority::new();
    let end = SystemTime::UNIX_EPOCH + Duration::from_secs(4_000_000_000);
    let pem = authority.issue_until(&["a.example"], end);
    let at = |now| Certificate::from_pem(pem.chain.as_bytes(), pem.key.as_bytes(), now);

    assert!(at(end - Duration::from_secs(1)).is_ok());
    let error = at(end + Duration::from_secs(3 * 3600)).unwrap_err();
    assert_eq!(error.to_string(), "the certificate expired 3 hours ago");
}

#[test]
fn what_does_not_belong_together_is_refused() {
    let authority = Authority::new();
    let [one, other] = ["a.example", "b.example"].map(|name| authority.issue(&[name]));
    let error = |chain: &str, key: &str| read(chain.as_bytes(), key.as_bytes()).unwrap_err();

    assert_eq!(error(&one.chain, &other.key), CertificateError::OtherKey);
    assert_eq!(error("", &one.key), CertificateError::NoCertificate);
    assert_eq!(error(&one.key, &one.key), CertificateError::NoCertificate);
    assert_eq!(error(&one.chain, &one.chain), CertificateError::NoKey);
    assert_eq!(
        error(&one.chain.repeat(17), &one.key),
        CertificateError::LongChain(17)
    );
    let issuer_first = format!("{}{}", other.chain, one.chain);
    assert_eq!(error(&issuer_first, &one.key), CertificateError::OtherKey);
    let nameless = authority.issue(&[]);
    assert_eq!(
        error(&nameless.chain, &nameless.key),
        CertificateError::NoName
    );
}

/// Every byte changed in turn, and every beginning: an error or a certificate, never a panic.
#[test]
fn changed_texts_are_refused_or_read() {
    let pem = Authority::new().issue(&["a.example"]);
    let [chain, key] = [&pem.chain, &pem.key].map(|text| text.as_bytes());
    let der = CertificateDer::from_pem_slice(chain).unwrap();
    let key_der = || PrivateKeyDer::from_pem_slice(key).unwrap();
    let now = SystemTime::now();

    let mut refused = 0;
    for at in 0..der.len() {
        for bit in [1, 0x80] {
            let mut changed = der.to_vec();
            changed[at] ^= bit;
            let read = Certificate::from_der(vec![changed.into()], key_der(), now);
            refused += usize::from(read.is_err());
        }
        let beginning = CertificateDer::from(der[..at].to_vec());
        assert!(Certificate::from_der(vec![beginning], key_der(), now).is_err());
    }
    assert!(refused > der.len() / 2, "{refused}");

    // An end of the text without a line end changes nothing.
    for at in 0..chain.trim_ascii_end().len() {
        assert!(read(&chain[..at], key).is_err());
    }
    for at in 0..key.trim_ascii_end().len() {
        assert!(read(chain, &key[..at]).is_err());
    }
}
