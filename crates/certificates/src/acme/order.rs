//! One order, from the request to the certificate.

use std::time::Duration;

use instant_acme::{
    Account, AuthorizationHandle, AuthorizationStatus, CertificateIdentifier, ChallengeType, Error,
    Identifier, KeyAuthorization, NewOrder, Order, OrderStatus, RetryPolicy,
};
use rcgen::{CertificateParams, CustomExtension, DistinguishedName, KeyPair};
use rustls::crypto::ring::sign::any_supported_type;
use rustls::pki_types::PrivateKeyDer;
use rustls::sign::CertifiedKey;

use super::challenge::{CheckKind, Checks};
use super::failure::{Failure, name_of};
use super::name::{DomainName, list};
use super::storage::{Storage, StoredOrder};
use crate::challenge::Challenge;
use crate::http_challenge::HttpChallenge;
use crate::resolver::Certificates;

/// The time for the checks of an order, and for its certificate. The authorities need seconds.
const POLL_TIMEOUT: Duration = Duration::from_secs(120);
/// The first pause between two questions for the state of an order, and its growth.
const FIRST_POLL: Duration = Duration::from_millis(100);
const POLL_GROWTH: f32 = 1.5;

/// What is ordered.
pub(super) struct OrderRequest<'a> {
    pub(super) names: &'a [DomainName],
    pub(super) profile: Option<&'a str>,
    /// The certificate that the new one replaces, for authorities that manage renewals.
    pub(super) replaces: Option<CertificateIdentifier<'static>>,
    pub(super) checks: Checks,
}

/// A certificate that was issued.
pub(super) struct Issued {
    pub(super) names: Vec<DomainName>,
    /// The chain in PEM.
    pub(super) chain: String,
    /// The key in PEM.
    pub(super) key: String,
}

/// An open challenge, which closes with the value.
enum OpenChallenge {
    Tls { _challenge: Challenge },
    Http { _challenge: HttpChallenge },
}

/// Orders a certificate.
///
/// The order is stored with its key before the authority may issue, so that [`resume`] finds the
/// certificate if the process ends before it is stored.
pub(super) async fn order(
    account: &Account,
    request: OrderRequest<'_>,
    certificates: &Certificates,
    storage: &Storage,
) -> Result<Issued, Failure> {
    check_profile(account, request.profile)?;
    let identifiers = request.names.iter();
    let identifiers = identifiers.map(|name| Identifier::Dns(name.as_str().to_owned()));
    let identifiers: Vec<Identifier> = identifiers.collect();
    let mut new = NewOrder::new(&identifiers);
    if let Some(profile) = request.profile {
        new = new.profile(profile);
    }
    if let Some(replaced) = request.replaces {
        new = new.replaces(replaced);
    }
    let ordered = account.new_order(&new).await;
    let mut order = ordered.map_err(|error| Failure::at("the order", &error))?;

    // Open until the order is settled: an authority checks a name several times, from several places.
    let challenges = open_challenges(&mut order, &request.checks, certificates).await?;
    if order.state().status == OrderStatus::Pending {
        wait_until_ready(&mut order).await?;
    }
    drop(challenges);

    let key = KeyPair::generate().map_err(Failure::of)?;
    let stored = StoredOrder {
        url: order.url().to_owned(),
        names: request.names.iter().map(ToString::to_string).collect(),
        key: key.serialize_pem(),
    };
    storage.write_order(&stored).await.map_err(Failure::of)?;
    finish(order, stored).await
}

/// Finishes the order that ran when the process ended. `None` if it can have no certificate any more.
pub(super) async fn resume(
    account: &Account,
    stored: StoredOrder,
) -> Result<Option<Issued>, Failure> {
    let mut order = match account.order(stored.url.clone()).await {
        Ok(order) => order,
        // The authority has forgotten it.
        Err(Error::Api(_)) => return Ok(None),
        Err(error) => return Err(Failure::at("the order of before", &error)),
    };
    match order.state().status {
        OrderStatus::Pending | OrderStatus::Invalid => Ok(None),
        OrderStatus::Ready | OrderStatus::Processing | OrderStatus::Valid => {
            finish(order, stored).await.map(Some)
        }
    }
}

