//! The artifacts, made once for all tests.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::LazyLock;

/// The folder of all artifacts, below `target/`.
const FOLDER: &str = "target/install-test/artifacts";
/// All that are made without a network and without a daemon.
const ALL: &[&str] = &[
    "npm", "wheel", "deb", "archive", "sbom", "chart", "formula", "sums",
];

static MADE: LazyLock<PathBuf> = LazyLock::new(make);

/// Returns the folder of the workspace.
pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../..")
        .canonicalize()
        .unwrap()
}

/// Returns the folder with the artifacts.
pub(crate) fn folder() -> &'static Path {
    &MADE
}

/// Returns the one artifact with this beginning and end of its name.
pub(crate) fn artifact(folder: &str, begin: &str, end: &str) -> PathBuf {
    let folder = MADE.join(folder);
    let paths = std::fs::read_dir(&folder).unwrap();
    let is_it = |path: &PathBuf| {
        let name = path.file_name().unwrap().to_str().unwrap();
        name.starts_with(begin) && name.ends_with(end)
    };
    let found: Vec<_> = paths
        .map(|entry| entry.unwrap().path())
        .filter(is_it)
        .collect();
    let [one] = &found[..] else {
        panic!("one {begin}*{end} in {folder:?}, found {found:?}")
    };
    one.clone()
}

/// Returns the launcher's package and that of this platform.
pub(crate) fn npm_packages() -> [PathBuf; 2] {
    let platform = artifact("npm", "llamapool-l", ".tgz");
    let version = env!("CARGO_PKG_VERSION");
    [MADE.join(format!("npm/llamapool-{version}.tgz")), platform]
}

/// Returns the executable as it is published.
fn program() -> PathBuf {
    let how = "cargo build --profile dist -p llamapool, then: \
               LLAMAPOOL_PROGRAM=$PWD/target/dist/llamapool cargo test -p llamapool --test install";
    let program = std::env::var_os("LLAMAPOOL_PROGRAM");
    let program = program.unwrap_or_else(|| panic!("LLAMAPOOL_PROGRAM is not set: {how}"));
    let program = PathBuf::from(program);
    assert!(
        program.is_absolute() && program.is_file(),
        "{program:?}: {how}"
    );
    program
}

fn make() -> PathBuf {
    let folder = root().join(FOLDER);
    let _ = std::fs::remove_dir_all(&folder);
    dist(&program(), &folder, ALL);
    folder
}

/// Runs `./dist` of a program.
pub(crate) fn dist(program: &Path, output: &Path, artifacts: &[&str]) {
    let made = Command::new(root().join("dist"))
        .arg("--program")
        .arg(program)
        .arg("--output")
        .arg(output)
        .args(artifacts)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&made.stderr);
    assert!(made.status.success(), "./dist: {said}");
}

/// Without names, sizes and sums of the same executable are the same: what is published can be made again.
#[test]
fn the_same_executable_makes_the_same_bytes() {
    let again = root().join("target/install-test/again");
    let _ = std::fs::remove_dir_all(&again);

    dist(&program(), &again, &["npm", "wheel", "archive", "sbom"]);

    let sums = std::fs::read_to_string(folder().join("SHA256SUMS")).unwrap();
    let listed = |paths: &Path| walk(paths).into_iter().filter(|path| path.is_file());
    let mut compared = 0;
    for path in listed(&again) {
        let name = path.strip_prefix(&again).unwrap();
        if name.starts_with("program") {
            continue;
        }
        let first = std::fs::read(folder().join(name)).unwrap();
        assert!(first == std::fs::read(&path).unwrap(), "{name:?} differs");
        let file = name.file_name().unwrap().to_str().unwrap();
        assert!(
            sums.contains(&format!("  {file}\n")),
            "{file} is not in:\n{sums}"
        );
        compared += 1;
    }
    assert_eq!(compared, 5);
}

/// Returns everything below a folder, sorted.
pub(crate) fn walk(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut left = vec![folder.to_owned()];
    while let Some(folder) = left.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let entry = entry.unwrap();
            if entry.file_type().unwrap().is_dir() {
                left.push(entry.path());
            }
            found.push(entry.path());
        }
    }
    found.sort();
    found
}
