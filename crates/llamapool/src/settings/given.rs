//! What somebody gave, from every source, and which of it counts.
//!
//! How a value is written is not here but in `kind`. The one rule: flag before environment before file before default,
//! decided per setting and not per name, so a weaker source never wins by another name.

use std::collections::HashMap;

use super::environment::Environment;
use super::error::{Place, SettingsError, Shown};
use super::file;
use super::kind::Expected;
use super::logging::CONFIG_FILE;
use super::setting::{Naming, Setting, Typed, Unset};

/// Everything that was given to one process. There is no `Debug`: keys and tokens are in it.
pub struct Given {
    flags: Layer,
    environment: Layer,
    file: Layer,
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
        let environment = from_environment(table, environment)?;
        let mut given = Self { flags: from_flags(table, flags)?, environment, file: Layer::new() };
        if let Some(Some(path)) = given.asked(&CONFIG_FILE)? {
            given.file = file::read(table, &path)?;
        }
        Ok(given)
    }

    /// The value of a setting: what somebody gave, or the default.
    pub(super) fn value<T>(&self, setting: &Typed<T>) -> Result<T, SettingsError> {
        if let Some(value) = self.asked(setting)? {
            return Ok(value);
        }
        let text = match setting.setting.unset {
            Unset::Default(text) => text,
            Unset::Otherwise(_) => "",
        };
        parse(setting, &Place::Default, text)
    }

    /// The value that somebody gave, if anybody did.
    pub(super) fn asked<T>(&self, setting: &Typed<T>) -> Result<Option<T>, SettingsError> {
        let written =
            [&self.flags, &self.environment, &self.file].into_iter().find_map(|l| l.get(setting.setting.name));
        written.map(|written| parse(setting, &written.place, &written.text)).transpose()
    }
}

fn parse<T>(setting: &Typed<T>, place: &Place, text: &str) -> Result<T, SettingsError> {
    (setting.kind.parse)(text).map_err(|Expected(expected)| SettingsError::Bad {
        setting: setting.setting.name,
        place: place.clone(),
        shown: Shown::of(&setting.setting, text),
        expected,
    })
}

fn from_flags(table: &[&'static Setting], flags: impl IntoIterator<Item = Flag>) -> Result<Layer, SettingsError> {
    let mut by_setting: HashMap<&'static str, Vec<Written>> = HashMap::new();
    for Flag { flag, setting, text } in flags {
        by_setting.entry(setting.name).or_default().push(Written { place: Place::Flag(flag), text });
    }
    layer(table, |setting| Ok(by_setting.remove(setting.name).unwrap_or_default()))
}

fn from_environment(table: &[&'static Setting], environment: &Environment) -> Result<Layer, SettingsError> {
    layer(table, |setting| {
        let set = setting.variables().into_iter().filter_map(|name| environment.get(&name).map(|value| (name, value)));
        let written = set.map(|(name, value)| match value.to_str() {
            Some(text) => Ok(Written { place: Place::Variable(name), text: text.to_owned() }),
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
        let other = found.find(|other| setting.naming != Naming::Conventional && other.text != first.text);
        if let Some(other) = other {
            return Err(SettingsError::TwoNames { one: first.place, other: other.place });
        }
        layer.insert(setting.name, first);
    }
    Ok(layer)
}
