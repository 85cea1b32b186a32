//! The parts of the executable: command line, settings, log, and the start of each role.
//!
//! Only this crate reads the environment, the command line and settings files, and only it installs
//! anything global. Servers and relays are in their crates.

pub mod admin;
pub mod cli;
pub mod clients;
mod demo;
pub mod doctor;
mod editor_json;
mod open_files;
pub mod remote;
pub mod roles;
mod runtime;
mod service;
mod service_manager;
pub mod settings;
mod stop;
pub mod support;
mod taken_port;
pub mod telemetry;
mod terminal;
pub mod version;
mod weak_keys;
