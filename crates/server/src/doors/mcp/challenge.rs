//! The challenge of a provider that wants a token. It names the place of the provider's metadata
//! (RFC 9728, section 5.1); a caller must read the public place, as it cannot reach the provider's
//! own.
//!
//! Nothing else of a challenge is changed: not its scheme, not its scopes, not its other
//! parameters, and no challenge without that parameter.

use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use llamapool_http::challenge;

/// The name of the parameter.
const PARAMETER: &str = "resource_metadata";

/// Rewrites the parameter in every challenge of an answer, to `metadata_url`.
pub(super) fn make_public(status: StatusCode, headers: &mut HeaderMap, metadata_url: &str) {
    let may_challenge = matches!(status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN);
    if !may_challenge || !headers.contains_key(header::WWW_AUTHENTICATE) {
        return;
    }

    let challenges = headers.get_all(header::WWW_AUTHENTICATE).iter();
    let challenges: Vec<_> = challenges
        .map(|challenge| rewrite(challenge, metadata_url))
        .collect();

    headers.remove(header::WWW_AUTHENTICATE);
    for challenge in challenges {
        headers.append(header::WWW_AUTHENTICATE, challenge);
    }
}

fn rewrite(challenge: &HeaderValue, metadata_url: &str) -> HeaderValue {
    let Ok(text) = challenge.to_str() else {
        return challenge.clone();
    };

    let mut public = text.to_owned();
    // From the end, so that the places before stay where they are.
    for value in challenge::parameter_values(PARAMETER, text)
        .into_iter()
        .rev()
    {
        public.replace_range(value, &format!("\"{metadata_url}\""));
    }
    HeaderValue::from_str(&public).unwrap_or_else(|_| challenge.clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    const PUBLIC: &str = "https://pool.example/.well-known/oauth-protected-resource/api/mcp/id/x";

    fn public(challenges: &[&'static str], status: StatusCode) -> Vec<String> {
        let mut headers = HeaderMap::new();
        for challenge in challenges {
            headers.append(
                header::WWW_AUTHENTICATE,
                HeaderValue::from_static(challenge),
            );
        }

        make_public(status, &mut headers, PUBLIC);

        headers
            .get_all(header::WWW_AUTHENTICATE)
            .iter()
            .map(|value| value.to_str().unwrap().to_owned())
            .collect()
    }

    #[test]
    fn only_the_place_of_the_metadata_is_rewritten() {
        for (own, expected) in [
            (
                r#"Bearer resource_metadata="http://10.0.0.1/m", scope="a b""#,
                r#"Bearer resource_metadata="URL", scope="a b""#,
            ),
            (
                r#"Bearer error="x", Resource_Metadata = http://p/m"#,
                r#"Bearer error="x", Resource_Metadata = "URL""#,
            ),
            (
                r#"Bearer resource_metadata=http://p/m,scope=a"#,
                r#"Bearer resource_metadata="URL",scope=a"#,
            ),
            (
                r#"Bearer realm="say \"resource_metadata=\"", a=b"#,
                r#"Bearer realm="say \"resource_metadata=\"", a=b"#,
            ),
            (
                r#"Bearer not_resource_metadata="x""#,
                r#"Bearer not_resource_metadata="x""#,
            ),
            (
                r#"Bearer resource_metadata="http://10.0.0.1/m", DPoP algs="ES256", resource_metadata=http://10.0.0.1/m"#,
                r#"Bearer resource_metadata="URL", DPoP algs="ES256", resource_metadata="URL""#,
            ),
            ("Basic realm=x", "Basic realm=x"),
        ] {
            assert_eq!(
                public(&[own], StatusCode::UNAUTHORIZED),
                [expected.replace("URL", PUBLIC)]
            );
        }
    }

    #[test]
    fn every_challenge_keeps_its_place() {
        let both = ["Basic realm=x", r#"Bearer resource_metadata="m""#];
        assert_eq!(public(&both, StatusCode::FORBIDDEN)[0], "Basic realm=x");
        assert!(public(&both, StatusCode::FORBIDDEN)[1].contains(PUBLIC));
        assert_eq!(public(&both, StatusCode::OK), both);
    }

    #[test]
    fn malformed_challenges_stay_as_they_are() {
        for malformed in [
            "resource_metadata",
            "resource_metadata=",
            "Bearer \"",
            "Bearer resource_metadata=\"open",
            "\\",
        ] {
            let once = public(&[malformed], StatusCode::UNAUTHORIZED);
            assert_eq!(once.len(), 1, "{malformed}");
        }
    }
}
