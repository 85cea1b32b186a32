//! The lists of models, which no worker is asked for.

use llamapool_server::ModelAlias;
use llamapool_testkit::{ScriptedWorker, WorkerSetup, soon};
use serde_json::{Value, json};

use crate::kit::{call, server, server_with_worker};

#[tokio::test]
async fn the_catalogue_is_listed_in_every_dialect() {
    let (server, _worker) = server_with_worker(2).await;

    let models = server.get("/v1/models").await;
    let one = server.get("/api/v1/models/m").await;
    let tags = server.get("/api/tags").await;
    let ps = server.get("/api/ps").await;
    let show = call(&server, "/api/show", &json!({ "model": "m" })).await;
    let none = server.get("/v1/models/none").await;

    let listed = models.json();
    assert_eq!(listed["object"], "list");
    assert_eq!(listed["data"][0]["id"], "m");
    assert_eq!(listed["data"][0]["context_length"], 32_768);
    assert_eq!(listed["data"][0]["owned_by"], "raw");
    assert_eq!(one.json()["id"], "m");
    assert_eq!(tags.json()["models"][0]["name"], "m");
    assert_eq!(ps.json()["models"][0]["name"], "m");
    assert!(show.json()["model_info"].is_object(), "{}", show.text());
    assert_eq!(none.status(), 404);
    assert_eq!(none.header("llamapool-error"), Some("model_not_found"));
}

/// Clients that offer nothing but names of a list must find the aliases there.
#[tokio::test]
async fn aliases_without_a_star_are_listed_like_models() {
    let alias = |name: &str, target: &str| ModelAlias {
        name: name.to_owned(),
        targets: vec!["away".to_owned(), target.to_owned()],
    };
    let server = server(|config| {
        config.aliases = vec![
            alias("claude-local", "m"),
            alias("claude-*", "m"),
            alias("", "m"),
            alias("gone", "nowhere"),
        ];
    })
    .await;
    let setup = WorkerSetup::new(&["m"], 1);
    let _worker = ScriptedWorker::connect(&server, "alpha", setup).await;

    let models = server.get("/v1/models").await.json();
    let one = server.get("/v1/models/claude-local").await.json();
    let tags = server.get("/api/tags").await.json();
    let ps = server.get("/api/ps").await.json();

    let ids = |list: &Value, name: &str| -> Vec<Value> {
        let list = list.as_array().unwrap();
        list.iter().map(|model| model[name].clone()).collect()
    };
    assert_eq!(ids(&models["data"], "id"), ["m", "claude-local"]);
    assert_eq!(ids(&tags["models"], "name"), ["m", "claude-local"]);
    assert_eq!(ids(&ps["models"], "name"), ["m"], "it is loaded once");
    assert_eq!(one["id"], "claude-local");
    assert_eq!(one["context_length"], 32_768);
}

#[tokio::test]
async fn a_list_that_has_not_changed_is_not_sent_again() {
    let (server, _worker) = server_with_worker(2).await;
    let first = server.get("/v1/models").await;
    let tag = first.header("etag").unwrap().to_owned();
    let again = || {
        let request = server.http.get(format!("{}/v1/models", server.url));
        let request = request.bearer_auth(llamapool_testkit::API_KEY);
        request.header("if-none-match", tag.clone()).send()
    };

    let unchanged = soon("an answer", again()).await.unwrap();
    let setup = WorkerSetup::new(&["other"], 1);
    let _other = ScriptedWorker::connect(&server, "beta", setup).await;
    let changed = soon("an answer", again()).await.unwrap();

    assert_eq!(unchanged.status(), 304);
    assert_eq!(changed.status(), 200);
    let changed: Value = changed.json().await.unwrap();
    assert_eq!(changed["data"].as_array().unwrap().len(), 2);
}

#[tokio::test]
async fn a_server_without_models_lists_none() {
    let server = server(|_| {}).await;

    let models = server.get("/v1/models").await.json();
    let tags = server.get("/api/tags").await.json();

    assert_eq!(models["data"], json!([]));
    assert_eq!(tags["models"], json!([]));
}

#[tokio::test]
async fn clients_probe_the_root_and_the_version_without_a_key() {
    let server = server(|_| {}).await;
    let head = server.http.head(&server.url).send();
    let head = soon("an answer", head).await.unwrap();
    let version = server
        .http
        .get(format!("{}/api/version", server.url))
        .send();
    let version = soon("an answer", version).await.unwrap();

    assert_eq!(head.status(), 200);
    let version: Value = version.json().await.unwrap();
    let version = version["version"].as_str().unwrap();
    assert_eq!(version.split('.').count(), 3, "{version}");
}
