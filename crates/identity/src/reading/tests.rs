//! What the reading allows, denies and refuses, and what its refusals say.

use proptest::prelude::*;
use serde_json::json;

use super::*;

/// The rules of most tests: tools by a list and a denial, prompts and resources by lists.
fn rules() -> MessageRules {
    policy(json!({
        "tools": { "allow": ["time/*", "search"], "deny": ["*delete*"] },
        "prompts": { "allow": ["greet"] },
        "resources": { "allow": ["file:///docs/*"] },
    }))
}

fn policy(policy: serde_json::Value) -> MessageRules {
    let policy = serde_json::from_value(policy).unwrap();
    MessageRules::default().and(RuleSource::Id, Arc::new(policy))
}

fn decide(body: &str) -> Result<(), ReadingError> {
    decide_with(body, &MessageHeaders::default())
}

fn decide_with(body: &str, headers: &MessageHeaders<'_>) -> Result<(), ReadingError> {
    let decided = rules().decide(body.as_bytes(), headers);
    decided.map_err(|refused| refused.error)
}

fn call(name: &str) -> String {
    json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": name}}).to_string()
}

fn is_unreadable(decided: &Result<(), ReadingError>) -> bool {
    matches!(decided, Err(ReadingError::Unreadable(_)))
}

fn rule(decided: Result<(), ReadingError>) -> Option<RuleKind> {
    match decided {
        Err(ReadingError::Denied(denial)) => Some(denial.rule),
        _ => None,
    }
}

#[test]
fn a_message_within_the_rules_is_allowed() {
    for body in [
        call("time/now"),
        call("search"),
        r#" {"\u006dethod":"t\u006fols/call","params":{"nam\u0065":"sear\u0063h"},"id":1} "#.into(),
        r#"{"id":"a","method":"tools/call","params":{"name":"search","arguments":{"Name":1,"a":1,"a":2}}}"#.into(),
        r#"{"id":1,"method":"prompts/get","params":{"name":"greet"}}"#.into(),
        r#"{"id":1,"method":"resources/read","params":{"uri":"file:///docs/a"}}"#.into(),
        r#"{"id":1,"method":"completion/complete","params":{"ref":{"type":"ref/prompt","name":"greet"}}}"#.into(),
        r#"{"id":1,"method":"subscriptions/listen","params":{"notifications":{"resourceSubscriptions":["file:///docs/a"]}}}"#.into(),
        r#"{"id":1,"method":"subscriptions/listen","params":{"notifications":{"toolsListChanged":true}}}"#.into(),
        r#"{"id":1,"method":"of/their/own","params":{"name":{"a":1}}}"#.into(),
        r#"{"method":"notifications/initialized"}"#.into(),
        r#"{"id":1,"method":"tools/list","params":null}"#.into(),
        r#"{"jsonrpc":"2.0","id":1,"result":{"name":"delete"}}"#.into(),
        r#"{"jsonrpc":"2.0","id":1,"error":{"code":1}}"#.into(),
        r#"[{"id":1,"method":"ping"},{"id":2,"result":{}}]"#.into(),
    ] {
        assert_eq!(decide(&body), Ok(()), "{body}");
    }
}

