//! The table of sessions: how many there are, and when each ends.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use llamapool_limits::ShareError;
use llamapool_wire::{CallError, Cause};
use parking_lot::Mutex;
use tokio::time::Instant;

use super::event_log::EventLog;
use super::places::{SessionPlace, SessionPlaces, choose};
use super::session::Session;
use crate::caller::BridgeCaller;
use crate::launcher::{Launcher, SpareUse};

/// The interval between two checks for abandoned and old sessions.
const LOOK: Duration = Duration::from_secs(1);
/// How long a client that only listens may take to answer a ping.
const PING_PATIENCE: Duration = Duration::from_secs(30);
/// How long a new session waits for the end of one that gives way to it: longer than the program of
/// that one has until it is killed.
const PLACE_PATIENCE: Duration = Duration::from_secs(5);
/// How many sessions are ended for a new one, if others take the place first.
const MOST_ENDED: usize = 3;

/// The sessions by their ids.
pub(super) struct SessionTable {
    launcher: Launcher,
    by_id: Mutex<HashMap<Box<str>, Arc<Session>>>,
    places: SessionPlaces,
}

impl SessionTable {
    pub(super) fn new(launcher: Launcher) -> Arc<Self> {
        let most = launcher.config().sessions.max_sessions;
        Arc::new(Self {
            launcher,
            by_id: Mutex::default(),
            places: SessionPlaces::new(most),
        })
    }

    /// Begins a session with a program of its own. While all places are taken, an idle one ends
    /// for it.
    pub(super) async fn begin(&self, caller: BridgeCaller) -> Result<Arc<Session>, CallError> {
        let place = self.place(caller).await?;

        let id: Box<str> = format!("{:032x}", rand::random::<u128>()).into();
        let replay_bytes = self.launcher.config().replay_bytes;
        let memory = self.launcher.memory().of_caller(caller.claims());
        let log = EventLog::new(replay_bytes, &memory);
        let open = self.launcher.stats().session_opened();
        let program = self
            .launcher
            .program_for(caller, SpareUse::Session, |input| {
                Arc::new(Session::new(id.clone(), input, log, open, place))
            });
        let (session, _) = program.await?;

        self.by_id.lock().insert(id, session.clone());
        Ok(session)
    }

    /// Takes a place for a new session, if need be that of a session that ends for it.
    async fn place(&self, caller: BridgeCaller) -> Result<SessionPlace, CallError> {
        let deadline = Instant::now() + PLACE_PATIENCE;
        let mut ended = 0;
        loop {
            let left = self.places.left();
            tokio::pin!(left);
            // A place that is left from now on wakes this task.
            left.as_mut().enable();
            let error = match self.places.take(caller) {
                Ok(place) => return Ok(place),
                Err(error) => error,
            };

            if ended == MOST_ENDED {
                return Err(self.refusal(error, caller, LOOK));
            }
            self.end_idle(error, caller)?;
            ended += 1;
            if tokio::time::timeout_at(deadline, left).await.is_err() {
                return Err(self.refusal(error, caller, PLACE_PATIENCE));
            }
        }
    }

    /// Ends the session that gives way to a new one of the caller.
    fn end_idle(&self, error: ShareError, caller: BridgeCaller) -> Result<(), CallError> {
        let sessions: Vec<_> = {
            let by_id = self.by_id.lock();
            let open = by_id.values().filter(|session| !session.has_ended());
            open.cloned().collect()
        };
        let now = Instant::now();
        let open: Vec<_> = sessions.iter().map(|it| it.usage(now)).collect();

        let yield_after = self.launcher.config().sessions.yield_after;
        match choose(&open, caller, error, yield_after) {
            Ok(place) => {
                self.end(
                    &sessions[place],
                    "it was idle, and another one needed its place",
                );
                Ok(())
            }
            Err(wait) => Err(self.refusal(error, caller, wait)),
        }
    }

    fn refusal(&self, error: ShareError, caller: BridgeCaller, wait: Duration) -> CallError {
        let message = self.places.explain(error, caller);
        CallError::new(Cause::TooManySessions, message).with_retry_after(wait)
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
        tracing::debug!(provider = self.launcher.label(), why, "a session ends");
        session.end(why);
    }

    /// Ends abandoned and old sessions. Never returns.
    pub(super) async fn expire(self: Arc<Self>) {
        let limits = self.launcher.config().sessions;
        let patience = PING_PATIENCE.min(limits.idle);

        loop {
            tokio::time::sleep(LOOK.min(limits.idle)).await;
            self.by_id.lock().retain(|_, session| !session.has_ended());
            let all: Vec<_> = self.by_id.lock().values().cloned().collect();
            for session in all {
                if limits
                    .max_age
                    .is_some_and(|max_age| session.age() >= max_age)
                {
                    self.end(&session, "it has reached SESSION_MAX_AGE");
                } else if session.check_abandoned(limits.idle, patience) {
                    let why = "its client has done nothing for SESSION_IDLE_TIMEOUT";
                    self.end(&session, why);
                }
            }
        }
    }
}
