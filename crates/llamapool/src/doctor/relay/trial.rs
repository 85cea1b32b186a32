//! A real relay for the time of a check: it dials, registers, and serves one provider.

use std::time::Duration;

use llamapool_relay::{
    DisconnectedError, LinkState, ProviderConfig, Reconnect, Relay, RelayConfig, StatusBind,
    StatusConfig,
};
use llamapool_wire::{DisplayName, RelayId};
use tokio::sync::{oneshot, watch};
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::asking::TrialId;

/// How long the end of a trial may take: its calls have ended before.
const END: Duration = Duration::from_secs(3);
/// How long a relay that is connected may take to be in the directory of the server.
const REGISTRATION: Duration = Duration::from_millis(100);

/// A relay that is connected. Dropping it ends it.
pub(super) struct Trial {
    pub(super) id: RelayId,
    link: watch::Receiver<LinkState>,
    stop: oneshot::Sender<()>,
    relay: JoinSet<Result<(), DisconnectedError>>,
}

impl Trial {
    /// Connects a relay with one provider under an id.
    ///
    /// # Errors
    ///
    /// A text for people, if it is not connected.
    pub(super) async fn start(
        config: &RelayConfig,
        id: &TrialId,
        provider: ProviderConfig,
    ) -> Result<Self, String> {
        let mut config = config.clone();
        if id.is_temporary {
            // The server would keep the id for those who have the secret.
            config.identity.client_secret = None;
        }
        let id = &id.id;
        config.identity.name = DisplayName::new("llamapool doctor");
        config.reconnect = Reconnect::Never;
        config.drain_timeout = Duration::ZERO;
        config.providers = vec![ProviderConfig {
            id: Some(id.clone()),
            ..provider
        }];
        config.status = StatusConfig {
            bind: StatusBind::Off,
            token: None,
            metrics_bind: None,
        };
        let patience = config.dial.connect_timeout;
        let relay = Relay::bind(config)
            .await
            .map_err(|error| error.to_string())?;
        let link = relay.link();
        let (stop, stopped) = oneshot::channel::<()>();
        let mut running = JoinSet::new();
        running.spawn(relay.run(async {
            // Also when the sender is dropped.
            let _ = stopped.await;
        }));

        let mut trial = Self {
            id: id.clone(),
            link,
            stop,
            relay: running,
        };
        let connecting = timeout(patience, trial.connected()).await;
        connecting.unwrap_or_else(|_| Err(format!("not connected within {patience:?}")))?;
        tokio::time::sleep(REGISTRATION).await;
        Ok(trial)
    }

    async fn connected(&mut self) -> Result<(), String> {
        let is_up = |state: &LinkState| matches!(state, LinkState::Connected { .. });
        tokio::select! {
            // Biased towards the error, which is lost with the relay.
            biased;
            ended = self.relay.join_next() => Err(match ended {
                Some(Ok(Err(error))) => error.to_string(),
                _ => "the relay has ended".to_owned(),
            }),
            up = self.link.wait_for(is_up) => match up {
                Ok(_) => Ok(()),
                Err(_) => Err("the relay has ended".to_owned()),
            },
        }
    }

    /// Returns why the tunnel is not up any more, `None` while it is.
    pub(super) fn lost(&self) -> Option<String> {
        match &*self.link.borrow() {
            LinkState::Connected { .. } => None,
            LinkState::Waiting { error } => Some(error.clone()),
            LinkState::Connecting => Some("the tunnel has ended".to_owned()),
        }
    }

    /// Ends the relay.
    pub(super) async fn end(mut self) {
        drop(self.stop);
        // What has not ended by then ends with the set.
        let _ = timeout(END, self.relay.join_next()).await;
    }
}
