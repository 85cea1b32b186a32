//! Requests of the LLM APIs: the first line is a path, the body is JSON. A path that is found is found
//! again by a worker. What is read of a body is what a reader of JSON values finds, and a body that
//! was edited is read again with what was set.

#![no_main]

use bytes::Bytes;
use http::Method;
use http::header::CONTENT_TYPE;
use libfuzzer_sys::fuzz_target;
use llamapool_dialect::{Edits, RequestInfo, dialect_of, is_llm_path, read_request, route};
use llamapool_fuzz::parts;
use serde_json::Value;

fuzz_target!(|data: &[u8]| {
    let Some(parts) = parts(data) else {
        return;
    };
    let _ = (is_llm_path(parts.line), dialect_of(parts.line));
    for method in [Method::GET, Method::POST] {
        let Ok(route) = llamapool_dialect::route(&method, parts.line, false) else {
            continue;
        };
        assert!(is_llm_path(parts.line));
        if route.endpoint.is_forwarded() {
            let again = llamapool_dialect::route(&method, &route.at_runtime, false);
            assert_eq!(again, Ok(route));
        }
    }

    let Ok(route) = route(&Method::POST, parts.line, false) else {
        return;
    };
    let content_type = parts.headers.get(CONTENT_TYPE);
    let content_type = content_type.and_then(|value| value.to_str().ok());
    let body = Bytes::copy_from_slice(parts.body);
    let Ok(info) = read_request(route.endpoint, content_type, &body) else {
        return;
    };
    assert!(info.prompt_bytes <= body.len() as u64);
    assert!(info.prefix_marks(&body, 1).len() <= 64);
    if !route.endpoint.takes_json() {
        return;
    }

    same_as_value(&info, &body);
    let edited = edits(&info).apply(&body);
    let again = read_request(route.endpoint, content_type, &edited).expect("an edited body");
    assert_eq!(again.model.as_deref(), Some("other"));
    assert_eq!(again.stream, Some(true));
    assert_eq!(again.media, info.media);
    assert_eq!(again.has_tools, info.has_tools);
});

fn edits(info: &RequestInfo) -> Edits {
    let mut edits = Edits::new();
    edits.set_model(info, "other");
    edits.set_stream(info, true);
    edits.include_usage(info);
    edits.return_progress(info);
    edits.remove_keep_alive(info);
    edits.strip_billing_header(info);
    edits
}

fn same_as_value(info: &RequestInfo, body: &[u8]) {
    let body = body.strip_prefix("\u{feff}".as_bytes()).unwrap_or(body);
    // Numbers beyond those of IEEE 754 and lone surrogates are no values of this reader.
    let Ok(value) = serde_json::from_slice::<Value>(body) else {
        return;
    };
    let model = value["model"].as_str().filter(|model| !model.is_empty());
    assert!(model.is_none() || info.model.as_deref() == model);
    assert_eq!(info.stream, value["stream"].as_bool());
    let include_usage = &value["stream_options"]["include_usage"];
    assert_eq!(info.wants_usage, include_usage == true);
}
