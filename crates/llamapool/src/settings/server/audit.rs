//! Settings of the audit log.

use std::time::Duration;

use llamapool_identity::AddressForm;
use llamapool_server::{AuditCalls, AuditConfig, DataDirConfig};
use llamapool_settings::value::{BYTES, SWITCH, expected, size_within};
use llamapool_settings::{Setting, Sources, Syntax, TypedSetting, ValueType};

use crate::settings::error::ConfigError;
use crate::settings::group::AUDIT;

/// What is written of calls.
const CALLS: ValueType<AuditCalls> = ValueType {
    syntax: Syntax::Choice("none|denied|all"),
    parse: |text| {
        let found = AuditCalls::ALL
            .into_iter()
            .find(|calls| calls.word() == text.trim());
        found.map_or_else(|| expected("none, denied or all"), Ok)
    },
};
/// How addresses are written.
const ADDRESS: ValueType<AddressForm> = ValueType {
    syntax: Syntax::Choice("full|cut|none"),
    parse: |text| {
        let found = AddressForm::ALL
            .into_iter()
            .find(|form| form.word() == text.trim());
        found.map_or_else(|| expected("full, cut or none"), Ok)
    },
};
/// The size of a file.
const FILE_BYTES: ValueType<u64> = ValueType {
    syntax: Syntax::Size,
    parse: |text| size_within(text, AuditConfig::MIN_FILE_BYTES, u64::MAX),
};

/// The most days that files are kept: ten years.
const MAX_DAYS: u32 = 3650;
/// How long files are kept, in whole days: a file has a day.
const KEEP: ValueType<Duration> = ValueType {
    syntax: Syntax::Duration,
    parse: |text| {
        let days = text.trim().strip_suffix('d').map(str::trim);
        let days = days.and_then(|days| days.parse::<u32>().ok());
        let days = days.filter(|days| (1..=MAX_DAYS).contains(days));
        match days {
            Some(days) => Ok(Duration::from_secs(u64::from(days) * 24 * 60 * 60)),
            None => expected("days from 1d to 3650d"),
        }
    },
};

static ON: TypedSetting<bool> = TypedSetting::new(
    "AUDIT",
    AUDIT,
    SWITCH,
    "Writes an audit log into DATA_DIR/audit: who was let in or refused, and what was changed. There \
     is none without DATA_DIR.",
)
.default("true");
static REQUIRED: TypedSetting<bool> = TypedSetting::new(
    "AUDIT_REQUIRED",
    AUDIT,
    SWITCH,
    "Refuses sign-ins and changes through the server while the audit log cannot be written. Calls go \
     on.",
)
.default("false");
static AUDIT_CALLS: TypedSetting<AuditCalls> = TypedSetting::new(
    "AUDIT_CALLS",
    AUDIT,
    CALLS,
    "Calls in the audit log: none, denied (those that a policy of messages refuses) or all (a line \
     for each).",
)
.default("denied");
static AUDIT_ADDRESS: TypedSetting<AddressForm> = TypedSetting::new(
    "AUDIT_ADDRESS",
    AUDIT,
    ADDRESS,
    "Addresses in the audit log: full, cut (/24 of IPv4, /48 of IPv6) or none.",
)
.default("cut");
static AUDIT_KEEP: TypedSetting<Duration> = TypedSetting::new(
    "AUDIT_KEEP",
    AUDIT,
    KEEP,
    "How long files of the audit log are kept, in days: from 1d to 3650d.",
)
.default("400d");
static AUDIT_FILE_BYTES: TypedSetting<u64> = TypedSetting::new(
    "AUDIT_FILE_BYTES",
    AUDIT,
    FILE_BYTES,
    "Size of a file of the audit log at which the next one is begun; each day begins one as well.",
)
.default("64MiB");
static AUDIT_MAX_BYTES: TypedSetting<u64> = TypedSetting::new(
    "AUDIT_MAX_BYTES",
    AUDIT,
    BYTES,
    "Size of all files of the audit log; beyond it the oldest are removed, however young they are.",
)
.default("4GiB");

/// The settings declared here.
pub(super) static SETTINGS: &[&Setting] = &[
    &ON.setting,
    &REQUIRED.setting,
    &AUDIT_CALLS.setting,
    &AUDIT_ADDRESS.setting,
    &AUDIT_KEEP.setting,
    &AUDIT_FILE_BYTES.setting,
    &AUDIT_MAX_BYTES.setting,
];

/// Returns the configuration.
pub(super) fn resolve(
    sources: &Sources,
    data_dir: &DataDirConfig,
) -> Result<AuditConfig, ConfigError> {
    let config = AuditConfig {
        is_on: sources.value(&ON)?,
        is_required: sources.value(&REQUIRED)?,
        calls: sources.value(&AUDIT_CALLS)?,
        address: sources.value(&AUDIT_ADDRESS)?,
        keep: sources.value(&AUDIT_KEEP)?,
        file_bytes: sources.value(&AUDIT_FILE_BYTES)?,
        max_bytes: sources.value(&AUDIT_MAX_BYTES)?,
    };
    let has_place = !matches!(data_dir, DataDirConfig::None | DataDirConfig::NoPlace);
    if config.is_required && !(config.is_on && has_place) {
        return Err(ConfigError::AuditRequiredWithoutLog);
    }
    Ok(config)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::{Environment, SERVER, ServerSettings};

    fn resolved(settings: &[(&str, &str)]) -> Result<AuditConfig, String> {
        let environment: Environment = settings.iter().copied().collect();
        let sources = Sources::collect(&SERVER, [], &environment).map_err(|e| e.to_string())?;
        let settings = ServerSettings::resolve(&sources);
        settings
            .map(|it| it.config.audit)
            .map_err(|e| e.to_string())
    }

    #[test]
    fn the_log_is_on_and_cuts_addresses() {
        let config = resolved(&[]).unwrap();

        assert!(config.is_on && !config.is_required);
        assert_eq!(config.calls, AuditCalls::Denied);
        assert_eq!(config.address, AddressForm::Cut);
        assert_eq!(config.keep, Duration::from_secs(400 * 24 * 60 * 60));
        assert_eq!(config.file_bytes, 64 << 20);
    }

    #[test]
    fn a_log_that_must_be_written_needs_a_place() {
        let required = ("AUDIT_REQUIRED", "on");
        let place = ("DATA_DIR", "/var/lib/llamapool");

        assert!(resolved(&[required, place]).unwrap().is_required);
        for wrong in [("DATA_DIR", "off"), ("AUDIT", "off")] {
            let error = resolved(&[required, wrong]).unwrap_err();
            assert!(error.starts_with("AUDIT_REQUIRED needs"), "{error}");
        }
    }

    #[test]
    fn a_wrong_value_is_named_with_what_was_expected() {
        for (name, value, expected) in [
            ("AUDIT_CALLS", "some", "none, denied or all"),
            ("AUDIT_ADDRESS", "half", "full, cut or none"),
            ("AUDIT_KEEP", "0d", "1d to 3650d"),
            ("AUDIT_KEEP", "3651d", "1d to 3650d"),
            ("AUDIT_KEEP", "12h", "1d to 3650d"),
            ("AUDIT_FILE_BYTES", "1KiB", "65536 bytes"),
        ] {
            let error = resolved(&[(name, value)]).unwrap_err();
            assert!(error.contains(name) && error.contains(value), "{error}");
            assert!(error.contains(expected), "{error}");
        }
    }
}
