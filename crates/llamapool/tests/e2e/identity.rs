//! Keys and access by the command line, beside a server that runs, stops and is killed.

use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::time::{Duration, Instant};

use futures_util::StreamExt;
use serde_json::{Value, json};
use tokio::process::Command;

use crate::harness::{
    API_KEY, PendingCall, Pool, Process, Provider, ScriptedProvider, Settings, WORKER_KEY,
    event_stream, soon, tools_call,
};

/// A data directory, and the commands that change it.
pub(crate) struct Place(tempfile::TempDir);

/// What a command printed, and whether it succeeded.
pub(crate) struct Ran {
    pub(crate) succeeded: bool,
    pub(crate) output: String,
    pub(crate) notes: String,
}

impl Place {
    pub(crate) fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    pub(crate) fn path(&self) -> &str {
        self.0.path().to_str().unwrap()
    }

    pub(crate) fn store(&self) -> PathBuf {
        self.0.path().join("identity.db")
    }

    /// Starts a server here whose ids ask for keys.
    pub(crate) async fn server(&self) -> Pool {
        Pool::with(&[("DATA_DIR", self.path()), ("MCP_ACCESS", "keys")]).await
    }

    /// Starts a server here that cannot start. Returns its log.
    pub(crate) async fn server_that_fails(&self, settings: Settings<'_>) -> String {
        let own = [
            ("PORT", "0"),
            ("BIND_ADDR", "127.0.0.1"),
            ("API_KEY", API_KEY),
            ("WORKER_KEY", WORKER_KEY),
            ("DATA_DIR", self.path()),
        ];
        let all: Vec<_> = own.iter().chain(settings).copied().collect();
        let mut server = Process::llamapool(&["server"], &all);
        let (status, log) = server.status_and_log().await;
        assert!(!status.success(), "{log}");
        log
    }

    /// Runs a command on this directory.
    pub(crate) async fn run(&self, arguments: &[&str]) -> Ran {
        let mut command = command(arguments);
        command.env("DATA_DIR", self.path());
        Ran::of(soon("the command ends", command.output()).await.unwrap())
    }

    /// Runs a command that succeeds. Returns what it printed for scripts.
    pub(crate) async fn done(&self, arguments: &[&str]) -> String {
        let ran = self.run(arguments).await;
        assert!(ran.succeeded, "{arguments:?}: {}", ran.notes);
        ran.output.trim().to_owned()
    }
}

impl Ran {
    fn of(output: Output) -> Self {
        Self {
            succeeded: output.status.success(),
            output: String::from_utf8(output.stdout).unwrap(),
            notes: String::from_utf8(output.stderr).unwrap(),
        }
    }
}

pub(crate) fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_llamapool"));
    command.args(arguments).env_clear().kill_on_drop(true);
    command
}

/// Calls an id with a key. Returns the status.
async fn status(pool: &Pool, id: &str, key: &str) -> u16 {
    let request = pool.http.post(pool.mcp(id)).bearer_auth(key);
    let answer = request.json(&tools_call(1, "echo")).send().await.unwrap();
    answer.status().as_u16()
}

/// Returns the public id of a key.
pub(crate) fn id_of(key: &str) -> &str {
    key.split('_').nth(2).unwrap()
}

