//! Who owns the tasks of a bridge: all of them end with it.

use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::task::JoinSet;

/// The tasks. Clones hold the same ones.
#[derive(Clone, Default)]
pub(crate) struct Crew(Arc<Mutex<JoinSet<()>>>);

impl Crew {
    /// Takes a task on.
    pub(crate) fn take(&self, task: impl Future<Output = ()> + Send + 'static) {
        let mut tasks = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        while tasks.try_join_next().is_some() {}
        tasks.spawn(task);
    }
}
