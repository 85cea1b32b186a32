//! The administration API, `/api/admin`: keys, the access of ids, grants, clients, usage and relays, as JSON.
//!
//! It does what the commands do, by the same functions of the store, and answers when a change is
//! published and what it ends is over. Every change passes [`AdminDoor::change`], the one place where
//! it is known who did what. It is for programs: no page in a browser gets in.

mod access;
mod clients;
mod error;
mod grants;
mod intake;
mod keys;
mod relays;
mod resource;
mod usage;

use std::sync::Arc;
use std::time::SystemTime;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{HeaderValue, Method, Response, StatusCode, header};
use axum::routing::any;
use axum::{Extension, Router};
use llamapool_http::{discard, json_response};
use llamapool_identity::{ActingKey, AdminRight, KeyId, RecordTag, Rights, Store, StoreError};
use llamapool_limits::MemoryBudget;
use serde_json::Value;

use self::error::AdminError;
use self::intake::AdminRequest;
use self::resource::Resource;
use crate::auth::{Auth, Operator};
use crate::directory::Directory;
use crate::identity::{Applied, Identity, StoreWriter};
use crate::listen::{Peer, RequestId};
use crate::metrics::{Door, Metrics};

/// Where the API is.
const PATH: &str = "/api/admin";

/// The context of the administration API.
pub(crate) struct AdminDoor {
    pub(crate) auth: Arc<Auth>,
    pub(crate) identity: Identity,
    /// Writes to the store; `None` without a data directory.
    pub(crate) writer: Option<StoreWriter>,
    /// The relays, which can be held back and kicked.
    pub(crate) directory: Directory,
    pub(crate) memory: MemoryBudget,
    pub(crate) metrics: Metrics,
}

/// An answer that is no error.
struct Answer {
    status: StatusCode,
    body: Value,
    /// The tag of the record in it.
    tag: Option<RecordTag>,
    /// Where a record is that was made.
    location: Option<String>,
}

/// A change: what was done to which record.
#[derive(Debug, Clone)]
struct Deed {
    /// The word for it, such as `key.created`.
    what: &'static str,
    /// The id of the record, or the pattern of the rule.
    subject: String,
}

/// Who acts, as the store is to check it in the transaction of the change: `None` is the owner.
type Acting = Option<ActingKey>;

/// Returns the routes of the API.
pub(crate) fn routes(door: Arc<AdminDoor>) -> Router {
    Router::new()
        .route(PATH, any(answer))
        .route("/api/admin/", any(answer))
        .route("/api/admin/{*resource}", any(answer))
        .with_state(door)
}

/// Any request to the API.
async fn answer(
    State(door): State<Arc<AdminDoor>>,
    Extension(req_id): Extension<RequestId>,
    request: Request,
) -> Response<Body> {
    let peer = Peer::of(request.extensions());
    let operator = door
        .auth
        .administrator(request.headers(), request.uri(), peer);
    let answered = match operator {
        Ok(operator) => door.answer(&operator, &req_id, request).await,
        Err(error) => {
            let error = AdminError::of_access(error, || {
                let headers = request.headers();
                let is_guess = headers.contains_key(header::AUTHORIZATION);
                is_guess.then(|| door.auth.count_wrong_key(headers, peer))?
            });
            discard(request).await;
            Err(error)
        }
    };
    match answered {
        Ok(answer) => answer.into_response(),
        Err(error) => {
            let reason = error.word();
            door.metrics.refused(Door::Admin, reason);
            tracing::debug!(req_id = req_id.as_str(), reason, %error, "administration refused");
            error.into_response(req_id.as_str())
        }
    }
}

impl AdminDoor {
    async fn answer(
        &self,
        operator: &Operator,
        req_id: &RequestId,
        request: Request,
    ) -> Result<Answer, AdminError> {
        let method = request.method().clone();
        let resource = match Resource::of(request.uri().path()) {
            Ok(resource) => resource,
            Err(error) => {
                discard(request).await;
                return Err(error);
            }
        };
        let allowed = operator.check(resource.right());
        let allowed = allowed.map_err(|error| AdminError::of_access(error, || None));
        let checked = allowed.and_then(|()| resource.check_method(&method));
        if let Err(error) = checked {
            discard(request).await;
            return Err(error);
        }

        let request = self.read(operator, req_id, request).await?;
        self.dispatch(resource, &method, &request).await
    }

