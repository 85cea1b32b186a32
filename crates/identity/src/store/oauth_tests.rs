//! Clients, grants, epochs and one-time codes in a file, also with several processes at once.

mod bounds;
mod login_codes;
mod refreshing;

use std::collections::BTreeSet;

use llamapool_wire::Secret;

use super::*;
use crate::access::AccessMode;
use crate::approver::Approver;
use crate::authorization::AuthorizationRequest;
use crate::challenge::Challenge;
use crate::client::{ClientAuthMethod, ClientOrigin, Registration};
use crate::grant::{
    Approval, Approved, CodeRedemption, EndReason, GrantError, GrantState, Granted, IDLE_LIFE,
    Refresh, ReusePolicy,
};
use crate::key::Rights;
use crate::login_code::{LoginCode, LoginCodeError};
use crate::redirect::RedirectPolicy;
use crate::scope::Scope;
use crate::snapshot::Snapshot;
use crate::token::TokenSeal;

const DAY: Duration = Duration::from_secs(86_400);
const SECOND: Duration = Duration::from_secs(1);
const REDIRECT: &str = "http://localhost:8787/callback";
/// The example of RFC 7636, appendix B.
const VERIFIER: &str = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
const CHALLENGE: &str = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM";

fn at(seconds: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000_000 + seconds)
}

fn seal() -> TokenSeal {
    TokenSeal::new(&Secret::new("key"), "https://pool.example/oauth")
}

fn id(text: &str) -> RelayId {
    text.parse().unwrap()
}

/// A store with a client that has registered.
struct Place {
    _folder: tempfile::TempDir,
    path: PathBuf,
    store: Store,
    client: Client,
}

impl Place {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("identity.db");
        let mut store = Store::open(&path).unwrap();
        let client = registered("app", at(0));
        store.add_client(&client, at(0)).unwrap();
        Self {
            _folder: folder,
            path,
            store,
            client,
        }
    }

    /// Returns a grant that the owner allowed for `notes`, not yet stored.
    fn approved(&self) -> Approved {
        self.approved_by(Approver::Owner, "notes")
    }

    fn approved_by(&self, approver: Approver, resource: &str) -> Approved {
        let challenge: Challenge = CHALLENGE.parse().unwrap();
        let request = AuthorizationRequest {
            client: self.client.id.clone(),
            redirect: RedirectPolicy::default().parse(REDIRECT).unwrap(),
            state: None,
            challenge,
            resource: None,
            scope: Scope::All,
        };
        let approval = Approval {
            approver,
            resource: id(resource),
            epoch: Epoch::first(id(resource), BTreeSet::from(["a".to_owned()])),
            scope: Scope::All,
            ends_at: None,
        };
        Approved::new(&request, approval, &seal(), at(0)).unwrap()
    }

    /// Returns a stored grant with its code.
    fn allowed(&mut self) -> CodeRedemption {
        let approved = self.approved();
        self.allow(&approved)
    }

    fn allow(&mut self, approved: &Approved) -> CodeRedemption {
        let stored = self.store.create_grant(approved, &self.client, at(0));
        stored.unwrap();
        CodeRedemption {
            grant: seal().open_code(approved.code.expose()).unwrap(),
            code: crate::key::digest_of(approved.code.expose().as_bytes()),
            client: self.client.id.clone(),
            redirect: Some(REDIRECT.to_owned()),
            verifier: VERIFIER.to_owned(),
            resource: None,
        }
    }

    /// Returns an active grant, redeemed at second 1.
    fn active(&mut self) -> Refresh {
        let code = self.allowed();
        let granted = self.store.redeem_code(&code, at(1)).unwrap();
        self.token(&granted)
    }

    /// Returns the presentation of a turn's refresh token.
    fn token(&self, granted: &Granted) -> Refresh {
        Refresh {
            grant: granted.grant.id,
            turn: granted.turn,
            client: self.client.id.clone(),
            resource: None,
            scope: None,
        }
    }

    fn refresh(&mut self, token: &Refresh, now: SystemTime) -> Result<Granted, GrantError> {
        refused(self.store.refresh_grant(token, ReusePolicy::End, now))
    }

    fn redeem(&mut self, code: &CodeRedemption, now: SystemTime) -> Result<Granted, GrantError> {
        refused(self.store.redeem_code(code, now))
    }

    fn state(&self, grant: &GrantId) -> GrantState {
        self.store.grant(grant).unwrap().unwrap().state
    }
}

