//! Flags, environment and file together, and the value that counts.
//!
//! Flag before environment before file before default. The order is decided for each setting and
//! not for each name, so that a weaker source never wins by another name. An entry table of the
//! file is stronger than all of them, for its entry.

mod listing;

use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap};

use crate::environment::Environment;
use crate::error::{Location, OnLine, SettingsError, ShownValue};
use crate::file::{self, Entry, SettingsFile};
use crate::layer::{Layer, SourceText};
use crate::own_entry::OwnEntry;
use crate::schema::Schema;
use crate::secret_file;
use crate::setting::{DefaultValue, EntryKey, EntryScope, Naming, Setting, TypedSetting};
use crate::value::{self, Syntax, ValueError};

pub use self::listing::SetValue;

/// All sources of one process. Not `Debug`: there are secrets among the values.
pub struct Sources {
    schema: &'static Schema,
    flags: Layer,
    variables: Layer,
    file: SettingsFile,
    environment: Environment,
    problems: Problems,
}

/// The reaction to what is wrong in a source.
enum Problems {
    /// It is the error of the call that found it.
    Returned,
    /// It is collected, and the value counts as unset.
    Collected(RefCell<Vec<SettingsError>>),
}

/// A flag of the command line with its value.
pub struct FlagValue {
    /// The flag, with its dashes.
    pub flag: String,
    /// Its setting.
    pub setting: &'static Setting,
    /// The value, or the path of a file with it.
    pub text: String,
    /// The meaning of the text.
    pub form: FlagForm,
}

