//! Keys and rules of access that the settings declare, replaced while the server runs.

use futures_util::StreamExt;
use llamapool_identity::{
    AccessMode, AccessRule, CallerRights, Key, KeyText, Records, Rights, digest_of,
};
use llamapool_server::{AccessReloadError, DataDirConfig, IdentityConfig};
use llamapool_testkit::{Pool, Provider, ScriptedProvider, soon, tools_call};

use super::identity::{Place, Running};

const LAPTOP: &str = "a key of the laptop, which the settings declare";
const SERVICE: &str = "a key of the service, which the settings declare";

/// A declared key for an id, or the beginning of ids.
fn declared(name: &str, secret: &str, ids: &str) -> Key {
    let rights = Rights::Caller(CallerRights {
        ids: vec![ids.parse().unwrap()],
        ..CallerRights::default()
    });
    Key::declared(name, rights, digest_of(secret.as_bytes())).unwrap()
}

/// Settings of a server whose ids ask for keys.
fn settings(keys: impl Into<Vec<Key>>) -> IdentityConfig {
    IdentityConfig {
        declared: Records {
            keys: keys.into(),
            ..Records::default()
        },
        default_access: AccessMode::Keys,
    }
}

#[tokio::test]
async fn what_runs_by_a_key_ends_when_the_settings_have_it_no_more() {
    let place = Place::start().await;
    let mut provider = ScriptedProvider::start().await;
    let _relay = place.pool.relay("notes", &provider.url).await;
    let stored = place.caller_key(&["notes"]).await;
    let laptop = declared("laptop", LAPTOP, "*");
    let service = declared("service", SERVICE, "*");

    let added = place.pool.access().replace(settings([laptop, service]));
    let added = added.await.unwrap();
    assert_eq!(added.keys_added, ["settings-laptop", "settings-service"]);
    assert_eq!(added.ended, 0);

    let mut running = Vec::new();
    for key in [LAPTOP, SERVICE, stored.expose()] {
        let request = place.pool.http.post(place.pool.mcp("notes"));
        let request = request.header("accept", "text/event-stream");
        let request = request.bearer_auth(key).json(&tools_call(1, "scripted"));
        running.push(Running::begin(request, &mut provider).await);
    }

    // The service keeps its key, with other rights for what comes; the laptop loses its own.
    let service = declared("service", SERVICE, "notes");
    let changed = place.pool.access().replace(settings([service.clone()]));
    let changed = changed.await.unwrap();

    assert_eq!(changed.keys_removed, ["settings-laptop"]);
    assert_eq!(changed.keys_changed, ["settings-service"]);
    assert_eq!(changed.ended, 2);
    let mut kept = running.pop().unwrap();
    for call in &mut running {
        let broken = soon("the stream is reset", call.body.next()).await;
        assert!(broken.is_some_and(|end| end.is_err()), "no clean end");
    }
    kept.send("data: 2\n\n").await;
    assert_eq!(kept.next().await, "data: 2\n\n");
    assert_eq!(place.call("other", Some(LAPTOP)).await.0, 401);
    assert_eq!(place.call("other", Some(SERVICE)).await.0, 403);

    // A secret that is replaced there is one that is not to be used any more.
    let request = place.pool.http.post(place.pool.mcp("notes"));
    let request = request.header("accept", "text/event-stream");
    let request = request
        .bearer_auth(SERVICE)
        .json(&tools_call(1, "scripted"));
    let mut last = Running::begin(request, &mut provider).await;
    let service = declared("service", LAPTOP, "notes");
    let replaced = place.pool.access().replace(settings([service.clone()]));
    assert_eq!(replaced.await.unwrap().ended, 1);
    let broken = soon("the stream is reset", last.body.next()).await;
    assert!(broken.is_some_and(|end| end.is_err()), "no clean end");

    let same = place.pool.access().replace(settings([service])).await;
    assert!(same.unwrap().is_empty());
}

#[tokio::test]
async fn rules_of_access_and_their_default_are_replaced() {
    let pool = Pool::with(|server| server.data_dir = DataDirConfig::None).await;
    let provider = Provider::echoing().await;
    let _notes = pool.relay("notes", &provider.url).await;
    let _public = pool.relay("public", &provider.url).await;
    let status = async |id: &str| {
        let request = pool
            .http
            .post(pool.mcp(id))
            .json(&tools_call(1, "scripted"));
        request.send().await.unwrap().status().as_u16()
    };
    assert_eq!(status("notes").await, 200);

    let mut config = settings([]);
    let rule = AccessRule::new("public".parse().unwrap(), AccessMode::Open);
    config.declared.access.push(rule);
    let changes = pool.access().replace(config).await.unwrap();

    assert_eq!(changes.rules, ["default", "public"]);
    assert_eq!([status("notes").await, status("public").await], [401, 200]);
    let modes = [("public", AccessMode::Open), ("*", AccessMode::Keys)];
    assert_eq!(
        pool.access().access(),
        modes.map(|(ids, mode)| (ids.to_owned(), mode))
    );

    let changes = pool.access().replace(IdentityConfig::default()).await;
    assert_eq!(changes.unwrap().rules, ["default", "public"]);
    assert_eq!(status("notes").await, 200);
}

#[tokio::test]
async fn a_declared_key_that_the_store_has_changes_nothing() {
    let place = Place::start().await;
    let provider = Provider::echoing().await;
    let _relay = place.pool.relay("notes", &provider.url).await;
    let stored = place.caller_key(&["notes"]).await;
    let laptop = declared("laptop", LAPTOP, "*");
    let before = place.pool.access().replace(settings([laptop.clone()]));
    before.await.unwrap();

    let copy = declared("copy", stored.expose(), "*");
    let refused = place.pool.access().replace(settings([copy, laptop])).await;

    let error = refused.unwrap_err();
    assert!(matches!(error, AccessReloadError::Twice(_)), "{error}");
    let text = error.to_string();
    assert!(text.contains("copy") && text.contains(stored.id().as_str()));
    assert!(!text.contains(stored.expose()));
    for key in [LAPTOP, stored.expose()] {
        assert_eq!(place.call("notes", Some(key)).await.0, 200);
    }
}

/// Neither undoes what the other has published.
#[tokio::test]
async fn changes_of_the_store_and_of_the_settings_pass_each_other() {
    const ROUNDS: usize = 20;

    let place = Place::start().await;
    let provider = Provider::echoing().await;
    let _relay = place.pool.relay("notes", &provider.url).await;

    let settings_change = async {
        for round in 0..ROUNDS {
            let secret = format!("{LAPTOP} {round}");
            let keys = [declared("laptop", &secret, "*")];
            place.pool.access().replace(settings(keys)).await.unwrap();
        }
    };
    let store_changes = async {
        let mut keys: Vec<KeyText> = Vec::new();
        for _ in 0..ROUNDS {
            keys.push(place.caller_key(&["notes"]).await);
        }
        keys
    };
    let ((), keys) = tokio::join!(settings_change, store_changes);

    for key in &keys {
        assert_eq!(place.call("notes", Some(key.expose())).await.0, 200);
    }
    let last = format!("{LAPTOP} {}", ROUNDS - 1);
    assert_eq!(place.call("notes", Some(&last)).await.0, 200);
    let former = format!("{LAPTOP} {}", ROUNDS - 2);
    assert_eq!(place.call("notes", Some(&former)).await.0, 401);
}
