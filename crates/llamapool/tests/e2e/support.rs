//! `llamapool support`: the archive has what helps, and none of the secrets that were set.

use std::fs;
use std::io::Read;
use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use flate2::read::GzDecoder;

use crate::doctor::mcp_server;
use crate::harness::{API_KEY, Diagnosis, Pool, Process};

/// Secrets of every kind.
const SECRETS: [&str; 9] = [
    "worker-key-a8f3k2",
    "client-secret-b7d1x9",
    "auth-token-c6s5q4",
    "status-token-d5w8z1",
    "header-value-e4r7y2",
    "env-value-f3t6u8",
    "inherited-g2y5i7",
    "proxy-pass-h1u4o6",
    "argument-j9p3l5",
];

/// Returns the files of an archive.
fn unpacked(bytes: &[u8]) -> Vec<(String, String)> {
    let mut archive = tar::Archive::new(GzDecoder::new(bytes));
    let entries = archive.entries().unwrap();
    entries
        .map(|entry| {
            let mut entry = entry.unwrap();
            let name = entry.path().unwrap().display().to_string();
            assert_eq!(entry.header().mode().unwrap(), 0o600);
            let mut text = String::new();
            entry.read_to_string(&mut text).unwrap();
            (name, text)
        })
        .collect()
}

/// Checks that no file has a secret, as it is or encoded.
fn has_no_secret(files: &[(String, String)], secrets: &[&str]) {
    for (name, text) in files {
        for secret in secrets {
            assert!(!text.contains(secret), "{secret} is in {name}: {text}");
            for before in ["", "a", "ab"] {
                let encoded = STANDARD.encode(format!("{before}{secret}"));
                let inner = &encoded[4..encoded.len() - 4];
                assert!(!text.contains(inner), "{secret} is in {name} in base64");
            }
        }
    }
}

/// Writes the files of a relay with all secrets. Returns its environment.
fn relay_with_secrets(folder: &Path) -> Vec<(&'static str, String)> {
    let path = |name: &str| folder.join(name).to_str().unwrap().to_owned();
    let [
        worker,
        client,
        auth,
        status,
        header,
        env,
        inherited,
        proxy,
        argument,
    ] = SECRETS;
    fs::write(path("worker.key"), format!("{worker}\n")).unwrap();
    let file = format!(
        "client_secret = \"{client}\"\n\
         [[provider]]\nid = \"one\"\nurl = \"http://127.0.0.1:9/mcp\"\nauth_token = \"{auth}\"\n\
         headers = [\"Authorization: Bearer {header}\"]\n\
         [[provider]]\nid = \"two\"\ncommand = [\"python3\", \"-c\", \"x={argument}\"]\n\
         env = [\"TOKEN={env}\", \"DATABASE_URL\"]\n"
    );
    fs::write(path("relay.toml"), file).unwrap();
    let log = SECRETS.map(|secret| {
        let basic = STANDARD.encode(format!("me:{secret}"));
        format!("a line with {secret}\nAuthorization: Basic {basic}\n")
    });
    fs::write(path("log"), log.concat()).unwrap();

    vec![
        ("SERVER_URL", "ws://pool.invalid".to_owned()),
        ("WORKER_KEY_FILE", path("worker.key")),
        ("CONFIG_FILE", path("relay.toml")),
        ("STATUS_TOKEN", status.to_owned()),
        (
            "STATUS_ADDR",
            format!("127.0.0.1:{}", crate::doctor::free_port()),
        ),
        ("HTTP_PROXY", format!("http://me:{proxy}@127.0.0.1:9")),
        ("DATABASE_URL", inherited.to_owned()),
        ("CONNECT_TIMEOUT", "2s".to_owned()),
    ]
}

#[tokio::test]
async fn an_archive_of_a_relay_has_no_secret_that_was_set() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let environment = relay_with_secrets(folder.path());
    let environment: Vec<_> = environment.iter().map(|(n, v)| (*n, v.as_str())).collect();
    let output = path("support.tar.gz");
    let log_file = path("log");
    let arguments = ["support", "--output", &output, "--log-file", &log_file];

    let printed = Diagnosis::printed(&arguments, &environment).await;

    let notes = String::from_utf8_lossy(&printed.stderr).into_owned();
    assert!(printed.status.success(), "{notes}");
    let said = String::from_utf8(printed.stdout).unwrap();
    assert!(said.contains("doctor.json"), "{said}");
    let bytes = fs::read(&output).unwrap();
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;

        let mode = fs::metadata(&output).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }
    let files = unpacked(&bytes);
    has_no_secret(&files, &SECRETS);
    has_no_secret(&[("the notes".to_owned(), notes)], &SECRETS);
    let names: Vec<_> = files.iter().map(|(name, _)| name.as_str()).collect();
    for name in [
        "version.txt",
        "system.txt",
        "settings.json",
        "doctor.json",
        "state.json",
        "log.txt",
    ] {
        assert!(
            names.iter().any(|it| it.ends_with(name)),
            "{name}: {names:?}"
        );
    }
    let settings = &files
        .iter()
        .find(|(name, _)| name.ends_with("settings.json"))
        .unwrap()
        .1;
    assert!(settings.contains("ws://pool.invalid"), "{settings}");
    assert!(settings.contains("provider 2: PROVIDER_ENV"), "{settings}");
    assert!(settings.contains("worker.key"), "{settings}");

    let again = Diagnosis::printed(&arguments, &environment).await;
    assert_eq!(
        again.status.code(),
        Some(1),
        "an archive is not overwritten"
    );
}

#[tokio::test]
async fn an_archive_has_the_state_of_what_runs() {
    let pool = Pool::start().await;
    let provider = mcp_server().await;
    let status = format!("127.0.0.1:{}", crate::doctor::free_port());
    let settings = [("STATUS_ADDR", status.as_str())];
    let mut relay: Process = pool.relay_with("notes", &provider.url, &settings).await;
    relay.event("the status server listens").await;
    let environment = [
        ("SERVER_URL", pool.url.as_str()),
        ("WORKER_KEY", crate::harness::WORKER_KEY),
        ("CLIENT_ID", "notes"),
        ("PROVIDER_URL", &provider.url),
        ("STATUS_ADDR", &status),
    ];

    let printed = Diagnosis::printed(&["support", "mcp", "--output", "-"], &environment).await;
    let files = unpacked(&printed.stdout);
    let state = &files
        .iter()
        .find(|(name, _)| name.ends_with("state.json"))
        .unwrap()
        .1;
    assert!(state.contains("\"state\": \"connected\""), "{state}");

    let port = pool.port().to_owned();
    let environment = [
        ("PORT", port.as_str()),
        ("BIND_ADDR", "127.0.0.1"),
        ("API_KEY", API_KEY),
        ("WORKER_KEY", crate::harness::WORKER_KEY),
        ("DATA_DIR", "off"),
    ];
    let printed = Diagnosis::printed(&["support", "server"], &environment).await;
    let files = unpacked(&printed.stdout);
    let state = &files
        .iter()
        .find(|(name, _)| name.ends_with("state.json"))
        .unwrap()
        .1;
    assert!(state.contains("\"clients\""), "{state}");
    assert!(!state.contains(API_KEY), "{state}");
}