fn registered(name: &str, now: SystemTime) -> Client {
    let body =
        format!(r#"{{"redirect_uris":["http://localhost/callback"],"client_name":"{name}"}}"#);
    let registration = Registration::parse(body.as_bytes(), &RedirectPolicy::default());
    registration.unwrap().into_client(now).client
}

fn refused<T>(result: Result<T, GrantStepError>) -> Result<T, GrantError> {
    result.map_err(|error| match error {
        GrantStepError::Refused(error) => error,
        GrantStepError::Store(error) => panic!("{error}"),
    })
}

#[test]
fn a_grant_is_read_as_it_was_written() {
    let mut place = Place::new();
    let approved = place.approved();

    let code = place.allow(&approved);

    let read = place.store.grant(&code.grant).unwrap().unwrap();
    assert_eq!(read, approved.grant);
    let records = Store::open(&place.path).unwrap().load().unwrap();
    assert_eq!(records.grants, [approved.grant]);
    assert_eq!(records.epochs, [approved.epoch]);
    assert_eq!(records.clients[0].granted_at, Some(at(0)));
    assert_eq!(records.clients[0].redirects, place.client.redirects);
}

#[test]
fn a_code_is_redeemed_once_and_a_second_time_ends_the_grant() {
    let mut place = Place::new();
    let code = place.allowed();

    let granted = place.redeem(&code, at(59)).unwrap();

    assert_eq!((granted.turn, granted.scope), (0, Scope::All));
    assert_eq!(granted.grant.state, GrantState::Active);
    assert!(granted.sequence.is_some());
    assert_eq!(place.state(&code.grant), GrantState::Active);
    assert_eq!(place.redeem(&code, at(59)), Err(GrantError::CodeReuse));
    let ended = GrantState::Ended(EndReason::CodeReuse);
    assert_eq!(place.state(&code.grant), ended);
    let token = place.token(&granted);
    assert_eq!(place.refresh(&token, at(60)), Err(GrantError::Ended));
    assert_eq!(place.redeem(&code, at(61)), Err(GrantError::Ended));
}

#[test]
fn a_code_that_does_not_fit_is_not_spent() {
    let mut place = Place::new();
    let code = place.allowed();
    let other = |change: &dyn Fn(&mut CodeRedemption)| {
        let mut other = code.clone();
        change(&mut other);
        other
    };

    for (wrong, error) in [
        (
            other(&|code| code.resource = Some(id("other"))),
            GrantError::OtherResource,
        ),
        (
            other(&|code| code.client = "other".parse().unwrap()),
            GrantError::OtherClient,
        ),
        (
            other(&|code| code.redirect = Some("http://localhost:8788/callback".to_owned())),
            GrantError::OtherRedirect,
        ),
        (
            other(&|code| code.verifier = "a".repeat(43)),
            GrantError::Verifier,
        ),
        (
            other(&|code| code.verifier = String::new()),
            GrantError::Verifier,
        ),
        (other(&|code| code.code = [0; 32]), GrantError::Unknown),
        (
            other(&|code| code.grant = GrantId::random()),
            GrantError::Unknown,
        ),
    ] {
        assert_eq!(place.redeem(&wrong, at(1)), Err(error));
    }

    let right = other(&|code| {
        code.resource = Some(id("notes"));
        code.redirect = None;
    });
    assert!(place.redeem(&right, at(1)).is_ok());
}

#[test]
fn a_code_can_be_redeemed_for_a_minute() {
    let mut place = Place::new();
    let code = place.allowed();

    assert_eq!(place.redeem(&code, at(60)), Err(GrantError::CodeExpired));

    let set_back = place.redeem(&code, at(59));
    assert_eq!(set_back, Err(GrantError::Ended), "a clock revives nothing");
    let ended = GrantState::Ended(EndReason::Expired);
    assert_eq!(place.state(&code.grant), ended);
}

/// Copies the row of a condition many times, with other ids.
fn fill(store: &Store, table: &str, [new_id, row]: [&str; 2], count: usize) {
    let sql =
        format!("SELECT group_concat(name) FROM pragma_table_info('{table}') WHERE name != 'id'");
    let columns: String = store
        .connection
        .query_row(&sql, [], |row| row.get(0))
        .unwrap();
    let sql = format!(
        "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {count}) \
         INSERT INTO {table} (id, {columns}) SELECT {new_id}, {columns} \
         FROM (SELECT {columns} FROM {table} WHERE {row} LIMIT 1), n"
    );
    assert_eq!(store.connection.execute(&sql, []).unwrap(), count);
}

#[test]
fn one_of_ten_redemptions_at_once_wins() {
    let mut place = Place::new();
    let code = place.allowed();

    let results = at_once(&place.path, |store| {
        refused(store.redeem_code(&code, at(1)))
    });

    let won = results.iter().filter(|result| result.is_ok()).count();
    assert_eq!(won, 1, "{results:?}");
    let ended = GrantState::Ended(EndReason::CodeReuse);
    assert_eq!(
        place.state(&code.grant),
        ended,
        "the others presented it twice"
    );
}

/// Runs one step in ten threads, each with a connection of its own. Returns what each returned.
fn at_once<T: Send>(path: &Path, step: impl Fn(&mut Store) -> T + Sync) -> Vec<T> {
    let barrier = std::sync::Barrier::new(10);
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..10)
            .map(|_| {
                scope.spawn(|| {
                    let mut store = Store::open(path).unwrap();
                    barrier.wait();
                    step(&mut store)
                })
            })
            .collect();
        let results = threads.into_iter().map(|thread| thread.join().unwrap());
        results.collect()
    })
}

