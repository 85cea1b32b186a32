//! Settings from a TOML file.
//!
//! An error contains keys of the file, and nothing else of it: the parser's own messages quote
//! whole lines, and a line may contain a secret.

use std::path::{Path, PathBuf};

use toml::{Table, Value};

use crate::environment::Environment;
use crate::error::{Location, SettingsError, ShownValue};
use crate::layer::{Layer, SourceText};
use crate::schema::Schema;
use crate::secret_file;
use crate::setting::{EntryKey, Setting, file_name, key_name};
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
    /// The name of the entry tables.
    pub(crate) table: &'static str,
    /// The table for readers, such as `provider 2`.
    pub(crate) name: String,
    pub(crate) file: PathBuf,
}

/// A file that is being read.
struct Reading<'a> {
    schema: &'a Schema,
    path: &'a Path,
    environment: &'a Environment,
    problems: &'a mut Vec<SettingsError>,
}

/// Reads a file. Everything that is wrong in it is a problem, and the result does without it.
pub(crate) fn read(
    schema: &Schema,
    path: &Path,
    environment: &Environment,
    problems: &mut Vec<SettingsError>,
) -> SettingsFile {
    match std::fs::read_to_string(path) {
        Ok(text) => {
            let reading = Reading {
                schema,
                path,
                environment,
                problems,
            };
            reading.parse(&text)
        }
        Err(error) => {
            problems.push(SettingsError::Unreadable {
                file: path.to_owned(),
                error,
            });
            SettingsFile::default()
        }
    }
}

impl Reading<'_> {
    fn parse(mut self, text: &str) -> SettingsFile {
        let mut document: Table = match text.parse() {
            Ok(document) => document,
            Err(error) => {
                self.problems.push(invalid_toml(self.path, text, &error));
                return SettingsFile::default();
            }
        };

        let mut entries = Vec::new();
        for name in self.schema.entry_tables {
            if let Some(value) = document.remove(*name) {
                entries.extend(self.entries(name, value));
            }
        }

        self.refuse_unknown_keys(&document);
        let texts = TableTexts {
            table: &document,
            environment: self.environment,
            location: |key: &str| Location::key(key, self.path),
        };
        let layer = Layer::build(self.schema, self.problems, |setting| {
            texts.of(setting, setting.keys(), file_keys(setting))
        });

        SettingsFile { layer, entries }
    }

    /// Reads the entry tables: `[name]` is one, `[[name]]` are several.
    fn entries(&mut self, name: &'static str, value: Value) -> Vec<Entry> {
        let tables = match value {
            Value::Table(only) => return vec![self.entry(name, name.to_owned(), &only)],
            Value::Array(tables) if !tables.is_empty() => tables,
            other => vec![other],
        };

        let mut entries = Vec::new();
        for (value, number) in tables.iter().zip(1..) {
            match value {
                Value::Table(table) => {
                    let entry = self.entry(name, format!("{name} {number}"), table);
                    entries.push(entry);
                }
                other => self.problems.push(SettingsError::InvalidValue {
                    setting: name,
                    location: Location::key(name, self.path),
                    shown: ShownValue::Type(type_name(other)),
                    expected: format!("a table [{name}], or several [[{name}]]"),
                }),
            }
        }
        entries
    }

    fn entry(&mut self, table: &'static str, name: String, document: &Table) -> Entry {
        self.refuse_unknown_entry_keys(table, &name, document);

        let texts = TableTexts {
            table: document,
            environment: self.environment,
            location: |key: &str| Location::key(&format!("{key} of {name}"), self.path),
        };
        let layer = Layer::build(self.schema, self.problems, |setting| {
            let entry = setting.entry_of(table);
            let key = entry.map(|entry| entry.key.to_owned());
            let file_key = entry.and_then(|entry| entry_file_key(setting, entry));
            texts.of(setting, key, file_key)
        });

        Entry {
            layer,
            table,
            name,
            file: self.path.to_owned(),
        }
    }

    fn refuse_unknown_keys(&mut self, document: &Table) {
        let settings = self.schema.settings();
        let mut known: Vec<String> = settings
            .flat_map(|setting| setting.keys().into_iter().chain(file_keys(setting)))
            .collect();
        let tables = self.schema.entry_tables.iter();
        known.extend(tables.map(|table| (*table).to_owned()));

        for key in document.keys().filter(|key| !known.contains(key)) {
            self.problems.push(SettingsError::UnknownKey {
                key: key.clone(),
                table: String::new(),
                file: self.path.to_owned(),
                suggestion: suggest(key, known.iter().map(String::as_str)).map(str::to_owned),
            });
        }
    }

    fn refuse_unknown_entry_keys(&mut self, table: &str, name: &str, document: &Table) {
        // Each word that may be meant, with the key to suggest for it. A key that the setting has
        // outside of the entry tables means the one that it has inside.
        let mut words: Vec<(String, String)> = Vec::new();
        for setting in self.schema.settings() {
            if let Some(entry) = setting.entry_of(table) {
                words.push((entry.key.to_owned(), entry.key.to_owned()));
                words.extend(entry_file_key(setting, entry).map(|key| (key.clone(), key)));
                let keys = setting.keys().into_iter();
                words.extend(keys.map(|key| (key, entry.key.to_owned())));
            }
        }

        let is_known = |key: &str| words.iter().any(|(_, known)| *known == key);
        for key in document.keys().filter(|key| !is_known(key)) {
            let similar = suggest(key, words.iter().map(|(word, _)| word.as_str()));
            let suggestion = words
                .iter()
                .find(|(word, _)| Some(word.as_str()) == similar)
                .map(|(_, known)| known.clone());
            self.problems.push(SettingsError::UnknownKey {
                key: key.clone(),
                table: format!("{name} of "),
                file: self.path.to_owned(),
                suggestion,
            });
        }
    }
}