    /// Answers a request that is allowed.
    async fn dispatch(
        &self,
        resource: Resource,
        method: &Method,
        request: &AdminRequest<'_>,
    ) -> Result<Answer, AdminError> {
        match (resource, method) {
            (Resource::Keys, &Method::POST) => self.create_key(request).await,
            (Resource::Keys, _) => self.list_keys(request),
            (Resource::Key(id), &Method::PATCH) => self.change_key(&id, request).await,
            (Resource::Key(id), &Method::DELETE) => self.revoke_key(&id, request).await,
            (Resource::Key(id), _) => self.show_key(&id, request),
            (Resource::Rotation(id), _) => self.rotate_key(&id, request).await,
            (Resource::Rules, _) => self.list_rules(request),
            (Resource::Rule(ids), &Method::PUT) => self.set_rule(ids, request).await,
            (Resource::Rule(ids), &Method::DELETE) => self.remove_rule(ids, request).await,
            (Resource::Rule(ids), _) => self.show_rule(&ids, request),
            (Resource::Grants, _) => self.list_grants(request).await,
            (Resource::Grant(id), &Method::DELETE) => self.end_grant(id, request).await,
            (Resource::Grant(id), _) => self.show_grant(id, request).await,
            (Resource::Clients, &Method::POST) => self.add_client(request).await,
            (Resource::Clients, _) => self.list_clients(request),
            (Resource::Client(id), &Method::DELETE) => self.remove_client(id, request).await,
            (Resource::Client(id), _) => self.show_client(&id, request),
            (Resource::Block(id), &Method::PUT) => self.block_client(id, request).await,
            (Resource::Block(id), _) => self.unblock_client(id, request).await,
            (Resource::Usage, _) => self.list_usage(request),
            (Resource::Relays(target), _) => self.show_target(&target, request),
            (Resource::RelayAction(target, action), _) => self.act_on(&target, action, request),
        }
    }

    /// Makes a change by the store: it is durable and published, and what it ends is over, when this
    /// returns. An admin key is looked at once more in the store, so that one that was revoked while the
    /// change waited changes nothing.
    async fn change<T: Send + 'static>(
        &self,
        request: &AdminRequest<'_>,
        right: AdminRight,
        deed: Deed,
        change: impl FnOnce(&mut Store, Acting, SystemTime) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<Applied<T>, AdminError> {
        let writer = self.writer.as_ref().ok_or(AdminError::NoStore)?;
        let key = request.operator.key().cloned();
        let actor = key.as_ref().map(|id| format!("key:{id}"));
        let actor = actor.unwrap_or_else(|| "api_key".to_owned());
        let now = self.identity.now();
        let applied = writer.change(move |store| {
            let acting = match key {
                Some(id) => match acting(store, &id, right, now)? {
                    Some(acting) => Some(acting),
                    None => return Ok(None),
                },
                None => None,
            };
            let changed = store.acting_as(&actor, |store| change(store, acting, now));
            changed.map(Some)
        });
        let Applied { value, ended } = applied.await?;
        let value = value.ok_or(AdminError::NotAllowed)?;
        report(request, &deed, ended);
        Ok(Applied { value, ended })
    }

    /// Reads from the store, after all that was written before.
    async fn read_store<T: Send + 'static>(
        &self,
        read: impl FnOnce(&Store) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, AdminError> {
        let writer = self.writer.as_ref().ok_or(AdminError::NoStore)?;
        let read = writer.write(move |store| read(store)).await;
        Ok(read.map_err(AdminError::from)??)
    }
}

/// Reports a change that was made: who did what.
fn report(request: &AdminRequest<'_>, deed: &Deed, ended: usize) {
    let principal = request.operator.principal();
    tracing::info!(
        req_id = request.req_id.as_str(),
        what = deed.what,
        subject = deed.subject,
        by = request.operator.key().map_or("owner", KeyId::as_str),
        name = principal.label(),
        ended,
        "changed through the administration API"
    );
}

/// Returns an admin key as it is in the store now; `None` if it may not do this any more.
fn acting(
    store: &Store,
    id: &KeyId,
    right: AdminRight,
    now: SystemTime,
) -> Result<Option<ActingKey>, StoreError> {
    let key = match store.key(id) {
        Ok(key) => key,
        Err(StoreError::NoKey(_)) => return Ok(None),
        Err(error) => return Err(error),
    };
    let Rights::Admin(rights) = &key.rights else {
        return Ok(None);
    };
    if !key.is_valid(now) || !rights.includes(right) {
        return Ok(None);
    }
    Ok(Some(ActingKey {
        rights: rights.clone(),
        expires_at: key.expires_at,
    }))
}

impl Answer {
    fn ok(body: Value) -> Self {
        Self {
            status: StatusCode::OK,
            body,
            tag: None,
            location: None,
        }
    }

    fn created(body: Value, location: String) -> Self {
        Self {
            status: StatusCode::CREATED,
            location: Some(location),
            ..Self::ok(body)
        }
    }

    fn with_tag(self, tag: RecordTag) -> Self {
        Self {
            tag: Some(tag),
            ..self
        }
    }

    fn into_response(self) -> Response<Body> {
        let mut response = json_response(self.status, self.body.to_string());
        let headers = response.headers_mut();
        // A new key is in it at times, and who may do what always.
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        let tag = self.tag.map(|tag| format!("\"{tag}\""));
        for (name, value) in [(header::ETAG, tag), (header::LOCATION, self.location)] {
            let value = value.and_then(|value| HeaderValue::from_str(&value).ok());
            headers.extend(value.map(|value| (name, value)));
        }
        response
    }
}

/// Adds the number of ended calls and tunnels to a record.
fn with_ended(mut record: Value, ended: usize) -> Value {
    if let Some(members) = record.as_object_mut() {
        members.insert("ended".to_owned(), ended.into());
    }
    record
}
