//! The crates of the workspace and their dependencies on each other are those of ARCHITECTURE.md.
//!
//! The document is the source: its table of crates is read here. Manifests are compared, not code, as
//! a crate cannot use a dependency that its manifest does not declare.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use cargo_metadata::{DependencyKind, Metadata, MetadataCommand, Package};

use crate::document::{read, root};

/// Crates that forward bytes and never parse a message.
const WITHOUT_JSON: [&str; 2] = ["llamapool-tunnel", "llamapool-http"];
/// Crates whose tests may depend on any crate of ours.
const MAY_TEST_ALL: [&str; 1] = ["llamapool"];

/// The dependencies among our crates: for each crate, those of ours that it depends on.
type Dependencies = BTreeMap<String, BTreeSet<String>>;

fn workspace() -> Metadata {
    let mut command = MetadataCommand::new();
    command.manifest_path(root().join("Cargo.toml")).no_deps();
    command.exec().expect("cargo reports the workspace")
}

/// Returns the dependencies among our crates, of the kinds that `counts` accepts.
fn declared(workspace: &Metadata, counts: impl Fn(DependencyKind) -> bool) -> Dependencies {
    let names = workspace
        .packages
        .iter()
        .map(|package| package.name.to_string());
    let ours: BTreeSet<String> = names.collect();

    let of = |package: &Package| -> BTreeSet<String> {
        let dependencies = package.dependencies.iter();
        dependencies
            .filter(|dependency| counts(dependency.kind))
            .map(|dependency| dependency.name.clone())
            .filter(|name| ours.contains(name))
            .collect()
    };
    let packages = workspace.packages.iter();
    packages
        .map(|package| (package.name.to_string(), of(package)))
        .collect()
}

/// Returns the names in backticks in a text.
fn names(text: &str) -> impl Iterator<Item = &str> {
    text.split('`').skip(1).step_by(2)
}

/// Returns the table of crates in ARCHITECTURE.md: each crate with those that it may depend on.
fn documented() -> Dependencies {
    let document = read("ARCHITECTURE.md");
    let (_, rest) = document
        .split_once("<!-- crates -->")
        .expect("the table of crates begins");
    let (table, _) = rest
        .split_once("<!-- /crates -->")
        .expect("the table of crates ends");

    let rows = table.lines().filter(|line| line.starts_with("| `"));
    rows.map(|line| {
        let cells: Vec<&str> = line.split('|').collect();
        let name = names(cells[1]).next().expect("the name of a crate");
        let known = names(cells[2]).map(str::to_owned).collect();
        (name.to_owned(), known)
    })
    .collect()
}

/// Returns the `src` folders of our crates, as paths from the root.
pub(crate) fn folders() -> Vec<String> {
    let workspace = workspace();
    let folder = |package: &Package| {
        let folder = package
            .manifest_path
            .parent()
            .expect("a manifest is in a folder");
        let from_root = folder.strip_prefix(&workspace.workspace_root);
        format!("{}/src", from_root.expect("a member is in the workspace"))
    };

    let mut folders: Vec<String> = workspace.packages.iter().map(folder).collect();
    folders.sort();
    folders
}

/// Returns every source file below a folder, as sorted paths from it.
pub(crate) fn sources(folder: &str) -> BTreeSet<String> {
    let base = root().join(folder);
    let mut found = BTreeSet::new();
    let mut folders = vec![base.clone()];
    while let Some(next) = folders.pop() {
        let entries = std::fs::read_dir(&next).unwrap_or_else(|error| panic!("{next:?}: {error}"));
        for entry in entries {
            let path = entry.expect("the folder can be read").path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|end| end == "rs") {
                found.insert(relative(&path, &base));
            }
        }
    }
    found
}

fn relative(path: &Path, base: &Path) -> String {
    let below = path
        .strip_prefix(base)
        .expect("it was found below the folder");
    below.to_str().expect("sources have ASCII names").to_owned()
}

#[test]
fn crates_depend_on_each_other_as_documented() {
    let documented = documented();
    let declared = declared(&workspace(), |kind| kind != DependencyKind::Development);

    assert!(documented.len() > 1, "the table of crates is empty");
    assert_eq!(declared, documented);
}

#[test]
fn server_and_relay_never_see_each_other() {
    let documented = documented();
    let server = &documented["llamapool-server"];
    let relay = &documented["llamapool-relay"];

    assert!(!server.contains("llamapool-relay"));
    assert!(!relay.contains("llamapool-server"));
    for (name, allowed) in [
        ("llamapool-head", &[][..]),
        ("llamapool-limits", &[]),
        ("llamapool-settings", &[]),
        ("llamapool-mcp", &["llamapool-head"]),
        ("llamapool-wire", &["llamapool-head"]),
        ("llamapool-http", &["llamapool-head", "llamapool-limits"]),
        ("llamapool-tunnel", &["llamapool-head", "llamapool-limits"]),
    ] {
        let mut others = documented[name].iter();
        let other = others.find(|other| !allowed.contains(&other.as_str()));
        assert_eq!(other, None, "{name} depends on it");
    }
    for name in ["llamapool-tunnel", "llamapool-relay", "llamapool-server"] {
        let bridge = &documented["llamapool-bridge"];
        assert!(!bridge.contains(name), "the bridge depends on {name}");
    }
}

#[test]
fn tests_keep_to_the_documented_dependencies() {
    let documented = documented();
    let with_tests = declared(&workspace(), |_| true);

    for (name, known) in with_tests {
        if MAY_TEST_ALL.contains(&name.as_str()) {
            continue;
        }
        // The kit starts a server and a relay in one process: for tests alone.
        let known: BTreeSet<_> = known
            .into_iter()
            .filter(|it| it != "llamapool-testkit")
            .collect();
        assert!(known.is_subset(&documented[&name]), "{name}: {known:?}");
    }
}

#[test]
fn crates_that_move_bytes_have_no_json() {
    let workspace = workspace();
    for name in WITHOUT_JSON {
        let package = workspace
            .packages
            .iter()
            .find(|package| *package.name == name);
        let package = package.expect(name);
        let declared = package
            .dependencies
            .iter()
            .map(|dependency| dependency.name.as_str());
        let declared: Vec<&str> = declared.collect();

        assert!(!declared.is_empty());
        for json in ["serde", "serde_json"] {
            assert!(!declared.contains(&json), "{name} depends on {json}");
        }
    }
}
