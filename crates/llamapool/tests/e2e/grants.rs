//! Clients, grants and one-time codes by the command line, beside a server that runs or does not.

use std::time::SystemTime;

use llamapool_identity::{
    Approval, Approved, Approver, AuthorizationRequest, ClientId, GrantId, LoginCode, Scope,
    Snapshot, Store, TokenSeal,
};
use llamapool_wire::Secret;
use serde_json::Value;

use crate::identity::{Place, id_of};

/// Stores a grant of a known client at the id `notes`, as the consent page does. Returns its id.
fn allow(place: &Place, client: &str, approver: Approver) -> GrantId {
    let mut store = Store::open(&place.store()).unwrap();
    let now = SystemTime::now();
    let client: ClientId = client.parse().unwrap();
    let client = store.client(&client).unwrap().unwrap();
    let request = AuthorizationRequest {
        client: client.id.clone(),
        redirect: client.redirects[0].clone(),
        state: None,
        challenge: "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"
            .parse()
            .unwrap(),
        resource: None,
        scope: Scope::Read,
    };
    let id = "notes".parse().unwrap();
    let approval = Approval {
        approver,
        epoch: Snapshot::default().epoch(&id, now),
        resource: id,
        scope: Scope::All,
        ends_at: None,
    };
    let seal = TokenSeal::new(&Secret::new("key"), "https://pool.example/oauth");
    let approved = Approved::new(&request, approval, &seal, now).unwrap();
    store.create_grant(&approved, &client, now).unwrap();
    approved.grant.id
}

/// Returns what a command prints as JSON.
async fn json(place: &Place, arguments: &[&str]) -> Value {
    serde_json::from_str(&place.done(arguments).await).unwrap()
}

async fn add_client(place: &Place) -> String {
    let redirect = "http://localhost/callback";
    let add = ["client", "add", "--name", "Wiki", "--redirect", redirect];
    place.done(&add).await
}

#[tokio::test]
async fn a_client_is_added_with_a_secret_listed_and_blocked() {
    let place = Place::new();
    let _server = place.server().await;
    let redirects = ["https://wiki.example.com/cb", "zed://auth/cb"];

    let added = place
        .run(&[
            "client",
            "add",
            "--name",
            "Wi\u{202e}ki",
            "--redirect",
            redirects[0],
            "--redirect",
            redirects[1],
            "--secret",
        ])
        .await;

    assert!(added.succeeded, "{}", added.notes);
    let [id, secret] = added.output.lines().collect::<Vec<_>>()[..] else {
        panic!("{}", added.output);
    };
    assert!(secret.starts_with("llps_") && !added.notes.contains(secret));
    let clients = json(&place, &["client", "list", "--json"]).await;
    assert_eq!(clients[0]["id"], id);
    assert_eq!(clients[0]["name"], "Wiki");
    assert_eq!(clients[0]["origin"], "known");
    assert_eq!(clients[0]["redirect_uris"], serde_json::json!(redirects));
    assert_eq!(clients[0]["status"], "allowed");
    assert!(!clients.to_string().contains(secret));

    let blocked = place.run(&["client", "block", id]).await;
    assert!(blocked.succeeded, "{}", blocked.notes);
    assert!(
        blocked.notes.contains("the server has applied it"),
        "{}",
        blocked.notes
    );
    let table = place.done(&["client", "list"]).await;
    assert!(table.contains("blocked"), "{table}");
    place.done(&["client", "unblock", id]).await;
    assert!(!place.done(&["client", "list"]).await.contains("blocked"));
}

#[tokio::test]
async fn a_redirect_that_leads_elsewhere_is_named() {
    let place = Place::new();
    for wrong in [
        "javascript:alert(1)",
        "http://wiki.example.com/cb",
        "https://wiki.example.com/*",
    ] {
        let add = ["client", "add", "--name", "Wiki", "--redirect", wrong];
        let ran = place.run(&add).await;
        assert!(!ran.succeeded && ran.output.is_empty());
        assert!(ran.notes.contains(wrong), "{}", ran.notes);
    }
    let missing = place.run(&["client", "block", "client_x"]).await;
    assert!(
        missing.notes.contains("there is no client client_x"),
        "{}",
        missing.notes
    );
}

