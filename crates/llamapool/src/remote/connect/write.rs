//! The edit of a file of a person: shown, allowed, and made in one step, with the file of before beside it.

use std::fs::{self, File, OpenOptions};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};

use super::super::prompt::{Consent, ask};
use super::super::text::lines;
use crate::clients::files::EditError;

/// The largest file that is edited, in bytes. Those of clients have some thousands.
const MAX_FILE_BYTES: u64 = 4 << 20;
/// The lines around a difference that are shown.
const CONTEXT_LINES: usize = 2;

/// What became of an edit.
pub(super) struct Edited {
    pub(super) is_written: bool,
    pub(super) note: String,
}

/// Edits a file, or makes it, if that is allowed.
pub(super) fn edit(
    path: &Path,
    yes: bool,
    edited: impl FnOnce(&str) -> Result<String, EditError>,
) -> anyhow::Result<Edited> {
    // A link stays one: what it leads to is edited.
    let real = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let before = read(&real)?;
    let text = before.as_deref().unwrap_or_default();
    let after = edited(text).with_context(|| format!("{} was not changed", path.display()))?;
    if after == text {
        return Ok(Edited {
            is_written: true,
            note: format!("{} has the entry already.\n", path.display()),
        });
    }

    let difference = format!("{}\n{}", path.display(), difference(text, &after));
    if !yes {
        eprint_all(&lines(&difference));
        match ask("Write it?") {
            Consent::Given => {}
            Consent::Refused => {
                let note = "Nothing was written.\n".to_owned();
                return Ok(Edited {
                    is_written: false,
                    note,
                });
            }
            Consent::NotAsked => {
                let note =
                    "Nothing was written, as there is no terminal to ask on: --yes writes it.\n";
                return Ok(Edited {
                    is_written: false,
                    note: note.to_owned(),
                });
            }
        }
    }
    let backup = write(&real, before.is_some(), &after)?;
    let mut note = if yes {
        lines(&difference)
    } else {
        String::new()
    };
    note.push_str(&format!("{} is written.", path.display()));
    if let Some(backup) = backup {
        note.push_str(&format!(" The file of before is {}.", backup.display()));
    }
    note.push('\n');
    Ok(Edited {
        is_written: true,
        note,
    })
}

/// Reads a file. `None` if there is none.
fn read(path: &Path) -> anyhow::Result<Option<String>> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error).with_context(|| format!("cannot read {}", path.display())),
    };
    let mut text = String::new();
    let read = file.take(MAX_FILE_BYTES + 1).read_to_string(&mut text);
    read.with_context(|| format!("cannot read {} as UTF-8", path.display()))?;
    if text.len() as u64 > MAX_FILE_BYTES {
        bail!(
            "{} has more than {MAX_FILE_BYTES} bytes, and is left alone",
            path.display()
        );
    }
    Ok(Some(text))
}

/// Writes a file in one step. Returns the copy of the file of before.
fn write(path: &Path, exists: bool, text: &str) -> anyhow::Result<Option<PathBuf>> {
    let cannot = || format!("cannot write {}", path.display());
    if let Some(folder) = path
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty())
    {
        fs::create_dir_all(folder).with_context(cannot)?;
    }
    let backup = exists.then(|| beside(path, "before-llamapool"));
    if let Some(backup) = &backup {
        // With its mode.
        fs::copy(path, backup).with_context(|| format!("cannot write {}", backup.display()))?;
    }

    let new = beside(path, &format!("llamapool-{}", std::process::id()));
    let written = write_new(&new, text, exists.then_some(path));
    let renamed = written.and_then(|()| fs::rename(&new, path));
    if renamed.is_err() {
        // What is left of it is of no use.
        let _ = fs::remove_file(&new);
    }
    renamed.with_context(cannot)?;
    Ok(backup)
}

fn write_new(path: &Path, text: &str, like: Option<&Path>) -> std::io::Result<()> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt;
        // A URL can be the only protection of an id.
        options.mode(0o600);
    }
    let mut file = options.open(path)?;
    file.write_all(text.as_bytes())?;
    if let Some(like) = like {
        file.set_permissions(fs::metadata(like)?.permissions())?;
    }
    file.sync_all()
}

fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".");
    name.push(suffix);
    path.with_file_name(name)
}

/// Returns what differs, as lines with `-` and `+`, between what is equal before and behind it.
fn difference(before: &str, after: &str) -> String {
    let old: Vec<&str> = before.lines().collect();
    let new: Vec<&str> = after.lines().collect();
    let same = |pairs: &mut dyn Iterator<Item = (&&str, &&str)>| {
        pairs.take_while(|(one, other)| one == other).count()
    };
    let head = same(&mut old.iter().zip(&new));
    let most = old.len().min(new.len()) - head;
    let tail = same(&mut old.iter().rev().zip(new.iter().rev())).min(most);

    let mut text = format!("@@ line {} @@\n", head + 1);
    let mut add = |mark: &str, lines: &[&str]| {
        for line in lines {
            text.push_str(&format!("{mark}{line}\n"));
        }
    };
    add(" ", &old[head.saturating_sub(CONTEXT_LINES)..head]);
    add("-", &old[head..old.len() - tail]);
    add("+", &new[head..new.len() - tail]);
    let end = (old.len() - tail + CONTEXT_LINES).min(old.len());
    add(" ", &old[old.len() - tail..end]);
    text
}

/// Writes to standard error. One that is closed shows nothing, and the question then has no answer.
fn eprint_all(text: &str) {
    let _ = std::io::stderr().write_all(text.as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    fn add_line(text: &str) -> Result<String, EditError> {
        Ok(format!("{text}b\n"))
    }

    #[test]
    fn a_difference_is_what_changes_with_a_little_around_it() {
        let shown = difference("1\n2\n3\n4\n5\n6\n", "1\n2\n3\nx\n5\n6\n");
        assert_eq!(shown, "@@ line 4 @@\n 2\n 3\n-4\n+x\n 5\n 6\n");
        assert_eq!(difference("", "a\n"), "@@ line 1 @@\n+a\n");
        assert_eq!(difference("a\n", "a\na\n"), "@@ line 2 @@\n a\n+a\n");
    }

    #[cfg(unix)]
    #[test]
    fn a_written_file_keeps_its_mode_its_link_and_its_past() {
        use std::os::unix::fs::{PermissionsExt, symlink};

        let folder = tempfile::tempdir().unwrap();
        let real = folder.path().join("real.json");
        let link = folder.path().join("mcp.json");
        fs::write(&real, "a\n").unwrap();
        fs::set_permissions(&real, fs::Permissions::from_mode(0o640)).unwrap();
        symlink(&real, &link).unwrap();

        let done = edit(&link, true, add_line).unwrap();

        assert!(done.is_written, "{}", done.note);
        assert_eq!(fs::read_to_string(&real).unwrap(), "a\nb\n");
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
        let mode = fs::metadata(&real).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o640);
        let backup = folder.path().join("real.json.before-llamapool");
        assert_eq!(fs::read_to_string(backup).unwrap(), "a\n");
        assert_eq!(
            fs::read_dir(folder.path()).unwrap().count(),
            3,
            "nothing is left over"
        );
    }

    #[cfg(unix)]
    #[test]
    fn a_new_file_is_for_its_owner_alone() {
        use std::os::unix::fs::PermissionsExt;

        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("deep/below/mcp.json");

        edit(&path, true, add_line).unwrap();

        let mode = fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert_eq!(fs::read_to_string(&path).unwrap(), "b\n");
    }

    #[test]
    fn without_a_terminal_and_without_yes_nothing_is_written() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("mcp.json");

        // The standard input of a test is no terminal, or nobody types into it.
        if !std::io::IsTerminal::is_terminal(&std::io::stdin()) {
            let done = edit(&path, false, add_line).unwrap();
            assert!(!done.is_written && !path.exists(), "{}", done.note);
        }
    }

    #[test]
    fn a_file_that_cannot_be_edited_is_left_as_it_is() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("mcp.json");
        fs::write(&path, "x").unwrap();

        let refused = edit(&path, true, |_| Err(EditError::Shape("no".to_owned())));

        assert!(refused.is_err());
        assert_eq!(fs::read_to_string(&path).unwrap(), "x");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }
}
