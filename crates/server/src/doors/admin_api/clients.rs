//! `/api/admin/clients`: the OAuth clients. Those that the operator adds can be removed; others come
//! back by themselves, and are blocked.

use std::collections::HashMap;

use llamapool_identity::{AdminRight, Client, ClientAuthMethod, ClientId, Store, StoreError};
use serde::Deserialize;
use serde_json::{Value, json};

use super::error::AdminError;
use super::intake::{AdminRequest, NoQuery, Page};
use super::{AdminDoor, Answer, Deed, PATH, with_ended};

/// The most redirects of a client, and the most characters of its name.
const MAX_REDIRECTS: usize = 10;
const MAX_NAME_CHARS: usize = 80;

/// A client to add.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Addition {
    name: String,
    redirect_uris: Vec<String>,
    /// Whether it gets a secret.
    #[serde(default)]
    secret: bool,
}

impl AdminDoor {
    pub(super) fn list_clients(&self, request: &AdminRequest<'_>) -> Result<Answer, AdminError> {
        let page: Page = request.query()?;
        let published = self.identity.published();
        let clients: Vec<_> = published.snapshot.clients().collect();
        let (clients, next) = page.of(clients, |client| client.id.to_string())?;
        let now = self.identity.now();
        let mut grants: HashMap<&ClientId, usize> = HashMap::new();
        for grant in published
            .snapshot
            .grants()
            .filter(|grant| grant.is_active(now))
        {
            *grants.entry(&grant.client).or_default() += 1;
        }
        let count = |client: &Client| grants.get(&client.id).copied().unwrap_or_default();
        let clients = clients.iter().map(|client| client.shown(count(client)));
        let clients: Vec<Value> = clients.collect();
        Ok(Answer::ok(json!({"clients": clients, "next": next})))
    }

    pub(super) fn show_client(
        &self,
        id: &ClientId,
        request: &AdminRequest<'_>,
    ) -> Result<Answer, AdminError> {
        let NoQuery {} = request.query()?;
        self.client_answer(id)
    }

    /// Adds a client. Its secret is in this answer, and nowhere else ever.
    pub(super) async fn add_client(
        &self,
        request: &AdminRequest<'_>,
    ) -> Result<Answer, AdminError> {
        let NoQuery {} = request.query()?;
        let Addition {
            name,
            redirect_uris,
            secret,
        } = request.json()?;
        let redirects = redirect_uris.iter().map(|text| {
            let redirect = Client::known_redirect(text);
            redirect
                .map_err(|error| AdminError::Invalid(format!("redirect_uris: {text:?}: {error}")))
        });
        let redirects: Vec<_> = redirects.collect::<Result<_, _>>()?;
        if !(1..=MAX_REDIRECTS).contains(&redirects.len()) {
            let message = format!("redirect_uris: expected 1 to {MAX_REDIRECTS}");
            return Err(AdminError::Invalid(message));
        }
        let auth_method = if secret {
            ClientAuthMethod::Basic
        } else {
            ClientAuthMethod::None
        };
        let new = Client::known(&name, redirects, auth_method, self.identity.now());
        if new.client.name != name {
            let expected = format!("1 to {MAX_NAME_CHARS} characters that control no display");
            return Err(AdminError::Invalid(format!("name: expected {expected}")));
        }

        let client = new.client.clone();
        let deed = deed("client.added", &client.id);
        let added = self.change(request, AdminRight::Keys, deed, move |store, _, now| {
            store.add_known_client(&client, now)
        });
        added.await?;

        let id = &new.client.id;
        let mut body = self.client_answer(id)?.body;
        let secret = new.secret.as_ref().map(|secret| secret.expose());
        if let (Some(members), Some(secret)) = (body.as_object_mut(), secret) {
            members.insert("client_secret".to_owned(), secret.into());
        }
        Ok(Answer::created(body, format!("{PATH}/clients/{id}")))
    }

    pub(super) async fn remove_client(
        &self,
        id: ClientId,
        request: &AdminRequest<'_>,
    ) -> Result<Answer, AdminError> {
        let NoQuery {} = request.query()?;
        let deed = deed("client.removed", &id);
        let client = id.clone();
        let removed = self.change(request, AdminRight::Keys, deed, move |store, _, now| {
            store.remove_client(&client, now)
        });
        let ended = removed.await?.ended;
        Ok(Answer::ok(json!({"id": id.as_str(), "ended": ended})))
    }

    pub(super) async fn block_client(
        &self,
        id: ClientId,
        request: &AdminRequest<'_>,
    ) -> Result<Answer, AdminError> {
        self.set_blocked(id, request, "client.blocked", |store, id, now| {
            store.block_client(id, now)
        })
        .await
    }

    pub(super) async fn unblock_client(
        &self,
        id: ClientId,
        request: &AdminRequest<'_>,
    ) -> Result<Answer, AdminError> {
        self.set_blocked(id, request, "client.unblocked", |store, id, now| {
            store.unblock_client(id, now)
        })
        .await
    }

    async fn set_blocked(
        &self,
        id: ClientId,
        request: &AdminRequest<'_>,
        what: &'static str,
        set: fn(&mut Store, &ClientId, std::time::SystemTime) -> Result<i64, StoreError>,
    ) -> Result<Answer, AdminError> {
        let NoQuery {} = request.query()?;
        let client = id.clone();
        let deed = deed(what, &id);
        let set = self.change(request, AdminRight::Keys, deed, move |store, _, now| {
            set(store, &client, now)
        });
        let ended = set.await?.ended;
        let answer = self.client_answer(&id)?;
        Ok(Answer::ok(with_ended(answer.body, ended)))
    }

    fn client_answer(&self, id: &ClientId) -> Result<Answer, AdminError> {
        let published = self.identity.published();
        let client = published.snapshot.client(id);
        let client = client.ok_or_else(|| AdminError::Missing(format!("client {id}")))?;
        Ok(Answer::ok(self.shown_client(client)))
    }

    fn shown_client(&self, client: &Client) -> Value {
        let published = self.identity.published();
        let now = self.identity.now();
        let grants = published.snapshot.grants();
        let active = grants.filter(|grant| grant.client == client.id && grant.is_active(now));
        client.shown(active.count())
    }
}

fn deed(what: &'static str, id: &ClientId) -> Deed {
    Deed {
        what,
        subject: id.to_string(),
    }
}
