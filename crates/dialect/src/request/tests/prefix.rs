//! The marks of a prompt, by which a worker is found that has its beginning in a cache.

use super::*;

/// The marks that the beginnings of two prompts have in common.
fn common(first: &[PrefixMark], second: &[PrefixMark]) -> Option<PrefixMark> {
    let mut common = first.iter().filter(|mark| second.contains(mark));
    common.next_back().copied()
}

fn marks(endpoint: Endpoint, body: &str) -> Vec<PrefixMark> {
    let info = info(endpoint, body);
    info.prefix_marks(&Bytes::copy_from_slice(body.as_bytes()), 7)
}

#[test]
fn a_longer_conversation_has_the_marks_of_its_beginning() {
    let first = r#"{"messages":[{"a":1},{"b":2}],"model":"m","tools":[]}"#;
    let second = r#"{"tools":[],"model":"n","messages":[{"a":1}, {"b":2} ,{"c":3}]}"#;
    let other = r#"{"tools":[1],"messages":[{"a":1},{"b":2}]}"#;
    let [first, second, other] = [first, second, other].map(|body| marks(ChatCompletions, body));

    assert_eq!((first.len(), second.len()), (3, 4));
    assert_eq!(second[..3], first);
    assert_eq!(first[2].bytes, 2 + 7 + 7);
    assert_eq!(common(&first, &other), None, "tools come first");
}

#[test]
fn marks_depend_on_the_seed() {
    let body = Bytes::from_static(br#"{"messages":[{"a":1}]}"#);
    let info = read_request(ChatCompletions, None, &body).unwrap();

    assert_ne!(info.prefix_marks(&body, 1), info.prefix_marks(&body, 2));
    assert_eq!(info.prefix_marks(&body, 1), info.prefix_marks(&body, 1));
}

#[test]
fn long_blocks_have_marks_inside() {
    let text = "x".repeat(30_000);
    let whole = marks(Completions, &format!(r#"{{"prompt":"{text}"}}"#));
    let longer = marks(Completions, &format!(r#"{{"prompt":"{text}y"}}"#));

    let places: Vec<u64> = whole.iter().map(|mark| mark.bytes).collect();
    let kib = 1024;
    assert_eq!(
        places,
        [kib, 2 * kib, 4 * kib, 8 * kib, 16 * kib, 24 * kib, 30_002]
    );
    assert_eq!(
        common(&whole, &longer).map(|mark| mark.bytes),
        Some(24 * kib)
    );
}

#[test]
fn the_deepest_marks_are_kept() {
    let messages = vec![r#"{"role":"user"}"#; 5000].join(",");
    let marks = marks(ChatCompletions, &format!(r#"{{"messages":[{messages}]}}"#));

    assert_eq!(marks.len(), 64);
    let last = marks.last().unwrap().bytes;
    let commas = 5000 - 4096;
    assert_eq!(last, 5000 * 15 + commas, "the rest is one block");
    let marks_of_the_rest = 5;
    assert_eq!(marks[0].bytes, (4096 - 64 + marks_of_the_rest) * 15);
}

#[test]
fn a_picture_is_one_piece_of_a_prefix() {
    let chat = |base64: &str| {
        let url = format!("data:image/png;base64,{base64}");
        let picture = json!({"content":[{"image_url":url}]});
        marks(
            ChatCompletions,
            &json!({"messages":["s", picture, "t"]}).to_string(),
        )
    };
    let [first, second] = ["A", "B"].map(|byte| chat(&byte.repeat(100_000)));

    assert_eq!(first.len(), 3);
    assert_eq!(common(&first, &second), Some(first[0]));
    assert_eq!(first[1].media, 1);
    assert!(first[1].bytes < 100 && first[1].estimated_tokens(4.0) > 1500);
}

/// Claude Code puts a block first whose content differs in each request.
#[test]
fn a_billing_header_is_no_part_of_a_prefix() {
    let body = |code: &str| {
        let header = format!("x-anthropic-billing-header: cc_version=1; cch={code};");
        json!({"system":[{"type":"text","text":header},{"type":"text","text":"S"}],
            "messages":[{"role":"user","content":"hi"}]})
        .to_string()
    };
    let [first, second] = ["aaaaa", "bbbbb"].map(body);

    assert_eq!(marks(Messages, &first), marks(Messages, &second));
    assert_eq!(marks(Messages, &first).len(), 2);
    assert_ne!(
        marks(ChatCompletions, &first),
        marks(ChatCompletions, &second)
    );
}

#[test]
fn endpoints_without_a_prompt_cache_have_no_marks() {
    assert_eq!(marks(Embeddings, r#"{"input":["a","b"]}"#), []);
    assert_eq!(marks(Rerank, r#"{"query":"a","documents":["b"]}"#), []);
}
