//! The setting that names the settings file. The engine reads it by its naming.

use std::path::PathBuf;

use llamapool_settings::value::PATH;
use llamapool_settings::{Naming, Setting, TypedSetting};

use super::group::MAIN;

static CONFIG_FILE: TypedSetting<Option<PathBuf>> =
    TypedSetting::new("CONFIG_FILE", MAIN, PATH, "TOML file with settings.")
        .naming(Naming::ConfigFile)
        .flag_alias("config");

/// The settings declared here.
pub(super) static SETTINGS: &[&Setting] = &[&CONFIG_FILE.setting];
