//! The rules for claims: a relay with several ids gets all or none, and each of them by the rules
//! for one.

use std::sync::Arc;
use std::time::Duration;

use axum::http::{Request, Response};
use bytes::Bytes;
use http_body_util::Empty;
use llamapool_limits::network_of;
use llamapool_tunnel::{IncomingBody, ServerEnd, TunnelConfig, serve_relay_end};
use llamapool_wire::{DisplayName, InstanceId, Offer, Refusal, Secret};
use tokio::io::DuplexStream;
use tokio::task::JoinSet;

use super::*;
use crate::auth::{Keys, RelayKind};
use crate::data_dir::{DataDirConfig, ServerData};
use crate::directory::RelayTunnel;
use crate::relays::registration::Registration;

/// The time for holders to answer a ping in these tests, in which time is paused.
const PATIENCE: Duration = Duration::from_secs(2);

/// How long ids are kept in these tests.
const KEEP: Duration = Duration::from_secs(3600);

fn registry(max_relays: usize) -> Registry {
    let data = ServerData::open(&DataDirConfig::None, &Keys::default()).unwrap();
    let records = HolderRecords::open(&data, KEEP).unwrap();
    Registry::new(Directory::new(0), max_relays, records, Metrics::new())
}

fn network(last: u8) -> Network {
    network_of([192, 0, 2, last].into())
}

fn relay(ids: &[&str]) -> RelayIdentity {
    RelayIdentity {
        kind: RelayKind::Mcp,
        ids: ids
            .iter()
            .map(|id| (!id.is_empty()).then(|| id.parse().unwrap()))
            .collect(),
        name: DisplayName::default(),
        version: DisplayName::default(),
        build_sha: DisplayName::default(),
        build_date: DisplayName::default(),
        instance: InstanceId::random(),
        secret: None,
        key: None,
        network: network(1),
    }
}

fn names(reservations: &Reservations) -> Vec<&str> {
    reservations.ids().map(RelayId::as_str).collect()
}

/// Returns the number of members of every id.
fn members(registry: &Registry) -> Vec<usize> {
    let listings = registry.directory.listings();
    listings
        .iter()
        .map(|listing| listing.members.len())
        .collect()
}

async fn granted(registry: &Registry, relay: RelayIdentity) -> Reservations {
    registry.claim(relay, PATIENCE).await.unwrap()
}

async fn refused(registry: &Registry, relay: RelayIdentity) -> RelayRefusedError {
    registry
        .claim(relay, PATIENCE)
        .await
        .map(|reservations| names(&reservations).join(" "))
        .unwrap_err()
}

/// Registered relays, until this is dropped.
#[derive(Default)]
struct Holders {
    tasks: JoinSet<()>,
    registrations: Vec<Registration>,
    sockets: Vec<DuplexStream>,
}

impl Holders {
    /// Registers a relay that answers pings.
    async fn live(&mut self, reservations: Reservations) {
        let far = self.register(reservations).await;
        let handler = async |_: Request<IncomingBody>| Response::new(Empty::<Bytes>::new());
        let handler = move |request| {
            Box::pin(handler(request)) as futures_util::future::BoxFuture<'static, _>
        };
        self.tasks.spawn(async move {
            let config = TunnelConfig::default();
            serve_relay_end(far, config, handler, std::future::pending()).await;
        });
    }

    /// Registers a relay that is silent.
    async fn dead(&mut self, reservations: Reservations) {
        let far = self.register(reservations).await;
        self.sockets.push(far);
    }

    async fn register(&mut self, reservations: Reservations) -> DuplexStream {
        let (near, far) = tokio::io::duplex(1 << 16);
        let forever = Duration::from_secs(3600);
        let config = TunnelConfig {
            heartbeat: forever,
            silence: 2 * forever,
            ..TunnelConfig::default()
        };
        let (end, driver) = ServerEnd::open(near, config);
        self.tasks.spawn(async move { drop(driver.await) });

        let remote = ([127, 0, 0, 1], 1).into();
        let tunnel = Arc::new(RelayTunnel::new(end, remote, reservations.len()));
        let offers = std::iter::repeat_with(Offer::default);
        self.registrations
            .extend(reservations.register(&tunnel, offers));
        far
    }
}

