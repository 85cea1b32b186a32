//! Files of an audit log: no content makes a verification or a tail fail, and a line that is written is read
//! as it was meant, whatever its texts are.

#![no_main]

use std::time::SystemTime;

use libfuzzer_sys::fuzz_target;
use llamapool_identity::{
    AddressForm, AuditEvent, AuditLine, ChainKey, ChainVerifier, EventKind, LineReader,
    MAX_LINE_BYTES, RawLine,
};
use llamapool_wire::Secret;

fuzz_target!(|data: &[u8]| {
    let key = ChainKey::new(&Secret::new("the key of the server"));
    let mut verifier = ChainVerifier::new(key.clone(), Vec::new());
    let mut lines = LineReader::new(data);
    while let Ok(Some(line)) = lines.next_line() {
        match line {
            RawLine::Whole(line) => drop(verifier.line(line)),
            RawLine::TooLong => drop(verifier.too_long()),
            RawLine::Torn(_) => {}
        }
    }
    verifier.finish();

    let text = String::from_utf8_lossy(data);
    let event = AuditEvent::new(EventKind::SignInFailed)
        .client(&text)
        .with("name", &*text);
    let line = event.to_line(1, SystemTime::UNIX_EPOCH, &key.start(), AddressForm::Cut);
    assert!(line.len() <= MAX_LINE_BYTES);
    assert!(line.iter().all(|byte| (b' '..=b'~').contains(byte)));
    let read = AuditLine::parse(&line).expect("a line that was written is read");
    let start: String = text.chars().take(200).collect();
    assert!(read.client.is_some_and(|client| client.starts_with(&start)));
    let mut verifier = ChainVerifier::new(key, Vec::new());
    verifier.line(&line).expect("it is the first one");
});
