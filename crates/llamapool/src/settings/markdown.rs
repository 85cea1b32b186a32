//! The tables of settings as Markdown, for the documents.
//!
//! The help of the command line is in `cli::help`. The one rule: the documents say nothing about a setting that its
//! entry does not say.

use std::fmt::Write;

use super::setting::{PerProvider, Reach, Setting, Unset, flag_of};
use super::{Form, Group, Role};

/// The settings of a role that are in these groups as a Markdown table, with a line end after each row.
pub fn markdown(role: Role, groups: &[Group]) -> String {
    let head = "| setting | flag | TOML key | default | meaning |\n|---|---|---|---|---|\n";
    let settings = role
        .table()
        .iter()
        .filter(|setting| groups.contains(&setting.group));
    settings.fold(head.to_owned(), |mut text, setting| {
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
        text
    })
}

/// The settings that the file's table of one provider may have, as a Markdown table, with a line end after each row.
pub fn provider_markdown() -> String {
    let head =
        "| TOML key | setting | where the table does not say it | meaning |\n|---|---|---|---|\n";
    let all = Role::Mcp
        .table()
        .iter()
        .filter_map(|setting| Some((setting, setting.per_provider?)));
    all.fold(
        head.to_owned(),
        |mut text, (setting, PerProvider { key, reach })| {
            let without = match reach {
                Reach::All => format!("what {} says for all", codes([setting.name])),
                Reach::Own => match setting.unset {
                    Unset::Otherwise(words) => cell(words),
                    Unset::Default(_) => "see below".into(),
                },
            };
            // Writing into a `String` cannot fail.
            let _ = writeln!(
                text,
                "| `{key}` | {} | {without} | {} |",
                codes([setting.name]),
                cell(setting.help)
            );
            text
        },
    )
}

fn flags(setting: &Setting) -> String {
    let long = setting.names().map(|name| format!("--{}", flag_of(name)));
    let other = setting.flag_alias.map(|flag| format!("--{flag}"));
    codes(
        long.chain(other)
            .chain(setting.short.map(|letter| format!("-{letter}"))),
    )
}

fn default(setting: &Setting) -> String {
    match setting.unset {
        Unset::Default("false") if setting.form == Form::Switch => "off".into(),
        Unset::Default(text) => format!("`{}`", cell(text)),
        Unset::Otherwise(words) => cell(words),
    }
}

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

    #[test]
    fn a_row_has_every_name_of_a_setting_and_its_default() {
        let server = markdown(Role::Server, Group::ALL);
        let row = |name: &str| {
            server
                .lines()
                .find(|line| line.starts_with(&format!("| `{name}`")))
                .unwrap()
        };
        assert!(row("WORKER_KEY").starts_with(
            "| `WORKER_KEY`, `CLIENT_KEY` | `--worker-key`, `--client-key` | `worker_key`, `client_key` | generated"
        ));
        assert!(row("PORT").starts_with("| `PORT` | `--port` | `port` | `8080` | "));
        assert!(
            row("CONFIG_FILE")
                .starts_with("| `CONFIG_FILE` | `--config-file`, `--config` | – | none | ")
        );
        for role in Role::ALL {
            assert_eq!(
                markdown(*role, Group::ALL).lines().count(),
                role.table().len() + 2,
                "{role:?}"
            );
        }
    }

    #[test]
    fn a_table_has_the_settings_of_its_groups_alone() {
        let access = markdown(Role::Server, &[Group::Access]);
        assert!(
            access.contains("| `API_KEY`") && !access.contains("| `PORT`"),
            "{access}"
        );
        assert_eq!(markdown(Role::Demo, &[Group::Access]).lines().count(), 2);
    }
}
