//! Who gets which ids: a relay with several of them gets all or none, and each of them by the rules for one.

use std::sync::Arc;
use std::time::Duration;

use axum::http::{Request, Response};
use bytes::Bytes;
use http_body_util::Empty;
use llamapool_tunnel::{IncomingBody, ServerEnd, TunnelConfig, serve_relay_end};
use llamapool_wire::{DisplayName, InstanceId, Offer, Refusal, Secret};
use tokio::io::DuplexStream;
use tokio::task::JoinSet;

use super::*;

/// How long holders are waited for in these tests; time is paused in them.
const PATIENCE: Duration = Duration::from_secs(2);

fn relay(ids: &[&str]) -> RelayIdentity {
    RelayIdentity {
        ids: ids
            .iter()
            .map(|id| (!id.is_empty()).then(|| id.parse().unwrap()))
            .collect(),
        name: DisplayName::default(),
        version: DisplayName::default(),
        instance: InstanceId::random(),
        secret: None,
    }
}

fn names(seats: &[Seat]) -> Vec<&str> {
    seats.iter().map(|seat| seat.id().as_str()).collect()
}

async fn refused(registry: &Registry, ids: &[&str]) -> NotARelay {
    registry
        .claim(relay(ids), PATIENCE)
        .await
        .map(|seats| names(&seats).join(" "))
        .unwrap_err()
}

/// Relays that have said hello, until this is dropped.
#[derive(Default)]
struct Holders {
    tasks: JoinSet<()>,
    members: Vec<Membership>,
    wires: Vec<DuplexStream>,
}

impl Holders {
    /// One that holds these seats and shows life.
    async fn live(&mut self, seats: Vec<Seat>) {
        let far = self.enter(seats).await;
        let handler = async |_: Request<IncomingBody>| Response::new(Empty::<Bytes>::new());
        let handler = move |request| {
            Box::pin(handler(request)) as futures_util::future::BoxFuture<'static, _>
        };
        self.tasks.spawn(async move {
            serve_relay_end(
                far,
                TunnelConfig::default(),
                handler,
                std::future::pending(),
            )
            .await;
        });
    }

    /// One that holds these seats and is never heard again.
    async fn dead(&mut self, seats: Vec<Seat>) {
        let far = self.enter(seats).await;
        self.wires.push(far);
    }

    async fn enter(&mut self, seats: Vec<Seat>) -> DuplexStream {
        let (near, far) = tokio::io::duplex(1 << 16);
        let forever = Duration::from_secs(3600);
        let config = TunnelConfig {
            heartbeat: forever,
            silence: 2 * forever,
            ..TunnelConfig::default()
        };
        let (end, driver) = ServerEnd::open(near, config).await;
        self.tasks.spawn(async move { drop(driver.await) });
        let tunnel = Arc::new(RelayTunnel::new(
            end,
            ([127, 0, 0, 1], 1).into(),
            seats.len(),
        ));
        let arrive = |seat: Seat| {
            seat.occupy(Arrival {
                tunnel: tunnel.clone(),
                offer: Offer::default(),
            })
        };
        self.members.extend(seats.into_iter().map(arrive));
        far
    }
}

