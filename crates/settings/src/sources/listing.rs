//! Every value that is set, with its source: for reports about the settings, which show no secret.

use super::Sources;
use crate::error::{Location, ShownValue};
use crate::layer::{Layer, SourceText};
use crate::setting::Setting;

/// A value that a source sets. Not `Debug`: it may be a secret.
pub struct SetValue {
    /// The name of the setting, behind that of its entry table if it stands in one.
    pub name: String,
    /// Its setting.
    pub setting: &'static Setting,
    /// Where it is set.
    pub location: Location,
    /// The part of it that may be shown.
    pub shown: ShownValue,
    /// The value itself, for a search for secrets.
    pub text: String,
}

impl Sources {
    /// Returns every value that is set in any source, also where a stronger source hides it.
    pub fn set_values(&self) -> Vec<SetValue> {
        let layers = [&self.flags, &self.variables, &self.file.layer];
        let mut values = Vec::new();
        for setting in self.schema.settings() {
            let texts = layers.iter().filter_map(|layer| layer.get(setting));
            values.extend(texts.map(|text| set_value(setting, setting.name.to_owned(), text)));
        }
        for entry in &self.file.entries {
            let in_entry = |layer: &Layer, setting: &'static Setting| {
                let name = format!("{}: {}", entry.name, setting.name);
                layer
                    .get(setting)
                    .map(|text| set_value(setting, name, text))
            };
            let settings = self.schema.settings();
            values.extend(settings.filter_map(|setting| in_entry(&entry.layer, setting)));
        }
        values
    }
}

fn set_value(setting: &'static Setting, name: String, source: &SourceText) -> SetValue {
    SetValue {
        name,
        setting,
        location: source.location.clone(),
        shown: ShownValue::of(setting, &source.text),
        text: source.text.clone(),
    }
}
