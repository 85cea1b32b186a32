//! Administration with the executable: admin keys by the command line, the API of a process that is
//! killed, and an address of its own.

use serde_json::{Value, json};

use crate::harness::{API_KEY, Pool, Provider, soon, tools_call};
use crate::identity::{Place, id_of};

/// Asks the administration API of a server. Returns status and body.
async fn ask(
    url: &str,
    key: &str,
    (method, path): (&str, &str),
    body: Option<Value>,
) -> (u16, Value) {
    let url = format!("{url}/api/admin/{path}");
    let request = reqwest::Client::new().request(method.parse().unwrap(), url);
    let request = request.bearer_auth(key);
    let request = match body {
        Some(body) => request.json(&body),
        None => request,
    };
    let answer = soon("an answer", request.send()).await.unwrap();
    (answer.status().as_u16(), answer.json().await.unwrap())
}

async fn call(pool: &Pool, id: &str, key: &str) -> u16 {
    let request = pool.http.post(pool.mcp(id)).bearer_auth(key);
    let answer = request.json(&tools_call(1, "echo")).send().await.unwrap();
    answer.status().as_u16()
}

#[tokio::test]
async fn an_admin_key_is_made_used_narrowed_and_revoked() {
    let place = Place::new();
    let pool = place.server().await;
    let made = place.run(&[
        "key",
        "create",
        "admin",
        "--name",
        "ops",
        "--may",
        "keys,state",
    ]);
    let made = made.await;
    assert!(
        made.succeeded && made.notes.contains("created admin key"),
        "{}",
        made.notes
    );
    let key = made.output.trim();
    assert!(key.starts_with("llp_a_"), "an admin key");

    let creation = json!({"name": "laptop", "rights": {"caller": {"ids": ["notes"]}}});
    let (status, caller) = ask(&pool.url, key, ("POST", "keys"), Some(creation)).await;
    assert_eq!(status, 201, "{caller}");
    let shown = place.done(&["key", "list", "--json"]).await;
    assert!(shown.contains(caller["id"].as_str().unwrap()), "{shown}");
    assert_eq!(ask(&pool.url, key, ("GET", "access"), None).await.0, 403);

    place
        .done(&["key", "edit", id_of(key), "--may", "state"])
        .await;
    assert_eq!(ask(&pool.url, key, ("GET", "keys"), None).await.0, 403);
    let state = pool
        .http
        .get(format!("{}/api/state", pool.url))
        .bearer_auth(key);
    assert_eq!(state.send().await.unwrap().status(), 200);
    place.done(&["key", "revoke", id_of(key)]).await;
    let state = pool
        .http
        .get(format!("{}/api/state", pool.url))
        .bearer_auth(key);
    assert_eq!(state.send().await.unwrap().status(), 401);
}

#[tokio::test]
async fn wrong_flags_of_an_admin_key_are_named() {
    let place = Place::new();

    for (flags, named) in [
        (&["--may", "root"][..], "root"),
        (&["--may", ""], "no right"),
        (&["--ids", "notes"], "--ids is for caller and worker keys"),
        (&["--rate", "1/s"], "--rate is for caller keys"),
        (&["--kinds", "mcp"], "--kinds is for worker keys"),
    ] {
        let arguments = [&["key", "create", "admin", "--name", "x"], flags].concat();
        let ran = place.run(&arguments).await;
        assert!(
            !ran.succeeded && ran.notes.contains(named),
            "{flags:?}: {}",
            ran.notes
        );
    }
    let caller = ["key", "create", "caller", "--ids", "a", "--may", "keys"];
    let caller = place.run(&caller).await;
    assert!(
        caller.notes.contains("--may is for admin keys"),
        "{}",
        caller.notes
    );
}

/// What was answered holds, however the process ends.
#[tokio::test]
async fn a_change_that_was_answered_outlives_a_kill() {
    let place = Place::new();
    let mut pool = place.server().await;
    let provider = Provider::echoing().await;
    let creation = |name: &str| {
        let rights = json!({"caller": {"ids": ["notes"]}});
        Some(json!({"name": name, "rights": rights}))
    };
    let (_, kept) = ask(&pool.url, API_KEY, ("POST", "keys"), creation("kept")).await;
    let (_, gone) = ask(&pool.url, API_KEY, ("POST", "keys"), creation("gone")).await;
    let path = format!("keys/{}", gone["id"].as_str().unwrap());

    let (status, _) = ask(&pool.url, API_KEY, ("DELETE", &path), None).await;
    pool.server.kill().await;

    assert_eq!(status, 200);
    drop(pool);
    let pool = place.server().await;
    let _relay = pool.relay("notes", &provider.url).await;
    assert_eq!(
        call(&pool, "notes", kept["key"].as_str().unwrap()).await,
        200
    );
    assert_eq!(
        call(&pool, "notes", gone["key"].as_str().unwrap()).await,
        401
    );
    // Sent again, as after a lost answer.
    let (status, again) = ask(&pool.url, API_KEY, ("DELETE", &path), None).await;
    assert_eq!((status, &again["status"]), (200, &json!("revoked")));
}

/// The API and the command line change one store; of both, each change holds.
#[tokio::test]
async fn commands_and_the_api_change_keys_at_once() {
    let place = Place::new();
    let pool = place.server().await;
    let by_api = async {
        for number in 0..10 {
            let rights = json!({"worker": {"ids": "assigned"}});
            let body = json!({"name": format!("api {number}"), "rights": rights});
            let (status, body) = ask(&pool.url, API_KEY, ("POST", "keys"), Some(body)).await;
            assert_eq!(status, 201, "{body}");
        }
    };
    let by_command = async {
        for number in 0..10 {
            let name = format!("command {number}");
            place
                .done(&[
                    "key", "create", "worker", "--name", &name, "--ids", "assigned",
                ])
                .await;
        }
    };

    tokio::join!(by_api, by_command);

    let (_, keys) = ask(&pool.url, API_KEY, ("GET", "keys"), None).await;
    assert_eq!(keys["keys"].as_array().unwrap().len(), 20, "{keys}");
}

#[tokio::test]
async fn the_api_has_an_address_of_its_own_or_none() {
    let place = Place::new();
    let mut own = Pool::with(&[("DATA_DIR", place.path()), ("ADMIN_ADDR", "127.0.0.1:0")]).await;
    let listens = own.server.event("the server listens").await;
    let address = listens["administration"].as_str().unwrap();
    let address = address.trim_start_matches("Some(").trim_end_matches(')');
    let url = format!("http://{address}");

    assert_eq!(ask(&url, API_KEY, ("GET", "keys"), None).await.0, 200);
    let (status, body) = ask(&own.url, API_KEY, ("GET", "keys"), None).await;
    assert_eq!((status, &body["error"]), (404, &json!("not_found")));

    drop(own);
    let off = Pool::with(&[("DATA_DIR", place.path()), ("ADMIN_ADDR", "off")]).await;
    assert_eq!(ask(&off.url, API_KEY, ("GET", "keys"), None).await.0, 404);
}
