//! The fields of the log: from `info` on no value is in a form of Rust's own, such as `Some(…)`.

use std::fs;
use std::path::{Path, PathBuf};

use crate::document::root;

/// The fields that are spans of time, whose form, such as `1.5s`, is everyone's.
const SPANS: [&str; 7] = [
    "patience",
    "wait",
    "took",
    "silence",
    "runs_for",
    "renewal_in",
    "next_try_in",
];

#[test]
fn no_value_of_the_log_is_in_a_form_of_rust() {
    let mut events = 0;
    let mut wrong = Vec::new();
    for file in sources(&root().join("crates")) {
        let text = fs::read_to_string(&file).unwrap();
        for event in events_of(&text) {
            events += 1;
            let fields = debug_fields(event);
            let odd = fields.iter().any(|field| !SPANS.contains(field));
            if odd {
                wrong.push(format!("{}: {fields:?}", file.display()));
            }
        }
    }

    assert!(events > 50, "{events}");
    assert!(
        wrong.is_empty(),
        "write them with % or as numbers: {wrong:#?}"
    );
}

/// Returns the sources of what runs: tests log as they like.
fn sources(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("a file").path();
        let name = path
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        if path.is_dir() && !["tests", "testkit", "soak", "target"].contains(&name.as_str()) {
            found.extend(sources(&path));
        } else if name.ends_with(".rs") && !["tests.rs", "telemetry.rs"].contains(&name.as_str()) {
            found.push(path);
        }
    }
    found
}

/// Returns the arguments of each event of a source, from `info` on.
fn events_of(text: &str) -> Vec<&str> {
    let mut found = Vec::new();
    for macro_name in ["tracing::info!(", "tracing::warn!(", "tracing::error!("] {
        for (at, _) in text.match_indices(macro_name) {
            let arguments = &text[at + macro_name.len()..];
            let end = arguments.find(");").unwrap_or(arguments.len());
            found.push(&arguments[..end]);
        }
    }
    found
}

/// Returns the fields that are written by their debug form.
fn debug_fields(arguments: &str) -> Vec<&str> {
    let is_name = |c: char| c.is_alphanumeric() || c == '_';
    arguments
        .split(',')
        .map(str::trim)
        .filter_map(|field| match field.split_once('=') {
            Some((name, value)) if value.trim_start().starts_with('?') => Some(name.trim()),
            Some(_) => None,
            None => field
                .strip_prefix('?')
                .map(|rest| rest.trim_end_matches(|c| !is_name(c))),
        })
        .collect()
}
