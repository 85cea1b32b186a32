//! The errors of dialling the server.

use std::time::Duration;

use http::StatusCode;
use llamapool_wire::Refusal;

/// The server was not reached.
#[derive(Debug, thiserror::Error)]
pub enum DialError {
    /// No connection was made.
    #[error("cannot connect to {server}: {error}")]
    Connect {
        /// The server's address.
        server: String,
        /// The error of the system, the proxy or TLS.
        error: String,
    },
    /// Connecting took too long.
    #[error("no connection to {server} within {timeout:?}, see CONNECT_TIMEOUT")]
    Timeout {
        /// The server's address.
        server: String,
        /// The time that connecting may take.
        timeout: Duration,
    },
    /// The server refused the relay.
    #[error("the server refused the relay with status {status}: {message}")]
    Refused {
        /// The status of the response.
        status: StatusCode,
        /// The reason, if the response is a refusal of a llamapool server.
        refusal: Option<Refusal>,
        /// The text of the response.
        message: String,
        /// How long the server asks to wait.
        retry_after: Duration,
    },
    /// The response is no upgrade to a tunnel.
    #[error("the answer is not that of a llamapool server: {0}")]
    Handshake(String),
}
