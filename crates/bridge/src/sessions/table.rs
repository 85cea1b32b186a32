//! The table of sessions: how many there are, and when each ends.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use llamapool_wire::{CallError, Cause};
use parking_lot::Mutex;
use tokio::sync::Semaphore;

use super::event_log::EventLog;
use super::session::Session;
use crate::launcher::Launcher;

/// The interval between two checks for abandoned and old sessions.
const LOOK: Duration = Duration::from_secs(1);
/// How long a client that only listens may take to answer a ping.
const PING_PATIENCE: Duration = Duration::from_secs(30);

/// The sessions by their ids.
pub(super) struct SessionTable {
    launcher: Launcher,
    by_id: Mutex<HashMap<Box<str>, Arc<Session>>>,
    slots: Arc<Semaphore>,
}

impl SessionTable {
    pub(super) fn new(launcher: Launcher) -> Arc<Self> {
        let max_sessions = launcher.config().max_sessions;
        let slots = Semaphore::new(max_sessions.min(Semaphore::MAX_PERMITS));
        Arc::new(Self {
            launcher,
            by_id: Mutex::default(),
            slots: Arc::new(slots),
        })
    }

    /// Begins a session with a program of its own.
    pub(super) fn begin(&self) -> Result<Arc<Session>, CallError> {
        let config = self.launcher.config();
        let slot = self.slots.clone().try_acquire_owned().map_err(|_| {
            let message = format!(
                "{} sessions are open, as many as MAX_SESSIONS allows",
                config.max_sessions
            );
            CallError::new(Cause::TooManySessions, message)
        })?;

        let id: Box<str> = format!("{:032x}", rand::random::<u128>()).into();
        let log = EventLog::new(config.replay_bytes, self.launcher.memory());
        let open = self.launcher.stats().session_opened();
        let session = self
            .launcher
            .start(|input| Arc::new(Session::new(id.clone(), input, log, open, slot)))?;

        self.by_id.lock().insert(id, session.clone());
        Ok(session)
    }

    /// Returns the session with this id, `None` if there is none or it has ended.
    pub(super) fn find(&self, id: &[u8]) -> Option<Arc<Session>> {
        let id = std::str::from_utf8(id).ok()?;
        let session = self.by_id.lock().get(id).cloned();
        session.filter(|session| !session.has_ended())
    }

    /// Removes and ends a session.
    pub(super) fn end(&self, session: &Session, why: &str) {
        self.by_id.lock().remove(&session.id);
        session.end(why);
    }

    /// Ends abandoned and old sessions. Never returns.
    pub(super) async fn expire(self: Arc<Self>) {
        let config = self.launcher.config();
        let idle = config.session_idle;
        let max_age = config.session_max_age;
        let patience = PING_PATIENCE.min(idle);

        loop {
            tokio::time::sleep(LOOK.min(idle)).await;
            self.by_id.lock().retain(|_, session| !session.has_ended());
            let all: Vec<_> = self.by_id.lock().values().cloned().collect();
            for session in all {
                if max_age.is_some_and(|max_age| session.age() >= max_age) {
                    self.end(&session, "it has reached SESSION_MAX_AGE");
                } else if session.check_abandoned(idle, patience) {
                    let why = "its client has done nothing for SESSION_IDLE_TIMEOUT";
                    self.end(&session, why);
                }
            }
        }
    }
}
