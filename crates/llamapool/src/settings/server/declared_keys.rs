//! Settings of the keys that the settings declare: each in a `[[key]]` table of the file, or one of the
//! LLM API without a table.
//!
//! They are the keys of `llamapool key` in another place. What bounds them is in `key_limits`.

use std::collections::HashMap;
use std::time::SystemTime;

use llamapool_identity::{
    CallerRights, Key, KeyDigest, KeyKind, Networks, Pattern, Rights, WorkerIds, WorkerKind,
    WorkerRights, digest_of,
};
use llamapool_settings::value::{COUNT, SWITCH, TEXT, expected, items};
use llamapool_settings::{
    EntryScope, EntrySources, Setting, Sources, Syntax, TypedSetting, ValueError, ValueType,
};
use llamapool_wire::Secret;

use super::key_limits;
use crate::settings::error::ConfigError;
use crate::settings::group::ACCESS;
use crate::settings::value::{SECRET, model_patterns};

/// The most keys of a server.
const MAX_KEYS: usize = 10_000;
/// The word for ids that the server assigns.
const ASSIGNED: &str = "assigned";

/// Patterns of names of models.
const MODELS: ValueType<Vec<String>> = ValueType {
    syntax: Syntax::List,
    parse: |text| {
        let patterns = model_patterns(text)?;
        Ok(patterns.into_iter().map(str::to_owned).collect())
    },
};
/// Patterns of ids, or ids that the server assigns.
const IDS: ValueType<WorkerIds> = ValueType {
    syntax: Syntax::List,
    parse: |text| {
        if text.trim() == ASSIGNED {
            return Ok(WorkerIds::Assigned);
        }
        let patterns: Result<Vec<Pattern>, _> =
            text.lines().flat_map(items).map(str::parse).collect();
        patterns.map(WorkerIds::Of).or_else(|_| {
            expected("ids, beginnings of ids followed by *, or *; or for a worker key: assigned")
        })
    },
};
/// A kind of key.
const KIND: ValueType<KeyKind> = ValueType {
    syntax: Syntax::Text,
    parse: |text| match text.trim() {
        "caller" => Ok(KeyKind::Caller),
        "worker" => Ok(KeyKind::Worker),
        _ => expected("caller or worker"),
    },
};
/// Kinds of relays.
const KINDS: ValueType<Vec<WorkerKind>> = ValueType {
    syntax: Syntax::List,
    parse: |text| {
        let kinds = text.lines().flat_map(items).map(|kind| match kind {
            "mcp" => Some(WorkerKind::Mcp),
            "llm" => Some(WorkerKind::Llm),
            _ => None,
        });
        let kinds: Option<Vec<_>> = kinds.collect();
        kinds.map_or_else(|| expected("mcp, llm or both"), Ok)
    },
};
/// Networks.
pub(super) const NETWORKS: ValueType<Networks> = ValueType {
    syntax: Syntax::List,
    parse: |text| {
        let networks = text.replace('\n', ",").parse();
        networks.or_else(|_| expected("addresses or networks, such as 10.0.0.0/8, 192.0.2.7"))
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
    "Name of a declared key, for the log, the state and the metrics. What the key has used is counted \
     by it.",
)
.described_default("key and its number")
.entry("key", "name", EntryScope::PerEntry);
static LLM_KEY: TypedSetting<Secret> = TypedSetting::new(
    "LLM_KEY",
    ACCESS,
    SECRET,
    "Key that opens the LLM API, beside API_KEY. A [[key]] table can open MCP servers, too.",
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
    MODELS,
    "Patterns of the models that a key may use; * stands for anything, ! in front leaves out.",
)
.described_default("*, and none for a key with ids")
.entry("key", "models", EntryScope::Shared);
static LLM_KEY_EXPIRES: TypedSetting<SystemTime> = TypedSetting::new(
    "LLM_KEY_EXPIRES",
    ACCESS,
    TIME_OF_DAY,
    "Date or time in UTC from which a key is refused, such as 2027-01-31.",
)
.described_default("never")
.entry("key", "expires", EntryScope::Shared);
static KEY_KIND: TypedSetting<KeyKind> = TypedSetting::new(
    "KEY_KIND",
    ACCESS,
    KIND,
    "What the key is for: caller (opens models and ids) or worker (lets relays serve ids).",
)
.default("caller")
.entry("key", "kind", EntryScope::TablesOnly);
static KEY_IDS: TypedSetting<WorkerIds> = TypedSetting::new(
    "KEY_IDS",
    ACCESS,
    IDS,
    "The ids of MCP servers that a caller key opens, or that relays with a worker key serve: ids, \
     beginnings followed by *, or *; for a worker key also: assigned.",
)
.described_default("none")
.entry("key", "ids", EntryScope::TablesOnly);
static KEY_READ_ONLY: TypedSetting<bool> = TypedSetting::new(
    "KEY_READ_ONLY",
    ACCESS,
    SWITCH,
    "Lets the key read at its ids, and call no tool.",
)
.default("false")
.entry("key", "read_only", EntryScope::TablesOnly);
static KEY_NETWORKS: TypedSetting<Networks> = TypedSetting::new(
    "KEY_NETWORKS",
    ACCESS,
    NETWORKS,
    "The addresses that the key may be used from, such as 10.0.0.0/8.",
)
.described_default("all")
.entry("key", "networks", EntryScope::TablesOnly);
static KEY_KINDS: TypedSetting<Vec<WorkerKind>> = TypedSetting::new(
    "KEY_KINDS",
    ACCESS,
    KINDS,
    "The relays that a worker key is for: mcp, llm.",
)
.described_default("both")
.entry("key", "kinds", EntryScope::TablesOnly);
static KEY_MAX_IDS: TypedSetting<usize> = TypedSetting::new(
    "KEY_MAX_IDS",
    ACCESS,
    COUNT,
    "Most ids of a relay with a worker key.",
)
.default("16")
.entry("key", "max_ids", EntryScope::TablesOnly);

/// The settings declared here.
pub(super) static SETTINGS: &[&Setting] = &[
    &LLM_KEY.setting,
    &LLM_KEY_SHA256.setting,
    &LLM_KEY_NAME.setting,
    &KEY_KIND.setting,
    &KEY_IDS.setting,
    &KEY_READ_ONLY.setting,
    &LLM_KEY_MODELS.setting,
    &LLM_KEY_EXPIRES.setting,
    &KEY_NETWORKS.setting,
    &KEY_KINDS.setting,
    &KEY_MAX_IDS.setting,
];

/// Returns the keys of the `[[key]]` tables, or without any table the one that the settings
/// themselves describe, if they do.
pub(super) fn resolve(sources: &Sources) -> Result<Vec<Key>, ConfigError> {
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

fn key(entry: &EntrySources<'_>, number: usize) -> Result<Option<Key>, ConfigError> {
    entry.refuse_neither(&LLM_KEY.setting, &LLM_KEY_SHA256.setting)?;
    entry.refuse_both(&LLM_KEY.setting, &LLM_KEY_SHA256.setting)?;
    let of_secret = entry.explicit(&LLM_KEY)?;
    let digest = match of_secret {
        Some(secret) => Some(digest_of(secret.expose().as_bytes())),
        None => entry.explicit(&LLM_KEY_SHA256)?,
    };

    let name = entry.value(&LLM_KEY_NAME)?;
    let name = name.unwrap_or_else(|| format!("key {number}"));
    let wrong = |problem| ConfigError::WrongKey { number, problem };
    // Wrong values are refused without a key, too.
    let rights = match entry.value(&KEY_KIND)? {
        KeyKind::Worker => Rights::Worker(worker_rights(entry, &wrong)?),
        _ => Rights::Caller(caller_rights(entry, &wrong)?),
    };
    let expires_at = entry.explicit(&LLM_KEY_EXPIRES)?;
    let Some(digest) = digest else {
        return Ok(None);
    };
    let key = Key::declared(&name, rights, digest);
    let key = key.map_err(|_| wrong("its name is empty: expected some characters"))?;
    Ok(Some(Key { expires_at, ..key }))
}

fn caller_rights(
    entry: &EntrySources<'_>,
    wrong: &impl Fn(&'static str) -> ConfigError,
) -> Result<CallerRights, ConfigError> {
    let ids = match entry.explicit(&KEY_IDS)? {
        Some(WorkerIds::Of(ids)) => ids,
        Some(WorkerIds::Assigned) => {
            return Err(wrong("ids are assigned to worker keys alone: expected ids"));
        }
        None => Vec::new(),
    };
    let is_of_workers = entry.explicit(&KEY_KINDS)?.is_some();
    if is_of_workers || entry.explicit(&KEY_MAX_IDS)?.is_some() {
        return Err(wrong(
            "kinds and max_ids are for worker keys: expected kind = \"worker\"",
        ));
    }
    let models = match entry.explicit(&LLM_KEY_MODELS)? {
        Some(models) => models,
        // A key that was made for MCP servers opens no more than these.
        None if ids.is_empty() => vec!["*".to_owned()],
        None => Vec::new(),
    };
    if ids.is_empty() && models.is_empty() {
        return Err(wrong("it opens nothing: expected ids or models"));
    }
    let read_only = entry.value(&KEY_READ_ONLY)?;
    if read_only && ids.is_empty() {
        return Err(wrong(
            "read_only is for the ids of a key, and it has none: expected ids",
        ));
    }
    let limits = key_limits::of_table(entry)?;
    if limits.burst.is_some() && limits.rate.is_none() {
        return Err(wrong("burst is for a key with a rate: expected rate"));
    }
    Ok(CallerRights {
        ids,
        read_only,
        models,
        llm: key_limits::at_the_llm_api(entry)?,
        limits: Box::new(limits),
        networks: entry.explicit(&KEY_NETWORKS)?.unwrap_or_default(),
    })
}

fn worker_rights(
    entry: &EntrySources<'_>,
    wrong: &impl Fn(&'static str) -> ConfigError,
) -> Result<WorkerRights, ConfigError> {
    if key_limits::are_in(entry)? || entry.explicit(&KEY_READ_ONLY)?.is_some() {
        return Err(wrong(
            "limits and read_only are for caller keys: expected kind = \"caller\"",
        ));
    }
    let ids = entry.explicit(&KEY_IDS)?;
    let ids = ids.filter(|ids| *ids != WorkerIds::Of(Vec::new()));
    Ok(WorkerRights {
        ids: ids.ok_or_else(|| wrong("it serves no id: expected ids"))?,
        kinds: entry.explicit(&KEY_KINDS)?.unwrap_or_default(),
        max_ids: entry.value(&KEY_MAX_IDS)?,
        networks: entry.explicit(&KEY_NETWORKS)?.unwrap_or_default(),
    })
}

fn refuse_duplicates(keys: &[Key]) -> Result<(), ConfigError> {
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
        let digest = key.secrets.first().map(|secret| secret.digest);
        if let Some(one) = digests.insert(digest, number) {
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
    use llamapool_identity::{Class, KeyOrigin, LlmLimits};

    use super::*;
    use crate::settings::server::sources_of_file;

    fn resolved(file: &str) -> Result<Vec<Key>, String> {
        let sources = sources_of_file(file)?;
        resolve(&sources).map_err(|error| error.to_string())
    }

    fn caller(key: &Key) -> &CallerRights {
        key.rights.caller().unwrap()
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

        let [alice, other] = &keys[..] else {
            panic!("{keys:?}");
        };
        assert_eq!(
            (alice.name.as_str(), alice.id.as_str()),
            ("alice", "settings-alice")
        );
        assert_eq!(alice.secrets[0].digest, digest_of(b"open sesame"));
        let expected = LlmLimits {
            weight: Some(3),
            class: Class::High,
            tokens_per_minute: Some(20_000),
            ..LlmLimits::default()
        };
        assert_eq!(caller(alice).llm, expected);
        assert_eq!(caller(alice).models, ["qwen*"]);
        assert!(alice.expires_at.is_some() && alice.origin == KeyOrigin::Declared);
        assert_eq!(other.name, "key 2");
        assert_eq!(other.secrets[0].digest, [0xab; 32]);
        let every_model = CallerRights {
            models: vec!["*".to_owned()],
            ..CallerRights::default()
        };
        assert_eq!(
            *caller(other),
            every_model,
            "as before there were other keys"
        );
    }

    #[test]
    fn a_declared_key_has_all_that_a_stored_one_has() {
        let file = "[[key]]\nname = 'ci'\nkey = 'a'\nids = ['notes', 'team-*']\nread_only = true\n\
                    networks = ['10.0.0.0/8', '192.0.2.7']\nrate = '120/min'\nburst = 5\n\
                    concurrency = 4\nstreams = 2\ncalls_per_day = 100\nbytes_in_per_month = 1000\n\
                    tokens_per_month = 5\n\
                    [[key]]\nname = 'both'\nkey = 'b'\nids = '*'\nmodels = 'qwen*'\n\
                    [[key]]\nname = 'gpu'\nkind = 'worker'\nkey = 'c'\nids = ['gpu-*']\nkinds = 'llm'\n\
                    [[key]]\nname = 'any'\nkind = 'worker'\nkey = 'd'\nids = 'assigned'\nmax_ids = 2\n";

        let keys = resolved(file).unwrap();

        let rights: Vec<_> = keys
            .iter()
            .map(|key| serde_json::to_string(&key.rights).unwrap())
            .collect();
        let expected = [
            r#"{"caller":{"ids":["notes","team-*"],"read_only":true,"limits":{"rate":"120/min","burst":5,"concurrency":4,"streams":2,"quotas":{"calls_per_day":100,"bytes_in_per_month":1000,"tokens_per_month":5}},"networks":["10.0.0.0/8","192.0.2.7/32"]}}"#,
            r#"{"caller":{"ids":["*"],"models":["qwen*"]}}"#,
            r#"{"worker":{"ids":{"of":["gpu-*"]},"kinds":["llm"],"max_ids":16}}"#,
            r#"{"worker":{"ids":"assigned","max_ids":2}}"#,
        ];
        assert_eq!(rights, expected);
    }

    #[test]
    fn wrong_keys_are_named_with_what_was_expected() {
        for (members, expected) in [
            ("name = 'alice'", "key_sha256"),
            ("key_sha256 = 'abc'", "64 hexadecimal digits"),
            ("key = 'a'\n[[key]]\nkey = 'a'", "the same key"),
            (
                "key = 'a'\nname = 'n'\n[[key]]\nkey = 'b'\nname = 'n'",
                "the same name",
            ),
            (
                "key = 'a'\nread_only = true",
                "key 1: read_only is for the ids",
            ),
            ("key = 'a'\nmodels = []", "key 1: it opens nothing"),
            (
                "key = 'a'\nids = ['a*b']",
                "beginnings of ids followed by *",
            ),
            ("key = 'a'\nids = 'assigned'", "worker keys alone"),
            ("key = 'a'\nburst = 3", "expected rate"),
            ("key = 'a'\nrate = 'fast'", "120/min"),
            ("key = 'a'\nnetworks = 'here'", "10.0.0.0/8"),
            (
                "key = 'a'\nmax_ids = 3",
                "kinds and max_ids are for worker keys",
            ),
            ("key = 'a'\nkind = 'admin'", "caller or worker"),
            ("key = 'a'\nkind = 'worker'", "it serves no id"),
            (
                "key = 'a'\nkind = 'worker'\nids = 'a'\nrate = '1/s'",
                "limits and read_only are for caller keys",
            ),
            (
                "key = 'a'\nkind = 'worker'\nids = 'a'\nkinds = 'gpu'",
                "mcp, llm or both",
            ),
            ("key = 'a'\nread_onyl = true", "did you mean read_only?"),
        ] {
            let error = resolved(&format!("[[key]]\n{members}\n")).unwrap_err();
            assert!(error.contains(expected), "{members}: {error}");
        }
        assert!(resolved("").unwrap().is_empty());
    }
}
