//! The settings of an imagined program, for the tests of this crate.

use std::path::PathBuf;
use std::time::Duration;

use crate::schema::Schema;
use crate::setting::{EntryScope, Group, Naming, TypedSetting};
use crate::value::{
    self, COMMAND, COUNT, DURATION, MEMORY_OR_ZERO, PATH, SWITCH, Syntax, TEXT, ValueType,
    Variable, expected, items, secret_text,
};

const MAIN: Group = Group::new("Main");
const ACCESS: Group = Group::new("Access");

pub(crate) const SECRET: ValueType<String> = ValueType {
    syntax: Syntax::Secret,
    parse: |text| secret_text(text).map(str::to_owned),
};
const NAME: ValueType<String> = ValueType {
    syntax: Syntax::Text,
    parse: |text| Ok(text.to_owned()),
};
const LIST: ValueType<Vec<String>> = ValueType {
    syntax: Syntax::List,
    parse: |text| Ok(items(text).map(str::to_owned).collect()),
};
const LINES: ValueType<Vec<String>> = ValueType {
    syntax: Syntax::Headers,
    parse: |text| Ok(text.lines().map(str::to_owned).collect()),
};
const URL: ValueType<String> = ValueType {
    syntax: Syntax::Url,
    parse: |text| {
        if text.starts_with("http://") {
            Ok(text.to_owned())
        } else {
            expected("a URL")
        }
    },
};
const FORMAT_WORDS: ValueType<String> = ValueType {
    syntax: Syntax::Choice("text|json"),
    parse: |text| Ok(text.to_owned()),
};

pub(crate) static LIMIT: TypedSetting<usize> =
    TypedSetting::new("LIMIT", MAIN, COUNT, "A limit.").default("8");
pub(crate) static CONFIG_FILE: TypedSetting<Option<PathBuf>> =
    TypedSetting::new("CONFIG_FILE", MAIN, PATH, "A file.").naming(Naming::ConfigFile);
pub(crate) static RETRY: TypedSetting<bool> =
    TypedSetting::new("RETRY", MAIN, SWITCH, "Tries again.")
        .short('r')
        .default("false");
pub(crate) static TIMEOUT: TypedSetting<Duration> =
    TypedSetting::new("TIMEOUT", MAIN, DURATION, "A timeout.").default("10s");
pub(crate) static BUFFER_BYTES: TypedSetting<usize> =
    TypedSetting::new("BUFFER_BYTES", MAIN, MEMORY_OR_ZERO, "A buffer.").default("1MiB");
pub(crate) static FORMAT: TypedSetting<String> =
    TypedSetting::new("FORMAT", MAIN, FORMAT_WORDS, "A format.").default("text");
pub(crate) static PROXY: TypedSetting<Option<String>> =
    TypedSetting::new("HTTPS_PROXY", MAIN, TEXT, "A proxy.")
        .aliases(&["ALL_PROXY"])
        .naming(Naming::Conventional);
pub(crate) static KEY: TypedSetting<String> =
    TypedSetting::new("KEY", ACCESS, SECRET, "A key.").aliases(&["OLD_KEY"]);
pub(crate) static DIRECTORY: TypedSetting<Option<PathBuf>> =
    TypedSetting::new("DIRECTORY", MAIN, PATH, "A directory.");
pub(crate) static VARIABLES: TypedSetting<Vec<Variable>> =
    TypedSetting::new("VARIABLES", MAIN, value::VARIABLES, "Variables.").entry(
        "item",
        "env",
        EntryScope::Shared,
    );
pub(crate) static HOSTS: TypedSetting<Vec<String>> =
    TypedSetting::new("HOSTS", ACCESS, LIST, "Some hosts.");

pub(crate) static ITEM_URL: TypedSetting<String> =
    TypedSetting::new("ITEM_URL", MAIN, URL, "A URL.")
        .default("http://default")
        .entry("item", "url", EntryScope::PerEntry);
pub(crate) static ITEM_COMMAND: TypedSetting<Vec<String>> =
    TypedSetting::new("ITEM_COMMAND", MAIN, COMMAND, "A command.").entry(
        "item",
        "command",
        EntryScope::PerEntry,
    );
pub(crate) static ITEM_TOKEN: TypedSetting<String> =
    TypedSetting::new("ITEM_TOKEN", ACCESS, SECRET, "A token.").entry(
        "item",
        "token",
        EntryScope::Shared,
    );
pub(crate) static ITEM_HEADERS: TypedSetting<Vec<String>> =
    TypedSetting::new("ITEM_HEADERS", ACCESS, LINES, "Headers.").entry(
        "item",
        "headers",
        EntryScope::Shared,
    );

pub(crate) static GROUP_NAME: TypedSetting<String> =
    TypedSetting::new("GROUP_NAME", MAIN, NAME, "A name.").entry(
        "group",
        "name",
        EntryScope::TablesOnly,
    );
pub(crate) static GROUP_LIMIT: TypedSetting<usize> =
    TypedSetting::new("GROUP_LIMIT", MAIN, COUNT, "A limit.").entry(
        "group",
        "limit",
        EntryScope::TablesOnly,
    );

/// A program with `[[item]]` tables and `[[group]]` tables.
pub(crate) static SCHEMA: Schema = Schema {
    groups: &[MAIN, ACCESS],
    sections: &[
        &[
            &LIMIT.setting,
            &CONFIG_FILE.setting,
            &RETRY.setting,
            &TIMEOUT.setting,
            &BUFFER_BYTES.setting,
            &FORMAT.setting,
            &PROXY.setting,
            &KEY.setting,
            &HOSTS.setting,
            &VARIABLES.setting,
            &DIRECTORY.setting,
        ],
        &[
            &ITEM_URL.setting,
            &ITEM_COMMAND.setting,
            &ITEM_TOKEN.setting,
            &ITEM_HEADERS.setting,
        ],
        &[&GROUP_NAME.setting, &GROUP_LIMIT.setting],
    ],
    entry_tables: &["item", "group"],
};

/// A program without entry tables.
pub(crate) static SMALL_SCHEMA: Schema = Schema {
    groups: &[MAIN],
    sections: &[&[&LIMIT.setting, &CONFIG_FILE.setting]],
    entry_tables: &[],
};
