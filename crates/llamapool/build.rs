//! Sets commit and date of the build: `LLAMAPOOL_BUILD_SHA` and `LLAMAPOOL_BUILD_DATE` where they
//! are set, as in containers without a checkout, otherwise those of the commit that is checked out,
//! otherwise `unknown`.
//!
//! It never fails a build, and it runs again only when one of its sources changes.
#![allow(
    clippy::print_stdout,
    reason = "cargo reads what a build script prints"
)]

use std::path::{Path, PathBuf};
use std::process::Command;

const SHA: &str = "LLAMAPOOL_BUILD_SHA";
const DATE: &str = "LLAMAPOOL_BUILD_DATE";

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");

    let (sha, date) = if root.join(".git").exists() {
        watch_checkout(&root);
        (
            git(&root, &["log", "-1", "--abbrev=7", "--format=%h"]),
            git(&root, COMMIT_DATE),
        )
    } else {
        (None, None)
    };

    set(SHA, sha);
    set(DATE, date);
}

/// Arguments of git for the date of the commit, RFC 3339 in UTC.
const COMMIT_DATE: &[&str] = &[
    "log",
    "-1",
    "--date=format-local:%Y-%m-%dT%H:%M:%SZ",
    "--format=%cd",
];

/// Sets a variable of the build to that of the environment, or else to what was found in the
/// checkout.
fn set(name: &str, found: Option<String>) {
    println!("cargo::rerun-if-env-changed={name}");

    let variable = std::env::var(name)
        .ok()
        .map(|value| value.trim().to_owned());
    let value = variable
        .filter(|value| !value.is_empty() && !value.contains(char::is_control))
        .or(found);

    println!(
        "cargo::rustc-env={name}={}",
        value.as_deref().unwrap_or("unknown")
    );
}

/// Lets cargo watch the files that a new commit or checkout writes: `HEAD`, its branch, and the log
/// of `HEAD`.
fn watch_checkout(root: &Path) {
    let branch = git(root, &["symbolic-ref", "-q", "HEAD"]);

    for name in ["HEAD", "logs/HEAD", "packed-refs"]
        .into_iter()
        .chain(branch.as_deref())
    {
        let path = git(root, &["rev-parse", "--git-path", name]).map(PathBuf::from);
        // A missing file would count as changed in every build.
        if let Some(path) = path
            .map(|path| root.join(path))
            .filter(|path| path.exists())
        {
            println!("cargo::rerun-if-changed={}", path.display());
        }
    }
}

/// Returns what git prints, `None` if it fails or prints nothing.
fn git(root: &Path, arguments: &[&str]) -> Option<String> {
    let output = Command::new("git")
        .arg("-C")
        .arg(root)
        .args(arguments)
        .env("TZ", "UTC")
        .output()
        .ok()?;

    let text = String::from_utf8(output.stdout).ok()?.trim().to_owned();
    (output.status.success() && !text.is_empty()).then_some(text)
}
