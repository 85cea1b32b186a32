//! The documents agree with the program: the tables of settings are those of the code, and the example files load.
//!
//! `UPDATE_DOCS=1 cargo test -p llamapool --test docs` writes the tables. The one rule: what a document says about
//! settings outside of the tables is covered by an example file or not said.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use llamapool::cli::{self, Invocation};
use llamapool::settings::{Environment, Role, markdown, provider_markdown};

/// The documents that may have tables of settings; the first must have those of every role.
const DOCUMENTS: &[&str] = &["docs/settings.md", "README.md"];
/// Which role reads which example file.
const EXAMPLES: &[(&str, Role)] =
    &[("server.toml", Role::Server), ("relay.toml", Role::Mcp), ("relay-several.toml", Role::Mcp)];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// Every table by the name in its markers: one for each role, and that of a relay's single provider.
fn tables() -> Vec<(&'static str, String)> {
    let roles = Role::ALL.iter().map(|role| (role.name(), markdown(*role)));
    roles.chain([("provider", provider_markdown())]).collect()
}

/// The document with the text between the markers of a table replaced; none: it has no such markers.
fn with_table(document: &str, name: &str, table: &str) -> Option<String> {
    let (open, close) = (format!("<!-- settings:{name} -->\n"), format!("<!-- /settings:{name} -->"));
    let start = document.find(&open)? + open.len();
    let end = start + document[start..].find(&close).unwrap_or_else(|| panic!("{open} is never closed"));
    Some(format!("{}\n{}\n{}", &document[..start], table, &document[end..]))
}

#[test]
fn the_tables_of_settings_are_those_of_the_code() {
    for (index, name) in DOCUMENTS.iter().enumerate() {
        let path = root().join(name);
        let Ok(document) = std::fs::read_to_string(&path) else {
            assert!(index > 0, "{name} is missing");
            continue;
        };
        let mut current = document.clone();
        for (table, text) in tables() {
            match with_table(&current, table, &text) {
                Some(updated) => current = updated,
                None => assert!(index > 0, "{name} has no table of {table}"),
            }
        }
        if std::env::var_os("UPDATE_DOCS").is_some_and(|value| value == "1") {
            std::fs::write(&path, &current).unwrap();
        } else {
            assert!(
                current == document,
                "{name} is behind the code: UPDATE_DOCS=1 cargo test -p llamapool --test docs"
            );
        }
    }
}

#[test]
fn every_example_file_is_what_its_role_understands() {
    let folder = root().join("examples");
    let entries = std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path());
    let files: Vec<PathBuf> = entries.filter(|path| path.extension().is_some_and(|end| end == "toml")).collect();
    for (name, role) in EXAMPLES {
        let path = folder.join(name);
        assert!(files.contains(&path), "{name} is missing");
        let line = ["llamapool", role.name(), "--config-file"].map(OsString::from).into_iter().chain([path.into()]);
        match cli::parse(line, &Environment::default()) {
            Ok(Invocation::Server(_) | Invocation::Relay(_)) => {}
            other => panic!("{name}: {other:?}"),
        }
    }
    assert_eq!(files.len(), EXAMPLES.len(), "an example file that no role is known for: {files:?}");
}
