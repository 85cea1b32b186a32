//! The parameters of a form, within bounds, and each of those that are read at most once (RFC 6749,
//! 3.2).

use axum::body::Body;
use llamapool_http::{CollectError, collect};
use llamapool_identity::{OAuthCode, OAuthError};
use llamapool_limits::MemoryAccount;

/// The largest form, in bytes: a sealed request is a third longer than what it contains.
pub(super) const MAX_FORM_BYTES: usize = 32 * 1024;
/// The most parameters.
const MAX_PARAMETERS: usize = 64;

/// Parameters by name. One without a value is as one that is not there (RFC 6749, 3.1).
#[derive(Debug, Default)]
pub(super) struct Parameters(Vec<(String, String)>);

impl Parameters {
    /// Reads the body of a form.
    pub(super) fn parse(text: &[u8]) -> Result<Self, OAuthError> {
        let parameters: Vec<_> = form_urlencoded::parse(text)
            .take(MAX_PARAMETERS + 1)
            .map(|(name, value)| (name.into_owned(), value.into_owned()))
            .collect();
        if parameters.len() > MAX_PARAMETERS {
            let message = format!("there are more than {MAX_PARAMETERS} parameters");
            return Err(invalid(message));
        }
        Ok(Self(parameters))
    }

    /// Returns the value of a parameter.
    ///
    /// # Errors
    ///
    /// If it is there more than once.
    pub(super) fn one(&self, name: &str) -> Result<Option<&str>, OAuthError> {
        let mut values = self.0.iter().filter(|(own, _)| own == name);
        let first = values.next();
        if values.next().is_some() {
            return Err(invalid(format!("{name} is repeated")));
        }
        let value = first.map(|(_, value)| value.as_str());
        Ok(value.filter(|value| !value.is_empty()))
    }

    /// Returns the value of a parameter that must be there.
    ///
    /// # Errors
    ///
    /// If it is missing, or there more than once.
    pub(super) fn needed(&self, name: &str) -> Result<&str, OAuthError> {
        let value = self.one(name)?;
        value.ok_or_else(|| invalid(format!("{name} is missing")))
    }
}

/// Collects a body within a bound.
pub(super) async fn body_of(
    body: Body,
    max_bytes: usize,
    memory: &MemoryAccount,
) -> Result<Vec<u8>, OAuthError> {
    let collected = collect(body, max_bytes, memory).await;
    let body = collected.map_err(|error| match error {
        CollectError::OutOfMemory(_) => OAuthError::new(
            OAuthCode::TemporarilyUnavailable,
            "there is no memory for the request",
        ),
        CollectError::TooLarge(_) => invalid(format!("the body has more than {max_bytes} bytes")),
        CollectError::Broken => invalid("the body broke off"),
    })?;
    Ok(body.to_vec())
}

fn invalid(message: impl Into<String>) -> OAuthError {
    OAuthError::new(OAuthCode::InvalidRequest, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_parameter_is_read_once_and_decoded() {
        let text = b"a=1&b=x%20y+z&empty=&c=1&c=2";
        let parameters = Parameters::parse(text).unwrap();

        assert_eq!(parameters.one("a"), Ok(Some("1")));
        assert_eq!(parameters.one("b"), Ok(Some("x y z")));
        assert_eq!(parameters.one("empty"), Ok(None));
        assert_eq!(parameters.one("none"), Ok(None));
        assert!(parameters.needed("empty").is_err());
        assert!(parameters.one("c").is_err());
    }

    #[test]
    fn the_number_of_parameters_has_a_bound() {
        let many = "a=1&".repeat(MAX_PARAMETERS + 1);
        assert!(Parameters::parse(many.as_bytes()).is_err());
        let enough = "a=1&".repeat(MAX_PARAMETERS);
        assert!(Parameters::parse(enough.as_bytes()).is_ok());
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_are_read_without_a_panic(bytes in proptest::collection::vec(0_u8.., 0..200)) {
            let parameters = Parameters::parse(&bytes).unwrap();
            let _ = parameters.one("a");
        }
    }
}
