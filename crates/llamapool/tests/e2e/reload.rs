//! A relay that reads its settings again on a hangup signal: what has not changed does not notice.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use axum::response::Response;
use bytes::Bytes;
use parking_lot::Mutex;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::harness::{
    Link, PendingCall, Pool, Process, Provider, WORKER_KEY, error_word, event_stream, json_answer,
    tools_call,
};

/// The log of a reload that was done.
const DONE: &str = "the settings were read again";
/// The callers of the provider that stays.
const CALLERS: usize = 8;
/// The reloads while they call.
const RELOADS: usize = 20;

/// A relay whose settings file can be written again.
struct Reloading {
    process: Process,
    directory: TempDir,
    reloads: usize,
}

impl Reloading {
    /// Starts a relay with this file and these settings besides.
    fn start(pool: &Pool, file: &str, flags: &[&str], settings: &[(&str, &str)]) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("relay.toml");
        std::fs::write(&path, file).unwrap();
        let own = [
            ("CONFIG_FILE", path.to_str().unwrap()),
            ("SERVER_URL", &pool.url),
            ("WORKER_KEY", WORKER_KEY),
            ("STATUS_ADDR", "127.0.0.1:0"),
            ("PROBE_INTERVAL", "20ms"),
            ("DRAIN_TIMEOUT", "20s"),
        ];
        let environment: Vec<_> = own.into_iter().chain(settings.iter().copied()).collect();
        let arguments: Vec<_> = ["mcp"].into_iter().chain(flags.iter().copied()).collect();
        Self {
            process: Process::llamapool(&arguments, &environment),
            directory,
            reloads: 0,
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Writes the file and tells the relay to read it. Returns its log of the reload.
    async fn reload(&mut self, file: &str) -> Value {
        std::fs::write(self.path("relay.toml"), file).unwrap();
        self.process.signal("HUP").await;
        self.reloads += 1;
        let is_it = |line: &str| line.contains(&format!("\"{DONE}\""));
        let line = self.process.nth_line(self.reloads, DONE, is_it).await;
        serde_json::from_str(&line).unwrap()
    }
}

fn table(id: &str, url: &str) -> String {
    format!("[[provider]]\nid = '{id}'\nurl = '{url}'\n")
}

async fn named(name: &'static str) -> Provider {
    Provider::answering(move |_| async move { json_answer(&json!({ "from": name }).to_string()) })
        .await
}

/// Starts a provider that gives this answer to the first call.
async fn answering_once(answer: Response) -> Provider {
    let answer = Arc::new(Mutex::new(Some(answer)));
    Provider::answering(move |_| {
        let answer = answer.lock().take().expect("one call");
        async move { answer }
    })
    .await
}

async fn answering_provider(pool: &Pool, id: &str) -> Value {
    let answer = pool.post(id, &tools_call(1, "echo")).await;
    assert_eq!(answer.status(), 200);
    answer.json::<Value>().await.unwrap()["from"].clone()
}

async fn until_gone(pool: &Pool, id: &str) {
    pool.until_client(id, "it is gone", |client| client.is_null())
        .await;
}

/// Calls an id from many tasks until it is told to stop. Every failure panics.
struct Load {
    stop: Arc<AtomicBool>,
    calls: Arc<AtomicUsize>,
    callers: tokio::task::JoinSet<()>,
}

impl Load {
    fn start(pool: &Pool, id: &'static str) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let calls = Arc::new(AtomicUsize::new(0));
        let mut callers = tokio::task::JoinSet::new();
        for _ in 0..CALLERS {
            let stop = stop.clone();
            let calls = calls.clone();
            let http = pool.http.clone();
            let url = pool.mcp(id);
            callers.spawn(async move {
                while !stop.load(Ordering::Relaxed) {
                    let body = tools_call(1, "echo").to_string();
                    let request = http.post(&url).header("content-type", "application/json");
                    let answer = request.body(body).send().await.unwrap();
                    assert_eq!(answer.status(), 200);
                    assert_eq!(answer.json::<Value>().await.unwrap()["from"], "stays");
                    calls.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        Self {
            stop,
            calls,
            callers,
        }
    }

    /// Ends the callers. Returns the number of calls, all of which went well.
    async fn end(mut self) -> usize {
        self.stop.store(true, Ordering::Relaxed);
        while let Some(caller) = self.callers.join_next().await {
            caller.unwrap();
        }
        self.calls.load(Ordering::Relaxed)
    }
}

/// Twenty times another set of providers, while callers call the one that is in all of them, and one
/// answer streams all the while.
#[tokio::test]
async fn an_unchanged_provider_does_not_notice_twenty_reloads() {
    let pool = Pool::start().await;
    let stays = named("stays").await;
    let others = [named("a").await, named("b").await, named("c").await];
    let (events, response) = event_stream();
    let streams = answering_once(response).await;
    let both = table("stays", &stays.url) + &table("streams", &streams.url);
    let mut relay = Reloading::start(&pool, &both, &["--reconnect"], &[]);
    pool.connected("stays").await;
    pool.connected("streams").await;
    let mut streaming: PendingCall = pool.start_call("streams");
    let mut stream = streaming.answer().await;

    let load = Load::start(&pool, "stays");
    for number in 0..RELOADS {
        let names = ["a", "b", "c"];
        let turn = number % names.len();
        let added = format!("{}-{}", names[turn], number / 6);
        let file = both.clone() + &table(&added, &others[turn].url);
        let report = relay.reload(&file).await;
        assert_eq!(report["unchanged"], 2, "{report}");
        pool.connected(&added).await;
        assert_eq!(answering_provider(&pool, &added).await, names[turn]);
        events
            .send(Ok(Bytes::from_static(b"data: x\n\n")))
            .await
            .unwrap();
        assert!(stream.chunk().await.unwrap().is_some());
    }
    let report = relay.reload(&both).await;
    assert_eq!(report["removed"], 1, "{report}");
    let calls = load.end().await;

    assert!(calls > RELOADS * CALLERS, "{calls} calls");
    drop(events);
    while stream.chunk().await.unwrap().is_some() {}
    let client = pool.client("stays").await;
    assert_eq!(client["errors_total"], 0, "{client}");
    let losses = relay.process.lines_with("not connected; trying again");
    assert!(losses.is_empty(), "{losses:?}");
}

/// The call was there before its provider was removed, or replaced.
#[tokio::test]
async fn calls_of_removed_and_changed_providers_finish() {
    let pool = Pool::start().await;
    let (old_events, old) = event_stream();
    let (gone_events, gone) = event_stream();
    let old = answering_once(old).await;
    let gone = answering_once(gone).await;
    let new = named("new").await;
    let file = table("changes", &old.url) + &table("goes", &gone.url);
    let mut relay = Reloading::start(&pool, &file, &["--reconnect"], &[]);
    pool.connected("changes").await;
    let mut changing = pool.start_call("changes").answer().await;
    let mut going = pool.start_call("goes").answer().await;

    let report = relay.reload(&table("changes", &new.url)).await;
    assert_eq!(
        (&report["changed"], &report["removed"]),
        (&json!(1), &json!(1))
    );
    assert_eq!(answering_provider(&pool, "changes").await, "new");
    let refused = pool.post("goes", &tools_call(1, "x")).await;
    assert_eq!(refused.status(), 503);

    for (events, answer) in [(old_events, &mut changing), (gone_events, &mut going)] {
        events
            .send(Ok(Bytes::from_static(b"data: x\n\n")))
            .await
            .unwrap();
        assert!(answer.chunk().await.unwrap().is_some());
        drop(events);
        while answer.chunk().await.unwrap().is_some() {}
    }
    until_gone(&pool, "goes").await;
    let ended = "a removed provider has ended";
    relay
        .process
        .nth_line(2, ended, |line| line.contains(ended))
        .await;
}

#[tokio::test]
async fn a_wrong_file_changes_nothing_and_all_its_errors_are_logged() {
    let pool = Pool::start().await;
    let provider = named("stays").await;
    let good = table("stays", &provider.url);
    let mut relay = Reloading::start(&pool, &good, &["--reconnect"], &[]);
    pool.connected("stays").await;

    let wrong = "reconect = true\n[[provider]]\nurl = 'ftp://a'\nauth_token = ' hunter2'\n";
    std::fs::write(relay.path("relay.toml"), wrong).unwrap();
    relay.process.signal("HUP").await;

    let kept = "the settings were read again and are wrong: those of before hold on";
    assert_eq!(relay.process.event(kept).await["errors"], 3);
    let errors = relay.process.lines_with("a wrong setting");
    assert_eq!(errors.len(), 3, "{errors:?}");
    for part in ["reconect", "PROVIDER_URL", "AUTH_TOKEN"] {
        assert!(
            errors.iter().any(|error| error.contains(part)),
            "{errors:?}"
        );
    }
    assert!(!relay.process.log().contains("hunter2"));
    assert_eq!(answering_provider(&pool, "stays").await, "stays");
}

#[tokio::test]
async fn what_cannot_change_while_running_is_named() {
    let pool = Pool::start().await;
    let provider = named("stays").await;
    let good = table("stays", &provider.url);
    let mut relay = Reloading::start(&pool, &good, &["--reconnect"], &[]);
    pool.connected("stays").await;

    let changed = format!("drain_timeout = '7s'\nlog_burst = 5\nprobe_interval = '9s'\n{good}");
    // The environment has the stronger value of the drain timeout and of the probe interval.
    relay.reload(&changed).await;
    relay
        .reload(&format!("max_memory = '100MiB'\n{good}"))
        .await;

    let lines = relay.process.lines_with("takes effect after a restart");
    assert!(
        lines.iter().any(|line| line.contains("\"MAX_MEMORY\"")),
        "{lines:?}"
    );
    assert_eq!(lines.len(), 1, "{lines:?}");
}

/// A token is part of a provider; the server is notified that the id is protected now.
#[tokio::test]
async fn a_changed_token_counts_at_once() {
    let pool = Pool::start().await;
    let provider = named("stays").await;
    let open = table("stays", &provider.url);
    let mut relay = Reloading::start(&pool, &open, &["--reconnect"], &[]);
    assert_eq!(pool.connected("stays").await["protected"], false);

    relay
        .reload(&format!("{open}auth_token = 'secret'\n"))
        .await;

    pool.until_client("stays", "it is protected", |client| {
        client["protected"] == true
    })
    .await;
    let answer = pool.post("stays", &tools_call(1, "x")).await;
    assert_eq!(error_word(answer).await, "wrong_token");
}

/// A relay that does not reconnect goes on if what it adds cannot connect at first.
#[tokio::test]
async fn an_added_id_that_is_taken_disturbs_no_other() {
    let pool = Pool::start().await;
    let provider = named("stays").await;
    let mut holder = pool.relay("taken", &provider.url).await;
    let good = table("stays", &provider.url);
    let mut relay = Reloading::start(&pool, &good, &[], &[]);
    pool.connected("stays").await;

    relay.reload(&(good + &table("taken", &provider.url))).await;

    let refused = "not connected; trying again";
    let error = relay.process.event(refused).await["error"].to_string();
    assert!(
        error.contains("the id taken is held by another relay"),
        "{error}"
    );
    assert_eq!(answering_provider(&pool, "stays").await, "stays");
    holder.kill().await;
    let reached = |line: &str| line.contains("callers reach it at") && line.contains("\"taken\"");
    relay.process.line("it has the id now", reached).await;
    pool.connected("taken").await;
    assert_eq!(answering_provider(&pool, "taken").await, "stays");
}

/// The file of MCP servers is read again, too.
#[tokio::test]
async fn servers_of_a_client_are_added_and_removed() {
    let pool = Pool::start().await;
    let one = named("one").await;
    let other = named("other").await;
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("mcp.json");
    let write = |servers: Value| {
        std::fs::write(&path, json!({ "mcpServers": servers }).to_string()).unwrap();
    };
    write(json!({ "one": { "url": one.url } }));
    let settings = [("MCP_SERVERS", path.to_str().unwrap())];
    let mut relay = Reloading::start(&pool, "", &["--reconnect"], &settings);
    pool.connected("one").await;

    write(json!({ "one": { "url": one.url }, "the other": { "url": other.url } }));
    let added = relay.reload("").await;
    pool.connected("the-other").await;
    assert_eq!(answering_provider(&pool, "the-other").await, "other");
    write(json!({ "the other": { "url": other.url } }));
    let removed = relay.reload("").await;

    until_gone(&pool, "one").await;
    assert_eq!(
        (&added["added"], &added["unchanged"]),
        (&json!(1), &json!(1))
    );
    assert_eq!(
        (&removed["removed"], &removed["unchanged"]),
        (&json!(1), &json!(1))
    );
    assert_eq!(answering_provider(&pool, "the-other").await, "other");
}

/// What is added has a tunnel of its own, which comes back as the first one does, with the ids that
/// were left over by then.
#[tokio::test]
async fn all_tunnels_of_a_relay_come_back() {
    let pool = Pool::start().await;
    let provider = named("one").await;
    let link = Link::to(&pool.url).await;
    let first = table("first", &provider.url);
    let settings = [
        ("SERVER_URL", link.url.as_str()),
        ("RECONNECT_MIN", "50ms"),
        ("RECONNECT_MAX", "50ms"),
    ];
    let mut relay = Reloading::start(&pool, &first, &["--reconnect"], &settings);
    pool.connected("first").await;
    let more = first.clone() + &table("second", &provider.url) + &table("third", &provider.url);
    relay.reload(&more).await;
    pool.connected("second").await;
    pool.connected("third").await;
    pool.until_metric("llamapool_tunnels_connected", 2).await;

    relay
        .reload(&(first + &table("third", &provider.url)))
        .await;
    until_gone(&pool, "second").await;
    link.cut();

    let reached = "callers reach it at";
    let is_it = |line: &str| line.contains(reached);
    relay
        .process
        .nth_line(5, "three ids, and two of them again", is_it)
        .await;
    pool.until_metric("llamapool_tunnels_connected", 2).await;
    for id in ["first", "third"] {
        pool.connected(id).await;
        assert_eq!(answering_provider(&pool, id).await, "one");
    }
    assert!(pool.client("second").await.is_null());
}

/// A program of an operator reads the state of the relay as it is now.
#[tokio::test]
async fn the_status_shows_the_providers_of_now() {
    let pool = Pool::start().await;
    let provider = named("one").await;
    let mut relay = Reloading::start(&pool, &table("old", &provider.url), &["--reconnect"], &[]);
    let address = relay.process.event("the status server listens").await["address"]
        .as_str()
        .unwrap()
        .to_owned();
    pool.connected("old").await;

    relay.reload(&table("new", &provider.url)).await;
    pool.connected("new").await;

    let status = reqwest::get(format!("http://{address}/status"))
        .await
        .unwrap();
    let status: Value = status.json().await.unwrap();
    assert_eq!(status["state"], "connected");
    assert_eq!(status["id"], "new");
    assert_eq!(status["providers"].as_array().unwrap().len(), 1);
    until_gone(&pool, "old").await;
}
