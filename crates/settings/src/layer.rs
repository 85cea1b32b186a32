//! The texts that one source has for the settings.

use std::collections::HashMap;

use crate::error::{Location, SettingsError};
use crate::schema::Schema;
use crate::setting::{Naming, Setting};

/// The text that one source has for each setting, by canonical name.
#[derive(Default)]
pub(crate) struct Layer(HashMap<&'static str, SourceText>);

/// A text and its location.
pub(crate) struct SourceText {
    pub(crate) location: Location,
    pub(crate) text: String,
}

impl Layer {
    /// Builds a layer from all texts that a source has for each setting, under any of its names,
    /// the strongest first.
    pub(crate) fn build(
        schema: &Schema,
        mut texts_of: impl FnMut(&'static Setting) -> Result<Vec<SourceText>, SettingsError>,
    ) -> Result<Self, SettingsError> {
        let mut layer = Self::default();
        for setting in schema.settings() {
            if let Some(text) = strongest(setting, texts_of(setting)?)? {
                layer.0.insert(setting.name, text);
            }
        }
        Ok(layer)
    }

    /// Returns the text of a setting, `None` if the source has none.
    pub(crate) fn get(&self, setting: &Setting) -> Option<&SourceText> {
        self.0.get(setting.name)
    }
}

/// Returns the first text. The others must be equal to it unless the names are conventional.
fn strongest(
    setting: &Setting,
    texts: Vec<SourceText>,
) -> Result<Option<SourceText>, SettingsError> {
    let mut texts = texts.into_iter();
    let Some(first) = texts.next() else {
        return Ok(None);
    };
    if setting.naming == Naming::Conventional {
        return Ok(Some(first));
    }

    match texts.find(|other| other.text != first.text) {
        None => Ok(Some(first)),
        Some(other) => Err(SettingsError::ConflictingNames {
            one: first.location,
            other: other.location,
        }),
    }
}
