//! `llamapool doctor server`: each thing that can be in the way, and the real start beside it.

use std::fs;
use std::net::TcpListener;

use tempfile::TempDir;

use crate::doctor::free_port;
use crate::harness::{Authority, Diagnosis, Pool, Process, write_pair};

/// Starts the server. Returns whether it listens.
async fn start_succeeds(environment: &[(&str, &str)]) -> bool {
    let mut server = Process::llamapool(&["server"], environment);
    let log = server.log_reader();
    let listens = async {
        while !log().contains("the server listens") {
            tokio::task::yield_now().await;
        }
    };
    tokio::select! {
        _ = server.ended() => false,
        () = listens => true,
    }
}

/// A folder with everything that the cases need: certificates, a file, a store that is none.
struct Place {
    folder: TempDir,
    port: String,
}

/// The settings of a server.
type Settings = Vec<(&'static str, String)>;

impl Place {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let authority = Authority::new();
        for name in ["one", "two"] {
            let folder = folder.path().join(name);
            fs::create_dir(&folder).unwrap();
            write_pair(&folder, &authority.issue(&["localhost"]));
        }
        fs::write(folder.path().join("file"), "x").unwrap();
        fs::create_dir(folder.path().join("broken")).unwrap();
        let no_store = "no store at all, but long enough";
        fs::write(folder.path().join("broken/identity.db"), no_store).unwrap();
        Self {
            folder,
            port: free_port().to_string(),
        }
    }

    fn path(&self, name: &str) -> String {
        self.folder.path().join(name).to_str().unwrap().to_owned()
    }

    /// Returns the settings of a server on a port, with its data in a folder of this place.
    fn server(&self, port: &str, data: &str) -> Settings {
        vec![
            ("BIND_ADDR", "127.0.0.1".to_owned()),
            ("PORT", port.to_owned()),
            ("DATA_DIR", self.path(data)),
            ("API_KEY", "an-api-key-0123456789".to_owned()),
            ("WORKER_KEY", "a-worker-key-0123456789".to_owned()),
        ]
    }

    fn with_tls(&self, key: &str) -> Settings {
        let mut settings = self.server(&self.port, "data");
        settings.push(("TLS_CERT_FILE", self.path("one/chain.pem")));
        settings.push(("TLS_KEY_FILE", self.path(key)));
        settings
    }

    /// Returns the settings of a server whose data directory cannot be made, whoever tries it.
    fn with_data_nowhere(&self) -> Settings {
        let mut settings = self.server(&self.port, "data");
        settings.retain(|(name, _)| *name != "DATA_DIR");
        settings.push(("DATA_DIR", "/proc/llamapool".to_owned()));
        settings
    }

    fn with_a_wrong_value(&self) -> Settings {
        let mut settings = self.server(&self.port, "data");
        settings.push(("MAX_RELAYS", "many".to_owned()));
        settings
    }
}

fn borrowed(settings: &Settings) -> Vec<(&str, &str)> {
    let settings = settings.iter();
    settings
        .map(|(name, value)| (*name, value.as_str()))
        .collect()
}

#[tokio::test]
async fn a_server_starts_exactly_when_its_doctor_finds_no_failure() {
    let place = Place::new();
    let port = &place.port;
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let taken_port = taken.local_addr().unwrap().port().to_string();
    let cases = [
        (
            "nowhere",
            place.with_data_nowhere(),
            Some("data_dir_unusable"),
        ),
        ("as it should be", place.server(port, "data"), None),
        ("TLS", place.with_tls("one/key.pem"), None),
        (
            "another's key",
            place.with_tls("two/key.pem"),
            Some("cannot_start"),
        ),
        (
            "taken",
            place.server(&taken_port, "data"),
            Some("port_taken"),
        ),
        (
            "no place",
            place.server(port, "file/data"),
            Some("data_dir_unusable"),
        ),
        (
            "broken",
            place.server(port, "broken"),
            Some("store_unusable"),
        ),
        (
            "wrong value",
            place.with_a_wrong_value(),
            Some("settings_wrong"),
        ),
    ];

    for (name, settings, cause) in &cases {
        let settings = borrowed(settings);
        let has_data = || place.folder.path().join("data").exists();
        let had_data = has_data();
        let found = Diagnosis::of(&["server", "--json"], &settings).await;
        assert_eq!(has_data(), had_data, "{name}: a doctor makes nothing");
        let starts = start_succeeds(&settings).await;

        let failures = found.with_status("fail");
        assert_eq!(failures.first(), cause.as_ref(), "{name}: {}", found.output);
        assert_eq!(failures.is_empty(), starts, "{name}: {}", found.output);
        assert_eq!(found.code == Some(1), !starts, "{name}");
    }

    if cfg!(target_os = "linux") {
        let settings = place.server(&taken_port, "data");
        let found = Diagnosis::of(&["server", "--json"], &borrowed(&settings)).await;
        let own = format!("process {} has it", std::process::id());
        found.has("port_taken", "fail", &own);
    }
}

#[tokio::test]
async fn a_server_that_runs_is_left_alone_and_its_url_is_called() {
    let data = tempfile::tempdir().unwrap();
    let folder = data.path().to_str().unwrap();
    let port = free_port().to_string();
    let url = format!("http://127.0.0.1:{port}");
    let settings = [("DATA_DIR", folder), ("PUBLIC_URL", url.as_str())];
    let pool = Pool::on_port(&port, &settings).await;

    let environment = [
        ("DATA_DIR", folder),
        ("PUBLIC_URL", url.as_str()),
        ("PORT", port.as_str()),
        ("BIND_ADDR", "127.0.0.1"),
        ("API_KEY", "an-api-key-0123456789"),
        ("WORKER_KEY", "a-worker-key-0123456789"),
    ];
    let found = Diagnosis::of(&["server", "--json"], &environment).await;

    found.has("already_running", "ok", "runs already");
    found.has("public_url_elsewhere", "ok", "ready there");
    assert_eq!(found.report["failures"], 0, "{}", found.output);
    assert_eq!(pool.get("/readyz").await.status(), 200);
}
