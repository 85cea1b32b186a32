//! The settings of the policy of messages, in the `[[access]]` tables of the file.

use llamapool_identity::{MessagePolicy, MethodList, NamePattern, NameRules};
use llamapool_settings::value::{expected, items};
use llamapool_settings::{
    EntryScope, EntrySources, Setting, SettingsError, Syntax, TypedSetting, ValueError, ValueType,
};

use crate::settings::group::ACCESS;

/// The most names of one list.
const MAX_NAMES: usize = 256;

/// Methods of MCP.
const METHODS: ValueType<MethodList> = ValueType {
    syntax: Syntax::List,
    parse: |text| {
        let methods = MethodList::new(items(text).map(str::to_owned).collect());
        methods.or_else(|_| {
            expected("read, methods of MCP, or beginnings of methods followed by *, 256 at most")
        })
    },
};
/// Names that providers give.
const NAMES: ValueType<Vec<NamePattern>> = ValueType {
    syntax: Syntax::List,
    parse: names,
};

static ACCESS_METHODS: TypedSetting<MethodList> = TypedSetting::new(
    "ACCESS_METHODS",
    ACCESS,
    METHODS,
    "The methods of MCP that the ids take: names, beginnings followed by *, or read, which is \
     everything that changes nothing.",
)
.described_default("all")
.entry("access", "methods", EntryScope::TablesOnly);
static ACCESS_ALLOW_TOOLS: TypedSetting<Vec<NamePattern>> = allow(
    "ACCESS_ALLOW_TOOLS",
    "The tools that may be called; * stands for anything.",
)
.entry("access", "allow_tools", EntryScope::TablesOnly);
static ACCESS_DENY_TOOLS: TypedSetting<Vec<NamePattern>> = deny(
    "ACCESS_DENY_TOOLS",
    "The tools that may not be called, whatever allows them.",
)
.entry("access", "deny_tools", EntryScope::TablesOnly);
static ACCESS_ALLOW_PROMPTS: TypedSetting<Vec<NamePattern>> = allow(
    "ACCESS_ALLOW_PROMPTS",
    "The prompts that may be read; * stands for anything.",
)
.entry("access", "allow_prompts", EntryScope::TablesOnly);
static ACCESS_DENY_PROMPTS: TypedSetting<Vec<NamePattern>> = deny(
    "ACCESS_DENY_PROMPTS",
    "The prompts that may not be read, whatever allows them.",
)
.entry("access", "deny_prompts", EntryScope::TablesOnly);
static ACCESS_ALLOW_RESOURCES: TypedSetting<Vec<NamePattern>> = allow(
    "ACCESS_ALLOW_RESOURCES",
    "The URIs of resources that may be read; * stands for anything.",
)
.entry("access", "allow_resources", EntryScope::TablesOnly);
static ACCESS_DENY_RESOURCES: TypedSetting<Vec<NamePattern>> = deny(
    "ACCESS_DENY_RESOURCES",
    "The URIs of resources that may not be read, whatever allows them.",
)
.entry("access", "deny_resources", EntryScope::TablesOnly);

/// The settings declared here.
pub(super) static SETTINGS: &[&Setting] = &[
    &ACCESS_METHODS.setting,
    &ACCESS_ALLOW_TOOLS.setting,
    &ACCESS_DENY_TOOLS.setting,
    &ACCESS_ALLOW_PROMPTS.setting,
    &ACCESS_DENY_PROMPTS.setting,
    &ACCESS_ALLOW_RESOURCES.setting,
    &ACCESS_DENY_RESOURCES.setting,
];

/// Returns the policy of messages of an `[[access]]` table.
pub(super) fn of_table(entry: &EntrySources<'_>) -> Result<MessagePolicy, SettingsError> {
    let rules = |allow, deny| {
        Ok(NameRules {
            allow: entry.explicit(allow)?,
            deny: entry.explicit(deny)?.unwrap_or_default(),
        })
    };
    Ok(MessagePolicy {
        methods: entry.explicit(&ACCESS_METHODS)?,
        tools: rules(&ACCESS_ALLOW_TOOLS, &ACCESS_DENY_TOOLS)?,
        prompts: rules(&ACCESS_ALLOW_PROMPTS, &ACCESS_DENY_PROMPTS)?,
        resources: rules(&ACCESS_ALLOW_RESOURCES, &ACCESS_DENY_RESOURCES)?,
    })
}

const fn allow(name: &'static str, help: &'static str) -> TypedSetting<Vec<NamePattern>> {
    TypedSetting::new(name, ACCESS, NAMES, help).described_default("all")
}

const fn deny(name: &'static str, help: &'static str) -> TypedSetting<Vec<NamePattern>> {
    TypedSetting::new(name, ACCESS, NAMES, help).described_default("none")
}

fn names(text: &str) -> Result<Vec<NamePattern>, ValueError> {
    let names: Result<Vec<NamePattern>, _> = items(text).map(str::parse).collect();
    let names = names.ok().filter(|names| names.len() <= MAX_NAMES);
    names.map_or_else(
        || expected("names with no control characters and 8 * at most, 256 of them at most"),
        Ok,
    )
}
