//! Nothing of a program outlives what it runs for: its session, and the relay, however that ends.

use std::time::{Duration, Instant};

use serde_json::json;

use crate::faulty::Faulty;
use crate::harness::Pool;
use crate::session::sent;

/// How long the end of everything may take: four times the patience with a program that does not want to end, for a machine
/// that has other things to do.
const END: Duration = Duration::from_secs(20);

/// A relay with two programs that do not want to end, each of which has a child and two daemons that do not want to either.
async fn stubborn(pool: &Pool, id: &str) -> Faulty {
    let program = Faulty::with(pool, id, &["stubborn", "forks"], &[("DRAIN_TIMEOUT", "1s")]).await;
    program.is_known_to_be_older(pool).await;
    for session in [
        program.session().await,
        program.session_of("2025-11-25").await,
    ] {
        session.call("become_a_daemon", json!({})).await;
        session.listen().await;
    }
    // Of each session: the guard, the program, its child, and two daemons.
    assert_eq!(program.processes().len(), 10, "{:?}", program.processes());
    program
}

/// Whether this process, and so every one that it starts, ignores a signal, as `nohup` has it do.
fn is_ignored(signal: u32) -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let mask = status
        .lines()
        .find_map(|line| line.strip_prefix("SigIgn:"))
        .expect("a mask of ignored signals");
    u64::from_str_radix(mask.trim(), 16).unwrap() & (1 << (signal - 1)) != 0
}

#[tokio::test]
async fn nothing_of_a_program_outlives_a_relay_whatever_signal_ends_it() {
    let pool = Pool::start().await;
    let signals = [
        ("TERM", 15),
        ("INT", 2),
        ("HUP", 1),
        ("QUIT", 3),
        ("KILL", 9),
    ];
    // The relay heeds these two; of the others, whoever started the tests may have said that they mean nothing.
    let is_heard =
        |(name, number): &(&str, u32)| matches!(*name, "TERM" | "INT") || !is_ignored(*number);
    let signals = signals.into_iter().filter(is_heard);
    let relays =
        signals.map(async |(signal, _)| (signal, stubborn(&pool, &signal.to_lowercase()).await));
    let mut relays = futures_util::future::join_all(relays).await;
    let started = Instant::now();
    for (signal, program) in &relays {
        program.relay.signal(signal).await;
    }
    for (signal, program) in &mut relays {
        program.none_left().await;
        assert!(started.elapsed() < END, "{signal}: {:?}", started.elapsed());
        program.relay.ended().await;
    }
}

#[tokio::test]
async fn a_second_signal_ends_a_relay_at_once_and_all_programs_with_it() {
    let pool = Pool::start().await;
    let mut program = Faulty::of(&pool, "twice", &["forks"]).await;
    let session = program.session().await;
    let waiting = session.calling("hold", json!({ "name": "waiting" })).await;
    program.relay.signal("TERM").await;
    program.relay.event("draining").await;
    assert!(program.relay.is_running(), "it waits for the call");
    program.relay.signal("INT").await;
    program.relay.ended().await;
    program.none_left().await;
    drop(waiting);
}

#[tokio::test]
async fn a_program_that_ends_by_itself_leaves_nothing_behind() {
    let pool = Pool::start().await;
    let program = Faulty::of(&pool, "leaves", &["forks"]).await;
    program.is_known_to_be_older(&pool).await;
    let session = program.session().await;
    let started = Instant::now();
    drop(session.calling("end", json!({ "status": 0 })).await);
    program.none_left().await;
    assert!(started.elapsed() < END);
}

#[tokio::test]
async fn a_deleted_session_ends_its_program_and_no_other() {
    let pool = Pool::start().await;
    let program = Faulty::of(&pool, "deleted", &["stubborn", "forks"]).await;
    program.is_known_to_be_older(&pool).await;
    let (session, other) = (program.session().await, program.session().await);
    let others = other.call("pid", json!({})).await["pid"].as_i64().unwrap();
    let pid = session.call("pid", json!({})).await["pid"]
        .as_i64()
        .unwrap();
    assert_eq!(sent(session.delete()).await.status(), 200);
    assert_eq!(session.calling("echo", json!({})).await.status(), 404);
    let deleted = program
        .programs()
        .into_iter()
        .find(|process| i64::from(process.pid) == pid)
        .expect("it is stubborn");
    deleted.ended().await;
    assert_eq!(other.call("pid", json!({})).await["pid"], others);
    assert_eq!(sent(other.delete()).await.status(), 200);
    program.none_left().await;
    let bridge = pool.until_client("deleted", "nothing runs", |client| {
        let bridge = &client["relays"][0]["bridge"];
        bridge["children"] == 0 && bridge["sessions"] == 0
    });
    assert_eq!(
        bridge.await["relays"][0]["bridge"]["crashed_total"],
        0,
        "it was asked to end"
    );
}

#[tokio::test]
async fn a_guard_that_is_killed_takes_its_program_with_it() {
    let pool = Pool::start().await;
    let program = Faulty::of(&pool, "guard", &[]).await;
    program.is_known_to_be_older(&pool).await;
    let session = program.session().await;
    let guard = program
        .processes()
        .into_iter()
        .find(|process| process.is_guard())
        .unwrap();
    let guard = rustix::process::Pid::from_raw(guard.pid).unwrap();
    rustix::process::kill_process(guard, rustix::process::Signal::KILL).unwrap();
    program.none_left().await;
    assert_eq!(session.calling("echo", json!({})).await.status(), 404);
    assert_eq!(
        program.session().await.call("echo", json!({})).await["echo"],
        json!({})
    );
}
