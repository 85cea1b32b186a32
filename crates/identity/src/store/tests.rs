//! The store in a file: two processes, damage, versions, permissions.

use std::fs;

use super::*;
use crate::access::AccessMode;
use crate::key::{CallerRights, KeyKind, KeyText, Rights, WorkerRights};
use crate::usage::{Day, Usage};

const DAY: Duration = Duration::from_secs(86_400);

fn at(seconds: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
}

/// Returns a folder and the path of a store in it.
fn place() -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("identity.db");
    (folder, path)
}

fn caller(name: &str) -> NewKey {
    let text = KeyText::random(KeyKind::Caller);
    NewKey {
        id: text.id().clone(),
        name: name.to_owned(),
        rights: Rights::Caller(CallerRights {
            ids: vec!["notes".parse().unwrap()],
            ..CallerRights::default()
        }),
        digest: text.digest(),
        expires_at: None,
    }
}

/// Returns the one key of a store.
fn only_key(store: &Store) -> Key {
    let mut keys = store.load().unwrap().keys;
    assert_eq!(keys.len(), 1);
    keys.remove(0)
}

#[test]
fn a_key_is_read_as_it_was_written() {
    let (_folder, path) = place();
    let new = NewKey {
        expires_at: Some(at(100) + DAY),
        ..caller("laptop")
    };

    let mut store = Store::open(&path).unwrap();
    store.create_key(&new, at(100)).unwrap();
    drop(store);
    let key = only_key(&Store::open(&path).unwrap());

    assert_eq!(key.id, new.id);
    assert_eq!(key.name, "laptop");
    assert_eq!(key.rights, new.rights);
    assert_eq!(key.created_at, at(100));
    assert_eq!(key.expires_at, Some(at(100) + DAY));
    assert_eq!((key.revoked_at, key.last_used_at), (None, None));
    assert_eq!(key.secrets.len(), 1);
    assert_eq!(key.secrets[0].digest, new.digest);
}

#[test]
fn a_server_reads_what_another_process_has_changed() {
    let (_folder, path) = place();
    let server = Store::open(&path).unwrap();
    let sequence = server.load().unwrap().sequence;
    let version = server.data_version().unwrap();
    assert_eq!(server.data_version().unwrap(), version);

    let mut command = Store::open(&path).unwrap();
    let new = caller("laptop");
    command.create_key(&new, at(1)).unwrap();
    command.revoke_key(&new.id, at(2)).unwrap();
    let pattern = "notes".parse().unwrap();
    let last = command
        .set_access(&pattern, Some(AccessMode::Keys), at(3))
        .unwrap();

    assert_ne!(server.data_version().unwrap(), version);
    let Reload::Some(records, read) = server.changes_since(sequence).unwrap() else {
        panic!("three changes are few");
    };
    assert_eq!(read, last);
    let [ChangedRecord::Access(rules), ChangedRecord::Key(key)] = &records[..] else {
        panic!("{records:?}");
    };
    assert_eq!(rules[0].mode, AccessMode::Keys);
    assert_eq!(key.revoked_at, Some(at(2)));
    let Reload::Some(none, _) = server.changes_since(last).unwrap() else {
        panic!("nothing has changed");
    };
    assert!(none.is_empty());
}

#[test]
fn a_server_that_missed_too_much_reads_everything() {
    let (_folder, path) = place();
    let mut store = Store::open(&path).unwrap();
    let new = caller("laptop");
    store.create_key(&new, at(1)).unwrap();
    // In one transaction, as each is written to the disk.
    let transaction = store.connection.transaction().unwrap();
    for _ in 0..KEPT_CHANGES {
        rows::insert_change(&transaction, &Subject::Access, at(1)).unwrap();
    }
    transaction.commit().unwrap();
    store
        .set_access(&"a".parse().unwrap(), None, at(1))
        .unwrap();

    let Reload::All(records) = store.changes_since(0).unwrap() else {
        panic!("the first change is gone");
    };

    assert_eq!(records.keys[0].id, new.id);
    assert_eq!(records.sequence, KEPT_CHANGES + 2);
}

