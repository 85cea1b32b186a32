//! Settings that are declared once: flags, environment variables, keys of a TOML file, help and
//! documents follow from the declaration.
//!
//! A [`TypedSetting`] is declared as a `static` with its name, its [`ValueType`], its default and
//! one sentence of help. A [`Schema`] lists the settings of a program or of one of its subcommands.
//! From the schema this crate makes
//!
//! * the flags of a [`clap::Command`] ([`command_line`]),
//! * the value of each setting ([`Sources`]): flag before environment before file before default,
//! * tables for documents ([`markdown`]).
//!
//! A wrong value stops the start with a [`SettingsError`]: one line that names the setting, its
//! source and the expected form, and never contains a secret. This crate declares no setting and is
//! about no particular program.

pub mod command_line;
mod environment;
mod error;
#[cfg(test)]
mod example;
mod file;
mod key_lines;
mod layer;
pub mod markdown;
mod own_entry;
mod schema;
mod secret_file;
mod setting;
mod sources;
mod suggest;
pub mod value;

pub use environment::Environment;
pub use error::{Location, OnLine, SettingsError, ShownValue, Suggestion};
pub use key_lines::{Line, LineIndex};
pub use own_entry::{EntryPlace, OwnEntry};
pub use schema::Schema;
pub use setting::{
    DefaultValue, EntryKey, EntryScope, Group, Naming, Setting, TypedSetting, file_name, flag_name,
    key_name,
};
pub use sources::{EntrySources, FlagForm, FlagValue, SetValue, Sources};
pub use suggest::suggest;
pub use value::{Syntax, ValueError, ValueType};
