//! The build of a program, as it is shown on the command line, to the peer and in the state.

/// Version, commit and date of the program.
#[derive(Debug, Clone, Copy)]
pub struct BuildInfo {
    /// The version, such as `0.1.0`.
    pub version: &'static str,
    /// The commit it was built from; `unknown` outside of a checkout.
    pub sha: &'static str,
    /// The date of that commit, RFC 3339; `unknown` outside of a checkout.
    pub date: &'static str,
}
