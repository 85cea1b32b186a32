//! The sources keep to the bounds of STYLE.md; the table of measures is printed in any case.
//!
//! `STYLE_ROOT` names another checkout to be measured, `STYLE_SHOW` a part of a path below which
//! every place that counts is listed.

use std::path::PathBuf;

use llamapool_style::{find_packages, findings_below, table, violations};

#[test]
fn the_sources_are_within_the_bounds() {
    let root = std::env::var_os("STYLE_ROOT").map_or_else(
        || PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../..")),
        PathBuf::from,
    );

    let packages = find_packages(&root.canonicalize().unwrap()).unwrap();

    println!("{}", table(&packages));
    if let Ok(path) = std::env::var("STYLE_SHOW") {
        println!("{}", findings_below(&packages, &path));
    }
    let (comments, violations): (Vec<_>, Vec<_>) = violations(&packages)
        .into_iter()
        .partition(|line| line.contains(": comments: "));
    println!("{}", comments.join("\n\n"));
    assert!(violations.is_empty(), "\n{}", violations.join("\n\n"));
}
