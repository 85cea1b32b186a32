//! Files of a log over days, restarts and faults.

use std::path::PathBuf;
use std::time::Duration;

use llamapool_identity::{AddressForm, AuditLine, Verified, verify_folder};
use llamapool_wire::Secret;

use super::*;

const DAY: u64 = 86_400;

fn key() -> ChainKey {
    ChainKey::new(&Secret::new("the key of the server"))
}

/// Returns a moment of a day.
fn at(day: u64, second: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs((20_000 + day) * DAY + second)
}

/// A folder with a log.
struct Place(tempfile::TempDir);

impl Place {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn settings(&self) -> FileSettings {
        FileSettings {
            folder: self.folder(),
            form: AddressForm::Cut,
            keep: Duration::from_secs(400 * DAY),
            file_bytes: 64 << 20,
            max_bytes: 4 << 30,
        }
    }

    fn folder(&self) -> PathBuf {
        self.0.path().join("audit")
    }

    fn open(&self, now: SystemTime) -> AuditFiles {
        AuditFiles::open(self.settings(), key(), now).unwrap().0
    }

    fn files(&self) -> Vec<AuditFile> {
        audit_files(&self.folder()).unwrap()
    }

    /// Returns the lines of all files.
    fn lines(&self) -> Vec<AuditLine> {
        let files = self.files();
        let texts = files.iter().map(|it| fs::read_to_string(&it.path).unwrap());
        let lines = texts.flat_map(|text| {
            let lines = text.lines().map(|line| AuditLine::parse(line.as_bytes()));
            lines.collect::<Result<Vec<_>, _>>().unwrap()
        });
        lines.collect()
    }

    fn words(&self) -> Vec<String> {
        self.lines().into_iter().map(|line| line.event).collect()
    }

    fn verify(&self) -> Verified {
        verify_folder(&self.folder(), key(), Vec::new()).unwrap()
    }
}

fn event(change: i64) -> AuditEvent {
    let event = AuditEvent::new(EventKind::KeyCreated).key(change);
    event.of_change(change)
}

fn append(files: &mut AuditFiles, now: SystemTime, changes: std::ops::Range<i64>) {
    let mut events = changes.map(event).collect();
    files.append(now, &mut events).unwrap();
    assert!(events.is_empty());
    files.sync().unwrap();
}

#[test]
fn lines_go_on_after_a_restart() {
    let place = Place::new();
    let mut files = place.open(at(0, 0));
    append(&mut files, at(0, 1), 1..4);
    drop(files);

    let (mut files, resumed) = AuditFiles::open(place.settings(), key(), at(0, 9)).unwrap();
    append(&mut files, at(0, 10), 4..5);

    assert_eq!(resumed.change, 3);
    assert_eq!(resumed.at, Some(at(0, 1)));
    let numbers: Vec<_> = place.lines().iter().map(|line| line.seq).collect();
    assert_eq!(numbers, [1, 2, 3, 4, 5, 6]);
    assert_eq!(place.words()[4], "audit.opened");
    assert_eq!(place.lines()[4].change, Some(3));
    assert_eq!(place.files().len(), 1);
    let verified = place.verify();
    assert_eq!(verified.total, 0, "{verified:?}");
    assert_eq!(verified.head, Some(files.head()));
}

#[test]
fn a_day_begins_a_file_and_a_clock_that_is_set_back_does_not() {
    let place = Place::new();
    let mut files = place.open(at(0, DAY - 2));
    append(&mut files, at(0, DAY - 1), 1..2);
    append(&mut files, at(1, 0), 2..3);
    append(&mut files, at(0, 5), 3..4);
    append(&mut files, at(1, 9), 4..5);

    let names: Vec<_> = place.files().into_iter().map(|it| it.first).collect();
    assert_eq!(names, [1, 3]);
    let expected = [
        "audit.opened",
        "key.created",
        "audit.rotated",
        "key.created",
        "key.created",
        "key.created",
    ];
    assert_eq!(place.words(), expected);
    assert_eq!(place.lines()[2].change, Some(1), "for the next start");
    assert_eq!(place.verify().total, 0);

    drop(files);
    place.open(at(2, 0));
    assert_eq!(place.files().len(), 3, "a start on another day");
    assert_eq!(place.verify().total, 0);
}

#[test]
fn a_large_file_is_followed_by_the_next_one() {
    let place = Place::new();
    let settings = FileSettings {
        file_bytes: 2000,
        ..place.settings()
    };
    let (mut files, _) = AuditFiles::open(settings, key(), at(0, 0)).unwrap();
    let mut events = (1..100).map(event).collect();

    let has_rotated = files.append(at(0, 1), &mut events).unwrap();

    assert!(has_rotated && events.is_empty());
    let found = place.files();
    assert!(found.len() > 5, "{}", found.len());
    for file in &found {
        assert!(fs::metadata(&file.path).unwrap().len() <= 2000);
    }
    let keys = place.lines().into_iter().filter_map(|line| line.key);
    let expected: Vec<_> = (1..100).map(|number| number.to_string()).collect();
    assert_eq!(keys.collect::<Vec<_>>(), expected);
    assert_eq!(place.verify().total, 0);
}

#[test]
fn half_a_line_of_a_killed_process_is_cut_off() {
    let place = Place::new();
    let mut files = place.open(at(0, 0));
    append(&mut files, at(0, 1), 1..3);
    drop(files);
    let path = place.files()[0].path.clone();
    let mut text = fs::read(&path).unwrap();
    let whole = text.len();
    text.extend_from_slice(b"{\"seq\":4,\"at\":\"2026");
    fs::write(&path, &text).unwrap();

    let mut files = place.open(at(0, 5));
    append(&mut files, at(0, 6), 3..4);

    let lines = place.lines();
    assert_eq!(lines[3].event, "audit.opened");
    assert_eq!(
        lines[3].number("torn_bytes"),
        Some((text.len() - whole) as u64)
    );
    assert_eq!(lines[4].key.as_deref(), Some("3"));
    assert_eq!(place.verify().total, 0);
}

