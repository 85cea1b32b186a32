//! The Tokio runtimes that roles run on, and the return of their memory to the system.

use std::convert::Infallible;
use std::future::Future;
use std::hint::black_box;
use std::num::NonZeroUsize;
use std::time::Duration;

use anyhow::Context;
use tokio::runtime::Builder;

/// Most cores with which one thread serves. Hand-overs between threads cost more than a second core
/// brings while relays, providers or the system need it, too.
const MAX_CORES_FOR_ONE_THREAD: usize = 2;
/// The interval at which freed memory is returned to the system.
const RETURN_INTERVAL: Duration = Duration::from_secs(2);
/// The size of an allocation that makes the allocator return what was freed before. Measured with
/// mimalloc 2: after 938 MB were freed, a process without it keeps all of them for as long as it is
/// idle, one with allocations of 64 KiB, too, and one with an allocation of 1 MiB keeps 6 MB.
const RETURNING_BYTES: usize = 1 << 20;

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
    runtime.block_on(async {
        tokio::select! {
            // Biased towards the role, which alone ends.
            biased;
            result = role => result,
            never = return_memory() => match never {},
        }
    })
}

/// Makes the allocator return freed memory to the system, again and again: it does so only on the
/// occasion of a large allocation, and a process that is idle after a burst has none. Nothing of it
/// is touched, so it costs no memory.
async fn return_memory() -> Infallible {
    loop {
        tokio::time::sleep(RETURN_INTERVAL).await;
        drop(black_box(Vec::<u8>::with_capacity(RETURNING_BYTES)));
    }
}