/// Asks for the certificate of an order whose checks are done.
async fn finish(mut order: Order, stored: StoredOrder) -> Result<Issued, Failure> {
    let at = |error: &Error| Failure::at("the certificate", error);
    let names: Vec<DomainName> = stored
        .names
        .iter()
        .filter_map(|it| it.parse().ok())
        .collect();
    if order.state().status == OrderStatus::Ready {
        let key = KeyPair::from_pem(&stored.key).map_err(Failure::of)?;
        let mut params = CertificateParams::new(stored.names.clone()).map_err(Failure::of)?;
        params.distinguished_name = DistinguishedName::new();
        let request = params.serialize_request(&key).map_err(Failure::of)?;
        let finalized = order.finalize_csr(request.der()).await;
        finalized.map_err(|error| at(&error))?;
    }

    let chain = if order.state().status == OrderStatus::Valid {
        let chain = order.certificate().await;
        chain.map_err(|error| at(&error))?
    } else {
        let chain = order.poll_certificate(&polling()).await;
        Some(chain.map_err(|error| at(&error))?)
    };
    let chain = chain.ok_or_else(|| Failure::of("the certificate: the authority sent none"))?;
    Ok(Issued {
        names,
        chain,
        key: stored.key,
    })
}

fn check_profile(account: &Account, profile: Option<&str>) -> Result<(), Failure> {
    let Some(wanted) = profile else {
        return Ok(());
    };
    let mut offered: Vec<&str> = account.profiles().map(|it| it.name).collect();
    if offered.contains(&wanted) {
        return Ok(());
    }
    offered.sort_unstable();
    let offered = match offered.as_slice() {
        [] => "none".to_owned(),
        names => names.join(", "),
    };
    Err(Failure::of(format!(
        "ACME_PROFILE {wanted:?}: the authority has no such profile, expected one of: {offered}"
    )))
}

/// Answers the checks of every name that needs one, and asks the authority for them.
async fn open_challenges(
    order: &mut Order,
    checks: &Checks,
    certificates: &Certificates,
) -> Result<Vec<OpenChallenge>, Failure> {
    let mut open = Vec::new();
    let mut authorizations = order.authorizations();
    while let Some(authorization) = authorizations.next().await {
        let authorization =
            authorization.map_err(|error| Failure::at("the authorization", &error))?;
        match authorization.status {
            AuthorizationStatus::Pending => {}
            // The authority remembers an earlier check.
            AuthorizationStatus::Valid => continue,
            // The order is invalid then, which is found below with its reason.
            _ => continue,
        }
        open.push(open_challenge(authorization, checks, certificates).await?);
    }
    Ok(open)
}

