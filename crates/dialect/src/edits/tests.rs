//! Bodies before and after their edits, and the law that everything else stays.

use std::fmt::Write as _;

use bytes::Bytes;
use proptest::prelude::*;

use super::*;
use crate::endpoint::Endpoint::{
    self, ChatCompletions, Embeddings, Messages, OllamaGenerate, Transcriptions,
};
use crate::request::read_request;

/// Returns a JSON body after some edits.
fn edited(endpoint: Endpoint, body: &str, edit: fn(&mut Edits, &RequestInfo)) -> String {
    let body = Bytes::copy_from_slice(body.as_bytes());
    let info = read_request(endpoint, None, &body).unwrap();
    let mut edits = Edits::new();
    edit(&mut edits, &info);
    String::from_utf8(edits.apply(&body).to_vec()).unwrap()
}

fn all(edits: &mut Edits, info: &RequestInfo) {
    edits.set_model(info, "x");
    edits.set_stream(info, true);
    edits.include_usage(info);
    edits.return_progress(info);
    edits.remove_keep_alive(info);
    edits.strip_billing_header(info);
}

#[test]
fn without_edits_a_body_is_the_same() {
    let body = Bytes::from_static(b" { \"model\" : \"m\" } ");
    let same = Edits::new().apply(&body);

    assert_eq!(same.as_ptr(), body.as_ptr(), "not copied");
    assert_eq!(same, body);
    assert!(Edits::new().is_empty());
}

#[test]
fn a_byte_order_mark_is_dropped_with_edits_or_without() {
    let body = "\u{feff} {\"model\":\"m\"}";

    assert_eq!(
        edited(ChatCompletions, body, |_, _| {}),
        r#" {"model":"m"}"#
    );
    assert_eq!(
        edited(ChatCompletions, body, |edits, info| edits
            .set_model(info, "n")),
        r#" {"model":"n"}"#
    );
}

#[test]
fn members_are_set_where_they_are_or_inserted() {
    let cases = [
        (
            r#"{ "stream" : null , "n":1.50, "model" : "\u0061"}"#,
            r#"{"stream_options":{"include_usage":true},"return_progress":true, "stream" : true , "n":1.50, "model" : "x"}"#,
        ),
        (
            "{}",
            r#"{"model":"x","stream":true,"stream_options":{"include_usage":true},"return_progress":true}"#,
        ),
        (
            "{ \n}",
            "{\"model\":\"x\",\"stream\":true,\"stream_options\":{\"include_usage\":true},\"return_progress\":true \n}",
        ),
        (
            r#"{"model":null,"stream":false,"stream_options":null,"return_progress":false}"#,
            r#"{"model":"x","stream":true,"stream_options":{"include_usage":true},"return_progress":true}"#,
        ),
        (
            r#"{"model":"","stream":false,"stream_options":{ },"return_progress":null}"#,
            r#"{"model":"x","stream":true,"stream_options":{"include_usage":true },"return_progress":true}"#,
        ),
        (
            r#"{"model":"","stream":false,"stream_options":{"a":[1]},"return_progress":null}"#,
            r#"{"model":"x","stream":true,"stream_options":{"include_usage":true,"a":[1]},"return_progress":true}"#,
        ),
        (
            r#"{"model":"m","stream":true,"stream_options":{"a":1,"include_usage" :false},"return_progress":true}"#,
            r#"{"model":"x","stream":true,"stream_options":{"a":1,"include_usage" :true},"return_progress":true}"#,
        ),
        (
            r#"{"model":"m","stream":true,"stream_options":7,"return_progress":true}"#,
            r#"{"model":"x","stream":true,"stream_options":7,"return_progress":true}"#,
        ),
    ];

    for (body, expected) in cases {
        assert_eq!(edited(ChatCompletions, body, all), expected, "{body}");
    }
}

#[test]
fn names_of_models_are_written_as_json() {
    let after = edited(ChatCompletions, r#"{"model":"m"}"#, |edits, info| {
        edits.set_model(info, "a\"b\\c/ä");
    });

    assert_eq!(after, r#"{"model":"a\"b\\c/ä"}"#);
}

#[test]
fn the_last_edit_of_a_member_counts() {
    let after = edited(ChatCompletions, r#"{"stream":true}"#, |edits, info| {
        edits.set_stream(info, true);
        edits.set_model(info, "a");
        edits.set_stream(info, false);
        edits.set_model(info, "b");
    });

    assert_eq!(after, r#"{"model":"b","stream":false}"#);
}

