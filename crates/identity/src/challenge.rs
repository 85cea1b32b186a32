//! Proof keys for code exchange (RFC 7636): only the client that began an authorization can end it.

use std::str::FromStr;

use data_encoding::BASE64URL_NOPAD;

use crate::key::digest_of;

/// The characters of a challenge: a SHA-256 in base64url.
const CHALLENGE_CHARS: usize = 43;
/// The characters of a verifier (RFC 7636, 4.1).
const VERIFIER_CHARS: std::ops::RangeInclusive<usize> = 43..=128;

/// An S256 challenge.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Challenge([u8; 32]);

/// A text that is no S256 challenge.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "code_challenge is not valid, expected the SHA-256 of the verifier in {CHALLENGE_CHARS} characters of base64url"
)]
pub struct ChallengeError;

impl Challenge {
    /// Returns whether a verifier is the one of this challenge.
    pub fn fits(&self, verifier: &str) -> bool {
        let is_letter = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
        VERIFIER_CHARS.contains(&verifier.len())
            && verifier.bytes().all(is_letter)
            && digest_of(verifier.as_bytes()) == self.0
    }

    /// Returns its text.
    pub fn text(&self) -> String {
        BASE64URL_NOPAD.encode(&self.0)
    }
}

impl FromStr for Challenge {
    type Err = ChallengeError;

    fn from_str(text: &str) -> Result<Self, ChallengeError> {
        if text.len() != CHALLENGE_CHARS {
            return Err(ChallengeError);
        }
        let bytes = BASE64URL_NOPAD.decode(text.as_bytes());
        let bytes = bytes.ok().and_then(|bytes| bytes.try_into().ok());
        bytes.map(Self).ok_or(ChallengeError)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of RFC 7636, appendix B.
    const VERIFIER: &str = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
    const CHALLENGE: &str = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM";

    #[test]
    fn a_verifier_fits_its_challenge_alone() {
        let challenge: Challenge = CHALLENGE.parse().unwrap();

        assert!(challenge.fits(VERIFIER));
        assert_eq!(challenge.text(), CHALLENGE);
        for wrong in [
            "",
            CHALLENGE,
            &VERIFIER[1..],
            &format!("{VERIFIER}a"),
            &VERIFIER.to_lowercase(),
        ] {
            assert!(!challenge.fits(wrong), "{wrong}");
        }
    }

    #[test]
    fn a_verifier_has_the_length_and_characters_of_the_standard() {
        let fits = |verifier: &str| Challenge(digest_of(verifier.as_bytes())).fits(verifier);

        assert!(fits(&"a".repeat(43)) && fits(&"~".repeat(128)));
        for wrong in [
            "a".repeat(42),
            "a".repeat(129),
            " ".repeat(43),
            "+".repeat(43),
        ] {
            assert!(!fits(&wrong), "{wrong}");
        }
    }

    #[test]
    fn a_challenge_has_exactly_43_characters() {
        for wrong in [
            "",
            "plain",
            &CHALLENGE[..42],
            &format!("{CHALLENGE}a"),
            &format!("{CHALLENGE}="),
            &CHALLENGE.replace('-', "+"),
            &"a".repeat(42).replace('a', "é"),
        ] {
            assert_eq!(wrong.parse::<Challenge>(), Err(ChallengeError), "{wrong}");
        }
    }
}
