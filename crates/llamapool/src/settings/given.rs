//! What somebody gave, from every source, and which of it counts.
//!
//! How a value is written is not here but in `kind`. The one rule: flag before environment before file before default,
//! decided per setting and not per name, so a weaker source never wins by another name. What stands in a provider's own
//! table is closer than all of them.

use std::collections::HashMap;
use std::path::PathBuf;

use super::environment::Environment;
use super::error::{Place, SettingsError, Shown};
use super::file;
use super::kind::Expected;
use super::logging::CONFIG_FILE;
use super::setting::{Naming, PerProvider, Reach, Setting, Typed, Unset};

/// Everything that was given to one process. There is no `Debug`: keys and tokens are in it.
pub struct Given {
    flags: Layer,
    environment: Layer,
    file: Layer,
    providers: Vec<ProviderTable>,
    inherited: Environment,
}

/// What the file's table of one provider says, and where it stands.
pub(super) struct ProviderTable {
    pub(super) layer: Layer,
    /// Which table it is, such as `provider 2`.
    pub(super) name: String,
    pub(super) file: PathBuf,
}

/// What was given for one provider: by its own table before everything else, if it has one.
pub(super) struct OfProvider<'a> {
    given: &'a Given,
    own: Option<&'a ProviderTable>,
}

/// A flag as it was given: by which of the setting's names, and with which text.
pub struct Flag {
    /// The flag with its dashes.
    pub flag: String,
    /// The setting it belongs to.
    pub setting: &'static Setting,
    /// The value.
    pub text: String,
}

/// The text that one source has for each setting, by canonical name.
pub(super) type Layer = HashMap<&'static str, Written>;

/// A text and where it stands.
pub(super) struct Written {
    pub(super) place: Place,
    pub(super) text: String,
}

impl Given {
    /// Puts the sources together: flags, the environment, and the file that one of them names.
    pub fn gather(
        table: &[&'static Setting],
        flags: impl IntoIterator<Item = Flag>,
        environment: &Environment,
    ) -> Result<Self, SettingsError> {
        let inherited = environment.clone();
        let environment = from_environment(table, environment)?;
        let (flags, file, providers) = (from_flags(table, flags)?, Layer::new(), Vec::new());
        let mut given = Self {
            flags,
            environment,
            file,
            providers,
            inherited,
        };
        if let Some(Some(path)) = given.asked(&CONFIG_FILE)? {
            (given.file, given.providers) = file::read(table, &path)?;
        }
        if !given.providers.is_empty() {
            given.refuse_beside_providers(table)?;
        }
        Ok(given)
    }

    /// What was given for each provider. Without tables of providers there is one, described by the settings themselves.
    pub(super) fn providers(&self) -> Vec<OfProvider<'_>> {
        let of = |own| OfProvider { given: self, own };
        if self.providers.is_empty() {
            vec![of(None)]
        } else {
            self.providers.iter().map(|own| of(Some(own))).collect()
        }
    }

    /// The environment of the process, which a program that it starts may inherit in part.
    pub(super) fn inherited(&self) -> &Environment {
        &self.inherited
    }

    fn refuse_beside_providers(&self, table: &[&'static Setting]) -> Result<(), SettingsError> {
        for setting in table {
            if let Some(PerProvider {
                key,
                reach: Reach::Own,
            }) = setting.per_provider
                && let Some(written) = self.written(setting)
            {
                return Err(SettingsError::BesideProviders {
                    place: written.place.clone(),
                    key,
                });
            }
        }
        Ok(())
    }

    /// The value of a setting: what somebody gave, or the default.
    pub(super) fn value<T>(&self, setting: &Typed<T>) -> Result<T, SettingsError> {
        self.asked(setting)?.map_or_else(|| default(setting), Ok)
    }

    /// The value that somebody gave, if anybody did. What a weaker source says must mean something too: it is what
    /// holds as soon as the stronger one is silent.
    pub(super) fn asked<T>(&self, setting: &Typed<T>) -> Result<Option<T>, SettingsError> {
        let mut strongest = None;
        for written in self.all_written(&setting.setting) {
            let value = parse(setting, written)?;
            strongest.get_or_insert(value);
        }
        Ok(strongest)
    }

    fn written(&self, setting: &Setting) -> Option<&Written> {
        self.all_written(setting).next()
    }

    /// What each source says, the strongest first.
    fn all_written(&self, setting: &Setting) -> impl Iterator<Item = &Written> {
        [&self.flags, &self.environment, &self.file]
            .into_iter()
            .filter_map(|layer| layer.get(setting.name))
    }
}

impl OfProvider<'_> {
    /// The value of a setting for this provider: what somebody gave, or the default.
    pub(super) fn value<T>(&self, setting: &Typed<T>) -> Result<T, SettingsError> {
        self.asked(setting)?.map_or_else(|| default(setting), Ok)
    }

