//! The spare program: the one that the bridge has started to ask for its revisions, from then until
//! a caller needs a program.
//!
//! Starting a program is what takes longest. A client may fall back to `initialize` in the process
//! that it has asked (MCP 2026-07-28, versioning), so the first session need not start another.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::watch;

use super::program_task::ProgramHandle;
use crate::child::{Exit, ProgramObserver};
use crate::multiplexer::Multiplexer;

/// How long a caller waits for the program's answer to the bridge's question. After that the
/// caller's own `initialize` is the next question, as some programs answer nothing before it.
const CALLER_PATIENCE: Duration = Duration::from_secs(5);

/// The place of the spare program.
pub(crate) struct SparePlace {
    state: watch::Sender<SpareState>,
}

/// What is in the place.
enum SpareState {
    Empty,
    /// A program that has not answered which revisions it supports.
    Asked(SpareProgram),
    /// A program that nothing uses.
    Idle(SpareProgram),
}

/// A program that was asked for its revisions.
pub(crate) struct SpareProgram {
    pub(super) handle: ProgramHandle,
    /// Its observer so far.
    pub(super) asked_by: Arc<Multiplexer>,
    /// True if the bridge has sent an `initialize` of its own. No session of a client can begin
    /// with it then.
    pub(super) is_initialized: bool,
}

/// The state that a caller can use a spare program in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SpareUse {
    /// The caller initializes it.
    Session,
    /// The bridge initializes it, unless it has already.
    SharedSession,
}

impl SparePlace {
    pub(super) fn new() -> Self {
        Self {
            state: watch::Sender::new(SpareState::Empty),
        }
    }

    /// Puts a program here that is being asked for its revisions.
    pub(crate) fn put(&self, handle: ProgramHandle, asked_by: Arc<Multiplexer>) {
        self.state.send_replace(SpareState::Asked(SpareProgram {
            handle,
            asked_by,
            is_initialized: false,
        }));
    }

    /// Records that the bridge is going to initialize the program. Returns false if a caller has
    /// taken it.
    pub(crate) fn begin_initialize(&self) -> bool {
        let mut is_here = false;
        self.state.send_modify(|state| {
            if let SpareState::Asked(program) = state {
                program.is_initialized = true;
                is_here = true;
            }
        });
        is_here
    }

    /// Keeps the program, which supports the revisions with sessions alone, for a caller.
    pub(crate) fn keep(&self) {
        self.state.send_modify(|state| {
            *state = match std::mem::replace(state, SpareState::Empty) {
                SpareState::Asked(program) => SpareState::Idle(program),
                other => other,
            };
        });
    }

    /// Puts a program here that waits for a caller. `is_initialized`: the bridge has initialized it.
    pub(crate) fn put_idle(
        &self,
        handle: ProgramHandle,
        asked_by: Arc<Multiplexer>,
        is_initialized: bool,
    ) {
        self.state.send_replace(SpareState::Idle(SpareProgram {
            handle,
            asked_by,
            is_initialized,
        }));
    }

    /// Takes the program out for the first exchange, if it waits here and was not initialized.
    pub(crate) fn take_for_exchange(&self) -> Option<(ProgramHandle, Arc<Multiplexer>)> {
        let mut taken = None;
        self.state.send_if_modified(|state| {
            let is_new = matches!(state, SpareState::Idle(program) if !program.is_initialized);
            if is_new {
                taken = std::mem::replace(state, SpareState::Empty).into_program();
            }
            is_new
        });
        taken.map(|program| (program.handle, program.asked_by))
    }

    /// Removes the program. Returns false if a caller has taken it.
    pub(crate) fn remove(&self) -> bool {
        !matches!(
            self.state.send_replace(SpareState::Empty),
            SpareState::Empty
        )
    }

    /// Ends the program after a time in which no caller has taken it.
    pub(crate) async fn expire(&self, idle: Duration) {
        tokio::time::sleep(idle).await;
        if let SpareState::Idle(program) = self.state.send_replace(SpareState::Empty) {
            program.handle.input.close();
        }
    }

    /// Takes the program out for a caller. Waits while it is being asked for its revisions, for some
    /// seconds at most. `None`: there is none that can be used so.
    pub(super) async fn take(&self, spare_use: SpareUse) -> Option<SpareProgram> {
        let mut state = self.state.subscribe();
        let answered = state.wait_for(
            |state| !matches!(state, SpareState::Asked(program) if program.suits(spare_use)),
        );
        let answered = tokio::time::timeout(CALLER_PATIENCE, answered)
            .await
            .is_ok();

        let mut taken = None;
        self.state.send_if_modified(|state| {
            let suits = match state {
                SpareState::Empty => false,
                SpareState::Asked(program) => !answered && program.suits(spare_use),
                SpareState::Idle(program) => program.suits(spare_use),
            };
            if suits {
                taken = std::mem::replace(state, SpareState::Empty).into_program();
            }
            suits
        });
        taken.filter(|program| !program.handle.input.is_closed())
    }
}

impl SpareState {
    fn into_program(self) -> Option<SpareProgram> {
        match self {
            Self::Empty => None,
            Self::Asked(program) | Self::Idle(program) => Some(program),
        }
    }
}

impl SpareProgram {
    fn suits(&self, spare_use: SpareUse) -> bool {
        !self.is_initialized || spare_use == SpareUse::SharedSession
    }
}

/// The observer of a program that was taken. A late answer to the bridge's question still belongs to
/// the bridge.
pub(super) struct TakenObserver<O> {
    pub(super) asked_by: Arc<Multiplexer>,
    pub(super) inner: Arc<O>,
}

impl<O: ProgramObserver> ProgramObserver for TakenObserver<O> {
    async fn on_line(&self, line: Bytes) {
        if self.asked_by.takes_response(&line) {
            return;
        }
        self.inner.on_line(line).await;
    }

    fn on_exit(&self, exit: &Exit) {
        self.asked_by.on_exit(exit);
        self.inner.on_exit(exit);
    }
}