#[tokio::test]
async fn a_key_is_created_used_and_revoked_while_a_stream_runs() {
    let place = Place::new();
    let mut pool = place.server().await;
    let mut provider = ScriptedProvider::start().await;
    let worker = place
        .done(&["key", "create", "worker", "--ids", "notes"])
        .await;
    let _relay = pool
        .relay_with("notes", &provider.url, &[("WORKER_KEY", &worker)])
        .await;
    let caller = place
        .run(&[
            "key", "create", "caller", "--name", "laptop", "--ids", "notes",
        ])
        .await;
    assert!(
        caller.notes.contains("created caller key"),
        "{}",
        caller.notes
    );
    assert!(!caller.notes.contains(caller.output.trim()));
    let caller = caller.output.trim().to_owned();

    let request = pool.http.post(pool.mcp("notes")).bearer_auth(&caller);
    let request = request.header("accept", "text/event-stream");
    let mut call = PendingCall::start(request.json(&tools_call(1, "scripted")));
    let (events, response) = event_stream();
    provider.next_request().await.answer(response);
    let answer = call.answer().await;
    events.send(Ok("data: 1\n\n".into())).await.unwrap();
    let mut body = answer.bytes_stream();
    let first = soon("the first event", body.next()).await.unwrap().unwrap();
    assert_eq!(first, "data: 1\n\n");

    let since = Instant::now();
    let revoke = ["key", "revoke", id_of(&caller)];
    let revoking = place.run(&revoke);
    let breaking = async {
        let next = soon("the stream is reset", body.next()).await;
        (next, since.elapsed())
    };
    let (revoked, (next, took)) = tokio::join!(revoking, breaking);

    println!("measured: from the start of the command to the end of the stream: {took:?}");
    assert!(
        next.unwrap().is_err(),
        "it is reset, and not ended in order"
    );
    assert!(took < Duration::from_secs(5), "{took:?}");
    assert!(revoked.succeeded, "{}", revoked.notes);
    let applied = "the server has applied it, 1 call or connection ended";
    assert!(revoked.notes.contains(applied), "{}", revoked.notes);
    assert_eq!(status(&pool, "notes", &caller).await, 401);
    for key in [&caller, &worker] {
        assert_eq!(pool.server.lines_with(key), Vec::<String>::new());
    }
    assert!(pool.server.is_running());
}

#[tokio::test]
async fn a_revoked_key_is_never_usable_again() {
    let place = Place::new();
    let key = || place.done(&["key", "create", "caller", "--ids", "*"]);
    let stopped = key().await;
    let ran = place.run(&["key", "revoke", id_of(&stopped)]).await;
    assert!(
        ran.notes.contains("no server is running on"),
        "{}",
        ran.notes
    );

    let [while_it_runs, at_its_death, good] = [key().await, key().await, key().await];
    let mut pool = place.server().await;
    assert_eq!(status(&pool, "away", &good).await, 503);
    place.done(&["key", "revoke", id_of(&while_it_runs)]).await;
    assert_eq!(status(&pool, "away", &while_it_runs).await, 401);

    // The server stands still while the change is stored, and never gets to apply it.
    pool.server.signal("STOP").await;
    let ran = place.run(&["key", "revoke", id_of(&at_its_death)]).await;
    assert!(!ran.succeeded);
    assert!(
        ran.notes.contains("has not applied it within"),
        "{}",
        ran.notes
    );
    pool.server.kill().await;

    let pool = place.server().await;
    assert_eq!(status(&pool, "away", &good).await, 503);
    for key in [&stopped, &while_it_runs, &at_its_death] {
        assert_eq!(status(&pool, "away", key).await, 401);
    }
}

#[tokio::test]
async fn a_rotated_key_keeps_its_id_and_two_secrets_for_a_while() {
    let place = Place::new();
    let old = place
        .done(&["key", "create", "caller", "--ids", "notes"])
        .await;
    let pool = place.server().await;

    let new = place.done(&["key", "rotate", id_of(&old)]).await;
    assert_ne!(old, new);
    assert_eq!(id_of(&old), id_of(&new));
    assert_eq!(status(&pool, "notes", &old).await, 503);
    assert_eq!(status(&pool, "notes", &new).await, 503);

    let newest = place
        .done(&["key", "rotate", id_of(&old), "--overlap", "0s"])
        .await;
    let ended = [
        status(&pool, "notes", &old).await,
        status(&pool, "notes", &new).await,
    ];
    assert_eq!(ended, [401, 401], "the last rotation left no overlap");
    assert_eq!(status(&pool, "notes", &newest).await, 503);
}

#[tokio::test]
async fn access_is_set_and_shown_by_pattern() {
    let place = Place::new();
    let pool = place.server().await;
    let provider = Provider::echoing().await;
    let _relay = pool.relay("public", &provider.url).await;
    let plain = || async { pool.post("public", &tools_call(1, "echo")).await.status() };
    assert_eq!(plain().await, 401);

    place.done(&["access", "set", "public", "open"]).await;
    assert_eq!(plain().await, 200);
    let rules: Value =
        serde_json::from_str(&place.done(&["access", "list", "--json"]).await).unwrap();
    let expected = json!([{"pattern": "public", "access": "open", "messages": {}, "limits": {}}]);
    assert_eq!(rules, expected);

    place.done(&["access", "remove", "public"]).await;
    assert_eq!(plain().await, 401);
}

