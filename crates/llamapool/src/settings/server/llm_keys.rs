//! Settings of the keys of the LLM API: each in a `[[key]]` table of the file, or one without a
//! table.

use std::collections::HashMap;
use std::time::SystemTime;

use llamapool_server::{KeyClass, KeyDigest, LlmKey};
use llamapool_settings::value::{COUNT, TEXT, expected};
use llamapool_settings::{
    EntryScope, EntrySources, Setting, Sources, Syntax, TypedSetting, ValueError, ValueType,
};
use llamapool_wire::Secret;

use crate::settings::error::ConfigError;
use crate::settings::group::{ACCESS, LIMITS};
use crate::settings::value::{SECRET, model_patterns};

/// The most keys of a server.
const MAX_KEYS: usize = 10_000;
/// The largest weight of a key.
const MAX_WEIGHT: usize = 1000;

/// A class of calls.
const CLASS: ValueType<KeyClass> = ValueType {
    syntax: Syntax::Text,
    parse: |text| match text.trim() {
        "low" => Ok(KeyClass::Low),
        "normal" => Ok(KeyClass::Normal),
        "high" => Ok(KeyClass::High),
        _ => expected("low, normal or high"),
    },
};
/// Patterns of names of models.
const PATTERNS: ValueType<Vec<String>> = ValueType {
    syntax: Syntax::List,
    parse: |text| {
        let patterns = model_patterns(text)?;
        Ok(patterns.into_iter().map(str::to_owned).collect())
    },
};
/// A SHA-256 in hexadecimal digits.
const SHA256: ValueType<KeyDigest> = ValueType {
    syntax: Syntax::Text,
    parse: sha256,
};
/// A date, or a time in UTC.
const TIME_OF_DAY: ValueType<SystemTime> = ValueType {
    syntax: Syntax::Text,
    parse: time,
};

static LLM_KEY_NAME: TypedSetting<Option<String>> = TypedSetting::new(
    "LLM_KEY_NAME",
    ACCESS,
    TEXT,
    "Name of a key of the LLM API, for the log, the state and the metrics.",
)
.described_default("key and its number")
.entry("key", "name", EntryScope::PerEntry);
static LLM_KEY: TypedSetting<Secret> = TypedSetting::new(
    "LLM_KEY",
    ACCESS,
    SECRET,
    "Key that opens the LLM API, beside API_KEY, and nothing else.",
)
.entry("key", "key", EntryScope::PerEntry);
static LLM_KEY_SHA256: TypedSetting<KeyDigest> = TypedSetting::new(
    "LLM_KEY_SHA256",
    ACCESS,
    SHA256,
    "SHA-256 of such a key in hexadecimal digits, in the place of the key.",
)
.entry("key", "key_sha256", EntryScope::PerEntry);
static LLM_KEY_MODELS: TypedSetting<Vec<String>> = TypedSetting::new(
    "LLM_KEY_MODELS",
    ACCESS,
    PATTERNS,
    "Patterns of the models that a key may use; * stands for anything, ! in front leaves out.",
)
.default("*")
.entry("key", "models", EntryScope::Shared);
static LLM_KEY_EXPIRES: TypedSetting<SystemTime> = TypedSetting::new(
    "LLM_KEY_EXPIRES",
    ACCESS,
    TIME_OF_DAY,
    "Date or time in UTC from which a key is refused, such as 2027-01-31.",
)
.described_default("never")
.entry("key", "expires", EntryScope::Shared);
static LLM_KEY_CLASS: TypedSetting<KeyClass> = TypedSetting::new(
    "LLM_KEY_CLASS",
    ACCESS,
    CLASS,
    "Class of the calls of a key: low, normal or high. A higher one goes first.",
)
.default("normal")
.entry("key", "class", EntryScope::Shared);
static LLM_KEY_WEIGHT: TypedSetting<usize> = TypedSetting::new(
    "LLM_KEY_WEIGHT",
    LIMITS,
    COUNT,
    "Share of slot time of a key, relative to other keys that wait.",
)
.default("1")
.entry("key", "weight", EntryScope::Shared);
static LLM_KEY_CONCURRENCY: TypedSetting<usize> = TypedSetting::new(
    "LLM_KEY_CONCURRENCY",
    LIMITS,
    COUNT,
    "Most concurrent calls of a key.",
)
.described_default("no limit")
.entry("key", "max_concurrency", EntryScope::Shared);
static LLM_KEY_QUEUED: TypedSetting<usize> = TypedSetting::new(
    "LLM_KEY_QUEUED",
    LIMITS,
    COUNT,
    "Most calls of a key that wait.",
)
.described_default("a quarter of LLM_QUEUE_SIZE")
.entry("key", "max_queued", EntryScope::Shared);
static LLM_KEY_REQUESTS_PER_MINUTE: TypedSetting<usize> = TypedSetting::new(
    "LLM_KEY_REQUESTS_PER_MINUTE",
    LIMITS,
    COUNT,
    "Most calls of a key in a minute.",
)
.described_default("no limit")
.entry("key", "requests_per_minute", EntryScope::Shared);
static LLM_KEY_TOKENS_PER_MINUTE: TypedSetting<usize> = TypedSetting::new(
    "LLM_KEY_TOKENS_PER_MINUTE",
    LIMITS,
    COUNT,
    "Most tokens of a key in a minute, of prompts and answers.",
)
.described_default("no limit")
.entry("key", "tokens_per_minute", EntryScope::Shared);
static LLM_KEY_TOKENS_PER_DAY: TypedSetting<usize> = TypedSetting::new(
    "LLM_KEY_TOKENS_PER_DAY",
    LIMITS,
    COUNT,
    "Most tokens of a key in a day, of prompts and answers; they are not counted over a restart.",
)
.described_default("no limit")
.entry("key", "tokens_per_day", EntryScope::Shared);

