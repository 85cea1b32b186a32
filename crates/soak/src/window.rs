//! One window of a run: callers call while faults strike, everything settles, the history is
//! checked.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::Context;
use rand::SeedableRng;
use rand::rngs::StdRng;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::caller::{self, Caller, Protocol, Recorder, Setting};
use crate::check::{Violation, check};
use crate::fault::{Deaths, Victim, plan};
use crate::history::{Call, History, Operation, Outcome, ProcessSample, Settled};
use crate::inject::{self, Injected, inject};
use crate::journal::{self, Record};
use crate::process::LogDisk;
use crate::site::{Site, is_true};

/// The longest wait after the last fault and the last call until the state is the truth.
const UNTIL_SETTLED: Duration = Duration::from_secs(15);
/// The pause between two looks at the state.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// Programs that run without any session: the one that callers without a session share, and the one
/// of the revision without sessions.
const SHARED_PROGRAMS: usize = 2;
/// Windows over which the memory of a process may grow until it counts as its usual one.
const WARM_WINDOWS: u32 = 4;

/// The measures of a window.
#[derive(Debug, Clone, Copy)]
pub(crate) struct WindowPlan {
    pub(crate) number: u32,
    pub(crate) seed: u64,
    /// The time in which callers call.
    pub(crate) lasting: Duration,
    pub(crate) callers: usize,
    /// Calls at once of each caller.
    pub(crate) at_once: usize,
    pub(crate) deaths: Deaths,
}

/// The outcome of a window.
pub(crate) struct WindowResult {
    pub(crate) history: History,
    pub(crate) violations: Vec<Violation>,
    /// The labels of the faults.
    pub(crate) faults: Vec<String>,
    /// Failures of the harness, and of processes to end.
    pub(crate) failures: Vec<String>,
    /// The time from the last call until the state was the truth.
    pub(crate) settled_after: Duration,
}

/// Measurements that are kept from window to window.
#[derive(Default)]
pub(crate) struct Memory {
    baselines: HashMap<(Victim, u32), Baseline>,
}

/// A process at the ends of its first windows.
#[derive(Debug, Clone, Copy)]
struct Baseline {
    descriptors: usize,
    memory: u64,
    windows: u32,
}

/// Runs a window.
pub(crate) async fn run(
    site: &Arc<Site>,
    epoch: Instant,
    window: WindowPlan,
    memory: &mut Memory,
) -> anyhow::Result<WindowResult> {
    let before = site.state().await;
    let server = site.slot(Victim::Server).await.instance;
    let recorder = Recorder::default();
    let setting = Setting {
        window: window.number,
        port: site.callers_port(),
        epoch,
        recorder: recorder.clone(),
    };

    let mut watch = JoinSet::new();
    let lag = Arc::new(AtomicU64::new(0));
    watch.spawn(measure_lag(lag.clone()));
    let injected = call_under_faults(site, window, &setting).await?;
    inject::heal(site);
    let exits = revive(site).await?;
    let ended = Instant::now();
    let sessions = open_sessions(&recorder.lock());
    // Those of earlier windows have ended by now, idle for longer than they may be.
    let programs_allowed = SHARED_PROGRAMS + sessions;
    settle(site, programs_allowed).await;
    let settled_after = ended.elapsed();
    caller::probe(&setting).await?;
    settle(site, programs_allowed).await;

    let survived = site.slot(Victim::Server).await.instance == server;
    let settled = Settled {
        truth: Site::truth(),
        reported: site.state().await,
        before: before.filter(|_| survived),
        processes: sample(site, exits, memory).await,
        programs: inject::programs(site).len(),
        programs_allowed,
    };
    let calls = std::mem::take(&mut *recorder.lock());
    let mut history = history(site, calls, &injected, settled)?;
    history.lag = lag.load(Ordering::Relaxed);
    Ok(WindowResult {
        violations: check(&history),
        history,
        faults: injected.labels,
        failures: injected.failures,
        settled_after,
    })
}

/// Lets callers call and faults strike, until the last call has its end.
async fn call_under_faults(
    site: &Arc<Site>,
    window: WindowPlan,
    setting: &Setting,
) -> anyhow::Result<Injected> {
    let start = Instant::now();
    let stop = watch::Sender::new(false);
    let mut tasks = JoinSet::new();
    for number in 0..window.callers {
        let protocol = [Protocol::Http1, Protocol::Http2][number % 2];
        let caller = Arc::new(Caller::new(number, protocol, setting.clone())?);
        for task in 0..window.at_once {
            let place = number * window.at_once + task;
            let rng = StdRng::seed_from_u64(window.seed.wrapping_mul(1009) + place as u64);
            let caller = caller.clone();
            let stop = stop.subscribe();
            tasks.spawn(async move { caller::run(&caller, rng, stop).await });
        }
    }

    let lasting = window.lasting.as_millis().try_into()?;
    let faults = plan(window.seed, lasting, window.deaths);
    let injected = inject(site.clone(), setting.epoch, start, faults).await;
    tokio::time::sleep_until(start + window.lasting).await;
    stop.send_replace(true);
    while let Some(ended) = tasks.join_next().await {
        ended.context("a caller")?;
    }
    Ok(injected)
}

