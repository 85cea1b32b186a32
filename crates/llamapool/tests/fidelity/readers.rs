//! Policies of messages beside the readers that providers use: whatever one of them finds in a
//! message, the policy decides on it, or the message is refused.

use std::fmt::Write as _;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use llamapool_identity::{MessageHeaders, MessagePolicy, MessageRules, RuleSource};
use rmcp::model::{ClientJsonRpcMessage, ClientRequest, JsonRpcMessage};
use serde_json::Value;

use crate::clients::{MCP_1, NODE};
use crate::parts::{python, root};
use crate::programs::installed;

/// The bodies that are compared.
const BODIES: usize = 6000;

/// A method and a name that a reader finds in a message.
type Found = (String, String);

/// A pseudo-random sequence, the same in every run (Marsaglia's xorshift).
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % bound as u64) as usize
    }

    /// Returns the first one half of the time, else any.
    fn of<'a>(&mut self, choices: &[&'a str]) -> &'a str {
        if self.once_in(2) {
            return choices[0];
        }
        choices[self.below(choices.len())]
    }

    fn once_in(&mut self, times: usize) -> bool {
        self.below(times) == 0
    }
}

/// Returns a message that readers may read differently.
fn body(random: &mut Random) -> Vec<u8> {
    const METHOD_KEYS: &[&str] = &["method", "meth\\u006fd", "Method", "me_thod"];
    const METHODS: &[&str] = &[
        "\"tools/call\"",
        "\"tool\\u0073/call\"",
        "\"tools/list\"",
        "\"Tools/Call\"",
        "\"tools/call\\u0000\"",
        "null",
    ];
    const PARAMS_KEYS: &[&str] = &["params", "p\\u0061rams", "PARAMS", "param\u{17f}"];
    const NAME_KEYS: &[&str] = &["name", "n\\u0061me", "Name", "__proto__"];
    const NAMES: &[&str] = &[
        "\"search\"",
        "\"delete\"",
        "\"del\\u0065te\"",
        "\"\\ud800delete\"",
        "{\"name\":\"delete\"}",
    ];
    const BETWEEN: &[&str] = &[",", ", ", ",\"x\":1e400,", ",\"x\":NaN,", ",/**/"];

    let mut members = vec!["\"jsonrpc\":\"2.0\"".to_owned(), "\"id\":1".to_owned()];
    for _ in 0..1 + usize::from(random.once_in(4)) {
        let key = random.of(METHOD_KEYS);
        let value = random.of(METHODS);
        members.push(format!("\"{key}\":{value}"));
    }
    for _ in 0..1 + usize::from(random.once_in(4)) {
        let mut params = Vec::new();
        for _ in 0..1 + usize::from(random.once_in(4)) {
            let key = random.of(NAME_KEYS);
            let value = random.of(NAMES);
            params.push(format!("\"{key}\":{value}"));
        }
        let key = random.of(PARAMS_KEYS);
        members.push(format!("\"{key}\":{{{}}}", params.join(",")));
    }
    if random.once_in(4) {
        members.reverse();
    }
    let message = format!("{{{}}}", members.join(random.of(BETWEEN)));

    let whole = match random.below(24) {
        0 => format!("[{message}]"),
        1 => format!("[[{message}]]"),
        2 => format!("\u{feff}{message}"),
        3 => format!("{{\"method\":\"tools/list\"}}{message}"),
        4 => format!("{message} x"),
        5 => format!("[{{\"method\":\"ping\"}},{message}]"),
        6 => return message.encode_utf16().flat_map(u16::to_le_bytes).collect(),
        _ => message,
    };
    let mut bytes = whole.into_bytes();
    if random.once_in(6) {
        let at = random.below(bytes.len());
        bytes[at] = random.below(256) as u8;
    }
    bytes
}

/// Returns what a program finds in bodies that a file has.
fn found_by(mut program: Command, script: &str, bodies: &Path) -> Vec<Vec<Found>> {
    let script = root().join("tests/parts").join(script);
    let output = program.arg(script).arg(bodies).output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");

    let text = String::from_utf8(output.stdout).unwrap();
    let lines = text.lines();
    lines
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

/// Returns what serde_json and the official SDK for Rust find in a body.
fn found_by_rust(body: &[u8]) -> Vec<Found> {
    let mut found = Vec::new();
    if let Ok(value) = serde_json::from_slice::<Value>(body) {
        let batch = value
            .as_array()
            .cloned()
            .unwrap_or_else(|| vec![value.clone()]);
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let of = |message: &Value| (text(&message["method"]), text(&message["params"]["name"]));
        found.extend(batch.iter().map(of));
    }
    if let Ok(JsonRpcMessage::Request(request)) =
        serde_json::from_slice::<ClientJsonRpcMessage>(body)
        && let ClientRequest::CallToolRequest(call) = request.request
    {
        found.push(("tools/call".to_owned(), call.params.name.into_owned()));
    }
    found
}

/// Returns whether the policy denies what a reader finds.
fn is_denied((method, name): &Found) -> bool {
    method == "tools/call" && name != "search"
}

#[test]
fn no_reader_finds_what_a_policy_denies() {
    let policy = r#"{"tools":{"allow":["search"]}}"#;
    let policy: MessagePolicy = serde_json::from_str(policy).unwrap();
    let rules = MessageRules::default().and(RuleSource::Id, Arc::new(policy));
    let mut random = Random(0x2545_f491_4f6c_dd1d);
    let bodies: Vec<_> = (0..BODIES).map(|_| body(&mut random)).collect();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("bodies");
    let mut lines = String::new();
    for body in &bodies {
        body.iter()
            .for_each(|byte| write!(lines, "{byte:02x}").unwrap());
        lines.push('\n');
    }
    std::fs::write(&file, lines).unwrap();

    let by_python = found_by(Command::new(python(MCP_1)), "read_messages.py", &file);
    let by_node = found_by(Command::new(installed(NODE)), "read_messages.cjs", &file);

    assert_eq!((by_python.len(), by_node.len()), (BODIES, BODIES));
    let mut allowed = 0;
    let mut denied = [0; 3];
    for (place, body) in bodies.iter().enumerate() {
        let is_allowed = rules.decide(body, &MessageHeaders::default()).is_ok();
        allowed += usize::from(is_allowed);
        let by_rust = found_by_rust(body);
        for (count, found) in denied
            .iter_mut()
            .zip([&by_python[place], &by_node[place], &by_rust])
        {
            let denies = found.iter().any(is_denied);
            *count += usize::from(denies);
            let text = String::from_utf8_lossy(body);
            assert!(!(denies && is_allowed), "{text}: {found:?}");
        }
    }
    assert!(allowed > 200, "{allowed}");
    assert!(denied.iter().all(|count| *count > 200), "{denied:?}");
}