#[tokio::test]
async fn rules_of_messages_are_set_and_shown() {
    let place = Place::new();
    let pool = place.server().await;
    let provider = Provider::echoing().await;
    let _relay = pool.relay("public", &provider.url).await;
    let status = || async { pool.post("public", &tools_call(1, "echo")).await.status() };
    let set = async |flags: &[&str]| {
        let set = ["access", "set", "public"];
        place.run(&[&set[..], flags].concat()).await
    };

    let early = set(&["--methods", "read"]).await;
    assert!(!early.succeeded && early.notes.contains("public has no rule yet"));
    let done = set(&["open", "--methods", "read"]).await;
    assert!(
        done.notes.contains("with rules of methods"),
        "{}",
        done.notes
    );
    assert_eq!(status().await, 403);
    let more = set(&["--methods", "read,tools/call", "--allow-tool", "ec*"]).await;
    assert!(more.succeeded, "{}", more.notes);
    assert_eq!(status().await, 200);
    let shown = place.done(&["access", "show", "public"]).await;
    assert!(shown.contains("methods   read, tools/call"), "{shown}");
    assert!(shown.contains("allow tool      ec*"), "{shown}");
    set(&["--deny-tool", "echo"]).await;
    assert_eq!(status().await, 403);
    set(&["--all-messages"]).await;
    assert_eq!(status().await, 200);
}

#[tokio::test]
async fn limits_are_set_while_the_server_runs_and_shown_with_the_use() {
    let place = Place::new();
    let pool = place.server().await;
    let create = ["key", "create", "caller", "--ids", "*", "--rate", "2/d"];
    let key = place.done(&create).await;
    let id = id_of(&key);

    for expected in [503, 503, 429] {
        assert_eq!(status(&pool, "notes", &key).await, expected);
    }
    let edit = ["key", "edit", id, "--rate", "none", "--calls-per-day", "3"];
    place.done(&edit).await;
    for expected in [503, 429] {
        assert_eq!(status(&pool, "notes", &key).await, expected);
    }
    let elsewhere = [
        "access",
        "set",
        "notes",
        "keys",
        "--networks",
        "192.0.2.0/24",
    ];
    place.done(&elsewhere).await;
    assert_eq!(status(&pool, "notes", &key).await, 403);
    let rate = ["access", "set", "notes", "keys", "--rate", "1/s"];
    place.done(&rate).await;
    let rules = place.done(&["access", "list"]).await;
    assert!(rules.contains("192.0.2.0/24"), "kept: {rules}");
    drop(pool);

    let shown = place.done(&["key", "show", id, "--json"]).await;
    let shown: Value = serde_json::from_str(&shown).unwrap();
    let limits = &shown["rights"]["caller"]["limits"];
    assert_eq!(*limits, json!({"quotas": {"calls_per_day": 3}}));
    assert!(shown["used_today"]["calls"].is_u64(), "{shown}");
}

#[tokio::test]
async fn a_wrong_limit_is_named_and_changes_nothing() {
    let place = Place::new();
    let create = ["key", "create", "caller", "--ids", "*"];
    let id = place.done(&[&create[..], &["--json"]].concat()).await;
    let id: Value = serde_json::from_str(&id).unwrap();
    let id = id["id"].as_str().unwrap();
    let before = place.done(&["key", "show", id]).await;

    let wrong = [
        (["--rate", "fast"], "--rate: \"fast\" is no rate, expected"),
        (
            ["--concurrency", "0"],
            "--concurrency: expected a whole number",
        ),
        (["--networks", "10.1.2.3/8"], "expected 10.0.0.0/8"),
        (
            ["--burst", "5"],
            "--burst is for a key or an id with a rate",
        ),
    ];
    for (flags, expected) in wrong {
        let edit = [&["key", "edit", id][..], &flags[..]].concat();
        let refused = place.run(&edit).await;
        assert!(!refused.succeeded, "{flags:?}");
        assert!(refused.notes.contains(expected), "{}", refused.notes);
    }
    let worker = ["key", "create", "worker", "--ids", "a", "--rate", "1/s"];
    let refused = place.run(&worker).await;
    assert!(
        refused.notes.contains("--rate is for caller keys"),
        "{}",
        refused.notes
    );
    assert_eq!(place.done(&["key", "show", id]).await, before);
}

