//! The places of OAuth documents on the provider.
//!
//! Only the provider's own host and port are asked, also where a challenge names another.

use http::{StatusCode, Uri, header};
use llamapool_head::{FieldLookup, ResponseHead};
use llamapool_http::{challenge, host};
use parking_lot::Mutex;

use crate::providers::mcp_http::redirect::Route;

const WELL_KNOWN: &str = "/.well-known/oauth-protected-resource";
const PARAMETER: &str = "resource_metadata";

/// The kinds of metadata that an authorization server has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum MetadataKind {
    /// Those of OAuth (RFC 8414).
    OAuth,
    /// Those of OpenID Connect.
    OpenId,
}

/// The URL of the resource's metadata that the provider's last challenge named (RFC 9728).
#[derive(Default)]
pub(super) struct ResourceMetadataUrl(Mutex<Option<Uri>>);

impl ResourceMetadataUrl {
    /// Notes the URL if the response is a challenge that names one.
    pub(super) fn learn(&self, response: &ResponseHead) {
        if response.status != StatusCode::UNAUTHORIZED {
            return;
        }
        let mut challenges = response.fields.all_values(&header::WWW_AUTHENTICATE);
        let named = challenges.find_map(|challenge| named_url(challenge.to_str().ok()?));
        if let Some(url) = named {
            *self.0.lock() = Some(url);
        }
    }

    /// Returns the URLs where the document may be, in the order in which they are tried: the one
    /// that was named, and the well-known ones.
    pub(super) fn candidates(&self, route: &Route) -> Vec<Uri> {
        let named = self.0.lock().clone();
        let mut candidates: Vec<_> = named
            .filter(|url| is_on_provider(route, url))
            .map(|url| route.at_root(url.path(), url.query()))
            .into_iter()
            .collect();

        let below_well_known = format!("{WELL_KNOWN}{}", route.base().path().trim_end_matches('/'));
        for path in [below_well_known.as_str(), WELL_KNOWN] {
            let url = route.at_root(path, None);
            if !candidates.contains(&url) {
                candidates.push(url);
            }
        }
        candidates
    }
}

fn is_on_provider(route: &Route, url: &Uri) -> bool {
    let origin = url.scheme_str().zip(url.authority());
    origin.is_some_and(|(scheme, authority)| {
        host::is_same_origin(route.base(), scheme, authority.as_str())
    })
}

fn named_url(header: &str) -> Option<Uri> {
    let value = challenge::parameter_values(PARAMETER, header)
        .into_iter()
        .next()?;
    challenge::unquote(&header[value]).parse().ok()
}

/// Returns the paths where the metadata of an issuer may be (RFC 8414, section 3.1; OpenID Connect
/// Discovery 1.0, section 4). `issuer` is the issuer's path.
pub(super) fn server_metadata_paths(kind: MetadataKind, issuer: &str) -> Vec<String> {
    let issuer = issuer.trim_end_matches('/');
    match kind {
        MetadataKind::OAuth => vec![format!("/.well-known/oauth-authorization-server{issuer}")],
        MetadataKind::OpenId if issuer.is_empty() => {
            vec!["/.well-known/openid-configuration".to_owned()]
        }
        MetadataKind::OpenId => vec![
            format!("/.well-known/openid-configuration{issuer}"),
            format!("{issuer}/.well-known/openid-configuration"),
        ],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn candidates(challenge: Option<&str>) -> Vec<String> {
        let url = ResourceMetadataUrl::default();
        if let Some(challenge) = challenge {
            let mut response = ResponseHead::new(StatusCode::UNAUTHORIZED);
            let challenge = challenge.parse().unwrap();
            response
                .fields
                .append(&header::WWW_AUTHENTICATE, &challenge);
            url.learn(&response);
        }
        let route = Route::new(Uri::from_static("http://p:7777/mcp/"));
        url.candidates(&route).iter().map(Uri::to_string).collect()
    }

    const USUAL: [&str; 2] = [
        "http://p:7777/.well-known/oauth-protected-resource/mcp",
        "http://p:7777/.well-known/oauth-protected-resource",
    ];

    #[test]
    fn the_url_that_a_challenge_names_comes_first() {
        assert_eq!(candidates(None), USUAL);

        let named = candidates(Some(
            r#"Bearer scope="a", resource_metadata="http://p:7777/m?x=1""#,
        ));

        assert_eq!(named, ["http://p:7777/m?x=1", USUAL[0], USUAL[1]]);

        let spelt = candidates(Some(
            r#"Basic realm=x, Bearer Resource_Metadata = "http://p:7777/m?x=1", scope=a"#,
        ));

        assert_eq!(spelt, named);
        assert_eq!(
            candidates(Some(&format!("Bearer resource_metadata={}", USUAL[0]))),
            USUAL
        );
    }

    #[test]
    fn a_challenge_cannot_name_another_host() {
        for elsewhere in [
            "http://169.254.169.254/latest",
            "http://p:1/m",
            "/m",
            "nonsense \u{1}",
        ] {
            assert_eq!(
                candidates(Some(
                    &format!("Bearer resource_metadata=\"{elsewhere}\"").replace('\u{1}', "")
                )),
                USUAL
            );
        }
    }

    #[test]
    fn the_metadata_of_an_issuer_are_at_its_well_known_paths() {
        assert_eq!(
            server_metadata_paths(MetadataKind::OAuth, "/"),
            ["/.well-known/oauth-authorization-server"]
        );
        assert_eq!(
            server_metadata_paths(MetadataKind::OAuth, "/t/"),
            ["/.well-known/oauth-authorization-server/t"]
        );
        assert_eq!(
            server_metadata_paths(MetadataKind::OpenId, ""),
            ["/.well-known/openid-configuration"]
        );

        let with_path = [
            "/.well-known/openid-configuration/t",
            "/t/.well-known/openid-configuration",
        ];

        assert_eq!(server_metadata_paths(MetadataKind::OpenId, "/t"), with_path);
    }
}
