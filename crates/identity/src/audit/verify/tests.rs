//! What a verification finds, and where.

use std::fs;
use std::time::{Duration, SystemTime};

use llamapool_wire::Secret;

use super::*;
use crate::audit::{AddressForm, AuditEvent, AuditFile};

fn key() -> ChainKey {
    ChainKey::new(&Secret::new("the key of the server"))
}

fn at(seconds: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
}

/// Returns a chain of lines, and the hash of the last one.
fn chain(count: u64) -> (Vec<Vec<u8>>, Checkpoint) {
    let key = key();
    let mut link = key.start();
    let lines = (1..=count).map(|sequence| {
        let event = AuditEvent::new(EventKind::KeyCreated).key(sequence);
        let line = event.to_line(sequence, at(sequence), &link, AddressForm::Cut);
        link = key.link(&line);
        line
    });
    let lines = lines.collect();
    let head = Checkpoint {
        sequence: count,
        link,
    };
    (lines, head)
}

/// Returns the places of what is wrong with lines, and what that is.
fn faults(lines: &[Vec<u8>]) -> Vec<(usize, LineError)> {
    let mut verifier = ChainVerifier::new(key(), Vec::new());
    let faults = lines.iter().enumerate().filter_map(|(place, line)| {
        let fault = verifier.line(line).err()?;
        Some((place + 1, fault))
    });
    faults.collect()
}

#[test]
fn a_chain_is_whole_and_goes_on_from_its_head() {
    let (lines, head) = chain(20);
    let mut verifier = ChainVerifier::new(key(), vec![head]);

    for line in &lines {
        verifier.line(line).unwrap();
    }

    assert_eq!(verifier.head(), Some(head));
    assert_eq!(verifier.finish(), []);
}

#[test]
fn a_changed_line_is_found_by_the_next_one() {
    let (mut lines, _) = chain(6);
    lines[2] = String::from_utf8(lines[2].clone())
        .unwrap()
        .replace("\"key\":\"3\"", "\"key\":\"9\"")
        .into_bytes();

    assert_eq!(faults(&lines), [(4, LineError::Changed(3))]);

    let (mut lines, _) = chain(6);
    lines[0].push(b' ');
    assert_eq!(faults(&lines), [(2, LineError::Changed(1))]);
}

#[test]
fn a_removed_line_is_found() {
    let (mut lines, _) = chain(6);
    lines.drain(2..4);

    let missing = LineError::Missing { from: 3, to: 4 };
    assert_eq!(faults(&lines), [(3, missing)]);
}

#[test]
fn an_inserted_line_is_found() {
    let (mut lines, _) = chain(6);
    lines.insert(3, lines[1].clone());

    let found = faults(&lines);

    let [
        (
            4,
            LineError::OutOfPlace {
                found: 2,
                expected: 4,
            },
        ),
        (5, LineError::Missing { .. }),
    ] = found[..]
    else {
        panic!("{found:?}");
    };
}

#[test]
fn swapped_lines_are_found() {
    let (mut lines, _) = chain(6);
    lines.swap(2, 3);

    let found = faults(&lines);

    assert_eq!(found[0], (3, LineError::Missing { from: 3, to: 3 }));
    assert!(matches!(found[1], (4, LineError::OutOfPlace { .. })));
}

#[test]
fn a_line_that_is_none_is_found() {
    let (mut lines, _) = chain(6);
    lines[3] = b"{\"seq\":4}".to_vec();

    let found = faults(&lines);

    assert!(matches!(found[0], (4, LineError::Unreadable(_))));
    assert_eq!(found[1], (5, LineError::Changed(4)));
}

#[test]
fn another_key_and_another_beginning_are_found() {
    let (lines, _) = chain(3);
    let mut verifier = ChainVerifier::new(ChainKey::new(&Secret::new("other")), Vec::new());

    assert_eq!(verifier.line(&lines[0]), Err(LineError::Start));
    assert_eq!(verifier.line(&lines[1]), Err(LineError::Changed(1)));
}

/// Nothing in the lines themselves shows it.
#[test]
fn a_tail_that_was_cut_is_found_by_a_checkpoint_alone() {
    let (mut lines, head) = chain(6);
    lines.truncate(4);
    assert_eq!(faults(&lines), []);

    let mut verifier = ChainVerifier::new(key(), vec![head]);
    for line in &lines {
        verifier.line(line).unwrap();
    }

    let cut = LogError::CutOff {
        sequence: 6,
        last: 4,
    };
    assert_eq!(verifier.finish(), [cut]);
}

/// With the key another tail can be written; not the one of the checkpoint.
#[test]
fn a_tail_that_was_rewritten_is_found_by_a_checkpoint() {
    let (mut lines, head) = chain(6);
    let last = lines.pop().unwrap();
    let prev = key().link(&lines[4]);
    let event = AuditEvent::new(EventKind::KeyCreated).key("other");
    lines.push(event.to_line(6, at(6), &prev, AddressForm::Cut));
    assert_ne!(lines[5], last);

    let mut verifier = ChainVerifier::new(key(), vec![head]);
    for line in &lines {
        verifier.line(line).unwrap();
    }

    assert_eq!(verifier.finish(), [LogError::Other(6)]);
}

