//! The settings of the access of ids, and the keys and rules that are declared.

use std::collections::HashSet;

use llamapool_identity::{AccessMode, AccessRule, Pattern, Records};
use llamapool_server::IdentityConfig;
use llamapool_settings::value::expected;
use llamapool_settings::{EntryScope, Setting, Sources, Syntax, TypedSetting, ValueType};

use super::{access_limits, declared_keys, message_rules, sign_in};
use crate::settings::error::ConfigError;
use crate::settings::group::ACCESS;

/// The most rules of access in a file.
const MAX_RULES: usize = 10_000;

/// What ids ask of their callers.
const MODE: ValueType<AccessMode> = ValueType {
    syntax: Syntax::Text,
    parse: |text| {
        text.trim()
            .parse()
            .or_else(|_| expected("open, keys or sign-in"))
    },
};
/// A pattern of ids.
const PATTERN: ValueType<Pattern> = ValueType {
    syntax: Syntax::Text,
    parse: |text| {
        let pattern = text.trim().parse();
        pattern.or_else(|_| expected("an id, the beginning of ids followed by *, or *"))
    },
};

static MCP_ACCESS: TypedSetting<AccessMode> = TypedSetting::new(
    "MCP_ACCESS",
    ACCESS,
    MODE,
    "What the ids of MCP servers ask of their callers: open (nothing; the AUTH_TOKEN of a relay or \
     the MCP server itself may), keys (a caller key that covers the id) or sign-in (such a key, or a \
     sign-in with it). `[[access]]` tables of the file and `llamapool access` set it for single ids.",
)
.described_default("sign-in with SIGN_IN, otherwise open");
static ACCESS_PATTERN: TypedSetting<Pattern> = TypedSetting::new(
    "ACCESS_PATTERN",
    ACCESS,
    PATTERN,
    "The ids: one, the beginning of some followed by *, or *. The most exact pattern holds.",
)
.described_default("none: each table has one")
.entry("access", "pattern", EntryScope::TablesOnly);
static ACCESS_MODE: TypedSetting<AccessMode> = TypedSetting::new(
    "ACCESS_MODE",
    ACCESS,
    MODE,
    "What they ask of their callers: open, keys or sign-in.",
)
.described_default("none: each table has one")
.entry("access", "mode", EntryScope::TablesOnly);

/// The settings declared here.
pub(super) static SETTINGS: &[&Setting] = &[
    &MCP_ACCESS.setting,
    &ACCESS_PATTERN.setting,
    &ACCESS_MODE.setting,
];

/// Returns the configuration of keys and access.
pub(super) fn resolve(sources: &Sources) -> Result<IdentityConfig, ConfigError> {
    let signs_in = sign_in::is_on(sources)?;
    let default_access = match sources.explicit(&MCP_ACCESS)? {
        Some(AccessMode::SignIn) if !signs_in => return Err(ConfigError::AccessWithoutSignIn),
        Some(mode) => mode,
        None if signs_in => AccessMode::SignIn,
        None => AccessMode::Open,
    };
    Ok(IdentityConfig {
        declared: Records {
            keys: declared_keys::resolve(sources)?,
            access: rules(sources)?,
            ..Records::default()
        },
        default_access,
    })
}

/// Returns the rules of the `[[access]]` tables.
fn rules(sources: &Sources) -> Result<Vec<AccessRule>, ConfigError> {
    let mut rules = Vec::new();
    for (entry, number) in sources.entry_tables("access").iter().zip(1..) {
        let pattern = entry.required(&ACCESS_PATTERN)?;
        let mode = entry.required(&ACCESS_MODE)?;
        let messages = message_rules::of_table(entry)?;
        let limits = access_limits::of_table(entry, number)?;
        let rule = pattern.zip(mode);
        rules.extend(rule.map(|(pattern, mode)| AccessRule {
            limits: limits.clone(),
            messages: messages.clone(),
            ..AccessRule::new(pattern, mode)
        }));
    }
    if rules.len() > MAX_RULES {
        return Err(ConfigError::TooManyRules(rules.len(), MAX_RULES));
    }

    let mut patterns = HashSet::new();
    match rules.iter().find(|rule| !patterns.insert(&rule.pattern)) {
        Some(twice) => Err(ConfigError::DuplicateRule(twice.pattern.to_string())),
        None => Ok(rules),
    }
}

