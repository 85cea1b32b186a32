//! `llamapool mcp --mcp-servers FILE --print`: the file as TOML.

use super::{CliError, Invocation};
use crate::roles::RoleSettings;

/// Returns the file of MCP servers as TOML, to print.
///
/// # Errors
///
/// If the settings name no such file.
pub(super) fn servers_file(settings: &RoleSettings) -> Result<Invocation, CliError> {
    let RoleSettings::Relay(settings) = settings else {
        return Err(nothing_to_print());
    };
    let Some(file) = &settings.servers_file else {
        return Err(nothing_to_print());
    };

    let notes = file.notes_on_printing().into_iter();
    Ok(Invocation::PrintWithNotes {
        text: file.to_toml(),
        notes: notes.map(|note| format!("llamapool: {note}\n")).collect(),
    })
}

fn nothing_to_print() -> CliError {
    CliError::Usage("--print is for the file of --mcp-servers: expected that flag, too".into())
}
