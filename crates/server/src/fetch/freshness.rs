//! How long the sender of a document allows caches to use it (RFC 9111, 5.2.2).

use std::time::Duration;

use axum::http::{HeaderMap, header};

/// How long a document may be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Freshness {
    /// For this time.
    For(Duration),
    /// Not without asking again.
    No,
    /// Its sender has said nothing.
    Unsaid,
}

impl Freshness {
    /// Reads `Cache-Control`, and what `Age` takes from it.
    pub(super) fn of(headers: &HeaderMap) -> Self {
        let values = headers.get_all(header::CACHE_CONTROL).into_iter();
        let directives = values
            .filter_map(|value| value.to_str().ok())
            .flat_map(|value| value.split(','));

        let mut max_age = None;
        for directive in directives {
            let (name, value) = match directive.split_once('=') {
                Some((name, value)) => (name, value.trim().trim_matches('"')),
                None => (directive, ""),
            };
            match name.trim().to_ascii_lowercase().as_str() {
                "no-store" | "no-cache" | "private" => return Self::No,
                // Of two the shorter holds; one that is no number is as zero.
                "max-age" => {
                    let seconds = seconds(value).unwrap_or(0);
                    max_age = Some(max_age.map_or(seconds, |other: u64| other.min(seconds)));
                }
                _ => {}
            }
        }
        let age = headers.get(header::AGE);
        let age = age.and_then(|age| age.to_str().ok()).and_then(seconds);
        max_age.map_or(Self::Unsaid, |seconds| {
            Self::For(Duration::from_secs(
                seconds.saturating_sub(age.unwrap_or(0)),
            ))
        })
    }
}

/// Parses a number of seconds. One that is too large is as the largest (RFC 9111, 1.2.2).
fn seconds(text: &str) -> Option<u64> {
    let text = text.trim();
    let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    is_number.then(|| text.parse().unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    fn of(values: &[(header::HeaderName, &'static str)]) -> Freshness {
        let values = values.iter().cloned();
        let values = values.map(|(name, value)| (name, HeaderValue::from_static(value)));
        let mut headers = HeaderMap::new();
        for (name, value) in values {
            headers.append(name, value);
        }
        Freshness::of(&headers)
    }

    #[test]
    fn max_age_counts_and_what_forbids_caching() {
        let control = |value| of(&[(header::CACHE_CONTROL, value)]);
        let seconds = |seconds| Freshness::For(Duration::from_secs(seconds));

        assert_eq!(of(&[]), Freshness::Unsaid);
        assert_eq!(control("public, Max-Age=3600"), seconds(3600));
        assert_eq!(control("max-age=\"60\", max-age=30"), seconds(30));
        assert_eq!(control("max-age=soon"), seconds(0));
        assert_eq!(control("max-age=-1"), seconds(0));
        assert_eq!(
            control("max-age=99999999999999999999999"),
            seconds(u64::MAX)
        );
        for no in ["no-store", "max-age=60, no-cache", "Private"] {
            assert_eq!(control(no), Freshness::No, "{no}");
        }
        assert_eq!(control("immutable"), Freshness::Unsaid);
        let aged = of(&[(header::CACHE_CONTROL, "max-age=100"), (header::AGE, "40")]);
        assert_eq!(aged, seconds(60));
    }
}
