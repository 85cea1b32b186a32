//! The Tokio runtimes that roles run on.

use std::future::Future;
use std::num::NonZeroUsize;

use anyhow::Context;
use tokio::runtime::Builder;

/// Most cores with which one thread serves. Hand-overs between threads cost more than a second core
/// brings while relays, providers or the system need it, too.
const MAX_CORES_FOR_ONE_THREAD: usize = 2;

/// Runs a role with this many worker threads, or with as many as suit the machine.
pub(crate) fn with_threads(
    threads: Option<NonZeroUsize>,
    role: impl Future<Output = anyhow::Result<()>>,
) -> anyhow::Result<()> {
    match threads.map_or_else(suitable_threads, NonZeroUsize::get) {
        1 => on_one_thread(role),
        threads => block_on(Builder::new_multi_thread().worker_threads(threads), role),
    }
}

/// Runs a role with one worker thread per core.
pub(crate) fn on_all_cores(role: impl Future<Output = anyhow::Result<()>>) -> anyhow::Result<()> {
    block_on(&mut Builder::new_multi_thread(), role)
}

/// Runs a role on this thread alone.
pub(crate) fn on_one_thread(role: impl Future<Output = anyhow::Result<()>>) -> anyhow::Result<()> {
    block_on(&mut Builder::new_current_thread(), role)
}

fn suitable_threads() -> usize {
    let cores = std::thread::available_parallelism().map_or(1, NonZeroUsize::get);

    if cores <= MAX_CORES_FOR_ONE_THREAD {
        1
    } else {
        cores
    }
}

fn block_on(
    builder: &mut Builder,
    role: impl Future<Output = anyhow::Result<()>>,
) -> anyhow::Result<()> {
    let runtime = builder.enable_all().build().context("no runtime")?;
    runtime.block_on(role)
}
