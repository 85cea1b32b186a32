//! Edits of the `config.toml` of Codex.

use toml_edit::{DocumentMut, Item, Table, value};

use super::super::{Asks, Place};
use super::EditError;

const SERVERS: &str = "mcp_servers";

/// Returns a text with the table of a server in it.
pub(super) fn edited(text: &str, place: &Place) -> Result<String, EditError> {
    let mut document: DocumentMut = text.parse().map_err(|error| of_parser(text, &error))?;
    let servers = document.entry(SERVERS).or_insert_with(|| {
        let mut table = Table::new();
        // Without a header of its own, as it has nothing but tables in it.
        table.set_implicit(true);
        Item::Table(table)
    });
    let servers = servers
        .as_table_like_mut()
        .ok_or_else(|| EditError::Shape(format!("{SERVERS} is no table")))?;

    let mut entry = Table::new();
    entry.insert("url", value(&place.url));
    if place.asks == Asks::Key {
        entry.insert("bearer_token_env_var", value(place.variable()));
    }
    servers.insert(&place.name, Item::Table(entry));
    Ok(document.to_string())
}

fn of_parser(text: &str, error: &toml_edit::TomlError) -> EditError {
    let start = error.span().map_or(0, |span| span.start);
    let before = text.get(..start).unwrap_or_default();
    EditError::Syntax {
        line: before.matches('\n').count() + 1,
        column: before.chars().rev().take_while(|c| *c != '\n').count() + 1,
        what: error.message().to_owned(),
    }
}
