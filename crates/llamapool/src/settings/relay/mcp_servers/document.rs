//! A file of MCP servers as JSON: with comments and trailing commas, as VS Code and Cursor have it.
//!
//! The parser bounds the depth. Here the servers are found in either dialect, and keys that are there
//! twice: of two values, different clients take different ones.

use std::collections::HashSet;
use std::path::Path;

use jsonc_parser::ast::{Object, ObjectProp, Value};
use jsonc_parser::{CollectOptions, parse_to_ast};
use llamapool_settings::LineIndex;

use super::error::{McpServersError, ServersFileError};
use crate::editor_json::EDITOR_JSON;

/// The most servers of a file, those that are disabled included: four times as many as a relay has
/// providers.
pub(super) const MAX_ENTRIES: usize = 256;
/// The key of the servers in files of Claude Desktop, Cursor and many others.
const MCP_SERVERS: &str = "mcpServers";
/// The key of the servers in files of VS Code.
const SERVERS: &str = "servers";
/// The key of the values that VS Code asks for, which stands beside its servers.
const INPUTS: &str = "inputs";

/// A file of MCP servers.
pub(super) struct Document<'a> {
    /// The servers, in the order of the file.
    pub(super) servers: Vec<RawServer<'a>>,
    /// The keys beside the servers.
    pub(super) unused: Vec<String>,
    lines: LineIndex,
}

/// One server of the file.
pub(super) struct RawServer<'a> {
    pub(super) name: String,
    /// The offset of its name.
    pub(super) start: usize,
    pub(super) value: Value<'a>,
}

impl<'a> Document<'a> {
    /// Parses a file and finds the servers.
    ///
    /// # Errors
    ///
    /// The first mistake of its form, or all that is wrong above the servers.
    pub(super) fn parse(path: &Path, text: &'a str) -> Result<Self, Vec<ServersFileError>> {
        let lines = LineIndex::of(text);
        let error = |offset: usize, problem| ServersFileError {
            line: Some(lines.line_of(offset)),
            ..ServersFileError::of_file(path, problem)
        };

        let parsed = parse_to_ast(text, &CollectOptions::default(), &EDITOR_JSON);
        let value = match parsed {
            Ok(parsed) => parsed.value,
            Err(parse) => {
                let reason = parse.kind().to_string().to_lowercase();
                let problem = McpServersError::Syntax(reason);
                return Err(vec![error(parse.range().start, problem)]);
            }
        };
        let root = match value {
            None => return Err(vec![error(0, McpServersError::Empty)]),
            Some(Value::Object(root)) => root,
            Some(_) => return Err(vec![error(0, McpServersError::NoServers)]),
        };

        let mut problems: Vec<ServersFileError> = duplicate_keys(&root)
            .map(|(key, start)| error(start, McpServersError::DuplicateKey(key)))
            .collect();
        let (servers, unused) = match find_servers(root) {
            Ok(found) => found,
            Err((start, problem)) => {
                problems.push(error(start, problem));
                return Err(problems);
            }
        };
        problems.extend(
            duplicate_keys(&servers)
                .map(|(key, start)| error(start, McpServersError::DuplicateKey(key))),
        );
        if !problems.is_empty() {
            return Err(problems);
        }

        Ok(Self {
            servers: servers.properties.into_iter().map(RawServer::of).collect(),
            unused,
            lines,
        })
    }

    /// Returns the lines of the file.
    pub(super) fn lines(&self) -> &LineIndex {
        &self.lines
    }
}

impl<'a> RawServer<'a> {
    fn of(property: ObjectProp<'a>) -> Self {
        Self {
            name: property.name.as_str().to_owned(),
            start: property.range.start,
            value: property.value,
        }
    }
}

/// Returns the object of the servers, and the keys beside it that mean nothing here; or what is
/// wrong, and where.
fn find_servers(root: Object<'_>) -> Result<(Object<'_>, Vec<String>), (usize, McpServersError)> {
    let start = root.range.start;
    let mut found: Option<(&'static str, usize, Value<'_>)> = None;
    let mut unused = Vec::new();
    for property in root.properties {
        let name = property.name.as_str();
        let key = [MCP_SERVERS, SERVERS].into_iter().find(|key| *key == name);
        match key {
            Some(_) if found.is_some() => {
                return Err((property.range.start, McpServersError::TwoDialects));
            }
            Some(key) => found = Some((key, property.range.start, property.value)),
            // Its values are asked for where a server refers to them.
            None if name == INPUTS => {}
            None => unused.push(name.to_owned()),
        }
    }

    let Some((key, start, value)) = found else {
        return Err((start, McpServersError::NoServers));
    };
    let servers = match value {
        Value::Object(servers) => servers,
        other => {
            let problem = wrong_type(key, &other, "an object with a key for each server");
            return Err((start, problem));
        }
    };
    match servers.properties.len() {
        count if count > MAX_ENTRIES => Err((start, McpServersError::TooManyEntries(count))),
        _ => Ok((servers, unused)),
    }
}

/// Returns the keys of an object that are there a second time, with their offsets.
pub(super) fn duplicate_keys(object: &Object<'_>) -> impl Iterator<Item = (String, usize)> {
    let mut known = HashSet::new();
    let properties = object.properties.iter();
    let duplicates = properties.filter(move |property| !known.insert(property.name.as_str()));
    duplicates.map(|property| (property.name.as_str().to_owned(), property.range.start))
}

/// Returns the problem of a value that has a wrong type.
pub(super) fn wrong_type(key: &str, value: &Value<'_>, expected: &'static str) -> McpServersError {
    McpServersError::WrongType {
        key: key.to_owned(),
        found: match value {
            Value::StringLit(_) => "a string",
            Value::NumberLit(_) => "a number",
            Value::BooleanLit(_) => "a boolean",
            Value::Object(_) => "an object",
            Value::Array(_) => "an array",
            Value::NullKeyword(_) => "null",
        },
        expected,
    }
}
