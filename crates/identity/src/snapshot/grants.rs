//! The clients, grants and epochs of a snapshot, and what an access token gives at one moment.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::SystemTime;

use llamapool_wire::RelayId;

use super::{Snapshot, exactness};
use crate::approver::Approver;
use crate::client::{Client, ClientId};
use crate::epoch::Epoch;
use crate::grant::{Grant, GrantError, GrantId, GrantState};
use crate::key::{Key, Rights};
use crate::pattern::Exactness;
use crate::scope::Scope;
use crate::token::TokenSeal;
use crate::token_request::TokenStep;

/// The parts that the grants are in. A change copies the part that it is in, and not all of them.
const PARTS: usize = 256;

/// The clients, grants and epochs of a snapshot. A clone is cheap.
#[derive(Debug, Clone, Default)]
pub(super) struct OAuthRecords {
    clients: Arc<HashMap<ClientId, Arc<Client>>>,
    grants: Grants,
    epochs: Arc<HashMap<RelayId, Epoch>>,
}

/// The grants that have not ended.
#[derive(Debug, Clone)]
struct Grants(Vec<Arc<HashMap<GrantId, Arc<Grant>>>>);

/// An access token that was presented, and what it gives at this moment.
#[derive(Debug, Clone)]
pub struct AuthenticatedToken {
    /// Its grant.
    pub grant: Arc<Grant>,
    /// The key of the approver; `None`: the owner allowed it.
    pub key: Option<Arc<Key>>,
    /// How much it gives: what the token, its grant and the key of the approver all give.
    pub scope: Scope,
    /// The most that another grant of the same approver could give.
    pub widest: Scope,
    /// The turn that it is of: its use shows that the answer has arrived.
    pub turn: u32,
    /// From when on it is refused.
    pub expires_at: SystemTime,
}

/// The reasons for refusing an access token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// This issuer did not make it.
    #[error("the token is not one of this server")]
    Unknown,
    /// It has expired.
    #[error("the token has expired")]
    Expired,
    /// It is for another id.
    #[error("the token is for another id")]
    OtherId,
    /// Its grant gives nothing any more.
    #[error("{0}")]
    Grant(#[from] GrantOverError),
}

/// The reasons why a grant gives nothing any more, or an approver may not allow one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum GrantOverError {
    /// It has ended, or never was.
    #[error("the grant has ended")]
    Ended,
    /// The key of its approver is missing, was revoked or has expired.
    #[error("the key that allowed it has ended")]
    Key,
    /// The key of its approver does not cover the id.
    #[error("the key that allowed it does not cover the id")]
    NotCovered,
    /// Its client is blocked.
    #[error("its client is blocked")]
    ClientBlocked,
    /// Its id belongs to other relays now.
    #[error("the id belongs to other relays now")]
    Epoch,
}

impl Snapshot {
    /// Returns the grant of an access token that is presented at an id, and what it gives now.
    ///
    /// # Errors
    ///
    /// If the token is none of this issuer, has expired, is for another id, or its grant is over.
    pub fn authenticate_token(
        &self,
        seal: &TokenSeal,
        presented: &str,
        id: &RelayId,
        now: SystemTime,
    ) -> Result<AuthenticatedToken, TokenError> {
        let token = seal.open_access(presented).ok_or(TokenError::Unknown)?;
        if now >= token.expires_at {
            return Err(TokenError::Expired);
        }
        let grant = self.grant(&token.grant).ok_or(GrantOverError::Ended)?;
        if grant.resource != *id {
            return Err(TokenError::OtherId);
        }
        if !grant.is_active(now) {
            return Err(GrantOverError::Ended.into());
        }
        let key = self.check_grant(grant, now)?;
        let widest = key.map_or(Scope::All, |key| key.rights.scope());
        Ok(AuthenticatedToken {
            grant: grant.clone(),
            key: key.cloned(),
            scope: token.scope.min(grant.scope).min(widest),
            widest,
            turn: token.turn,
            expires_at: token.expires_at,
        })
    }

