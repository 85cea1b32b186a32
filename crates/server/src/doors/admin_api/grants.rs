//! `/api/admin/grants`: what people have allowed clients to do.

use llamapool_identity::{AdminRight, EndReason, Grant, GrantId, KeyId};
use serde::Deserialize;
use serde_json::{Value, json};

use super::error::AdminError;
use super::intake::{AdminRequest, NoQuery, Page};
use super::{AdminDoor, Answer, Deed, with_ended};

/// The grants that are asked for.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct GrantsQuery {
    /// The key that allowed them.
    key: Option<String>,
    /// `true`: also those that ended in the last 30 days.
    all: Option<String>,
    limit: Option<String>,
    after: Option<String>,
}

impl AdminDoor {
    pub(super) async fn list_grants(
        &self,
        request: &AdminRequest<'_>,
    ) -> Result<Answer, AdminError> {
        let GrantsQuery {
            key,
            all,
            limit,
            after,
        } = request.query()?;
        let key: Option<KeyId> = key.map(|key| key.parse()).transpose().map_err(
            |error: llamapool_identity::KeyIdError| AdminError::Invalid(error.to_string()),
        )?;
        let all = match all.as_deref() {
            None | Some("false") => false,
            Some("true") => true,
            Some(other) => {
                let message = format!("all is {other:?}, expected true or false");
                return Err(AdminError::Invalid(message));
            }
        };

        let now = self.identity.now();
        let mut grants = self.read_store(|store| store.grants()).await?;
        grants.retain(|grant| {
            let is_of_key = key
                .as_ref()
                .is_none_or(|key| grant.approver.key() == Some(key));
            is_of_key && (all || grant.is_live(now))
        });
        let page = Page { limit, after };
        let (grants, next) = page.of(grants, |grant| grant.id.to_string())?;
        let grants: Vec<Value> = grants.iter().map(|grant| self.shown_grant(grant)).collect();
        Ok(Answer::ok(json!({"grants": grants, "next": next})))
    }

    pub(super) async fn show_grant(
        &self,
        id: GrantId,
        request: &AdminRequest<'_>,
    ) -> Result<Answer, AdminError> {
        let NoQuery {} = request.query()?;
        let grant = self.read_store(move |store| store.grant(&id)).await?;
        let grant = grant.ok_or_else(|| AdminError::Missing(format!("grant {id}")))?;
        Ok(Answer::ok(self.shown_grant(&grant)))
    }

    /// Ends a grant; one that has ended stays as it is.
    pub(super) async fn end_grant(
        &self,
        id: GrantId,
        request: &AdminRequest<'_>,
    ) -> Result<Answer, AdminError> {
        let NoQuery {} = request.query()?;
        let deed = Deed {
            what: "grant.ended",
            subject: id.to_string(),
        };
        let ended = self.change(request, AdminRight::Keys, deed, move |store, _, now| {
            store.end_grant(&id, EndReason::Revoked, now)
        });
        let ended = ended.await?.ended;
        let grant = self.read_store(move |store| store.grant(&id)).await?;
        let grant = grant.ok_or_else(|| AdminError::Missing(format!("grant {id}")))?;
        Ok(Answer::ok(with_ended(self.shown_grant(&grant), ended)))
    }

    fn shown_grant(&self, grant: &Grant) -> Value {
        let published = self.identity.published();
        let client = published.snapshot.client(&grant.client);
        let name = client.map(|client| client.name.as_str());
        grant.shown(name, self.identity.now())
    }
}
