//! What a setting is: its names, how its value is written, what holds without it, what it means.
//!
//! Nothing here reads a source, and no setting is declared here; the tables are in `server`, `relay` and `demo`.
//! The one rule: everything else about a setting (flag, key of the file, help, Markdown) is derived from its entry.

use super::kind::{Form, Kind};

/// A setting and the way to its value.
pub(super) struct Typed<T: 'static> {
    /// What tables, help and documents show.
    pub(super) setting: Setting,
    /// From text to the value.
    pub(super) kind: Kind<T>,
}

/// A setting as tables, help and documents see it.
#[derive(Debug, Clone, Copy)]
pub struct Setting {
    /// The canonical name, which is the environment variable.
    pub name: &'static str,
    /// Other names with the same meaning.
    pub aliases: &'static [&'static str],
    /// Whose names these are.
    pub naming: Naming,
    /// Another spelling that exists as a flag only.
    pub flag_alias: Option<&'static str>,
    /// A flag of one letter.
    pub short: Option<char>,
    /// Which part of the help it stands in.
    pub group: Group,
    /// How the value is written.
    pub form: Form,
    /// What holds when nobody sets it.
    pub unset: Unset,
    /// What it means, in one sentence.
    pub help: &'static str,
    /// How it stands in the file's table of one provider; none: it is no provider's own.
    pub per_provider: Option<PerProvider>,
}

/// How a setting stands in the file's table of one provider.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PerProvider {
    /// Its key there.
    pub key: &'static str,
    /// What the same setting outside of all such tables means for them.
    pub reach: Reach,
}

/// What a setting outside of all tables of providers means where there are such tables.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reach {
    /// It holds for every provider whose table does not say otherwise.
    All,
    /// It contradicts them: what is a provider's own stands in its table alone.
    Own,
}

/// Whose names a setting has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Naming {
    /// llamapool's: two of the names with different values contradict each other.
    Own,
    /// Every program's, such as `HTTPS_PROXY`: the environment may have it in small letters too, and the first name
    /// that is set wins.
    Conventional,
    /// llamapool's, and one that cannot stand in the file because it names the file.
    OutsideFile,
}

/// What holds when nobody sets a setting.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unset {
    /// The value that is written like this.
    Default(&'static str),
    /// What these words say.
    Otherwise(&'static str),
}

/// The parts of the help.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Group {
    /// What everybody sets.
    Main,
    /// Who may do what.
    Access,
    /// What is only for a provider that is a program.
    Program,
    /// How the outside is reached.
    Network,
    /// Where the process tells how it is.
    Status,
    /// How much of everything.
    Limits,
    /// How long for everything.
    Time,
    /// The tunnel between server and relay.
    Tunnel,
    /// What is logged.
    Logging,
}

impl Group {
    /// Every group, in the order of the help.
    pub const ALL: &'static [Self] = &[
        Self::Main,
        Self::Access,
        Self::Program,
        Self::Network,
        Self::Status,
        Self::Limits,
        Self::Time,
        Self::Tunnel,
        Self::Logging,
    ];

    /// The heading in the help.
    pub fn heading(self) -> &'static str {
        match self {
            Self::Main => "Main",
            Self::Access => "Access",
            Self::Program => "Provider that is a program",
            Self::Network => "Network",
            Self::Status => "Status",
            Self::Limits => "Limits",
            Self::Time => "Time",
            Self::Tunnel => "Tunnel",
            Self::Logging => "Logging",
        }
    }
}

impl Setting {
    /// The canonical name, then the aliases.
    pub fn names(&self) -> impl Iterator<Item = &'static str> + use<> {
        std::iter::once(self.name).chain(self.aliases.iter().copied())
    }

    /// The keys that the file may have for it.
    pub fn keys(&self) -> Vec<String> {
        if self.naming == Naming::OutsideFile {
            Vec::new()
        } else {
            self.names().map(key_of).collect()
        }
    }

    /// The names that the environment may have for it, the stronger first.
    pub fn variables(&self) -> Vec<String> {
        let small =
            |name: &str| (self.naming == Naming::Conventional).then(|| name.to_ascii_lowercase());
        self.names()
            .flat_map(|name| std::iter::once(name.to_owned()).chain(small(name)))
            .collect()
    }
}

/// `FIRST_BYTE_TIMEOUT` as a flag, without the dashes in front: `first-byte-timeout`.
pub fn flag_of(name: &str) -> String {
    name.to_ascii_lowercase().replace('_', "-")
}

/// `FIRST_BYTE_TIMEOUT` as a key of the file: `first_byte_timeout`.
pub fn key_of(name: &str) -> String {
    name.to_ascii_lowercase()
}

impl<T> Typed<T> {
    pub(super) const fn new(
        name: &'static str,
        group: Group,
        kind: Kind<T>,
        help: &'static str,
    ) -> Self {
        let setting = Setting {
            name,
            aliases: &[],
            naming: Naming::Own,
            flag_alias: None,
            short: None,
            group,
            form: kind.form,
            unset: Unset::Otherwise("none"),
            help,
            per_provider: None,
        };
        Self { setting, kind }
    }

    pub(super) const fn default(mut self, text: &'static str) -> Self {
        self.setting.unset = Unset::Default(text);
        self
    }

    pub(super) const fn otherwise(mut self, words: &'static str) -> Self {
        self.setting.unset = Unset::Otherwise(words);
        self
    }

    pub(super) const fn aliases(mut self, names: &'static [&'static str]) -> Self {
        self.setting.aliases = names;
        self
    }

    pub(super) const fn naming(mut self, naming: Naming) -> Self {
        self.setting.naming = naming;
        self
    }

    pub(super) const fn flag_alias(mut self, flag: &'static str) -> Self {
        self.setting.flag_alias = Some(flag);
        self
    }

    pub(super) const fn per_provider(mut self, key: &'static str, reach: Reach) -> Self {
        self.setting.per_provider = Some(PerProvider { key, reach });
        self
    }

    pub(super) const fn short(mut self, letter: char) -> Self {
        self.setting.short = Some(letter);
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::Role;

    #[test]
    fn flags_keys_and_variables_follow_from_the_name() {
        assert_eq!(flag_of("FIRST_BYTE_TIMEOUT"), "first-byte-timeout");
        assert_eq!(key_of("FIRST_BYTE_TIMEOUT"), "first_byte_timeout");
        let proxy = Role::Mcp
            .table()
            .iter()
            .find(|setting| setting.name == "HTTPS_PROXY")
            .unwrap();
        assert_eq!(
            proxy.variables(),
            ["HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"]
        );
        assert_eq!(proxy.keys(), ["https_proxy", "all_proxy"]);
    }

    #[test]
    fn no_two_settings_of_a_role_share_a_name() {
        for role in Role::ALL {
            let mut names: Vec<_> = role
                .table()
                .iter()
                .flat_map(|setting| setting.names())
                .collect();
            let count = names.len();
            assert!(count > 2);
            names.sort_unstable();
            names.dedup();
            assert_eq!(names.len(), count, "{role:?}");
        }
    }

    #[test]
    fn every_help_is_one_sentence() {
        for setting in Role::ALL.iter().flat_map(|role| role.table()) {
            assert!(
                setting.help.ends_with('.') && !setting.help.contains('\n'),
                "{}",
                setting.name
            );
        }
    }
}