/// The settings declared here.
pub(super) static SETTINGS: &[&Setting] = &[
    &LLM_KEY.setting,
    &LLM_KEY_SHA256.setting,
    &LLM_KEY_NAME.setting,
    &LLM_KEY_MODELS.setting,
    &LLM_KEY_CLASS.setting,
    &LLM_KEY_EXPIRES.setting,
    &LLM_KEY_WEIGHT.setting,
    &LLM_KEY_CONCURRENCY.setting,
    &LLM_KEY_QUEUED.setting,
    &LLM_KEY_REQUESTS_PER_MINUTE.setting,
    &LLM_KEY_TOKENS_PER_MINUTE.setting,
    &LLM_KEY_TOKENS_PER_DAY.setting,
];

/// Returns the keys of the `[[key]]` tables, or without any table the one that the settings
/// themselves describe, if they do.
pub(super) fn resolve(sources: &Sources) -> Result<Vec<LlmKey>, ConfigError> {
    let mut keys = Vec::new();
    for (entry, number) in sources.entries("key").iter().zip(1..) {
        keys.extend(key(entry, number)?);
    }
    if keys.len() > MAX_KEYS {
        return Err(ConfigError::TooManyKeys(keys.len(), MAX_KEYS));
    }
    refuse_duplicates(&keys)?;
    Ok(keys)
}

fn key(entry: &EntrySources<'_>, number: usize) -> Result<Option<LlmKey>, ConfigError> {
    entry.refuse_neither(&LLM_KEY.setting, &LLM_KEY_SHA256.setting)?;
    entry.refuse_both(&LLM_KEY.setting, &LLM_KEY_SHA256.setting)?;
    let of_secret = entry.explicit(&LLM_KEY)?;
    let digest = match of_secret {
        Some(secret) => Some(LlmKey::digest_of(&secret)),
        None => entry.explicit(&LLM_KEY_SHA256)?,
    };

    let name = entry.value(&LLM_KEY_NAME)?;
    let name = name.unwrap_or_else(|| format!("key {number}"));
    let weight = entry.value(&LLM_KEY_WEIGHT)?.min(MAX_WEIGHT);
    let small = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
    let large = |count: usize| count as u64;
    // Wrong values are refused without a key, too.
    let key = LlmKey {
        weight: small(weight),
        class: entry.value(&LLM_KEY_CLASS)?,
        models: entry.value(&LLM_KEY_MODELS)?,
        max_concurrency: entry.explicit(&LLM_KEY_CONCURRENCY)?.map(small),
        max_queued: entry.explicit(&LLM_KEY_QUEUED)?.map(small),
        requests_per_minute: entry.explicit(&LLM_KEY_REQUESTS_PER_MINUTE)?.map(large),
        tokens_per_minute: entry.explicit(&LLM_KEY_TOKENS_PER_MINUTE)?.map(large),
        tokens_per_day: entry.explicit(&LLM_KEY_TOKENS_PER_DAY)?.map(large),
        expires: entry.explicit(&LLM_KEY_EXPIRES)?,
        ..LlmKey::new(name, digest.unwrap_or_default())
    };
    Ok(digest.map(|_| key))
}