/// Writes lines into files of three lines.
fn written(lines: &[Vec<u8>]) -> (tempfile::TempDir, Vec<AuditFile>) {
    let folder = tempfile::tempdir().unwrap();
    let files = lines.chunks(3).enumerate().map(|(place, lines)| {
        let first = 3 * place as u64 + 1;
        let file = AuditFile::new(folder.path(), first, at(first));
        let mut text = lines.join(&b"\n"[..]);
        text.push(b'\n');
        fs::write(&file.path, text).unwrap();
        file
    });
    let files = files.collect();
    (folder, files)
}

#[test]
fn a_finding_names_the_file_and_the_line() {
    let (lines, head) = chain(9);
    let (folder, files) = written(&lines);
    let verify = |checkpoints| verify_folder(folder.path(), key(), checkpoints).unwrap();

    let whole = verify(vec![head]);
    assert_eq!((whole.files, whole.lines, whole.total), (3, 9, 0));
    assert_eq!(whole.head, Some(head));

    let text = fs::read_to_string(&files[1].path).unwrap();
    fs::write(
        &files[1].path,
        text.replace("\"key\":\"6\"", "\"key\":\"7\""),
    )
    .unwrap();
    let changed = verify(Vec::new());
    let [finding] = &changed.findings[..] else {
        panic!("{changed:?}");
    };
    assert_eq!(finding.path.as_deref(), Some(files[2].path.as_path()));
    assert_eq!(finding.line, 1);
    assert!(finding.text.contains("number 6"), "{}", finding.text);
}

#[test]
fn a_removed_file_is_found_wherever_it_was() {
    let (lines, head) = chain(9);
    for (place, expected) in [
        (0, "1 to 3 are missing, and no line says why"),
        (1, "4 to 6 are missing before"),
        (2, "checkpoint 9 is missing: the last one is 6"),
    ] {
        let (folder, files) = written(&lines);
        fs::remove_file(&files[place].path).unwrap();

        let verified = verify_folder(folder.path(), key(), vec![head]).unwrap();

        assert_eq!(verified.total, 1, "{verified:?}");
        let text = &verified.findings[0].text;
        assert!(text.contains(expected), "{text}");
    }
}

#[test]
fn lines_that_were_too_old_are_not_missing() {
    let key = key();
    let (mut lines, head) = chain(5);
    let removed = AuditEvent::new(EventKind::AuditRemoved).with("through", 3);
    lines.push(removed.to_line(6, at(6), &head.link, AddressForm::Cut));
    let (folder, files) = written(&lines);
    fs::remove_file(&files[0].path).unwrap();

    let verified = verify_folder(folder.path(), key.clone(), Vec::new()).unwrap();
    assert_eq!(verified.total, 0, "{verified:?}");

    let old = Checkpoint {
        sequence: 2,
        link: key.start(),
    };
    let verified = verify_folder(folder.path(), key, vec![old]).unwrap();
    assert!(verified.findings[0].text.contains("no longer there"));
}

#[test]
fn a_torn_end_is_a_fault_in_all_files_but_the_newest() {
    let (lines, _) = chain(6);
    let (folder, files) = written(&lines);
    let tear = |file: &AuditFile| {
        let mut text = fs::read(&file.path).unwrap();
        text.extend(b"{\"seq\":");
        fs::write(&file.path, text).unwrap();
    };

    tear(&files[1]);
    let verified = verify_folder(folder.path(), key(), Vec::new()).unwrap();
    assert_eq!((verified.total, verified.torn_bytes), (0, 7));

    tear(&files[0]);
    let verified = verify_folder(folder.path(), key(), Vec::new()).unwrap();
    assert_eq!(verified.findings[0].text, "the line has no end");
    assert_eq!(verified.findings[0].line, 4);
}

proptest::proptest! {
    /// One changed byte, or one line less, in any place but the last is always found.
    #[test]
    fn no_change_of_a_chain_goes_unseen(
        place in 0_usize..7,
        byte in 0_usize..200,
        other in proptest::prelude::any::<u8>(),
        is_removed in proptest::prelude::any::<bool>(),
    ) {
        let (mut lines, _) = chain(8);
        if is_removed {
            lines.remove(place);
        } else {
            let byte = byte % lines[place].len();
            let is_changed = lines[place][byte] != other;
            proptest::prop_assume!(is_changed && other != b'\n');
            lines[place][byte] = other;
        }

        let mut verifier = ChainVerifier::new(key(), Vec::new());
        let mut found = lines.iter().filter(|line| verifier.line(line).is_err()).count();
        found += verifier.finish().len();
        proptest::prop_assert!(found > 0);
    }
}
