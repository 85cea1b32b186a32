//! The report of a run: a Markdown page and a picture, made of what the run has measured alone.

use std::fmt::{Display, Write};
use std::time::Duration;

use crate::check::{DESCRIPTOR_SLACK, MEMORY_SLACK};
use crate::fault::Victim;
use crate::picture::{Chart, Curve, draw};
use crate::totals::{Moment, Totals};

const MEBIBYTE: u64 = 1024 * 1024;
/// The least length of a run, and its least faults, without a remark that it was short.
const LONG: Duration = Duration::from_secs(2 * 3600);
const MANY_FAULTS: u64 = 1000;

/// The circumstances of a run.
pub(crate) struct RunFacts {
    pub(crate) seed: u64,
    pub(crate) lasted: Duration,
    pub(crate) calls_at_once: usize,
    /// The version of the executable under test, as it prints it.
    pub(crate) version: String,
    pub(crate) cores: usize,
}

/// Returns the page. `picture` is the path of the picture from the page.
pub(crate) fn page(facts: &RunFacts, totals: &Totals, picture: &str) -> String {
    let mut page = String::from("# Reliability: what was measured\n\n");
    let is_short = facts.lasted < LONG || totals.fault_count() < MANY_FAULTS;
    if is_short {
        page.push_str(
            "**This is the report of a short run.** A long one is at least two hours with at least a \
             thousand faults.\n\n",
        );
    }
    page.push_str(&summary(facts, totals));
    page.push_str(&format!("\n![Memory and descriptors]({picture})\n"));

    page.push_str("\n## Violations\n\n");
    if totals.violation_count() == 0 {
        page.push_str("None.\n");
    } else {
        page.push_str(&table("rule", &totals.rules));
        page.push_str("\nThe first of them:\n\n");
        page.push_str(&excerpts(totals));
    }
    if !totals.failures.is_empty() {
        page.push_str("\n## Not as planned\n\n");
        for failure in &totals.failures {
            let _ = writeln!(page, "- {failure}");
        }
    }
    page.push_str("\n## Ends of calls, as their callers saw them\n\n");
    page.push_str(&table("end", &totals.outcomes));
    page.push_str("\n## Faults\n\n");
    page.push_str(&table("fault", &totals.faults));
    page
}

fn summary(facts: &RunFacts, totals: &Totals) -> String {
    let seconds = facts.lasted.as_secs();
    format!(
        "Written by `./soak … --publish`. How it is measured: \
         [design/0007](design/0007-history-checker.md).\n\n\
         | measure | value |\n|---|---|\n\
         | duration | {} h {} min |\n\
         | executable | {} |\n\
         | cores, which server, relays, providers and callers share | {} |\n\
         | seed | {} |\n\
         | windows | {} |\n\
         | calls | {}, up to {} at once |\n\
         | executions at providers | {} |\n\
         | sessions begun | {} |\n\
         | requests that resumed a stream | {} |\n\
         | cancellations that reached their call | {} |\n\
         | faults | {} |\n\
         | longest time until the state was the truth again | {:.1} s |\n\
         | violations | {} |\n\n\
         A process may hold {DESCRIPTOR_SLACK} descriptors more than at the end of its first windows, and \
         half as much memory again and {} MiB.\n",
        seconds / 3600,
        seconds % 3600 / 60,
        facts.version,
        facts.cores,
        facts.seed,
        totals.windows,
        totals.calls,
        facts.calls_at_once,
        totals.executions,
        totals.sessions,
        totals.resumes,
        totals.cancellations,
        totals.fault_count(),
        totals.slowest_settling.as_secs_f64(),
        totals.violation_count(),
        MEMORY_SLACK / MEBIBYTE,
    )
}

fn table<K: Display>(name: &str, counts: &std::collections::BTreeMap<K, u64>) -> String {
    let mut table = format!("| {name} | number |\n|---|---|\n");
    for (key, count) in counts {
        let _ = writeln!(table, "| {key} | {count} |");
    }
    table
}

fn excerpts(totals: &Totals) -> String {
    let mut text = String::new();
    for found in totals.violations.iter().take(20) {
        let _ = writeln!(
            text,
            "- window {} (seed {}): {}\n\n  ```\n  {}\n  ```\n",
            found.window, found.seed, found.violation.rule, found.violation.excerpt
        );
    }
    text
}

/// Draws memory and descriptors of every process over the time of the run.
pub(crate) fn picture(totals: &Totals) -> String {
    let memory = |process: &crate::history::ProcessSample| (process.memory / MEBIBYTE) as f64;
    let descriptors = |process: &crate::history::ProcessSample| process.descriptors as f64;
    draw(&[
        Chart {
            title: "Resident memory at the end of each window, MiB".to_owned(),
            curves: curves(&totals.moments, memory),
        },
        Chart {
            title: "Open descriptors at the end of each window".to_owned(),
            curves: curves(&totals.moments, descriptors),
        },
    ])
}

fn curves(moments: &[Moment], value: impl Fn(&crate::history::ProcessSample) -> f64) -> Vec<Curve> {
    let of = |victim: Victim| {
        let points = moments.iter().filter_map(|moment| {
            let mut processes = moment.processes.iter();
            let process = processes.find(|process| process.name == victim.name())?;
            Some((moment.at, value(process)))
        });
        Curve {
            name: victim.name().to_owned(),
            points: points.collect(),
        }
    };
    Victim::ALL.map(of).into()
}