#[tokio::test]
async fn a_grant_is_listed_and_revoked_beside_a_server() {
    let place = Place::new();
    let _server = place.server().await;
    let client = add_client(&place).await;
    let key = place
        .done(&["key", "create", "caller", "--ids", "notes"])
        .await;
    let approver = Approver::Key(id_of(&key).parse().unwrap());
    let own = allow(&place, &client, approver).to_string();
    let other = allow(&place, &client, Approver::Owner).to_string();

    let all = json(&place, &["grant", "list", "--json"]).await;
    assert_eq!(all.as_array().unwrap().len(), 2);
    let of_key = json(&place, &["grant", "list", "--key", id_of(&key), "--json"]).await;
    assert_eq!(of_key.as_array().unwrap().len(), 1);
    let grant = &of_key[0];
    assert_eq!(grant["id"], own);
    assert_eq!(grant["client_name"], "Wiki");
    assert_eq!(grant["resource"], "notes");
    assert_eq!(grant["approver"], format!("key:{}", id_of(&key)));
    assert_eq!(grant["scope"], "mcp:read");
    assert_eq!(grant["status"], "code");

    let revoked = place.run(&["grant", "revoke", &other]).await;
    assert!(revoked.succeeded, "{}", revoked.notes);
    assert!(
        revoked.notes.contains("the server has applied it"),
        "{}",
        revoked.notes
    );
    let again = place.run(&["grant", "revoke", &other]).await;
    assert!(again.notes.contains("has ended before"), "{}", again.notes);
    place.done(&["key", "revoke", id_of(&key)]).await;

    assert_eq!(
        json(&place, &["grant", "list", "--json"]).await,
        serde_json::json!([])
    );
    let table = place.done(&["grant", "list", "--all"]).await;
    assert!(
        table.contains("revoked") && table.contains("key_revoked"),
        "{table}"
    );
    let clients = json(&place, &["client", "list", "--json"]).await;
    assert_eq!(clients[0]["grants"], 0);
}

#[tokio::test]
async fn a_grant_that_is_none_is_named() {
    let place = Place::new();
    let unknown = GrantId::random().to_string();

    let ran = place.run(&["grant", "revoke", &unknown]).await;
    assert!(!ran.succeeded);
    assert!(ran.notes.contains(&unknown), "{}", ran.notes);
    let ran = place.run(&["grant", "revoke", "x"]).await;
    assert!(
        ran.notes.contains("\"x\" is no id of a grant"),
        "{}",
        ran.notes
    );
}

#[tokio::test]
async fn a_one_time_code_is_printed_alone_and_stands_for_its_approver() {
    let place = Place::new();
    let key = place
        .done(&["key", "create", "caller", "--ids", "notes"])
        .await;

    let owner = place.run(&["login"]).await;
    let holder = json(&place, &["login", "--as", id_of(&key), "--json"]).await;

    assert!(owner.notes.contains("the owner"), "{}", owner.notes);
    assert!(!owner.notes.contains(owner.output.trim()));
    let mut store = Store::open(&place.store()).unwrap();
    let mut approver = |code: &str| {
        let code = LoginCode::parse(code).unwrap();
        store.use_login_code(&code, SystemTime::now())
    };
    assert_eq!(approver(owner.output.trim()).unwrap(), Approver::Owner);
    assert!(approver(owner.output.trim()).is_err(), "it works once");
    let expected = Approver::Key(id_of(&key).parse().unwrap());
    assert_eq!(holder["approver"], expected.to_string());
    assert_eq!(
        approver(holder["code"].as_str().unwrap()).unwrap(),
        expected
    );
}

#[tokio::test]
async fn a_one_time_code_stands_for_a_valid_caller_key_alone() {
    let place = Place::new();
    let worker = place
        .done(&["key", "create", "worker", "--ids", "notes"])
        .await;
    let gone = place
        .done(&["key", "create", "caller", "--ids", "notes"])
        .await;
    place.done(&["key", "revoke", id_of(&gone)]).await;

    for (key, reason) in [
        (id_of(&worker), "is a worker key, expected a caller key"),
        (id_of(&gone), "has expired or was revoked"),
        ("unknown", "there is no key unknown"),
    ] {
        let ran = place.run(&["login", "--as", key]).await;
        assert!(!ran.succeeded && ran.output.is_empty());
        assert!(ran.notes.contains(reason), "{}", ran.notes);
    }
}
