//! The tables of docs/settings.md are those of the code, and the example files and recipes agree with it.

use std::ffi::OsString;
use std::path::PathBuf;

use llamapool::cli::{self, Invocation};
use llamapool::settings::{Environment, Group, Role, markdown, provider_markdown};

use crate::document::{assert_current, read, root, with_part};

/// Which role reads which example file.
const EXAMPLES: &[(&str, Role)] = &[
    ("server.toml", Role::Server),
    ("relay.toml", Role::Mcp),
    ("relay-several.toml", Role::Mcp),
];

#[test]
fn tables_of_settings_are_those_of_the_code() {
    let mut expected = read("docs/settings.md");
    for role in Role::ALL {
        let table = markdown(*role, Group::ALL);
        expected = with_part(&expected, &format!("settings:{}", role.name()), &table);
    }
    expected = with_part(&expected, "settings:provider", &provider_markdown());

    assert_current("docs/settings.md", &expected);
}

#[test]
fn the_nginx_recipe_overwrites_what_callers_forward() {
    let guide = read("docs/guides/reverse-proxy.md");
    let (_, recipe) = guide.split_once("\n## nginx\n").expect("the recipe");
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
        guide.contains("--trust-forwarded"),
        "which is why it matters"
    );
}

#[test]
fn example_files_load_in_their_roles() {
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
