//! Usage and progress go, everything else stays byte for byte.

use llamapool_dialect::{Endpoint, Framing, StreamFilter};
use serde_json::Value;

use crate::streams::events_of_pieces;

const USAGE: StreamFilter = StreamFilter {
    strip_usage: true,
    strip_progress: false,
};
const PROGRESS: StreamFilter = StreamFilter {
    strip_usage: false,
    strip_progress: true,
};
const BOTH: StreamFilter = StreamFilter {
    strip_usage: true,
    strip_progress: true,
};

/// Returns what is left of a stream.
fn filtered(filter: StreamFilter, endpoint: Endpoint, stream: &str) -> String {
    let events = events_of_pieces(Framing::Sse, &[stream.as_bytes()]).into_iter();
    let left = events.filter_map(|event| filter.apply(endpoint, event));
    String::from_utf8(left.flat_map(|bytes| bytes.to_vec()).collect()).unwrap()
}

/// Checks what is left of the data of one event.
fn check(filter: StreamFilter, cases: &[(&str, &str)]) {
    for (data, expected) in cases {
        let stream = format!("data: {data}\n\n");
        let expected = match *expected {
            "" => String::new(),
            expected => format!("data: {expected}\n\n"),
        };
        let left = filtered(filter, Endpoint::ChatCompletions, &stream);
        assert_eq!(left, expected, "{data}");
    }
}

#[test]
fn a_chunk_of_usage_alone_goes() {
    let alone = [
        r#"{"usage":{"prompt_tokens":1}}"#,
        r#"{"choices":[],"usage":{}}"#,
        r#"{"choices":null,"usage":{"a":1}}"#,
        r#"{"id":"a","object":"chat.completion.chunk","created":1,"model":"m","system_fingerprint":"f","choices":[ ],"usage":{"a":1}}"#,
        r#"{"usage":null,"choices":[]}"#,
        r#"{"choices":[],"usage":{"a":1},"service_tier":null}"#,
    ];
    for data in alone {
        check(USAGE, &[(data, "")]);
    }
}

#[test]
fn what_stands_beside_usage_stays() {
    check(
        USAGE,
        &[
            (
                r#"{"choices":[],"x_sources":[1]}"#,
                r#"{"choices":[],"x_sources":[1]}"#,
            ),
            (r#"{"choices":[]}"#, r#"{"choices":[]}"#),
            (
                r#"{"choices":[{"delta":{},"finish_reason":"stop"}],"usage":{"a":[1,{"b":2}]}}"#,
                r#"{"choices":[{"delta":{},"finish_reason":"stop"}]}"#,
            ),
            (
                r#"{"usage":{"a":1},"choices":[],"x_sources":[1]}"#,
                r#"{"choices":[],"x_sources":[1]}"#,
            ),
            (
                r#"{ "a" : 1 , "usage" : null , "choices" : [ { "delta" : { } } ] }"#,
                r#"{ "a" : 1 , "choices" : [ { "delta" : { } } ] }"#,
            ),
            (
                r#"{"choices":[{"usage":{"a":1},"delta":{"usage":"text"},"usage":0}],"cost":1e+3}"#,
                r#"{"choices":[{"delta":{"usage":"text"}}],"cost":1e+3}"#,
            ),
            (
                r#"{"choices":[{"usage":{"a":1}},{"index":1,"usage":true}]}"#,
                r#"{"choices":[{},{"index":1}]}"#,
            ),
            (
                r#"{"usage":1,"usage":2,"choices":[{"finish_reason":"stop"}],"usage":3,"usage":4}"#,
                r#"{"choices":[{"finish_reason":"stop"}]}"#,
            ),
            (
                r#"{"choices":[],"timings":{"prompt_n":1},"usage":{"a":1}}"#,
                r#"{"choices":[],"timings":{"prompt_n":1}}"#,
            ),
        ],
    );
}

#[test]
fn text_that_looks_like_usage_stays() {
    for data in [
        r#"{"choices":[{"delta":{"content":"\"usage\":{}"}}]}"#,
        r#"{"choices":[{"delta":{"content":"a","usage":1}}]}"#,
        r#"{"choices":[{"logprobs":{"content":[{"token":"usage"}]}}],"a":{"usage":1}}"#,
        r#"["usage"]"#,
        r#""usage""#,
        r#"{"usage":"#,
        "[DONE]",
        "null",
    ] {
        check(BOTH, &[(data, data)]);
    }
}

#[test]
fn progress_goes_unless_there_is_content_with_it() {
    check(
        PROGRESS,
        &[
            (
                r#"{"choices":[{"finish_reason":null,"index":0,"delta":{"role":"assistant","content":null}}],"created":1,"prompt_progress":{"total":36,"cache":0,"processed":36}}"#,
                "",
            ),
            (r#"{"prompt_progress":{"total":1}}"#, ""),
            (
                r#"{"choices":[{"text":"a","index":0}],"prompt_progress":{"total":1},"b":2}"#,
                r#"{"choices":[{"text":"a","index":0}],"b":2}"#,
            ),
            (
                r#"{"prompt_progress":{"total":1},"choices":[{"delta":{"content":"a"}}]}"#,
                r#"{"choices":[{"delta":{"content":"a"}}]}"#,
            ),
            (
                r#"{"choices":[{"delta":{},"finish_reason":"stop"}],"prompt_progress":null}"#,
                r#"{"choices":[{"delta":{},"finish_reason":"stop"}]}"#,
            ),
            (
                r#"{"choices":[],"usage":{"a":1}}"#,
                r#"{"choices":[],"usage":{"a":1}}"#,
            ),
        ],
    );
    let both = r#"{"usage":1,"prompt_progress":2,"choices":[{"delta":{"content":"a"}}]}"#;
    check(
        BOTH,
        &[(both, r#"{"choices":[{"delta":{"content":"a"}}]}"#)],
    );
    check(StreamFilter::default(), &[(both, both)]);
}

#[test]
fn fields_comments_and_line_ends_stay() {
    let stream = concat!(
        ": c\r\nevent: x\r\ndata:{\"a\":1,\"usage\":2}\r\nid: 7\r\n\r\n",
        "data: {\"choices\":[],\ndata: \"usage\":{}}\n\n",
        "data: {\"usage\":{\"a\":1,\ndata: \"b\":2},\ndata:\"c\":\ndata: 3}\n\n",
        ": ping\n\n",
        "data: [DONE]\n\n",
    );
    let expected = concat!(
        ": c\r\nevent: x\r\ndata:{\"a\":1}\r\nid: 7\r\n\r\n",
        "data: {\ndata: \ndata:\"c\":\ndata: 3}\n\n",
        ": ping\n\n",
        "data: [DONE]\n\n",
    );

    let left = filtered(BOTH, Endpoint::Completions, stream);

    assert_eq!(left, expected);
    let events = events_of_pieces(Framing::Sse, &[left.as_bytes()]);
    let value: Value = serde_json::from_slice(&events[1].data).unwrap();
    assert_eq!(value, serde_json::json!({"c": 3}));
}

#[test]
fn other_apis_keep_their_usage() {
    let stream = "data: {\"usage\":{},\"prompt_progress\":{}}\n\n";

    for endpoint in [
        Endpoint::Messages,
        Endpoint::Responses,
        Endpoint::Transcriptions,
    ] {
        assert_eq!(filtered(BOTH, endpoint, stream), stream, "{endpoint:?}");
    }
}
