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
    /// True if no error may show the text: variables may have been replaced in it.
    pub(crate) is_hidden: bool,
}

impl Layer {
    /// Builds a layer from all texts that a source has for each setting, under any of its names,
    /// the strongest first. A text that is wrong is a problem, and the layer does without it.
    pub(crate) fn build(
        schema: &Schema,
        problems: &mut Vec<SettingsError>,
        mut texts_of: impl FnMut(&'static Setting) -> Vec<Result<SourceText, SettingsError>>,
    ) -> Self {
        let mut layer = Self::default();
        for setting in schema.settings() {
            let mut texts = Vec::new();
            for text in texts_of(setting) {
                match text {
                    Ok(text) => texts.push(text),
                    Err(error) => problems.push(error),
                }
            }

            match strongest(setting, texts) {
                Ok(Some(text)) => {
                    layer.0.insert(setting.name, text);
                }
                Ok(None) => {}
                Err(error) => problems.push(error),
            }
        }
        layer
    }

    /// Keeps all texts out of errors.
    pub(crate) fn hide(&mut self) {
        for text in self.0.values_mut() {
            text.is_hidden = true;
        }
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