    /// The value that somebody gave for this provider, if anybody did.
    pub(super) fn asked<T>(&self, setting: &Typed<T>) -> Result<Option<T>, SettingsError> {
        let own = self.own.and_then(|own| own.layer.get(setting.setting.name));
        let own = own.map(|written| parse(setting, written)).transpose()?;
        // What holds for all providers must mean something although this one does without.
        let for_all = self.given.asked(setting)?;
        Ok(own.or(for_all))
    }

    /// Refuses two settings of which only one can be meant.
    pub(super) fn only_one(&self, one: &Setting, other: &Setting) -> Result<(), SettingsError> {
        match (self.written(one), self.written(other)) {
            (Some(one), Some(other)) => Err(SettingsError::OnlyOne {
                one: one.place.clone(),
                other: other.place.clone(),
            }),
            _ => Ok(()),
        }
    }

    fn written(&self, setting: &Setting) -> Option<&Written> {
        let own = self.own.and_then(|own| own.layer.get(setting.name));
        own.or_else(|| self.given.written(setting))
    }

    /// Refuses a table that has neither of two settings.
    pub(super) fn must_have(&self, setting: &Setting, or: &Setting) -> Result<(), SettingsError> {
        match (self.own, setting.per_provider, or.per_provider) {
            (Some(own), Some(PerProvider { key, .. }), Some(PerProvider { key: or_key, .. }))
                if !own.layer.contains_key(setting.name) && !own.layer.contains_key(or.name) =>
            {
                let (table, file) = (own.name.clone(), own.file.clone());
                Err(SettingsError::Incomplete {
                    table,
                    file,
                    key,
                    or: or_key,
                })
            }
            _ => Ok(()),
        }
    }
}

fn default<T>(setting: &Typed<T>) -> Result<T, SettingsError> {
    let text = match setting.setting.unset {
        Unset::Default(text) => text,
        Unset::Otherwise(_) => "",
    };
    parse(
        setting,
        &Written {
            place: Place::Default,
            text: text.to_owned(),
        },
    )
}

fn parse<T>(setting: &Typed<T>, Written { place, text }: &Written) -> Result<T, SettingsError> {
    (setting.kind.parse)(text).map_err(|Expected(expected)| SettingsError::Bad {
        setting: setting.setting.name,
        place: place.clone(),
        shown: Shown::of(&setting.setting, text),
        expected,
    })
}

fn from_flags(
    table: &[&'static Setting],
    flags: impl IntoIterator<Item = Flag>,
) -> Result<Layer, SettingsError> {
    let mut by_setting: HashMap<&'static str, Vec<Written>> = HashMap::new();
    for Flag {
        flag,
        setting,
        text,
    } in flags
    {
        by_setting.entry(setting.name).or_default().push(Written {
            place: Place::Flag(flag),
            text,
        });
    }
    layer(table, |setting| {
        Ok(by_setting.remove(setting.name).unwrap_or_default())
    })
}

fn from_environment(
    table: &[&'static Setting],
    environment: &Environment,
) -> Result<Layer, SettingsError> {
    layer(table, |setting| {
        let set = setting
            .variables()
            .into_iter()
            .filter_map(|name| environment.get(&name).map(|value| (name, value)));
        let written = set.map(|(name, value)| match value.to_str() {
            Some(text) => Ok(Written {
                place: Place::Variable(name),
                text: text.to_owned(),
            }),
            None => Err(SettingsError::Bad {
                setting: setting.name,
                place: Place::Variable(name),
                shown: Shown::Hidden,
                expected: "UTF-8".into(),
            }),
        });
        written.collect()
    })
}

/// Makes a source's layer of all that it says of each setting, under whichever names.
pub(super) fn layer(
    table: &[&'static Setting],
    mut find: impl FnMut(&'static Setting) -> Result<Vec<Written>, SettingsError>,
) -> Result<Layer, SettingsError> {
    let mut layer = Layer::new();
    for setting in table {
        let mut found = find(setting)?.into_iter();
        let Some(first) = found.next() else { continue };
        let other =
            found.find(|other| setting.naming != Naming::Conventional && other.text != first.text);
        if let Some(other) = other {
            return Err(SettingsError::TwoNames {
                one: first.place,
                other: other.place,
            });
        }
        layer.insert(setting.name, first);
    }
    Ok(layer)
}
