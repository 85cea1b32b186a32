//! The banner of the server: where callers and relays reach it, with which keys, and what comes next.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use llamapool_identity::AccessMode;
use llamapool_server::{LlmAccess, Server, ServerConfig};
use llamapool_wire::{PublicBase, Secret};

use crate::settings::GeneratedKey;
use crate::terminal::{banner, middle_cut};

/// How much of a key is shown at either end: enough to recognize it by.
const KEY_ENDS: usize = 6;
/// A program to begin with, in the hint to what comes next.
const PROGRAM: &str = "npx -y @modelcontextprotocol/server-everything";

/// What the banner of a server shows.
pub(super) struct ServerBanner {
    /// The base of the callers' URLs.
    base: String,
    /// True if that base is configured, and not guessed.
    has_public_url: bool,
    keys: Vec<GeneratedKey>,
    is_open: bool,
    shows_keys: bool,
    access: Vec<(String, AccessMode)>,
    llm: Option<LlmAccess>,
    metrics: Option<SocketAddr>,
    administration: Option<SocketAddr>,
    took: Duration,
}

impl ServerBanner {
    /// The banner of a configuration whose server listens at this address.
    pub(super) fn new(config: &ServerConfig, keys: Vec<GeneratedKey>, shows_keys: bool) -> Self {
        let configured = config.listen.public_url.as_ref();
        let configured = configured.and_then(|url| PublicBase::parse(&url.to_string()));
        let scheme = if config.listen.tls.is_some() {
            "https"
        } else {
            "http"
        };
        Self {
            has_public_url: configured.is_some(),
            base: configured.map_or(format!("{scheme}://"), |base| base.as_str().to_owned()),
            is_open: config.auth.keys.worker.is_none(),
            keys,
            shows_keys,
            access: Vec::new(),
            llm: None,
            metrics: None,
            administration: None,
            took: Duration::ZERO,
        }
    }

    /// Adds what the server has, once it is bound.
    pub(super) fn complete(&mut self, server: &Server, took: Duration) -> io::Result<()> {
        let host = gethostname::gethostname();
        self.listens_at(server.address()?, &host.to_string_lossy());
        self.access = server.access();
        self.llm = Some(server.llm_access());
        self.metrics = server.metrics_address()?;
        self.administration = server.admin_address()?;
        self.took = took;
        Ok(())
    }

    /// Notes the address that the server listens at, which counts where there is no public URL.
    fn listens_at(&mut self, address: SocketAddr, host: &str) {
        if !self.has_public_url {
            let host = if address.ip().is_unspecified() {
                host.to_owned()
            } else {
                SocketAddr::new(address.ip(), 0)
                    .to_string()
                    .trim_end_matches(":0")
                    .to_owned()
            };
            self.base.push_str(&format!("{host}:{}", address.port()));
        }
    }

    /// Returns the lines.
    pub(super) fn lines(&self) -> Vec<String> {
        let title = banner::title("server");
        let relays = self.relays_url();
        let mut lines = vec![format!("{title}   ready in {} ms", self.took.as_millis())];

        let hint = if self.has_public_url {
            ""
        } else {
            "   (set PUBLIC_URL for what callers really use)"
        };
        lines.extend(banner::row(
            "callers",
            &format!("{}/api/mcp/id/<id>{hint}", self.base),
        ));
        lines.extend(self.access_rows());
        lines.extend(banner::row(
            "relays",
            &format!("{relays}   {}", self.key_text(Door::Relays)),
        ));
        let state = format!("{}/api/state   {}", self.base, self.key_text(Door::State));
        lines.extend(banner::row("state", &state));
        if let Some(address) = self.administration {
            lines.extend(banner::row(
                "admin API",
                &format!("http://{address}/api/admin"),
            ));
        }
        if let Some(address) = self.metrics {
            lines.extend(banner::row("metrics", &format!("http://{address}/metrics")));
        }
        if !self.base.starts_with("https:") {
            lines.extend(banner::note(
                "! no https: Claude and ChatGPT need it on port 443. --acme-domains pool.example, or a \
                 reverse proxy: docs/guides/tls.md",
            ));
        }
        let (command, program) = self.next(&relays);
        lines.extend(banner::row("next", &command));
        lines.extend(banner::row("", &program));
        lines
    }

    fn relays_url(&self) -> String {
        // `http` becomes `ws`, and `https` `wss`.
        format!("ws{}", self.base.strip_prefix("http").unwrap_or_default())
    }