/// Measures for how long the tasks of this process do not run, on a machine that is busy.
async fn measure_lag(longest: Arc<AtomicU64>) {
    loop {
        let before = Instant::now();
        tokio::time::sleep(LOOK_EVERY).await;
        let late = before.elapsed().saturating_sub(LOOK_EVERY).as_millis();
        longest.fetch_max(late.try_into().unwrap_or(u64::MAX), Ordering::Relaxed);
    }
}

/// Starts processes that ended without a fault that ends processes. Returns their exits.
async fn revive(site: &Site) -> anyhow::Result<HashMap<Victim, String>> {
    let mut exits = HashMap::new();
    for victim in Victim::ALL {
        let mut slot = site.slot(victim).await;
        let status = slot.process.as_mut().and_then(|process| process.exited());
        if let Some(status) = status {
            exits.insert(victim, format!("{status}"));
            site.launch(victim, &mut slot, LogDisk::Free)?;
        }
    }
    Ok(exits)
}

/// Returns how many sessions of programs may be open for lack of a caller that has ended them.
fn open_sessions(calls: &[Call]) -> usize {
    let of_programs = calls.iter().filter(|call| call.id == "stdio");
    let begun = of_programs.clone().filter(|call| {
        call.operation == Operation::Initialize
            && call.ends.iter().any(|end| may_have_begun(&end.outcome))
    });
    let is_end = |outcome: &Outcome| match outcome {
        Outcome::Answered { status, .. } => *status < 300 || *status == 404,
        _ => false,
    };
    let ended = of_programs.filter(|call| {
        call.operation == Operation::Delete && call.ends.iter().any(|end| is_end(&end.outcome))
    });
    begun.count().saturating_sub(ended.count())
}

/// Returns whether a session may have begun with an `initialize` that ended in this way.
fn may_have_begun(outcome: &Outcome) -> bool {
    match outcome {
        Outcome::NotSent => false,
        Outcome::Answered { status, .. } => matches!(status, 200 | 502 | 504),
        Outcome::Broken { .. } | Outcome::NoAnswer | Outcome::Left | Outcome::Hung => true,
    }
}

/// Waits until the state is the truth and the programs are those that may run, within a bound.
async fn settle(site: &Site, programs_allowed: usize) {
    let settled = async {
        loop {
            let is_settled = site.state().await.is_some_and(|ids| is_true(&ids));
            if is_settled && inject::programs(site).len() <= programs_allowed {
                return;
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    };
    let _ = tokio::time::timeout(UNTIL_SETTLED, settled).await;
}

/// Measures every process, and compares it with its first windows.
async fn sample(
    site: &Site,
    mut exits: HashMap<Victim, String>,
    memory: &mut Memory,
) -> Vec<ProcessSample> {
    let mut samples = Vec::new();
    for victim in Victim::ALL {
        let slot = site.slot(victim).await;
        let Some(process) = &slot.process else {
            continue;
        };
        process.bound_log();
        let descriptors = process.descriptors();
        let resident = process.memory();
        let baseline = memory
            .baselines
            .entry((victim, slot.instance))
            .or_insert(Baseline {
                descriptors,
                memory: resident,
                windows: 0,
            });
        baseline.windows += 1;
        if baseline.windows <= WARM_WINDOWS {
            baseline.memory = baseline.memory.max(resident);
            baseline.descriptors = baseline.descriptors.max(descriptors);
        }
        samples.push(ProcessSample {
            name: victim.name().to_owned(),
            instance: slot.instance,
            exited: exits.remove(&victim),
            descriptors,
            descriptors_before: baseline.descriptors,
            memory: resident,
            memory_before: baseline.memory,
        });
    }
    let is_current = |name: &str, instance: u32| {
        let mut samples = samples.iter();
        samples.any(|sample| sample.name == name && sample.instance == instance)
    };
    memory
        .baselines
        .retain(|(victim, instance), _| is_current(victim.name(), *instance));
    samples
}

fn history(
    site: &Site,
    calls: Vec<Call>,
    injected: &Injected,
    settled: Settled,
) -> anyhow::Result<History> {
    let mut history = History {
        calls,
        stops: injected.stops.clone(),
        stuck: injected.stuck.clone(),
        settled: Some(settled),
        ..History::default()
    };
    for record in journal::take(&site.journal())? {
        match record {
            Record::Execution(execution) => history.executions.push(execution),
            Record::Cancellation(cancellation) => history.cancellations.push(cancellation),
        }
    }
    Ok(history)
}
