//! The files of the log: one line after the other at the end of the newest, and the next file when it
//! is large or the day is over.
//!
//! Nothing is half written for long: what a failed write has left is cut off, and so is what a killed
//! process has left, when the log is opened again.

use std::collections::VecDeque;
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufReader, Write};
use std::path::Path;
use std::time::SystemTime;

use llamapool_identity::{
    AuditEvent, AuditFile, AuditLine, ChainKey, ChainVerifier, Checkpoint, EventKind, LineReader,
    RawLine, audit_files,
};

use super::FileSettings;
use super::log::Resumed;

/// The writer of the files.
pub(super) struct AuditFiles {
    settings: FileSettings,
    key: ChainKey,
    /// The last line; its number is 0 before the first.
    head: Checkpoint,
    /// The file that is written; `None`: the next line begins one.
    current: Option<Current>,
    /// The number of the last event of the store that is in the log.
    change: i64,
    /// Whether something is written that may not be on the disk.
    is_dirty: bool,
}

/// The newest file.
struct Current {
    name: AuditFile,
    file: File,
    /// The bytes of its whole lines.
    bytes: u64,
    /// Whether a failed write has left something behind them.
    is_torn: bool,
}

/// What was found in the files when they were opened.
struct Found {
    head: Checkpoint,
    resumed: Resumed,
    current: Option<Current>,
    /// The bytes of a line without its end, which are cut off.
    torn_bytes: u64,
    /// What is wrong with the newest file, which may have been changed meanwhile.
    faults: u64,
}

impl AuditFiles {
    /// Opens the files of a folder, and writes that it did.
    ///
    /// # Errors
    ///
    /// If they cannot be read or written.
    pub(super) fn open(
        settings: FileSettings,
        key: ChainKey,
        now: SystemTime,
    ) -> io::Result<(Self, Resumed)> {
        let folder = settings.folder.clone();
        create_private_folder(&folder).map_err(|error| of(&folder, &error))?;
        let found = Found::read(&folder, &key)?;
        if found.faults > 0 {
            tracing::error!(
                faults = found.faults,
                folder = %folder.display(),
                "the audit log is not as it was written; `llamapool audit verify` says what is wrong"
            );
        }
        let mut files = Self {
            settings,
            key,
            head: found.head,
            current: found.current,
            change: found.resumed.change,
            is_dirty: false,
        };
        let mut opened = AuditEvent::new(EventKind::AuditOpened).of_change(files.change);
        if found.torn_bytes > 0 {
            opened = opened.with("torn_bytes", found.torn_bytes);
        }
        if found.faults > 0 {
            opened = opened.with("faults", found.faults);
        }
        let is_new = files.current.is_none() || files.is_due(now, 0);
        if is_new {
            files.begin(now, &opened)?;
        } else {
            files.write_lines(now, &[opened])?;
        }
        files.sync()?;
        files.remove_old(now)?;
        Ok((files, found.resumed))
    }

    /// Returns the last line.
    pub(super) fn head(&self) -> Checkpoint {
        self.head
    }

    /// Returns whether something must be brought to the disk.
    pub(super) fn is_dirty(&self) -> bool {
        self.is_dirty || self.current.is_none()
    }

    /// Writes events, and takes them from the queue as far as they are written. Returns whether the
    /// log went on in another file.
    ///
    /// # Errors
    ///
    /// If the files cannot be written. The lines before are as they were.
    pub(super) fn append(
        &mut self,
        now: SystemTime,
        events: &mut VecDeque<AuditEvent>,
    ) -> io::Result<bool> {
        let mut has_rotated = false;
        if self.current.is_none() {
            let opened = AuditEvent::new(EventKind::AuditOpened).of_change(self.change);
            self.begin(now, &opened.with("reason", "the file before was lost"))?;
        }
        while let Some(first) = events.front() {
            let (line, _) = self.line(self.head, now, first);
            if self.is_due(now, line.len() as u64) {
                self.sync()?;
                let rotated = AuditEvent::new(EventKind::AuditRotated).of_change(self.change);
                self.begin(now, &rotated)?;
                self.remove_old(now)?;
                has_rotated = true;
            }
            let written = self.write_lines(now, events.make_contiguous())?;
            events.drain(..written);
        }
        Ok(has_rotated)
    }

