//! Settings from a file: any text is either settings, or an error of one line that shows no secret.
//! Any text as a value is a value or an error.

#![no_main]

use std::path::PathBuf;
use std::sync::LazyLock;
use std::time::Duration;

use libfuzzer_sys::fuzz_target;
use llamapool_settings::value::{
    BYTES, COMMAND, COUNT, DURATION, PATH, SWITCH, Syntax, VARIABLES, ValueType, secret_text,
};
use llamapool_settings::{
    EntryScope, Environment, Group, Naming, Schema, SettingsError, Sources, TypedSetting,
};

const MAIN: Group = Group::new("Main");
const SECRET: ValueType<String> = ValueType {
    syntax: Syntax::Secret,
    parse: |text| secret_text(text).map(str::to_owned),
};

static CONFIG_FILE: TypedSetting<Option<PathBuf>> =
    TypedSetting::new("CONFIG_FILE", MAIN, PATH, "A file.").naming(Naming::ConfigFile);
static LIMIT: TypedSetting<usize> =
    TypedSetting::new("LIMIT", MAIN, COUNT, "A limit.").default("8");
static TIMEOUT: TypedSetting<Duration> =
    TypedSetting::new("TIMEOUT", MAIN, DURATION, "A timeout.").default("10s");
static KEY: TypedSetting<String> =
    TypedSetting::new("KEY", MAIN, SECRET, "A key.").aliases(&["OLD_KEY"]);
static ITEM_RETRY: TypedSetting<bool> =
    TypedSetting::new("ITEM_RETRY", MAIN, SWITCH, "Tries again.")
        .default("false")
        .entry("item", "retry", EntryScope::PerEntry);

static SCHEMA: Schema = Schema {
    groups: &[MAIN],
    sections: &[&[
        &CONFIG_FILE.setting,
        &LIMIT.setting,
        &TIMEOUT.setting,
        &KEY.setting,
        &ITEM_RETRY.setting,
    ]],
    entry_tables: &["item"],
};

/// A value that no error may show where it is the value of a key that ends so.
const MARK: &str = "hunter2hunter2";
const SECRET_LINE: &str = "key = \"hunter2hunter2";

/// The file of this process.
static FILE: LazyLock<String> = LazyLock::new(|| {
    let name = format!("llamapool-fuzz-settings-{}.toml", std::process::id());
    std::env::temp_dir().join(name).display().to_string()
});

fuzz_target!(|text: &str| {
    values(text);

    std::fs::write(FILE.as_str(), text).unwrap();
    let environment: Environment = [("CONFIG_FILE".to_owned(), FILE.clone())]
        .into_iter()
        .collect();
    if let Err(error) = read(&environment) {
        let line = error.to_string();
        assert!(!line.contains('\n'), "{line}");
        let is_secret = !text.replace(SECRET_LINE, "").contains(MARK);
        assert!(!is_secret || !line.contains(MARK), "{line}");
    }
});

fn read(environment: &Environment) -> Result<(), SettingsError> {
    let sources = Sources::collect(&SCHEMA, [], environment)?;
    sources.value(&LIMIT)?;
    sources.value(&TIMEOUT)?;
    sources.value(&KEY)?;
    for entry in sources.entries("item") {
        entry.value(&ITEM_RETRY)?;
    }
    Ok(())
}

fn values(text: &str) {
    let _ = (BYTES.parse)(text);
    let _ = (COMMAND.parse)(text);
    let _ = (DURATION.parse)(text);
    let _ = (SWITCH.parse)(text);
    let _ = (VARIABLES.parse)(text);
}
