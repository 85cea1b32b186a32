//! Where the public URL of a server leads.

use std::time::Duration;

use http::Uri;
use serde_json::json;
use tokio::net::lookup_host;
use tokio::time::timeout;

use crate::doctor::check::PUBLIC_URL;
use crate::doctor::examination::Examination;
use crate::doctor::https::{Client, Way};
use crate::doctor::network;
use crate::doctor::origin::Origin;
use crate::doctor::tls::Authorities;

/// The longest time for each step.
const PATIENCE: Duration = Duration::from_secs(10);

/// Looks at it; whether it leads to this server only if it runs.
pub(super) async fn look(url: &Uri, runs: bool, examination: &mut Examination) {
    let origin = match Origin::parse(&url.to_string()) {
        Ok(origin) => origin,
        Err(error) => {
            examination.add(PUBLIC_URL.fail(error.to_string(), "Use https://host."));
            return;
        }
    };
    let found = timeout(PATIENCE, lookup_host((origin.host(), origin.port()))).await;
    let addresses = match found {
        Ok(Ok(found)) => found.map(|it| it.ip().to_string()).collect::<Vec<_>>(),
        _ => Vec::new(),
    };
    if addresses.is_empty() {
        let found = format!("{} has no address here", origin.host());
        let remedy = "Add a record with the public address of this machine.";
        examination.add(PUBLIC_URL.warn(found, remedy));
        return;
    }
    let shown = format!("{} → {}", origin.host(), addresses.join(", "));
    if !runs {
        examination.add(PUBLIC_URL.ok(format!("{shown}; the server does not run yet")));
        return;
    }
    let looked = match ready(&origin).await {
        Ok(()) => PUBLIC_URL.ok(format!("{shown}, and a llamapool is ready there")),
        Err(error) => PUBLIC_URL.warn(
            format!("{shown}, where no llamapool answers: {error}"),
            "Does the proxy or the firewall lead to this machine? Some networks do not lead back to \
             their own public address: `llamapool doctor connect ID` on another network decides.",
        ),
    };
    examination.add(looked);
}

/// Asks whether a llamapool is ready at a URL.
async fn ready(origin: &Origin) -> Result<(), String> {
    let (addresses, _) = network::addresses(origin, PATIENCE).await;
    let (address, finding) = network::dialled(origin, &addresses, PATIENCE).await;
    let address = address.ok_or(finding.found)?;
    let mut tls = None;
    if origin.is_tls() {
        let authorities = Authorities::new(None).map_err(|error| error.to_string())?;
        let (connector, finding) = authorities.checked(address, origin.host(), PATIENCE).await;
        tls = Some(connector.ok_or(finding.found)?);
    }
    let client = Client {
        way: Way::Direct { address, tls },
        authority: origin.authority(),
        timeout: PATIENCE,
    };
    let url = origin.url("/readyz");
    let answer = client.get(origin.below(&url).unwrap_or("/readyz")).await?;
    if answer.json() == Some(json!({"status": "ready"})) {
        Ok(())
    } else {
        Err(answer.shown())
    }
}