#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_loses_nothing_that_still_waits() {
    let place = Place::new();
    let mut files = place.open(at(0, 0));
    append(&mut files, at(0, 1), 1..3);
    let full = OpenOptions::new().write(true).open("/dev/full").unwrap();
    let current = files.current.as_mut().unwrap();
    let file = std::mem::replace(&mut current.file, full);
    let mut events: VecDeque<_> = (3..6).map(event).collect();

    let error = files.append(at(0, 2), &mut events).unwrap_err();
    assert!(
        error.to_string().contains("audit"),
        "it names the file: {error}"
    );
    assert_eq!(events.len(), 3);

    // A part of what was written before the disk was full.
    let path = place.files()[0].path.clone();
    let mut text = fs::read(&path).unwrap();
    text.extend_from_slice(b"{\"seq\":4,\"at");
    fs::write(&path, text).unwrap();
    files.current.as_mut().unwrap().file = file;
    files.append(at(0, 3), &mut events).unwrap();

    assert!(events.is_empty());
    let keys: Vec<_> = place.lines().into_iter().filter_map(|it| it.key).collect();
    assert_eq!(keys, ["1", "2", "3", "4", "5"]);
    assert_eq!(place.verify().total, 0);
}

#[test]
fn a_file_that_cannot_be_begun_is_begun_later() {
    let place = Place::new();
    let mut files = place.open(at(0, 0));
    append(&mut files, at(0, 1), 1..3);
    let away = place.0.path().join("away");
    fs::rename(place.folder(), &away).unwrap();

    let mut events: VecDeque<_> = (3..5).map(event).collect();
    files.append(at(1, 0), &mut events).unwrap_err();
    files.append(at(1, 1), &mut events).unwrap_err();
    assert_eq!(events.len(), 2);
    fs::rename(&away, place.folder()).unwrap();
    files.append(at(1, 2), &mut events).unwrap();

    let keys: Vec<_> = place.lines().into_iter().filter_map(|it| it.key).collect();
    assert_eq!(keys, ["1", "2", "3", "4"]);
    assert_eq!(place.verify().total, 0);
}

#[cfg(unix)]
#[test]
fn a_file_that_is_removed_while_it_is_written_is_noticed() {
    let place = Place::new();
    let mut files = place.open(at(0, 0));
    append(&mut files, at(0, 1), 1..3);
    fs::remove_file(&place.files()[0].path).unwrap();

    let mut events: VecDeque<_> = (3..4).map(event).collect();
    files.append(at(0, 2), &mut events).unwrap();
    let error = files.sync().unwrap_err();
    assert!(error.to_string().contains("removed"), "{error}");
    assert!(files.is_dirty(), "another file is to be begun");
    append(&mut files, at(0, 3), 4..5);

    assert_eq!(place.files().len(), 1);
    assert_eq!(place.words(), ["audit.opened", "key.created"]);
    let verified = place.verify();
    let text = &verified.findings[0].text;
    assert!(text.contains("1 to 4 are missing"), "{text}");
}

#[test]
fn old_files_go_and_a_line_says_so() {
    let place = Place::new();
    let settings = FileSettings {
        keep: Duration::from_secs(2 * DAY),
        ..place.settings()
    };
    let (mut files, _) = AuditFiles::open(settings, key(), at(0, 0)).unwrap();
    for day in 1..6 {
        append(&mut files, at(day, 0), 1..3);
    }

    let days: Vec<_> = place.files().into_iter().map(|file| file.day).collect();
    let kept: Vec<_> = (2..6).map(|day| AuditFile::day_of(at(day, 0))).collect();
    assert_eq!(days, kept, "with the one whose last lines are two days old");
    assert!(place.words().contains(&"audit.removed".to_owned()));
    let verified = place.verify();
    assert_eq!(verified.total, 0, "{verified:?}");

    fs::remove_file(&place.files()[0].path).unwrap();
    let text = &place.verify().findings[0].text;
    assert!(text.contains("no line says why"), "{text}");
}

#[test]
fn all_files_together_are_bounded() {
    let place = Place::new();
    let settings = FileSettings {
        file_bytes: 2000,
        max_bytes: 10_000,
        ..place.settings()
    };
    let (mut files, _) = AuditFiles::open(settings, key(), at(0, 0)).unwrap();

    append(&mut files, at(0, 1), 1..200);

    let sizes = place.files();
    let sizes = sizes.iter().map(|it| fs::metadata(&it.path).unwrap().len());
    let total: u64 = sizes.sum();
    assert!(total <= 12_000, "one file more at most: {total}");
    assert_eq!(place.verify().total, 0);
}

#[test]
fn a_changed_line_is_reported_at_the_next_start() {
    let place = Place::new();
    let mut files = place.open(at(0, 0));
    append(&mut files, at(0, 1), 1..4);
    drop(files);
    let path = place.files()[0].path.clone();
    let text = fs::read_to_string(&path).unwrap();
    fs::write(&path, text.replace("\"key\":\"1\"", "\"key\":\"9\"")).unwrap();

    place.open(at(0, 2));

    assert_eq!(place.lines()[4].number("faults"), Some(1));
    assert_eq!(place.verify().total, 1);
}

#[cfg(unix)]
#[test]
fn only_the_owner_can_read_the_files() {
    use std::os::unix::fs::PermissionsExt;

    let place = Place::new();
    place.open(at(0, 0));

    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&place.folder()), 0o700);
    assert_eq!(mode(&place.files()[0].path), 0o600);
}
