//! The documents agree with the program: the tables of settings are those of the code, and the example files load.
//!
//! `UPDATE_DOCS=1 cargo test -p llamapool --test docs` writes the tables. The one rule: what a document says about
//! settings outside of the tables is covered by an example file or not said.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use llamapool::cli::{self, Invocation};
use llamapool::settings::{Environment, Group, Role, markdown, provider_markdown};

/// The settings that most set, for a document that does not show all.
const COMMON: &[Group] = &[Group::Main, Group::Access];
/// Which role reads which example file.
const EXAMPLES: &[(&str, Role)] = &[
    ("server.toml", Role::Server),
    ("relay.toml", Role::Mcp),
    ("relay-several.toml", Role::Mcp),
];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// Each document with the tables that it must have, by the names in their markers.
fn documents() -> [(&'static str, Vec<(&'static str, String)>); 2] {
    let of = |role: Role, groups| (role.name(), markdown(role, groups));
    let all = Role::ALL
        .iter()
        .map(|role| of(*role, Group::ALL))
        .chain([("provider", provider_markdown())]);
    let common = [Role::Server, Role::Mcp].map(|role| of(role, COMMON));
    [
        ("docs/settings.md", all.collect()),
        ("README.md", common.to_vec()),
    ]
}

/// The document with the text between the markers of a table replaced; none: it has no such markers.
fn with_table(document: &str, name: &str, table: &str) -> Option<String> {
    let (open, close) = (
        format!("<!-- settings:{name} -->\n"),
        format!("<!-- /settings:{name} -->"),
    );
    let start = document.find(&open)? + open.len();
    let end = start
        + document[start..]
            .find(&close)
            .unwrap_or_else(|| panic!("{open} is never closed"));
    Some(format!(
        "{}\n{}\n{}",
        &document[..start],
        table,
        &document[end..]
    ))
}

#[test]
fn the_tables_of_settings_are_those_of_the_code() {
    for (name, tables) in documents() {
        let path = root().join(name);
        let document =
            std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{name}: {error}"));
        let mut current = document.clone();
        for (table, text) in tables {
            current = with_table(&current, table, &text)
                .unwrap_or_else(|| panic!("{name} has no table of {table}"));
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
        let line = ["llamapool", role.name(), "--config-file"]
            .map(OsString::from)
            .into_iter()
            .chain([path.into()]);
        match cli::parse(line, &Environment::default()) {
            Ok(Invocation::Server(_) | Invocation::Relay(_)) => {}
            other => panic!("{name}: {other:?}"),
        }
    }
    assert_eq!(
        files.len(),
        EXAMPLES.len(),
        "an example file that no role is known for: {files:?}"
    );
}