#[test]
fn a_rotated_key_has_both_secrets_for_a_while() {
    let (_folder, path) = place();
    let mut store = Store::open(&path).unwrap();
    let new = caller("laptop");
    store.create_key(&new, at(0)).unwrap();
    let digest = || KeyText::rotated(&new.id, KeyKind::Caller).digest();

    store
        .rotate_key(&new.id, &digest(), at(100), at(10))
        .unwrap();

    let ends = |store: &Store| {
        let mut ends: Vec<_> = only_key(store)
            .secrets
            .iter()
            .map(|secret| secret.expires_at)
            .collect();
        ends.sort();
        ends
    };
    assert_eq!(ends(&store), [None, Some(at(100))]);
    store
        .rotate_key(&new.id, &digest(), at(50), at(20))
        .unwrap();
    assert_eq!(ends(&store), [None, Some(at(50)), Some(at(50))]);
    store
        .rotate_key(&new.id, &digest(), at(90), at(30))
        .unwrap();
    let refused = store.rotate_key(&new.id, &digest(), at(90), at(40));
    assert!(matches!(refused, Err(StoreError::TooManySecrets)));

    // Those that have expired make room.
    store
        .rotate_key(&new.id, &digest(), at(90), at(50))
        .unwrap();
    assert_eq!(ends(&store), [None, Some(at(90)), Some(at(90))]);
}

#[test]
fn a_revoked_key_stays_revoked_and_frees_its_name() {
    let (_folder, path) = place();
    let mut store = Store::open(&path).unwrap();
    let new = caller("laptop");
    store.create_key(&new, at(0)).unwrap();

    let taken = store.create_key(&caller("laptop"), at(1)).unwrap_err();
    store.revoke_key(&new.id, at(2)).unwrap();
    store.revoke_key(&new.id, at(3)).unwrap();
    let edit = KeyEdit {
        expires_at: Some(None),
        ..KeyEdit::default()
    };
    let edited = store.edit_key(&new.id, &edit, at(4)).unwrap_err();

    assert!(taken.to_string().contains(new.id.as_str()), "{taken}");
    assert_eq!(only_key(&store).revoked_at, Some(at(2)));
    assert!(matches!(edited, StoreError::Revoked(_)));
    store.create_key(&caller("laptop"), at(5)).unwrap();
}

#[test]
fn an_edit_changes_what_it_names() {
    let (_folder, path) = place();
    let mut store = Store::open(&path).unwrap();
    let new = caller("laptop");
    store.create_key(&new, at(0)).unwrap();
    store.create_key(&caller("phone"), at(0)).unwrap();
    let edit = |name: Option<&str>, rights| KeyEdit {
        name: name.map(str::to_owned),
        rights,
        expires_at: Some(Some(at(99))),
    };

    store
        .edit_key(&new.id, &edit(Some("desk"), None), at(1))
        .unwrap();

    let key = rows::key(&store.connection, &new.id).unwrap().unwrap();
    assert_eq!((key.name.as_str(), key.expires_at), ("desk", Some(at(99))));
    assert_eq!(key.rights, new.rights);
    let taken = store.edit_key(&new.id, &edit(Some("phone"), None), at(2));
    assert!(matches!(taken, Err(StoreError::NameTaken { .. })));
    let worker = Rights::Worker(WorkerRights::of(Vec::new()));
    let other = store.edit_key(&new.id, &edit(None, Some(worker)), at(2));
    assert!(matches!(other, Err(StoreError::OtherKind(_))));
    let missing = store.edit_key(&"none".parse().unwrap(), &edit(None, None), at(2));
    assert!(matches!(missing, Err(StoreError::NoKey(_))));
}

#[test]
fn use_is_noted_and_never_goes_back() {
    let (_folder, path) = place();
    let mut store = Store::open(&path).unwrap();
    let new = caller("laptop");
    store.create_key(&new, at(0)).unwrap();

    store.note_use(&[(new.id.clone(), at(120))]).unwrap();
    store.note_use(&[(new.id.clone(), at(60))]).unwrap();

    assert_eq!(only_key(&store).last_used_at, Some(at(120)));
    assert_eq!(store.load().unwrap().sequence, 1, "it is no change");
}

#[test]
fn a_change_is_acknowledged_once_it_is_applied() {
    let (_folder, path) = place();
    let mut command = Store::open(&path).unwrap();
    let mut server = Store::open(&path).unwrap();
    let new = caller("laptop");
    command.create_key(&new, at(0)).unwrap();
    let sequence = command.revoke_key(&new.id, at(1)).unwrap();

    assert_eq!(command.acknowledgement(sequence).unwrap(), None);
    server.acknowledge(sequence - 1, 0).unwrap();
    assert_eq!(command.acknowledgement(sequence).unwrap(), None);
    server.acknowledge(sequence, 3).unwrap();

    let acknowledged = command.acknowledgement(sequence).unwrap();
    assert_eq!(acknowledged, Some(Acknowledgement { ended: 3 }));
}

