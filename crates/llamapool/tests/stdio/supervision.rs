//! No process of a program outlives its session or its relay, however these end.

use std::time::{Duration, Instant};

use serde_json::json;

use crate::harness::Pool;
use crate::scripted_program::ScriptedProgram;
use crate::session_client::send;

/// The limit for the end of all processes: four times the grace period of a stubborn program,
/// because the machine may be busy.
const END: Duration = Duration::from_secs(20);

/// Starts a relay with two stubborn programs, each of which has a stubborn child and two stubborn
/// daemons.
async fn stubborn(pool: &Pool, id: &str) -> ScriptedProgram {
    let program =
        ScriptedProgram::start_with(pool, id, &["stubborn", "forks"], &[("DRAIN_TIMEOUT", "1s")])
            .await;
    program.until_probed(pool).await;
    for session in [
        program.session().await,
        program.session_of("2025-11-25").await,
    ] {
        session.call_tool("start_daemon", json!({})).await;
        session.listen().await;
    }

    // Of each session: the guard, the program, its child, and two daemons.
    assert_eq!(program.processes().len(), 10, "{:?}", program.processes());

    program
}

/// Returns whether this process ignores a signal, as under `nohup`; the processes that it starts
/// inherit that.
fn is_ignored(signal: u32) -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let mask = status
        .lines()
        .find_map(|line| line.strip_prefix("SigIgn:"))
        .expect("a mask of ignored signals");
    u64::from_str_radix(mask.trim(), 16).unwrap() & (1 << (signal - 1)) != 0
}

#[tokio::test]
async fn no_process_of_a_program_outlives_its_relay_on_any_signal() {
    let pool = Pool::start().await;
    let signals = [
        ("TERM", 15),
        ("INT", 2),
        ("ALRM", 14),
        ("QUIT", 3),
        ("KILL", 9),
    ];
    // The relay handles TERM and INT itself. The others it may have inherited as ignored.
    let is_effective =
        |(name, number): &(&str, u32)| matches!(*name, "TERM" | "INT") || !is_ignored(*number);
    let signals = signals.into_iter().filter(is_effective);
    let relays =
        signals.map(async |(signal, _)| (signal, stubborn(&pool, &signal.to_lowercase()).await));
    let mut relays = futures_util::future::join_all(relays).await;

    let started = Instant::now();
    for (signal, program) in &relays {
        program.relay.signal(signal).await;
    }

    for (signal, program) in &mut relays {
        program.until_all_ended().await;
        assert!(started.elapsed() < END, "{signal}: {:?}", started.elapsed());
        program.relay.ended().await;
    }
}

#[tokio::test]
async fn a_second_signal_ends_the_relay_and_its_programs_at_once() {
    let pool = Pool::start().await;
    let mut program = ScriptedProgram::start(&pool, "twice", &["forks"]).await;
    let session = program.session().await;

    let waiting = session
        .send_call("hold", json!({ "name": "waiting" }))
        .await;
    program.relay.signal("TERM").await;
    program.relay.event("draining").await;

    assert!(program.relay.is_running(), "it waits for the call");

    program.relay.signal("INT").await;
    program.relay.ended().await;
    program.until_all_ended().await;
    drop(waiting);
}

#[tokio::test]
async fn a_program_that_exits_by_itself_leaves_no_process() {
    let pool = Pool::start().await;
    let program = ScriptedProgram::start(&pool, "leaves", &["forks"]).await;
    program.until_probed(&pool).await;
    let session = program.session().await;

    let started = Instant::now();
    drop(session.send_call("exit", json!({ "status": 0 })).await);
    program.until_all_ended().await;

    assert!(started.elapsed() < END);
}

#[tokio::test]
async fn a_deleted_session_ends_its_program_and_no_other() {
    let pool = Pool::start().await;
    let program = ScriptedProgram::start(&pool, "deleted", &["stubborn", "forks"]).await;
    program.until_probed(&pool).await;
    let session = program.session().await;
    let other = program.session().await;

    let others = other.call_tool("pid", json!({})).await["pid"]
        .as_i64()
        .unwrap();
    let pid = session.call_tool("pid", json!({})).await["pid"]
        .as_i64()
        .unwrap();

    assert_eq!(send(session.delete()).await.status(), 200);
    assert_eq!(session.send_call("echo", json!({})).await.status(), 404);

    let deleted = program
        .programs()
        .into_iter()
        .find(|process| i64::from(process.pid) == pid)
        .expect("it is stubborn");
    deleted.ended().await;
    assert_eq!(other.call_tool("pid", json!({})).await["pid"], others);
    assert_eq!(send(other.delete()).await.status(), 200);

    program.until_all_ended().await;
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
    let program = ScriptedProgram::start(&pool, "guard", &[]).await;
    program.until_probed(&pool).await;
    let session = program.session().await;

    let guard = program
        .processes()
        .into_iter()
        .find(|process| process.is_guard())
        .unwrap();
    let guard = rustix::process::Pid::from_raw(guard.pid).unwrap();
    rustix::process::kill_process(guard, rustix::process::Signal::KILL).unwrap();
    program.until_all_ended().await;
    // The relay notices the end a moment later than this process does.
    pool.until_client("guard", "the session is gone", |client| {
        client["relays"][0]["bridge"]["sessions"] == 0
    })
    .await;

    assert_eq!(session.send_call("echo", json!({})).await.status(), 404);
    assert_eq!(
        program.session().await.call_tool("echo", json!({})).await["echo"],
        json!({})
    );
}

/// The program leaves its process group before, so no signal to the group reaches it.
#[tokio::test]
async fn a_program_that_kills_its_guard_ends_with_it() {
    let pool = Pool::start().await;
    let program = ScriptedProgram::start(&pool, "kills", &[]).await;
    program.until_probed(&pool).await;
    let session = program.session().await;

    drop(session.send_call("kill_guard", json!({})).await);
    program.until_all_ended().await;

    assert_eq!(
        program.session().await.call_tool("echo", json!({})).await["echo"],
        json!({})
    );
}
