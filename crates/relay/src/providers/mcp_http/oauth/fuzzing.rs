//! The checks of the fuzz targets in `fuzz/` that concern a provider's OAuth documents.
//!
//! Compiled with the feature `fuzzing` alone; not a part of the interface.

use http::{HeaderValue, StatusCode, Uri, header};
use llamapool_head::{FieldLookup, Fields, ResponseHead};
use llamapool_http::challenge;

use super::discovery::{MetadataKind, ResourceMetadataUrl};
use super::fetch::Object;
use super::rewrite::{AuthorizationServer, own_issuer, rewrite_resource};
use crate::providers::mcp_http::allowed_paths::AllowedPaths;
use crate::providers::mcp_http::challenge as public_challenge;
use crate::providers::mcp_http::fuzzing::public;
use crate::providers::mcp_http::redirect::Route;

const BASE: &str = "http://provider.example:7777/base/mcp";
const PUBLIC: &str = "https://pool.example/.well-known/oauth-protected-resource/api/mcp/id/x";

/// Checks that a document is rewritten to one whose issuer is public, and that the paths that it
/// opens are on the provider's own host.
pub fn metadata(text: &[u8]) {
    let Ok(document) = serde_json::from_slice::<Object>(text) else {
        return;
    };
    let base = Uri::from_static(BASE);
    let public = public();

    let server = AuthorizationServer::new(true);
    let mut rewritten = document.clone();
    server.rewrite_metadata(MetadataKind::OAuth, &mut rewritten, &base, &public);
    assert_eq!(rewritten["issuer"], "https://pool.example/api/mcp/id/x");
    assert!(!rewritten.contains_key("signed_metadata"));

    let mut resource = document;
    if let Some(issuer) = own_issuer(&resource, &base, &public) {
        assert!(issuer.starts_with('/'), "{issuer}");
    }
    rewrite_resource(&mut resource, &base, &public);
}

/// Checks that every place of metadata in a challenge becomes the public one or stays, and that only
/// the provider's own host is asked for documents, whatever a challenge names.
pub fn challenge(text: &str) {
    let Ok(value) = HeaderValue::from_str(text) else {
        return;
    };
    let mut response = ResponseHead::new(StatusCode::UNAUTHORIZED);
    response.fields.append(&header::WWW_AUTHENTICATE, &value);
    let base = Uri::from_static(BASE);
    let learned = ResourceMetadataUrl::default();

    learned.learn(&response);
    for candidate in learned.candidates(&Route::new(base.clone())) {
        assert_eq!(candidate.authority(), base.authority(), "{candidate}");
    }

    let fields = &mut response.fields;
    public_challenge::make_public(StatusCode::UNAUTHORIZED, fields, &base, &public());
    if let Some(rewritten) = fields.text_of(&header::WWW_AUTHENTICATE) {
        let places = |text: &str| {
            let places = challenge::parameter_values("resource_metadata", text).into_iter();
            let places = places.map(|place| challenge::unquote(&text[place]));
            places.collect::<Vec<_>>()
        };
        let before = places(text);
        let after = places(rewritten);
        assert_eq!(before.len(), after.len(), "{rewritten}");
        for (before, after) in before.iter().zip(&after) {
            assert!(before == after || after == PUBLIC, "{rewritten}");
        }
    }

    let mut fields = Fields::new();
    fields.append(&header::LOCATION, &value);
    let server = AuthorizationServer::new(true);
    server.rewrite_redirect(&mut fields, &public(), &AllowedPaths::default());
}