#[cfg(test)]
mod tests {
    use llamapool_identity::{AccessLimits, MessagePolicy};

    use super::*;
    use crate::settings::server::sources_of_file;

    fn resolved(file: &str) -> Result<IdentityConfig, String> {
        let sources = sources_of_file(file)?;
        resolve(&sources).map_err(|error| error.to_string())
    }

    #[test]
    fn access_is_in_tables_of_the_file() {
        let file = "mcp_access = \"keys\"\n\
                    [[access]]\npattern = \"public-*\"\nmode = \"open\"\n";

        let config = resolved(file).unwrap();

        assert_eq!(config.default_access, AccessMode::Keys);
        let rule = AccessRule::new("public-*".parse().unwrap(), AccessMode::Open);
        assert_eq!(config.declared.access, [rule]);
    }

    #[test]
    fn a_table_of_access_has_rules_of_messages() {
        let file = "[[access]]\npattern = 'notes'\nmode = 'open'\n\
                    methods = ['read', 'tools/call']\nallow_tools = ['time/*', 'search']\n\
                    deny_tools = ['*delete*']\nallow_resources = ['file:///docs/*']\n\
                    [[access]]\npattern = 'look'\nmode = 'open'\nmethods = 'read'\n";

        let rules = resolved(file).unwrap().declared.access;

        let expected = r#"{"methods":["read","tools/call"],"tools":{"allow":["time/*","search"],"deny":["*delete*"]},"resources":{"allow":["file:///docs/*"]}}"#;
        let expected: MessagePolicy = serde_json::from_str(expected).unwrap();
        assert_eq!(rules[0].messages, expected);
        assert_eq!(rules[1].messages, MessagePolicy::read_only());
    }

    #[test]
    fn a_table_of_access_has_limits() {
        let file = "[[access]]\npattern = 'team-*'\nmode = 'keys'\nrate = '600/min'\nburst = 10\n\
                    rate_per_key = '60/min'\nconcurrency = 32\nnetworks = ['10.0.0.0/8', '::1']\n";

        let rules = resolved(file).unwrap().declared.access;

        let expected = r#"{"rate":"600/min","burst":10,"rate_per_key":"60/min","concurrency":32,"networks":["10.0.0.0/8","::1"]}"#;
        let expected: AccessLimits = serde_json::from_str(expected).unwrap();
        assert_eq!(rules[0].limits, expected);
    }

    #[test]
    fn wrong_tables_are_named_with_what_was_expected() {
        let table = "[[access]]\npattern = 'a'\nmode = 'open'\n";
        for (file, expected) in [
            ("[[access]]\nmode = 'open'", "expected pattern"),
            ("[[access]]\npattern = 'a'", "expected mode"),
            (
                "[[access]]\npattern = 'a*b'\nmode = 'open'",
                "an id, the beginning of ids followed by *",
            ),
            (
                "[[access]]\npattern = 'a'\nmode = 'closed'",
                "open, keys or sign-in",
            ),
            (
                &format!("{table}{table}"),
                "two [[access]] tables have the pattern \"a\"",
            ),
            (&format!("{table}methods = ['a b']"), "expected read"),
            (&format!("{table}deny_tools = ['*********']"), "8 * at most"),
            (&format!("{table}burst = 3"), "[[access]] table 1: burst is"),
            (&format!("{table}rate = '1/week'"), "120/min"),
            (&format!("{table}deny_arguments = ['a']"), "deny_arguments"),
        ] {
            let error = resolved(file).err().unwrap_or_default();
            assert!(error.contains(expected), "{expected}: {error}");
        }
    }
}
