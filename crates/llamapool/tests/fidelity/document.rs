//! Generates `docs/reference/fidelity.md`: the comparisons, and the tests of each rule.
//!
//! `UPDATE_DOCS=1 cargo test -p llamapool --test fidelity document` writes it. It is generated from
//! the lists that the tests themselves run from, after they have run.

use std::collections::BTreeSet;
use std::path::Path;

use crate::allowed;
use crate::counts;
use crate::matrix::{ALL, FEATURES};
use crate::pace::TIMINGS;
use crate::parts::root;
use crate::rules::{Coverage, RULES};
use crate::scenarios;

/// Fails, too, if no scenario covers a feature of a revision, or if an allowed difference never
/// occurs.
#[tokio::test]
async fn the_document_matches_the_tests() {
    let mut seen = BTreeSet::new();
    for scenario in scenarios() {
        match scenario.check().await {
            Ok(differences) => seen.extend(differences),
            Err(message) => panic!("{}: {message}", scenario.name),
        }
    }

    let never: Vec<_> = allowed::all()
        .filter(|it| !seen.contains(it.name))
        .map(|it| it.name)
        .collect();
    assert!(never.is_empty(), "allowed, and never seen: {never:?}");

    let document = document();
    let path = root().join("docs/reference/fidelity.md");
    if std::env::var_os("UPDATE_DOCS").is_some_and(|value| value == "1") {
        std::fs::write(&path, &document).unwrap();
        return;
    }

    let current = std::fs::read_to_string(&path).unwrap_or_default();
    let how = "UPDATE_DOCS=1 cargo test -p llamapool --test fidelity document";
    assert!(
        current == document,
        "docs/reference/fidelity.md is behind the tests: {how}"
    );
}

#[test]
fn every_rule_names_existing_tests() {
    let mut tests: BTreeSet<String> = scenarios()
        .map(|scenario| scenario.name.to_owned())
        .collect();
    tests.extend(tests_in(&root().join("crates")));
    for rule in RULES {
        if let Coverage::Tests(names) = &rule.coverage {
            assert!(!names.is_empty(), "{}", rule.text);
            for name in *names {
                assert!(
                    tests.contains(*name),
                    "{}: there is no test {name}",
                    rule.text
                );
            }
        }
    }
}

/// Returns the names of all test functions in the Rust files of a folder.
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

/// Returns the names of the test functions in the text of a file.
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
        // The attribute belongs to the next function.
        names.extend(
            name.filter(|_| std::mem::take(&mut is_marked))
                .map(str::to_owned),
        );
    }

    names
}

#[test]
fn helper_functions_are_not_counted_as_tests() {
    let text = "#[tokio::test(start_paused = true)]\n#[allow(x)]\nasync fn a_test() {\n fn inner() {}\n}\n#[test]\nfn other() {}\nfn helper() {}";
    assert_eq!(tests_of(text), ["a_test", "other"]);
}

/// Returns the text of the document.
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
    for timed in TIMINGS {
        text.push_str(&format!("* {}\n", timed.name()));
    }
    text.push_str(RULES_OPENING);

    for rule in RULES {
        let tests = match &rule.coverage {
            Coverage::Tests(tests) => tests
                .iter()
                .map(|test| format!("`{test}`"))
                .collect::<Vec<_>>()
                .join(", "),
            Coverage::None(reason) => format!("no test: {reason}"),
        };
        text.push_str(&format!("| {} | {tests} |\n", rule.text));
    }

    text
}

const OPENING: &str = "\
# Fidelity

A call through llamapool is the same as a direct call to the provider. This document is generated by the tests that check
it: scenarios that run twice, directly and through a server and a relay, and are compared to the byte on the side of the
caller and on that of the provider (`crates/llamapool/tests/fidelity`). The official conformance suite runs on both routes,
too, and must report the same for every check; real clients must see the same. The server runs with its defaults. That the
comparison finds faults is tested with proxies that have one fault each.

Each cell has the number of equal scenarios; – marks a feature that the revision does not have. A scenario with the same bytes in
several revisions, such as a head or a broken stream, counts for each of them.

";
const SCENARIOS: &str = "\n## Scenarios\n\n";
const DIFFERENCES: &str = "
## Allowed differences

The tests fail on any other difference, and each of these occurs in them.

| difference | reason |
|---|---|
";
const TIMES: &str = "
## Times

Through llamapool none of these takes longer than directly, in classes: less than 100 ms, less than a second, longer. This is
measured on one machine; a network adds its own time. A scenario that was slower runs again before it counts.

";
const RULES_OPENING: &str = "
## Rules for intermediaries

From the specifications, and from the behaviour of clients and servers.

| rule | tests |
|---|---|
";
