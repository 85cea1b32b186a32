//! One window of a run: callers call while faults strike, everything settles, the history is checked.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context, ensure};
use rand::SeedableRng;
use rand::rngs::StdRng;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::caller::{self, Setting};
use super::check::check;
use super::fault::{WORKERS, plan};
use super::history::{LlmHistory, LlmOutcome};
use super::inject::inject;
use super::script::CallScript;
use super::site::{API_KEY, LlmSite, runtime_name};
use crate::site::Executables;
use crate::soak::say;

/// The longest wait after the last fault and the last call until the state is the truth. Longer than a
/// tunnel may be silent, and than a worker waits before it dials again.
const UNTIL_SETTLED: Duration = Duration::from_secs(20);
/// The pause between two looks at the clock.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// Violations that are printed.
const SHOWN: usize = 5;

/// The measures of a window.
#[derive(Debug, Clone, Copy)]
pub(crate) struct LlmPlan {
    /// The seed of its calls and faults.
    pub(crate) seed: u64,
    /// The time in which the callers call.
    pub(crate) lasting: Duration,
    /// Callers, each with one call at a time.
    pub(crate) callers: usize,
}

/// Runs one window with processes of its own. `Err` if it has violations.
pub(crate) async fn run(executables: &Executables, plan: LlmPlan) -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let history = history(executables, folder.path(), plan).await?;
    let violations = check(&history);
    say(&format!(
        "seed {}: {} calls, {} records of runtimes, {} failed attempts, {}",
        plan.seed,
        history.calls.len(),
        history.records.len(),
        history.failed_attempts.len(),
        ends(&history),
    ));

    let shown = violations.iter().take(SHOWN);
    let shown: Vec<String> = shown.map(ToString::to_string).collect();
    ensure!(
        violations.is_empty(),
        "{} violations, repeat the faults with HISTORY_SEED={}:\n{}",
        violations.len(),
        plan.seed,
        shown.join("\n")
    );
    let whole = |call: &&super::history::LlmCall| call.ends[0].outcome == LlmOutcome::Whole;
    let whole = history.calls.iter().filter(whole).count();
    ensure!(whole * 2 > history.calls.len(), "few answers: {whole}");
    ensure!(
        !history.failed_attempts.is_empty(),
        "no fault met an attempt"
    );
    Ok(())
}

/// Counts the kinds of ends, for the line of progress.
fn ends(history: &LlmHistory) -> String {
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    for end in history.calls.iter().flat_map(|call| &call.ends) {
        let kind = match &end.outcome {
            LlmOutcome::Refused(refusal) => format!("{} {}", refusal.status, refusal.word),
            LlmOutcome::Broken(word) => format!("broken {}", word.as_deref().unwrap_or("")),
            outcome => format!("{outcome:?}").to_lowercase(),
        };
        *counts.entry(kind).or_default() += 1;
    }
    let counts = counts.iter().map(|(kind, count)| format!("{count} {kind}"));
    counts.collect::<Vec<_>>().join(", ")
}

async fn history(
    executables: &Executables,
    folder: &Path,
    window: LlmPlan,
) -> anyhow::Result<LlmHistory> {
    let epoch = Instant::now();
    let site = Arc::new(LlmSite::start(executables, folder).await?);
    let lag = Arc::new(AtomicU64::new(0));
    let mut watch = JoinSet::new();
    watch.spawn(measure_lag(lag.clone()));
    let revived = site.clone();
    watch.spawn(async move { revived.revive().await });
    let setting = Setting {
        url: site.url.clone(),
        api_key: API_KEY,
        epoch,
        runtimes: (1..WORKERS).map(runtime_name).collect(),
        recorder: Arc::default(),
    };

    call_under_faults(&site, &setting, window).await?;
    site.heal();
    let mut unsettled = site.until_settled(UNTIL_SETTLED).await;
    let probe = CallScript::well(format!("s{}probe", window.seed));
    let answer = caller::send(&setting, &site.http, &probe).await;
    if answer != LlmOutcome::Whole {
        unsettled.push(format!("the probe ended with {answer:?}"));
    }
    unsettled.extend(site.until_settled(UNTIL_SETTLED).await);

    watch.shutdown().await;
    let calls = std::mem::take(&mut *setting.recorder.lock());
    let mut history = LlmHistory {
        calls,
        records: crate::journal::take(&site.journal())?,
        failed_attempts: site.failed_attempts()?,
        unsettled,
        lag: lag.load(Ordering::Relaxed),
    };
    let mut site = Arc::into_inner(site).context("a task still has the site")?;
    if !site.server_runs() {
        history.unsettled.push("the server has ended".to_owned());
    }
    Ok(history)
}

/// Lets callers call and faults strike, until the last call has its end.
async fn call_under_faults(
    site: &Arc<LlmSite>,
    setting: &Setting,
    window: LlmPlan,
) -> anyhow::Result<()> {
    let start = Instant::now();
    let stop = watch::Sender::new(false);
    let mut tasks = JoinSet::new();
    for number in 0..window.callers {
        let rng = StdRng::seed_from_u64(window.seed.wrapping_mul(1009) + number as u64);
        let name = format!("s{}c{number}", window.seed);
        tasks.spawn(caller::run(setting.clone(), name, rng, stop.subscribe()));
    }

    let lasting = window.lasting.as_millis().try_into()?;
    inject(site, start, plan(window.seed, lasting)).await?;
    tokio::time::sleep_until(start + window.lasting).await;
    stop.send_replace(true);
    while let Some(ended) = tasks.join_next().await {
        ended.context("a caller")??;
    }
    Ok(())
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
