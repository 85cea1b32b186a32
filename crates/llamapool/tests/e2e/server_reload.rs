//! The settings of a server that are read again on SIGHUP: declared keys and the access of ids.

use std::path::PathBuf;

use serde_json::{Value, json};

use crate::harness::{Pool, Provider, tools_call};

const DONE: &str = "the settings were read again";
const LAPTOP: &str = "a key of the laptop that the file declares";
const SERVICE: &str = "a key of the service that the file declares";

/// A server whose settings are in a file.
struct Served {
    pool: Pool,
    file: PathBuf,
    _folder: tempfile::TempDir,
}

impl Served {
    async fn start(text: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("server.toml");
        std::fs::write(&file, text).unwrap();
        let pool = Pool::with(&[
            ("CONFIG_FILE", file.to_str().unwrap()),
            ("DATA_DIR", folder.path().to_str().unwrap()),
        ])
        .await;
        Self {
            pool,
            file,
            _folder: folder,
        }
    }

    /// Writes the file and tells the server to read it. Returns the `n`th event with this message.
    async fn reload(&mut self, text: &str, n: usize, message: &str) -> Value {
        std::fs::write(&self.file, text).unwrap();
        self.pool.server.signal("HUP").await;
        let is_it = |line: &str| {
            let event: Option<Value> = serde_json::from_str(line).ok();
            event.is_some_and(|event| event["message"] == message)
        };
        let line = self.pool.server.nth_line(n, message, is_it).await;
        serde_json::from_str(&line).unwrap()
    }

    async fn status(&self, id: &str, key: &str) -> u16 {
        let request = self.pool.http.post(self.pool.mcp(id)).bearer_auth(key);
        let answer = request.json(&tools_call(1, "echo")).send().await.unwrap();
        answer.status().as_u16()
    }
}

fn key(name: &str, text: &str) -> String {
    format!("[[key]]\nname = '{name}'\nkey = '{text}'\nids = ['*']\n")
}

#[tokio::test]
async fn sighup_replaces_declared_keys_and_access() {
    let closed = "mcp_access = 'keys'\n";
    let mut served = Served::start(&format!("{closed}{}", key("laptop", LAPTOP))).await;
    let provider = Provider::echoing().await;
    let _relay = served.pool.relay("notes", &provider.url).await;
    assert_eq!(served.status("notes", LAPTOP).await, 200);
    assert_eq!(served.status("notes", SERVICE).await, 401);

    let next = format!("{closed}{}", key("service", SERVICE));
    let report = served.reload(&next, 1, DONE).await;

    assert_eq!([&report["keys_added"], &report["keys_removed"]], [1, 1]);
    assert_eq!(served.status("notes", LAPTOP).await, 401);
    assert_eq!(served.status("notes", SERVICE).await, 200);

    let open = "[[access]]\npattern = 'notes'\nmode = 'open'\n";
    let report = served.reload(&format!("{next}{open}"), 2, DONE).await;
    assert_eq!(report["rules"], 1);
    let answer = served.pool.http.post(served.pool.mcp("notes"));
    let answer = answer.json(&tools_call(1, "echo")).send().await.unwrap();
    assert_eq!(answer.status(), 200);

    let log = served.pool.server.log();
    assert!(!log.contains(LAPTOP) && !log.contains(SERVICE), "{log}");
}

#[tokio::test]
async fn a_wrong_file_changes_nothing_and_what_waits_is_named() {
    let first = key("laptop", LAPTOP);
    let closed = "mcp_access = 'keys'\n";
    let mut served = Served::start(&format!("{closed}{first}")).await;
    let provider = Provider::echoing().await;
    let _relay = served.pool.relay("notes", &provider.url).await;

    let wrong = format!("{closed}max_relays = 'many'\n{}", key("service", SERVICE));
    let kept = "the settings were read again and are wrong: those of before hold on";
    served.reload(&wrong, 1, kept).await;

    assert_eq!(served.status("notes", LAPTOP).await, 200);
    assert_eq!(served.status("notes", SERVICE).await, 401);
    let log = served.pool.server.log();
    assert!(log.contains("max_relays") && log.contains("many"), "{log}");

    let aliases = "[[alias]]\nname = 'small'\ntargets = ['m']\n";
    let more = format!("{closed}max_relays = 7\n{first}{aliases}");
    served.reload(&more, 1, DONE).await;
    let log = served.pool.server.log();
    let waiting = log.lines().filter_map(|line| {
        let event: Value = serde_json::from_str(line).ok()?;
        let waits = event["message"] == "changed, and takes effect after a restart";
        waits.then(|| event["setting"].clone())
    });
    assert_eq!(
        waiting.collect::<Vec<_>>(),
        [json!("MAX_RELAYS"), json!("[[alias]]")]
    );
}

#[tokio::test]
async fn sign_in_that_is_switched_waits_for_a_restart_with_the_access() {
    let mut served = Served::start(&key("laptop", LAPTOP)).await;
    let provider = Provider::echoing().await;
    let _relay = served.pool.relay("notes", &provider.url).await;

    let switched = "sign_in = true\nallow_weak_keys = true\npublic_url = 'https://pool.example'\n";
    let refused = "SIGN_IN has changed: keys and access wait for a restart, too";
    served.reload(switched, 1, refused).await;

    let answer = served.pool.http.post(served.pool.mcp("notes"));
    let answer = answer.json(&tools_call(1, "echo")).send().await.unwrap();
    assert_eq!(answer.status(), 200, "the id is open as before");
}
