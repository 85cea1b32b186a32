//! An MCP server on standard input and output that answers every request at once: `initialize` with what a client wants to
//! hear, `server/discover` with a revision, anything else with an empty result.
//!
//! The one rule: it takes the id of a request from its text, as it stands, and reads nothing else of it.

use std::io::{self, BufWriter, Read, Write};

use memchr::memmem;

fn main() -> io::Result<()> {
    let (mut input, mut output) = (io::stdin().lock(), BufWriter::new(io::stdout().lock()));
    let (mut held, mut chunk) = (Vec::new(), vec![0; 64 * 1024]);
    loop {
        let read = input.read(&mut chunk)?;
        if read == 0 {
            return Ok(());
        }
        held.extend_from_slice(&chunk[..read]);
        let mut from = 0;
        while let Some(end) = memchr::memchr(b'\n', &held[from..]) {
            answer(&held[from..from + end], &mut output)?;
            from += end + 1;
        }
        held.drain(..from);
        output.flush()?;
    }
}

fn answer(line: &[u8], output: &mut impl Write) -> io::Result<()> {
    let Some(id) = id(line) else { return Ok(()) };
    let result: &[u8] = if memmem::find(line, b"\"initialize\"").is_some() {
        br#"{"protocolVersion":"2025-06-18","capabilities":{"tools":{}},"serverInfo":{"name":"echo","version":"0"}}"#
    } else if memmem::find(line, b"\"server/discover\"").is_some() {
        br#"{"supportedVersions":["2026-07-28"],"capabilities":{"tools":{}},"resultType":"complete"}"#
    } else if memmem::find(line, b"\"tools/list\"").is_some() {
        br#"{"tools":[{"name":"echo","inputSchema":{"type":"object"}}],"resultType":"complete"}"#
    } else {
        br#"{"content":[{"type":"text","text":"ok"}],"resultType":"complete"}"#
    };
    for part in [br#"{"jsonrpc":"2.0","id":"#, id, br#","result":"#, result, b"}\n"] {
        output.write_all(part)?;
    }
    Ok(())
}

/// The text of the id: clients write it before everything that could contain the same key.
fn id(line: &[u8]) -> Option<&[u8]> {
    let start = memmem::find(line, b"\"id\":")? + 5;
    let end = memchr::memchr2(b',', b'}', &line[start..])?;
    Some(line[start..start + end].trim_ascii())
}