#[tokio::test]
async fn each_id_gets_a_seat_in_the_order_of_the_relay_and_the_server_assigns_those_that_are_left_to_it()
 {
    let registry = Registry::new(10);
    let seats = registry
        .claim(relay(&["b", "", "a", ""]), PATIENCE)
        .await
        .unwrap();
    let names = names(&seats);
    assert_eq!((names.len(), names[0], names[2]), (4, "b", "a"));
    assert!(
        names[1].len() == 32 && names[3].len() == 32 && names[1] != names[3],
        "{names:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_relay_of_which_one_id_is_taken_gets_none_of_them() {
    let registry = Registry::new(3);
    let mut holders = Holders::default();
    let arriving = registry
        .claim(relay(&["arriving"]), PATIENCE)
        .await
        .unwrap();
    holders
        .live(registry.claim(relay(&["live"]), PATIENCE).await.unwrap())
        .await;
    for taken in ["arriving", "live"] {
        let (refusal, message) = refused(&registry, &["free", taken]).await;
        assert_eq!(refusal, Refusal::IdTaken);
        assert!(
            message.starts_with(&format!(
                "the id {taken} is held by another relay that is alive"
            )),
            "{message}"
        );
        let seats = registry.claim(relay(&["free"]), PATIENCE).await.unwrap();
        assert_eq!(names(&seats), ["free"]);
    }
    drop(arriving);
    assert_eq!(
        registry
            .claim(relay(&["free", "arriving"]), PATIENCE)
            .await
            .unwrap()
            .len(),
        2
    );
}

#[tokio::test(start_paused = true)]
async fn holders_are_asked_at_the_same_time_and_all_of_them_must_be_silent_before_one_loses_its_id()
{
    let registry = Registry::new(10);
    let mut holders = Holders::default();
    for id in ["a", "b", "c"] {
        holders
            .dead(registry.claim(relay(&[id]), PATIENCE).await.unwrap())
            .await;
    }
    holders
        .live(registry.claim(relay(&["live"]), PATIENCE).await.unwrap())
        .await;
    let (_, message) = refused(&registry, &["a", "b", "live"]).await;
    assert!(message.starts_with("the id live is held"), "{message}");
    assert!(registry.find(&"a".parse().unwrap()).is_some());
    let began = tokio::time::Instant::now();
    let seats = registry
        .claim(relay(&["a", "b", "c"]), PATIENCE)
        .await
        .unwrap();
    assert_eq!(
        (names(&seats).join(" "), began.elapsed()),
        ("a b c".to_owned(), PATIENCE)
    );
    assert!(registry.find(&"a".parse().unwrap()).is_none());
}

#[tokio::test]
async fn every_id_counts_as_a_relay_and_one_that_comes_again_needs_no_more_room() {
    let registry = Registry::new(3);
    let (refusal, message) = refused(&registry, &["a", "b", "c", "d"]).await;
    assert_eq!(refusal, Refusal::TooManyRelays);
    let said = "the server holds 0 relays and this one has 4 ids, each of which counts as one; MAX_RELAYS is 3";
    assert_eq!(message, said);
    let mut holders = Holders::default();
    let again = relay(&["a", "b", "c"]);
    let instance = again.instance.clone();
    holders
        .live(registry.claim(again, PATIENCE).await.unwrap())
        .await;
    assert_eq!(
        refused(&registry, &["d"]).await.1,
        "the server holds 3 relays, as many as MAX_RELAYS allows"
    );
    let same = |ids: &[&str]| RelayIdentity {
        instance: instance.clone(),
        ..relay(ids)
    };
    assert_eq!(
        registry
            .claim(same(&["a", "d"]), PATIENCE)
            .await
            .map(|_| ())
            .unwrap_err()
            .0,
        Refusal::TooManyRelays
    );
    let seats = registry
        .claim(same(&["a", "b", "c"]), PATIENCE)
        .await
        .unwrap();
    holders.live(seats).await;
    assert_eq!(
        registry
            .clients()
            .iter()
            .map(|client| client.relays.len())
            .collect::<Vec<_>>(),
        [1, 1, 1]
    );
    drop(holders);
    assert!(registry.clients().is_empty());
    assert_eq!(
        registry
            .claim(relay(&["d", "e", "f"]), PATIENCE)
            .await
            .unwrap()
            .len(),
        3
    );
}

#[tokio::test(start_paused = true)]
async fn a_secret_shares_those_ids_that_its_relays_have_in_common() {
    let registry = Registry::new(10);
    let secret = |ids: &[&str]| RelayIdentity {
        secret: Some(Secret::new("ours")),
        ..relay(ids)
    };
    let mut holders = Holders::default();
    holders
        .live(registry.claim(secret(&["a", "b"]), PATIENCE).await.unwrap())
        .await;
    holders
        .live(registry.claim(secret(&["b", "c"]), PATIENCE).await.unwrap())
        .await;
    let relays = registry
        .clients()
        .iter()
        .map(|client| client.relays.len())
        .collect::<Vec<_>>();
    assert_eq!(relays, [1, 2, 1]);
    assert!(
        refused(&registry, &["c", "d"])
            .await
            .1
            .starts_with("the id c is held")
    );
}