#[test]
fn a_denied_message_names_the_kind_of_its_rule() {
    for (body, kind) in [
        (call("delete"), RuleKind::Tool),
        (call("time/delete_all"), RuleKind::Tool),
        (call("Search"), RuleKind::Tool),
        (r#"{"method":"tools/call","params":{"name":"other"}}"#.into(), RuleKind::Tool),
        (r#"{"id":1,"method":"prompts/get","params":{"name":"x"}}"#.into(), RuleKind::Prompt),
        (r#"{"id":1,"method":"completion/complete","params":{"ref":{"name":"x"}}}"#.into(), RuleKind::Prompt),
        (r#"{"id":1,"method":"completion/complete","params":{"ref":{"name":"greet","uri":"file:///x"}}}"#.into(), RuleKind::Resource),
        (r#"{"id":1,"method":"resources/read","params":{"uri":"file:///x"}}"#.into(), RuleKind::Resource),
        (r#"{"id":1,"method":"resources/subscribe","params":{"uri":"file:///x"}}"#.into(), RuleKind::Resource),
        (r#"{"id":1,"method":"subscriptions/listen","params":{"notifications":{"resourceSubscriptions":["file:///docs/a","file:///x"]}}}"#.into(), RuleKind::Resource),
        (format!("[{},{}]", call("search"), call("delete")), RuleKind::Tool),
    ] {
        assert_eq!(rule(decide(&body)), Some(kind), "{body}");
    }
}

#[test]
fn a_method_that_is_not_listed_is_denied() {
    let read = MessageRules::default();
    let read = read.and(RuleSource::Credential, Arc::new(MessagePolicy::read_only()));
    let decide = |method: &str| {
        let body = json!({"id": 1, "method": method, "params": {"name": "a"}}).to_string();
        read.decide(body.as_bytes(), &MessageHeaders::default())
    };

    assert!(decide("tools/list").is_ok() && decide("notifications/initialized").is_ok());
    let refused = decide("tools/call").unwrap_err();
    let denial = Denial::new(RuleSource::Credential, RuleKind::Method, "tools/call");
    assert_eq!(refused.error, ReadingError::Denied(denial));
    assert!(decide("of/their/own").is_err());
}

#[test]
fn every_policy_must_allow_a_message() {
    let read = Arc::new(MessagePolicy::read_only());
    let both = rules().and(RuleSource::Credential, read);
    let decide = |body: &str| both.decide(body.as_bytes(), &MessageHeaders::default());

    assert!(decide(&call("search")).is_err());
    assert!(decide(r#"{"id":1,"method":"prompts/get","params":{"name":"x"}}"#).is_err());
    assert!(decide(r#"{"id":1,"method":"prompts/get","params":{"name":"greet"}}"#).is_ok());
    let none = MessageRules::default().and(RuleSource::Id, Arc::default());
    assert!(none.is_empty() && !both.is_empty());
}

#[test]
fn a_refusal_repeats_the_id_of_its_request() {
    for (body, id) in [
        (
            r#"{"id":"\u0061","method":"tools/call","params":{"name":"x"}}"#,
            Some(r#""\u0061""#),
        ),
        (
            r#"{"method":"tools/call","params":{"name":"x"},"id": 1.50 }"#,
            Some("1.50"),
        ),
        (r#"{"id":7,"method":"tools/call"}"#, Some("7")),
        (r#"{"method":"tools/call","params":{"name":"x"}}"#, None),
        (
            r#"{"id":{},"method":"tools/call","params":{"name":"x"}}"#,
            None,
        ),
        (r#"{"id":"\ud800","method":"ping"}"#, None),
        (r#"{"id":true,"method":"ping"}"#, None),
        (r#"{"id":1,"id":2,"method":"ping"}"#, None),
        (
            r#"[{"id":1,"method":"ping"},{"id":2,"method":"tools/call","params":{"name":"x"}}]"#,
            Some("2"),
        ),
    ] {
        let refused = rules().decide(body.as_bytes(), &MessageHeaders::default());
        let refused = refused.unwrap_err();
        assert_eq!(refused.id.as_ref().map(|id| id.get()), id, "{body}");
    }
}

#[test]
fn a_message_that_parsers_read_differently_is_refused() {
    for body in [
        "",
        "7",
        "\"tools/call\"",
        "null",
        "[]",
        "[[]]",
        "[7]",
        r#"[[{"method":"ping"}]]"#,
        "{}",
        r#"{"id":1}"#,
        r#"{"method":"tools/list","method":"tools/call"}"#,
        r#"{"method":"tools/list","meth\u006fd":"tools/call"}"#,
        r#"{"method":"tools/list","Method":"tools/call"}"#,
        r#"{"method":"tools/list","paramſ":{"name":"x"}}"#,
        r#"{"method":"tools/call","params":{"name":"search","Name":"delete"}}"#,
        r#"{"method":"tools/call","params":{"name":"search","na_me":"delete"}}"#,
        r#"{"method":"tools/call","params":{"name":"search","name":"delete"}}"#,
        r#"{"method":"tools/call","params":{"name":"search"},"params":{"name":"delete"}}"#,
        r#"{"method":"tools/call","params":{"name":"search"}}{"method":"ping"}"#,
        r#"{"method":"tools/call","params":{"name":["search"]}}"#,
        r#"{"method":"tools/call","params":["search"]}"#,
        r#"{"method":"tools/call","params":{}}"#,
        r#"{"method":"tools/call"}"#,
        r#"{"method":"tools/call","params":{"name":"search\u0000"}}"#,
        r#"{"method":"Tools/Call","params":{"name":"delete"}}"#,
        r#"{"method":"toolſ/call","params":{"name":"delete"}}"#,
        r#"{"method":"tools/call\u0000","params":{"name":"delete"}}"#,
        r#"{"method":" tools/call","params":{"name":"delete"}}"#,
        r#"{"method":"","params":{"name":"delete"}}"#,
        r#"{"method":null,"result":{}}"#,
        r#"{"method":["tools/call"]}"#,
        r#"{"method":"ping","result":{}}"#,
        r#"{"id":1,"result":{},"error":{}}"#,
        r#"{"id":1,"method":"resources/read","params":{"uri":"file:///docs/../x"}}"#,
        r#"{"id":1,"method":"completion/complete","params":{}}"#,
        r#"{"id":1,"method":"completion/complete","params":{"ref":{"type":"ref/prompt"}}}"#,
        r#"{"id":1,"method":"completion/complete","params":{"ref":{"name":"greet","Name":"x"}}}"#,
        r#"{"id":1,"method":"subscriptions/listen","params":{"notifications":{"resourceSubscriptions":[["file:///x"]]}}}"#,
        r#"{"id":1,"method":"subscriptions/listen","params":{"notifications":{"resource_subscriptions":["file:///x"]}}}"#,
        r#"{"id":1,"method":"subscriptions/listen","params":{"notifications":["file:///x"]}}"#,
    ] {
        let decided = decide(body);
        assert!(is_unreadable(&decided), "{body}: {decided:?}");
    }
    let ping = r#"{"method":"ping"}"#;
    assert!(decide(&format!("[{}]", [ping; 50].join(","))).is_ok());
    assert!(is_unreadable(&decide(&format!(
        "[{}]",
        [ping; 51].join(",")
    ))));
}

#[test]
fn headers_must_repeat_the_body() {
    let body = r#"{"id":1,"method":"tools/call","params":{"name":"search","_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28"}}}"#;
    let check = |revision: &[&'static str], method: &[&'static str], name: &[&'static str]| {
        let bytes = |values: &[&'static str]| values.iter().map(|value| value.as_bytes()).collect();
        let headers = MessageHeaders {
            revision: bytes(revision),
            method: bytes(method),
            name: bytes(name),
        };
        decide_with(body, &headers)
    };
    let [new, old] = [&["2026-07-28"][..], &["2025-06-18"][..]];
    let [call, list] = [&["tools/call"][..], &["tools/list"][..]];

    assert_eq!(check(new, call, &["search"]), Ok(()));
    assert_eq!(check(new, call, &["=?base64?c2VhcmNo?="]), Ok(()));
    for (revision, method, name) in [
        (new, call, &["time/now"][..]),
        (new, call, &["Search"]),
        (new, call, &["=?base64?dGltZS9ub3c=?="]),
        (new, call, &["=?base64?c2VhcmNo=?="]),
        (new, call, &["search", "search"]),
        (new, call, &[]),
        (new, list, &["search"]),
        (new, &[], &["search"]),
        (new, &["tools/call", "tools/call"], &["search"]),
        (old, call, &["search"]),
        (&["2026-07-28", "2025-06-18"], call, &["search"]),
        (&[], list, &["search"]),
        (&[], call, &["time/now"]),
        (&[], &[], &[]),
    ] {
        let decided = check(revision, method, name);
        assert!(
            matches!(decided, Err(ReadingError::HeaderMismatch(_))),
            "{revision:?} {method:?} {name:?}: {decided:?}"
        );
    }
}

/// A provider of an older revision may read a header of a later one, or not: it must be right.
#[test]
fn headers_of_a_later_revision_are_checked_in_all() {
    let old = b"2025-06-18".as_slice();
    let with = |method: &'static str, body: &str| {
        let headers = MessageHeaders {
            revision: vec![old],
            method: vec![method.as_bytes()],
            name: Vec::new(),
        };
        decide_with(body, &headers)
    };

    assert_eq!(with("tools/call", &call("search")), Ok(()));
    assert!(with("tools/list", &call("search")).is_err());
    assert!(with("ping", r#"{"id":1,"result":{}}"#).is_err());
    let batch = with("ping", r#"[{"method":"ping"}]"#);
    assert!(batch.is_err());
    let headers = MessageHeaders {
        method: vec![b"ping"],
        ..MessageHeaders::default()
    };
    let batch = decide_with(r#"[{"method":"ping"}]"#, &headers);
    assert!(
        matches!(batch, Err(ReadingError::HeaderMismatch(_))),
        "{batch:?}"
    );
    let headers = MessageHeaders {
        revision: vec![old],
        ..MessageHeaders::default()
    };
    assert_eq!(decide_with(&call("search"), &headers), Ok(()));
    let batch = decide_with(r#"[{"method":"ping"}]"#, &headers);
    assert!(is_unreadable(&batch), "{batch:?}");
}

#[test]
fn a_foreign_name_is_cut_and_escaped_for_the_log() {
    let name = format!("a\u{202e}\"{}", "é".repeat(1000));

    let Err(ReadingError::Denied(denial)) = decide(&call(&name)) else {
        panic!("denied");
    };

    assert!(denial.denied.starts_with(r#"a\u{202e}\""#), "{denial:?}");
    assert!(denial.denied.chars().count() < 160, "{denial:?}");
    assert!(!denial.to_string().contains('é'));
}

proptest! {
    #[test]
    fn no_bytes_make_the_reading_panic(body in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = rules().decide(&body, &MessageHeaders::default());
    }

    #[test]
    fn no_text_makes_the_reading_panic(
        body in r#"(\{|\}|\[|\]|"|\\|:|,|"method":|"tools/call"|"params":|"name":|"id":1|é|\\ud800)*"#,
    ) {
        let _ = rules().decide(body.as_bytes(), &MessageHeaders::default());
    }

    /// What serde_json reads in an allowed message is allowed by the rules.
    #[test]
    fn what_is_allowed_is_what_is_read(name in "[a-z/_\"\\\\é]{0,12}|time/[a-z]{0,5}", method in "tools/(call|list)") {
        let body = json!({"id": 1, "method": method, "params": {"name": name}}).to_string();
        let is_allowed = decide(&body).is_ok();
        let expected = method == "tools/list"
            || ((name.starts_with("time/") || name == "search") && !name.contains("delete"));
        prop_assert_eq!(is_allowed, expected);
    }

    /// A change of one byte of an allowed message either leaves its meaning or is refused.
    #[test]
    fn a_changed_byte_does_not_smuggle(at in 0usize..80, byte in any::<u8>()) {
        let mut body = call("search").into_bytes();
        let length = body.len();
        body[at % length] = byte;
        if rules().decide(&body, &MessageHeaders::default()).is_ok() {
            let read: serde_json::Value = serde_json::from_slice(&body).unwrap();
            let name = read["params"]["name"].as_str().unwrap_or_default();
            let is_call = read["method"] == "tools/call";
            prop_assert!(!is_call || name == "search" || name.starts_with("time/"));
        }
    }
}
