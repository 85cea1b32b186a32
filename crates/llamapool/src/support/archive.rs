//! The archive: a few small files, compressed.

use std::io;
use std::time::{SystemTime, UNIX_EPOCH};

use flate2::Compression;
use flate2::write::GzEncoder;
use tar::{Builder, Header};

/// The folder that the files are in when the archive is unpacked.
const FOLDER: &str = "llamapool-support";

/// Returns an archive of these files, by their names.
///
/// # Errors
///
/// If a name is too long for the format.
pub(super) fn made_of(files: &[(&'static str, String)]) -> io::Result<Vec<u8>> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    let now = now.map_or(0, |now| now.as_secs());
    let mut builder = Builder::new(GzEncoder::new(Vec::new(), Compression::default()));
    for (name, content) in files {
        let mut header = Header::new_gnu();
        header.set_mode(0o600);
        header.set_mtime(now);
        header.set_size(content.len() as u64);
        builder.append_data(&mut header, format!("{FOLDER}/{name}"), content.as_bytes())?;
    }
    builder.into_inner()?.finish()
}