#[tokio::test]
async fn keys_are_listed_without_their_secrets() {
    let place = Place::new();
    let key = place
        .done(&[
            "key",
            "create",
            "caller",
            "--name",
            "ci",
            "--ids",
            "a,b-*",
            "--expires",
            "90d",
        ])
        .await;
    let again = place
        .run(&[
            "key",
            "create",
            "caller",
            "--name",
            "ci",
            "--ids",
            "a",
            "--if-missing",
        ])
        .await;
    assert!(
        again.succeeded && again.output.is_empty(),
        "{}",
        again.output
    );
    let taken = place
        .run(&["key", "create", "caller", "--name", "ci", "--ids", "a"])
        .await;
    assert!(!taken.succeeded);
    assert!(
        taken.notes.contains("a caller key named \"ci\" exists"),
        "{}",
        taken.notes
    );

    let table = place.done(&["key", "list"]).await;
    let one = place.done(&["key", "show", id_of(&key)]).await;
    let listed: Value =
        serde_json::from_str(&place.done(&["key", "list", "--json"]).await).unwrap();

    assert!(
        table.contains("ids a,b-*") && table.contains("valid"),
        "{table}"
    );
    assert_eq!(listed[0]["rights"]["caller"]["ids"], json!(["a", "b-*"]));
    let secret = key.rsplit('_').next().unwrap();
    for text in [&table, &one, &listed.to_string()] {
        assert!(
            text.contains(id_of(&key)) && !text.contains(secret),
            "{text}"
        );
    }
}

#[tokio::test]
async fn a_read_only_key_is_created_shown_and_widened() {
    let place = Place::new();
    let pool = place.server().await;
    let provider = Provider::echoing().await;
    let _relay = pool.relay("notes", &provider.url).await;
    place.done(&["access", "set", "notes", "keys"]).await;
    let create = ["key", "create", "caller", "--ids", "notes", "--read-only"];
    let key = place.done(&create).await;
    let id = id_of(&key);

    let table = place.done(&["key", "list"]).await;
    assert!(table.contains("ids notes, read only"), "{table}");
    let shown = place.done(&["key", "show", id, "--json"]).await;
    let shown: Value = serde_json::from_str(&shown).unwrap();
    assert_eq!(shown["rights"]["caller"]["read_only"], true);
    assert_eq!(status(&pool, "notes", &key).await, 403);

    place.done(&["key", "edit", id, "--read-only", "off"]).await;
    assert_eq!(status(&pool, "notes", &key).await, 200);
    let table = place.done(&["key", "list"]).await;
    assert!(!table.contains("read only"), "{table}");
    place.done(&["key", "edit", id, "--read-only", "on"]).await;
    assert_eq!(status(&pool, "notes", &key).await, 403);
}

#[tokio::test]
async fn commands_that_write_at_once_lose_nothing() {
    let place = Place::new();
    let pool = place.server().await;

    let names: Vec<_> = (0..8).map(|number| format!("key-{number}")).collect();
    let creating = names.iter().map(async |name| {
        let create = ["key", "create", "caller", "--ids", "x", "--name", name];
        place.done(&create).await
    });
    let keys = futures_util::future::join_all(creating).await;

    let listed: Value =
        serde_json::from_str(&place.done(&["key", "list", "--json"]).await).unwrap();
    assert_eq!(listed.as_array().unwrap().len(), 8);
    // A change that the server has applied comes after all of them.
    place.done(&["access", "set", "y", "keys"]).await;
    for key in &keys {
        assert_eq!(status(&pool, "x", key).await, 503);
    }
}

/// A command that is killed has stored its change whole, or nothing.
#[tokio::test]
async fn a_command_that_is_killed_leaves_a_whole_store() {
    let place = Place::new();
    place.done(&["key", "create", "caller", "--ids", "x"]).await;
    let pool = place.server().await;

    for number in 0..20 {
        let mut create = command(&["key", "create", "worker", "--ids", "x", "--name"]);
        create
            .arg(format!("key-{number}"))
            .env("DATA_DIR", place.path());
        create.stdout(Stdio::null()).stderr(Stdio::null());
        let mut child = create.spawn().unwrap();
        tokio::time::sleep(Duration::from_millis(number * 2)).await;
        child.kill().await.unwrap();
    }

    let listed: Value =
        serde_json::from_str(&place.done(&["key", "list", "--json"]).await).unwrap();
    for key in listed.as_array().unwrap() {
        assert_eq!(key["secrets"].as_array().unwrap().len(), 1, "{key}");
    }
    let key = place
        .done(&["key", "create", "caller", "--ids", "x", "--name", "last"])
        .await;
    place.done(&["access", "set", "y", "keys"]).await;
    assert_eq!(status(&pool, "x", &key).await, 503);
}