/// The reservations are in the order of the relay; the server assigns the ids that are left to it.
#[tokio::test]
async fn each_id_gets_a_reservation_in_order() {
    let registry = registry(10);

    let reservations = granted(&registry, relay(&["b", "", "a", ""])).await;

    let names = names(&reservations);
    assert_eq!((names.len(), names[0], names[2]), (4, "b", "a"));
    assert!(
        names[1].len() == 32 && names[3].len() == 32 && names[1] != names[3],
        "{names:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_relay_of_which_one_id_is_taken_gets_none() {
    let registry = registry(3);
    let mut holders = Holders::default();
    let reserved = granted(&registry, relay(&["reserved"])).await;
    holders
        .live(granted(&registry, relay(&["live"])).await)
        .await;

    for taken in ["reserved", "live"] {
        let error = refused(&registry, relay(&["free", taken])).await;
        assert_eq!(error.refusal, Refusal::IdTaken);
        let expected = format!("the id {taken} is held by another relay that is alive");
        assert!(error.message.starts_with(&expected), "{error}");

        let reservations = granted(&registry, relay(&["free"])).await;
        assert_eq!(names(&reservations), ["free"]);
    }

    drop(reserved);
    let reservations = granted(&registry, relay(&["free", "reserved"])).await;
    assert_eq!(reservations.len(), 2);
}

/// All of them must be silent before one loses its id.
#[tokio::test(start_paused = true)]
async fn holders_are_pinged_at_the_same_time() {
    let registry = registry(10);
    let mut holders = Holders::default();
    for id in ["a", "b", "c"] {
        holders.dead(granted(&registry, relay(&[id])).await).await;
    }
    holders
        .live(granted(&registry, relay(&["live"])).await)
        .await;
    let a = "a".parse().unwrap();

    let error = refused(&registry, relay(&["a", "b", "live"])).await;
    assert!(error.message.starts_with("the id live is held"), "{error}");
    assert!(registry.directory.find(&a).is_some());

    let began = tokio::time::Instant::now();
    let reservations = granted(&registry, relay(&["a", "b", "c"])).await;
    assert_eq!(names(&reservations), ["a", "b", "c"]);
    assert_eq!(began.elapsed(), PATIENCE);
    assert!(registry.directory.find(&a).is_none());
}

/// A relay that comes again needs no more room.
#[tokio::test]
async fn every_id_counts_as_a_relay() {
    let registry = registry(3);
    let error = refused(&registry, relay(&["a", "b", "c", "d"])).await;
    assert_eq!(error.refusal, Refusal::TooManyRelays);
    assert_eq!(
        error.message,
        "the server holds 0 relays and this one has 4 ids, each of which counts as one; MAX_RELAYS is 3"
    );

    let mut holders = Holders::default();
    let first = relay(&["a", "b", "c"]);
    let instance = first.instance.clone();
    holders.live(granted(&registry, first).await).await;
    let again = |ids: &[&str]| RelayIdentity {
        instance: instance.clone(),
        ..relay(ids)
    };

    assert_eq!(
        refused(&registry, relay(&["d"])).await.message,
        "the server holds 3 relays, as many as MAX_RELAYS allows"
    );
    assert_eq!(
        refused(&registry, again(&["a", "d"])).await.refusal,
        Refusal::TooManyRelays
    );

    holders
        .live(granted(&registry, again(&["a", "b", "c"])).await)
        .await;
    assert_eq!(members(&registry), [1, 1, 1]);

    drop(holders);
    assert!(members(&registry).is_empty());
    let reservations = granted(&registry, relay(&["d", "e", "f"])).await;
    assert_eq!(reservations.len(), 3);
}

#[tokio::test(start_paused = true)]
async fn a_secret_shares_the_ids_that_its_relays_have_in_common() {
    let registry = registry(10);
    let with_secret = |ids: &[&str]| RelayIdentity {
        secret: Some(Secret::new("ours")),
        ..relay(ids)
    };

    let mut holders = Holders::default();
    holders
        .live(granted(&registry, with_secret(&["a", "b"])).await)
        .await;
    holders
        .live(granted(&registry, with_secret(&["b", "c"])).await)
        .await;

    assert_eq!(members(&registry), [1, 2, 1]);
    let error = refused(&registry, relay(&["c", "d"])).await;
    assert!(error.message.starts_with("the id c is kept"), "{error}");
}

/// Its holder stalls, or is away: a stranger waits, whatever it presents.
#[tokio::test(start_paused = true)]
async fn an_id_is_kept_for_relays_with_its_secret() {
    let registry = registry(10);
    let with_secret = |secret: &str| RelayIdentity {
        secret: Some(Secret::new(secret)),
        ..relay(&["a"])
    };
    let mut holders = Holders::default();
    holders
        .dead(granted(&registry, with_secret("ours")).await)
        .await;

    for stranger in [relay(&["a"]), with_secret("theirs")] {
        let error = refused(&registry, stranger).await;
        assert_eq!(error.refusal, Refusal::IdKept);
        let expected = "the id a is kept for relays with the CLIENT_SECRET that it was held with";
        assert!(error.message.starts_with(expected), "{error}");
        assert_eq!(members(&registry), [1], "the silent one has lost nothing");
    }

    drop(holders);
    let error = refused(&registry, relay(&["a"])).await;
    assert_eq!(error.refusal, Refusal::IdKept);
    let reservations = granted(&registry, with_secret("ours")).await;
    assert_eq!(names(&reservations), ["a"]);
}

/// It is not enough to have asked for the id.
#[tokio::test(start_paused = true)]
async fn a_reservation_alone_keeps_no_id() {
    let registry = registry(10);
    let squatter = RelayIdentity {
        secret: Some(Secret::new("theirs")),
        ..relay(&["a"])
    };

    drop(granted(&registry, squatter).await);

    assert_eq!(names(&granted(&registry, relay(&["a"])).await), ["a"]);
}

#[tokio::test]
async fn a_change_of_the_holder_is_counted_by_its_network() {
    let registry = registry(10);
    let count = |network: &str| {
        let families = registry.metrics.gather();
        let family = families
            .iter()
            .find(|family| family.name() == "llamapool_id_holder_changes_total");
        let metrics = family.map(|family| family.get_metric()).unwrap_or_default();
        let of_network = metrics
            .iter()
            .find(|metric| metric.get_label()[0].value() == network);
        of_network.map_or(0.0, |metric| metric.get_counter().get_value())
    };
    let hold = async |relay: RelayIdentity| {
        let mut holders = Holders::default();
        holders.live(granted(&registry, relay).await).await;
    };

    let first = relay(&["a"]);
    let instance = first.instance.clone();
    hold(first).await;
    hold(RelayIdentity {
        instance,
        ..relay(&["a"])
    })
    .await;
    assert_eq!((count("same"), count("other")), (0.0, 0.0));

    hold(relay(&["a"])).await;
    assert_eq!((count("same"), count("other")), (1.0, 0.0));
    let shared = |last: u8| RelayIdentity {
        secret: Some(Secret::new("ours")),
        network: network(last),
        ..relay(&["a"])
    };
    hold(shared(2)).await;
    assert_eq!((count("same"), count("other")), (1.0, 1.0));
    hold(shared(3)).await;
    assert_eq!((count("same"), count("other")), (1.0, 1.0));
}

/// The rest is for other addresses.
#[tokio::test]
async fn one_network_does_not_get_all_places() {
    let registry = registry(9);
    let mut got = Vec::new();
    let refusal = loop {
        let id = format!("greedy-{}", got.len());
        match registry.claim(relay(&[&id]), PATIENCE).await {
            Ok(reservations) => got.push(reservations),
            Err(error) => break error,
        }
    };

    assert_eq!(got.len(), 8);
    assert_eq!(refusal.refusal, Refusal::TooManyRelays);
    assert_eq!(
        refusal.message,
        "8 relays are connected from this address, which is its share of MAX_RELAYS (9); end some of them, or raise MAX_RELAYS"
    );
    let other = RelayIdentity {
        network: network(2),
        ..relay(&["other"])
    };
    assert_eq!(names(&granted(&registry, other).await), ["other"]);
}

/// Upgrades without a first offer hold no place that a relay needs.
#[tokio::test(start_paused = true)]
async fn a_claim_without_an_offer_gives_way_when_all_is_full() {
    let registry = registry(2);
    let mut tasks = JoinSet::new();
    for id in ["mute-1", "mute-2"] {
        let reservations = granted(&registry, relay(&[id])).await;
        tasks.spawn(async move { reservations.revoked().await });
    }
    let new = RelayIdentity {
        network: network(2),
        ..relay(&["new"])
    };
    let again = RelayIdentity {
        instance: new.instance.clone(),
        ..relay(&["new"])
    };
    assert_eq!(
        refused(&registry, new).await.refusal,
        Refusal::TooManyRelays,
        "their first offers may be on the way"
    );

    tokio::time::sleep(Duration::from_secs(1)).await;

    assert_eq!(names(&granted(&registry, again).await), ["new"]);
}
