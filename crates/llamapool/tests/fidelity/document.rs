//! `docs/fidelity.md`: what was compared, and which test holds which rule.
//!
//! `UPDATE_DOCS=1 cargo test -p llamapool --test fidelity document` writes it. The one rule: it is made of the lists that
//! the tests themselves run from, after they have run; a rule names tests that are there, or says why there is none.

use std::collections::BTreeSet;
use std::path::Path;

use crate::allowed;
use crate::counts;
use crate::matrix::{ALL, FEATURES};
use crate::pace::TIMED;
use crate::parts::root;
use crate::rules::{Held, RULES};
use crate::scenarios;

/// A feature of a revision that no scenario covers, and a difference that never occurs, are failures too.
#[tokio::test]
async fn the_document_says_what_was_tested() {
    let mut seen = BTreeSet::new();
    for scenario in scenarios() {
        match scenario.holds().await {
            Ok(differences) => seen.extend(differences),
            Err(difference) => panic!("{}: {difference}", scenario.name),
        }
    }
    let never: Vec<_> = allowed::all()
        .filter(|it| !seen.contains(it.name))
        .map(|it| it.name)
        .collect();
    assert!(never.is_empty(), "allowed, and never seen: {never:?}");
    let document = document();
    let path = root().join("docs/fidelity.md");
    if std::env::var_os("UPDATE_DOCS").is_some_and(|value| value == "1") {
        std::fs::write(&path, &document).unwrap();
        return;
    }
    let current = std::fs::read_to_string(&path).unwrap_or_default();
    let how = "UPDATE_DOCS=1 cargo test -p llamapool --test fidelity document";
    assert!(
        current == document,
        "docs/fidelity.md is behind the tests: {how}"
    );
}

#[test]
fn every_rule_is_held_by_tests_that_are_there() {
    let mut tests: BTreeSet<String> = scenarios()
        .map(|scenario| scenario.name.to_owned())
        .collect();
    tests.extend(tests_in(&root().join("crates")));
    for rule in RULES {
        if let Held::By(names) = &rule.held {
            assert!(!names.is_empty(), "{}", rule.says);
            for name in *names {
                assert!(
                    tests.contains(*name),
                    "{}: there is no test {name}",
                    rule.says
                );
            }
        }
    }
}

/// The names of all tests in the Rust of a folder: of functions that are marked as tests, and of no others.
fn tests_in(folder: &Path) -> BTreeSet<String> {
    let mut all = BTreeSet::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            all.extend(tests_in(&path));
        } else if path.extension().is_some_and(|end| end == "rs") {
            all.extend(tests_of(&std::fs::read_to_string(&path).unwrap()));
        }
    }
    all
}

/// The same of one file's text.
fn tests_of(text: &str) -> Vec<String> {
    let mut is_marked = false;
    let mut names = Vec::new();
    for line in text.lines().map(str::trim) {
        if line.starts_with("#[test]") || line.starts_with("#[tokio::test") {
            is_marked = true;
        }
        let function = line
            .strip_prefix("async ")
            .unwrap_or(line)
            .strip_prefix("fn ");
        let name = function
            .and_then(|rest| rest.split_once('('))
            .map(|(name, _)| name);
        // Whichever function comes next, the mark is its own.
        names.extend(
            name.filter(|_| std::mem::take(&mut is_marked))
                .map(str::to_owned),
        );
    }
    names
}

#[test]
fn a_helper_is_no_test() {
    let text = "#[tokio::test(start_paused = true)]\n#[allow(x)]\nasync fn a_test() {\n fn inner() {}\n}\n#[test]\nfn other() {}\nfn helper() {}";
    assert_eq!(tests_of(text), ["a_test", "other"]);
}

fn document() -> String {
    let mut text = OPENING.to_owned();
    let revisions: Vec<_> = ALL.iter().map(|revision| revision.name()).collect();
    text.push_str(&format!(
        "| | {} |\n|---|{}\n",
        revisions.join(" | "),
        "---|".repeat(revisions.len())
    ));
    for feature in FEATURES {
        let cells = ALL.iter().map(|revision| {
            let covering = scenarios()
                .filter(|it| it.feature == *feature && it.revisions.contains(revision))
                .count();
            let has_it = feature.revisions().contains(revision);
            assert_eq!(
                has_it,
                covering > 0,
                "{}, {}",
                feature.name(),
                revision.name()
            );
            if has_it {
                format!("same ({covering})")
            } else {
                "–".to_owned()
            }
        });
        text.push_str(&format!(
            "| {} | {} |\n",
            feature.name(),
            cells.collect::<Vec<_>>().join(" | ")
        ));
    }
    text.push_str(&counts::section());
    text.push_str(SCENARIOS);
    for feature in FEATURES {
        let names = scenarios()
            .filter(|it| it.feature == *feature)
            .map(|it| format!("`{}`", it.name));
        text.push_str(&format!(
            "* {}: {}\n",
            feature.name(),
            names.collect::<Vec<_>>().join(", ")
        ));
    }
    text.push_str(DIFFERENCES);
    for allowed in allowed::all() {
        text.push_str(&format!("| {} | {} |\n", allowed.name, allowed.reason));
    }
    text.push_str(TIMES);
    for timed in TIMED {
        text.push_str(&format!("* {}\n", timed.name()));
    }
    text.push_str(KEPT);
    for rule in RULES {
        let held = match &rule.held {
            Held::By(tests) => tests
                .iter()
                .map(|test| format!("`{test}`"))
                .collect::<Vec<_>>()
                .join(", "),
            Held::Not(why) => format!("no test: {why}"),
        };
        text.push_str(&format!("| {} | {held} |\n", rule.says));
    }
    text
}

const OPENING: &str = "\
# Fidelity

What a call has through llamapool is what it has straight at the provider. Every line here is made by the tests that
check it: scenarios that run both ways, once straight and once through a server and a relay, and are compared to the byte,
on the caller's side and on the provider's (`crates/llamapool/tests/fidelity`). The official conformance suite runs both
ways, too, and must say the same of every check; so do real clients, which must see the same. The server is run as it is
shipped. That the comparison finds what is wrong is tested with a proxy that does one thing wrong at a time.

The number is how many scenarios were the same; – is what the revision does not have. A scenario that is the same bytes in
several revisions, such as a head or a broken stream, counts for each of them.

";
const SCENARIOS: &str = "\n## Scenarios\n\n";
const DIFFERENCES: &str = "
## What differs

Nothing else may, or the tests fail; and each of these occurs in them.

| difference | reason |
|---|---|
";
const TIMES: &str = "
## Times

Through llamapool none of these takes longer than straight at the provider, in classes: less than 100 ms, less than a second,
longer. On one and the same machine, that is; a network adds its own. What was slower once is looked at again before it counts.

";
const KEPT: &str = "
## Rules for what is in between

From the specifications, and from what clients and servers do.

| rule | held by |
|---|---|
";
