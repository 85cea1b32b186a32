//! Records of holders: after a restart, with another key, when they are old, and broken.

use llamapool_limits::network_of;
use llamapool_wire::{DisplayName, InstanceId};

use super::*;
use crate::auth::{Keys, RelayKind};
use crate::data_dir::DataDirConfig;

const HOUR: Duration = Duration::from_secs(3600);

fn relay(secret: &str) -> RelayIdentity {
    RelayIdentity {
        kind: RelayKind::Mcp,
        ids: Vec::new(),
        name: DisplayName::default(),
        version: DisplayName::default(),
        build_sha: DisplayName::default(),
        build_date: DisplayName::default(),
        instance: InstanceId::random(),
        secret: (!secret.is_empty()).then(|| Secret::new(secret)),
        key: None,
        network: network_of([192, 0, 2, 1].into()),
    }
}

fn id() -> RelayId {
    "mine".parse().unwrap()
}

/// Opens the records of a server that was just started.
fn open(folder: &tempfile::TempDir, keep: Duration) -> std::io::Result<HolderRecords> {
    let config = DataDirConfig::Required(folder.path().to_owned());
    HolderRecords::open(&ServerData::open(&config, &Keys::default())?, keep)
}

#[tokio::test]
async fn an_id_is_kept_over_a_restart_and_no_secret_is_on_disk() {
    let folder = tempfile::tempdir().unwrap();
    let records = open(&folder, HOUR).unwrap();
    assert_eq!(records.record(&id(), &relay("open-sesame")), None);
    records.write().await;
    drop(records);

    let records = open(&folder, HOUR).unwrap();

    for stranger in ["", "another"] {
        let kept = records.check(&id(), &relay(stranger)).unwrap_err();
        assert!(kept.remaining > HOUR / 2, "{kept:?}");
    }
    assert_eq!(records.check(&id(), &relay("open-sesame")), Ok(()));
    let other = "other".parse().unwrap();
    assert_eq!(records.check(&other, &relay("")), Ok(()));
    let file = std::fs::read_to_string(folder.path().join(FILE)).unwrap();
    assert!(file.contains("mine") && !file.contains("sesame"), "{file}");
}

/// As the end of the server does not wait for it.
#[tokio::test]
async fn a_change_is_written_without_being_asked() {
    let folder = tempfile::tempdir().unwrap();
    let records = open(&folder, HOUR).unwrap();
    let keeper = records.clone();
    let mut keeping = tokio::task::JoinSet::new();
    keeping.spawn(async move { keeper.keep_written(Vec::new, || {}).await });

    records.record(&id(), &relay("ours"));

    let file = folder.path().join(FILE);
    let written = async {
        while !std::fs::read_to_string(&file).is_ok_and(|json| json.contains("mine")) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let patience = Duration::from_secs(20);
    tokio::time::timeout(patience, written).await.unwrap();
}

#[tokio::test]
async fn records_of_another_key_are_forgotten() {
    let folder = tempfile::tempdir().unwrap();
    let records = open(&folder, HOUR).unwrap();
    records.record(&id(), &relay("ours"));
    records.write().await;
    drop(records);

    std::fs::remove_file(folder.path().join("key")).unwrap();
    let records = open(&folder, HOUR).unwrap();

    assert_eq!(records.check(&id(), &relay("")), Ok(()));
}

/// Otherwise every id would go to the first that comes.
#[test]
fn a_broken_file_stops_the_start_and_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join(FILE);
    std::fs::write(&file, "{\"version\":").unwrap();

    let error = open(&folder, HOUR).err().unwrap().to_string();

    assert!(
        error.starts_with(&format!("{}: not the JSON", file.display())),
        "{error}"
    );
    assert!(error.ends_with("delete the file to keep no id for the relay that held it"));
}

#[test]
fn an_id_is_kept_for_a_time_that_each_holding_begins_anew() {
    let data = ServerData::open(&DataDirConfig::None, &Keys::default()).unwrap();
    let records = HolderRecords::open(&data, HOUR).unwrap();
    records.record(&id(), &relay("ours"));
    let an_hour_ago = table::seconds(SystemTime::now() - HOUR);

    records.0.table.lock().refresh(&id(), an_hour_ago);
    assert_eq!(records.check(&id(), &relay("")), Ok(()));
    records.refresh(&[id()]);
    assert!(records.check(&id(), &relay("")).is_err());

    let forgetful = HolderRecords::open(&data, Duration::ZERO).unwrap();
    forgetful.record(&id(), &relay("ours"));
    assert_eq!(forgetful.check(&id(), &relay("")), Ok(()));
}

/// A directory in the place of a file cannot be written, as nothing can on a full disk.
#[tokio::test(start_paused = true)]
async fn a_write_that_fails_is_counted_and_tried_again() {
    let folder = tempfile::tempdir().unwrap();
    let records = open(&folder, HOUR).unwrap();
    let obstacle = folder.path().join(format!("{FILE}.new"));
    std::fs::create_dir(&obstacle).unwrap();
    let (count, mut failures) = tokio::sync::mpsc::channel(16);
    let keeper = records.clone();
    let mut keeping = tokio::task::JoinSet::new();
    keeping.spawn(async move {
        let count_failure = || count.try_send(()).unwrap();
        keeper.keep_written(Vec::new, count_failure).await;
    });

    records.record(&id(), &relay("open-sesame"));
    for _ in 0..3 {
        let counted = tokio::time::timeout(2 * RETRY_PAUSE, failures.recv());
        counted.await.unwrap().unwrap();
    }
    std::fs::remove_dir(&obstacle).unwrap();

    let file = folder.path().join(FILE);
    let written = async {
        while !file.exists() {
            tokio::time::sleep(WRITE_PAUSE).await;
        }
    };
    tokio::time::timeout(2 * RETRY_PAUSE, written)
        .await
        .unwrap();
    assert!(std::fs::read_to_string(file).unwrap().contains("mine"));
}
