//! Changes under a condition: as the administration API makes them.

use std::time::{Duration, SystemTime};

use super::*;
use crate::access::{AccessMode, AccessRule};
use crate::client::{Client, ClientAuthMethod};
use crate::key::{AdminRight, AdminRights, KeyText, Rights};

fn at(seconds: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
}

fn store() -> (tempfile::TempDir, Store) {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(&folder.path().join("identity.db")).unwrap();
    (folder, store)
}

/// Stores an admin key. Returns its id, and what it is as one that acts.
fn admin(store: &mut Store, name: &str, may: &[AdminRight]) -> (KeyId, ActingKey) {
    let rights = AdminRights::of(may.iter().copied());
    let text = KeyText::random(crate::key::KeyKind::Admin);
    let new = NewKey {
        id: text.id().clone(),
        name: name.to_owned(),
        rights: Rights::Admin(rights.clone()),
        digest: text.digest(),
        expires_at: None,
    };
    store.create_key(&new, at(1)).unwrap();
    let acting = ActingKey {
        rights,
        expires_at: None,
    };
    (new.id, acting)
}

fn by(acting: &ActingKey) -> KeyCondition {
    KeyCondition {
        tag: None,
        by: Some(acting.clone()),
    }
}

fn renamed(name: &str) -> KeyEdit {
    KeyEdit {
        name: Some(name.to_owned()),
        ..KeyEdit::default()
    }
}

#[test]
fn of_two_that_change_one_key_the_second_is_refused() {
    let (_folder, mut store) = store();
    let (id, _) = admin(&mut store, "ops", &AdminRight::ALL);
    let read = KeyCondition {
        tag: Some(store.key(&id).unwrap().tag()),
        by: None,
    };

    store
        .edit_key_if(&id, &renamed("one"), &read, at(2))
        .unwrap();
    let second = store.edit_key_if(&id, &renamed("two"), &read, at(2));

    assert!(matches!(second, Err(StoreError::Changed)), "{second:?}");
    assert_eq!(store.key(&id).unwrap().name, "one");
    let revoked = store.revoke_key_if(&id, &read, at(2));
    assert!(matches!(revoked, Err(StoreError::Changed)), "{revoked:?}");
    let digest = [7; 32];
    let rotated = store.rotate_key_if(&id, (&digest, at(3)), &read, at(2));
    assert!(matches!(rotated, Err(StoreError::Changed)), "{rotated:?}");
    assert_eq!(store.key(&id).unwrap().secrets.len(), 1);
}

#[test]
fn an_admin_key_touches_no_key_with_more_rights() {
    let (_folder, mut store) = store();
    let (wide, _) = admin(&mut store, "wide", &AdminRight::ALL);
    let (own, acting) = admin(&mut store, "narrow", &[AdminRight::Keys]);
    let digest = [7; 32];
    let by = by(&acting);

    let results = [
        store.edit_key_if(&wide, &renamed("x"), &by, at(2)),
        store.rotate_key_if(&wide, (&digest, at(3)), &by, at(2)),
        store.revoke_key_if(&wide, &by, at(2)),
        store.edit_key_if(
            &own,
            &KeyEdit {
                rights: Some(Rights::Admin(AdminRights::of(AdminRight::ALL))),
                ..KeyEdit::default()
            },
            &by,
            at(2),
        ),
    ];

    for result in results {
        assert!(matches!(result, Err(StoreError::MoreRights)), "{result:?}");
    }
    assert_eq!(store.key(&wide).unwrap().name, "wide");
    let kept = store.key(&own).unwrap().rights;
    assert_eq!(kept, Rights::Admin(acting.rights.clone()));
    store
        .edit_key_if(&own, &renamed("mine"), &by, at(2))
        .unwrap();
}

#[test]
fn an_admin_key_that_ends_makes_none_that_lives_on() {
    let acting = ActingKey {
        rights: AdminRights::of(AdminRight::ALL),
        expires_at: Some(at(100)),
    };
    let admin = Rights::Admin(AdminRights::default());
    let worker = Rights::Worker(crate::key::WorkerRights::of(Vec::new()));

    assert!(acting.check_covers(&admin, Some(at(100))).is_ok());
    assert!(acting.check_covers(&admin, Some(at(101))).is_err());
    assert!(acting.check_covers(&admin, None).is_err());
    assert!(acting.check_covers(&worker, None).is_ok());
}

#[test]
fn the_last_admin_key_stays_unless_the_owner_says_so() {
    let (_folder, mut store) = store();
    let (one, acting) = admin(&mut store, "one", &AdminRight::ALL);
    let (other, _) = admin(&mut store, "other", &AdminRight::ALL);
    let by = by(&acting);

    store.revoke_key_if(&other, &by, at(2)).unwrap();
    let last = store.revoke_key_if(&one, &by, at(2));
    let narrowed = KeyEdit {
        rights: Some(Rights::Admin(AdminRights::default())),
        ..KeyEdit::default()
    };
    let narrowed = store.edit_key_if(&one, &narrowed, &by, at(2));

    for result in [last, narrowed] {
        assert!(matches!(result, Err(StoreError::LastAdmin)), "{result:?}");
    }
    assert_eq!(store.key(&one).unwrap().revoked_at, None);
    store.revoke_key(&one, at(2)).unwrap();
}

#[test]
fn a_rule_is_set_and_removed_as_it_was_read() {
    let (_folder, mut store) = store();
    let rule = |mode| AccessRule::new("notes".parse().unwrap(), mode);
    let keys = rule(AccessMode::Keys);
    let open = rule(AccessMode::Open);

    store
        .set_rule_if(&keys, RuleCondition::Absent, at(1))
        .unwrap();
    let again = store.set_rule_if(&open, RuleCondition::Absent, at(1));
    assert!(matches!(again, Err(StoreError::Changed)), "{again:?}");
    let read = RuleCondition::Is(keys.tag());
    store.set_rule_if(&open, read, at(1)).unwrap();
    let stale = store.set_rule_if(&keys, read, at(1));
    assert!(matches!(stale, Err(StoreError::Changed)), "{stale:?}");

    let stale = store.remove_rule_if(&keys.pattern, read, at(1));
    assert!(matches!(stale, Err(StoreError::Changed)), "{stale:?}");
    assert_eq!(store.load().unwrap().access, [open]);
    let any = RuleCondition::Any;
    store.remove_rule_if(&keys.pattern, any, at(1)).unwrap();
    let none = store.remove_rule_if(&keys.pattern, any, at(1));
    assert!(matches!(none, Err(StoreError::NoRule(_))), "{none:?}");
}

#[test]
fn a_client_is_added_once_and_removed_with_its_grants() {
    let (_folder, mut store) = store();
    let new = || {
        let redirect = Client::known_redirect("https://wiki.example/cb").unwrap();
        Client::known("Wiki", vec![redirect], ClientAuthMethod::None, at(1)).client
    };
    let client = new();

    store.add_known_client(&client, at(1)).unwrap();
    let again = store.add_known_client(&new(), at(1));
    assert!(
        matches!(&again, Err(StoreError::ClientNameTaken { id, .. }) if *id == client.id),
        "{again:?}"
    );

    store.remove_client(&client.id, at(2)).unwrap();
    assert_eq!(store.client(&client.id).unwrap(), None);
    let gone = store.remove_client(&client.id, at(2));
    assert!(matches!(gone, Err(StoreError::NoClient(_))), "{gone:?}");
}
