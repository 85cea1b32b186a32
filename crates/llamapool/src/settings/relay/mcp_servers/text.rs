//! The text of a file of MCP servers, within a bound, whatever its path names.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use super::error::McpServersError;

/// The most bytes of a file that are read: a server has some hundreds.
pub(super) const MAX_FILE_BYTES: u64 = 1 << 20;

/// Reads a file, without the mark of its encoding at the beginning.
pub(super) fn read(path: &Path) -> Result<String, McpServersError> {
    let bytes = read_bytes(path)?;
    decode(bytes)
}

/// Reads a regular file of at most [`MAX_FILE_BYTES`]. Opening a pipe would wait for its writer, and
/// a device may have no end.
pub(super) fn read_bytes(path: &Path) -> Result<Vec<u8>, McpServersError> {
    let metadata = std::fs::metadata(path).map_err(McpServersError::Unreadable)?;
    if !metadata.is_file() {
        return Err(McpServersError::NoRegularFile);
    }

    let file = File::open(path).map_err(McpServersError::Unreadable)?;
    let mut bytes = Vec::new();
    file.take(MAX_FILE_BYTES + 1)
        .read_to_end(&mut bytes)
        .map_err(McpServersError::Unreadable)?;
    if bytes.len() as u64 > MAX_FILE_BYTES {
        return Err(McpServersError::TooLong);
    }
    Ok(bytes)
}

/// Returns bytes as text.
pub(super) fn decode(bytes: Vec<u8>) -> Result<String, McpServersError> {
    // A mark, or every other byte of the first ASCII characters is zero.
    let is_wide = bytes.starts_with(&[0xff, 0xfe])
        || bytes.starts_with(&[0xfe, 0xff])
        || bytes.iter().take(4).any(|byte| *byte == 0);
    if is_wide {
        return Err(McpServersError::WideCharacters);
    }

    let text = String::from_utf8(bytes).map_err(|_| McpServersError::NoUtf8)?;
    Ok(match text.strip_prefix('\u{feff}') {
        Some(text) => text.to_owned(),
        None => text,
    })
}
