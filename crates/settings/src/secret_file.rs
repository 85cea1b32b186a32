//! Values that are the content of a file, such as the secret that `WORKER_KEY_FILE` names: neither
//! the process list nor the environment shows them, and Docker, Kubernetes and systemd provide
//! secrets as files.

use std::fs::File;
use std::io::{self, Read};
use std::path::PathBuf;

use crate::error::{Location, SettingsError};
use crate::layer::SourceText;

/// The most that is read of a file, in bytes: far more than a secret has.
const MAX_BYTES: u64 = 64 * 1024;

/// Reads the value from the file with this path. `location` is that of the path.
///
/// One line end at the end of the file is not a part of the value: editors and `echo` write one.
pub(crate) fn read(location: Location, path: &str) -> Result<SourceText, SettingsError> {
    let file = PathBuf::from(path.trim());
    match content(&file) {
        Ok(text) => {
            let line = text.strip_suffix('\n').unwrap_or(&text);
            let line = line.strip_suffix('\r').unwrap_or(line);
            Ok(SourceText {
                text: line.to_owned(),
                is_hidden: false,
                location: Location::File {
                    file,
                    named_by: Box::new(location),
                },
            })
        }
        Err(error) => Err(SettingsError::UnreadableValue {
            location,
            file,
            error,
        }),
    }
}

fn content(file: &PathBuf) -> io::Result<String> {
    let mut text = String::new();
    let read = File::open(file)?
        .take(MAX_BYTES + 1)
        .read_to_string(&mut text)?;

    if read as u64 > MAX_BYTES {
        let message = format!("it has more than {MAX_BYTES} bytes, expected a value alone");
        return Err(io::Error::new(io::ErrorKind::InvalidData, message));
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_text(content: &[u8]) -> Result<String, SettingsError> {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), content).unwrap();

        let location = Location::Variable("KEY_FILE".into());
        read(location, file.path().to_str().unwrap()).map(|source| source.text)
    }

    #[test]
    fn one_line_end_is_dropped_and_nothing_else() {
        for (content, text) in [
            (&b"open sesame\n"[..], "open sesame"),
            (b"open sesame\r\n", "open sesame"),
            (b"open sesame", "open sesame"),
            (b" open \n\n", " open \n"),
            (b"", ""),
        ] {
            assert_eq!(read_text(content).unwrap(), text);
        }
    }

    #[test]
    fn a_file_that_cannot_be_a_secret_is_refused_by_name() {
        let missing = read(Location::Variable("KEY_FILE".into()), "/no/such/file");
        let large = read_text(&[b'x'; MAX_BYTES as usize + 1]);
        let binary = read_text(&[0xff, 0xfe]);

        let text = missing.map(|_| ()).unwrap_err().to_string();
        let start = "environment variable KEY_FILE names the file \"/no/such/file\", which cannot";
        assert!(text.starts_with(start), "{text}");
        assert!(large.unwrap_err().to_string().contains("65536 bytes"));
        assert!(binary.unwrap_err().to_string().contains("UTF-8"));
    }
}
