//! An empty place to install into: a home that has nothing, and commands that see nothing else.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use crate::artifacts::walk;

/// Where the tools are; nothing else of the environment reaches a command.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// An empty folder that is the home of its commands.
pub(crate) struct Place(tempfile::TempDir);

impl Place {
    pub(crate) fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    /// Returns a path in it.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// Builds a command with this place as its home.
    pub(crate) fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new(program);
        let home = self.0.path();
        command
            .env_clear()
            .env("PATH", PATH)
            .env("HOME", home)
            .env("LC_ALL", "C.UTF-8")
            .env("npm_config_cache", home.join("npm-cache"))
            .env("npm_config_update_notifier", "false")
            .env("npm_config_audit", "false")
            .env("npm_config_fund", "false")
            .env("PIP_CACHE_DIR", home.join("pip-cache"))
            .env("PIP_DISABLE_PIP_VERSION_CHECK", "1")
            .env("UV_CACHE_DIR", home.join("uv-cache"))
            .env("UV_TOOL_DIR", home.join("uv-tools"))
            .env("UV_PYTHON_DOWNLOADS", "never")
            .current_dir(home);
        command
    }

    /// Returns the files and links below a folder of it, by their names there.
    pub(crate) fn files(&self, name: &str) -> Vec<PathBuf> {
        let folder = self.path(name);
        let all = walk(&folder).into_iter();
        all.filter(|path| !path.is_dir() || path.is_symlink())
            .map(|path| path.strip_prefix(&folder).unwrap().to_owned())
            .collect()
    }
}

/// Runs a command to its end, which must be a good one. Returns its standard output.
pub(crate) fn run(command: &mut Command) -> String {
    let output = output(command);
    let errors = String::from_utf8_lossy(&output.stderr);
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success(),
        "{command:?}: {}\n{text}\n{errors}",
        output.status
    );
    text.into_owned()
}

/// Runs a command to its end.
pub(crate) fn output(command: &mut Command) -> Output {
    command
        .output()
        .unwrap_or_else(|error| panic!("{command:?}: {error}"))
}

/// Returns what an installed program says of its version.
pub(crate) fn assert_is_this_version(place: &Place, program: &Path) {
    let said = run(place.command(program).arg("--version"));
    let version = concat!("llamapool ", env!("CARGO_PKG_VERSION"), " ");
    assert!(said.starts_with(version), "{program:?}: {said}");
}
