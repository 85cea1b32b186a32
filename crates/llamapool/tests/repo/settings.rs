//! The tables of docs/reference/settings.md are those of the declared settings, the example files load in their
//! roles, and the recipe for nginx is safe.

use std::ffi::OsString;
use std::path::PathBuf;

use llamapool::cli::{self, Invocation};
use llamapool::roles::{self, ROLES, Role};
use llamapool::settings::{Environment, group};
use llamapool_settings::markdown;

use crate::document::{assert_current, read, root, with_part};

/// Each example file, and the role that reads it.
const EXAMPLES: &[(&str, &Role)] = &[
    ("server.toml", &roles::SERVER),
    ("llm-server.toml", &roles::SERVER),
    ("worker.toml", &roles::WORKER),
    ("relay.toml", &roles::RELAY),
    ("relay-several.toml", &roles::RELAY),
];

#[test]
fn tables_of_settings_are_those_of_the_code() {
    let mut expected = read("docs/reference/settings.md");

    for role in ROLES {
        let table = markdown::table(role.schema, group::ALL);
        expected = with_part(&expected, &format!("settings:{}", role.name), &table);
    }
    let provider = markdown::entry_table(roles::RELAY.schema, "provider");
    expected = with_part(&expected, "settings:provider", &provider);
    let key = markdown::entry_table(roles::SERVER.schema, "key");
    expected = with_part(&expected, "settings:key", &key);
    let alias = markdown::entry_table(roles::SERVER.schema, "alias");
    expected = with_part(&expected, "settings:alias", &alias);
    let certificate = markdown::entry_table(roles::SERVER.schema, "certificate");
    expected = with_part(&expected, "settings:certificate", &certificate);
    let runtime = markdown::entry_table(roles::WORKER.schema, "provider");
    expected = with_part(&expected, "settings:runtime", &runtime);

    assert_current("docs/reference/settings.md", &expected);
}

#[test]
fn the_nginx_recipe_overwrites_what_callers_forward() {
    let guide = read("docs/guides/reverse-proxy.md");
    let (_, recipe) = guide.split_once("\n## nginx\n").expect("the recipe");
    let block = recipe.split("\n```\n").nth(1).expect("the block");
    let locations: Vec<&str> = block.split("location ").skip(1).collect();

    assert_eq!(locations.len(), 2, "calls, and the relays' upgrade");
    for location in locations {
        for header in [
            "X-Forwarded-For $remote_addr;",
            "X-Forwarded-Proto $scheme;",
            "X-Forwarded-Host $host;",
        ] {
            let is_set = location.contains(&format!("proxy_set_header {header}"));
            assert!(is_set, "{header} is not set in location {location}");
        }
    }
    assert!(guide.contains("--trust-forwarded"), "the reason for it");
}

#[test]
fn example_files_load_in_their_roles() {
    let folder = root().join("examples");
    let entries = std::fs::read_dir(&folder).unwrap();
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    files.retain(|path| path.extension().is_some_and(|end| end == "toml"));

    for (name, role) in EXAMPLES {
        let path = folder.join(name);
        assert!(files.contains(&path), "{name} is missing");

        let words = ["llamapool", role.name, "--config-file"].map(OsString::from);
        let line = words.into_iter().chain([path.into()]);
        match cli::parse(line, &Environment::default()) {
            Ok(Invocation::Run(_)) => {}
            other => panic!("{name}: {other:?}"),
        }
    }
    assert_eq!(
        files.len(),
        EXAMPLES.len(),
        "an example file without a role: {files:?}"
    );
}
