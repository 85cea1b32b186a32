//! The challenge of a provider that wants a token. It names the place of the provider's metadata
//! (RFC 9728, section 5.1); a caller must read the public place, as it cannot reach the provider's
//! own.
//!
//! A place on another public host is the provider's choice, and stays. Nothing else of a challenge is
//! changed: not its scheme, not its scopes, not its other parameters, and no challenge without that
//! parameter.

use http::{HeaderValue, StatusCode, Uri, header};
use llamapool_head::{FieldLookup, FieldValue, Fields};
use llamapool_http::{challenge, host};

use super::address::resolve_on_provider;
use super::public_url::ProviderPublicUrl;

/// The name of the parameter.
const PARAMETER: &str = "resource_metadata";

/// Rewrites the parameter in every challenge of a response from the URL `answered`.
pub(super) fn make_public(
    status: StatusCode,
    fields: &mut Fields,
    answered: &Uri,
    public: &ProviderPublicUrl,
) {
    let may_challenge = matches!(status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN);
    if !may_challenge || !fields.contains_key(&header::WWW_AUTHENTICATE) {
        return;
    }
    let Some(metadata_url) = public.resource_metadata() else {
        return;
    };

    let is_own = |place: &str| {
        resolve_on_provider(answered, Some(public), place).is_some() || !is_on_public_host(place)
    };
    let challenges: Vec<_> = fields
        .all_values(&header::WWW_AUTHENTICATE)
        .map(|challenge| rewrite(challenge, &metadata_url, is_own))
        .collect();

    fields.remove(&header::WWW_AUTHENTICATE);
    for challenge in challenges.into_iter().flatten() {
        fields.append(&header::WWW_AUTHENTICATE, &challenge);
    }
}

/// Returns whether callers could read a place that is not on the provider's own host. Providers in
/// containers name themselves by a host that only their neighbours resolve.
fn is_on_public_host(place: &str) -> bool {
    let url: Option<Uri> = place.trim().parse().ok();
    url.is_some_and(|url| url.host().is_some_and(host::is_public))
}

fn rewrite(
    challenge: FieldValue<'_>,
    metadata_url: &str,
    is_own: impl Fn(&str) -> bool,
) -> Option<HeaderValue> {
    let Ok(text) = challenge.to_str() else {
        return challenge.to_http();
    };

    let mut public = text.to_owned();
    // From the end, so that the places before stay where they are.
    for value in challenge::parameter_values(PARAMETER, text)
        .into_iter()
        .rev()
    {
        if is_own(&challenge::unquote(&text[value.clone()])) {
            public.replace_range(value, &format!("\"{metadata_url}\""));
        }
    }
    let public = HeaderValue::from_str(&public).ok();
    public.or_else(|| challenge.to_http())
}

#[cfg(test)]
mod tests {
    use super::super::public_url::tests::public_url;
    use super::*;

    const PUBLIC: &str = "https://pool.example/.well-known/oauth-protected-resource/api/mcp/id/x";

    fn public(challenges: &[&'static str], status: StatusCode) -> Vec<String> {
        let mut fields = Fields::new();
        for challenge in challenges {
            let value = HeaderValue::from_static(challenge);
            fields.append(&header::WWW_AUTHENTICATE, &value);
        }

        make_public(
            status,
            &mut fields,
            &Uri::from_static("http://10.0.0.1/mcp"),
            &public_url("/api/mcp/id/x"),
        );

        fields
            .all_values(&header::WWW_AUTHENTICATE)
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
    fn a_place_on_another_public_host_stays() {
        for own in [
            "http://localhost:9/m",
            "http://mcp-server:8000/.well-known/oauth-protected-resource/mcp",
            "http://192.168.1.2/m",
            "http://[fd00::1]/m",
            "http://mcp.svc.cluster.local/m",
            "https://pool.example/.well-known/oauth-protected-resource/mcp",
        ] {
            let challenge = format!("Bearer resource_metadata=\"{own}\"");
            let expected = format!("Bearer resource_metadata=\"{PUBLIC}\"");
            assert_eq!(
                public(&[challenge.leak()], StatusCode::UNAUTHORIZED),
                [expected],
                "{own}"
            );
        }

        for elsewhere in [
            "https://login.example/.well-known/oauth-protected-resource/x",
            "https://1.1.1.1/m",
            "https://other.example:8443/m",
        ] {
            let challenge: &str = format!("Bearer resource_metadata=\"{elsewhere}\"").leak();
            assert_eq!(public(&[challenge], StatusCode::UNAUTHORIZED), [challenge]);
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
