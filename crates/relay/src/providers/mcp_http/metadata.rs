//! Where a provider has its metadata as an OAuth protected resource (RFC 9728): where its last challenge said, or at the
//! well-known places.
//!
//! The one rule: only the provider's own host and port are asked, whatever a challenge says.

use std::sync::{Mutex, PoisonError};

use http::{Response, StatusCode, Uri, header};
use llamapool_http::{challenge, host};

use super::redirect::Route;

const WELL_KNOWN: &str = "/.well-known/oauth-protected-resource";
const PARAMETER: &str = "resource_metadata";

/// What is known of the place.
#[derive(Default)]
pub(super) struct MetadataPlace(Mutex<Option<Uri>>);

impl MetadataPlace {
    /// Takes note of a challenge that names the place.
    pub(super) fn learn<B>(&self, answer: &Response<B>) {
        if answer.status() != StatusCode::UNAUTHORIZED {
            return;
        }
        let challenges = answer
            .headers()
            .get_all(header::WWW_AUTHENTICATE)
            .into_iter();
        let named = challenges
            .filter_map(|challenge| named_place(challenge.to_str().ok()?))
            .next();
        if let Some(place) = named {
            *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(place);
        }
    }

    /// The places to look at, in their order.
    pub(super) fn places(&self, route: &Route) -> Vec<Uri> {
        let named = self
            .0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        let own = named.filter(|place| {
            let origin = place.scheme_str().zip(place.authority());
            origin.is_some_and(|(scheme, authority)| {
                host::is_same_origin(route.base(), scheme, authority.as_str())
            })
        });
        let inserted = format!("{WELL_KNOWN}{}", route.base().path().trim_end_matches('/'));
        let mut places: Vec<_> = own
            .into_iter()
            .map(|place| route.at_root(place.path(), place.query()))
            .collect();
        for path in [inserted.as_str(), WELL_KNOWN] {
            let place = route.at_root(path, None);
            if !places.contains(&place) {
                places.push(place);
            }
        }
        places
    }
}

fn named_place(header: &str) -> Option<Uri> {
    let value = challenge::parameter_values(PARAMETER, header)
        .into_iter()
        .next()?;
    challenge::unquote(&header[value]).parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn places(challenge: Option<&str>) -> Vec<String> {
        let place = MetadataPlace::default();
        if let Some(challenge) = challenge {
            let answer = Response::builder()
                .status(401)
                .header(header::WWW_AUTHENTICATE, challenge);
            place.learn(&answer.body(()).unwrap());
        }
        let route = Route::new(Uri::from_static("http://p:7777/mcp/"));
        place.places(&route).iter().map(Uri::to_string).collect()
    }

    const USUAL: [&str; 2] = [
        "http://p:7777/.well-known/oauth-protected-resource/mcp",
        "http://p:7777/.well-known/oauth-protected-resource",
    ];

    #[test]
    fn the_place_that_a_challenge_names_comes_first() {
        assert_eq!(places(None), USUAL);
        let named = places(Some(
            r#"Bearer scope="a", resource_metadata="http://p:7777/m?x=1""#,
        ));
        assert_eq!(named, ["http://p:7777/m?x=1", USUAL[0], USUAL[1]]);
        let spelt = places(Some(
            r#"Basic realm=x, Bearer Resource_Metadata = "http://p:7777/m?x=1", scope=a"#,
        ));
        assert_eq!(spelt, named);
        assert_eq!(
            places(Some(&format!("Bearer resource_metadata={}", USUAL[0]))),
            USUAL
        );
    }

    #[test]
    fn a_challenge_leads_nowhere_else() {
        for elsewhere in [
            "http://169.254.169.254/latest",
            "http://p:1/m",
            "/m",
            "nonsense \u{1}",
        ] {
            assert_eq!(
                places(Some(
                    &format!("Bearer resource_metadata=\"{elsewhere}\"").replace('\u{1}', "")
                )),
                USUAL
            );
        }
    }
}