    /// Checks that what stands behind a grant still does: its approver, its client and its id. Its own
    /// state is another question. Returns the key of its approver, `None` for the owner.
    ///
    /// # Errors
    ///
    /// If one of them does not.
    pub fn check_grant(
        &self,
        grant: &Grant,
        now: SystemTime,
    ) -> Result<Option<&Arc<Key>>, GrantOverError> {
        let client = self.oauth.clients.get(&grant.client);
        if client.is_some_and(|client| client.blocked_at.is_some()) {
            return Err(GrantOverError::ClientBlocked);
        }
        let epoch = self.oauth.epochs.get(&grant.resource);
        if epoch.is_some_and(|epoch| epoch.number != grant.epoch) {
            return Err(GrantOverError::Epoch);
        }
        self.check_approver(&grant.approver, &grant.resource, now)
    }

    /// Checks that what stands behind the grant of a step still does, before the step is taken. A grant
    /// that is not here is the store's to find.
    ///
    /// # Errors
    ///
    /// If it does not: the client has to ask for another grant.
    pub fn check_step(&self, step: &TokenStep, now: SystemTime) -> Result<(), GrantError> {
        let id = match step {
            TokenStep::Redeem(redemption) => &redemption.grant,
            TokenStep::Refresh(refresh) => &refresh.grant,
        };
        let checked = self.grant(id).map(|grant| self.check_grant(grant, now));
        match checked {
            Some(Err(_)) => Err(GrantError::Ended),
            Some(Ok(_)) | None => Ok(()),
        }
    }

    /// Checks that an approver may allow calls of an id. Returns its key, `None` for the owner.
    ///
    /// # Errors
    ///
    /// If its key has ended or does not cover the id.
    pub fn check_approver(
        &self,
        approver: &Approver,
        id: &RelayId,
        now: SystemTime,
    ) -> Result<Option<&Arc<Key>>, GrantOverError> {
        let Some(key) = approver.key() else {
            return Ok(None);
        };
        let key = self.key(key).filter(|key| key.is_valid(now));
        let key = key.ok_or(GrantOverError::Key)?;
        match &key.rights {
            Rights::Caller(rights) if rights.may_call(id.as_str()) => Ok(Some(key)),
            Rights::Caller(_) | Rights::Worker(_) | Rights::Admin(_) => {
                Err(GrantOverError::NotCovered)
            }
        }
    }

    /// Returns a client that is known, has registered, or once got a grant.
    pub fn client(&self, id: &ClientId) -> Option<&Arc<Client>> {
        self.oauth.clients.get(id)
    }

    /// Returns all clients, in no order.
    pub fn clients(&self) -> impl Iterator<Item = &Arc<Client>> {
        self.oauth.clients.values()
    }

    /// Returns a grant that has not ended, as far as the store knows.
    pub fn grant(&self, id: &GrantId) -> Option<&Arc<Grant>> {
        self.oauth.grants.part(id).get(id)
    }

    /// Returns all grants that have not ended, in no order.
    pub fn grants(&self) -> impl Iterator<Item = &Arc<Grant>> {
        self.oauth.grants.0.iter().flat_map(|part| part.values())
    }

    /// Returns the present epoch of an id, for a grant that is allowed now.
    pub fn epoch(&self, id: &RelayId, now: SystemTime) -> Epoch {
        let known = self.oauth.epochs.get(id).cloned();
        known.unwrap_or_else(|| Epoch::first(id.clone(), self.serving(id, now)))
    }

    /// Begins the epochs that begin by the keys that are valid now: a grant of an earlier one gives
    /// nothing any more. Returns them, for the store. To be called before a snapshot with other keys is
    /// published, and when a key has expired.
    pub fn begin_epochs(&mut self, now: SystemTime) -> Vec<Epoch> {
        let epochs = self.oauth.epochs.values();
        let changed = epochs.filter_map(|epoch| epoch.after(&self.serving(&epoch.id, now)));
        let changed: Vec<_> = changed.collect();
        for epoch in &changed {
            self.oauth.set_epoch(epoch.clone());
        }
        changed
    }

