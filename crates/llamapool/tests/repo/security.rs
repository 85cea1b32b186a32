//! Every test that docs/security.md names exists, every line has one or a reason for none, and what
//! the document claims of the sources is true.

use std::collections::BTreeSet;
use std::path::Path;

use crate::document::{read, root};

const DOCUMENT: &str = "docs/security.md";
/// The files that may start a program: the bridge starts the guard, and the guard the program of
/// the relay's own settings.
const STARTS_PROGRAMS: [&str; 2] = ["crates/bridge/src/child.rs", "crates/bridge/src/guard.rs"];

/// A row of a table.
struct Row<'a> {
    cells: Vec<&'a str>,
}

impl Row<'_> {
    /// Returns the names of its tests: a file below `crates/` and a function.
    fn tests(&self) -> Vec<(&str, &str)> {
        let spans = self
            .cells
            .iter()
            .flat_map(|cell| cell.split('`').skip(1).step_by(2));
        spans.filter_map(|span| span.split_once("::")).collect()
    }

    /// Returns the names of its fuzz targets.
    fn fuzz_targets(&self) -> Vec<&str> {
        let spans = self
            .cells
            .iter()
            .flat_map(|cell| cell.split('`').skip(1).step_by(2));
        spans
            .filter_map(|span| span.strip_prefix("fuzz "))
            .collect()
    }

    /// Returns whether it gives a reason for having no test.
    fn has_reason(&self) -> bool {
        let last = self.cells.last().copied().unwrap_or_default();
        ["does not apply: ", "open: ", "out of scope: "]
            .iter()
            .any(|word| last.contains(word))
    }
}

/// Returns the rows of the tables whose first column is the class of an attack.
fn rows(document: &str) -> Vec<Row<'_>> {
    let mut found = Vec::new();
    let mut is_of_classes = false;
    for line in document.lines() {
        if line.starts_with("| class |") {
            is_of_classes = true;
        } else if !line.starts_with('|') {
            is_of_classes = false;
        } else if is_of_classes && line.starts_with("| ") {
            let cells = line.trim_matches('|').split(" | ").map(str::trim).collect();
            found.push(Row { cells });
        }
    }
    found
}

#[test]
fn every_line_names_tests_that_exist_or_a_reason() {
    let document = read(DOCUMENT);
    let rows = rows(&document);
    assert!(rows.len() > 40, "{}", rows.len());

    let mut named = 0;
    for row in &rows {
        let tests = row.tests();
        let targets = row.fuzz_targets();
        assert!(
            !tests.is_empty() || !targets.is_empty() || row.has_reason(),
            "{DOCUMENT}: neither a test nor a reason: {:?}",
            row.cells
        );

        for (file, test) in tests {
            let source = std::fs::read_to_string(root().join("crates").join(file));
            let source = source.unwrap_or_else(|error| panic!("{DOCUMENT}: {file}: {error}"));
            assert!(
                is_test(&source, test),
                "{DOCUMENT}: {file} has no test {test}"
            );
            named += 1;
        }
        for target in targets {
            let file = root().join(format!("fuzz/fuzz_targets/{target}.rs"));
            assert!(file.is_file(), "{DOCUMENT}: no fuzz target {target}");
        }
    }
    assert!(named > 60, "{named}");
}

/// Returns whether a source has a test of this name.
fn is_test(source: &str, name: &str) -> bool {
    let mut is_marked = false;
    for line in source.lines().map(str::trim) {
        let attribute = line.strip_prefix("#[").unwrap_or_default();
        if attribute.starts_with("test]") || attribute.starts_with("tokio::test") {
            is_marked = true;
        } else if let Some((_, rest)) = line.split_once("fn ") {
            if is_marked && rest.split('(').next() == Some(name) {
                return true;
            }
            is_marked = false;
        }
    }
    false
}

#[test]
fn every_fuzz_target_is_in_the_document_and_has_a_corpus() {
    let document = read(DOCUMENT);
    let named: BTreeSet<String> = rows(&document)
        .iter()
        .flat_map(|row| {
            row.fuzz_targets()
                .into_iter()
                .map(str::to_owned)
                .collect::<Vec<_>>()
        })
        .collect();

    let files = std::fs::read_dir(root().join("fuzz/fuzz_targets")).unwrap();
    let targets: BTreeSet<String> = files
        .map(|file| {
            file.unwrap()
                .path()
                .file_stem()
                .unwrap()
                .to_string_lossy()
                .into_owned()
        })
        .collect();
    assert_eq!(named, targets);

    let manifest = read("fuzz/Cargo.toml");
    for target in &targets {
        let corpus = root().join("fuzz/corpus").join(target);
        let inputs = std::fs::read_dir(&corpus).map_or(0, Iterator::count);
        assert!(inputs > 0, "{} is empty", corpus.display());
        assert!(
            manifest.contains(&format!("name = \"{target}\"")),
            "{target}"
        );
    }
}

/// A text of a peer can reach no shell and no opener of URLs if nothing starts them.
#[test]
fn programs_are_started_at_two_places_and_no_shell_is() {
    let mut found = BTreeSet::new();
    let mut sources = Vec::new();
    collect(&root().join("crates"), &mut sources);
    assert!(sources.len() > 150, "{}", sources.len());

    for (path, source) in sources {
        let code = source
            .split("#[cfg(test)]\nmod tests")
            .next()
            .unwrap_or_default();
        assert!(
            !code.contains("\"sh\"") && !code.contains("/bin/sh") && !code.contains("xdg-open"),
            "{path}"
        );
        if code.contains("Command::new(") && !code.contains("use clap::") {
            found.insert(path);
        }
    }

    let expected: BTreeSet<String> = STARTS_PROGRAMS.map(str::to_owned).into();
    assert_eq!(found, expected);
}

/// Collects the sources of the crates that are part of the program, with their paths.
fn collect(folder: &Path, into: &mut Vec<(String, String)>) {
    for entry in std::fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        let shown = path
            .strip_prefix(root())
            .expect("a part")
            .display()
            .to_string();
        let is_for_tests = ["tests", "tests.rs", "testkit", "style", "soak", "build.rs"]
            .iter()
            .any(|name| shown.split('/').any(|part| part == *name));
        if is_for_tests {
            continue;
        }
        if path.is_dir() {
            collect(&path, into);
        } else if path.extension().is_some_and(|end| end == "rs") {
            into.push((shown, std::fs::read_to_string(&path).expect("UTF-8")));
        }
    }
}
