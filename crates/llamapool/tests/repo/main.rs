//! The repository agrees with itself: crates and their dependencies with ARCHITECTURE.md, tables in
//! documents with the code, links with files, example files with the settings.
//!
//! `UPDATE_DOCS=1 cargo test -p llamapool --test repo` writes everything that is generated.

mod clients;
mod crates;
mod doctor;
mod document;
mod errors;
mod files;
mod links;
mod log_fields;
mod parts;
mod security;
mod settings;
