//! The declaration of a setting: names, form of the value, default, help.
//!
//! Flag, environment variable, key of the file, help and Markdown are all derived from the
//! declaration.

use crate::value::{Syntax, ValueType};

/// A setting with the type of its value.
///
/// ```
/// use llamapool_settings::{Group, TypedSetting, value};
///
/// const MAIN: Group = Group::new("Main");
/// static PORT: TypedSetting<usize> =
///     TypedSetting::new("PORT", MAIN, value::COUNT, "Port to listen on.").default("8080");
///
/// assert_eq!(PORT.setting.names().collect::<Vec<_>>(), ["PORT"]);
/// ```
pub struct TypedSetting<T: 'static> {
    /// The declaration without the type.
    pub setting: Setting,
    /// Form and parser of the value.
    pub value_type: ValueType<T>,
}

/// The declaration of a setting, as flags, help and documents use it.
#[derive(Debug, Clone, Copy)]
pub struct Setting {
    /// Canonical name, which is the environment variable.
    pub name: &'static str,
    /// Other names with the same meaning.
    pub aliases: &'static [&'static str],
    /// Rules for its names.
    pub naming: Naming,
    /// Additional long flag without dashes, which is no environment variable and no key.
    pub flag_alias: Option<&'static str>,
    /// Short flag.
    pub short: Option<char>,
    /// Section of the help.
    pub group: Group,
    /// Form of the value.
    pub syntax: Syntax,
    /// Value where no source has one.
    pub default: DefaultValue,
    /// Meaning, in one sentence.
    pub help: &'static str,
    /// Key in an entry table of the file; `None` if entries cannot have it.
    pub entry: Option<EntryKey>,
}

/// The place of a setting in an entry table, such as one `[[provider]]` of several.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EntryKey {
    /// Name of the entry tables, such as `provider` for `[[provider]]`.
    pub table: &'static str,
    /// Key in the entry table.
    pub key: &'static str,
    /// Another key with the same meaning.
    pub alias: Option<&'static str>,
    /// Meaning of the same setting outside of the entry tables.
    pub scope: EntryScope,
}

/// The meaning that a setting outside of the entry tables has for the entries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EntryScope {
    /// The default of every entry that does not set it.
    Shared,
    /// An error: each entry must set it for itself.
    PerEntry,
    /// None: it exists in entry tables alone, and is no flag, variable or key outside of them.
    TablesOnly,
}

/// Rules for the names of a setting.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Naming {
    /// Two names with different values in one source are an error.
    Own,
    /// Names that many programs share, such as `HTTPS_PROXY`: also read in lower case from the
    /// environment, and the first name that is set wins.
    Conventional,
    /// Path of the settings file, which therefore cannot be a key of that file.
    ConfigFile,
}

/// The value of a setting that no source sets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DefaultValue {
    /// This text, parsed like any other value.
    Text(&'static str),
    /// The value of the empty text, or decided by the program; the words describe it for readers.
    Described(&'static str),
}

/// A section of the help, identified by its heading.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Group {
    /// Heading of the section.
    pub heading: &'static str,
}

impl Group {
    /// A section with this heading.
    pub const fn new(heading: &'static str) -> Self {
        Self { heading }
    }
}

impl EntryKey {
    /// Returns its keys in an entry table.
    pub fn keys(self) -> impl Iterator<Item = &'static str> {
        std::iter::once(self.key).chain(self.alias)
    }
}

impl Setting {
    /// Returns the canonical name, then the aliases. None for a setting of entry tables alone.
    pub fn names(&self) -> impl Iterator<Item = &'static str> + use<> {
        let names = std::iter::once(self.name).chain(self.aliases.iter().copied());
        let is_outside = !self.is_of_tables_only();
        names.filter(move |_| is_outside)
    }

    fn is_of_tables_only(&self) -> bool {
        let scope = self.entry.map(|entry| entry.scope);
        scope == Some(EntryScope::TablesOnly)
    }

    /// Returns the place of the setting in the entry tables of this name, `None` if it has none there.
    pub fn entry_of(&self, table: &str) -> Option<EntryKey> {
        self.entry.filter(|entry| entry.table == table)
    }

    /// Returns the keys of the file that set it.
    pub fn keys(&self) -> Vec<String> {
        if self.naming == Naming::ConfigFile {
            Vec::new()
        } else {
            self.names().map(key_name).collect()
        }
    }

    /// Returns the environment variables that set it, the strongest first.
    pub fn variables(&self) -> Vec<String> {
        let lower_case =
            |name: &str| (self.naming == Naming::Conventional).then(|| name.to_ascii_lowercase());

        self.names()
            .flat_map(|name| std::iter::once(name.to_owned()).chain(lower_case(name)))
            .collect()
    }

    /// Returns the names under which the path of a file with the value is set, empty if the form of
    /// the value has none.
    pub fn file_names(&self) -> impl Iterator<Item = String> + use<> {
        let names = self.syntax.can_be_in_a_file().then(|| self.names());
        names.into_iter().flatten().map(file_name)
    }

    /// Returns the default for readers.
    pub fn shown_default(&self) -> &'static str {
        match self.default {
            DefaultValue::Text("false") if self.syntax == Syntax::Switch => "off",
            DefaultValue::Text(text) | DefaultValue::Described(text) => text,
        }
    }
}