    /// Returns the worker keys that may serve an id: those with the most exact pattern. The bootstrap
    /// key has the pattern `*`.
    fn serving(&self, id: &RelayId, now: SystemTime) -> BTreeSet<String> {
        let mut best = Exactness::Prefix(0);
        let mut serving = BTreeSet::from([Epoch::BOOTSTRAP.to_owned()]);
        for key in self.keys().filter(|key| key.is_valid(now)) {
            let Some(exactness) = exactness(key, id.as_str()) else {
                continue;
            };
            if exactness > best {
                best = exactness;
                serving.clear();
            }
            if exactness == best {
                serving.insert(key.id.to_string());
            }
        }
        serving
    }
}

impl OAuthRecords {
    pub(super) fn new(clients: Vec<Client>, grants: Vec<Grant>, epochs: Vec<Epoch>) -> Self {
        let mut records = Self::default();
        let by_id = |client: Client| (client.id.clone(), Arc::new(client));
        records.clients = Arc::new(clients.into_iter().map(by_id).collect());
        for grant in grants {
            records.grants.set(grant);
        }
        for epoch in epochs {
            records.set_epoch(epoch);
        }
        records
    }

    pub(super) fn set_client(&mut self, client: Client) {
        Arc::make_mut(&mut self.clients).insert(client.id.clone(), Arc::new(client));
    }

    pub(super) fn forget_client(&mut self, id: &ClientId) {
        Arc::make_mut(&mut self.clients).remove(id);
    }

    pub(super) fn set_grant(&mut self, grant: Grant) {
        self.grants.set(grant);
    }

    pub(super) fn forget_grant(&mut self, id: &GrantId) {
        self.grants.part_mut(id).remove(id);
    }

    /// Sets an epoch, unless a later one is there: what this process found goes before what it reads.
    pub(super) fn set_epoch(&mut self, epoch: Epoch) {
        let known = self.epochs.get(&epoch.id);
        if known.is_none_or(|known| known.number <= epoch.number) {
            Arc::make_mut(&mut self.epochs).insert(epoch.id.clone(), epoch);
        }
    }
}

impl Default for Grants {
    fn default() -> Self {
        Self(vec![Arc::default(); PARTS])
    }
}

impl Grants {
    fn part(&self, id: &GrantId) -> &HashMap<GrantId, Arc<Grant>> {
        &self.0[usize::from(id.as_bytes()[0]) % PARTS]
    }

    fn part_mut(&mut self, id: &GrantId) -> &mut HashMap<GrantId, Arc<Grant>> {
        Arc::make_mut(&mut self.0[usize::from(id.as_bytes()[0]) % PARTS])
    }

