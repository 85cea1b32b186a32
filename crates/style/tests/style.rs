//! The sources keep to the bounds of STYLE.md; the table of measures is printed in any case.
//!
//! `STYLE_ROOT` names another checkout to be measured, `STYLE_SHOW` a part of a path below which
//! every place that counts is listed.

use std::path::PathBuf;

use llamapool_style::{Allowed, find_packages, findings_below, table, unneeded, violations};

/// The exceptions from the bounds.
const ALLOWED: &[Allowed] = &[
    allowed("bench-provider", "expect", 13.0, TEST_CODE),
    allowed("relay", "expect", 1.0, DEFINED_METRICS),
    allowed("server", "expect", 1.0, DEFINED_METRICS),
    allowed("testkit", "expect", 102.0, TEST_CODE),
    allowed("testkit", "unwrap, panic!", 6.0, TEST_CODE),
];

const DEFINED_METRICS: &str =
    "the names of metrics are written in the code, and a test renders all of them";
const TEST_CODE: &str = "code for tests: a panic is a failed test";

const fn allowed(
    package: &'static str,
    measure: &'static str,
    value: f64,
    reason: &'static str,
) -> Allowed {
    Allowed {
        package,
        measure,
        value,
        reason,
    }
}

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
    for exception in unneeded(&packages, ALLOWED) {
        println!("the exception is not needed any more: {exception}");
    }
    let violations = violations(&packages, ALLOWED);
    assert!(violations.is_empty(), "\n{}", violations.join("\n\n"));
}