    fn access_rows(&self) -> Vec<String> {
        let mut rows = Vec::new();
        for (ids, mode) in &self.access {
            let text = match mode {
                AccessMode::Open => {
                    "open: who knows an id can call it, unless its relay asks for a token"
                }
                AccessMode::Keys => "callers need a key: llamapool key create caller",
                AccessMode::SignIn => "callers need a key, or sign in with one",
            };
            let label = if rows.is_empty() { "access" } else { "" };
            rows.extend(banner::row(label, &format!("{ids}   {text}")));
        }
        if let Some(llm) = self.llm {
            let text = match llm {
                LlmAccess::Open => "/v1   open: who reaches the server can use its models",
                LlmAccess::Keys => "/v1   callers need API_KEY, or a key for the model",
            };
            rows.extend(banner::row("", text));
        }
        rows
    }

    fn key_text(&self, door: Door) -> String {
        match self.generated(door) {
            _ if self.is_open => "no key: --no-auth".to_owned(),
            None => format!("key  as set in {}", door.setting()),
            Some(key) if self.shows_keys => format!("key  {}   (made for this run)", key.expose()),
            Some(key) => format!(
                "key  {}   (made for this run: --show-keys prints it whole)",
                middle_cut(key.expose(), KEY_ENDS)
            ),
        }
    }

    /// Returns a command in two lines, which a shell takes as one.
    fn next(&self, relays: &str) -> (String, String) {
        let key = match self.generated(Door::Relays) {
            _ if self.is_open => String::new(),
            Some(key) if self.shows_keys => format!("WORKER_KEY={} ", key.expose()),
            _ => "WORKER_KEY=… ".to_owned(),
        };
        let command = format!("{key}llamapool mcp --server-url {relays} \\");
        (command, format!("-- {PROGRAM}"))
    }

    fn generated(&self, door: Door) -> Option<&Secret> {
        self.keys.iter().find_map(|key| match (key, door) {
            (GeneratedKey::Api(key), Door::State) => Some(key),
            (GeneratedKey::Worker(key), Door::Relays) => Some(key),
            _ => None,
        })
    }
}

/// A door with a key of its own.
#[derive(Debug, Clone, Copy)]
enum Door {
    Relays,
    State,
}

impl Door {
    fn setting(self) -> &'static str {
        match self {
            Self::Relays => "WORKER_KEY",
            Self::State => "API_KEY",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn banner(shows_keys: bool) -> ServerBanner {
        let key = |text: &str| Secret::new(text.to_owned());
        ServerBanner {
            base: "http://".to_owned(),
            has_public_url: false,
            keys: vec![
                GeneratedKey::Worker(key("6ac8f01122334455667788990010bec2")),
                GeneratedKey::Api(key("77aa001122334455667788990022ff01")),
            ],
            is_open: false,
            shows_keys,
            access: vec![("*".to_owned(), AccessMode::Open)],
            llm: Some(LlmAccess::Keys),
            metrics: Some(([127, 0, 0, 1], 9090).into()),
            administration: None,
            took: Duration::from_millis(12),
        }
    }

    fn lines(mut banner: ServerBanner) -> String {
        banner.listens_at(([0, 0, 0, 0], 8080).into(), "home");
        banner.lines().join("\n")
    }

    #[test]
    fn a_banner_says_where_and_with_which_keys() {
        let version = env!("CARGO_PKG_VERSION");

        assert_eq!(
            lines(banner(false)),
            format!("  llamapool {version} server   ready in 12 ms
  callers      http://home:8080/api/mcp/id/<id>   (set PUBLIC_URL for what callers really use)
  access       *   open: who knows an id can call it, unless its relay asks for a token
               /v1   callers need API_KEY, or a key for the model
  relays       ws://home:8080   key  6ac8f0…10bec2   (made for this run: --show-keys prints it whole)
  state        http://home:8080/api/state   key  77aa00…22ff01   (made for this run: --show-keys prints it whole)
  metrics      http://127.0.0.1:9090/metrics
  ! no https: Claude and ChatGPT need it on port 443. --acme-domains pool.example, or a reverse proxy:
    docs/guides/tls.md
  next         WORKER_KEY=… llamapool mcp --server-url ws://home:8080 \\
               -- npx -y @modelcontextprotocol/server-everything")
        );
    }

    #[test]
    fn keys_are_whole_only_if_that_is_asked_for() {
        let key = "6ac8f01122334455667788990010bec2";

        assert!(!lines(banner(false)).contains(key));
        assert_eq!(lines(banner(true)).matches(key).count(), 2);
    }
}
