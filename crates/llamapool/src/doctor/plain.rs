//! Plain HTTP beside TLS: it should lead to https, and take no calls.

use super::https::Client;
use super::origin::Origin;
use super::report::Finding;

const PLAIN: &str = "http";

/// Looks at the port of plain HTTP.
pub(super) async fn looked_at(client: &Client, port: u16, origin: &Origin) -> Finding {
    let answer = match client.get("/").await {
        Ok(answer) => answer,
        Err(error) => {
            let found = format!("nothing answers on port {port}: {error}");
            let remedy = "Clients do not need it. People who type http:// do, and HTTP_PORT answers \
                          them.";
            return Finding::warn(PLAIN, found, remedy);
        }
    };
    let location = answer.header(http::header::LOCATION).unwrap_or_default();
    if answer.status.is_redirection() && location.starts_with(&origin.root()) {
        return Finding::ok(PLAIN, format!("port {port} leads to {}", origin.root()));
    }
    if answer.status.is_redirection() {
        let found = format!("port {port} leads to {location:?}");
        let remedy = format!(
            "It should lead to {}: PUBLIC_URL says where.",
            origin.root()
        );
        return Finding::warn(PLAIN, found, remedy);
    }
    let found = format!("port {port} answers without TLS, with {}", answer.shown());
    let remedy = "Keys that are sent there go in the clear: let it redirect (HTTP_PORT does), or close \
                  it.";
    Finding::warn(PLAIN, found, remedy)
}
