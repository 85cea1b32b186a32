//! A runtime of its own for each server and relay: shutting it down ends all of their tasks at once,
//! as the end of a process does.

use std::future::Future;

use tokio::runtime::{Builder, Runtime};
use tokio::task::JoinHandle;

/// Two threads and all tasks on them. Dropping it ends the tasks.
pub(crate) struct OwnRuntime(Option<Runtime>);

impl OwnRuntime {
    /// Starts the threads.
    pub(crate) fn start() -> Self {
        let mut builder = Builder::new_multi_thread();
        let runtime = builder.worker_threads(2).enable_all().build();
        Self(Some(runtime.expect("threads")))
    }

    /// Starts a task. Panics after [`OwnRuntime::shut_down`].
    pub(crate) fn spawn<F>(&self, task: F) -> JoinHandle<F::Output>
    where
        F: Future<Output: Send> + Send + 'static,
    {
        let runtime = self.0.as_ref().expect("it was not shut down");
        runtime.spawn(task)
    }

    /// Ends all tasks at their next await.
    pub(crate) fn shut_down(&mut self) {
        // Not by dropping the runtime: that blocks, which is not allowed inside of another one.
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}

impl Drop for OwnRuntime {
    fn drop(&mut self) {
        self.shut_down();
    }
}