#[test]
fn two_processes_write_at_once() {
    let (_folder, path) = place();
    Store::open(&path).unwrap();

    std::thread::scope(|scope| {
        for writer in 0..4 {
            let path = &path;
            scope.spawn(move || {
                let mut store = Store::open(path).unwrap();
                for number in 0..25 {
                    let key = caller(&format!("{writer}-{number}"));
                    store.create_key(&key, at(number)).unwrap();
                }
            });
        }
    });

    let records = Store::open(&path).unwrap().load().unwrap();
    assert_eq!(records.keys.len(), 100);
    assert_eq!(records.sequence, 100);
}

#[test]
fn a_damaged_file_is_refused_and_named() {
    let (_folder, path) = place();
    let mut store = Store::open(&path).unwrap();
    for number in 0..200 {
        let key = caller(&format!("key {number}"));
        store.create_key(&key, at(0)).unwrap();
    }
    // Into the file itself: the log of writes has a check of its own.
    store
        .connection
        .execute_batch("PRAGMA wal_checkpoint(TRUNCATE)")
        .unwrap();
    drop(store);

    let mut content = fs::read(&path).unwrap();
    content[8192..20_000].fill(0xaa);
    fs::write(&path, &content).unwrap();
    let error = Store::open(&path).unwrap_err();
    assert!(matches!(error, StoreError::Damaged { .. }), "{error}");
    assert!(error.to_string().contains("identity.db"), "{error}");

    fs::write(
        &path,
        "this is no database, and long enough to be one".repeat(99),
    )
    .unwrap();
    let error = Store::open(&path).unwrap_err();
    assert!(matches!(error, StoreError::Damaged { .. }), "{error}");
}

#[test]
fn a_newer_file_is_refused_with_both_versions() {
    let (_folder, path) = place();
    let store = Store::open(&path).unwrap();
    store
        .connection
        .pragma_update(None, "user_version", 9)
        .unwrap();
    drop(store);

    let error = Store::open(&path).unwrap_err();

    assert!(matches!(error, StoreError::Newer { found: 9, .. }));
    assert!(
        error
            .to_string()
            .contains(&format!("version 9, expected {}", schema::STEPS.len())),
        "{error}"
    );
}

#[test]
fn a_record_of_a_newer_version_is_no_key_with_more_rights() {
    let (_folder, path) = place();
    let mut store = Store::open(&path).unwrap();
    store.create_key(&caller("laptop"), at(0)).unwrap();
    let newer = r#"{"caller":{"ids":["*"],"hours":["9-17"]}}"#;
    store
        .connection
        .execute("UPDATE key SET rights = ?1", [newer])
        .unwrap();

    let error = store.load().unwrap_err();

    assert!(matches!(error, StoreError::Record { .. }), "{error}");
    assert!(error.to_string().contains("hours"), "{error}");
}

#[cfg(unix)]
#[test]
fn a_file_that_others_can_read_is_refused() {
    use std::os::unix::fs::PermissionsExt;

    let (_folder, path) = place();
    drop(Store::open(&path).unwrap());
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&path), 0o600);

    fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
    let error = Store::open(&path).unwrap_err();

    assert!(matches!(error, StoreError::Permissions { mode: 0o644, .. }));
}

#[test]
fn a_copy_is_a_store() {
    let (folder, path) = place();
    let mut store = Store::open(&path).unwrap();
    store.create_key(&caller("laptop"), at(0)).unwrap();
    let copy = folder.path().join("copy.db");

    store.back_up(&copy).unwrap();

    assert_eq!(only_key(&Store::open(&copy).unwrap()).name, "laptop");
    assert!(store.back_up(&copy).is_err(), "a file is not overwritten");
}

