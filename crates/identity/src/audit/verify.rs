//! The verification of a chain, over all its files.

use std::fs::File;
use std::io::{self, BufReader};
use std::path::{Path, PathBuf};

use super::chain::{ChainKey, Checkpoint, Link};
use super::line::{AuditLine, MAX_LINE_BYTES};
use super::read::{LineReader, RawLine};
use super::{EventKind, audit_files};

/// The most findings that are listed one by one.
const MAX_FINDINGS: usize = 100;

/// What is wrong where a line is.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LineError {
    /// It is no line of an audit log.
    #[error("this is no line of an audit log: {0}")]
    Unreadable(String),
    /// It has the hash of another line than the one before it.
    #[error("the line before, number {0}, was changed, or the `prev` of this one")]
    Changed(u64),
    /// It is the first one, and has the hash of another beginning.
    #[error("this first line was changed, or another key wrote it")]
    Start,
    /// Lines are missing before it.
    #[error("the lines with the numbers {from} to {to} are missing before this one")]
    Missing {
        /// The number of the first one.
        from: u64,
        /// The number of the last one.
        to: u64,
    },
    /// It is in another place than its number.
    #[error(
        "this line has the number {found}, expected {expected}: it was inserted, or lines were swapped"
    )]
    OutOfPlace {
        /// Its number.
        found: u64,
        /// That of its place.
        expected: u64,
    },
}

/// What is wrong with a log as a whole.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LogError {
    /// The oldest lines are missing, and no line says that they were too old.
    #[error("the lines with the numbers {from} to {to} are missing, and no line says why")]
    Beginning {
        /// The number of the first one.
        from: u64,
        /// The number of the last one.
        to: u64,
    },
    /// A line that was noted elsewhere is missing.
    #[error(
        "the line of the checkpoint {sequence} is missing: the last one is {last}, so the end was cut off"
    )]
    CutOff {
        /// The number of the checkpoint.
        sequence: u64,
        /// The number of the last line.
        last: u64,
    },
    /// A line is another one than was noted elsewhere.
    #[error("the line of the checkpoint {0} is another one than it was")]
    Other(u64),
    /// The line of a checkpoint is older than what is kept.
    #[error("the line of the checkpoint {0} is no longer there")]
    Gone(u64),
}

/// A line that was read last.
#[derive(Debug, Clone, Copy)]
struct Last {
    sequence: u64,
    /// Its hash; `None` if it was too long to be read.
    link: Option<Link>,
}

/// The verifier of a chain: takes its lines one after the other.
pub struct ChainVerifier {
    key: ChainKey,
    last: Option<Last>,
    first: Option<u64>,
    /// The greatest number of the lines that were removed because they were too old.
    removed: u64,
    checkpoints: Vec<Checkpoint>,
    /// The numbers of the checkpoints whose lines were found, and whether they are the same.
    met: Vec<(u64, bool)>,
}

impl ChainVerifier {
    /// Returns a verifier that has seen no line.
    pub fn new(key: ChainKey, checkpoints: Vec<Checkpoint>) -> Self {
        Self {
            key,
            last: None,
            first: None,
            removed: 0,
            checkpoints,
            met: Vec::new(),
        }
    }

    /// Takes the next line, without its newline. After a fault it goes on from this line.
    ///
    /// # Errors
    ///
    /// If something is wrong with it or before it.
    pub fn line(&mut self, line: &[u8]) -> Result<AuditLine, LineError> {
        let read = match AuditLine::parse(line) {
            Ok(read) => read,
            Err(reason) => {
                let link = self.key.link(line);
                return Err(self.unreadable(reason, Some(link)));
            }
        };
        let fault = self.fault_of(&read);
        self.note(&read, self.key.link(line));
        match fault {
            None => Ok(read),
            Some(fault) => Err(fault),
        }
    }

    /// Takes a line that is too long to be read.
    pub fn too_long(&mut self) -> LineError {
        let reason = format!("it has more than {MAX_LINE_BYTES} bytes");
        self.unreadable(reason, None)
    }

    /// Returns the number and the hash of the last line; `None` if there is none that can be read.
    pub fn head(&self) -> Option<Checkpoint> {
        let Last { sequence, link } = self.last?;
        Some(Checkpoint {
            sequence,
            link: link?,
        })
    }

