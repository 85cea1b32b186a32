//! One server of the file as a `[[provider]]` table.

use std::collections::HashMap;
use std::path::Path;

use jsonc_parser::ast::{Object, Value};
use llamapool_settings::{Line, LineIndex, Sources};
use toml::Table;

use super::document::{Document, RawServer, duplicate_keys, wrong_type};
use super::env_file;
use super::error::{McpServersError, ServersFileError};
use super::provider_id;
use super::variables::Variables;

/// The most errors of a file that are shown.
const MAX_ERRORS: usize = 64;

/// Makes `[[provider]]` tables of the servers of a file.
pub(super) struct Translator<'a> {
    path: &'a Path,
    prefix: &'a str,
    lines: &'a LineIndex,
    variables: Variables<'a>,
}

/// One server as a `[[provider]]` table. Not `Debug`: there are secrets in it.
pub(super) struct TranslatedServer {
    pub(super) name: String,
    pub(super) line: Line,
    pub(super) table: Table,
    /// The lines of the keys of the table.
    pub(super) key_lines: HashMap<String, Line>,
}

/// The servers of a file after their translation.
#[derive(Default)]
pub(super) struct Translated {
    /// Those without an error.
    pub(super) servers: Vec<TranslatedServer>,
    /// The keys that mean nothing here.
    pub(super) unused: Vec<String>,
    /// All that is wrong with the others.
    pub(super) errors: Vec<ServersFileError>,
}

impl<'a> Translator<'a> {
    pub(super) fn new(
        sources: &'a Sources,
        path: &'a Path,
        prefix: &'a str,
        lines: &'a LineIndex,
    ) -> Self {
        Self {
            path,
            prefix,
            lines,
            variables: Variables::new(sources),
        }
    }

    /// Translates all servers that are not disabled.
    pub(super) fn translate(&self, document: &Document<'_>) -> Translated {
        let mut translated = Translated {
            unused: document.unused.clone(),
            ..Translated::default()
        };
        let mut names: HashMap<String, &str> = HashMap::new();
        for raw in &document.servers {
            let mut entry = EntryReader::new(self, raw);
            let Some(server) = entry.read(raw) else {
                translated.errors.append(&mut entry.errors);
                continue;
            };

            let id = server.table.get("id").and_then(toml::Value::as_str);
            let id = id.unwrap_or_default().to_owned();
            if let Some(other) = names.get(&id) {
                let other = (*other).to_owned();
                entry.refuse(raw.start, McpServersError::SameId { id, other });
            } else if !id.is_empty() {
                names.insert(id, &raw.name);
            }
            translated.unused.append(&mut entry.unused);
            if entry.errors.is_empty() {
                translated.servers.push(server);
            }
            translated.errors.append(&mut entry.errors);
        }

        let errors = &mut translated.errors;
        if translated.servers.is_empty() && errors.is_empty() {
            let problem = McpServersError::NoneEnabled;
            errors.push(ServersFileError::of_file(self.path, problem));
        }
        let more = errors.len().saturating_sub(MAX_ERRORS);
        if more > 0 {
            errors.truncate(MAX_ERRORS);
            let problem = McpServersError::More(more);
            errors.push(ServersFileError::of_file(self.path, problem));
        }
        translated
    }
}

/// One server that is being read.
struct EntryReader<'t, 'a> {
    translator: &'t Translator<'a>,
    name: String,
    start: usize,
    table: Table,
    key_lines: HashMap<String, Line>,
    /// The transport that the file names, with its offset.
    transport: Option<(String, usize)>,
    environment: Table,
    /// Variables of `envFile`, which those of `env` replace.
    of_env_file: Table,
    unused: Vec<String>,
    errors: Vec<ServersFileError>,
}

impl<'t, 'a> EntryReader<'t, 'a> {
    fn new(translator: &'t Translator<'a>, raw: &RawServer<'_>) -> Self {
        Self {
            translator,
            name: raw.name.clone(),
            start: raw.start,
            table: Table::new(),
            key_lines: HashMap::new(),
            transport: None,
            environment: Table::new(),
            of_env_file: Table::new(),
            unused: Vec::new(),
            errors: Vec::new(),
        }
    }

    /// Reads the server. `None` if it is disabled, or is no object. What is wrong is in `errors`.
    fn read(&mut self, raw: &RawServer<'_>) -> Option<TranslatedServer> {
        let Value::Object(object) = &raw.value else {
            let problem = wrong_type(&raw.name, &raw.value, "an object");
            self.refuse(raw.start, problem);
            return None;
        };
        if is_disabled(object) {
            return None;
        }

        match provider_id::of_name(self.translator.prefix, &raw.name) {
            Ok(id) => self.set("id", raw.start, id.as_str().into()),
            Err(problem) => self.refuse(raw.start, problem),
        }
        for (key, start) in duplicate_keys(object) {
            self.refuse(start, McpServersError::DuplicateKey(key));
        }
        for property in &object.properties {
            self.key(
                property.name.as_str(),
                property.range.start,
                &property.value,
            );
        }
        self.finish();

        Some(TranslatedServer {
            name: self.name.clone(),
            line: self.translator.lines.line_of(self.start),
            table: std::mem::take(&mut self.table),
            key_lines: std::mem::take(&mut self.key_lines),
        })
    }

