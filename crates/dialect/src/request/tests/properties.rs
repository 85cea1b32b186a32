//! Bodies that are mutated or random: they are read or refused.

use proptest::prelude::*;

use super::*;

const BODIES: [(Endpoint, &str); 6] = [
    (
        ChatCompletions,
        r#"{"model":"m","messages":[{"role":"user","content":[{"type":"image_url","image_url":{"url":"data:image/png;base64,AAAA"}}]}],"stream":true,"stream_options":{"include_usage":false,"x":1},"n":2}"#,
    ),
    (
        Messages,
        r#"{"model":"m","system":[{"type":"text","text":"x-anthropic-billing-header: a"},{"text":"b"}],"tools":[{"name":"a","type":"b"}],"max_tokens":5}"#,
    ),
    (
        OllamaGenerate,
        r#"{"model":"m","keep_alive":"5m","prompt":"\u00e4\\\"","images":["AA"],"options":{"num_ctx":4096}}"#,
    ),
    (
        Responses,
        "\u{feff}{\"model\":\"m\",\"input\":[{\"type\":\"message\"}],\"conversation\":{\"id\":\"c\"},\"store\":false}",
    ),
    (Embeddings, r#"{"input":[[1,2,-3e5],[4]],"model":"m"}"#),
    (OllamaShow, r#"{"name":"m","verbose":true}"#),
];

/// Bytes that matter to a reader of JSON, and some that do not.
fn byte() -> impl Strategy<Value = u8> {
    prop_oneof![
        proptest::sample::select(br#"{}[]",:\ "#.to_vec()),
        any::<u8>()
    ]
}

proptest! {
    /// Whatever is read can be edited and read again, with the same content.
    #[test]
    fn mutated_bodies_are_read_or_refused(
        which in 0..BODIES.len(),
        changes in proptest::collection::vec((any::<proptest::sample::Index>(), 0..3_u8, byte()), 1..6),
    ) {
        let (endpoint, body) = BODIES[which];
        let mut bytes = body.as_bytes().to_vec();
        for (at, change, byte) in changes {
            let at = at.index(bytes.len());
            match change {
                0 => bytes[at] = byte,
                1 => bytes.insert(at, byte),
                _ => drop(bytes.remove(at)),
            }
        }
        let body = Bytes::from(bytes);

        if let Ok(info) = read_request(endpoint, None, &body) {
            prop_assert!(info.prefix_marks(&body, 1).len() <= 64);
            prop_assert!(info.prompt_bytes <= body.len() as u64);

            let mut edits = crate::Edits::new();
            edits.set_model(&info, "other");
            edits.set_stream(&info, true);
            edits.include_usage(&info);
            edits.return_progress(&info);
            edits.remove_keep_alive(&info);
            edits.strip_billing_header(&info);
            let edited = edits.apply(&body);
            let again = read_request(endpoint, None, &edited)
                .map_err(|error| TestCaseError::fail(format!("{edited:?}: {error}")))?;
            prop_assert_eq!(again.model.as_deref(), Some("other"));
            prop_assert_eq!(again.stream, Some(true));
            prop_assert_eq!(again.media, info.media);
        }
    }

    #[test]
    fn any_bytes_are_read_or_refused(body in proptest::collection::vec(byte(), 0..64)) {
        let body = Bytes::from(body);
        for endpoint in [ChatCompletions, Messages, OllamaChat] {
            if let Ok(info) = read_request(endpoint, None, &body) {
                let json = body.strip_prefix("\u{feff}".as_bytes()).unwrap_or(&body);
                let parsed = serde_json::from_slice::<serde::de::IgnoredAny>(json);
                prop_assert!(parsed.is_ok());
                prop_assert!(info.choices >= 1);
            }
        }
    }
}
