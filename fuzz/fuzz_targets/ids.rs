//! Ids, names, `Llamapool-Id` headers and the paths in the tunnel: what is valid survives being
//! written and parsed again.

#![no_main]

use http::{HeaderMap, HeaderValue};
use libfuzzer_sys::fuzz_target;
use llamapool_wire::path::{self, TunnelPath};
use llamapool_wire::{DisplayName, RelayId, read_ids, write_ids};

fuzz_target!(|data: &[u8]| {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    id(text);
    name(text);
    ids(text);
    paths(text);
});

fn id(text: &str) {
    if let Ok(id) = text.parse::<RelayId>() {
        assert_eq!(id.as_str(), text);

        let events = path::events(&id);

        assert_eq!(TunnelPath::parse(&events).unwrap().id(), text);
    }
}

fn name(text: &str) {
    let name = DisplayName::new(text);

    let decoded = DisplayName::decode(&name.encode()).unwrap();

    assert_eq!(decoded.as_str(), name.as_str());
    // A foreign value is a name or an error.
    let _ = DisplayName::decode(text);
}

fn ids(text: &str) {
    let mut headers = HeaderMap::new();
    for line in text.split('\n') {
        if let Ok(value) = HeaderValue::try_from(line) {
            headers.append("llamapool-id", value);
        }
    }
    if let Ok(ids) = read_ids(&headers) {
        let mut written = HeaderMap::new();
        write_ids(&mut written, &ids);

        assert_eq!(read_ids(&written).unwrap(), ids);
    }
}

fn paths(text: &str) {
    if let Some(parsed) = TunnelPath::parse(text) {
        assert!(text.contains(parsed.id()));
    }
}
