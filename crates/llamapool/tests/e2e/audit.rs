//! The audit log by the command line, beside a server that runs, was killed, or whose log was changed.

use std::fs;
use std::path::PathBuf;
use std::process::Stdio;

use llamapool_identity::{AUDIT_FOLDER, Checkpoint, audit_files};
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, BufReader};

use crate::harness::soon;
use crate::identity::{Place, command, id_of};

const CREATE: [&str; 5] = ["key", "create", "caller", "--ids", "notes"];

impl Place {
    /// Returns the files of the log, the oldest first.
    fn audit_files(&self) -> Vec<PathBuf> {
        let folder = PathBuf::from(self.path()).join(AUDIT_FOLDER);
        let files = audit_files(&folder).unwrap().into_iter();
        files.map(|file| file.path).collect()
    }

    /// Returns the newest lines.
    async fn audited(&self) -> Vec<Value> {
        let tail = self
            .done(&["audit", "tail", "--lines", "1000", "--json"])
            .await;
        let lines = tail.lines().map(|line| serde_json::from_str(line).unwrap());
        lines.collect()
    }

    /// Waits until the last line is one of an event.
    async fn soon_audited(&self, event: &str) -> Value {
        soon(event, async {
            loop {
                let mut lines = self.audited().await;
                lines.retain(|line| line["event"] == event);
                if let Some(line) = lines.pop() {
                    return line;
                }
            }
        })
        .await
    }

    /// Verifies the log, which is as it was written. Returns its last line.
    async fn verified(&self) -> Checkpoint {
        let text = self.done(&["audit", "verify"]).await;
        let (_, head) = text.rsplit_once(' ').expect("a checkpoint");
        head.parse().unwrap()
    }
}

#[tokio::test]
async fn commands_show_what_happened_and_that_it_is_whole() {
    let place = Place::new();
    let missing = place.run(&["audit", "verify"]).await;
    assert!(
        missing.notes.contains("there is no audit log"),
        "{}",
        missing.notes
    );
    let offline = place.done(&CREATE).await;

    let pool = place.server().await;
    place.soon_audited("key.created").await;
    let key = place
        .done(&[&CREATE[..], &["--name", "phone"]].concat())
        .await;
    place.done(&["key", "revoke", id_of(&key)]).await;
    let revoked = place.soon_audited("key.revoked").await;

    assert_eq!(revoked["key"], id_of(&key));
    assert_eq!(revoked["actor"], "command_line");
    let people = place.done(&["audit", "tail"]).await;
    assert!(
        people.contains(&format!("key={}", id_of(&offline))),
        "{people}"
    );
    assert!(people.contains("key.revoked"), "{people}");
    let log = fs::read_to_string(&place.audit_files()[0]).unwrap();
    for secret in [&offline, &key] {
        assert!(!log.contains(secret.as_str()) && !people.contains(secret.as_str()));
    }

    place.verified().await;
    let state = pool.state().await;
    assert_eq!(state["audit"]["status"], "ok");
    let checkpoint = &state["audit"]["checkpoint"];
    let noted = format!(
        "{}:{}",
        checkpoint["seq"],
        checkpoint["hash"].as_str().unwrap()
    );
    place
        .done(&["audit", "verify", "--checkpoint", &noted])
        .await;
    let metrics = pool.metrics().await;
    assert!(
        metrics.contains("llamapool_audit_checkpoint{hash="),
        "{metrics}"
    );
    assert!(
        metrics.contains("llamapool_audit_lost_total 0"),
        "{metrics}"
    );
}

