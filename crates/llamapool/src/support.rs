//! `llamapool support`: one archive with what helps to find a fault, and no secret in it.

mod archive;
mod collect;
mod command;
mod redact;

pub use command::SupportCommand;
pub(crate) use command::{SUPPORT, command, read, with_role};
