//! Limits with paused time: rates, numbers, quotas, addresses.

use std::net::Ipv4Addr;

use llamapool_identity::{CallerRights, Key, KeyOrigin, Limits, Records, Rights};

use llamapool_limits::network_of;

use super::*;
use crate::identity::{Identity, IdentityConfig};

/// Returns the holder of a key with limits.
fn holder(name: &str, limits: Limits) -> Arc<KeyHolder> {
    let key = Key {
        id: name.parse().unwrap(),
        name: name.to_owned(),
        rights: Rights::Caller(CallerRights {
            limits: Box::new(limits),
            ..CallerRights::default()
        }),
        origin: KeyOrigin::Stored,
        created_at: SystemTime::UNIX_EPOCH,
        expires_at: None,
        revoked_at: None,
        last_used_at: None,
        secrets: Vec::new(),
    };
    let id = key.id.clone();
    let stored = Records {
        keys: vec![key],
        ..Records::default()
    };
    let identity = Identity::new(IdentityConfig::default(), stored);
    identity.published().holder(&id).unwrap()
}

fn of_a_key(rate: &str) -> Limits {
    Limits {
        rate: Some(rate.parse().unwrap()),
        ..Limits::default()
    }
}

/// Calls of one key to ids with limits.
struct Calls {
    limiter: Limiter,
    limits: AccessLimits,
}

impl Calls {
    fn new(limits: AccessLimits) -> Self {
        Self {
            limiter: Limiter::default(),
            limits,
        }
    }

    fn begin(&self, key: Option<&KeyHolder>, id: &str) -> Result<LimitedCall, LimitError> {
        self.ask(key, id, false)
    }

    fn listen(&self, key: &KeyHolder, id: &str) -> Result<LimitedCall, LimitError> {
        self.ask(Some(key), id, true)
    }

    fn ask(
        &self,
        key: Option<&KeyHolder>,
        id: &str,
        only_listens: bool,
    ) -> Result<LimitedCall, LimitError> {
        self.limiter.begin(&LimitedRequest {
            id: Some(&id.parse().unwrap()),
            key,
            limits: Some(&self.limits),
            only_listens,
            now: SystemTime::now(),
        })
    }
}

fn too_fast(error: LimitError) -> (LimitOf, Duration) {
    match error {
        LimitError::Rate { of, wait, .. } => (of, wait),
        other => panic!("{other:?}"),
    }
}

#[tokio::test(start_paused = true)]
async fn a_key_has_one_rate_at_all_ids() {
    let calls = Calls::new(AccessLimits::default());
    let key = holder("a", of_a_key("2/min"));
    let other = holder("b", of_a_key("2/min"));

    assert!(calls.begin(Some(&key), "notes").is_ok());
    assert!(calls.begin(Some(&key), "wiki").is_ok());
    let refused = calls.begin(Some(&key), "notes").unwrap_err();
    assert_eq!(too_fast(refused), (LimitOf::Key, Duration::from_secs(30)));
    assert!(calls.begin(Some(&other), "notes").is_ok());

    tokio::time::advance(Duration::from_secs(30)).await;
    assert!(calls.begin(Some(&key), "notes").is_ok());
    assert!(calls.begin(Some(&key), "notes").is_err());
}

#[tokio::test(start_paused = true)]
async fn an_id_has_a_rate_for_all_and_one_for_each_key() {
    let calls = Calls::new(AccessLimits {
        rate: Some("3/min".parse().unwrap()),
        rate_per_key: Some("2/min".parse().unwrap()),
        ..AccessLimits::default()
    });
    let [a, b] = ["a", "b"].map(|name| holder(name, Limits::default()));

    for _ in 0..2 {
        assert!(calls.begin(Some(&a), "notes").is_ok());
    }
    let of_key = calls.begin(Some(&a), "notes").unwrap_err();
    assert_eq!(too_fast(of_key).0, LimitOf::KeyAtId);
    assert!(calls.begin(Some(&b), "notes").is_ok());
    let of_id = calls.begin(Some(&b), "notes").unwrap_err();
    assert_eq!(too_fast(of_id), (LimitOf::Id, Duration::from_secs(20)));

    assert!(calls.begin(Some(&a), "wiki").is_ok(), "each id has its own");
    assert!(calls.begin(None, "clock").is_ok(), "also without a key");
}

#[tokio::test(start_paused = true)]
async fn a_key_beyond_its_limits_takes_nothing_from_others() {
    let calls = Calls::new(AccessLimits {
        rate: Some("3/min".parse().unwrap()),
        ..AccessLimits::default()
    });
    let greedy = holder("a", of_a_key("1/min"));
    let modest = holder("b", Limits::default());

    for _ in 0..100 {
        let _ = calls.begin(Some(&greedy), "notes");
    }

    for _ in 0..2 {
        assert!(calls.begin(Some(&modest), "notes").is_ok());
    }
    assert!(calls.begin(Some(&modest), "notes").is_err());
}

