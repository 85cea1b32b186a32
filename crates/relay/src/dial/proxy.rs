//! The choice of a proxy on the way to the server.

use http::{HeaderValue, Uri};
use hyper_util::client::proxy::matcher::Matcher;

use crate::config::DialConfig;

/// A proxy that takes CONNECT.
pub(super) struct Proxy {
    pub(super) uri: Uri,
    pub(super) authorization: Option<HeaderValue>,
}

/// The configured address of a proxy is not the URL of one.
#[derive(Debug, thiserror::Error)]
#[error("the proxy {0:?} is not a URL such as http://proxy:3128")]
pub struct ProxyError(String);

/// Returns the proxy for `target`, `None` if the server is reached without one.
pub(super) fn select_proxy(config: &DialConfig, target: &Uri) -> Result<Option<Proxy>, ProxyError> {
    let configured = if target.scheme_str() == Some("https") {
        &config.https_proxy
    } else {
        &config.http_proxy
    };
    let Some(configured) = configured.as_ref().map(|proxy| proxy.expose().to_owned()) else {
        return Ok(None);
    };

    // The matcher selects by the target's scheme, so both schemes get the proxy that was selected.
    let matcher = || {
        Matcher::builder()
            .http(configured.clone())
            .https(configured.clone())
    };
    let exceptions = config.no_proxy.clone().unwrap_or_default();
    let selected = matcher().no(exceptions).build().intercept(target);
    match selected {
        Some(proxy) if proxy.uri().scheme_str() == Some("http") => Ok(Some(Proxy {
            uri: proxy.uri().clone(),
            authorization: proxy.basic_auth().cloned(),
        })),
        Some(_) => Err(ProxyError(without_credentials(&configured))),
        // An address that the matcher does not understand looks like an exception.
        None if matcher().build().intercept(target).is_none() => {
            Err(ProxyError(without_credentials(&configured)))
        }
        None => Ok(None),
    }
}

fn without_credentials(proxy: &str) -> String {
    proxy
        .rsplit_once('@')
        .map_or(proxy, |(_, host)| host)
        .to_owned()
}
