//! Inputs that were changed at random: none panics, and what is made of them is JSON on one line each.

use bytes::Bytes;
use llamapool_dialect::{
    AnswerTranslator, Endpoint, EventReader, Framing, StreamReader, read_request, translate_request,
};
use proptest::prelude::*;
use serde::de::IgnoredAny;

use super::{LLAMA_CPP, PLAIN, times, translate};

const ENDPOINTS: [Endpoint; 3] = [
    Endpoint::OllamaChat,
    Endpoint::OllamaGenerate,
    Endpoint::OllamaEmbed,
];

const REQUESTS: &[&str] = &[
    r#"{"model":"m","stream":false,"think":"low","format":{"type":"object"},"keep_alive":"5m","tools":[{"type":"function"}],
        "options":{"temperature":0.5,"num_predict":-1,"stop":["\n"],"top_k":1,"repeat_penalty":1.1,"num_ctx":1},
        "messages":[{"role":"user","content":"Grüße \ud83e\udd99","images":["/9j/4AAQ"]},
        {"role":"assistant","thinking":"hm","tool_calls":[{"id":"a","function":{"name":"f","arguments":{"a":[1]}}}]},
        {"role":"tool","tool_name":"f","content":"1"}]}"#,
    r#"{"model":"m","prompt":"hi","system":"s","images":["iVBORw0KGgo="],"format":"json","options":{"seed":1}}"#,
    r#"{"model":"m","prompt":"hi","raw":true,"suffix":"","context":[],"template":""}"#,
    r#"{"model":"m","input":["a","b"],"dimensions":64,"truncate":false}"#,
];

const STREAM: &str = concat!(
    "data: {\"choices\":[{\"index\":0,\"delta\":{\"role\":\"assistant\",\"reasoning\":\"hm\"},\"finish_reason\":null}]}\n\n",
    "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"Gr\\u00fc\"},\"finish_reason\":null}]}\n\n",
    "data: {\"choices\":[{\"index\":0,\"delta\":{\"tool_calls\":[{\"index\":0,\"id\":\"a\",\"function\":{\"name\":\"f\",\"arguments\":\"{\\\"a\\\":\"}}]}}]}\n\n",
    "data: {\"choices\":[{\"index\":0,\"delta\":{\"tool_calls\":[{\"index\":0,\"function\":{\"arguments\":\"1}\"}}]},\"finish_reason\":\"tool_calls\"}]}\n\n",
    "data: {\"choices\":[],\"usage\":{\"prompt_tokens\":4},\"timings\":{\"prompt_ms\":1.5,\"predicted_ms\":2}}\n\n",
    "data: [DONE]\n\n",
);

const ANSWERS: &[&str] = &[
    r#"{"choices":[{"message":{"content":"a","reasoning_content":"hm","tool_calls":[{"id":"a","function":{"name":"f","arguments":"{\"a\":1}"}}]},"finish_reason":"length"}],"usage":{"prompt_tokens":4},"timings":{"prompt_ms":1}}"#,
    r#"{"choices":[{"text":"a","finish_reason":"stop"}]}"#,
    r#"{"data":[{"index":1,"embedding":[0.5,1e3]},{"index":0,"embedding":[1,-0.0]}],"usage":{"prompt_tokens":4}}"#,
    r#"{"error":{"message":"x","code":500}}"#,
];

/// Changes some bytes of a text, cuts some out, and puts others in.
fn mutate(text: &str, changes: &[(usize, u8, u8)]) -> Vec<u8> {
    let mut bytes = text.as_bytes().to_vec();
    for &(at, kind, byte) in changes {
        let at = at % (bytes.len() + 1);
        match kind % 3 {
            0 if at < bytes.len() => bytes[at] = byte,
            1 if at < bytes.len() => drop(bytes.remove(at)),
            _ => bytes.insert(at, byte),
        }
    }
    bytes
}

fn changes() -> impl Strategy<Value = Vec<(usize, u8, u8)>> {
    let byte = prop_oneof![
        any::<u8>(),
        proptest::sample::select(b"\"\\{}[]:,0-.entu \n".to_vec())
    ];
    proptest::collection::vec((0..4096_usize, any::<u8>(), byte), 0..4)
}

fn is_json(bytes: &[u8]) -> bool {
    serde_json::from_slice::<IgnoredAny>(bytes).is_ok()
}

proptest! {
    #[test]
    fn a_request_is_translated_to_json_or_refused(
        number in 0..REQUESTS.len(),
        changes in changes(),
        endpoint in 0..3_usize,
    ) {
        let body = mutate(REQUESTS[number], &changes);
        for extensions in [PLAIN, LLAMA_CPP] {
            // As a worker does it: only what was read is translated.
            let endpoint = ENDPOINTS[endpoint];
            let body = Bytes::from(body.clone());
            let is_read = read_request(endpoint, None, &body).is_ok();
            let translated = translate_request(endpoint, &body, &extensions);
            if let (true, Ok(translated)) = (is_read, translated) {
                prop_assert!(is_json(&translated.body), "{:?}", translated.body);
                let read = read_request(translated.endpoint, None, &translated.body);
                prop_assert!(read.is_ok(), "{:?}", read);
            }
        }
    }

    #[test]
    fn a_stream_is_translated_to_lines_of_json(changes in changes()) {
        let stream = mutate(STREAM, &changes);
        let mut answer = translate(Endpoint::OllamaChat, REQUESTS[0]).answer.stream();
        let mut position = StreamReader::new(Endpoint::ChatCompletions);
        let mut reader = EventReader::new(Framing::Sse, 1 << 20);
        reader.push(Bytes::from(stream)).unwrap();

        let mut lines = Vec::new();
        while let Some(event) = reader.next() {
            position.event(&event);
            match answer.event(&event, times()) {
                Ok(made) => lines.extend_from_slice(&made),
                Err(_) => break,
            }
        }
        if let Ok(made) = answer.end(&position.usage(), times()) {
            lines.extend_from_slice(&made);
        }
        for line in lines.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
            prop_assert!(is_json(line), "{}", String::from_utf8_lossy(line));
        }
    }

    #[test]
    fn an_answer_is_translated_to_json_or_refused(
        number in 0..ANSWERS.len(),
        changes in changes(),
    ) {
        let body = mutate(ANSWERS[number], &changes);
        for (endpoint, request) in ENDPOINTS.into_iter().zip([0, 2, 3]) {
            let translated = translate(endpoint, REQUESTS[request]);
            if let Ok(made) = translated.answer.whole(translated.endpoint, &body, times()) {
                prop_assert!(is_json(&made), "{}", String::from_utf8_lossy(&made));
            }
        }
        prop_assert!(is_json(&AnswerTranslator::error(&body)));
    }
}
