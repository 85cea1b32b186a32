//! What people see of a relay while it runs: where callers reach its providers, and how these are.

use std::ffi::OsString;
use std::sync::Arc;
use std::time::Duration;

use http::Uri;
use llamapool_bridge::StartingProgram;
use llamapool_wire::llm::{Models, RuntimeInfo};
use llamapool_wire::{ProviderHealth, RelayId};

use crate::app::App;
use crate::config::ProviderKind;
use crate::providers::entry::ProviderEntry;
use crate::status::provider::ProviderFacts;

/// A handle to what people see of a relay.
#[derive(Clone)]
pub struct RelayView(Arc<App>);

/// What people see of one provider.
#[derive(Debug, Clone)]
pub struct ProviderView {
    /// The id, `None` while the server has not assigned it.
    pub id: Option<RelayId>,
    /// True if the server has assigned the id, or is going to: nobody can guess it.
    pub is_assigned: bool,
    /// The URL under which callers reach it, `None` before the first connection.
    pub public_url: Option<String>,
    /// What the relay starts or dials for it.
    pub target: ProviderTarget,
    /// True if callers must present a token of the relay's own.
    pub is_protected: bool,
    /// Its reachability.
    pub health: ProviderHealth,
    /// Its facts from the first exchange.
    pub facts: Option<ProviderFacts>,
    /// True if that exchange is not over.
    pub is_asked: bool,
    /// The program that has not written a message yet.
    pub starting: Option<StartingProgram>,
    /// Its state, if it is an LLM runtime.
    pub runtime: Option<(RuntimeInfo, Option<Models>)>,
}

/// What the relay starts or dials for a provider.
#[derive(Debug, Clone)]
pub enum ProviderTarget {
    /// A program, with its arguments.
    Program(Vec<OsString>),
    /// A server.
    Url(Uri),
}

impl RelayView {
    pub(crate) fn new(app: Arc<App>) -> Self {
        Self(app)
    }

    /// Returns what is to be seen of every provider now, in the order of the configuration.
    pub fn providers(&self) -> Vec<ProviderView> {
        let base = self.0.link.public_base();
        let view = |entry: &Arc<ProviderEntry>| ProviderView {
            id: entry.id().cloned(),
            is_assigned: entry.config.id.is_none(),
            public_url: entry.public_url(base.as_ref()),
            target: target(&entry.config.kind),
            is_protected: entry.status.is_protected(),
            health: entry.status.offer().provider,
            facts: entry.status.facts(),
            is_asked: asks_for_facts(&entry.config.kind) && entry.status.is_asked(),
            starting: entry.provider.starting(),
            runtime: entry.provider.runtime().map(|runtime| {
                let models = runtime.models().borrow().clone();
                (runtime.info().borrow().clone(), models)
            }),
        };
        self.0.providers().iter().map(view).collect()
    }

    /// Returns how many calls run, and for how many of them a client only listens.
    pub fn running(&self) -> (usize, usize) {
        let entries = self.0.roster.all_entries();
        let listeners = entries.iter().map(|entry| entry.listeners.open());
        (self.0.running_calls(), listeners.sum())
    }

    /// Returns how long running calls may go on when the relay stops.
    pub fn patience(&self) -> Duration {
        self.0.config.drain_timeout
    }
}

fn asks_for_facts(kind: &ProviderKind) -> bool {
    match kind {
        ProviderKind::Stdio(bridge) => bridge.asks_for_facts,
        ProviderKind::Http(http) => http.asks_for_facts,
        ProviderKind::Llm(_) => false,
    }
}

fn target(kind: &ProviderKind) -> ProviderTarget {
    match kind {
        ProviderKind::Stdio(bridge) => ProviderTarget::Program(bridge.command.clone()),
        ProviderKind::Http(http) => ProviderTarget::Url(http.url.clone()),
        ProviderKind::Llm(llm) => ProviderTarget::Url(llm.url.clone()),
    }
}
