//! `/api/admin/keys`: list, create, show, change, rotate and revoke keys.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use llamapool_identity::{
    AdminRight, Key, KeyCondition, KeyEdit, KeyId, KeyKind, KeyOrigin, KeyText, NewKey, Rights,
    check_key_name, shown_time,
};
use serde::{Deserialize, Deserializer};
use serde_json::{Value, json};

use super::error::AdminError;
use super::intake::{AdminRequest, NoQuery, Page};
use super::{AdminDoor, Answer, Deed, PATH, with_ended};

/// How long the old secret of a rotated key stays valid, if the request does not say.
const DEFAULT_OVERLAP_SECONDS: u64 = 24 * 60 * 60;
/// The longest time that it can.
const MAX_OVERLAP_SECONDS: u64 = 90 * 24 * 60 * 60;

/// The keys that are asked for.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct KeysQuery {
    kind: Option<String>,
    limit: Option<String>,
    after: Option<String>,
}

/// A key to create.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Creation {
    /// Its name: two keys of one kind have different ones, so a request that is sent twice makes one.
    name: String,
    /// What it may do, which fixes its kind.
    rights: Rights,
    /// When it ends; missing or null: never.
    #[serde(default)]
    expires_at: Option<String>,
}

/// A change of a key; what is missing stays.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Change {
    #[serde(default)]
    name: Option<String>,
    /// All its rights.
    #[serde(default)]
    rights: Option<Rights>,
    /// The inner `None`: never.
    #[serde(default, deserialize_with = "given")]
    expires_at: Option<Option<String>>,
}

/// A rotation.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Rotation {
    #[serde(default)]
    overlap_seconds: Option<u64>,
}

impl AdminDoor {
    pub(super) fn list_keys(&self, request: &AdminRequest<'_>) -> Result<Answer, AdminError> {
        let KeysQuery { kind, limit, after } = request.query()?;
        let kind = kind.map(|kind| kind.parse::<KeyKind>()).transpose();
        let kind = kind.map_err(|error| AdminError::Invalid(error.to_string()))?;
        let published = self.identity.published();
        let now = self.identity.now();
        let keys = published.snapshot.keys();
        let keys = keys.filter(|key| kind.is_none_or(|kind| key.kind() == kind));
        let keys: Vec<&Arc<Key>> = keys.collect();
        let (keys, next) = Page { limit, after }.of(keys, |key| key.id.to_string())?;

        let keys = keys.into_iter().map(|key| self.shown_key(key, now));
        let keys: Vec<Value> = keys.collect();
        Ok(Answer::ok(json!({ "keys": keys, "next": next })))
    }

    pub(super) fn show_key(
        &self,
        id: &KeyId,
        request: &AdminRequest<'_>,
    ) -> Result<Answer, AdminError> {
        let NoQuery {} = request.query()?;
        self.key_answer(id)
    }

    /// Creates a key. Its text is in this answer, and nowhere else ever.
    pub(super) async fn create_key(
        &self,
        request: &AdminRequest<'_>,
    ) -> Result<Answer, AdminError> {
        let NoQuery {} = request.query()?;
        let Creation {
            name,
            rights,
            expires_at,
        } = request.json()?;
        check_name(&name)?;
        check_rights(&rights)?;
        let expires_at = expires_at.map(|text| self.end(&text)).transpose()?;

        let text = KeyText::random(rights.kind());
        let new = NewKey {
            id: text.id().clone(),
            name,
            rights,
            digest: text.digest(),
            expires_at,
        };
        let deed = deed("key.created", &new.id);
        let created = self.change(
            request,
            AdminRight::Keys,
            deed,
            move |store, acting, now| {
                if let Some(acting) = acting {
                    acting.check_covers(&new.rights, new.expires_at)?;
                }
                store.create_key(&new, now)
            },
        );
        created.await?;

        let answer = self.key_answer(text.id())?;
        Ok(Answer {
            tag: answer.tag,
            ..Answer::created(
                with_key(answer.body, &text),
                format!("{PATH}/keys/{}", text.id()),
            )
        })
    }

    pub(super) async fn change_key(
        &self,
        id: &KeyId,
        request: &AdminRequest<'_>,
    ) -> Result<Answer, AdminError> {
        let NoQuery {} = request.query()?;
        let Change {
            name,
            rights,
            expires_at,
        } = request.json()?;
        if name.is_none() && rights.is_none() && expires_at.is_none() {
            let message = "the body changes nothing, expected name, rights or expires_at";
            return Err(AdminError::Invalid(message.to_owned()));
        }
        name.as_deref().map(check_name).transpose()?;
        rights.as_ref().map(check_rights).transpose()?;
        let expires_at = match expires_at {
            Some(Some(text)) => Some(Some(self.end(&text)?)),
            Some(None) => Some(None),
            None => None,
        };
        let edit = KeyEdit {
            name,
            rights,
            expires_at,
        };

        let tag = self.condition(id, request)?;
        let key = id.clone();
        let changed = self.change(
            request,
            AdminRight::Keys,
            deed("key.changed", id),
            move |store, by, now| store.edit_key_if(&key, &edit, &KeyCondition { tag, by }, now),
        );
        let ended = changed.await?.ended;
        self.changed_key(id, ended)
    }