    fn key(&mut self, key: &str, start: usize, value: &Value<'_>) {
        match key {
            "command" => self.path("command", key, start, value),
            "args" => self.arguments(start, value),
            "env" => self.variables_of_program(start, value),
            "envFile" => self.env_file(start, value),
            "cwd" => self.path("cwd", key, start, value),
            "url" | "serverUrl" => self.url(key, start, value),
            "headers" => self.headers(start, value),
            "type" | "transport" => self.transport(start, value),
            "disabled" | "enabled" => {
                if !matches!(value, Value::BooleanLit(_)) {
                    self.refuse(start, wrong_type(key, value, "true or false"));
                }
            }
            _ => self.unused.push(format!("{}.{key}", self.name)),
        }
    }

    /// Reads a program or a directory.
    fn path(&mut self, to: &'static str, key: &str, start: usize, value: &Value<'_>) {
        let Some(text) = self.string(key, start, value, "a string") else {
            return;
        };
        match self.translator.variables.expand_path(key, &text) {
            Ok(text) => self.set(to, start, text.into()),
            Err(problems) => self.refuse_all(start, problems),
        }
    }

    fn url(&mut self, key: &str, start: usize, value: &Value<'_>) {
        if self.table.contains_key("url") {
            self.refuse(start, McpServersError::SameMeaning("url", "serverUrl"));
            return;
        }
        let Some(text) = self.string(key, start, value, "a string") else {
            return;
        };
        match self.translator.variables.expand(key, &text) {
            Ok(text) => self.set("url", start, text.into()),
            Err(problems) => self.refuse_all(start, problems),
        }
    }

    fn arguments(&mut self, start: usize, value: &Value<'_>) {
        let Value::Array(array) = value else {
            self.refuse(start, wrong_type("args", value, "an array of strings"));
            return;
        };

        let mut arguments = Vec::new();
        for element in &array.elements {
            let Some(text) = self.string("args", start, element, "an array of strings alone")
            else {
                continue;
            };
            match self.translator.variables.expand_path("args", &text) {
                Ok(text) => arguments.push(toml::Value::String(text)),
                Err(problems) => self.refuse_all(start, problems),
            }
        }
        self.set("args", start, arguments.into());
    }

    fn variables_of_program(&mut self, start: usize, value: &Value<'_>) {
        let Value::Object(object) = value else {
            self.refuse(start, wrong_type("env", value, "an object of strings"));
            return;
        };
        self.refuse_duplicates(object);

        for property in &object.properties {
            let name = property.name.as_str();
            let key = format!("env.{name}");
            let start = property.range.start;
            let text = match &property.value {
                // As VS Code takes it.
                Value::NumberLit(number) => number.value.to_owned(),
                // VS Code takes the variable away, which the program might have inherited.
                Value::NullKeyword(_) => {
                    self.unused.push(format!("{}.{key} (null)", self.name));
                    continue;
                }
                value => match self.string(&key, start, value, "a string") {
                    Some(text) => text,
                    None => continue,
                },
            };
            match self.translator.variables.expand(&key, &text) {
                Ok(text) => {
                    self.environment.insert(name.to_owned(), text.into());
                }
                Err(problems) => self.refuse_all(start, problems),
            }
        }
        let line = self.translator.lines.line_of(start);
        self.key_lines.insert("env".to_owned(), line);
    }

    fn env_file(&mut self, start: usize, value: &Value<'_>) {
        let Some(text) = self.string("envFile", start, value, "a string") else {
            return;
        };
        let path = match self.translator.variables.expand_path("envFile", &text) {
            Ok(path) => path,
            Err(problems) => return self.refuse_all(start, problems),
        };
        match env_file::read(Path::new(&path)) {
            Ok(variables) => {
                let variables = variables.into_iter();
                self.of_env_file
                    .extend(variables.map(|(name, value)| (name, value.into())));
            }
            Err(reason) => self.refuse(start, McpServersError::EnvFile(reason)),
        }
    }

