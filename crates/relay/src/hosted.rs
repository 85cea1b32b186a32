//! One of the relay's providers: the id under which callers reach it, what is known of it, and the way to it.
//!
//! The link to the server is not here, as all providers share it. The one rule: an id stays what it is for as long as
//! the process lives, whoever chose it.

use std::sync::OnceLock;

use llamapool_tunnel::TunnelConfig;
use llamapool_wire::RelayId;

use crate::board::ProviderBoard;
use crate::config::ProviderConfig;
use crate::providers::Provider;

/// One provider that the relay makes reachable.
pub(crate) struct Hosted {
    id: OnceLock<RelayId>,
    label: String,
    pub(crate) config: ProviderConfig,
    pub(crate) board: ProviderBoard,
    pub(crate) provider: Provider,
}

impl Hosted {
    /// The provider with this place among those of the relay, counted from 1.
    pub(crate) fn new(
        place: usize,
        config: ProviderConfig,
        tunnel: &TunnelConfig,
        tls: rustls::ClientConfig,
    ) -> Self {
        // No id has this sign, so no two providers have the same label.
        let label = config
            .id
            .as_ref()
            .map_or_else(|| format!("#{place}"), RelayId::to_string);
        let board = ProviderBoard::new(label.as_str().into(), config.auth_token.is_some());
        Self {
            id: config.id.clone().map_or_else(OnceLock::new, OnceLock::from),
            label,
            provider: Provider::new(&config, tunnel.max_header_bytes, tls, &board),
            board,
            config,
        }
    }

    /// Its id; none while it has none yet.
    pub(crate) fn id(&self) -> Option<&RelayId> {
        self.id.get()
    }

    /// Takes the id that the server says. One that the provider has already stays: the dialler made sure that it is the
    /// same.
    pub(crate) fn keep_id(&self, id: RelayId) {
        self.id.get_or_init(|| id);
    }

    /// What it is called where its id may not be known yet: the id from the settings, or its place.
    pub(crate) fn label(&self) -> &str {
        &self.label
    }
}
