//! The documents agree with the program: the tables of settings are those of the code, and the
//! example files load.
//!
//! `UPDATE_DOCS=1 cargo test -p llamapool --test repo docs` writes the tables. The one rule: what a
//! document says about settings outside of the tables is covered by an example file or not said.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use llamapool::cli::{self, Invocation};
use llamapool::roles::{self, ROLES, Role};
use llamapool::settings::{Environment, group};
use llamapool_settings::{Group, markdown};

/// The settings that most people set, for a document that does not show all.
const COMMON: &[Group] = &[group::MAIN, group::ACCESS];
/// Each example file, and the role that reads it.
const EXAMPLES: &[(&str, &Role)] = &[
    ("server.toml", &roles::SERVER),
    ("relay.toml", &roles::RELAY),
    ("relay-several.toml", &roles::RELAY),
];

/// A table between markers: the name in the markers, and the text.
type Table = (&'static str, String);

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// Returns a table of settings for each role, those of these groups.
fn tables_of(roles: &[&Role], groups: &[Group]) -> Vec<Table> {
    let table = |role: &&Role| (role.name, markdown::table(role.schema, groups));
    roles.iter().map(table).collect()
}

/// Returns the document with the text between the markers of a table replaced, `None` if it has no
/// such markers.
fn with_table(document: &str, (name, text): &Table) -> Option<String> {
    let open = format!("<!-- settings:{name} -->\n");
    let close = format!("<!-- /settings:{name} -->");

    let start = document.find(&open)? + open.len();
    let length = document[start..]
        .find(&close)
        .unwrap_or_else(|| panic!("{open} is never closed"));
    let end = start + length;

    Some(format!(
        "{}\n{text}\n{}",
        &document[..start],
        &document[end..]
    ))
}

/// Compares a document with its tables, or writes them with `UPDATE_DOCS=1`.
fn check_document(name: &str, with_tables: impl Fn(String) -> String) {
    let path = root().join(name);
    let document = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{name}: {error}"));

    let current = with_tables(document.clone());

    if std::env::var_os("UPDATE_DOCS").is_some_and(|value| value == "1") {
        std::fs::write(&path, &current).expect("the document can be written");
    } else {
        assert!(
            current == document,
            "{name} is behind the code: UPDATE_DOCS=1 cargo test -p llamapool --test repo docs"
        );
    }
}

#[test]
fn the_tables_of_settings_are_those_of_the_code() {
    let mut tables = tables_of(ROLES, group::ALL);
    tables.push(("provider", markdown::entry_table(roles::RELAY.schema)));

    check_document("docs/settings.md", |document| {
        tables.iter().fold(document, |document, table| {
            with_table(&document, table).unwrap_or_else(|| panic!("no table of {}", table.0))
        })
    });
}

/// The README need not have any.
#[test]
fn the_common_settings_in_the_readme_are_those_of_the_code() {
    let tables = tables_of(&[&roles::SERVER, &roles::RELAY], COMMON);

    check_document("README.md", |document| {
        tables.iter().fold(document, |document, table| {
            with_table(&document, table).unwrap_or(document)
        })
    });
}

#[test]
fn the_recipe_for_nginx_lets_no_caller_say_who_it_is() {
    let readme = std::fs::read_to_string(root().join("README.md")).unwrap();
    let (_, recipe) = readme.split_once("\nnginx:\n").expect("the recipe");
    let places: Vec<&str> = recipe
        .split("\n```\n")
        .nth(1)
        .expect("the block")
        .split("location ")
        .skip(1)
        .collect();
    assert_eq!(places.len(), 2, "calls, and the relays' upgrade");
    for place in places {
        for header in [
            "X-Forwarded-For $remote_addr;",
            "X-Forwarded-Proto $scheme;",
            "X-Forwarded-Host $host;",
        ] {
            assert!(
                place.contains(&format!("proxy_set_header {header}")),
                "{header} is not set in location {place}"
            );
        }
    }
    assert!(
        readme.contains("--trust-forwarded"),
        "which is why it matters"
    );
}

#[test]
fn every_example_file_is_what_its_role_understands() {
    let folder = root().join("examples");
    let entries = std::fs::read_dir(&folder)
        .unwrap()
        .map(|entry| entry.unwrap().path());
    let files: Vec<PathBuf> = entries
        .filter(|path| path.extension().is_some_and(|end| end == "toml"))
        .collect();
    for (name, role) in EXAMPLES {
        let path = folder.join(name);
        assert!(files.contains(&path), "{name} is missing");
        let line = ["llamapool", role.name, "--config-file"]
            .map(OsString::from)
            .into_iter()
            .chain([path.into()]);
        match cli::parse(line, &Environment::default()) {
            Ok(Invocation::Run(_)) => {}
            other => panic!("{name}: {other:?}"),
        }
    }
    assert_eq!(
        files.len(),
        EXAMPLES.len(),
        "an example file that no role is known for: {files:?}"
    );
}