#[test]
fn a_grant_without_use_or_with_an_end_is_over() {
    let mut place = Place::new();
    let token = place.active();
    let idle = at(1) + IDLE_LIFE;

    let granted = place.refresh(&token, idle - SECOND).unwrap();
    let token = place.token(&granted);
    let later = idle - SECOND + IDLE_LIFE;
    assert_eq!(place.refresh(&token, later), Err(GrantError::Ended));
    let set_back = place.refresh(&token, later - SECOND);
    assert_eq!(set_back, Err(GrantError::Ended), "a clock revives nothing");

    let mut approved = place.approved();
    approved.grant.ends_at = Some(at(100));
    let code = place.allow(&approved);
    let granted = place.redeem(&code, at(1)).unwrap();
    let token = place.token(&granted);
    assert_eq!(place.refresh(&token, at(100)), Err(GrantError::Ended));
    let tokens = seal().issue(&granted, DAY, at(1)).unwrap();
    assert_eq!(tokens.expires_in, Duration::from_secs(99));
}

#[test]
fn cleaning_ends_what_is_over_and_forgets_it_later() {
    let mut place = Place::new();
    let code = place.allowed();
    let active = place.active();

    assert_eq!(place.store.clean_grants(at(59)).unwrap(), None);
    assert!(place.store.clean_grants(at(61)).unwrap().is_some());

    let expired = GrantState::Ended(EndReason::Expired);
    assert_eq!(place.state(&code.grant), expired);
    assert_eq!(place.state(&active.grant), GrantState::Active);
    place.store.clean_grants(at(61) + 31 * DAY).unwrap();
    assert_eq!(place.store.grant(&code.grant).unwrap(), None);
    assert_eq!(place.state(&active.grant), expired);
    assert_eq!(place.store.grants().unwrap().len(), 1);
}

#[test]
fn revocations_and_a_blocked_client_end_grants() {
    let mut place = Place::new();
    let text = crate::key::KeyText::random(crate::key::KeyKind::Caller);
    let key = NewKey {
        id: text.id().clone(),
        name: "laptop".to_owned(),
        rights: Rights::Caller(crate::key::CallerRights::default()),
        digest: text.digest(),
        expires_at: None,
    };
    place.store.create_key(&key, at(0)).unwrap();
    let of_key = place.approved_by(Approver::Key(key.id.clone()), "notes");
    let of_key = place.allow(&of_key);
    let revoked = place.active();
    let blocked = place.active();

    place.store.revoke_key(&key.id, at(2)).unwrap();
    let why = EndReason::Revoked;
    let changed = place.store.end_grant(&revoked.grant, why, at(2)).unwrap();
    let again = place.store.end_grant(&revoked.grant, why, at(3)).unwrap();
    place.store.block_client(&place.client.id, at(4)).unwrap();

    let ended = |grant| match place.state(grant) {
        GrantState::Ended(why) => why,
        other => panic!("{other:?}"),
    };
    assert_eq!(ended(&of_key.grant), EndReason::KeyRevoked);
    assert_eq!(ended(&revoked.grant), EndReason::Revoked);
    assert_eq!(ended(&blocked.grant), EndReason::ClientBlocked);
    assert!(changed.is_some() && again.is_none());
    let missing = place.store.end_grant(&GrantId::random(), why, at(5));
    assert!(matches!(missing, Err(StoreError::NoGrant(_))));
    let approved = place.approved();
    let refused = place.store.create_grant(&approved, &place.client, at(5));
    assert!(matches!(refused, Err(StoreError::NoClient(_))));
}