#[test]
fn limits_of_ids_are_read_as_they_were_written() {
    let (_folder, path) = place();
    let mut store = Store::open(&path).unwrap();
    let record = r#"{"rate":"600/min","concurrency":3,"networks":["10.0.0.0/8"]}"#;
    let rule = AccessRule {
        limits: serde_json::from_str(record).unwrap(),
        ..AccessRule::new("team-*".parse().unwrap(), AccessMode::Keys)
    };

    store.set_rule(&rule, at(1)).unwrap();
    let rules = store.load().unwrap().access;

    assert_eq!(rules, std::slice::from_ref(&rule));

    store
        .set_access(&rule.pattern, Some(AccessMode::Open), at(2))
        .unwrap();
    let [opened] = &store.load().unwrap().access[..] else {
        panic!("one rule");
    };
    assert_eq!(opened.mode, AccessMode::Open);
    assert_eq!(opened.limits, rule.limits, "another mode keeps the limits");
}

#[test]
fn policies_of_messages_are_read_as_they_were_written() {
    let (_folder, path) = place();
    let mut store = Store::open(&path).unwrap();
    let record = r#"{"methods":["read","tools/call"],"tools":{"deny":["*delete*"]}}"#;
    let rule = AccessRule {
        messages: serde_json::from_str(record).unwrap(),
        ..AccessRule::new("notes".parse().unwrap(), AccessMode::Keys)
    };

    store.set_rule(&rule, at(1)).unwrap();
    assert_eq!(store.load().unwrap().access, std::slice::from_ref(&rule));

    store
        .set_access(&rule.pattern, Some(AccessMode::Open), at(2))
        .unwrap();
    let messages = store.load().unwrap().access.remove(0).messages;
    assert_eq!(messages, rule.messages, "another mode keeps the policy");

    let sql = r#"UPDATE access SET messages = '{"arguments":{}}'"#;
    store.connection.execute(sql, []).unwrap();
    let error = store.load().unwrap_err();
    assert!(matches!(error, StoreError::Record { .. }), "{error}");
}

#[test]
fn a_limit_of_a_newer_version_is_no_rule_without_it() {
    let (_folder, path) = place();
    let mut store = Store::open(&path).unwrap();
    store
        .set_access(&"a".parse().unwrap(), Some(AccessMode::Open), at(1))
        .unwrap();
    let sql = r#"UPDATE access SET limits = '{"hours":"9-17"}'"#;
    store.connection.execute(sql, []).unwrap();

    let error = store.load().unwrap_err();

    assert!(matches!(error, StoreError::Record { .. }), "{error}");
}

#[test]
fn usage_adds_up_and_is_forgotten_after_two_months() {
    let (_folder, path) = place();
    let mut store = Store::open(&path).unwrap();
    let id: KeyId = "7k3x".parse().unwrap();
    let usage = |calls| Usage {
        calls,
        bytes_in: 2,
        bytes_out: 3,
        tokens: 4,
    };

    let days = [Day(100), Day(101)];
    let used = days.map(|day| (id.clone(), day, usage(1)));
    store.add_usage(&used, Day(101)).unwrap();
    store.add_usage(&used[1..], Day(101)).unwrap();
    drop(store);
    let mut store = Store::open(&path).unwrap();
    let mut found = store.usage_since(Day(0)).unwrap();
    found.sort_by_key(|(_, day, _)| *day);

    let twice = Usage {
        calls: 2,
        bytes_in: 4,
        bytes_out: 6,
        tokens: 8,
    };
    let expected = [
        (id.clone(), Day(100), usage(1)),
        (id.clone(), Day(101), twice),
    ];
    assert_eq!(found, expected);
    assert_eq!(store.usage_since(Day(101)).unwrap(), expected[1..]);

    store.add_usage(&[], Day(101 + Store::USAGE_DAYS)).unwrap();
    assert_eq!(store.usage_since(Day(0)).unwrap(), expected[1..]);
}

#[test]
fn the_tables_of_the_first_version_are_brought_up_to_date() {
    let (_folder, path) = place();
    schema::create_private(&path).unwrap();
    let connection = Connection::open(&path).unwrap();
    connection.execute_batch(schema::STEPS[0]).unwrap();
    let sql = "INSERT INTO access VALUES ('notes', 'keys'); PRAGMA user_version = 1;";
    connection.execute_batch(sql).unwrap();
    drop(connection);

    let store = Store::open(&path).unwrap();

    let rule = AccessRule::new("notes".parse().unwrap(), AccessMode::Keys);
    assert_eq!(store.load().unwrap().access, [rule]);
    assert_eq!(store.usage_since(Day(0)).unwrap(), []);
}
