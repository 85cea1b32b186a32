//! Policies of messages: whatever a careless reader finds in an allowed message, a name that stands
//! twice, a name in another case, or a value behind the first one, the policy allows as well, and
//! headers that are sent say the same.

#![no_main]

use std::sync::{Arc, OnceLock};

use libfuzzer_sys::fuzz_target;
use llamapool_fuzz::{Parts, parts};
use llamapool_identity::{MessageHeaders, MessagePolicy, MessageRules, RuleSource};
use llamapool_mcp::folded_name;
use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

/// All members of an object, in their order.
struct Members<'a>(Vec<(String, &'a RawValue)>);

fuzz_target!(|data: &[u8]| {
    let Some(Parts { headers, body, .. }) = parts(data) else {
        return;
    };
    let values = |name: &str| {
        headers
            .get_all(name)
            .iter()
            .map(|value| value.as_bytes())
            .collect()
    };
    let repeated = MessageHeaders {
        revision: values("mcp-protocol-version"),
        method: values("mcp-method"),
        name: values("mcp-name"),
    };
    let bare = rules().decide(body, &MessageHeaders::default());
    if rules().decide(body, &repeated).is_err() {
        return;
    }

    let text = std::str::from_utf8(body).expect("an allowed message is UTF-8");
    match serde_json::from_str::<Vec<&RawValue>>(text) {
        Ok(batch) => {
            assert!(repeated.method.is_empty() && repeated.name.is_empty());
            for message in batch {
                check(message.get(), &repeated);
            }
        }
        Err(_) => check(text, &repeated),
    }
    // Headers allow nothing.
    assert!(bare.is_ok() || !repeated.method.is_empty());
});

fn rules() -> &'static MessageRules {
    static RULES: OnceLock<MessageRules> = OnceLock::new();
    RULES.get_or_init(|| {
        let policy = r#"{
            "methods": ["ping", "tools/*", "prompts/get", "tasks/get"],
            "tools": { "allow": ["search", "time/*"], "deny": ["*delete*"] },
            "prompts": { "allow": ["greet"] }
        }"#;
        let policy: MessagePolicy = serde_json::from_str(policy).expect("a policy");
        MessageRules::default().and(RuleSource::Id, Arc::new(policy))
    })
}

fn check(message: &str, headers: &MessageHeaders<'_>) {
    let methods = texts(message, "method");
    for method in &methods {
        let known = ["ping", "prompts/get", "tasks/get"].contains(&&**method);
        assert!(known || method.starts_with("tools/"), "{method}");
        for header in &headers.method {
            assert_eq!(header.trim_ascii(), method.as_bytes());
        }
    }
    let params = values(message, "params");
    let names = params.iter().flat_map(|params| texts(params.get(), "name"));
    for name in names {
        let is_tool = methods
            .iter()
            .any(|method| folded_name(method) == "tools/call");
        let is_allowed = name == "search" || name.starts_with("time/");
        assert!(
            !is_tool || (is_allowed && !name.contains("delete")),
            "{name}"
        );
        let is_prompt = methods
            .iter()
            .any(|method| folded_name(method) == "prompts/get");
        assert!(!is_prompt || name == "greet", "{name}");
    }
}

/// Returns the values of all members of an object that some reader takes for this one.
fn values<'a>(object: &'a str, name: &str) -> Vec<&'a RawValue> {
    let Ok(Members(members)) = serde_json::from_str(object) else {
        return Vec::new();
    };
    let found = members.into_iter();
    found
        .filter(|(found, _)| folded_name(found) == name)
        .map(|(_, value)| value)
        .collect()
}

fn texts(object: &str, name: &str) -> Vec<String> {
    let values = values(object, name).into_iter();
    values
        .filter_map(|value| serde_json::from_str(value.get()).ok())
        .collect()
}

impl<'de> Deserialize<'de> for Members<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct InOrder;

        impl<'de> Visitor<'de> for InOrder {
            type Value = Members<'de>;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut members = Vec::new();
                while let Some((name, value)) = map.next_entry::<String, _>()? {
                    members.push((name, value));
                }
                Ok(Members(members))
            }
        }

        deserializer.deserialize_map(InOrder)
    }
}
