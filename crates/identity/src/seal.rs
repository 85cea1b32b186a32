//! Sealed texts: encrypted and authenticated, so that what is in them need be kept nowhere and cannot be read
//! or made elsewhere. Equal content has equal text.

use data_encoding::BASE64URL_NOPAD;
use llamapool_wire::Secret;
use ring::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use ring::hmac;

/// Seals and opens texts. Those with the same key and use open each other's.
pub struct Seal {
    aead: Option<LessSafeKey>,
    nonces: hmac::Key,
}

impl Seal {
    /// Returns the seal for a use, such as `token`, with keys derived from a key.
    pub fn new(key: &Secret, use_: &str) -> Self {
        let root = hmac::Key::new(hmac::HMAC_SHA256, key.expose().as_bytes());
        let derived = |part: &str| hmac::sign(&root, format!("llamapool {use_} {part}").as_bytes());

        // A SHA-256 is as long as the cipher's key, so there always is one.
        let aead = UnboundKey::new(&CHACHA20_POLY1305, derived("seal").as_ref()).ok();
        Self {
            aead: aead.map(LessSafeKey::new),
            nonces: hmac::Key::new(hmac::HMAC_SHA256, derived("nonce").as_ref()),
        }
    }

    /// Returns the text of a content, which opens with the same associated data alone. `None` if it cannot
    /// be made.
    pub fn seal(&self, associated_data: &[u8], mut content: Vec<u8>) -> Option<String> {
        // Derived from the content: another content never meets the same nonce.
        let nonce = hmac::sign(
            &self.nonces,
            &[associated_data, &b"\0"[..], &content].concat(),
        );
        let nonce: [u8; NONCE_LEN] = nonce.as_ref().get(..NONCE_LEN)?.try_into().ok()?;

        self.aead
            .as_ref()?
            .seal_in_place_append_tag(
                Nonce::assume_unique_for_key(nonce),
                Aad::from(associated_data),
                &mut content,
            )
            .ok()?;
        Some(BASE64URL_NOPAD.encode(&[&nonce, content.as_slice()].concat()))
    }

    /// Returns the content of a text. `None` if it was not made with this key, or not with this associated
    /// data. The length is for the caller to bound.
    pub fn open(&self, associated_data: &[u8], sealed: &[u8]) -> Option<Vec<u8>> {
        let bytes = BASE64URL_NOPAD.decode(sealed).ok()?;
        let (nonce, content) = bytes.split_at_checked(NONCE_LEN)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).ok()?;
        let mut content = content.to_vec();

        let opened = self
            .aead
            .as_ref()?
            .open_in_place(nonce, Aad::from(associated_data), &mut content)
            .ok()?;
        Some(opened.to_vec())
    }
}
