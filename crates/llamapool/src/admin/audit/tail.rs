//! The newest lines, and those that are written from then on.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, BufReader, Seek, SeekFrom, Write};
use std::path::Path;
use std::thread;
use std::time::Duration;

use llamapool_identity::{AuditFile, LineReader, RawLine, audit_files};

use super::shown::shown;

/// The time between two looks for lines.
const LOOKS: Duration = Duration::from_millis(200);

/// How lines are printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// As they are in the file.
    Raw,
    /// For people.
    People,
}

/// Where the next line will be: the number of the first line of its file, and the bytes before it.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Place {
    first: u64,
    bytes: u64,
}

/// Returns the newest lines, and the place behind them.
pub(super) fn newest(folder: &Path, lines: usize, form: Form) -> io::Result<(String, Place)> {
    let mut place = Place::default();
    let mut texts: VecDeque<String> = VecDeque::new();
    for (age, file) in audit_files(folder)?.iter().rev().enumerate() {
        let mut own = VecDeque::new();
        let bytes = read(file, 0, |line| {
            own.push_back(printed(line, form));
            if own.len() > lines {
                own.pop_front();
            }
        })?;
        if age == 0 {
            place = Place {
                first: file.first,
                bytes,
            };
        }
        own.extend(texts);
        texts = own;
        if texts.len() >= lines {
            break;
        }
    }
    let surplus = texts.len().saturating_sub(lines);
    Ok((texts.into_iter().skip(surplus).collect(), place))
}

/// Prints what there is, and each line that is written. Returns when the reader has gone.
#[expect(
    clippy::disallowed_methods,
    reason = "a command serves nothing while it waits"
)]
pub(super) fn follow(folder: &Path, mut place: Place, form: Form, begin: &str) -> io::Result<()> {
    let mut out = io::stdout();
    let mut text = begin.to_owned();
    loop {
        let is_gone = out.write_all(text.as_bytes()).and_then(|()| out.flush());
        if is_gone.is_err() {
            return Ok(());
        }
        thread::sleep(LOOKS);
        text.clear();
        for file in audit_files(folder)? {
            if file.first < place.first {
                continue;
            }
            let from = if file.first == place.first {
                place.bytes
            } else {
                0
            };
            let bytes = read(&file, from, |line| text.push_str(&printed(line, form)))?;
            place = Place {
                first: file.first,
                bytes,
            };
        }
    }
}

fn printed(line: &[u8], form: Form) -> String {
    let text = match form {
        Form::Raw => String::from_utf8_lossy(line).into_owned(),
        Form::People => shown(line),
    };
    text + "\n"
}

/// Reads the whole lines of a file. Returns the bytes up to behind the last one.
fn read(file: &AuditFile, from: u64, mut each: impl FnMut(&[u8])) -> io::Result<u64> {
    let mut opened = match File::open(&file.path) {
        Ok(opened) => opened,
        // It was removed as too old.
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(from),
        Err(error) => return Err(error),
    };
    opened.seek(SeekFrom::Start(from))?;
    let mut lines = LineReader::new(BufReader::new(opened));
    let mut bytes = from;
    while let Some(line) = lines.next_line()? {
        match line {
            RawLine::Whole(line) => {
                each(line);
                bytes += line.len() as u64 + 1;
            }
            RawLine::Torn(_) => break,
            RawLine::TooLong => {
                // Where it ends is where the reader is; it is not shown.
                each(b"a line that is too long");
                return Ok(file.path.metadata()?.len());
            }
        }
    }
    Ok(bytes)
}
