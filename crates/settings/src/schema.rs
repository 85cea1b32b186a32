//! The settings of a program, or of one of its subcommands.

use crate::setting::{Group, Setting};

/// A list of settings, with the order in which help and documents show them.
///
/// The settings come in sections, one for each module that declares some, so that a new setting is
/// listed beside its declaration and nowhere else.
#[derive(Debug, Clone, Copy)]
pub struct Schema {
    /// Sections of the help, in order. A setting of any other group is not in the schema.
    pub groups: &'static [Group],
    /// The settings of each module.
    pub sections: &'static [&'static [&'static Setting]],
    /// Names of the file's entry tables, such as `provider` for `[[provider]]`.
    pub entry_tables: &'static [&'static str],
}

impl Schema {
    /// Returns every setting, by group, then in the order of the sections.
    pub fn settings(&self) -> impl Iterator<Item = &'static Setting> + use<> {
        let sections = self.sections;

        self.groups.iter().flat_map(move |group| {
            sections
                .iter()
                .copied()
                .flatten()
                .copied()
                .filter(|setting| setting.group == *group)
        })
    }

    /// Returns the setting with this canonical name or alias, `None` if there is none.
    pub fn by_name(&self, name: &str) -> Option<&'static Setting> {
        self.settings()
            .find(|setting| setting.names().any(|known| known == name))
    }

    /// Returns whether a variable of the environment holds a secret of this program, or the path of
    /// a file with one.
    pub fn is_secret_variable(&self, name: &str) -> bool {
        self.settings()
            .filter(|setting| setting.syntax.is_secret())
            .any(|setting| {
                let mut variables = setting.variables().into_iter().chain(setting.file_names());
                variables.any(|known| known == name)
            })
    }

    /// Returns whether a variable of the environment sets anything of this program.
    pub fn is_own_variable(&self, name: &str) -> bool {
        self.settings().any(|setting| {
            let mut variables = setting.variables().into_iter().chain(setting.file_names());
            variables.any(|known| known == name)
        })
    }
}
