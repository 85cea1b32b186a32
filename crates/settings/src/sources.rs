//! Flags, environment and file together, and the value that counts.
//!
//! Flag before environment before file before default. The order is decided for each setting and
//! not for each name, so that a weaker source never wins by another name. An entry table of the
//! file is stronger than all of them, for its entry.

use std::collections::HashMap;

use crate::environment::Environment;
use crate::error::{Location, SettingsError, ShownValue};
use crate::file::{self, Entry, SettingsFile};
use crate::layer::{Layer, SourceText};
use crate::schema::Schema;
use crate::setting::{DefaultValue, EntryKey, EntryScope, Naming, Setting, TypedSetting};
use crate::value::{self, ValueError};

/// All sources of one process. Not `Debug`: there are secrets among the values.
pub struct Sources {
    schema: &'static Schema,
    flags: Layer,
    variables: Layer,
    file: SettingsFile,
    environment: Environment,
}

/// A flag of the command line with its value.
pub struct FlagValue {
    /// The flag, with its dashes.
    pub flag: String,
    /// Its setting.
    pub setting: &'static Setting,
    /// The value.
    pub text: String,
}

/// The sources of one entry: its own table of the file, if it has one, before all others.
pub struct EntrySources<'a> {
    sources: &'a Sources,
    own: Option<&'a Entry>,
}

impl Sources {
    /// Collects the flags, the environment, and the file that one of them names.
    ///
    /// # Errors
    ///
    /// If the file cannot be read or has unknown keys, or names of one setting contradict each
    /// other. Values are checked when they are read.
    pub fn collect(
        schema: &'static Schema,
        flags: impl IntoIterator<Item = FlagValue>,
        environment: &Environment,
    ) -> Result<Self, SettingsError> {
        let mut sources = Self {
            schema,
            flags: flag_layer(schema, flags)?,
            variables: environment_layer(schema, environment)?,
            file: SettingsFile::default(),
            environment: environment.clone(),
        };

        if let Some(path) = sources.config_file().and_then(value::path) {
            sources.file = file::read(schema, &path)?;
        }
        sources.refuse_outside_entries()?;

        Ok(sources)
    }

    /// Returns the value of a setting, or its default.
    ///
    /// # Errors
    ///
    /// If any source has a value that the setting cannot have.
    pub fn value<T>(&self, setting: &TypedSetting<T>) -> Result<T, SettingsError> {
        match self.explicit(setting)? {
            Some(value) => Ok(value),
            None => default(setting),
        }
    }

    /// Returns the value of a setting, `None` if no source sets it.
    ///
    /// # Errors
    ///
    /// If any source has a value that the setting cannot have, although a stronger one has a good
    /// value: it would count as soon as the stronger source is gone.
    pub fn explicit<T>(&self, setting: &TypedSetting<T>) -> Result<Option<T>, SettingsError> {
        debug_assert!(
            self.schema.by_name(setting.setting.name).is_some(),
            "{} is not in the schema",
            setting.setting.name
        );

        let mut strongest = None;
        for text in self.texts(&setting.setting) {
            let value = parse(setting, text)?;
            strongest.get_or_insert(value);
        }
        Ok(strongest)
    }

    /// Returns the location of the value that counts, `None` if no source sets it.
    pub fn location(&self, setting: &Setting) -> Option<&Location> {
        self.texts(setting).next().map(|found| &found.location)
    }

    /// Returns the sources of each entry. Without entry tables there is one entry, described by the
    /// settings themselves.
    pub fn entries(&self) -> Vec<EntrySources<'_>> {
        let of = |own| EntrySources { sources: self, own };

        if self.file.entries.is_empty() {
            vec![of(None)]
        } else {
            self.file.entries.iter().map(|own| of(Some(own))).collect()
        }
    }

    /// Returns the environment of the process.
    pub fn environment(&self) -> &Environment {
        &self.environment
    }

    /// Returns the settings that these sources are for.
    pub fn schema(&self) -> &'static Schema {
        self.schema
    }

    /// Returns the path of the settings file as it was set.
    fn config_file(&self) -> Option<&str> {
        let setting = self
            .schema
            .settings()
            .find(|setting| setting.naming == Naming::ConfigFile)?;

        self.texts(setting).next().map(|found| found.text.as_str())
    }

    fn refuse_outside_entries(&self) -> Result<(), SettingsError> {
        let Some(table) = self.schema.entry_table else {
            return Ok(());
        };
        if self.file.entries.is_empty() {
            return Ok(());
        }

        for setting in self.schema.settings() {
            if let Some(EntryKey {
                key,
                scope: EntryScope::PerEntry,
            }) = setting.entry
                && let Some(found) = self.texts(setting).next()
            {
                return Err(SettingsError::OutsideEntries {
                    location: found.location.clone(),
                    table,
                    key,
                });
            }
        }
        Ok(())
    }

    /// Returns the text of each source that has one, the strongest first.
    fn texts(&self, setting: &Setting) -> impl Iterator<Item = &SourceText> {
        [&self.flags, &self.variables, &self.file.layer]
            .into_iter()
            .filter_map(|layer| layer.get(setting))
    }
}

