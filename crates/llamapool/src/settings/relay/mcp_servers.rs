//! The file of MCP servers that clients such as Claude Desktop, Cursor and VS Code read, taken as it
//! is: each server in it becomes a provider, as if it stood in a `[[provider]]` table.
//!
//! What an entry means as a provider is decided by the settings of `[[provider]]` tables alone: an
//! entry is translated into such a table, which is also what `--print` prints.

mod document;
mod entry;
mod env_file;
mod error;
mod print;
mod provider_id;
mod text;
mod variables;

use std::path::PathBuf;

use llamapool_settings::value::{PATH, Syntax, ValueType, expected, non_blank};
use llamapool_settings::{EntryPlace, OwnEntry, Setting, Sources, TypedSetting};
use toml::Table;

use self::document::Document;
use self::entry::Translator;
use self::error::Shown;
use super::program::PROVIDER_COMMAND;
use super::provider::{CLIENT_ID, PROVIDER_URL};
use crate::settings::error::ConfigError;
use crate::settings::group::MAIN;

pub use self::error::{McpServersError, ServersFileError};

/// The longest prefix of ids, in characters: half of an id.
const MAX_PREFIX_CHARS: usize = 64;

pub(in crate::settings) static MCP_SERVERS: TypedSetting<Option<PathBuf>> = TypedSetting::new(
    "MCP_SERVERS",
    MAIN,
    PATH,
    "JSON file with the MCP servers of Claude Desktop, Cursor or VS Code, each of which becomes a \
     provider.",
);
pub(in crate::settings) static ID_PREFIX: TypedSetting<String> = TypedSetting::new(
    "ID_PREFIX",
    MAIN,
    PREFIX,
    "Text before the ids of the servers in MCP_SERVERS, such as alice-.",
);

/// The settings declared here.
pub(super) static SETTINGS: &[&Setting] = &[&MCP_SERVERS.setting, &ID_PREFIX.setting];

/// The beginning of an id, which may be empty.
const PREFIX: ValueType<String> = ValueType {
    syntax: Syntax::Text,
    parse: |text| {
        let prefix = non_blank(text).unwrap_or_default();
        let is_legal = prefix.chars().all(provider_id::is_legal);
        if is_legal && prefix.len() <= MAX_PREFIX_CHARS {
            Ok(prefix)
        } else {
            expected(format!("at most {MAX_PREFIX_CHARS} of A-Z a-z 0-9 - _ . ~"))
        }
    },
};

/// The servers of a file.
pub(super) struct Servers {
    /// The servers as entries of the settings, in the order of the file.
    pub(super) entries: Vec<OwnEntry>,
    /// What is left of the file for messages and for `--print`.
    pub(super) file: ServersFile,
}

/// A file of MCP servers after it was read. Not `Debug`: its tables contain secrets.
#[derive(Clone)]
pub struct ServersFile {
    path: PathBuf,
    /// The servers as `[[provider]]` tables.
    tables: Vec<Table>,
    /// The keys of the file that have no meaning here, for readers.
    unused: Vec<String>,
}

/// Reads the file that `MCP_SERVERS` names; `None` if the setting is not set, or the file cannot be
/// read at all. What is wrong is added to `errors`, and the result does without it.
pub(super) fn resolve(sources: &Sources, errors: &mut Vec<ConfigError>) -> Option<Servers> {
    match read(sources, errors) {
        Ok(servers) => servers,
        Err(error) => {
            errors.extend(error.into_all());
            None
        }
    }
}

fn read(sources: &Sources, errors: &mut Vec<ConfigError>) -> Result<Option<Servers>, ConfigError> {
    let prefix = sources.value(&ID_PREFIX)?;
    let Some(path) = sources.value(&MCP_SERVERS)? else {
        return Ok(None);
    };
    for other in [
        &CLIENT_ID.setting,
        &PROVIDER_COMMAND.setting,
        &PROVIDER_URL.setting,
    ] {
        sources.refuse_both(&MCP_SERVERS.setting, other)?;
    }

    let text = text::read(&path).map_err(|problem| ServersFileError::of_file(&path, problem))?;
    let document = Document::parse(&path, &text).map_err(|errors| {
        ConfigError::one_or_several(errors.into_iter().map(ConfigError::from).collect())
    })?;
    let translator = Translator::new(sources, &path, &prefix, document.lines());
    let translated = translator.translate(&document);
    errors.extend(translated.errors.into_iter().map(ConfigError::from));

    let mut entries = Vec::new();
    let mut tables = Vec::new();
    for server in translated.servers {
        let place = EntryPlace {
            name: format!("server {}", Shown(&server.name)),
            file: &path,
            line: server.line,
            keys: server.key_lines,
        };
        entries.push(OwnEntry::read(sources, "provider", &server.table, place)?);
        tables.push(server.table);
    }
    let file = ServersFile {
        path,
        tables,
        unused: translated.unused,
    };
    Ok(Some(Servers { entries, file }))
}