    fn set(&mut self, grant: Grant) {
        let part = self.part_mut(&grant.id);
        match grant.state {
            GrantState::Code | GrantState::Active => {
                part.insert(grant.id, Arc::new(grant));
            }
            GrantState::Ended(_) => {
                part.remove(&grant.id);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use llamapool_wire::Secret;

    use super::*;
    use crate::access::AccessMode;
    use crate::client::ClientAuthMethod;
    use crate::grant::{Granted, IDLE_LIFE, Turns};
    use crate::key::{CallerRights, KeyOrigin, WorkerRights};
    use crate::snapshot::Records;
    use crate::store::ChangedRecord;
    use crate::token::AccessToken;

    const HOUR: Duration = Duration::from_secs(3600);
    const LEEWAY: Duration = Duration::from_secs(10);

    fn at(seconds: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000_000 + seconds)
    }

    fn id(text: &str) -> RelayId {
        text.parse().unwrap()
    }

    fn seal() -> TokenSeal {
        TokenSeal::new(&Secret::new("key"), "https://pool.example/oauth")
    }

    fn key(name: &str, rights: Rights) -> Key {
        Key {
            id: name.parse().unwrap(),
            name: name.to_owned(),
            rights,
            origin: KeyOrigin::Stored,
            created_at: at(0),
            expires_at: None,
            revoked_at: None,
            last_used_at: None,
            secrets: Vec::new(),
        }
    }

    fn caller(name: &str, ids: &[&str]) -> Key {
        let ids = ids.iter().map(|id| id.parse().unwrap()).collect();
        key(
            name,
            Rights::Caller(CallerRights {
                ids,
                ..CallerRights::default()
            }),
        )
    }

    fn worker(name: &str, ids: &[&str]) -> Key {
        let ids = ids.iter().map(|id| id.parse().unwrap()).collect();
        key(name, Rights::Worker(WorkerRights::of(ids)))
    }

    fn client() -> Client {
        let client = Client::known("app", Vec::new(), ClientAuthMethod::None, at(0)).client;
        Client {
            id: "app".parse().unwrap(),
            ..client
        }
    }

    fn grant(approver: Approver) -> Grant {
        Grant {
            id: GrantId::random(),
            client: "app".parse().unwrap(),
            approver,
            resource: id("notes"),
            epoch: 1,
            scope: Scope::All,
            redirect: "http://localhost/cb".to_owned(),
            challenge: "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"
                .parse()
                .unwrap(),
            code: [0; 32],
            state: GrantState::Active,
            code_until: at(60),
            turns: Turns::new(at(0)),
            created_at: at(0),
            idle_until: at(0) + IDLE_LIFE,
            ends_at: None,
            last_used_at: None,
        }
    }

    /// A snapshot with a grant, a key that allowed it, and the worker key `home` of its id.
    fn snapshot(grant: &Grant) -> Snapshot {
        let home = worker("home", &["notes"]);
        let serving = BTreeSet::from(["home".to_owned()]);
        let records = Records {
            keys: vec![caller("laptop", &["notes"]), home],
            clients: vec![client()],
            grants: vec![grant.clone()],
            epochs: vec![Epoch::first(id("notes"), serving)],
            ..Records::default()
        };
        Snapshot::new(&Records::default(), AccessMode::SignIn, records)
    }

    fn after(snapshot: &Snapshot, changed: ChangedRecord) -> Snapshot {
        snapshot.after(&Records::default(), vec![changed], 1)
    }

    fn access(grant: &Grant) -> String {
        let granted = Granted {
            grant: grant.clone(),
            turn: 0,
            scope: grant.scope,
            sequence: None,
        };
        let tokens = seal().issue(&granted, HOUR, at(0)).unwrap();
        tokens.access.expose().to_owned()
    }

    fn of_key() -> Grant {
        grant(Approver::Key("laptop".parse().unwrap()))
    }

    fn present(snapshot: &Snapshot, token: &str) -> Result<AuthenticatedToken, TokenError> {
        snapshot.authenticate_token(&seal(), token, &id("notes"), at(1))
    }

    fn over(result: Result<AuthenticatedToken, TokenError>) -> GrantOverError {
        match result {
            Err(TokenError::Grant(error)) => error,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_token_gives_what_its_grant_and_its_key_give() {
        for (grant, has_key) in [(of_key(), true), (grant(Approver::Owner), false)] {
            let snapshot = snapshot(&grant);

            let found = present(&snapshot, &access(&grant)).unwrap();

            assert_eq!(*found.grant, grant);
            assert_eq!(found.key.is_some(), has_key);
            assert_eq!((found.scope, found.turn), (Scope::All, 0));
            // A client that counts from when it got the token does not come too late.
            assert_eq!(found.expires_at, at(0) + HOUR + LEEWAY);
        }
    }

    #[test]
    fn a_token_never_gives_more_than_its_grant() {
        let grant = Grant {
            scope: Scope::Read,
            ..of_key()
        };
        let wide = AccessToken {
            grant: grant.id,
            turn: 0,
            scope: Scope::All,
            expires_at: at(100),
        };

        let wide = seal().access(&wide).unwrap();
        let found = present(&snapshot(&grant), wide.expose()).unwrap();

        assert_eq!((found.scope, found.widest), (Scope::Read, Scope::All));
    }

    #[test]
    fn a_token_never_gives_more_than_its_key_does_now() {
        let grant = of_key();
        let mut narrowed = caller("laptop", &["notes"]);
        if let Rights::Caller(rights) = &mut narrowed.rights {
            rights.read_only = true;
        }
        let change = ChangedRecord::Key(Box::new(narrowed));
        let snapshot = after(&snapshot(&grant), change);

        let found = present(&snapshot, &access(&grant)).unwrap();

        assert_eq!((found.scope, found.widest), (Scope::Read, Scope::Read));
    }

    #[test]
    fn a_token_for_one_id_or_issuer_is_none_for_another() {
        let grant = of_key();
        let snapshot = snapshot(&grant);
        let token = access(&grant);

        let other = snapshot.authenticate_token(&seal(), &token, &id("other"), at(1));
        assert_eq!(other.unwrap_err(), TokenError::OtherId);
        let issuer = TokenSeal::new(&Secret::new("key"), "https://other.example/oauth");
        let other = snapshot.authenticate_token(&issuer, &token, &id("notes"), at(1));
        assert_eq!(other.unwrap_err(), TokenError::Unknown);
        let late = snapshot.authenticate_token(&seal(), &token, &id("notes"), at(3610));
        assert_eq!(late.unwrap_err(), TokenError::Expired);
        let refresh = seal().refresh(grant.id, 0).unwrap();
        for no_token in ["", "llpa_", "eyJhbGciOiJub25lIn0.e30.", refresh.expose()] {
            let error = present(&snapshot, no_token).unwrap_err();
            assert_eq!(error, TokenError::Unknown, "{no_token}");
        }
    }

    #[test]
    fn a_grant_that_is_not_active_gives_nothing() {
        let active = of_key();
        let token = access(&active);
        let with = |change: &dyn Fn(&mut Grant)| {
            let mut grant = active.clone();
            change(&mut grant);
            over(present(&snapshot(&grant), &token))
        };

        use crate::grant::EndReason::Revoked;
        let ended = GrantOverError::Ended;
        assert_eq!(with(&|grant| grant.state = GrantState::Code), ended);
        assert_eq!(
            with(&|grant| grant.state = GrantState::Ended(Revoked)),
            ended
        );
        assert_eq!(with(&|grant| grant.idle_until = at(1)), ended);
        assert_eq!(with(&|grant| grant.ends_at = Some(at(1))), ended);
        assert_eq!(with(&|grant| grant.id = GrantId::random()), ended);
    }

    #[test]
    fn a_grant_never_has_more_rights_than_its_key() {
        let grant = of_key();
        let token = access(&grant);
        let with = |key: Key| {
            let snapshot = after(&snapshot(&grant), ChangedRecord::Key(Box::new(key)));
            present(&snapshot, &token)
        };

        let narrowed = caller("laptop", &["other"]);
        assert_eq!(over(with(narrowed)), GrantOverError::NotCovered);
        let mut revoked = caller("laptop", &["notes"]);
        revoked.revoked_at = Some(at(1));
        assert_eq!(over(with(revoked)), GrantOverError::Key);
        let mut expired = caller("laptop", &["notes"]);
        expired.expires_at = Some(at(1));
        assert_eq!(over(with(expired)), GrantOverError::Key);
        let other_kind = worker("laptop", &["notes"]);
        assert_eq!(over(with(other_kind)), GrantOverError::NotCovered);
        assert!(with(caller("laptop", &["*"])).is_ok());
    }

    #[test]
    fn a_blocked_client_has_no_grants() {
        let grant = of_key();
        let blocked = Client {
            blocked_at: Some(at(1)),
            ..client()
        };

        let snapshot = after(&snapshot(&grant), ChangedRecord::Client(Box::new(blocked)));

        let error = over(present(&snapshot, &access(&grant)));
        assert_eq!(error, GrantOverError::ClientBlocked);
    }

    #[test]
    fn grants_end_when_their_id_changes_hands() {
        let grant = of_key();
        let token = access(&grant);
        let before = snapshot(&grant);
        let gone = Key {
            revoked_at: Some(at(1)),
            ..worker("home", &["notes"])
        };

        // To the keys with `*`, of which the bootstrap key is one.
        let mut bootstrap = after(&before, ChangedRecord::Key(Box::new(gone.clone())));
        let [epoch] = &bootstrap.begin_epochs(at(1))[..] else {
            panic!("one id has changed hands");
        };
        assert_eq!(epoch.number, 2);
        assert_eq!(over(present(&bootstrap, &token)), GrantOverError::Epoch);
        assert_eq!(bootstrap.begin_epochs(at(1)), [], "it has begun");
        assert_eq!(bootstrap.epoch(&id("notes"), at(1)).number, 2);

        // A key that joins changes nothing; when the first one is gone, the id has changed hands.
        let other = worker("other", &["notes"]);
        let mut joined = after(&before, ChangedRecord::Key(Box::new(other)));
        assert_eq!(joined.begin_epochs(at(1)), []);
        assert!(present(&joined, &token).is_ok());
        let mut taken = after(&joined, ChangedRecord::Key(Box::new(gone)));
        assert_eq!(taken.begin_epochs(at(1)).len(), 1);
        assert_eq!(over(present(&taken, &token)), GrantOverError::Epoch);
    }

    #[test]
    fn a_key_with_a_more_exact_pattern_takes_an_id_over() {
        let grant = of_key();
        let records = Records {
            keys: vec![caller("laptop", &["*"]), worker("home", &["note*"])],
            grants: vec![grant.clone()],
            ..Records::default()
        };
        let start = Snapshot::new(&Records::default(), AccessMode::SignIn, records);
        let first = start.epoch(&id("notes"), at(0));
        assert_eq!(first.served_by, BTreeSet::from(["home".to_owned()]));
        let known = after(&start, ChangedRecord::Epoch(first));

        let exact = worker("exact", &["notes"]);
        let mut taken = after(&known, ChangedRecord::Key(Box::new(exact)));

        assert_eq!(taken.begin_epochs(at(1))[0].number, 2);
        let star = start.epoch(&id("other"), at(0)).served_by;
        assert_eq!(star, BTreeSet::from([Epoch::BOOTSTRAP.to_owned()]));
    }

    #[test]
    fn an_expired_worker_key_hands_its_ids_on() {
        let grant = of_key();
        let brief = Key {
            expires_at: Some(at(10)),
            ..worker("home", &["notes"])
        };
        let mut snapshot = after(&snapshot(&grant), ChangedRecord::Key(Box::new(brief)));

        assert_eq!(snapshot.begin_epochs(at(9)), []);
        assert_eq!(snapshot.begin_epochs(at(10)).len(), 1);
    }

    #[test]
    fn a_step_of_a_grant_that_is_over_is_not_taken() {
        use crate::grant::Refresh;

        let grant = of_key();
        let step = TokenStep::Refresh(Refresh {
            grant: grant.id,
            turn: 0,
            client: grant.client.clone(),
            resource: None,
            scope: None,
        });
        let narrowed = ChangedRecord::Key(Box::new(caller("laptop", &["other"])));
        let before = snapshot(&grant);

        assert_eq!(before.check_step(&step, at(1)), Ok(()));
        let after = after(&before, narrowed);
        assert_eq!(after.check_step(&step, at(1)), Err(GrantError::Ended));
    }

    #[test]
    fn a_change_copies_one_part_of_the_grants() {
        let grant = of_key();
        let before = snapshot(&grant);
        let other = of_key();

        let next = after(&before, ChangedRecord::Grant(Box::new(other.clone())));

        let parts = before.oauth.grants.0.iter().zip(&next.oauth.grants.0);
        let copied = parts.filter(|(one, other)| !Arc::ptr_eq(one, other));
        assert_eq!(copied.count(), 1);
        assert!(next.grant(&other.id).is_some() && before.grant(&other.id).is_none());
        assert!(next.shares_keys_with(&before));
        assert_eq!(next.grants().count(), 2);
    }
}
