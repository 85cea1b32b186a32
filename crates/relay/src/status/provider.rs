//! The state of one provider: its health, whether it drains, and its calls.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use llamapool_mcp::ServerFacts;
use llamapool_wire::{DisplayName, Mark, Offer, ProviderHealth, people_line};
use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::time::Instant;

use super::calls::CallCounters;

/// The state of one provider. Many tasks write and read it; each part has a short lock of its own.
pub(crate) struct ProviderStatus {
    label: Arc<str>,
    state: watch::Sender<ProviderState>,
    facts: Arc<Mutex<FirstExchange>>,
    calls: Arc<CallCounters>,
    is_protected: bool,
}

/// The part of a provider's state that the server is notified of, with times of this process.
#[derive(Debug, Clone)]
pub(crate) struct ProviderState {
    pub(crate) is_draining: bool,
    pub(crate) health: Health,
    health_since: Instant,
}

/// The facts about a provider from the first exchange, cut and without characters that control a
/// terminal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProviderFacts {
    /// Its name; empty if it has none.
    pub name: DisplayName,
    /// Its version; empty if it has none.
    pub version: DisplayName,
    /// The revision of MCP that it speaks.
    pub revision: DisplayName,
    /// The number of its tools; `None` if it was not asked, or has none.
    pub tools: Option<usize>,
    /// True if it has more tools than were counted.
    pub has_more_tools: bool,
}

/// The first exchange with a provider.
#[derive(Debug, Clone, PartialEq, Eq)]
enum FirstExchange {
    /// There is none, or it is not over.
    Asked,
    /// It is over. `None`: the provider sent no facts.
    Over(Option<ProviderFacts>),
}

/// Reachability of a provider.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Health {
    /// It was not probed yet.
    Unknown,
    /// It took the last connection.
    Reachable,
    /// It did not take the last connection, because of this error.
    Unreachable(String),
}

/// Reports the health of a provider to its status. Clones report to the same status.
#[derive(Clone)]
pub(crate) struct HealthReporter {
    label: Arc<str>,
    state: watch::Sender<ProviderState>,
    facts: Arc<Mutex<FirstExchange>>,
    has_been_up: Arc<AtomicBool>,
}

impl ProviderStatus {
    /// The status of a provider that was not probed yet. `label` names it in the log;
    /// `is_protected` is true if callers must present a token of the relay's own.
    pub(crate) fn new(label: Arc<str>, is_protected: bool) -> Self {
        let state = ProviderState {
            is_draining: false,
            health: Health::Unknown,
            health_since: Instant::now(),
        };
        Self {
            label,
            state: watch::Sender::new(state),
            facts: Arc::new(Mutex::new(FirstExchange::Asked)),
            calls: Arc::default(),
            is_protected,
        }
    }

    /// Returns the state, now and at every change.
    pub(crate) fn subscribe(&self) -> watch::Receiver<ProviderState> {
        self.state.subscribe()
    }

    /// Returns the state now.
    pub(crate) fn state(&self) -> ProviderState {
        self.state.borrow().clone()
    }

    /// Returns whether the provider takes no new calls.
    pub(crate) fn is_draining(&self) -> bool {
        self.state.borrow().is_draining
    }

    /// Returns whether the provider took the last connection.
    pub(crate) fn is_reachable(&self) -> bool {
        self.state.borrow().health == Health::Reachable
    }

    /// Returns the offer that the server receives, without a bridge's load.
    pub(crate) fn offer(&self) -> Offer {
        let state = self.state();
        let for_ms = state.health_age_ms();
        let provider = match state.health {
            Health::Unknown => ProviderHealth::Unknown,
            Health::Reachable => ProviderHealth::Reachable { for_ms },
            Health::Unreachable(error) => ProviderHealth::Unreachable { for_ms, error },
        };
        Offer {
            draining: state.is_draining,
            protected: self.is_protected,
            provider,
            bridge: None,
            llm: None,
        }
    }

    /// Stops new calls, or takes them again.
    pub(crate) fn set_draining(&self, is_draining: bool) {
        self.state.send_if_modified(|state| {
            std::mem::replace(&mut state.is_draining, is_draining) != is_draining
        });
    }

    /// Returns the reporter of this provider's health.
    pub(crate) fn health_reporter(&self) -> HealthReporter {
        HealthReporter {
            label: self.label.clone(),
            state: self.state.clone(),
            facts: self.facts.clone(),
            has_been_up: Arc::default(),
        }
    }

    /// Returns the facts about the provider, `None` if there are none.
    pub(crate) fn facts(&self) -> Option<ProviderFacts> {
        match &*self.facts.lock() {
            FirstExchange::Asked => None,
            FirstExchange::Over(facts) => facts.clone(),
        }
    }

    /// Returns whether the first exchange is not over.
    pub(crate) fn is_asked(&self) -> bool {
        *self.facts.lock() == FirstExchange::Asked
    }

    /// Returns the name of the provider in the log.
    pub(crate) fn label(&self) -> &Arc<str> {
        &self.label
    }

