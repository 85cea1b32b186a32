//! The short runs, as a test target: violations that are planted must be found, and under faults
//! there must be none.

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::ensure;
use tokio::time::Instant;

use crate::fault::Deaths;
use crate::llm::{self, LlmPlan};
use crate::plant::Plant;
use crate::site::{Executables, Site};
use crate::soak::{progress, say};
use crate::totals::Totals;
use crate::window::{self, Memory, WindowPlan, WindowResult};

/// The seed of the short run.
const SEED: u64 = 20_260_728;

/// The name of the run with calls to LLMs.
const LLM: &str = "no_call_to_an_llm_is_lost_repeated_or_mixed_up_under_faults";
/// The time in which callers call LLMs in a window, and the callers.
const LLM_WINDOW: Duration = Duration::from_secs(25);
const LLM_CALLERS: usize = 16;
/// Windows of calls to LLMs: in a run, and in one that is to be large.
const LLM_WINDOWS: u64 = 1;
const LARGE_LLM_WINDOWS: u64 = 10;

/// A short run.
#[derive(Debug, Clone, Copy)]
struct Trial {
    plant: Plant,
    lasting: Duration,
    deaths: Deaths,
    callers: usize,
}

/// Runs those of the trials whose names contain one of the words, or all. Prints results in the
/// form of `cargo test`.
pub(crate) async fn run(executables: &Executables, words: &[&str]) -> anyhow::Result<ExitCode> {
    let filters: Vec<&&str> = words.iter().filter(|it| !it.starts_with('-')).collect();
    let is_wanted =
        |name: &String| filters.is_empty() || filters.iter().any(|word| name.contains(**word));
    let trials: Vec<(String, Trial)> = trials()
        .into_iter()
        .filter(|(name, _)| is_wanted(name))
        .collect();

    let number = trials.len() + usize::from(is_wanted(&LLM.to_owned()));
    say(&format!("\nrunning {number} tests"));
    // Those without faults are short of work: they run at once. The one under faults runs alone.
    let (calm, stormy): (Vec<_>, Vec<_>) = trials
        .iter()
        .partition(|(_, trial)| trial.deaths == Deaths::None);
    let calm = calm.into_iter().map(|trial| run_trial(trial, executables));
    let mut passed = futures_util::future::join_all(calm).await;
    for trial in stormy {
        passed.push(run_trial(trial, executables).await);
    }
    if is_wanted(&LLM.to_owned()) {
        passed.push(report(LLM, run_llm(executables).await));
    }
    let failed = passed.iter().filter(|passed| !**passed).count();
    let word = ["ok", "FAILED"][usize::from(failed > 0)];
    let passed = passed.len() - failed;
    say(&format!(
        "\ntest result: {word}. {passed} passed; {failed} failed; 0 ignored; 0 measured; 0 filtered out\n"
    ));
    Ok(if failed == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// Runs a trial and prints its result. Returns whether it passed.
async fn run_trial((name, trial): &(String, Trial), executables: &Executables) -> bool {
    report(name, trial.run(executables).await)
}

/// Prints the result of a test. Returns whether it passed.
fn report(name: &str, result: anyhow::Result<()>) -> bool {
    match result {
        Ok(()) => {
            say(&format!("test {name} ... ok"));
            true
        }
        Err(error) => {
            say(&format!("test {name} ... FAILED\n{error:#}"));
            false
        }
    }
}

/// Runs windows of calls to LLMs, each with a seed of its own unless `HISTORY_SEED` has one.
async fn run_llm(executables: &Executables) -> anyhow::Result<()> {
    let number = |name: &str| std::env::var(name).ok()?.parse::<u64>().ok();
    // As for generated cases: `./test --large` sets ten times as many as the default of 256.
    let is_large = number("PROPTEST_CASES").is_some_and(|cases| cases > 256);
    let windows = if is_large {
        LARGE_LLM_WINDOWS
    } else {
        LLM_WINDOWS
    };
    let seed = number("HISTORY_SEED").unwrap_or_else(|| rand::random::<u32>().into());
    for seed in (seed..).take(usize::try_from(windows)?) {
        let plan = LlmPlan {
            seed,
            lasting: LLM_WINDOW,
            callers: LLM_CALLERS,
        };
        llm::run(executables, plan).await?;
    }
    Ok(())
}

fn trials() -> Vec<(String, Trial)> {
    let planted = Plant::ALL.map(|plant| {
        let trial = Trial {
            plant,
            lasting: Duration::from_secs(4),
            deaths: Deaths::None,
            callers: 4,
        };
        let name = format!(
            "a_provider_that_breaks_the_rules_is_found::{}",
            plant.word()
        );
        (name, trial)
    });
    let honest = Trial {
        plant: Plant::None,
        lasting: Duration::from_secs(30),
        deaths: Deaths::AnyProcess,
        callers: 20,
    };
    let name = "no_call_is_lost_repeated_or_mixed_up_under_faults".to_owned();
    planted.into_iter().chain([(name, honest)]).collect()
}

impl Trial {
    async fn run(&self, executables: &Executables) -> anyhow::Result<()> {
        let folder = tempfile::tempdir()?;
        let epoch = Instant::now();
        let site = Arc::new(Site::start(executables, folder.path(), self.plant).await?);
        let plan = WindowPlan {
            number: 1,
            seed: SEED,
            lasting: self.lasting,
            callers: self.callers,
            at_once: 5,
            deaths: self.deaths,
        };

        let result = window::run(&site, epoch, plan, &mut Memory::default()).await?;

        let mut totals = Totals::default();
        totals.add(epoch.elapsed(), plan.number, plan.seed, &result);
        let line = progress(epoch.elapsed(), plan, &result, &totals);
        if self.deaths != Deaths::None {
            say(&line);
        }
        self.judge(&result, &line)
    }

    fn judge(&self, result: &WindowResult, line: &str) -> anyhow::Result<()> {
        ensure!(
            !result.history.executions.is_empty(),
            "nothing was executed"
        );
        let Some(rule) = self.plant.breaks() else {
            ensure!(result.violations.is_empty(), "violations: {line}");
            return Ok(());
        };
        let mut violations = result.violations.iter();
        ensure!(
            violations.any(|violation| violation.rule == rule),
            "{rule} was not found: {line}"
        );
        Ok(())
    }
}
