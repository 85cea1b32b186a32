//! The long run: window after window, with progress and a report.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use tokio::time::Instant;

use crate::fault::Deaths;
use crate::plant::Plant;
use crate::report::{self, RunFacts};
use crate::site::{Executables, Site};
use crate::totals::Totals;
use crate::window::{self, Memory, WindowPlan, WindowResult};

/// The time in which the callers of a window call.
const WINDOW: Duration = Duration::from_secs(40);
/// Callers, and the calls of each at once.
const CALLERS: usize = 24;
const AT_ONCE: usize = 10;
/// Of this many windows, server and relays may be ended in the first half alone, so that they grow
/// old in the second.
const ROUND: u32 = 16;
/// Histories of windows with violations that are kept as files.
const KEPT_HISTORIES: usize = 10;

/// The options of a soak.
#[derive(Debug, Clone)]
pub(crate) struct SoakOptions {
    pub(crate) lasting: Duration,
    pub(crate) seed: u64,
    /// The number of the first window: a later one repeats the faults of a longer run.
    pub(crate) first_window: u32,
    /// The executable under test, if it is not the one that cargo has built.
    pub(crate) executable: Option<PathBuf>,
    pub(crate) plant: Plant,
    /// The folder of the report, and of the histories of windows with violations.
    pub(crate) folder: PathBuf,
    /// The folder of documents to publish the report in.
    pub(crate) publish: Option<PathBuf>,
}

/// Runs windows until the time is over or Ctrl-C, and writes the report.
pub(crate) async fn run(
    executables: &Executables,
    options: SoakOptions,
) -> anyhow::Result<ExitCode> {
    let folder = tempfile::tempdir()?;
    std::fs::create_dir_all(&options.folder)?;
    say(&format!(
        "seed {}, {:?}; logs are in {}",
        options.seed,
        options.lasting,
        folder.path().display()
    ));
    let epoch = Instant::now();
    let site = Site::start(executables, folder.path(), options.plant).await?;
    let site = Arc::new(site);
    let mut totals = Totals::default();
    let mut memory = Memory::default();

    for number in options.first_window.. {
        if epoch.elapsed() >= options.lasting {
            break;
        }
        let plan = plan(number, options.seed);
        let result = tokio::select! {
            result = window::run(&site, epoch, plan, &mut memory) => result,
            _ = tokio::signal::ctrl_c() => break,
        };
        let result = match result {
            Ok(result) => result,
            Err(error) => {
                let failure = format!("window {number} ended early: {error:#}");
                say(&failure);
                totals.failures.push(failure);
                break;
            }
        };
        totals.add(epoch.elapsed(), number, plan.seed, &result);
        say(&progress(epoch.elapsed(), plan, &result, &totals));
        if !result.violations.is_empty() {
            keep(&options.folder, plan, &result, &totals)?;
        }
    }

    let facts = RunFacts {
        seed: options.seed,
        lasted: epoch.elapsed(),
        calls_at_once: CALLERS * AT_ONCE,
        version: version(&executables.llamapool)?,
        cores: std::thread::available_parallelism()?.get(),
    };
    write_report(&options.folder, &facts, &totals)?;
    if let Some(docs) = &options.publish {
        write_report(docs, &facts, &totals)?;
    }
    let is_whole = totals.windows > 0 && totals.failures.is_empty();
    Ok(if totals.violation_count() == 0 && is_whole {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

fn plan(number: u32, seed: u64) -> WindowPlan {
    let deaths = if (number - 1) % ROUND < ROUND / 2 {
        Deaths::AnyProcess
    } else {
        Deaths::ProvidersAlone
    };
    WindowPlan {
        number,
        seed: seed.wrapping_mul(1_000_003).wrapping_add(number.into()),
        lasting: WINDOW,
        callers: CALLERS,
        at_once: AT_ONCE,
        deaths,
    }
}

/// Returns one line about a window, and the violations in it.
pub(crate) fn progress(
    at: Duration,
    plan: WindowPlan,
    result: &WindowResult,
    totals: &Totals,
) -> String {
    let settled = result.history.settled.clone().unwrap_or_default();
    let processes: Vec<String> = settled
        .processes
        .iter()
        .map(|process| {
            let mebibytes = process.memory / (1024 * 1024);
            format!(
                "{}#{} {mebibytes} MiB {} fds",
                process.name, process.instance, process.descriptors
            )
        })
        .collect();
    let mut line = format!(
        "[{:6} s] window {} (seed {}): {} calls, {} executions, {} faults, settled after {:.1} s, harness lag {} ms, {} of {} programs, {} violations ({} in all); {}",
        at.as_secs(),
        plan.number,
        plan.seed,
        result.history.calls.len(),
        result.history.executions.len(),
        result.faults.len(),
        result.settled_after.as_secs_f64(),
        result.history.lag,
        settled.programs,
        settled.programs_allowed,
        result.violations.len(),
        totals.violation_count(),
        processes.join(", "),
    );
    for violation in result.violations.iter().take(10) {
        let text: String = violation.to_string().chars().take(900).collect();
        line.push_str("\n    ");
        line.push_str(&text);
    }
    for failure in &result.failures {
        line.push_str("\n    not as planned: ");
        line.push_str(failure);
    }
    line
}

/// Writes the history of a window with violations to a file of its own.
fn keep(
    folder: &Path,
    plan: WindowPlan,
    result: &WindowResult,
    totals: &Totals,
) -> anyhow::Result<()> {
    let windows = totals.violations.iter().map(|found| found.window);
    let windows: std::collections::BTreeSet<u32> = windows.collect();
    if windows.len() > KEPT_HISTORIES {
        return Ok(());
    }
    let file = folder.join(format!("window-{}-{}.json", plan.number, plan.seed));
    let text = serde_json::to_vec(&result.history)?;
    std::fs::write(&file, text).with_context(|| file.display().to_string())
}

fn write_report(folder: &Path, facts: &RunFacts, totals: &Totals) -> anyhow::Result<()> {
    let page = folder.join("reliability.md");
    std::fs::write(&page, report::page(facts, totals, "reliability.svg"))?;
    std::fs::write(folder.join("reliability.svg"), report::picture(totals))?;
    say(&format!("the report is in {}", page.display()));
    Ok(())
}

fn version(llamapool: &Path) -> anyhow::Result<String> {
    let output = Command::new(llamapool).arg("--version").output()?;
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// Prints a line. A reader of it that has left is no failure.
pub(crate) fn say(line: &str) {
    let mut output = std::io::stdout();
    let _ = writeln!(output, "{line}");
    let _ = output.flush();
}
