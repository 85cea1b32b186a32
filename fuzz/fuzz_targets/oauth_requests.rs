//! Requests to the authorization server: queries, forms, registrations, documents, tokens and codes.
//! No text that this server did not make opens.

#![no_main]

use std::time::SystemTime;

use libfuzzer_sys::fuzz_target;
use llamapool_identity::{
    AuthorizationError, AuthorizationQuery, Client, ClientAuthMethod, ClientCredentials, LoginCode,
    RedirectPolicy, Registration, ResourceServer, TokenRequest, TokenSeal, client_of_document,
};
use llamapool_wire::{Secret, controls_display};

fuzz_target!(|data: &[u8]| {
    let policy = RedirectPolicy::default();
    let server = ResourceServer::new("https://pool.example").unwrap();
    let now = SystemTime::UNIX_EPOCH;
    let redirect = policy.parse("http://localhost/cb").unwrap();
    let known = Client::known("app", vec![redirect], ClientAuthMethod::None, now).client;
    let known = Client {
        id: "app".parse().unwrap(),
        ..known
    };

    let _ = TokenRequest::parse(data, &server);
    if let Ok(registration) = Registration::parse(data, &policy) {
        check(&registration.into_client(now).client);
    }
    let id = "https://claude.ai/client".parse().unwrap();
    if let Ok(client) = client_of_document(&id, data, &policy, now) {
        check(&client);
    }

    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    if let Ok(query) = AuthorizationQuery::parse(text) {
        match query.check(&known, &server, &policy) {
            Ok(request) => assert!(known.admits(&request.redirect)),
            Err(AuthorizationError::Returned(error)) => assert!(known.admits(&error.redirect)),
            Err(AuthorizationError::Page(_)) => {}
        }
    }
    let _ = ClientCredentials::default().with_basic(text);
    let _ = LoginCode::parse(text);
    let seal = TokenSeal::new(&Secret::new("key"), "https://pool.example/oauth");
    assert!(seal.open_access(text).is_none() && seal.open_refresh(text).is_none());
    assert!(seal.open_code(text).is_none() && seal.open_request(text, now).is_none());
});

/// Checks that a client is bounded, and that its name cannot control a page.
fn check(client: &Client) {
    assert!((1..=10).contains(&client.redirects.len()));
    assert!((1..=80).contains(&client.name.chars().count()));
    assert!(!client.name.chars().any(controls_display));
}
