//! The authority's suggestion of when to renew a certificate (RFC 9773).

use std::time::{Duration, SystemTime};

use instant_acme::{Account, CertificateIdentifier, Error};

use super::failure::Failure;
use super::life::Window;

/// Asks when a certificate is to be renewed, and after which time to ask again. `None` if the
/// authority makes no suggestions.
pub(super) async fn ask_renewal(
    account: &Account,
    certificate: &CertificateIdentifier<'static>,
) -> Result<Option<(Window, Duration)>, Failure> {
    let (info, pause) = match account.renewal_info(certificate).await {
        Ok(answer) => answer,
        Err(Error::Unsupported(_)) => return Ok(None),
        Err(error) => return Err(Failure::at("the time of renewal", &error)),
    };
    if let Some(url) = &info.explanation_url {
        tracing::info!(url, "the authority explains when to renew");
    }
    let window = Window {
        start: SystemTime::from(info.suggested_window.start),
        end: SystemTime::from(info.suggested_window.end),
    };
    Ok(Some((window, pause)))
}