    /// Brings what is written to the disk, and looks whether the file is still in its place.
    ///
    /// # Errors
    ///
    /// If that fails, or somebody has removed the file.
    pub(super) fn sync(&mut self) -> io::Result<()> {
        let Some(current) = &self.current else {
            return Ok(());
        };
        let path = current.name.path.clone();
        let synced = current.file.sync_data();
        if synced.is_ok() && current.is_in_place() {
            self.is_dirty = false;
            return Ok(());
        }
        // What of it is on the disk is uncertain. The next line begins another file.
        self.current = None;
        self.is_dirty = false;
        match synced {
            Err(error) => Err(of(&path, &error)),
            Ok(()) => Err(of(&path, &"somebody has removed or replaced the file")),
        }
    }

    /// Returns whether a line of some bytes belongs into the next file.
    fn is_due(&self, now: SystemTime, bytes: u64) -> bool {
        self.current.as_ref().is_some_and(|current| {
            // A clock that is set back begins no file.
            let is_over = AuditFile::day_of(now) > current.name.day;
            let is_full = current.bytes + bytes + 1 > self.settings.file_bytes;
            current.bytes > 0 && (is_over || is_full)
        })
    }

    /// Begins a file with a line.
    fn begin(&mut self, now: SystemTime, first: &AuditEvent) -> io::Result<()> {
        let first_line = self.head.sequence.saturating_add(1);
        let name = AuditFile::new(&self.settings.folder, first_line, now);
        let file = create_private(&name.path).map_err(|error| of(&name.path, &error))?;
        let bytes = file.metadata().map_err(|error| of(&name.path, &error))?;
        if bytes.len() > 0 {
            return Err(of(&name.path, &"another process writes the audit log"));
        }
        let before = self.current.replace(Current {
            name,
            file,
            bytes: 0,
            is_torn: false,
        });
        match self.write_lines(now, std::slice::from_ref(first)) {
            Ok(_) => sync_folder(&self.settings.folder),
            Err(error) => {
                // The empty file is taken again with the next try.
                self.current = before;
                Err(error)
            }
        }
    }

    /// Writes as many events as fit into the file, at least one. Returns their number.
    fn write_lines(&mut self, now: SystemTime, events: &[AuditEvent]) -> io::Result<usize> {
        let Some(bytes_before) = self.current.as_ref().map(|current| current.bytes) else {
            return Ok(0);
        };
        let mut text = Vec::new();
        let mut head = self.head;
        let mut change = self.change;
        let mut taken = 0;
        for event in events {
            let (line, next) = self.line(head, now, event);
            let bytes = bytes_before + (text.len() + line.len() + 1) as u64;
            if taken > 0 && bytes > self.settings.file_bytes {
                break;
            }
            text.extend_from_slice(&line);
            text.push(b'\n');
            head = next;
            change = change.max(event.change().unwrap_or_default());
            taken += 1;
        }

        if let Some(current) = &mut self.current {
            let written = current.write(&text);
            written.map_err(|error| of(&current.name.path, &error))?;
        }
        self.head = head;
        self.change = change;
        self.is_dirty = true;
        Ok(taken)
    }

    /// Returns the line of an event after another line, and the place of its own.
    fn line(&self, head: Checkpoint, now: SystemTime, event: &AuditEvent) -> (Vec<u8>, Checkpoint) {
        let sequence = head.sequence.saturating_add(1);
        let line = event.to_line(sequence, now, &head.link, self.settings.form);
        let link = self.key.link(&line);
        (line, Checkpoint { sequence, link })
    }

    /// Removes the files that are too old or too many, after a line that says so.
    fn remove_old(&mut self, now: SystemTime) -> io::Result<()> {
        let files = audit_files(&self.settings.folder)?;
        let oldest = now.checked_sub(self.settings.keep).map(AuditFile::day_of);
        let oldest = oldest.unwrap_or_default();
        let sizes: Vec<u64> = files
            .iter()
            .map(|file| fs::metadata(&file.path).map_or(0, |metadata| metadata.len()))
            .collect();
        let mut total: u64 = sizes.iter().sum();
        let mut gone = 0;
        // The last line of a file is as old as the file after it.
        for (size, next) in sizes.iter().zip(files.iter().skip(1)) {
            if next.day >= oldest && total <= self.settings.max_bytes {
                break;
            }
            total -= size;
            gone += 1;
        }
        let Some(next) = files.get(gone).filter(|_| gone > 0) else {
            return Ok(());
        };

        let removed = AuditEvent::new(EventKind::AuditRemoved)
            .with("through", next.first.saturating_sub(1))
            .with("files", gone);
        self.write_lines(now, &[removed])?;
        self.sync()?;
        for file in &files[..gone] {
            if let Err(error) = fs::remove_file(&file.path) {
                let path = file.path.display();
                tracing::warn!(%path, %error, "an old file of the audit log cannot be removed");
            }
        }
        Ok(())
    }
}