/// Returns the long flag of a name, without dashes: `FIRST_BYTE_TIMEOUT` is `first-byte-timeout`.
pub fn flag_name(name: &str) -> String {
    name.to_ascii_lowercase().replace('_', "-")
}

/// Returns the name that sets the path of a file with the value: `WORKER_KEY` is
/// `WORKER_KEY_FILE`.
pub fn file_name(name: &str) -> String {
    format!("{name}_FILE")
}

/// Returns the key of a name: `FIRST_BYTE_TIMEOUT` is `first_byte_timeout`.
pub fn key_name(name: &str) -> String {
    name.to_ascii_lowercase()
}

impl<T> TypedSetting<T> {
    /// Declares a setting whose default is described as `none`.
    pub const fn new(
        name: &'static str,
        group: Group,
        value_type: ValueType<T>,
        help: &'static str,
    ) -> Self {
        let setting = Setting {
            name,
            aliases: &[],
            naming: Naming::Own,
            flag_alias: None,
            short: None,
            group,
            syntax: value_type.syntax,
            default: DefaultValue::Described("none"),
            help,
            entry: None,
        };
        Self {
            setting,
            value_type,
        }
    }

    /// Sets the default to a text that is parsed like any other value.
    pub const fn default(mut self, text: &'static str) -> Self {
        self.setting.default = DefaultValue::Text(text);
        self
    }

    /// Describes a default that is the value of the empty text, or decided by the program.
    pub const fn described_default(mut self, words: &'static str) -> Self {
        self.setting.default = DefaultValue::Described(words);
        self
    }

    /// Adds names with the same meaning.
    pub const fn aliases(mut self, names: &'static [&'static str]) -> Self {
        self.setting.aliases = names;
        self
    }

    /// Sets the rules for its names.
    pub const fn naming(mut self, naming: Naming) -> Self {
        self.setting.naming = naming;
        self
    }

    /// Adds a long flag, without dashes.
    pub const fn flag_alias(mut self, flag: &'static str) -> Self {
        self.setting.flag_alias = Some(flag);
        self
    }

    /// Adds a short flag.
    pub const fn short(mut self, letter: char) -> Self {
        self.setting.short = Some(letter);
        self
    }

    /// Lets entry tables of the file have it under a key of their own.
    pub const fn entry(
        mut self,
        table: &'static str,
        key: &'static str,
        scope: EntryScope,
    ) -> Self {
        self.setting.entry = Some(EntryKey {
            table,
            key,
            alias: None,
            scope,
        });
        self
    }

    /// Adds a key with the same meaning in the entry tables.
    pub const fn entry_alias(mut self, alias: &'static str) -> Self {
        if let Some(entry) = &mut self.setting.entry {
            entry.alias = Some(alias);
        }
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::value::TEXT;

    const MAIN: Group = Group::new("Main");

    #[test]
    fn flags_and_keys_follow_from_the_name() {
        assert_eq!(flag_name("FIRST_BYTE_TIMEOUT"), "first-byte-timeout");
        assert_eq!(key_name("FIRST_BYTE_TIMEOUT"), "first_byte_timeout");
    }

    #[test]
    fn conventional_names_are_also_read_in_lower_case() {
        let proxy = TypedSetting::new("HTTPS_PROXY", MAIN, TEXT, "A proxy.")
            .aliases(&["ALL_PROXY"])
            .naming(Naming::Conventional);

        assert_eq!(
            proxy.setting.variables(),
            ["HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"]
        );
        assert_eq!(proxy.setting.keys(), ["https_proxy", "all_proxy"]);
    }

    #[test]
    fn secrets_and_headers_can_be_in_a_file() {
        let key =
            TypedSetting::new("KEY", MAIN, crate::example::SECRET, "A key.").aliases(&["OLD"]);
        let port = TypedSetting::new("PORT", MAIN, TEXT, "A port.");

        assert_eq!(
            key.setting.file_names().collect::<Vec<_>>(),
            ["KEY_FILE", "OLD_FILE"]
        );
        assert_eq!(port.setting.file_names().count(), 0);
    }

    #[test]
    fn the_path_of_the_file_is_no_key_of_the_file() {
        let path = TypedSetting::new("CONFIG_FILE", MAIN, TEXT, "A file.");

        assert_eq!(path.naming(Naming::ConfigFile).setting.keys().len(), 0);
    }
}
