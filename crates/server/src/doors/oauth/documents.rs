//! The documents by which clients find the authorization server: its metadata (RFC 8414), and those of
//! an id as a protected resource (RFC 9728).

use llamapool_identity::{ClientAuthMethod, ClientOrigin, Scope};
use llamapool_wire::RelayId;
use serde_json::{Value, json};

use crate::sign_in::SignIn;

/// Returns the metadata of the authorization server, with all its scopes. A refresh token is always
/// given, so `offline_access` is not listed: some clients would ask the person again for it.
pub(crate) fn server(sign_in: &SignIn) -> Value {
    let issuer = &sign_in.issuer;
    let scopes = [Scope::All, Scope::Read].map(Scope::word);
    let methods = ClientAuthMethod::ALL.map(ClientAuthMethod::word);
    let mut document = json!({
        "issuer": issuer.identifier(),
        "authorization_endpoint": issuer.url("/oauth/authorize"),
        "token_endpoint": issuer.url("/oauth/token"),
        "revocation_endpoint": issuer.url("/oauth/revoke"),
        "scopes_supported": scopes,
        "response_types_supported": ["code"],
        "response_modes_supported": ["query"],
        "grant_types_supported": ["authorization_code", "refresh_token"],
        "code_challenge_methods_supported": ["S256"],
        // Claude and others use their metadata documents only where `none` is listed.
        "token_endpoint_auth_methods_supported": methods,
        "revocation_endpoint_auth_methods_supported": methods,
        "authorization_response_iss_parameter_supported": true,
    });
    if sign_in.admits(ClientOrigin::Registered) {
        document["registration_endpoint"] = issuer.url("/oauth/register").into();
    }
    if sign_in.admits(ClientOrigin::Document) {
        document["client_id_metadata_document_supported"] = true.into();
    }
    document
}

/// Returns the metadata of an id, for the URL by which it was asked for: clients compare it with the
/// one that was typed. Clients ask for exactly the scopes that it lists, so it lists what a plain
/// connection needs, and not the lesser one.
pub(crate) fn resource(sign_in: &SignIn, id: &RelayId, resource: &str) -> Value {
    json!({
        "resource": resource,
        "authorization_servers": [sign_in.issuer.identifier()],
        "scopes_supported": [Scope::All.word()],
        "bearer_methods_supported": ["header"],
        "resource_name": id.as_str(),
    })
}
