//! An MCP server that speaks HTTP, as the relay reaches it.

use std::path::Path;
use std::time::Instant;

use llamapool_relay::{HttpConfig, reach_provider};

use crate::doctor::check::PROVIDER;
use crate::doctor::examination::Examination;

/// Looks whether it takes connections.
pub(super) async fn look(
    config: &HttpConfig,
    ca_file: Option<&Path>,
    label: Option<&str>,
    examination: &mut Examination,
) -> bool {
    let host = config.url.authority().map(|it| it.as_str());
    // What stands before the host may be a password.
    let host = host
        .and_then(|it| it.rsplit('@').next())
        .unwrap_or_default();
    let begun = Instant::now();
    let looked = match reach_provider(config, ca_file).await {
        Ok(()) => PROVIDER.ok(format!("{host} takes connections")),
        Err(error) => PROVIDER.fail(
            format!("{host} takes no connection: {error}"),
            "Does the MCP server run, and are host and port of PROVIDER_URL its own? In a container, \
             localhost is the container.",
        ),
    };
    examination.add(looked.within(begun.elapsed()).of(label))
}