#[test]
fn a_server_reads_every_change_of_a_grant() {
    let mut place = Place::new();
    let server = Store::open(&place.path).unwrap();
    let declared = Records::default();
    let open = AccessMode::Open;
    let mut snapshot = Snapshot::new(&declared, open, server.load().unwrap());
    let mut read = |server: &Store| {
        let Reload::Some(changed, last) = server.changes_since(snapshot.sequence()).unwrap() else {
            panic!("few changes");
        };
        snapshot = snapshot.after(&declared, changed, last);
        snapshot.clone()
    };

    let token = place.active();
    let active = read(&server).grant(&token.grant).cloned().unwrap();
    assert_eq!(active.state, GrantState::Active);
    place.refresh(&token, at(2)).unwrap();
    assert_eq!(read(&server).grant(&token.grant).unwrap().turns.turn, 1);
    let why = EndReason::Revoked;
    place.store.end_grant(&token.grant, why, at(3)).unwrap();
    let ended = read(&server);

    assert!(ended.grant(&token.grant).is_none());
    assert_eq!(ended.grants().count(), 0);
    assert_eq!(ended.clients().count(), 1);
    place.store.forget_clients(at(0) + 365 * DAY).unwrap();
    assert_eq!(
        read(&server).clients().count(),
        1,
        "its grant is remembered"
    );
    place.store.clean_grants(at(0) + 365 * DAY).unwrap();
    place.store.forget_clients(at(0) + 365 * DAY).unwrap();
    assert_eq!(read(&server).clients().count(), 0);
}

#[test]
fn a_grant_is_not_stored_for_an_id_that_has_changed_hands() {
    let mut place = Place::new();
    let before = place.active();
    let approved = place.approved();
    let keys = BTreeSet::from(["b".to_owned()]);
    let epoch = approved.epoch.after(&keys).unwrap();

    let changed = place.store.set_epochs(std::slice::from_ref(&epoch), at(5));

    assert!(changed.unwrap().is_some());
    let ended = GrantState::Ended(EndReason::Epoch);
    assert_eq!(place.state(&before.grant), ended);
    let stored = place.store.create_grant(&approved, &place.client, at(5));
    assert!(matches!(stored, Err(StoreError::OtherEpoch(_))));
    let earlier = place.store.set_epochs(&[approved.epoch], at(6)).unwrap();
    assert_eq!(earlier, None, "an epoch never goes back");
    assert_eq!(place.store.load().unwrap().epochs, [epoch]);
}

#[test]
fn a_client_with_a_document_is_stored_by_its_first_grant() {
    let mut place = Place::new();
    place.client = Client {
        id: "https://claude.ai/oauth/metadata".parse().unwrap(),
        origin: ClientOrigin::Document,
        ..place.client.clone()
    };

    place.allowed();

    let stored = place.store.client(&place.client.id).unwrap().unwrap();
    assert_eq!(stored.origin, ClientOrigin::Document);
    assert_eq!(stored.granted_at, Some(at(0)));
    let unseen = "https://evil.example/client".parse().unwrap();
    place.store.block_client(&unseen, at(1)).unwrap();
    let blocked = place.store.client(&unseen).unwrap().unwrap();
    assert_eq!(
        (blocked.name.as_str(), blocked.blocked_at),
        ("evil.example", Some(at(1)))
    );
    place.store.unblock_client(&unseen, at(2)).unwrap();
    assert_eq!(
        place.store.client(&unseen).unwrap().unwrap().blocked_at,
        None
    );
    let missing = place.store.block_client(&"none".parse().unwrap(), at(3));
    assert!(matches!(missing, Err(StoreError::NoClient(_))));
}

#[test]
fn a_client_of_the_operator_has_its_secret_as_a_hash() {
    let mut place = Place::new();
    let now = at(0);
    let redirect = RedirectPolicy::default().parse("https://a.example/cb");
    let method = ClientAuthMethod::Basic;
    let new = Client::known("wiki", vec![redirect.unwrap()], method, now);

    place.store.add_client(&new.client, now).unwrap();

    let stored = place.store.client(&new.client.id).unwrap().unwrap();
    assert_eq!(stored, new.client);
    let file = std::fs::read(&place.path).unwrap();
    let log = std::fs::read(place.path.with_extension("db-wal")).unwrap_or_default();
    let secret = new.secret.unwrap();
    for bytes in [file, log] {
        let mut parts = bytes.windows(secret.expose().len());
        assert!(!parts.any(|part| part == secret.expose().as_bytes()));
    }
}

#[test]
fn a_file_of_version_1_keeps_its_records() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("identity.db");
    schema::create_private(&path).unwrap();
    let old = Connection::open(&path).unwrap();
    old.execute_batch(include_str!("version_1.sql")).unwrap();
    drop(old);

    let mut store = Store::open(&path).unwrap();

    let records = store.load().unwrap();
    assert_eq!(records.sequence, 2);
    assert_eq!(records.access.len(), 1);
    assert_eq!(
        records.keys[0].secrets[0].digest,
        crate::key::digest_of(b"an old key")
    );
    let client = registered("app", at(0));
    assert_eq!(store.add_client(&client, at(0)).unwrap(), 3);
    let version: i64 = store
        .connection
        .pragma_query_value(None, "user_version", |row| row.get(0))
        .unwrap();
    assert_eq!(version, schema::STEPS.len() as i64);
    drop(store);
    assert_eq!(
        Store::open(&path).unwrap().load().unwrap().clients,
        [client]
    );
}
