//! The keeper under floods and with a disk that fails.

use std::path::Path;
use std::time::Duration;

use llamapool_identity::{AUDIT_FOLDER, AuditLine, audit_files, verify_folder};
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::*;
use crate::audit::{Audit, AuditConfig};

const PATIENCE: Duration = Duration::from_secs(30);

fn key() -> Secret {
    Secret::new("the key of the server")
}

fn open(folder: &Path, config: &AuditConfig) -> io::Result<(Audit, AuditKeeper)> {
    let (audit, keeper) = Audit::open_in(folder, config, &key())?;
    Ok((audit, keeper.unwrap()))
}

/// A keeper that runs.
struct Running {
    end: CancellationToken,
    task: JoinSet<()>,
}

impl Running {
    fn start(keeper: AuditKeeper) -> Self {
        let end = CancellationToken::new();
        let mut task = JoinSet::new();
        task.spawn(keeper.run(end.clone()));
        Self { end, task }
    }

    async fn stop(self) {
        self.end.cancel();
        timeout(PATIENCE, self.task.join_all()).await.unwrap();
    }
}

fn lines(folder: &Path) -> Vec<AuditLine> {
    let files = audit_files(&folder.join(AUDIT_FOLDER)).unwrap();
    let texts = files
        .iter()
        .map(|file| std::fs::read_to_string(&file.path).unwrap());
    let text: String = texts.collect();
    let lines = text
        .lines()
        .map(|line| AuditLine::parse(line.as_bytes()).unwrap());
    lines.collect()
}

fn faults(folder: &Path) -> usize {
    let verified = verify_folder(
        &folder.join(AUDIT_FOLDER),
        ChainKey::new(&key()),
        Vec::new(),
    );
    verified.unwrap().total
}

async fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let waiting = async {
        while !is_so() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(PATIENCE, waiting).await.expect(what);
}

fn event() -> AuditEvent {
    AuditEvent::new(EventKind::SignInOk).id("notes")
}

#[tokio::test]
async fn events_beyond_the_queue_are_counted_and_the_log_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let (audit, keeper) = open(folder.path(), &AuditConfig::default()).unwrap();

    for _ in 0..100_000 {
        audit.write(event);
    }
    let lost = audit.status().unwrap().lost;
    assert!(lost > 50_000 && lost < 100_000, "{lost}");
    Running::start(keeper).stop().await;

    let lines = lines(folder.path());
    let written = lines
        .iter()
        .filter(|line| line.event == "sign_in.ok")
        .count();
    assert_eq!(written as u64 + lost, 100_000);
    let told = lines
        .iter()
        .find(|line| line.event == "audit.lost")
        .unwrap();
    assert_eq!(told.number("count"), Some(lost));
    assert_eq!(lines.last().unwrap().event, "audit.closed");
    assert_eq!(faults(folder.path()), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_thousand_events_are_written_in_their_order() {
    let folder = tempfile::tempdir().unwrap();
    let (audit, keeper) = open(folder.path(), &AuditConfig::default()).unwrap();
    let running = Running::start(keeper);

    for number in 0..100_000_u64 {
        let event = || AuditEvent::new(EventKind::CallEnded).with("number", number);
        while !audit.offer(event()) {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
    running.stop().await;

    let lines = lines(folder.path());
    let numbers = lines.iter().filter_map(|line| line.number("number"));
    assert!(numbers.eq(0..100_000));
    assert_eq!(faults(folder.path()), 0);
}

#[tokio::test]
async fn a_log_that_cannot_be_opened_is_opened_later() {
    let folder = tempfile::tempdir().unwrap();
    let in_its_place = folder.path().join(AUDIT_FOLDER);
    std::fs::write(&in_its_place, "").unwrap();
    let required = AuditConfig {
        is_required: true,
        ..AuditConfig::default()
    };
    let error = open(folder.path(), &required).err().unwrap();
    assert!(error.to_string().contains(AUDIT_FOLDER), "{error}");

    let (audit, keeper) = open(folder.path(), &AuditConfig::default()).unwrap();
    let running = Running::start(keeper);
    audit.write(event);
    until("it fails again", || audit.status().unwrap().failures > 1).await;
    assert!(audit.status().unwrap().is_failing && audit.check().is_ok());
    assert_eq!(audit.resumed(), None);
    std::fs::remove_file(&in_its_place).unwrap();
    until("it is written", || !audit.status().unwrap().is_failing).await;
    running.stop().await;

    let words: Vec<_> = lines(folder.path())
        .into_iter()
        .map(|it| it.event)
        .collect();
    assert_eq!(words, ["audit.opened", "sign_in.ok", "audit.closed"]);
}

#[tokio::test]
async fn what_must_be_written_is_refused_while_it_cannot_be() {
    let folder = tempfile::tempdir().unwrap();
    let required = AuditConfig {
        is_required: true,
        ..AuditConfig::default()
    };
    let (audit, keeper) = open(folder.path(), &required).unwrap();
    let running = Running::start(keeper);
    assert!(audit.check().is_ok());

    let away = folder.path().join("away");
    std::fs::rename(folder.path().join(AUDIT_FOLDER), &away).unwrap();
    audit.write(event);
    until("it fails", || audit.check().is_err()).await;
    std::fs::rename(&away, folder.path().join(AUDIT_FOLDER)).unwrap();
    // Nothing is written meanwhile, as all that would be is refused.
    until("it is written again", || audit.check().is_ok()).await;

    running.stop().await;
    assert_eq!(faults(folder.path()), 0);
}

#[tokio::test]
async fn a_checkpoint_is_noted_at_the_start_and_at_the_end() {
    let folder = tempfile::tempdir().unwrap();
    let (audit, keeper) = open(folder.path(), &AuditConfig::default()).unwrap();
    let (first, _) = audit.status().unwrap().checkpoint.unwrap();
    assert_eq!(first.sequence, 1);

    let running = Running::start(keeper);
    audit.write(event);
    running.stop().await;

    let (last, _) = audit.status().unwrap().checkpoint.unwrap();
    assert_eq!(last.sequence, 3);
    let noted = vec![first, last];
    let folder = folder.path().join(AUDIT_FOLDER);
    let verified = verify_folder(&folder, ChainKey::new(&key()), noted).unwrap();
    assert_eq!(verified.total, 0, "{verified:?}");
    assert_eq!(verified.head, Some(last));
}