async fn open_challenge(
    mut authorization: AuthorizationHandle<'_>,
    checks: &Checks,
    certificates: &Certificates,
) -> Result<OpenChallenge, Failure> {
    let identifier = authorization.identifier().identifier.clone();
    let name = name_of(&identifier);
    let name =
        name.ok_or_else(|| Failure::of("the authority asks for the check of no DNS name"))?;

    let offered = authorization.challenges.iter();
    let offered: Vec<CheckKind> = offered.filter_map(|it| kind_of(&it.r#type)).collect();
    let Some(kind) = checks.choose(&name, &offered) else {
        let wanted = checks.wanted();
        let reason = format!("the authority offers no check of {name} by {wanted}");
        return Err(Failure {
            by: vec![name],
            ..Failure::of(reason)
        });
    };
    let challenge = authorization.challenge(type_of(kind));
    let mut challenge = challenge.ok_or_else(|| Failure::of("the challenge has gone"))?;

    let answer = challenge.key_authorization();
    let open = match kind {
        CheckKind::TlsAlpn => {
            let certificate = challenge_certificate(&name, &answer)?;
            let challenge = certificates.challenge(name.as_str(), certificate);
            OpenChallenge::Tls {
                _challenge: challenge,
            }
        }
        CheckKind::Http => OpenChallenge::Http {
            _challenge: certificates.http_challenge(&challenge.token, answer.as_str()),
        },
    };
    let ready = challenge.set_ready().await;
    ready.map_err(|error| Failure::at(&format!("{kind} of {name}"), &error))?;
    Ok(open)
}

/// Makes the certificate that answers a check in a handshake (RFC 8737, section 3).
fn challenge_certificate(
    name: &DomainName,
    answer: &KeyAuthorization,
) -> Result<CertifiedKey, Failure> {
    let digest = answer.digest();
    let names = vec![name.as_str().to_owned()];
    let mut params = CertificateParams::new(names).map_err(Failure::of)?;
    let extension = CustomExtension::new_acme_identifier(digest.as_ref());
    params.custom_extensions = vec![extension];

    let key = KeyPair::generate().map_err(Failure::of)?;
    let certificate = params.self_signed(&key).map_err(Failure::of)?;
    let key = PrivateKeyDer::try_from(key.serialize_der()).map_err(Failure::of)?;
    let key = any_supported_type(&key).map_err(Failure::of)?;
    Ok(CertifiedKey::new(vec![certificate.der().clone()], key))
}

/// Waits until the authority has checked all names.
async fn wait_until_ready(order: &mut Order) -> Result<(), Failure> {
    match order.poll_ready(&polling()).await {
        Ok(OrderStatus::Ready) => Ok(()),
        // The order has failed, and its authorizations have the reason.
        Ok(_) => Err(reason_of(order, None).await),
        Err(error @ Error::Api(_)) => Err(reason_of(order, Some(error)).await),
        Err(error) => Err(Failure::at("the order", &error)),
    }
}

/// Returns the reason of an order that failed: that of every name whose check failed.
async fn reason_of(order: &mut Order, error: Option<Error>) -> Failure {
    let mut failure: Option<Failure> = None;
    let mut authorizations = order.authorizations();
    while let Some(Ok(mut authorization)) = authorizations.next().await {
        let Ok(state) = authorization.refresh().await else {
            continue;
        };
        if state.status != AuthorizationStatus::Invalid {
            continue;
        }
        let Some(name) = name_of(state.identifier().identifier) else {
            continue;
        };
        let failed = state.challenges.iter().find(|it| it.error.is_some());
        let kind = failed.and_then(|challenge| kind_of(&challenge.r#type));
        let check = kind.map_or_else(|| "the check".to_owned(), |kind| kind.to_string());
        let problem = failed.and_then(|challenge| challenge.error.as_ref());
        let of_name = Failure::of_name(&name, &check, problem);
        failure = Some(match failure {
            Some(failure) => failure.and(of_name),
            None => of_name,
        });
    }

    let of_order = || match &error {
        Some(error) => Failure::at("the order", error),
        None => Failure::of("the order: the authority gave no reason"),
    };
    failure.unwrap_or_else(of_order)
}

fn polling() -> RetryPolicy {
    RetryPolicy::new()
        .initial_delay(FIRST_POLL)
        .backoff(POLL_GROWTH)
        .timeout(POLL_TIMEOUT)
}

fn kind_of(kind: &ChallengeType) -> Option<CheckKind> {
    match kind {
        ChallengeType::TlsAlpn01 => Some(CheckKind::TlsAlpn),
        ChallengeType::Http01 => Some(CheckKind::Http),
        _ => None,
    }
}

fn type_of(kind: CheckKind) -> ChallengeType {
    match kind {
        CheckKind::TlsAlpn => ChallengeType::TlsAlpn01,
        CheckKind::Http => ChallengeType::Http01,
    }
}

impl Issued {
    /// Returns the key and the chain as they are stored.
    pub(super) fn to_pem(&self) -> String {
        format!("{}\n{}", self.key.trim_end(), self.chain)
    }

    /// Returns the names in one text.
    pub(super) fn label(&self) -> String {
        list(&self.names)
    }
}