impl EntrySources<'_> {
    /// Returns the value of a setting for this entry, or its default.
    ///
    /// # Errors
    ///
    /// If any source has a value that the setting cannot have.
    pub fn value<T>(&self, setting: &TypedSetting<T>) -> Result<T, SettingsError> {
        match self.explicit(setting)? {
            Some(value) => Ok(value),
            None => default(setting),
        }
    }

    /// Returns the value of a setting for this entry, `None` if no source sets it.
    ///
    /// # Errors
    ///
    /// If any source has a value that the setting cannot have, the shared one too where this entry
    /// does without it.
    pub fn explicit<T>(&self, setting: &TypedSetting<T>) -> Result<Option<T>, SettingsError> {
        let own = self.own.and_then(|own| own.layer.get(&setting.setting));
        let own = own.map(|text| parse(setting, text)).transpose()?;
        let shared = self.sources.explicit(setting)?;

        Ok(own.or(shared))
    }

    /// Returns an error if both of two settings are set.
    pub fn refuse_both(&self, one: &Setting, other: &Setting) -> Result<(), SettingsError> {
        match (self.text(one), self.text(other)) {
            (Some(one), Some(other)) => Err(SettingsError::Exclusive {
                one: one.location.clone(),
                other: other.location.clone(),
            }),
            _ => Ok(()),
        }
    }

    /// Returns an error if this entry has a table of its own that sets neither of two settings.
    pub fn refuse_neither(&self, one: &Setting, other: &Setting) -> Result<(), SettingsError> {
        let Some(own) = self.own else {
            return Ok(());
        };
        if own.layer.get(one).is_some() || own.layer.get(other).is_some() {
            return Ok(());
        }

        match (one.entry, other.entry) {
            (Some(one), Some(other)) => Err(SettingsError::IncompleteEntry {
                table: own.name.clone(),
                file: own.file.clone(),
                key: one.key,
                or: other.key,
            }),
            _ => Ok(()),
        }
    }

    fn text(&self, setting: &Setting) -> Option<&SourceText> {
        let own = self.own.and_then(|own| own.layer.get(setting));
        own.or_else(|| self.sources.texts(setting).next())
    }
}

fn default<T>(setting: &TypedSetting<T>) -> Result<T, SettingsError> {
    let text = match setting.setting.default {
        DefaultValue::Text(text) => text,
        DefaultValue::Described(_) => "",
    };

    parse(
        setting,
        &SourceText {
            location: Location::Default,
            text: text.to_owned(),
        },
    )
}

fn parse<T>(setting: &TypedSetting<T>, source: &SourceText) -> Result<T, SettingsError> {
    let SourceText { location, text } = source;

    (setting.value_type.parse)(text).map_err(|ValueError { expected }| {
        SettingsError::InvalidValue {
            setting: setting.setting.name,
            location: location.clone(),
            shown: ShownValue::of(&setting.setting, text),
            expected,
        }
    })
}

fn flag_layer(
    schema: &Schema,
    flags: impl IntoIterator<Item = FlagValue>,
) -> Result<Layer, SettingsError> {
    let mut by_setting: HashMap<&'static str, Vec<SourceText>> = HashMap::new();
    for flag in flags {
        let texts = by_setting.entry(flag.setting.name).or_default();
        texts.push(SourceText {
            location: Location::Flag(flag.flag),
            text: flag.text,
        });
    }

    Layer::build(schema, |setting| {
        Ok(by_setting.remove(setting.name).unwrap_or_default())
    })
}

fn environment_layer(schema: &Schema, environment: &Environment) -> Result<Layer, SettingsError> {
    Layer::build(schema, |setting| {
        let mut texts = Vec::new();
        for name in setting.variables() {
            let Some(value) = environment.get(&name) else {
                continue;
            };
            let location = Location::Variable(name);
            match value.to_str() {
                Some(text) => texts.push(SourceText {
                    location,
                    text: text.to_owned(),
                }),
                None => {
                    return Err(SettingsError::InvalidValue {
                        setting: setting.name,
                        location,
                        shown: ShownValue::Hidden,
                        expected: "UTF-8".into(),
                    });
                }
            }
        }
        Ok(texts)
    })
}

#[cfg(test)]
mod tests;