#[tokio::test]
async fn a_store_that_cannot_be_trusted_starts_no_server() {
    let place = Place::new();
    place.done(&["key", "create", "caller", "--ids", "x"]).await;

    set_mode(&place.store(), 0o644);
    let log = place.server_that_fails(&[]).await;
    assert!(
        log.contains("others can read or write the file (mode 644)"),
        "{log}"
    );
    let ran = place.run(&["key", "list"]).await;
    assert!(
        !ran.succeeded && ran.notes.contains("expected 600"),
        "{}",
        ran.notes
    );
    set_mode(&place.store(), 0o600);
    place.done(&["key", "list"]).await;

    let bytes = std::fs::read(place.store()).unwrap();
    std::fs::write(
        place.store(),
        [&bytes[..100], &vec![7; bytes.len() - 100]].concat(),
    )
    .unwrap();
    let log = place.server_that_fails(&[]).await;
    assert!(log.contains("identity.db"), "{log}");
    let ran = place.run(&["key", "create", "caller", "--ids", "x"]).await;
    assert!(!ran.succeeded && ran.output.is_empty(), "{}", ran.output);
}

#[tokio::test]
async fn a_copy_of_the_data_has_the_keys() {
    let place = Place::new();
    let key = place.done(&["key", "create", "caller", "--ids", "x"]).await;
    let copy = Place::new();
    std::fs::copy(place.store(), copy.store()).unwrap();

    let pool = copy.server().await;
    assert_eq!(status(&pool, "x", &key).await, 503);
    copy.done(&["key", "revoke", id_of(&key)]).await;
    assert_eq!(status(&pool, "x", &key).await, 401);
    let listed: Value =
        serde_json::from_str(&place.done(&["key", "list", "--json"]).await).unwrap();
    assert_eq!(
        listed[0]["status"], "valid",
        "the original is another store"
    );
}

#[tokio::test]
async fn mistyped_commands_name_what_was_expected() {
    let place = Place::new();
    for (arguments, expected) in [
        (
            &["key", "create", "caller"][..],
            "set --ids, such as notes or",
        ),
        (
            &["key", "create", "worker"],
            "set --ids, such as notes or '*'",
        ),
        (&["key", "create", "caller", "--ids", "a*b"], "a*b"),
        (
            &["key", "create", "caller", "--ids", "a", "--expires", "soon"],
            "such as 90d",
        ),
        (
            &["key", "create", "caller", "--ids", "a", "--kinds", "mcp"],
            "--kinds is for worker keys",
        ),
        (
            &["key", "create", "caller", "--ids", "a", "--weight", "0"],
            "at least 1",
        ),
        (
            &["key", "create", "worker", "--ids", "a", "--read-only"],
            "--read-only is for caller keys",
        ),
        (
            &["key", "create", "caller", "--models", "*", "--read-only"],
            "set --ids",
        ),
        (
            &["key", "edit", "nothing2here", "--read-only", "maybe"],
            "on or off",
        ),
        (
            &["key", "create", "caller", "--models", "a b"],
            "names of models",
        ),
        (&["key", "revoke", "nothing2here"], "no key nothing2here"),
        (&["key", "revoke", "a/b"], "a/b"),
        (&["access", "set", "a*b", "keys"], "a*b"),
        (&["access", "set", "a", "closed"], "open, keys"),
    ] {
        let ran = place.run(arguments).await;
        assert!(!ran.succeeded, "{arguments:?}");
        assert!(ran.notes.contains(expected), "{arguments:?}: {}", ran.notes);
        assert!(ran.output.is_empty(), "{arguments:?}: {}", ran.output);
    }

    let nowhere = command(&["key", "list", "--data-dir", "off"])
        .output()
        .await
        .unwrap();
    let nowhere = Ran::of(nowhere);
    assert!(
        nowhere.notes.contains("set DATA_DIR, or --data-dir"),
        "{}",
        nowhere.notes
    );
}

fn set_mode(path: &Path, mode: u32) {
    use std::os::unix::fs::PermissionsExt;

    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
}
