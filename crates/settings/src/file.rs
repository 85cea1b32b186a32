//! Settings from a TOML file.
//!
//! An error contains keys of the file, and nothing else of it: the parser's own messages quote
//! whole lines, and a line may contain a secret.

use std::path::{Path, PathBuf};

use toml::{Table, Value};

use crate::error::{Location, SettingsError, ShownValue};
use crate::layer::{Layer, SourceText};
use crate::schema::Schema;
use crate::setting::Setting;
use crate::suggest::suggest;
use crate::value::Syntax;

/// The contents of a file.
#[derive(Default)]
pub(crate) struct SettingsFile {
    /// Values outside of the entry tables.
    pub(crate) layer: Layer,
    /// The entry tables, in the order of the file.
    pub(crate) entries: Vec<Entry>,
}

/// One entry table.
pub(crate) struct Entry {
    pub(crate) layer: Layer,
    /// The table for readers, such as `provider 2`.
    pub(crate) name: String,
    pub(crate) file: PathBuf,
}

/// Reads a file.
pub(crate) fn read(schema: &Schema, path: &Path) -> Result<SettingsFile, SettingsError> {
    let text = std::fs::read_to_string(path).map_err(|error| SettingsError::Unreadable {
        file: path.to_owned(),
        error,
    })?;

    parse(schema, path, &text)
}

fn parse(schema: &Schema, path: &Path, text: &str) -> Result<SettingsFile, SettingsError> {
    let mut document: Table = text
        .parse()
        .map_err(|error| invalid_toml(path, text, &error))?;

    let entry_tables = schema
        .entry_table
        .and_then(|name| Some((name, document.remove(name)?)));
    let entries = match entry_tables {
        Some((name, value)) => entries(schema, path, name, value)?,
        None => Vec::new(),
    };

    refuse_unknown_keys(schema, path, &document)?;
    let layer = Layer::build(schema, |setting| {
        let keys = setting.keys().into_iter();
        let found = keys.filter_map(|key| document.get(&key).map(|value| (key, value)));
        found
            .map(|(key, value)| source_text(setting, Location::key(&key, path), value))
            .collect()
    })?;

    Ok(SettingsFile { layer, entries })
}

/// Reads the entry tables: `[name]` is one, `[[name]]` are several.
fn entries(
    schema: &Schema,
    path: &Path,
    name: &'static str,
    value: Value,
) -> Result<Vec<Entry>, SettingsError> {
    let wrong_type = |value: &Value| SettingsError::InvalidValue {
        setting: name,
        location: Location::key(name, path),
        shown: ShownValue::Type(type_name(value)),
        expected: format!("a table [{name}], or several [[{name}]]"),
    };

    match value {
        Value::Table(only) => Ok(vec![entry(schema, path, name.to_owned(), &only)?]),
        Value::Array(tables) if !tables.is_empty() => {
            let numbered = tables.iter().zip(1..);
            let entries = numbered.map(|(value, number)| match value {
                Value::Table(table) => entry(schema, path, format!("{name} {number}"), table),
                other => Err(wrong_type(other)),
            });
            entries.collect()
        }
        other => Err(wrong_type(&other)),
    }
}

fn entry(
    schema: &Schema,
    path: &Path,
    name: String,
    document: &Table,
) -> Result<Entry, SettingsError> {
    refuse_unknown_entry_keys(schema, path, &name, document)?;

    let layer = Layer::build(schema, |setting| {
        let Some(key) = setting.entry.map(|entry| entry.key) else {
            return Ok(Vec::new());
        };
        let location = Location::key(&format!("{key} of {name}"), path);
        let value = document.get(key).into_iter();
        value
            .map(|value| source_text(setting, location.clone(), value))
            .collect()
    })?;

    Ok(Entry {
        layer,
        name,
        file: path.to_owned(),
    })
}

fn refuse_unknown_keys(
    schema: &Schema,
    path: &Path,
    document: &Table,
) -> Result<(), SettingsError> {
    let mut known: Vec<String> = schema
        .settings()
        .flat_map(|setting| setting.keys())
        .collect();
    known.extend(schema.entry_table.map(str::to_owned));

    match document.keys().find(|key| !known.contains(key)) {
        None => Ok(()),
        Some(key) => Err(SettingsError::UnknownKey {
            key: key.clone(),
            table: String::new(),
            file: path.to_owned(),
            suggestion: suggest(key, known.iter().map(String::as_str)).map(str::to_owned),
        }),
    }
}

