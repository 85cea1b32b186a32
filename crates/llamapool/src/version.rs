//! Version, commit and date of this build, as `build.rs` found them.

use llamapool_wire::BuildInfo;

/// Version, commit and date of this build.
pub const BUILD: BuildInfo = BuildInfo {
    version: env!("CARGO_PKG_VERSION"),
    sha: env!("LLAMAPOOL_BUILD_SHA"),
    date: env!("LLAMAPOOL_BUILD_DATE"),
};

/// Characters of an RFC 3339 date that are the day.
const DAY_CHARS: usize = "2026-11-22".len();

/// Returns the line that `--version` prints.
pub fn version_line() -> String {
    let day = BUILD.date.get(..DAY_CHARS).unwrap_or(BUILD.date);

    format!("llamapool {} (commit {}, {day})", BUILD.version, BUILD.sha)
}
