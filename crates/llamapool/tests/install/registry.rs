//! A registry of npm with the two packages, so that `npx llamapool` is run as people type it.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};
use std::sync::Arc;
use tokio::task::JoinSet;

use crate::artifacts::npm_packages;

/// A registry on loopback. Dropping it ends it.
pub(crate) struct Registry {
    pub(crate) url: String,
    _task: JoinSet<()>,
}

/// The documents and the packages by their paths.
type Files = Arc<HashMap<String, Served>>;

enum Served {
    Document(Value),
    Package(PathBuf),
}

impl Registry {
    /// Serves the packages that `./dist` has made.
    pub(crate) async fn start() -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let mut files = HashMap::new();
        for package in npm_packages() {
            add(&mut files, &url, &package);
        }
        let router = Router::new().fallback(answer).with_state(Arc::new(files));

        let mut task = JoinSet::new();
        task.spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self { url, _task: task }
    }
}

fn add(files: &mut HashMap<String, Served>, url: &str, package: &Path) {
    let file = package.file_name().unwrap().to_str().unwrap();
    let mut manifest = manifest(package);
    manifest["dist"] = json!({ "tarball": format!("{url}/files/{file}") });
    let name = manifest["name"].as_str().unwrap().to_owned();
    let version = manifest["version"].as_str().unwrap().to_owned();
    let document = json!({
        "name": name,
        "dist-tags": { "latest": version },
        "versions": { (version): manifest },
    });

    // A name with a scope is one segment of the path.
    let path = name.replace('/', "%2f");
    files.insert(format!("/{path}"), Served::Document(document));
    files.insert(
        format!("/files/{file}"),
        Served::Package(package.to_owned()),
    );
}

/// Returns the manifest in a package.
pub(crate) fn manifest(package: &Path) -> Value {
    let mut tar = Command::new("tar");
    tar.args(["-xzOf"]).arg(package).arg("package/package.json");
    serde_json::from_slice(&tar.output().unwrap().stdout).unwrap()
}

async fn answer(State(files): State<Files>, uri: Uri) -> Response {
    match files.get(&uri.path().replace("%2F", "%2f")) {
        Some(Served::Document(document)) => axum::Json(document).into_response(),
        Some(Served::Package(path)) => {
            let bytes = std::fs::read(path).unwrap();
            ([(header::CONTENT_TYPE, "application/octet-stream")], bytes).into_response()
        }
        None => StatusCode::NOT_FOUND.into_response(),
    }
}
