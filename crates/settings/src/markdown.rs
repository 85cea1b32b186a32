//! Tables of settings as Markdown, for documents.
//!
//! A document contains nothing about a setting that its declaration does not contain.

use std::fmt::Write;

use crate::schema::Schema;
use crate::setting::{DefaultValue, EntryScope, Group, Setting, flag_name};

/// Returns the settings of these groups as a table, each row with a line end.
pub fn table(schema: &Schema, groups: &[Group]) -> String {
    let mut text =
        "| setting | flag | TOML key | default | meaning |\n|---|---|---|---|---|\n".to_owned();

    for setting in schema.settings() {
        let is_outside = setting.names().next().is_some();
        if is_outside && groups.contains(&setting.group) {
            // Writing into a `String` cannot fail.
            let _ = writeln!(
                text,
                "| {} | {} | {} | {} | {} |",
                codes(setting.names()),
                flags(setting),
                codes(setting.keys()),
                default(setting),
                cell(setting.help)
            );
        }
    }

    text
}

/// Returns the settings that entry tables of this name can have as a table, each row with a line end.
pub fn entry_table(schema: &Schema, table: &str) -> String {
    let mut text = "| TOML key | setting | default | meaning |\n|---|---|---|---|\n".to_owned();

    for setting in schema.settings() {
        let Some(entry) = setting.entry_of(table) else {
            continue;
        };
        // Writing into a `String` cannot fail.
        let _ = writeln!(
            text,
            "| {} | {} | {} | {} |",
            codes(entry.keys()),
            codes(setting.names().take(1)),
            entry_default(setting, entry.scope),
            cell(setting.help)
        );
    }

    text
}

fn flags(setting: &Setting) -> String {
    let long = setting.names().map(|name| format!("--{}", flag_name(name)));
    let alias = setting.flag_alias.map(|flag| format!("--{flag}"));
    let short = setting.short.map(|letter| format!("-{letter}"));

    codes(long.chain(alias).chain(short))
}

fn default(setting: &Setting) -> String {
    let shown = setting.shown_default();

    match setting.default {
        DefaultValue::Text(text) if text == shown => format!("`{}`", cell(text)),
        _ => cell(shown),
    }
}

/// Returns the default of an entry, which is never the setting's own one: a forgotten key of one
/// entry must not become it.
fn entry_default(setting: &Setting, scope: EntryScope) -> String {
    match (scope, setting.default) {
        (EntryScope::Shared, _) => format!("value of {}", codes([setting.name])),
        (EntryScope::PerEntry | EntryScope::TablesOnly, DefaultValue::Described(words)) => {
            cell(words)
        }
        (EntryScope::PerEntry | EntryScope::TablesOnly, DefaultValue::Text(_)) => {
            "see below".into()
        }
    }
}

/// Returns the items as code, separated by commas, or a dash if there are none.
fn codes(items: impl IntoIterator<Item = impl AsRef<str>>) -> String {
    let codes: Vec<String> = items
        .into_iter()
        .map(|item| format!("`{}`", cell(item.as_ref())))
        .collect();

    if codes.is_empty() {
        "–".into()
    } else {
        codes.join(", ")
    }
}

fn cell(text: &str) -> String {
    text.replace('|', "\\|")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::setting::{Naming, TypedSetting};
    use crate::value::{COUNT, PATH, SWITCH};

    const MAIN: Group = Group::new("Main");
    const LIMITS: Group = Group::new("Limits");

    static FILE: TypedSetting<Option<std::path::PathBuf>> =
        TypedSetting::new("CONFIG_FILE", MAIN, PATH, "A file.")
            .naming(Naming::ConfigFile)
            .flag_alias("config");
    static LIMIT: TypedSetting<usize> = TypedSetting::new("LIMIT", LIMITS, COUNT, "A|B.")
        .aliases(&["BOUND"])
        .default("8");
    static QUIET: TypedSetting<bool> = TypedSetting::new("QUIET", MAIN, SWITCH, "Quiet.")
        .short('q')
        .default("false")
        .entry("item", "quiet", EntryScope::Shared);

    static SCHEMA: Schema = Schema {
        groups: &[MAIN, LIMITS],
        sections: &[&[&LIMIT.setting], &[&FILE.setting, &QUIET.setting]],
        entry_tables: &["item"],
    };

    #[test]
    fn a_row_has_all_names_and_the_default() {
        let text = table(&SCHEMA, SCHEMA.groups);

        let rows: Vec<&str> = text.lines().skip(2).collect();
        assert_eq!(
            rows,
            [
                "| `CONFIG_FILE` | `--config-file`, `--config` | – | none | A file. |",
                "| `QUIET` | `--quiet`, `-q` | `quiet` | off | Quiet. |",
                "| `LIMIT`, `BOUND` | `--limit`, `--bound` | `limit`, `bound` | `8` | A\\|B. |",
            ]
        );
    }

    #[test]
    fn a_table_has_only_the_settings_of_its_groups() {
        let text = table(&SCHEMA, &[LIMITS]);

        assert!(
            text.contains("`LIMIT`") && !text.contains("`QUIET`"),
            "{text}"
        );
        assert_eq!(table(&SCHEMA, &[]).lines().count(), 2);
    }

    #[test]
    fn a_table_of_entries_has_only_their_keys() {
        let text = entry_table(&SCHEMA, "item");

        let rows: Vec<&str> = text.lines().skip(2).collect();
        assert_eq!(rows, ["| `quiet` | `QUIET` | value of `QUIET` | Quiet. |"]);
    }
}
