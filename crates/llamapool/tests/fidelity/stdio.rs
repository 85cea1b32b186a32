//! Programs that speak MCP on standard input and output, behind llamapool.
//!
//! A program gets only the environment that the settings of the relay name.

use std::path::Path;

use crate::clients::NODE;
use crate::harness::{Pool, Process, WORKER_KEY};
use crate::parts::{PATH, root};
use crate::programs::installed;

/// The id of every program here.
const ID: &str = "program";

/// A program behind a server and a relay. Dropping it ends all three.
pub(crate) struct Bridge {
    pool: Pool,
    _relay: Process,
}

impl Bridge {
    /// Starts the project's own provider for the conformance suite as a program.
    pub(crate) async fn conformance() -> Self {
        let provider = root().join("tests/parts/conformance/provider");
        Self::to(&[text(&provider), "--stdio".to_owned()]).await
    }

    /// Starts the official example server as a program.
    pub(crate) async fn everything() -> Self {
        let server = "server-everything-2026.8.31/node_modules/@modelcontextprotocol/server-everything/dist/index.js";
        Self::to(&[
            text(&installed(NODE)),
            text(&installed(server)),
            "stdio".to_owned(),
        ])
        .await
    }

    /// Starts a program with its arguments.
    pub(crate) async fn to(command: &[String]) -> Self {
        let pool = Pool::start().await;
        let parts = text(&installed(""));
        let environment = [
            ("PATH", PATH),
            ("LLAMAPOOL_PARTS", &*parts),
            ("PROVIDER_ENV", "LLAMAPOOL_PARTS"),
            ("SERVER_URL", &*pool.url),
            ("WORKER_KEY", WORKER_KEY),
            ("CLIENT_ID", ID),
            ("STATUS_ADDR", "off"),
            ("RECONNECT_MIN", "50ms"),
        ];
        let arguments = ["mcp", "--reconnect", "--"]
            .into_iter()
            .chain(command.iter().map(String::as_str));
        let relay = Process::llamapool(&arguments.collect::<Vec<_>>(), &environment);
        pool.connected(ID).await;
        Self {
            pool,
            _relay: relay,
        }
    }

    /// Returns its public URL.
    pub(crate) fn url(&self) -> String {
        self.pool.mcp(ID)
    }
}

/// Returns a path as an argument.
pub(crate) fn text(path: &Path) -> String {
    path.to_str().expect("a path in UTF-8").to_owned()
}
