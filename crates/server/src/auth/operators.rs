//! Operators: who presents the API key or an admin key.

use std::net::IpAddr;

use axum::http::{HeaderMap, Uri, header};
use llamapool_identity::{AdminRight, KeyError, KeyKind, Rights};
use llamapool_wire::{Secret, bearer};

use super::principal::{Operator, Principal};
use super::{AccessError, Auth, HostAndOrigin};
use crate::audit::Refused;
use crate::listen::Peer;

impl Auth {
    /// Returns the operator that presents the API key, or an admin key with a right. Without an API key
    /// any sender is one.
    pub(crate) fn operator(
        &self,
        headers: &HeaderMap,
        uri: &Uri,
        peer: Peer,
        right: AdminRight,
    ) -> Result<Operator, AccessError> {
        let operator = self.any_operator(headers, uri, peer, Some(Principal::Anonymous))?;
        operator.check(right)?;
        Ok(operator)
    }

    /// Returns the operator of the administration API, whose rights are still to be checked. It is never
    /// open: what a server without keys lets anyone do ends when it stops, and a key does not. No page
    /// gets in, not even one of an allowed origin.
    pub(crate) fn administrator(
        &self,
        headers: &HeaderMap,
        uri: &Uri,
        peer: Peer,
    ) -> Result<Operator, AccessError> {
        if headers.contains_key(header::ORIGIN) {
            return Err(AccessError::Page);
        }
        self.any_operator(headers, uri, peer, None)
    }

    fn any_operator(
        &self,
        headers: &HeaderMap,
        uri: &Uri,
        peer: Peer,
        without_keys: Option<Principal>,
    ) -> Result<Operator, AccessError> {
        let source = HostAndOrigin::read(headers).map_err(AccessError::Origin)?;
        let checked = self.policy.check(&source, uri);
        checked.map_err(AccessError::Origin)?;

        let is_owner = |key: &Secret| key.is_presented_in(headers);
        match (&self.api, without_keys) {
            (None, Some(anyone)) => return Ok(Operator::owner(anyone)),
            (Some(key), _) if is_owner(key) => return Ok(Operator::owner(Principal::ApiKey)),
            _ => {}
        }
        self.admin(headers, peer)
    }

    /// Returns the operator that presents an admin key.
    fn admin(&self, headers: &HeaderMap, peer: Peer) -> Result<Operator, AccessError> {
        let mut values = headers.get_all(header::AUTHORIZATION).into_iter();
        let token = values.next().and_then(|value| bearer(value.as_bytes()));
        let token = token.filter(|_| values.next().is_none());
        let Some(token) = token else {
            self.audit.refused(Refused::ApiKey);
            return Err(AccessError::WrongKey);
        };

        let presented = self.identity.authenticate(token, KeyKind::Admin);
        let presented = presented.map_err(|error| {
            let (refused, access) = match error {
                KeyError::Unknown => (Refused::ApiKey, AccessError::WrongKey),
                // It was the right secret of a key: no guess.
                KeyError::OtherKind(_) | KeyError::Expired | KeyError::Revoked => {
                    (error.into(), AccessError::NoAdminKey)
                }
            };
            self.audit.refused(refused);
            access
        })?;
        let Rights::Admin(rights) = &presented.key.rights else {
            return Err(AccessError::NoAdminKey);
        };
        let address: Option<IpAddr> = self.public_url.address_of(headers, peer);
        if !rights.networks.admit(address) {
            return Err(AccessError::NotAllowed);
        }
        let principal = Principal::Key(presented.holder.begin());
        Ok(Operator::admin(principal, rights.clone()))
    }
}
