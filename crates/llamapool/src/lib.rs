//! The executable's own parts: command line, settings, log, and the start of each role.
//!
//! What a server or a relay does is in their crates. The one rule: only this crate reads the environment, files of
//! settings and the command line, and only it installs anything global.

pub mod cli;
mod demo;
pub mod run;
pub mod settings;
mod stop;
pub mod telemetry;
pub mod version;