fn refuse_unknown_entry_keys(
    schema: &Schema,
    path: &Path,
    name: &str,
    document: &Table,
) -> Result<(), SettingsError> {
    // Each word that may be meant, with the key to suggest for it. A key that the setting has
    // outside of the entry tables means the one that it has inside.
    let mut words: Vec<(String, &'static str)> = Vec::new();
    for setting in schema.settings() {
        if let Some(entry) = setting.entry {
            words.push((entry.key.to_owned(), entry.key));
            words.extend(setting.keys().into_iter().map(|key| (key, entry.key)));
        }
    }

    let is_known = |key: &str| words.iter().any(|(_, known)| *known == key);
    let Some(key) = document.keys().find(|key| !is_known(key)) else {
        return Ok(());
    };

    let similar = suggest(key, words.iter().map(|(word, _)| word.as_str()));
    let suggestion = words
        .iter()
        .find(|(word, _)| Some(word.as_str()) == similar)
        .map(|(_, known)| (*known).to_owned());
    Err(SettingsError::UnknownKey {
        key: key.clone(),
        table: format!("{name} of "),
        file: path.to_owned(),
        suggestion,
    })
}

fn invalid_toml(path: &Path, text: &str, error: &toml::de::Error) -> SettingsError {
    let start = error.span().map_or(0, |span| span.start.min(text.len()));
    let line_ends = text.as_bytes()[..start]
        .iter()
        .filter(|byte| **byte == b'\n')
        .count();

    SettingsError::InvalidToml {
        file: path.to_owned(),
        line: line_ends + 1,
        message: error.message().to_owned(),
    }
}

fn source_text(
    setting: &Setting,
    location: Location,
    value: &Value,
) -> Result<SourceText, SettingsError> {
    match text_of(setting.syntax, value) {
        Some(text) => Ok(SourceText { location, text }),
        None => Err(SettingsError::InvalidValue {
            setting: setting.name,
            location,
            shown: ShownValue::Type(type_name(value)),
            expected: expected_type(setting.syntax).into(),
        }),
    }
}

/// Returns the text with the same meaning as a TOML value, `None` if the syntax has no such values.
fn text_of(syntax: Syntax, value: &Value) -> Option<String> {
    match (syntax, value) {
        (_, Value::String(text)) => Some(text.clone()),
        (
            Syntax::Duration | Syntax::Size | Syntax::Count | Syntax::Port,
            Value::Integer(number),
        ) => Some(number.to_string()),
        (Syntax::Duration, Value::Float(number)) => Some(number.to_string()),
        (Syntax::Switch, Value::Boolean(on)) => Some(on.to_string()),
        // It fails for a word with a zero byte, which no argument can contain.
        (Syntax::Command, Value::Array(items)) => shlex::try_join(strings(items)?).ok(),
        (Syntax::List | Syntax::Variables | Syntax::Headers, Value::Array(items)) => {
            Some(strings(items)?.join(syntax.separator()?))
        }
        (Syntax::Headers, Value::Table(headers)) => {
            let line = |(name, value): (&String, &Value)| {
                let value = value.as_str()?;
                Some(format!("{name}: {value}"))
            };
            let lines: Option<Vec<String>> = headers.iter().map(line).collect();
            Some(lines?.join(syntax.separator()?))
        }
        _ => None,
    }
}

/// Returns the items, `None` unless all of them are strings.
fn strings(items: &[Value]) -> Option<Vec<&str>> {
    items.iter().map(Value::as_str).collect()
}

fn type_name(value: &Value) -> &'static str {
    match value {
        Value::String(_) => "a string",
        Value::Integer(_) => "an integer",
        Value::Float(_) => "a float",
        Value::Boolean(_) => "a boolean",
        Value::Datetime(_) => "a date",
        Value::Array(_) => "an array",
        Value::Table(_) => "a table",
    }
}

fn expected_type(syntax: Syntax) -> &'static str {
    match syntax {
        Syntax::Duration => "a string or a number",
        Syntax::Size | Syntax::Count | Syntax::Port => "a string or an integer",
        Syntax::Switch => "a boolean or a string",
        Syntax::List | Syntax::Variables | Syntax::Command => "an array of strings or a string",
        Syntax::Headers => "a table of strings, an array of strings or a string",
        Syntax::Address
        | Syntax::Text
        | Syntax::Choice(_)
        | Syntax::Url
        | Syntax::Path
        | Syntax::Secret => "a string",
    }
}

#[cfg(test)]
mod tests;