    /// Returns how many calls have failed since the last one that went well, or since the provider was found to be
    /// reachable again.
    pub(crate) fn failing_calls(&self) -> u64 {
        let health_since = self.state.borrow().health_since;
        self.calls.failing(health_since)
    }

    /// Returns the counters of this provider's calls.
    pub(crate) fn calls(&self) -> &Arc<CallCounters> {
        &self.calls
    }

    /// Returns whether callers must present a token of the relay's own.
    pub(crate) fn is_protected(&self) -> bool {
        self.is_protected
    }
}

impl ProviderState {
    /// Returns for how long the health has been the same, in milliseconds.
    pub(crate) fn health_age_ms(&self) -> u64 {
        self.health_since.elapsed().as_millis() as u64
    }
}

impl HealthReporter {
    /// Reports that the provider took a connection.
    pub(crate) fn reachable(&self) {
        self.set(Health::Reachable);
    }

    /// Reports that the provider did not take a connection.
    pub(crate) fn unreachable(&self, error: String) {
        self.set(Health::Unreachable(error));
    }

    /// Reports the facts of the first exchange.
    pub(crate) fn set_facts(&self, facts: Option<ServerFacts>) {
        let facts = facts.map(ProviderFacts::from);
        *self.facts.lock() = FirstExchange::Over(facts.clone());
        if let Some(facts) = &facts {
            tracing::info!(
                provider = &*self.label,
                name = facts.name.as_str(),
                version = facts.version.as_str(),
                revision = facts.revision.as_str(),
                tools = facts.tools,
                banner = true,
                people = %people_line(Mark::Up, word(&self.label), facts),
                "the provider answers"
            );
        }
    }

    /// Returns whether the provider took the last connection.
    pub(crate) fn is_reachable(&self) -> bool {
        self.state.borrow().health == Health::Reachable
    }

    /// Waits until [`is_reachable`](Self::is_reachable) is no longer `was_reachable`.
    pub(crate) async fn until_changed_from(&self, was_reachable: bool) {
        // The sender lives as long as this reporter.
        let _ = self
            .state
            .subscribe()
            .wait_for(|state| (state.health == Health::Reachable) != was_reachable)
            .await;
    }

    fn set(&self, health: Health) {
        self.state.send_if_modified(|state| {
            if state.health == health {
                return false;
            }
            // Another error of an unreachable provider is not a new state: its time continues.
            let stays_unreachable = matches!(
                (&state.health, &health),
                (Health::Unreachable(_), Health::Unreachable(_))
            );
            if !stays_unreachable {
                state.health_since = Instant::now();
                self.log(&health);
            }
            state.health = health;
            true
        });
    }

    fn log(&self, health: &Health) {
        let provider = &*self.label;
        let word = word(provider);
        match health {
            Health::Unreachable(error) => tracing::warn!(
                provider,
                error,
                people = %people_line(Mark::Down, word, format_args!("provider down: {error}")),
                "the provider cannot be reached"
            ),
            _ => tracing::info!(
                provider,
                banner = !self.has_been_up.swap(true, Ordering::Relaxed),
                people = %people_line(Mark::Up, word, "provider up"),
                "the provider can be reached"
            ),
        }
    }
}

/// Returns the word of a provider in lines for people: its id, where it has one of its own.
fn word(label: &str) -> &str {
    if label.starts_with('#') {
        "provider"
    } else {
        label
    }
}

impl From<ServerFacts> for ProviderFacts {
    fn from(facts: ServerFacts) -> Self {
        Self {
            name: DisplayName::new(&facts.name),
            version: DisplayName::new(&facts.version),
            revision: DisplayName::new(&facts.revision),
            tools: facts.tools,
            has_more_tools: facts.has_more_tools,
        }
    }
}

/// Such as `files 0.6.3 · 11 tools · MCP 2025-06-18`.
impl fmt::Display for ProviderFacts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = match self.name.as_str() {
            "" => "an MCP server without a name",
            name => name,
        };
        f.write_str(name)?;
        if !self.version.as_str().is_empty() {
            write!(f, " {}", self.version.as_str())?;
        }
        if let Some(tools) = self.tools {
            let more = if self.has_more_tools { "+" } else { "" };
            let word = if tools == 1 && !self.has_more_tools {
                "tool"
            } else {
                "tools"
            };
            write!(f, " · {tools}{more} {word}")?;
        }
        write!(f, " · MCP {}", self.revision.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn facts_of_a_hostile_provider_are_short_and_harmless() {
        let facts = ProviderFacts::from(ServerFacts {
            name: format!("\u{1b}[2J\n{}", "n".repeat(10_000)),
            version: "\u{202e}1".to_owned(),
            revision: "x".repeat(10_000),
            tools: Some(1),
            has_more_tools: false,
        });

        let shown = facts.to_string();
        assert!(shown.chars().count() < 300, "{shown}");
        assert!(
            !shown.contains(llamapool_wire::controls_display),
            "{shown:?}"
        );
        assert!(shown.contains(" · 1 tool · MCP xxx"), "{shown}");
    }
}