/// A caller must not unload a model under others, nor pin it.
#[test]
fn keep_alive_is_cut_with_one_comma() {
    let cases = [
        (
            r#"{"model":"m","keep_alive":0,"prompt":"a"}"#,
            r#"{"model":"m","prompt":"a"}"#,
        ),
        (
            r#"{ "keep_alive" : "-1" , "model":"m"}"#,
            r#"{ "model":"m"}"#,
        ),
        (r#"{"model":"m" , "keep_alive":-1 }"#, r#"{"model":"m" }"#),
        (r#"{ "keep_alive":{"a":[]} }"#, "{  }"),
        (r#"{"model":"m"}"#, r#"{"model":"m"}"#),
        (
            r#"{"options":{"keep_alive":0},"k\u0065ep_alive":0}"#,
            r#"{"options":{"keep_alive":0}}"#,
        ),
    ];

    for (body, expected) in cases {
        let cut = edited(OllamaGenerate, body, |edits, info| {
            edits.remove_keep_alive(info);
        });
        assert_eq!(cut, expected, "{body}");
    }
}

#[test]
fn a_model_takes_the_place_of_a_lone_keep_alive() {
    let after = edited(OllamaGenerate, r#"{"keep_alive":0}"#, |edits, info| {
        edits.set_model(info, "m");
        edits.remove_keep_alive(info);
    });

    assert_eq!(after, r#"{"model":"m"}"#);
}

#[test]
fn the_billing_header_is_cut_from_messages() {
    let header = r#"{"type":"text","text":"x-anthropic-billing-header: cc_version=1; cch=aaaaa;"}"#;
    let strip = |endpoint, system: &str| {
        let body = format!(r#"{{"system":{system},"messages":[]}}"#);
        edited(endpoint, &body, |edits, info| {
            edits.strip_billing_header(info)
        })
    };
    let kept = |system: &str| format!(r#"{{"system":{system},"messages":[]}}"#);
    let other = r#"{"type":"text","text":"S"}"#;

    assert_eq!(
        strip(Messages, &format!("[{header} ,\n {other}]")),
        kept(&format!("[{other}]"))
    );
    assert_eq!(strip(Messages, &format!("[ {header} ]")), kept("[  ]"));
    for system in [
        format!("[{other},{header}]"),
        format!("{header:?}"),
        "[]".to_owned(),
        "[7]".to_owned(),
        "null".to_owned(),
    ] {
        assert_eq!(strip(Messages, &system), kept(&system));
    }
    let elsewhere = format!("[{header},{other}]");
    assert_eq!(strip(ChatCompletions, &elsewhere), kept(&elsewhere));
}

#[test]
fn inputs_of_embeddings_are_divided() {
    let body = Bytes::from_static(br#"{"input" : [ "a,]" , [1,2] ,"c" ],"model":"m","x":1.0}"#);
    let info = read_request(Embeddings, None, &body).unwrap();
    let part = |items: Range<usize>| {
        let mut edits = Edits::new();
        edits.set_model(&info, "n");
        edits.select_inputs(&info.divisible_inputs(&body).unwrap(), &items);
        String::from_utf8(edits.apply(&body).to_vec()).unwrap()
    };
    let with = |inputs: &str| format!(r#"{{"input" : [{inputs}],"model":"n","x":1.0}}"#);

    assert_eq!(part(0..1), with(r#""a,]""#));
    assert_eq!(part(1..3), with(r#"[1,2] ,"c""#));
    assert_eq!(part(0..3), with(r#""a,]" , [1,2] ,"c""#));
    for (from, to) in [(0, 4), (3, 4), (1, 1), (2, 1)] {
        assert_eq!(
            part(from..to),
            with(r#" "a,]" , [1,2] ,"c" "#),
            "{from}..{to}"
        );
    }
}

#[test]
fn inputs_that_are_one_or_too_many_are_not_divided() {
    let inputs = |input: &str| {
        let body = Bytes::from(format!(r#"{{"input":{input},"model":"m"}}"#));
        let info = read_request(Embeddings, None, &body).unwrap();
        info.divisible_inputs(&body).map(|inputs| inputs.len())
    };

    assert_eq!(inputs("[1,2,3]"), None, "the tokens of one input");
    assert_eq!(inputs(r#""text""#), None);
    assert_eq!(inputs("[]"), None);
    assert_eq!(inputs(r#"["a"]"#), Some(1));
    let many = |number: usize| format!("[{}0]", "[1],".repeat(number - 1)).replace(",0]", ",[1]]");
    assert_eq!(inputs(&many(65_536)), Some(65_536));
    assert_eq!(inputs(&many(65_537)), None);
}

#[test]
fn parts_of_a_form_are_set_or_inserted() {
    let content_type = Some("multipart/form-data; boundary=B");
    let file = "Content-Disposition: form-data; name=\"file\"; filename=\"a\"\r\n\r\n\0\r\n";
    let model = "Content-Disposition: form-data; name=\"model\"\r\n\r\n";
    let stream = "Content-Disposition: form-data; name=\"stream\"\r\n\r\n";
    let set = |body: String| {
        let body = Bytes::from(body);
        let info = read_request(Transcriptions, content_type, &body).unwrap();
        let mut edits = Edits::new();
        all(&mut edits, &info);
        String::from_utf8(edits.apply(&body).to_vec()).unwrap()
    };

    assert_eq!(
        set(format!("--B\r\n{file}--B\r\n{model}whisper\r\n--B--\r\n")),
        format!("--B\r\n{stream}true\r\n--B\r\n{file}--B\r\n{model}x\r\n--B--\r\n")
    );
    assert_eq!(
        set(format!("\r\n--B\r\n{file}--B\r\n{stream}\r\n--B--")),
        format!("\r\n--B\r\n{model}x\r\n--B\r\n{file}--B\r\n{stream}true\r\n--B--")
    );
}

/// Edits of another body change what they can, and never panic.
#[test]
fn spans_of_another_body_are_left_out() {
    let body = Bytes::from_static(br#"{"a":[1,2,3],"model":"m","stream":true}"#);
    let info = read_request(ChatCompletions, None, &body).unwrap();
    let mut edits = Edits::new();
    all(&mut edits, &info);

    let other = edits.apply(&Bytes::from_static(b"{}"));

    assert!(other.starts_with(b"{") && other.ends_with(b"}"));
}

fn space() -> impl Strategy<Value = String> {
    "[ \t\r\n]{0,2}"
}

/// A JSON value as it may be written: numbers that no reader keeps, odd escapes, odd spacing.
fn value() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        r#""([a-zäß€ ,:{}\[\]]|\\["\\/bfnrt]|\\u[0-9a-f]{4}){0,8}""#,
        r"-?(0|[1-9][0-9]{0,30})(\.[0-9]{1,30})?([eE][+-]?[0-9]{1,4})?",
        proptest::sample::select(vec!["true", "false", "null"]).prop_map(str::to_owned),
    ];
    leaf.prop_recursive(4, 16, 4, |inner| {
        let items = proptest::collection::vec((space(), inner.clone(), space()), 0..4);
        let members = proptest::collection::vec((space(), r#""[a-z]{0,4}""#, space(), inner), 0..4);
        prop_oneof![
            items.prop_map(|items| {
                let items: Vec<String> = items
                    .into_iter()
                    .map(|(before, item, behind)| before + &item + &behind)
                    .collect();
                format!("[{}]", items.join(","))
            }),
            members.prop_map(|members| {
                let members: Vec<String> = members
                    .into_iter()
                    .map(|(before, name, between, item)| format!("{before}{name}{between}:{item}"))
                    .collect();
                format!("{{{}}}", members.join(","))
            }),
        ]
    })
}

/// A member of a body, with the white space around its name and its value.
type Written = (String, String, String, String, String, String);

fn member(
    name: &'static str,
    values: &'static [&'static str],
) -> impl Strategy<Value = Option<Written>> {
    // A name may be written with escapes.
    let escaped = format!("\\u{:04x}{}", name.as_bytes()[0], &name[1..]);
    let names = proptest::sample::select(vec![name.to_owned(), escaped]);
    let values = proptest::sample::select(values).prop_map(str::to_owned);
    proptest::option::of((space(), names, space(), space(), values, space()))
}

fn unknown() -> impl Strategy<Value = Option<Written>> {
    let name = "x([a-z]|\\\\u00e4|ä){0,6}".prop_map(|name| name);
    (space(), name, space(), space(), value(), space()).prop_map(Some)
}

fn members() -> impl Strategy<Value = Vec<Written>> {
    let known = (
        member("model", &["\"m\"", "null", "\"\"", "\"a\\/b\""]),
        member("stream", &["true", "false", "null"]),
        member("stream_options", &["null", "{\"include_usage\":false}"]),
        member("return_progress", &["false", "true"]),
        member("keep_alive", &["0", "\"5m\"", "-1", "{\"a\":[1,\"]\"]}"]),
        member(
            "messages",
            &["[]", "[{\"role\":\"user\",\"content\":\"a,\\\"}\"}]"],
        ),
    );
    let unknown = proptest::collection::vec(unknown(), 0..5);
    (known, unknown).prop_flat_map(|(known, unknown)| {
        let (a, b, c, d, e, f) = known;
        let all = [a, b, c, d, e, f].into_iter().chain(unknown);
        Just(all.flatten().collect::<Vec<_>>()).prop_shuffle()
    })
}

/// Returns the text of an object, in which `value` may put another value in the place of one.
fn written(members: &[Written], value: impl Fn(&str, &str) -> String) -> String {
    let mut text = String::new();
    for (at, (before, name, between, after_colon, old, behind)) in members.iter().enumerate() {
        let comma = if at > 0 { "," } else { "" };
        let decoded: String = serde_json::from_str(&format!("\"{name}\"")).unwrap();
        let new = value(&decoded, old);
        let _ = write!(
            text,
            "{comma}{before}\"{name}\"{between}:{after_colon}{new}{behind}"
        );
    }
    text
}

fn name_of(member: &Written) -> String {
    serde_json::from_str(&format!("\"{}\"", member.1)).unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    /// A body after its edits is equal to the one before, but for the named spans.
    #[test]
    fn all_other_bytes_stay(
        members in members(),
        before in space(),
        inside in space(),
        behind in space(),
    ) {
        let inside = if members.is_empty() { inside } else { String::new() };
        let old = written(&members, |_, value| value.to_owned());
        let body = Bytes::from(format!("{before}{{{old}{inside}}}{behind}"));
        let info = read_request(ChatCompletions, None, &body).unwrap();
        let mut edits = Edits::new();
        edits.set_model(&info, "new/1");
        edits.set_stream(&info, true);
        edits.include_usage(&info);
        edits.return_progress(&info);

        let new = [
            ("model", r#""new/1""#),
            ("stream", "true"),
            ("stream_options", r#"{"include_usage":true}"#),
            ("return_progress", "true"),
        ];
        let expected = written(&members, |name, value| {
            let new = new.iter().find(|(known, _)| *known == name);
            new.map_or(value, |(_, new)| new).to_owned()
        });
        let mut inserted: Vec<String> = new
            .iter()
            .filter(|(name, _)| members.iter().all(|member| name_of(member) != *name))
            .map(|(name, value)| format!("\"{name}\":{value}"))
            .collect();
        if !inserted.is_empty() && !members.is_empty() {
            inserted.push(String::new());
        }
        let inserted = inserted.join(",");

        prop_assert_eq!(edits.apply(&body), format!("{before}{{{inserted}{expected}{inside}}}{behind}"));
    }

    /// Cutting a member leaves what the object would be without it, byte for byte but for the white
    /// space that belongs to the comma.
    #[test]
    fn cutting_leaves_the_other_members(members in members()) {
        let body = Bytes::from(format!("{{{}}}", written(&members, |_, value| value.to_owned())));
        let info = read_request(OllamaGenerate, None, &body).unwrap();
        let mut edits = Edits::new();
        edits.remove_keep_alive(&info);
        let cut = edits.apply(&body);

        let at = members.iter().position(|member| name_of(member) == "keep_alive");
        let expected = match at {
            None => body.to_vec(),
            Some(at) => {
                let mut others = members.clone();
                let removed = others.remove(at);
                if at < others.len() {
                    others[at].0 = removed.0;
                } else if let Some(last) = others.last_mut() {
                    // The white space behind the value before goes with the comma.
                    last.5 = removed.5;
                } else {
                    others.clear();
                }
                let text = written(&others, |_, value| value.to_owned());
                if others.is_empty() {
                    format!("{{{}{}}}", members[at].0, members[at].5).into_bytes()
                } else {
                    format!("{{{text}}}").into_bytes()
                }
            }
        };
        prop_assert_eq!(cut, expected);
    }
}