/// The meaning of a flag's text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FlagForm {
    /// The value itself.
    Value,
    /// The path of a file that contains the value.
    FileOfValue,
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
    /// The first problem: if the file cannot be read or has unknown keys, or names of one setting
    /// contradict each other. Values are checked when they are read.
    pub fn collect(
        schema: &'static Schema,
        flags: impl IntoIterator<Item = FlagValue>,
        environment: &Environment,
    ) -> Result<Self, SettingsError> {
        let mut sources = Self::collect_leniently(schema, flags, environment);

        let first = sources.take_problems().into_iter().next();
        sources.problems = Problems::Returned;
        first.map_or(Ok(sources), Err)
    }

    /// Collects the same, and all problems: a wrong value counts as unset, and the error is among
    /// those of [`Self::take_problems`].
    pub fn collect_leniently(
        schema: &'static Schema,
        flags: impl IntoIterator<Item = FlagValue>,
        environment: &Environment,
    ) -> Self {
        let mut problems = Vec::new();
        let mut sources = Self {
            schema,
            flags: flag_layer(schema, flags, environment, &mut problems),
            variables: environment_layer(schema, environment, &mut problems),
            file: SettingsFile::default(),
            environment: environment.clone(),
            problems: Problems::Returned,
        };

        if let Some(path) = sources.config_file().and_then(value::path) {
            sources.file = file::read(schema, &path, environment, &mut problems);
        }
        problems.extend(sources.outside_entries());

        sources.problems = Problems::Collected(problems.into());
        sources
    }

    /// Returns the problems that were found since the last call, each once.
    pub fn take_problems(&self) -> Vec<SettingsError> {
        match &self.problems {
            Problems::Returned => Vec::new(),
            Problems::Collected(problems) => problems.take(),
        }
    }

    /// Returns the flags whose value is a secret, which every user of the machine can read in the
    /// list of processes.
    pub fn secret_flags(&self) -> Vec<String> {
        let settings = self.schema.settings();
        let secrets = settings.filter(|setting| setting.syntax.can_be_in_a_file());
        let flags = secrets.filter_map(|setting| match &self.flags.get(setting)?.location {
            Location::Flag(flag) => Some(flag.clone()),
            _ => None,
        });
        flags.collect()
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
        let name = setting.setting.name;
        debug_assert!(
            self.schema.settings().any(|known| known.name == name),
            "{name} is not in the schema"
        );

        let mut strongest = None;
        for text in self.texts(&setting.setting) {
            if let Some(value) = self.accept(parse(setting, text))? {
                strongest.get_or_insert(value);
            }
        }
        Ok(strongest)
    }

    /// Returns the location of the value that counts, `None` if no source sets it.
    pub fn location(&self, setting: &Setting) -> Option<&Location> {
        self.texts(setting).next().map(|found| &found.location)
    }

    /// Returns the sources of each entry that has a table of this name. Without such tables there is
    /// one entry, described by the settings themselves.
    pub fn entries(&self, table: &'static str) -> Vec<EntrySources<'_>> {
        let mut entries = self.entry_tables(table);
        if entries.is_empty() {
            entries.push(EntrySources {
                sources: self,
                own: None,
            });
        }
        entries
    }

    /// Returns the sources of the entries that have a table of this name, in the order of the file.
    pub fn entry_tables(&self, table: &'static str) -> Vec<EntrySources<'_>> {
        let own = self.file.entries.iter();
        let own = own.filter(|entry| entry.table == table);
        own.map(|own| EntrySources {
            sources: self,
            own: Some(own),
        })
        .collect()
    }

    /// Returns the sources of an entry that is in no table of the file.
    pub fn entry<'a>(&'a self, own: &'a OwnEntry) -> EntrySources<'a> {
        EntrySources {
            sources: self,
            own: Some(&own.0),
        }
    }

    /// Returns the problems of an entry that was read, or collects them.
    pub(crate) fn refuse_all(&self, problems: Vec<SettingsError>) -> Result<(), SettingsError> {
        for problem in problems {
            self.accept::<()>(Err(problem))?;
        }
        Ok(())
    }

    /// Returns an error if both of two settings are set outside of entry tables.
    pub fn refuse_both(&self, one: &Setting, other: &Setting) -> Result<(), SettingsError> {
        let both = (self.location(one), self.location(other));
        match both {
            (Some(one), Some(other)) => self.refuse_all(vec![SettingsError::Exclusive {
                one: one.clone(),
                other: other.clone(),
            }]),
            _ => Ok(()),
        }
    }

    /// Returns the text that counts for each setting that no entry table can have: to find out
    /// which of them have changed since. Contains secrets.
    pub fn outside_texts(&self) -> BTreeMap<&'static str, String> {
        let settings = self.schema.settings();
        let outside = settings.filter(|setting| setting.entry.is_none());
        let texts = outside.filter_map(|setting| {
            let text = self.texts(setting).next()?;
            Some((setting.name, text.text.clone()))
        });
        texts.collect()
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

    /// Returns an error for each setting that every entry table must have for itself, and that is
    /// set outside of them.
    fn outside_entries(&self) -> Vec<SettingsError> {
        let has_entries = |table: &str| self.file.entries.iter().any(|entry| entry.table == table);
        let settings = self.schema.settings();
        let outside = settings.filter_map(|setting| match setting.entry? {
            EntryKey {
                table,
                key,
                scope: EntryScope::PerEntry,
                ..
            } if has_entries(table) => Some(SettingsError::OutsideEntries {
                location: self.texts(setting).next()?.location.clone(),
                table,
                key,
            }),
            _ => None,
        });
        outside.collect()
    }

    /// Returns a value that was read. A problem is returned, or collected and `None` returned.
    fn accept<T>(&self, value: Result<T, SettingsError>) -> Result<Option<T>, SettingsError> {
        match (value, &self.problems) {
            (Ok(value), _) => Ok(Some(value)),
            (Err(error), Problems::Returned) => Err(error),
            (Err(error), Problems::Collected(problems)) => {
                let mut problems = problems.borrow_mut();
                let text = error.to_string();
                // Settings for all entries are read once for each of them.
                if problems.iter().all(|known| known.to_string() != text) {
                    problems.push(error);
                }
                Ok(None)
            }
        }
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
        let own = match own {
            Some(text) => self.sources.accept(parse(setting, text))?,
            None => None,
        };
        let shared = self.sources.explicit(setting)?;

        Ok(own.or(shared))
    }

    /// Returns the value of every source that sets a setting for this entry, the weakest first: for
    /// settings that add up.
    ///
    /// # Errors
    ///
    /// If any source has a value that the setting cannot have.
    pub fn all<T>(&self, setting: &TypedSetting<T>) -> Result<Vec<T>, SettingsError> {
        let own = self.own.and_then(|own| own.layer.get(&setting.setting));
        let texts = own.into_iter().chain(self.sources.texts(&setting.setting));

        let mut values = Vec::new();
        for text in texts {
            values.extend(self.sources.accept(parse(setting, text))?);
        }
        values.reverse();
        Ok(values)
    }

    /// Returns the value of a setting that this entry's own table must have. `None` where it has none, or
    /// none that is right, and problems are collected.
    ///
    /// # Errors
    ///
    /// If the table lacks it, or has a value that the setting cannot have.
    pub fn required<T>(&self, setting: &TypedSetting<T>) -> Result<Option<T>, SettingsError> {
        if let (Some(own), Some(entry)) = (self.own, setting.setting.entry)
            && own.layer.get(&setting.setting).is_none()
        {
            self.refuse(SettingsError::MissingKey {
                table: own.name.clone(),
                file: own.file.clone(),
                line: own.line,
                key: entry.key,
            })?;
        }
        self.explicit(setting)
    }

    /// Returns the entry's own table for readers, such as `provider 2 of the file "a.toml", line 7`;
    /// `None` if it has none.
    pub fn place(&self) -> Option<String> {
        let own = self.own?;
        let line = OnLine(own.line);
        Some(format!("{} of the file {:?}{line}", own.name, own.file))
    }

    /// Returns the name of the entry's own table for readers, such as `provider 2`; `None` if it has
    /// none.
    pub fn name(&self) -> Option<&str> {
        self.own.map(|own| own.name.as_str())
    }

    /// Returns an error if both of two settings are set.
    pub fn refuse_both(&self, one: &Setting, other: &Setting) -> Result<(), SettingsError> {
        match (self.text(one), self.text(other)) {
            (Some(one), Some(other)) => self.refuse(SettingsError::Exclusive {
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
            (Some(one), Some(other)) => self.refuse(SettingsError::IncompleteEntry {
                table: own.name.clone(),
                file: own.file.clone(),
                line: own.line,
                key: one.key,
                or: other.key,
            }),
            _ => Ok(()),
        }
    }

    /// Returns a problem of this entry, or collects it.
    fn refuse(&self, error: SettingsError) -> Result<(), SettingsError> {
        self.sources.accept::<()>(Err(error)).map(|_| ())
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
            is_hidden: false,
        },
    )
}

fn parse<T>(setting: &TypedSetting<T>, source: &SourceText) -> Result<T, SettingsError> {
    let SourceText {
        location,
        text,
        is_hidden,
    } = source;
    let shown = || {
        if *is_hidden {
            ShownValue::Hidden
        } else {
            ShownValue::of(&setting.setting, text)
        }
    };

    (setting.value_type.parse)(text).map_err(|ValueError { expected }| {
        SettingsError::InvalidValue {
            setting: setting.setting.name,
            location: location.clone(),
            shown: shown(),
            expected,
        }
    })
}

fn flag_layer(
    schema: &Schema,
    flags: impl IntoIterator<Item = FlagValue>,
    environment: &Environment,
    problems: &mut Vec<SettingsError>,
) -> Layer {
    let mut by_setting: HashMap<&'static str, Vec<Result<SourceText, SettingsError>>> =
        HashMap::new();
    for flag in flags {
        let texts = by_setting.entry(flag.setting.name).or_default();
        let location = Location::Flag(flag.flag);
        texts.push(match flag.form {
            FlagForm::Value => Ok(source_text(flag.setting, location, &flag.text, environment)),
            FlagForm::FileOfValue => {
                secret_file::read(location, &environment.expand_home(&flag.text))
            }
        });
    }

    Layer::build(schema, problems, |setting| {
        by_setting.remove(setting.name).unwrap_or_default()
    })
}

fn environment_layer(
    schema: &Schema,
    environment: &Environment,
    problems: &mut Vec<SettingsError>,
) -> Layer {
    let text_of = |setting: &Setting, name: &str| {
        let value = environment.get(name)?;
        let invalid = || SettingsError::InvalidValue {
            setting: setting.name,
            location: Location::Variable(name.to_owned()),
            shown: ShownValue::Hidden,
            expected: "UTF-8".into(),
        };
        Some(value.to_str().ok_or_else(invalid))
    };

    Layer::build(schema, problems, |setting| {
        let variables = setting.variables().into_iter();
        let values = variables.filter_map(|name| {
            let text = text_of(setting, &name)?;
            let location = Location::Variable(name);
            Some(text.map(|text| source_text(setting, location, text, environment)))
        });
        let of_files = setting.file_names().filter_map(|name| {
            let path = text_of(setting, &name)?;
            let location = Location::Variable(name);
            Some(path.and_then(|path| secret_file::read(location, &environment.expand_home(path))))
        });
        values.chain(of_files).collect()
    })
}

fn source_text(
    setting: &Setting,
    location: Location,
    text: &str,
    environment: &Environment,
) -> SourceText {
    let text = match setting.syntax {
        Syntax::Path => environment.expand_home(text),
        _ => text.to_owned(),
    };
    SourceText {
        location,
        text,
        is_hidden: false,
    }
}

#[cfg(test)]
mod tests;
