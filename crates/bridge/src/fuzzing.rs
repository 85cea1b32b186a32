//! The checks of the fuzz targets in `fuzz/`, which need the internals of this crate.
//!
//! Compiled with the feature `fuzzing` alone; not a part of the interface.

use bytes::Bytes;
use http::HeaderMap;
use llamapool_limits::MemoryAccount;
use tokio::io::AsyncWriteExt;
use tokio::runtime::{Builder, Runtime};

use crate::event_id::EventId;
use crate::line_reader::LineReader;
use crate::post::Post;
use crate::stderr;

pub use crate::multiplexer::fuzzing::shared_program;
pub use crate::stateless::fuzzing::tool_schema;

/// The bound of a program's line, in bytes: small, so that short inputs exceed it.
const MAX_LINE_BYTES: usize = 256;

/// Returns a runtime for one check.
pub(crate) fn runtime() -> Runtime {
    let mut builder = Builder::new_current_thread();
    let runtime = builder.enable_time().build();
    runtime.expect("a runtime")
}

/// Checks that a POST is messages on one line, or an error.
pub fn post(headers: &HeaderMap, body: &[u8]) {
    let Ok(post) = Post::parse(Bytes::copy_from_slice(body)) else {
        return;
    };

    assert!(!post.messages.is_empty());
    assert!(!post.text.contains(&b'\n') && !post.text.contains(&b'\r'));
    let _ = post.era(headers);
    for message in &post.messages {
        let _ = crate::stateless::fuzzing::check_headers(headers, message);
    }
}

/// Checks that an id of an event that can be parsed is written as the same event.
pub fn event_id(text: &str) {
    if let Ok(id) = text.parse::<EventId>() {
        assert_eq!(id.to_string().parse(), Ok(id));
    }
}

/// Checks that a program's lines do not depend on how its output is cut, that none is longer than
/// allowed, and that a log shows no control character of them.
pub fn lines(output: &[u8]) {
    runtime().block_on(async {
        let whole = read_lines(output, output.len().max(1)).await;

        for size in [1, 7] {
            assert_eq!(read_lines(output, size).await, whole, "in pieces of {size}");
        }
        for line in &whole {
            assert!(!line.contains(&b'\n'));
        }
    });

    let shown = stderr::without_controls(output);
    assert!(!shown.contains(char::is_control), "{shown:?}");
}

/// Reads lines up to the end or to one that is too long. A line may be as long as a whole read.
async fn read_lines(output: &[u8], size: usize) -> Vec<Bytes> {
    let (mut near, far) = tokio::io::duplex(size);
    let pieces: Vec<Vec<u8>> = output.chunks(size).map(<[u8]>::to_vec).collect();
    let writing = async move {
        for piece in pieces {
            if near.write_all(&piece).await.is_err() {
                break;
            }
        }
    };

    let reading = async {
        let mut reader = LineReader::new(far, MAX_LINE_BYTES, &MemoryAccount::default());
        let mut lines = Vec::new();
        while let Ok(Some(line)) = reader.next().await {
            if line.len() > MAX_LINE_BYTES {
                break;
            }
            lines.push(line);
        }
        drop(reader);
        lines
    };
    let ((), lines) = tokio::join!(writing, reading);
    lines
}
