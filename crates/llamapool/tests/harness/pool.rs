//! A server as a process, and the relays that connect to it.

use std::ops::Deref;

use llamapool_testkit::Caller;

use super::{API_KEY, Process, Settings, WORKER_KEY};

/// A server on loopback and a free port, as a process. Dereferences to a [`Caller`] of it.
pub struct Pool {
    /// The process of the server.
    pub server: Process,
    caller: Caller,
}

impl Pool {
    /// Starts a server with the default settings, except that its event streams get no keep-alive
    /// comments.
    pub async fn start() -> Self {
        Self::with(&[]).await
    }

    /// Starts such a server with these settings besides.
    pub async fn with(settings: Settings<'_>) -> Self {
        Self::on_port("0", settings).await
    }

    /// Starts such a server on a certain port, for a server that comes back.
    pub async fn on_port(port: &str, settings: Settings<'_>) -> Self {
        // Keep-alive comments come by the clock: only tests about them want them in a provider's
        // stream. And faults that need two threads would not show where one thread serves.
        let own = [("STREAM_KEEPALIVE", "0"), ("THREADS", "2")];
        Self::start_on(port, &joined(&own, settings)).await
    }

    /// Starts a server as it is shipped, with keep-alive comments in its event streams.
    pub async fn as_shipped(settings: Settings<'_>) -> Self {
        Self::start_on("0", settings).await
    }

    async fn start_on(port: &str, settings: Settings<'_>) -> Self {
        let own = [
            ("PORT", port),
            ("BIND_ADDR", "127.0.0.1"),
            ("API_KEY", API_KEY),
            ("WORKER_KEY", WORKER_KEY),
        ];
        Self::of_server(Process::llamapool(&["server"], &joined(&own, settings))).await
    }

    /// Waits until a server that was started listens.
    pub async fn of_server(mut server: Process) -> Self {
        let event = server.event("the server listens").await;
        let address = event["address"].as_str().expect("the address is logged");

        let log = server.log_reader();
        Self {
            caller: Caller::new(format!("http://{address}"), log),
            server,
        }
    }

    /// Returns the port of the server.
    pub fn port(&self) -> &str {
        self.url.rsplit(':').next().expect("a URL with a port")
    }

    /// Starts a relay that reconnects, and waits until it is connected.
    pub async fn relay(&self, id: &str, provider_url: &str) -> Process {
        self.relay_with(id, provider_url, &[]).await
    }

    /// Starts such a relay with these settings besides.
    pub async fn relay_with(
        &self,
        id: &str,
        provider_url: &str,
        settings: Settings<'_>,
    ) -> Process {
        let relay = Self::relay_to(&self.url, id, provider_url, settings);
        self.connected(id).await;
        relay
    }

    /// Starts a relay that dials any server, and does not wait for its connection.
    pub fn relay_to(
        server_url: &str,
        id: &str,
        provider_url: &str,
        settings: Settings<'_>,
    ) -> Process {
        let own = [
            ("SERVER_URL", server_url),
            ("WORKER_KEY", WORKER_KEY),
            ("CLIENT_ID", id),
            ("PROVIDER_URL", provider_url),
            ("STATUS_ADDR", "off"),
            ("RECONNECT_MIN", "50ms"),
        ];
        Process::llamapool(&["mcp", "--reconnect"], &joined(&own, settings))
    }

    /// Starts a relay that ends when its connection is refused or lost, with the default log.
    pub fn relay_once(server_url: &str, provider_url: &str, settings: Settings<'_>) -> Process {
        let own = [
            ("SERVER_URL", server_url),
            ("WORKER_KEY", WORKER_KEY),
            ("CLIENT_ID", "once"),
            ("PROVIDER_URL", provider_url),
            ("STATUS_ADDR", "off"),
            ("LOG_LEVEL", "info"),
            ("LOG_FORMAT", "text"),
        ];
        Process::llamapool(&["mcp"], &joined(&own, settings))
    }
}

impl Deref for Pool {
    type Target = Caller;

    fn deref(&self) -> &Caller {
        &self.caller
    }
}

/// Joins two lists of settings; of two with one name the later counts.
fn joined<'a>(own: Settings<'a>, settings: Settings<'a>) -> Vec<(&'a str, &'a str)> {
    own.iter().chain(settings).copied().collect()
}
