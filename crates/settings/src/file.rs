//! Settings from a TOML file.
//!
//! An error contains keys of the file, and nothing else of it: the parser's own messages quote
//! whole lines, and a line may contain a secret.

use std::borrow::Cow;
use std::path::{Path, PathBuf};

use toml::{Table, Value};

use crate::environment::Environment;
use crate::error::{Location, SettingsError, ShownValue};
use crate::key_lines::{KeyLines, Line, LineIndex};
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
    /// The line where it begins; `None` if there is none.
    pub(crate) line: Option<Line>,
}

/// A file that is being read.
pub(crate) struct Reading<'a> {
    pub(crate) schema: &'a Schema,
    pub(crate) path: &'a Path,
    pub(crate) environment: &'a Environment,
    pub(crate) problems: &'a mut Vec<SettingsError>,
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

        let lines = KeyLines::of(text);
        let mut entries = Vec::new();
        for name in self.schema.entry_tables {
            if let Some(value) = document.remove(*name) {
                entries.extend(self.entries(name, value, &lines));
            }
        }

        self.refuse_unknown_keys(&document, &lines);
        let texts = TableTexts {
            table: &document,
            environment: self.environment,
            location: |key: &str| Location::key(key, self.path, lines.of_key(key)),
        };
        let layer = Layer::build(self.schema, self.problems, |setting| {
            texts.of(setting, setting.keys(), file_keys(setting))
        });

        SettingsFile { layer, entries }
    }

    /// Reads the entry tables: `[name]` is one, `[[name]]` are several.
    fn entries(&mut self, name: &'static str, value: Value, lines: &KeyLines) -> Vec<Entry> {
        let no_lines = KeyLines::default();
        let lines_of = |index: usize| lines.below(name).get(index).unwrap_or(&no_lines);
        let tables = match value {
            Value::Table(only) => {
                return vec![self.entry(name, name.to_owned(), &only, lines_of(0))];
            }
            Value::Array(tables) if !tables.is_empty() => tables,
            other => vec![other],
        };

        let mut entries = Vec::new();
        for (index, value) in tables.iter().enumerate() {
            match value {
                Value::Table(table) => {
                    let number = index + 1;
                    let entry_name = format!("{name} {number}");
                    entries.push(self.entry(name, entry_name, table, lines_of(index)));
                }
                other => self.problems.push(SettingsError::InvalidValue {
                    setting: name,
                    location: Location::key(
                        name,
                        self.path,
                        lines_of(index).line.or(lines.of_key(name)),
                    ),
                    shown: ShownValue::Type(type_name(other)),
                    expected: format!("a table [{name}], or several [[{name}]]"),
                }),
            }
        }
        entries
    }

    /// Reads one entry table.
    pub(crate) fn entry(
        &mut self,
        table: &'static str,
        name: String,
        document: &Table,
        lines: &KeyLines,
    ) -> Entry {
        self.refuse_unknown_entry_keys(table, &name, document, lines);

        let document = self.with_program_as_one_word(table, document);
        let texts = TableTexts {
            table: &document,
            environment: self.environment,
            location: |key: &str| {
                Location::key(&format!("{key} of {name}"), self.path, lines.of_key(key))
            },
        };
        let layer = Layer::build(self.schema, self.problems, |setting| {
            let entry = setting.entry_of(table);
            let keys = entry.into_iter().flat_map(EntryKey::keys);
            let file_key = entry.and_then(|entry| entry_file_key(setting, entry));
            texts.of(setting, keys.map(str::to_owned), file_key)
        });

        Entry {
            layer,
            table,
            name,
            file: self.path.to_owned(),
            line: lines.line,
        }
    }

    /// Returns an entry table in which a command beside arguments is one word: the program,
    /// whichever characters its path has.
    fn with_program_as_one_word<'t>(&self, table: &str, document: &'t Table) -> Cow<'t, Table> {
        let key_of = |syntax: Syntax| {
            let mut settings = self.schema.settings();
            let setting = settings
                .find(|setting| setting.syntax == syntax && setting.entry_of(table).is_some());
            setting.and_then(|setting| Some(setting.entry?.key))
        };

        let has_arguments = key_of(Syntax::Arguments).is_some_and(|key| document.contains_key(key));
        let command = key_of(Syntax::Command).filter(|_| has_arguments);
        let program = command.and_then(|key| Some((key, document.get(key)?.as_str()?)));
        let Some((key, program)) = program else {
            return Cow::Borrowed(document);
        };

        let words = vec![Value::String(program.to_owned())];
        let mut document = document.clone();
        document.insert(key.to_owned(), Value::Array(words));
        Cow::Owned(document)
    }

    fn refuse_unknown_keys(&mut self, document: &Table, lines: &KeyLines) {
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
                line: lines.of_key(key),
                suggestion: suggest(key, known.iter().map(String::as_str)).map(str::to_owned),
            });
        }
    }

    fn refuse_unknown_entry_keys(
        &mut self,
        table: &str,
        name: &str,
        document: &Table,
        lines: &KeyLines,
    ) {
        // Each word that may be meant, with the key to suggest for it. A key that the setting has
        // outside of the entry tables means the one that it has inside.
        let mut words: Vec<(String, String)> = Vec::new();
        for setting in self.schema.settings() {
            if let Some(entry) = setting.entry_of(table) {
                words.extend(entry.keys().map(|key| (key.to_owned(), key.to_owned())));
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
                line: lines.of_key(key),
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
    let start = error.span().map_or(0, |span| span.start);
    SettingsError::InvalidToml {
        file: path.to_owned(),
        line: LineIndex::of(text).line_of(start),
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
            is_hidden: false,
        }),
        Some(text) => Ok(SourceText {
            location,
            text,
            is_hidden: false,
        }),
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
        // Nothing splits it into words.
        (Syntax::Arguments, Value::String(_)) => None,
        (_, Value::String(text)) => Some(text.clone()),
        (
            Syntax::Duration | Syntax::Size | Syntax::Count | Syntax::Port,
            Value::Integer(number),
        ) => Some(number.to_string()),
        (Syntax::Duration, Value::Float(number)) => Some(number.to_string()),
        (Syntax::Switch, Value::Boolean(on)) => Some(on.to_string()),
        // It fails for a word with a zero byte, which no argument can contain.
        (Syntax::Command | Syntax::Arguments, Value::Array(items)) => {
            shlex::try_join(strings(items)?).ok()
        }
        (Syntax::List | Syntax::Variables | Syntax::Headers, Value::Array(items)) => {
            Some(syntax.join(&strings(items)?))
        }
        (Syntax::Headers, Value::Table(headers)) => {
            // A line end would begin another header.
            let lines = pairs(headers, ": ", |value| !value.contains(['\r', '\n']))?;
            Some(join(syntax, &lines))
        }
        (Syntax::Variables, Value::Table(variables)) => {
            // A comma or an equals sign in a name would make another variable of it.
            let mut names = variables.keys();
            if names.any(|name| name.contains(['=', ',', '\0'])) {
                return None;
            }
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
        Syntax::Arguments => "an array of strings",
        Syntax::Variables => "a table of names and strings, an array of strings or a string",
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
