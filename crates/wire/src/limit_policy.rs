//! The limit that a refused request exceeds, as its fields name it
//! (draft-ietf-httpapi-ratelimit-headers).

use std::time::Duration;

use http::{HeaderName, HeaderValue};

/// The limit that a refused request exceeds.
const RATE_LIMIT_POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");
/// What is left of it, and when it begins anew.
const RATE_LIMIT: HeaderName = HeaderName::from_static("ratelimit");

/// A limit that a call exceeds, for the fields `RateLimit-Policy` and `RateLimit`
/// (draft-ietf-httpapi-ratelimit-headers).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LimitPolicy {
    /// Its name, of letters, digits, `_` and `-`.
    pub name: &'static str,
    /// The most units.
    pub quota: u64,
    /// The units.
    pub unit: LimitUnit,
    /// The time that the units are for; `None`: they are for what runs at once.
    pub window: Option<Duration>,
}

/// The units of a limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LimitUnit {
    /// Requests.
    Requests,
    /// Requests that run at once.
    ConcurrentRequests,
    /// Bytes of bodies.
    Bytes,
    /// Tokens of LLMs.
    Tokens,
}

impl LimitPolicy {
    /// Returns the fields of a refusal after which the limit begins anew in so many seconds.
    pub fn fields(&self, seconds: u64) -> impl Iterator<Item = (HeaderName, HeaderValue)> {
        let fields = [
            (RATE_LIMIT_POLICY, self.to_policy()),
            (RATE_LIMIT, format!("\"{}\";r=0;t={seconds}", self.name)),
        ];
        let fields = fields.into_iter();
        fields.filter_map(|(name, value)| Some((name, HeaderValue::try_from(value).ok()?)))
    }

    /// Returns the value of `RateLimit-Policy`.
    fn to_policy(&self) -> String {
        let unit = match self.unit {
            LimitUnit::Requests => "",
            LimitUnit::ConcurrentRequests => ";qu=\"concurrent-requests\"",
            LimitUnit::Bytes => ";qu=\"content-bytes\"",
            LimitUnit::Tokens => ";qu=\"tokens\"",
        };
        let window = self.window.map(|window| format!(";w={}", window.as_secs()));
        let window = window.unwrap_or_default();
        format!("\"{}\";q={}{unit}{window}", self.name, self.quota)
    }
}

#[cfg(test)]
mod tests {
    use http::Response;

    use super::*;
    use crate::cause::{CallError, Cause};

    #[test]
    fn a_refusal_names_the_limit_and_when_it_begins_anew() {
        let fields = |unit, window: Option<u64>| {
            let failure = CallError::new(Cause::RateLimited, "too fast")
                .with_retry_after(Duration::from_millis(1500))
                .with_policy(LimitPolicy {
                    name: "key",
                    quota: 120,
                    unit,
                    window: window.map(Duration::from_secs),
                });
            let response: Response<String> = failure.to_response("r1");
            let headers = response.headers();
            assert_eq!(headers["retry-after"], "2");
            assert_eq!(headers["ratelimit"], r#""key";r=0;t=2"#);
            headers["ratelimit-policy"].to_str().unwrap().to_owned()
        };

        assert_eq!(fields(LimitUnit::Requests, Some(60)), r#""key";q=120;w=60"#);
        assert_eq!(
            fields(LimitUnit::ConcurrentRequests, None),
            r#""key";q=120;qu="concurrent-requests""#
        );
        assert_eq!(
            fields(LimitUnit::Bytes, Some(86_400)),
            r#""key";q=120;qu="content-bytes";w=86400"#
        );
    }
}
