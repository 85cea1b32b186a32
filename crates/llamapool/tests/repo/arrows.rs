//! The shape of the workspace is the one that ARCHITECTURE.md draws: which crates there are, which may know which, and
//! which files are in them.
//!
//! The document is the source: its table of crates and its room maps are read here. The one rule: what is checked is
//! what a manifest declares, as a crate cannot use anything else.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use cargo_metadata::{DependencyKind, Metadata, MetadataCommand, Package};

/// The most lines of a source file without its tests, as STYLE.md says.
const MAX_LINES: usize = 600;
/// Crates that move bytes and never look into a message.
const WITHOUT_JSON: [&str; 2] = ["llamapool-tunnel", "llamapool-http"];

/// The kit for tests: a dependency of tests alone.
const TESTKIT: &str = "llamapool-testkit";

/// What our crates know of each other: a crate's name, and the names of ours that it depends on.
type Arrows = BTreeMap<String, BTreeSet<String>>;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn architecture() -> String {
    std::fs::read_to_string(root().join("ARCHITECTURE.md")).expect("ARCHITECTURE.md is there")
}

fn workspace() -> Metadata {
    let mut command = MetadataCommand::new();
    command.manifest_path(root().join("Cargo.toml")).no_deps();
    command.exec().expect("cargo tells what the workspace has")
}

fn arrows(workspace: &Metadata, counts: impl Fn(DependencyKind) -> bool) -> Arrows {
    let ours: BTreeSet<_> = workspace
        .packages
        .iter()
        .map(|package| package.name.to_string())
        .collect();
    let known = |package: &Package| {
        let declared = package
            .dependencies
            .iter()
            .filter(|dependency| counts(dependency.kind));
        declared
            .map(|dependency| dependency.name.clone())
            .filter(|name| ours.contains(name))
            .collect()
    };
    workspace
        .packages
        .iter()
        .map(|package| (package.name.to_string(), known(package)))
        .collect()
}

/// The names in backticks in a text.
fn names(text: &str) -> impl Iterator<Item = &str> {
    text.split('`').skip(1).step_by(2)
}

/// The table of crates in ARCHITECTURE.md: in each row a crate, and those of ours that it may know.
fn allowed() -> Arrows {
    let document = architecture();
    let (_, rest) = document
        .split_once("<!-- crates -->")
        .expect("the table of crates begins");
    let (table, _) = rest
        .split_once("<!-- /crates -->")
        .expect("the table of crates ends");
    let rows = table.lines().filter(|line| line.starts_with("| `"));
    let row = |line: &str| {
        let cells: Vec<&str> = line.split('|').collect();
        let name = names(cells[1]).next().expect("a crate's name").to_owned();
        (name, names(cells[2]).map(str::to_owned).collect())
    };
    rows.map(row).collect()
}

/// Every source file of a crate, as paths below its `src`.
fn sources(folder: &Path) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(next) = folders.pop() {
        for entry in std::fs::read_dir(&next).unwrap_or_else(|error| panic!("{next:?}: {error}")) {
            let path = entry.expect("the folder can be read").path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|end| end == "rs") {
                let below = path
                    .strip_prefix(folder)
                    .expect("it was found below the folder");
                found.insert(below.to_str().expect("sources have plain names").to_owned());
            }
        }
    }
    found
}

/// The `src` folders of the workspace, by their path from its root, with the files in them.
fn rooms() -> BTreeMap<String, BTreeSet<String>> {
    let folder = |package: &Package| {
        let folder = package
            .manifest_path
            .parent()
            .expect("a manifest is in a folder")
            .join("src");
        let name = folder
            .strip_prefix(&workspace().workspace_root)
            .expect("a member is in the workspace")
            .to_string();
        (name, sources(folder.as_std_path()))
    };
    workspace().packages.iter().map(folder).collect()
}

/// The room maps in ARCHITECTURE.md: under each heading that names a `src` folder, one line for each file in it.
fn mapped() -> BTreeMap<String, BTreeSet<String>> {
    let document = architecture();
    let sections = document
        .split("\n### `")
        .skip(1)
        .filter_map(|section| section.split_once('`'));
    let files = |text: &str| {
        let text = text.split("\n#").next().unwrap_or_default();
        let entries = text
            .lines()
            .filter_map(|line| line.strip_prefix("- `")?.split('`').next());
        entries.map(str::to_owned).collect()
    };
    sections
        .map(|(folder, text)| (folder.to_owned(), files(text)))
        .collect()
}

#[test]
fn our_crates_and_what_they_know_of_each_other_are_as_the_document_says() {
    let allowed = allowed();
    assert!(allowed.len() > 1, "the table of crates is empty");
    assert_eq!(
        arrows(&workspace(), |kind| kind != DependencyKind::Development),
        allowed
    );
}

#[test]
fn tests_draw_no_arrow_that_is_forbidden() {
    // The kit for tests knows server and relay, and every crate's tests may know the kit. Beyond that only the tests of
    // the executable may know all of ours.
    let allowed = allowed();
    for (name, mut known) in arrows(&workspace(), |_| true) {
        if name == "llamapool" {
            continue;
        }
        known.remove(TESTKIT);
        assert_eq!(known, allowed[&name], "{name}");
    }
}

#[test]
fn the_kit_for_tests_is_a_dependency_of_tests_alone() {
    for (name, known) in allowed() {
        assert!(!known.contains(TESTKIT), "{name} depends on {TESTKIT}");
    }
}

#[test]
fn server_and_relay_never_see_each_other_and_the_lowest_three_see_none_of_ours() {
    let allowed = allowed();
    assert!(!allowed["llamapool-server"].contains("llamapool-relay"));
    assert!(!allowed["llamapool-relay"].contains("llamapool-server"));
    for name in ["llamapool-wire", "llamapool-tunnel", "llamapool-http"] {
        assert!(allowed[name].is_empty(), "{name}");
    }
}

#[test]
fn crates_that_move_bytes_have_no_json() {
    let workspace = workspace();
    for name in WITHOUT_JSON {
        let package = workspace
            .packages
            .iter()
            .find(|package| *package.name == name)
            .expect(name);
        let declared: Vec<_> = package
            .dependencies
            .iter()
            .map(|dependency| dependency.name.as_str())
            .collect();
        assert!(!declared.is_empty());
        for json in ["serde", "serde_json"] {
            assert!(!declared.contains(&json), "{name} depends on {json}");
        }
    }
}

#[test]
fn the_room_maps_name_every_source_file_and_no_other() {
    assert_eq!(mapped(), rooms());
}

#[test]
fn every_source_file_says_first_what_lives_in_it_and_keeps_to_its_budget() {
    let mut looked_at = 0;
    for (folder, files) in rooms() {
        for file in files {
            let path = root().join(&folder).join(&file);
            let text = std::fs::read_to_string(&path).unwrap();
            assert!(
                text.starts_with("//! "),
                "{folder}/{file} does not say first what lives in it"
            );
            assert_ne!(
                path.file_name().unwrap(),
                "mod.rs",
                "{folder}/{file}: the module's name is the file's name"
            );
            let lines = text
                .lines()
                .take_while(|line| *line != "#[cfg(test)]")
                .count();
            let is_tests = path.file_name().unwrap() == "tests.rs";
            assert!(
                is_tests || lines <= MAX_LINES,
                "{folder}/{file} has {lines} lines, expected at most {MAX_LINES}"
            );
            looked_at += 1;
        }
    }
    assert!(looked_at > 50, "only {looked_at} source files were found");
}
