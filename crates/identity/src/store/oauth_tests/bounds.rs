//! The bounds of clients and grants, and what gives way.

use super::*;

#[test]
fn grants_that_have_ended_give_way_and_others_do_not() {
    let mut place = Place::new();
    let ended = place.active();
    let why = EndReason::Revoked;
    place.store.end_grant(&ended.grant, why, at(2)).unwrap();
    let active = place.active();
    fill(
        &place.store,
        "grant",
        ["randomblob(16)", "state = 'active'"],
        199_998,
    );
    let spread = "UPDATE grant SET approver = 'key:' || substr(hex(id), 1, 2)";
    place.store.connection.execute(spread, []).unwrap();

    let last = place.approved();
    let last = place.allow(&last);
    assert_eq!(place.store.grant(&ended.grant).unwrap(), None);
    assert_eq!(place.state(&active.grant), GrantState::Active);
    assert_eq!(place.state(&last.grant), GrantState::Code);
    let full = place.approved();
    let full = place.store.create_grant(&full, &place.client, at(0));
    assert!(matches!(full, Err(StoreError::TooManyGrants)));
}

#[test]
fn one_approver_does_not_fill_the_store() {
    let mut place = Place::new();
    place.active();
    let key = Approver::Key("7k3x".parse().unwrap());
    let of_key = place.approved_by(key.clone(), "notes");
    place.allow(&of_key);
    fill(
        &place.store,
        "grant",
        ["randomblob(16)", "state = 'active'"],
        9_999,
    );

    let full = place.approved();
    let full = place.store.create_grant(&full, &place.client, at(0));

    assert!(matches!(
        full,
        Err(StoreError::TooManyGrantsOf(Approver::Owner))
    ));
    let other = place.approved_by(key, "notes");
    assert!(
        place
            .store
            .create_grant(&other, &place.client, at(0))
            .is_ok()
    );
}

#[test]
fn clients_without_a_grant_give_way_and_others_do_not() {
    let mut place = Place::new();
    place.active();
    let gone = registered("gone", at(1));
    place.store.add_client(&gone, at(1)).unwrap();
    fill(
        &place.store,
        "client",
        ["hex(randomblob(16))", "name = 'app'"],
        49_998,
    );
    // Those of the operator do not give way.
    let execute = |store: &Store, sql: &str| store.connection.execute(sql, []).unwrap();
    let of_operator = "UPDATE client SET origin = 'known' WHERE length(id) = 32";
    execute(&place.store, of_operator);

    let new = registered("new", at(2));
    place.store.add_client(&new, at(2)).unwrap();

    assert_eq!(place.store.client(&gone.id).unwrap(), None);
    assert!(place.store.client(&place.client.id).unwrap().is_some());
    execute(
        &place.store,
        "UPDATE client SET origin = 'known' WHERE name = 'new'",
    );
    let full = place.store.add_client(&gone, at(3));
    assert!(matches!(full, Err(StoreError::TooManyClients)));
}

#[test]
fn registrations_that_are_never_granted_give_way() {
    let mut place = Place::new();
    place.allowed();
    // In one transaction, as each is written to the disk.
    let transaction = place.store.connection.transaction().unwrap();
    for number in 0..10_000 {
        let client = registered("bot", at(number));
        oauth_rows::insert_client(&transaction, &client).unwrap();
    }
    transaction.commit().unwrap();
    let newest = registered("person", at(20_000));

    place.store.add_client(&newest, at(20_000)).unwrap();

    let clients = place.store.load().unwrap().clients;
    assert_eq!(
        clients.len(),
        10_001,
        "one that got a grant, and those that may wait"
    );
    assert!(clients.iter().any(|client| client.id == newest.id));
    assert!(clients.iter().any(|client| client.id == place.client.id));
    assert!(
        !clients
            .iter()
            .any(|client| client.name == "bot" && client.created_at == at(0))
    );
    while place
        .store
        .forget_clients(at(20_000) + 30 * DAY)
        .unwrap()
        .is_some()
    {}
    assert_eq!(place.store.load().unwrap().clients.len(), 1);
}