    /// Gives a key another secret, which is in this answer, and nowhere else ever.
    pub(super) async fn rotate_key(
        &self,
        id: &KeyId,
        request: &AdminRequest<'_>,
    ) -> Result<Answer, AdminError> {
        let NoQuery {} = request.query()?;
        let Rotation { overlap_seconds } = request.json_or_default()?;
        let overlap = overlap_seconds.unwrap_or(DEFAULT_OVERLAP_SECONDS);
        if overlap > MAX_OVERLAP_SECONDS {
            let message =
                format!("overlap_seconds is {overlap}, expected 0 to {MAX_OVERLAP_SECONDS}");
            return Err(AdminError::Invalid(message));
        }
        let kind = self.stored(id)?.kind();
        let text = KeyText::rotated(id, kind);
        let digest = text.digest();
        let until = self.identity.now() + Duration::from_secs(overlap);

        let tag = self.condition(id, request)?;
        let key = id.clone();
        let rotated = self.change(
            request,
            AdminRight::Keys,
            deed("key.rotated", id),
            move |store, by, now| {
                let condition = KeyCondition { tag, by };
                store.rotate_key_if(&key, (&digest, until), &condition, now)
            },
        );
        let ended = rotated.await?.ended;

        let answer = self.changed_key(id, ended)?;
        let mut body = with_key(answer.body, &text);
        if let Some(members) = body.as_object_mut() {
            members.insert("old_ends_at".to_owned(), shown_time(until).into());
        }
        Ok(Answer { body, ..answer })
    }

    pub(super) async fn revoke_key(
        &self,
        id: &KeyId,
        request: &AdminRequest<'_>,
    ) -> Result<Answer, AdminError> {
        let NoQuery {} = request.query()?;
        let tag = self.condition(id, request)?;
        let key = id.clone();
        let revoked = self.change(
            request,
            AdminRight::Keys,
            deed("key.revoked", id),
            move |store, by, now| store.revoke_key_if(&key, &KeyCondition { tag, by }, now),
        );
        let ended = revoked.await?.ended;
        self.changed_key(id, ended)
    }

    /// Returns the tag that the key must have, once it is clear that it can be changed here.
    fn condition(
        &self,
        id: &KeyId,
        request: &AdminRequest<'_>,
    ) -> Result<Option<llamapool_identity::RecordTag>, AdminError> {
        self.stored(id)?;
        request.if_match()
    }

    /// Returns a key of the store.
    fn stored(&self, id: &KeyId) -> Result<Arc<Key>, AdminError> {
        let published = self.identity.published();
        let key = published.snapshot.key(id);
        let key = key.ok_or_else(|| AdminError::Missing(format!("key {id}")))?;
        if key.origin == KeyOrigin::Declared {
            return Err(AdminError::Declared(format!("the key {id}")));
        }
        Ok(key.clone())
    }

    fn key_answer(&self, id: &KeyId) -> Result<Answer, AdminError> {
        let published = self.identity.published();
        let key = published.snapshot.key(id);
        let key = key.ok_or_else(|| AdminError::Missing(format!("key {id}")))?;
        let answer = Answer::ok(self.shown_key(key, self.identity.now()));
        Ok(answer.with_tag(key.tag()))
    }

    fn changed_key(&self, id: &KeyId, ended: usize) -> Result<Answer, AdminError> {
        let answer = self.key_answer(id)?;
        Ok(Answer {
            body: with_ended(answer.body, ended),
            ..answer
        })
    }

    /// Returns a key as JSON, with what it has used up to now.
    fn shown_key(&self, key: &Key, now: SystemTime) -> Value {
        let used = self.identity.meters().used(&key.id, now);
        let mut shown = key.shown_with_usage(&used, now);
        if let Some(members) = shown.as_object_mut() {
            let origin = match key.origin {
                KeyOrigin::Declared => "declared",
                KeyOrigin::Stored => "stored",
            };
            members.insert("origin".to_owned(), origin.into());
            let last_use = self.identity.published().last_use(&key.id);
            let last_use = last_use.or(key.last_used_at).map(shown_time);
            members.insert("last_used_at".to_owned(), last_use.into());
        }
        shown
    }

    /// Reads when a key ends.
    fn end(&self, text: &str) -> Result<SystemTime, AdminError> {
        let moment = humantime::parse_rfc3339(text).ok();
        let moment = moment.filter(|moment| *moment > self.identity.now());
        moment.ok_or_else(|| {
            let expected = "expected a time to come, such as 2027-01-31T00:00:00Z, or null";
            AdminError::Invalid(format!("expires_at is {text:?}, {expected}"))
        })
    }
}

fn check_name(name: &str) -> Result<(), AdminError> {
    let checked = check_key_name(name);
    checked.map_err(|error| AdminError::Invalid(format!("name: {error}")))
}

fn check_rights(rights: &Rights) -> Result<(), AdminError> {
    let checked = rights.check();
    checked.map_err(|error| AdminError::Invalid(format!("rights: {error}")))
}

fn deed(what: &'static str, id: &KeyId) -> Deed {
    Deed {
        what,
        subject: id.to_string(),
    }
}

/// Adds the text of a key, to be shown this once.
fn with_key(mut record: Value, text: &KeyText) -> Value {
    if let Some(members) = record.as_object_mut() {
        members.insert("key".to_owned(), text.expose().into());
    }
    record
}

/// Reads a member that may be null, and tells null from missing.
fn given<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Option<String>>, D::Error> {
    Option::deserialize(deserializer).map(Some)
}