#[tokio::test]
async fn calls_count_until_their_end_and_streams_apart() {
    let calls = Calls::new(AccessLimits {
        concurrency: Some(2),
        ..AccessLimits::default()
    });
    let key = holder(
        "a",
        Limits {
            concurrency: Some(1),
            streams: Some(2),
            ..Limits::default()
        },
    );

    let running = calls.begin(Some(&key), "notes").unwrap();
    let of = LimitOf::Key;
    let refused = calls.begin(Some(&key), "wiki").unwrap_err();
    assert_eq!(refused, LimitError::Running { of, most: 1 });
    let streams = [calls.listen(&key, "notes"), calls.listen(&key, "notes")];
    assert!(streams.iter().all(Result::is_ok));
    let refused = calls.listen(&key, "notes").unwrap_err();
    assert_eq!(refused, LimitError::Streams { most: 2 });
    assert!(calls.listen(&key, "wiki").is_ok(), "each id has its own");

    let others = calls.begin(None, "notes").unwrap();
    let of = LimitOf::Id;
    let refused = calls.begin(None, "notes").unwrap_err();
    assert_eq!(refused, LimitError::Running { of, most: 2 });

    running.end(Usage::default());
    drop((others, streams));
    assert!(calls.begin(Some(&key), "notes").is_ok());
    assert!(calls.listen(&key, "notes").is_ok());
}

#[tokio::test]
async fn a_refused_call_uses_no_quota() {
    let calls = Calls::new(AccessLimits {
        concurrency: Some(0),
        ..AccessLimits::default()
    });
    let quotas = Quotas {
        calls_per_day: Some(1),
        bytes_out_per_month: Some(10),
        ..Quotas::default()
    };
    let key = holder(
        "a",
        Limits {
            quotas,
            ..Limits::default()
        },
    );

    for _ in 0..3 {
        let refused = calls.begin(Some(&key), "notes").unwrap_err();
        assert!(matches!(refused, LimitError::Running { .. }));
    }
    let free = Calls::new(AccessLimits::default());
    let call = free.begin(Some(&key), "notes").unwrap();
    call.end(Usage {
        bytes_out: 10,
        ..Usage::default()
    });

    let refused = free.begin(Some(&key), "notes").unwrap_err();
    let LimitError::Quota(quota) = refused else {
        panic!("{refused:?}");
    };
    assert_eq!(quota.name, "bytes_out_per_month");
    assert_eq!(key.meter().calls.running(), 0);
}

#[tokio::test(start_paused = true)]
async fn wrong_keys_of_an_address_have_an_exact_burst_and_refill() {
    let limiter = Limiter::default();
    let [one, other] = ["192.0.2.1", "192.0.2.2"].map(CallerAddress::of);

    for _ in 0..FAILURE_BURST {
        assert_eq!(limiter.failed(one), None);
    }
    assert_eq!(limiter.failed(one), Some(Duration::from_secs(6)));
    assert_eq!(limiter.failed(other), None);

    tokio::time::advance(Duration::from_millis(5999)).await;
    assert_eq!(limiter.failed(one), Some(Duration::from_millis(1)));
    tokio::time::advance(Duration::from_millis(1)).await;
    assert_eq!(limiter.failed(one), None);
    assert!(limiter.failed(one).is_some());
}

#[tokio::test(start_paused = true)]
async fn a_million_addresses_take_no_more_memory_than_one() {
    let limiter = Limiter::default();
    assert!(limiter.failures.cells.get().is_none());

    let mut refused = 0;
    for number in 0..1_000_000_u32 {
        let network = network_of(Ipv4Addr::from(number).into());
        let address = CallerAddress::Network(network);
        refused += usize::from(limiter.failed(address).is_some());
    }

    let cells = limiter.failures.cells.get().unwrap();
    assert_eq!(std::mem::size_of_val(&**cells), 512 * 1024);
    // 15 addresses a cell, of which each has 20 places.
    assert!(refused < 100_000, "{refused}");
}

#[tokio::test(start_paused = true)]
async fn meters_at_rest_give_way_and_busy_ones_stay() {
    let table = MeterTable::default();
    let owner = |number: usize| Owner::of(&number);
    let busy = table.of(owner(0), 0).begin(None).unwrap();
    for number in 1..MAX_METERS {
        let _ = table.of(owner(number), 0);
    }

    let new = table.of(owner(MAX_METERS), SWEEPS);

    assert!(!Arc::ptr_eq(&new, &table.rest));
    assert_eq!(table.of(owner(0), SWEEPS).running(), 1);
    assert!(table.meters.lock().by_owner.len() <= 3);
    drop(busy);
}

#[tokio::test(start_paused = true)]
async fn busy_meters_beyond_their_number_are_counted_together() {
    let table = MeterTable::default();
    let owner = |number: usize| Owner::of(&number);
    let places: Vec<_> = (0..MAX_METERS)
        .map(|number| table.of(owner(number), 0).begin(None).unwrap())
        .collect();

    let [one, other] = [MAX_METERS, MAX_METERS + 1].map(|it| table.of(owner(it), SWEEPS));

    assert!(Arc::ptr_eq(&one, &other));
    assert_eq!(table.meters.lock().by_owner.len(), MAX_METERS);
    drop(places);
}
