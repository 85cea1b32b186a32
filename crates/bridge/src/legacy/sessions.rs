//! The sessions of a bridge: how many there are, and when each ends.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use llamapool_wire::{CallError, Cause};
use tokio::sync::Semaphore;

use super::session::Session;
use crate::launcher::Launcher;

/// How often it is looked whether a session is abandoned or too old.
const LOOK: Duration = Duration::from_secs(1);
/// How long a client who only listens may take to say that it is there.
const PING_PATIENCE: Duration = Duration::from_secs(30);

/// The sessions.
pub(super) struct Sessions {
    launcher: Launcher,
    by_id: Mutex<HashMap<Box<str>, Arc<Session>>>,
    places: Arc<Semaphore>,
}

impl Sessions {
    pub(super) fn new(launcher: Launcher) -> Arc<Self> {
        let places = Arc::new(Semaphore::new(
            launcher.config().max_sessions.min(Semaphore::MAX_PERMITS),
        ));
        Arc::new(Self {
            launcher,
            by_id: Mutex::default(),
            places,
        })
    }

    /// Begins a session, with a program of its own.
    pub(super) fn begin(&self) -> Result<Arc<Session>, CallError> {
        let config = self.launcher.config();
        let place = self.places.clone().try_acquire_owned().map_err(|_| {
            let message = format!(
                "{} sessions are open, as many as MAX_SESSIONS allows",
                config.max_sessions
            );
            CallError::new(Cause::TooManySessions, message)
        })?;
        let id: Box<str> = format!("{:032x}", rand::random::<u128>()).into();
        let (kept_bytes, open) = (config.replay_bytes, self.launcher.load().session());
        let session = self
            .launcher
            .start(|input| Arc::new(Session::new(id.clone(), input, kept_bytes, open, place)))?;
        self.by_id().insert(id, session.clone());
        Ok(session)
    }

    /// The session of this id.
    pub(super) fn find(&self, id: &[u8]) -> Option<Arc<Session>> {
        self.by_id()
            .get(std::str::from_utf8(id).ok()?)
            .filter(|session| !session.is_over())
            .cloned()
    }

    /// Ends a session.
    pub(super) fn end(&self, session: &Session, why: &str) {
        self.by_id().remove(&session.id);
        session.end(why);
    }

    /// Ends what is abandoned or too old, for as long as the bridge lives.
    pub(super) async fn tidy(self: Arc<Self>) {
        let config = self.launcher.config();
        let (idle, max_age) = (config.session_idle, config.session_max_age);
        let patience = PING_PATIENCE.min(idle);
        loop {
            tokio::time::sleep(LOOK.min(idle)).await;
            self.by_id().retain(|_, session| !session.is_over());
            let all: Vec<_> = self.by_id().values().cloned().collect();
            for session in all {
                if max_age.is_some_and(|max_age| session.age() >= max_age) {
                    self.end(&session, "it has reached SESSION_MAX_AGE");
                } else if session.is_abandoned(idle, patience) {
                    self.end(
                        &session,
                        "its client has done nothing for SESSION_IDLE_TIMEOUT",
                    );
                }
            }
        }
    }

    fn by_id(&self) -> MutexGuard<'_, HashMap<Box<str>, Arc<Session>>> {
        self.by_id.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