/// Returns the keys that name a file with the value of a setting.
fn file_keys(setting: &Setting) -> impl Iterator<Item = String> + use<> {
    setting.file_names().map(|name| key_name(&name))
}

/// The texts of settings in one table of a file.
struct TableTexts<'a, L> {
    table: &'a Table,
    environment: &'a Environment,
    /// Makes the location of a key.
    location: L,
}

impl<L: Fn(&str) -> Location> TableTexts<'_, L> {
    /// Returns the texts of a setting: the values of `keys`, and the contents of the files that
    /// `file_keys` name.
    fn of(
        &self,
        setting: &Setting,
        keys: impl IntoIterator<Item = String>,
        file_keys: impl IntoIterator<Item = String>,
    ) -> Vec<Result<SourceText, SettingsError>> {
        let read = |key: String, read: TextReader| {
            let value = self.table.get(&key)?;
            let location = (self.location)(&key);
            Some(read(setting, location, value, self.environment))
        };
        let texts = keys.into_iter().filter_map(|key| read(key, source_text));
        let of_files = file_keys
            .into_iter()
            .filter_map(|key| read(key, text_in_file));
        texts.chain(of_files).collect()
    }
}

/// Reads the text of a setting from a value of a file.
type TextReader = fn(&Setting, Location, &Value, &Environment) -> Result<SourceText, SettingsError>;

/// Returns the key of an entry table that names a file with the value of a setting.
fn entry_file_key(setting: &Setting, entry: EntryKey) -> Option<String> {
    let can_be = setting.syntax.can_be_in_a_file();
    can_be.then(|| key_name(&file_name(entry.key)))
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
    environment: &Environment,
) -> Result<SourceText, SettingsError> {
    match text_of(setting.syntax, value) {
        Some(text) if setting.syntax == Syntax::Path => Ok(SourceText {
            location,
            text: environment.expand_home(&text),
        }),
        Some(text) => Ok(SourceText { location, text }),
        None => Err(SettingsError::InvalidValue {
            setting: setting.name,
            location,
            shown: ShownValue::Type(type_name(value)),
            expected: expected_type(setting.syntax).into(),
        }),
    }
}

/// Returns the content of the file that a TOML value names.
fn text_in_file(
    setting: &Setting,
    location: Location,
    value: &Value,
    environment: &Environment,
) -> Result<SourceText, SettingsError> {
    match value {
        Value::String(path) => secret_file::read(location, &environment.expand_home(path)),
        other => Err(SettingsError::InvalidValue {
            setting: setting.name,
            location,
            shown: ShownValue::Type(type_name(other)),
            expected: "the path of a file, as a string".into(),
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
            Some(syntax.join(&strings(items)?))
        }
        (Syntax::Headers, Value::Table(headers)) => {
            // A line end would begin another header.
            let lines = pairs(headers, ": ", |value| !value.contains(['\r', '\n']))?;
            Some(join(syntax, &lines))
        }
        (Syntax::Variables, Value::Table(variables)) => {
            let pairs = pairs(variables, "=", |value| !value.contains('\0'))?;
            Some(join(syntax, &pairs))
        }
        _ => None,
    }
}

/// Returns the items, `None` unless all of them are strings without a zero byte.
fn strings(items: &[Value]) -> Option<Vec<&str>> {
    let text = |item| Value::as_str(item).filter(|text| !text.contains('\0'));
    items.iter().map(text).collect()
}

/// Returns the keys and values of a table, `None` unless all values are strings of this kind.
fn pairs(table: &Table, separator: &str, is_valid: fn(&str) -> bool) -> Option<Vec<String>> {
    let pair = |(key, value): (&String, &Value)| {
        let value = value.as_str().filter(|value| is_valid(value))?;
        Some(format!("{key}{separator}{value}"))
    };
    table.iter().map(pair).collect()
}

fn join(syntax: Syntax, items: &[String]) -> String {
    let items: Vec<&str> = items.iter().map(String::as_str).collect();
    syntax.join(&items)
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
        Syntax::List | Syntax::Command => "an array of strings or a string",
        Syntax::Variables => "a table of strings, an array of strings or a string",
        Syntax::Headers => "a table of strings in one line, an array of strings or a string",
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