fn refuse_duplicates(keys: &[LlmKey]) -> Result<(), ConfigError> {
    let mut names = HashMap::new();
    let mut digests = HashMap::new();
    for (key, number) in keys.iter().zip(1..) {
        if let Some(one) = names.insert(&key.name, number) {
            return Err(ConfigError::DuplicateKey {
                one,
                other: number,
                what: "name",
            });
        }
        if let Some(one) = digests.insert(key.digest, number) {
            return Err(ConfigError::DuplicateKey {
                one,
                other: number,
                what: "key",
            });
        }
    }
    Ok(())
}

fn sha256(text: &str) -> Result<KeyDigest, ValueError> {
    let text = text.trim();
    let mut digest = KeyDigest::default();
    let is_hex =
        text.len() == 2 * digest.len() && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    if !is_hex {
        return expected("64 hexadecimal digits");
    }
    for (byte, pair) in digest.iter_mut().zip(text.as_bytes().chunks(2)) {
        let pair = std::str::from_utf8(pair).unwrap_or_default();
        *byte = u8::from_str_radix(pair, 16).unwrap_or_default();
    }
    Ok(digest)
}

fn time(text: &str) -> Result<SystemTime, ValueError> {
    let text = text.trim();
    let with_time = format!("{text}T00:00:00Z");
    let parsed =
        humantime::parse_rfc3339_weak(text).or_else(|_| humantime::parse_rfc3339(&with_time));
    parsed
        .or_else(|_| expected("a date or a time in UTC, as in 2027-01-31 or 2027-01-31T12:00:00Z"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::server::sources_of_file;

    fn resolved(file: &str) -> Result<Vec<LlmKey>, String> {
        let sources = sources_of_file(file)?;
        resolve(&sources).map_err(|error| error.to_string())
    }

    #[test]
    fn keys_are_tables_of_the_file() {
        let digest = "ab".repeat(32);
        let file = format!(
            "[[key]]\nname = \"alice\"\nkey = \"open sesame\"\nweight = 3\nclass = \"high\"\n\
             models = [\"qwen*\"]\ntokens_per_minute = 20000\nexpires = \"2030-01-31\"\n\
             [[key]]\nkey_sha256 = \"{digest}\"\n"
        );

        let keys = resolved(&file).unwrap();

        assert_eq!(keys.len(), 2);
        assert_eq!(keys[0].name, "alice");
        assert_eq!(
            keys[0].digest,
            LlmKey::digest_of(&Secret::new("open sesame"))
        );
        assert_eq!((keys[0].weight, keys[0].class), (3, KeyClass::High));
        assert_eq!(keys[0].models, ["qwen*"]);
        assert_eq!(keys[0].tokens_per_minute, Some(20_000));
        assert!(keys[0].expires.is_some());
        assert_eq!(keys[1].name, "key 2");
        assert_eq!(keys[1].digest, [0xab; 32]);
        assert_eq!(keys[1].tokens_per_minute, None);
    }

    #[test]
    fn a_table_without_a_key_and_two_keys_alike_are_refused() {
        let missing = resolved("[[key]]\nname = \"alice\"\n").unwrap_err();
        let twice = resolved("[[key]]\nkey = \"a\"\n[[key]]\nkey = \"a\"\n").unwrap_err();
        let wrong = resolved("[[key]]\nkey_sha256 = \"abc\"\n").unwrap_err();

        assert!(missing.contains("key_sha256"), "{missing}");
        assert!(twice.contains("the same key"), "{twice}");
        assert!(wrong.contains("64 hexadecimal digits"), "{wrong}");
        assert!(resolved("").unwrap().is_empty());
    }
}