    fn headers(&mut self, start: usize, value: &Value<'_>) {
        let Value::Object(object) = value else {
            self.refuse(start, wrong_type("headers", value, "an object of strings"));
            return;
        };
        self.refuse_duplicates(object);

        let mut headers = Table::new();
        for property in &object.properties {
            let name = property.name.as_str();
            let key = format!("headers.{name}");
            let start = property.range.start;
            let Some(text) = self.string(&key, start, &property.value, "a string") else {
                continue;
            };
            match self.translator.variables.expand(&key, &text) {
                Ok(text) => {
                    headers.insert(name.to_owned(), text.into());
                }
                Err(problems) => self.refuse_all(start, problems),
            }
        }
        self.set("headers", start, headers.into());
    }

    fn transport(&mut self, start: usize, value: &Value<'_>) {
        if self.transport.is_some() {
            self.refuse(start, McpServersError::SameMeaning("type", "transport"));
        } else if let Some(text) = self.string("type", start, value, "a string") {
            self.transport = Some((text, start));
        }
    }

    /// Checks what only the whole entry shows.
    fn finish(&mut self) {
        let mut environment = std::mem::take(&mut self.of_env_file);
        environment.extend(std::mem::take(&mut self.environment));
        if !environment.is_empty() {
            self.table.insert("env".to_owned(), environment.into());
        }

        let has = |key| self.key_lines.contains_key(key);
        let has_command = has("command");
        let has_url = has("url");
        match (has_command, has_url) {
            (true, true) => self.refuse(self.start, McpServersError::BothKinds),
            // What is wrong with either was found already.
            (false, false) if self.errors.is_empty() => {
                self.refuse(self.start, McpServersError::NeitherKind);
            }
            (true, false) if !has("args") => {
                // A command alone is a program, too, and not a line of words.
                let none = toml::Value::Array(Vec::new());
                self.table.insert("args".to_owned(), none);
            }
            _ => {}
        }
        self.check_transport(has_command, has_url);
        self.set_aside_what_the_kind_cannot_have(has_url);
    }

    fn check_transport(&mut self, has_command: bool, has_url: bool) {
        let Some((transport, start)) = self.transport.take() else {
            return;
        };
        let problem = match transport.to_ascii_lowercase().as_str() {
            "stdio" if !has_command && has_url => {
                let missing = "command";
                McpServersError::TypeWithout { transport, missing }
            }
            "http" | "streamable-http" | "streamablehttp" | "streamable_http" | "sse"
                if has_command && !has_url =>
            {
                let missing = "url";
                McpServersError::TypeWithout { transport, missing }
            }
            "stdio" | "http" | "streamable-http" | "streamablehttp" | "streamable_http" | "sse" => {
                return;
            }
            _ => McpServersError::UnknownType(transport),
        };
        self.refuse(start, problem);
    }

    /// Takes away the keys of programs where the server is a URL, and those of a URL where it is a
    /// program: clients ignore them.
    fn set_aside_what_the_kind_cannot_have(&mut self, has_url: bool) {
        let foreign: &[&str] = if has_url {
            &["args", "cwd", "env"]
        } else {
            &["headers"]
        };
        for key in foreign {
            if self.table.remove(*key).is_some() {
                self.unused.push(format!("{}.{key}", self.name));
            }
        }
    }

    /// Returns a string, which no zero byte is in. `None` after a problem.
    fn string(
        &mut self,
        key: &str,
        start: usize,
        value: &Value<'_>,
        expected: &'static str,
    ) -> Option<String> {
        match value {
            Value::StringLit(text) if text.value.contains('\0') => {
                self.refuse(start, McpServersError::ZeroByte(key.to_owned()));
                None
            }
            Value::StringLit(text) => Some(text.value.to_string()),
            other => {
                self.refuse(start, wrong_type(key, other, expected));
                None
            }
        }
    }

    fn set(&mut self, key: &str, start: usize, value: toml::Value) {
        let line = self.translator.lines.line_of(start);
        self.key_lines.insert(key.to_owned(), line);
        self.table.insert(key.to_owned(), value);
    }

    fn refuse_duplicates(&mut self, object: &Object<'_>) {
        for (key, start) in duplicate_keys(object) {
            self.refuse(start, McpServersError::DuplicateKey(key));
        }
    }

    fn refuse_all(&mut self, start: usize, problems: Vec<McpServersError>) {
        for problem in problems {
            self.refuse(start, problem);
        }
    }

    fn refuse(&mut self, start: usize, problem: McpServersError) {
        self.errors.push(ServersFileError {
            file: self.translator.path.to_owned(),
            line: Some(self.translator.lines.line_of(start)),
            server: Some(self.name.clone()),
            problem,
        });
    }
}

/// Returns whether a server is not to run.
fn is_disabled(object: &Object<'_>) -> bool {
    object.properties.iter().any(|property| {
        let Value::BooleanLit(value) = &property.value else {
            return false;
        };
        match property.name.as_str() {
            "disabled" => value.value,
            "enabled" => !value.value,
            _ => false,
        }
    })
}