    /// Returns what is wrong with the log as a whole.
    pub fn finish(&self) -> Vec<LogError> {
        let mut faults = Vec::new();
        let last = self.last.map_or(0, |last| last.sequence);
        let first = self.first.unwrap_or(1);
        if first > self.removed.saturating_add(1) {
            faults.push(LogError::Beginning {
                from: self.removed + 1,
                to: first - 1,
            });
        }
        for Checkpoint { sequence, .. } in &self.checkpoints {
            let met = self.met.iter().find(|(met, _)| met == sequence);
            faults.extend(match met {
                Some((_, true)) => None,
                Some((_, false)) => Some(LogError::Other(*sequence)),
                None if *sequence > last => Some(LogError::CutOff {
                    sequence: *sequence,
                    last,
                }),
                None => Some(LogError::Gone(*sequence)),
            });
        }
        faults
    }

    /// Returns the number that the next line is to have.
    fn expected(&self) -> u64 {
        self.last.map_or(1, |last| last.sequence.saturating_add(1))
    }

    fn fault_of(&self, line: &AuditLine) -> Option<LineError> {
        let found = line.seq;
        let Some(last) = self.last else {
            // What was before the first line that is kept can only be told by a later one.
            let is_start = line.prev == self.key.start().to_string();
            return (found <= 1 && !is_start).then_some(LineError::Start);
        };
        let expected = self.expected();
        if found > expected {
            return Some(LineError::Missing {
                from: expected,
                to: found - 1,
            });
        }
        if found < expected {
            return Some(LineError::OutOfPlace { found, expected });
        }
        let link = last.link?;
        (line.prev != link.to_string()).then_some(LineError::Changed(last.sequence))
    }

    fn note(&mut self, line: &AuditLine, link: Link) {
        self.first.get_or_insert(line.seq);
        self.last = Some(Last {
            sequence: line.seq,
            link: Some(link),
        });
        if line.event == EventKind::AuditRemoved.word() {
            let through = line.number("through").unwrap_or_default();
            self.removed = self.removed.max(through);
        }
        let noted = self.checkpoints.iter().find(|it| it.sequence == line.seq);
        let noted = noted.map(|checkpoint| (line.seq, checkpoint.link == link));
        self.met.extend(noted);
    }

    fn unreadable(&mut self, reason: String, link: Option<Link>) -> LineError {
        let sequence = self.expected();
        self.first.get_or_insert(sequence);
        self.last = Some(Last { sequence, link });
        LineError::Unreadable(reason)
    }
}

/// What is wrong, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// The file; `None`: the log as a whole.
    pub path: Option<PathBuf>,
    /// The line of the file, from 1.
    pub line: u64,
    /// What is wrong.
    pub text: String,
}

/// What a verification found.
#[derive(Debug, Clone, Default)]
pub struct Verified {
    /// The files that were read.
    pub files: usize,
    /// Their lines.
    pub lines: u64,
    /// The last line; `None` without any.
    pub head: Option<Checkpoint>,
    /// The bytes of a last line without its end: it is being written, or the server was killed.
    pub torn_bytes: usize,
    /// What is wrong: the first `MAX_FINDINGS`.
    pub findings: Vec<Finding>,
    /// How many findings there are in all.
    pub total: usize,
}

impl Verified {
    fn add(&mut self, path: Option<&Path>, line: u64, text: impl ToString) {
        self.total += 1;
        if self.findings.len() < MAX_FINDINGS {
            self.findings.push(Finding {
                path: path.map(Path::to_owned),
                line,
                text: text.to_string(),
            });
        }
    }
}

/// Verifies all files of a folder.
///
/// # Errors
///
/// If one cannot be read.
pub fn verify_folder(
    folder: &Path,
    key: ChainKey,
    checkpoints: Vec<Checkpoint>,
) -> io::Result<Verified> {
    let files = audit_files(folder)?;
    let mut verifier = ChainVerifier::new(key, checkpoints);
    let mut verified = Verified {
        files: files.len(),
        ..Verified::default()
    };
    for (place, file) in files.iter().enumerate() {
        let path = Some(file.path.as_path());
        let is_newest = place + 1 == files.len();
        let mut reader = LineReader::new(BufReader::new(File::open(&file.path)?));
        let mut number = 0;
        while let Some(line) = reader.next_line()? {
            number += 1;
            match line {
                RawLine::Whole(line) => match verifier.line(line) {
                    Ok(read) if number == 1 && read.seq != file.first => {
                        let text = "the name of the file has another number than its first line";
                        verified.add(path, number, text);
                    }
                    Ok(_) => {}
                    Err(fault) => verified.add(path, number, fault),
                },
                RawLine::TooLong => verified.add(path, number, verifier.too_long()),
                RawLine::Torn(line) if is_newest => verified.torn_bytes = line.len(),
                RawLine::Torn(_) => verified.add(path, number, "the line has no end"),
            }
        }
        verified.lines += number;
    }
    verified.head = verifier.head();
    for fault in verifier.finish() {
        verified.add(None, 0, fault);
    }
    Ok(verified)
}

#[cfg(test)]
mod tests;