#[tokio::test]
async fn a_reader_that_follows_gets_each_line() {
    let place = Place::new();
    let _server = place.server().await;
    let mut follow = command(&["audit", "tail", "--follow", "--lines", "0", "--json"]);
    follow.env("DATA_DIR", place.path()).stdout(Stdio::piped());
    let mut follow = follow.spawn().unwrap();
    let mut lines = BufReader::new(follow.stdout.take().unwrap()).lines();

    // The first one may be written before the reader looks.
    let next = async {
        loop {
            place
                .done(&CREATE[..4].iter().copied().chain(["*"]).collect::<Vec<_>>())
                .await;
            let waited = tokio::time::Duration::from_secs(2);
            if let Ok(line) = tokio::time::timeout(waited, lines.next_line()).await {
                return line.unwrap().expect("it goes on");
            }
        }
    };
    let line: Value = serde_json::from_str(&soon("a line", next).await).unwrap();

    assert_eq!(line["event"], "key.created");
    follow.kill().await.unwrap();
}

#[tokio::test]
async fn what_was_changed_removed_or_cut_off_is_named() {
    let place = Place::new();
    let mut pool = place.server().await;
    let noted = place.verified().await;
    place.done(&CREATE).await;
    place.soon_audited("key.created").await;
    pool.server.signal("TERM").await;
    pool.server.ended().await;
    let head = place.verified().await;
    assert!(head.sequence > noted.sequence);
    let path = place.audit_files()[0].clone();
    let whole = fs::read_to_string(&path).unwrap();
    let name = path.file_name().unwrap().to_str().unwrap();

    let wrong = async |checkpoint: &Checkpoint| {
        let checkpoint = checkpoint.to_string();
        let ran = place
            .run(&["audit", "verify", "--checkpoint", &checkpoint])
            .await;
        assert!(!ran.succeeded, "{}", ran.output);
        ran.notes
    };

    fs::write(
        &path,
        whole.replace("\"kind\":\"caller\"", "\"kind\":\"worker\""),
    )
    .unwrap();
    let notes = wrong(&head).await;
    assert!(
        notes.contains(&format!("{name}:3: the line before, number 2,")),
        "{notes}"
    );

    let without: Vec<_> = whole
        .lines()
        .enumerate()
        .filter(|(at, _)| *at != 1)
        .collect();
    let without: String = without
        .iter()
        .map(|(_, line)| format!("{line}\n"))
        .collect();
    fs::write(&path, without).unwrap();
    let notes = wrong(&head).await;
    assert!(
        notes.contains(&format!("{name}:2: the lines with the numbers 2 to 2")),
        "{notes}"
    );

    let cut: String = whole
        .lines()
        .take(1)
        .map(|line| format!("{line}\n"))
        .collect();
    fs::write(&path, cut).unwrap();
    place.verified().await;
    let notes = wrong(&head).await;
    assert!(notes.contains("so the end was cut off"), "{notes}");

    fs::write(&path, &whole).unwrap();
    assert_eq!(place.verified().await, head);
    fs::remove_file(&path).unwrap();
    assert!(wrong(&head).await.contains("cut off"));
}

#[cfg(unix)]
#[tokio::test]
async fn a_server_that_is_killed_in_a_line_goes_on_with_a_whole_log() {
    let place = Place::new();
    let mut pool = place.server().await;
    let key = place.done(&CREATE).await;
    place.soon_audited("key.created").await;
    pool.server.kill().await;
    let path = place.audit_files()[0].clone();
    let mut log = fs::read(&path).unwrap();
    log.extend_from_slice(b"{\"seq\":3,\"at\":\"20");
    fs::write(&path, log).unwrap();
    let half = place.run(&["audit", "verify"]).await;
    assert!(
        half.succeeded && half.notes.contains("the last 17 bytes"),
        "{}",
        half.notes
    );
    place.done(&["key", "revoke", id_of(&key)]).await;

    let _server = place.server().await;
    place.soon_audited("key.revoked").await;

    place.verified().await;
    let lines = place.audited().await;
    let count = |event| lines.iter().filter(|line| line["event"] == event).count();
    assert_eq!((count("key.created"), count("key.revoked")), (1, 1));
    let mut opened = lines.iter().filter(|line| line["event"] == "audit.opened");
    assert_eq!(opened.next_back().unwrap()["detail"]["torn_bytes"], 17);
}