impl Current {
    /// Writes whole lines, or leaves the file as it was.
    fn write(&mut self, text: &[u8]) -> io::Result<()> {
        if self.is_torn {
            self.file.set_len(self.bytes)?;
        }
        self.is_torn = true;
        let written = self.file.write_all(text);
        match written {
            Ok(()) => self.bytes += text.len() as u64,
            // Needs no room on the disk.
            Err(_) => self.file.set_len(self.bytes)?,
        }
        self.is_torn = false;
        written
    }

    /// Returns whether the path of the file still leads to it.
    fn is_in_place(&self) -> bool {
        #[cfg(unix)]
        {
            use std::os::unix::fs::MetadataExt;

            let found = fs::metadata(&self.name.path);
            let own = self.file.metadata();
            matches!((found, own), (Ok(found), Ok(own))
                if found.ino() == own.ino() && found.dev() == own.dev())
        }
        #[cfg(not(unix))]
        {
            self.name.path.exists()
        }
    }
}

impl Found {
    /// Reads the newest file that has a line.
    fn read(folder: &Path, key: &ChainKey) -> io::Result<Self> {
        let mut found = Self {
            head: Checkpoint {
                sequence: 0,
                link: key.start(),
            },
            resumed: Resumed {
                change: 0,
                at: None,
            },
            current: None,
            torn_bytes: 0,
            faults: 0,
        };
        let files = audit_files(folder)?;
        for (place, name) in files.iter().enumerate().rev() {
            let is_newest = place + 1 == files.len();
            let whole_bytes = found.read_file(&name.path, key)?;
            if is_newest {
                found.current = Some(open_current(name.clone(), whole_bytes)?);
            }
            if found.head.sequence > 0 {
                break;
            }
        }
        // An empty file is what a try has left that failed on a full disk.
        let next = found.head.sequence.saturating_add(1);
        let goes_on = |current: &Current| current.bytes > 0 || current.name.first == next;
        found.current = found.current.filter(goes_on);
        Ok(found)
    }

    /// Reads a file. Returns the bytes of its whole lines.
    fn read_file(&mut self, path: &Path, key: &ChainKey) -> io::Result<u64> {
        let file = File::open(path).map_err(|error| of(path, &error))?;
        let mut verifier = ChainVerifier::new(key.clone(), Vec::new());
        let mut lines = LineReader::new(BufReader::new(file));
        let mut torn_bytes = 0;
        while let Some(line) = lines.next_line().map_err(|error| of(path, &error))? {
            match line {
                RawLine::Whole(line) => match verifier.line(line) {
                    Ok(line) => self.note(&line),
                    Err(_) => self.faults += 1,
                },
                RawLine::TooLong => {
                    verifier.too_long();
                    self.faults += 1;
                }
                RawLine::Torn(line) => torn_bytes = line.len() as u64,
            }
        }
        if let Some(head) = verifier.head() {
            self.head = head;
        }
        self.torn_bytes += torn_bytes;
        let length = fs::metadata(path).map_err(|error| of(path, &error))?.len();
        Ok(length.saturating_sub(torn_bytes))
    }

    fn note(&mut self, line: &AuditLine) {
        let change = line.change.unwrap_or_default();
        self.resumed.change = self.resumed.change.max(change);
        self.resumed.at = humantime::parse_rfc3339(&line.at).ok().or(self.resumed.at);
    }
}

/// Opens a file to write on behind its whole lines.
fn open_current(name: AuditFile, whole_bytes: u64) -> io::Result<Current> {
    let open = || {
        let file = OpenOptions::new().append(true).open(&name.path)?;
        file.set_len(whole_bytes)?;
        Ok(file)
    };
    let file = open().map_err(|error: io::Error| of(&name.path, &error))?;
    Ok(Current {
        name,
        file,
        bytes: whole_bytes,
        is_torn: false,
    })
}

fn create_private_folder(path: &Path) -> io::Result<()> {
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(path)
}

fn create_private(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.create(true).append(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)
}

/// Makes the name of a new file durable.
fn sync_folder(path: &Path) -> io::Result<()> {
    #[cfg(unix)]
    {
        let synced = File::open(path).and_then(|folder| folder.sync_all());
        synced.map_err(|error| of(path, &error))
    }
    #[cfg(not(unix))]
    {
        let _ = path;
        Ok(())
    }
}

/// Returns the error of a path.
fn of(path: &Path, error: &dyn std::fmt::Display) -> io::Error {
    io::Error::other(format!("{}: {error}", path.display()))
}

#[cfg(test)]
mod tests;
