//! Texts by which an authority checks, over plain HTTP, that this server has a name (RFC 8555,
//! section 8.3). Serving them is the business of the plain port.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::RwLock;

use crate::resolver::Certificates;

/// The beginning of the path of a challenge; its token follows (RFC 8555, section 8.3).
pub const HTTP_CHALLENGE_PATH: &str = "/.well-known/acme-challenge/";

/// The answers of the challenges that are open, by token. An order has at most one for each name.
pub(crate) type HttpAnswers = Arc<RwLock<HashMap<String, String>>>;

/// An open challenge. Dropping it closes the challenge: from then on its path is not found again.
#[must_use = "dropping it closes the challenge"]
#[derive(Debug)]
pub struct HttpChallenge {
    answers: HttpAnswers,
    token: String,
}

impl Certificates {
    /// Answers requests for the path of `token` with this text until the value is dropped. A token is
    /// unique: the authority makes it of at least 128 random bits.
    pub fn http_challenge(&self, token: &str, answer: &str) -> HttpChallenge {
        let answers = self.http_answers.clone();
        answers.write().insert(token.to_owned(), answer.to_owned());
        HttpChallenge {
            answers,
            token: token.to_owned(),
        }
    }

    /// Returns the body of the answer to `GET` of this path, of media type
    /// `application/octet-stream`; `None` if no open challenge has the path, which is not found then.
    pub fn http_answer(&self, path: &str) -> Option<String> {
        let token = path.strip_prefix(HTTP_CHALLENGE_PATH)?;
        self.http_answers.read().get(token).cloned()
    }
}

impl Drop for HttpChallenge {
    fn drop(&mut self) {
        self.answers.write().remove(&self.token);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_challenge_is_answered_until_it_is_closed() {
        let certificates = Certificates::new();
        let path = "/.well-known/acme-challenge/token-1";

        let challenge = certificates.http_challenge("token-1", "token-1.thumbprint");
        let other = certificates.http_answer("/.well-known/acme-challenge/token-2");
        let answer = certificates.http_answer(path);
        drop(challenge);

        assert_eq!(other, None);
        assert_eq!(certificates.http_answer("/token-1"), None);
        assert_eq!(answer.as_deref(), Some("token-1.thumbprint"));
        assert_eq!(certificates.http_answer(path), None);
    }
}
