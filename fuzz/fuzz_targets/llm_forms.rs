//! Forms with the boundary `B`: a form that was edited is read again with what was set, and its other
//! parts are the same.

#![no_main]

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use llamapool_dialect::{Edits, Endpoint, read_request};

const CONTENT_TYPE: Option<&str> = Some("multipart/form-data; boundary=B");

fuzz_target!(|data: &[u8]| {
    let body = Bytes::copy_from_slice(data);
    if let Ok(text) = std::str::from_utf8(data) {
        let _ = read_request(Endpoint::Transcriptions, Some(text), &body);
    }
    let Ok(info) = read_request(Endpoint::Transcriptions, CONTENT_TYPE, &body) else {
        return;
    };

    let mut edits = Edits::new();
    edits.set_model(&info, "other");
    edits.set_stream(&info, false);
    let edited = edits.apply(&body);
    let again = read_request(Endpoint::Transcriptions, CONTENT_TYPE, &edited).expect("a form");
    assert_eq!(again.model.as_deref(), Some("other"));
    assert_eq!(again.stream, Some(false));
    assert_eq!(again.media, info.media);
    assert_eq!(again.prompt_bytes, info.prompt_bytes);
});
