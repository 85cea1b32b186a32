//! Documents of the repository, and the generated parts between their markers.

use std::path::{Path, PathBuf};

/// The root of the workspace.
pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// Returns the text of a document, by its path from the root.
pub(crate) fn read(name: &str) -> String {
    std::fs::read_to_string(root().join(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// Returns the document with the text between `<!-- marker -->` and `<!-- /marker -->` replaced.
pub(crate) fn with_part(document: &str, marker: &str, part: &str) -> String {
    let open = format!("<!-- {marker} -->\n");
    let close = format!("<!-- /{marker} -->");

    let (before, rest) = document
        .split_once(&open)
        .unwrap_or_else(|| panic!("{open} is missing"));
    let (_, after) = rest
        .split_once(&close)
        .unwrap_or_else(|| panic!("{open} is never closed"));

    format!("{before}{open}\n{part}\n{close}{after}")
}

/// Asserts that a document is `expected`, or writes it where `UPDATE_DOCS=1` asks for that.
pub(crate) fn assert_current(name: &str, expected: &str) {
    if std::env::var_os("UPDATE_DOCS").is_some_and(|value| value == "1") {
        std::fs::write(root().join(name), expected).expect("the document can be written");
        return;
    }

    let is_current = read(name) == expected;
    assert!(
        is_current,
        "{name} is behind the code: UPDATE_DOCS=1 cargo test -p llamapool --test repo"
    );
}
