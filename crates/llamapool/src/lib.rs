//! The parts of the executable: command line, settings, log, and the start of each role.
//!
//! Only this crate reads the environment, the command line and settings files, and only it installs
//! anything global. Servers and relays are in their crates.

pub mod cli;
mod demo;
mod open_files;
pub mod roles;
mod runtime;
pub mod settings;
mod stop;
pub mod telemetry;
pub mod version;
mod weak_keys;
