//! Events from a relay: a line that can be parsed is the same event after being written and parsed
//! again, and never more than a line.

#![no_main]

use libfuzzer_sys::fuzz_target;
use llamapool_wire::Event;

fuzz_target!(|data: &[u8]| {
    let Ok(event) = Event::from_line(data) else {
        return;
    };

    let line = event.to_line();

    assert_eq!(line.trim_end().lines().count(), 1);
    assert_eq!(Event::from_line(line.trim_end().as_bytes()).unwrap(), event);
});
