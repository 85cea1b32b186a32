//! The Tokio runtimes that roles run on, and the return of their memory to the system.

use std::convert::Infallible;
use std::future::Future;
use std::hint::black_box;
use std::num::NonZeroUsize;
use std::time::Duration;

use anyhow::Context;
use llamapool_http::listen::ConnectionThreads;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::watch;

/// Most cores with which one thread serves. Hand-overs between threads cost more than a second core
/// brings while relays, providers or the system need it, too.
const MAX_CORES_FOR_ONE_THREAD: usize = 2;
/// The threads of all runtimes together for work that blocks, such as reading large bodies, and the least for one.
const BLOCKING_THREADS: usize = 512;
const MIN_BLOCKING_THREADS: usize = 4;
/// The open files of a thread's runtime: what it waits with, what wakes it, and where signals arrive.
const FILES_OF_THREAD: usize = 3;
/// The interval at which freed memory is returned to the system.
const RETURN_INTERVAL: Duration = Duration::from_secs(2);
/// The size of an allocation that makes the allocator return what was freed before. Measured with
/// mimalloc 2: after 938 MB were freed, a process without it keeps all of them for as long as it is
/// idle, one with allocations of 64 KiB, too, and one with an allocation of 1 MiB keeps 6 MB.
const RETURNING_BYTES: usize = 1 << 20;

/// Runs a role on this many threads, or on as many as suit the machine. Each has a runtime of its own: the role runs
/// on the first, and has the connections that it accepts served on all of them.
///
/// A runtime of several threads would wake the one that is free, and have it take over what is near in the caches of
/// another one: with two threads a call then takes 1.4 times the processor time.
pub(crate) fn with_threads<R>(
    threads: Option<NonZeroUsize>,
    role: impl FnOnce(ConnectionThreads) -> R,
) -> anyhow::Result<()>
where
    R: Future<Output = anyhow::Result<()>>,
{
    let threads = number_of(threads);
    if threads == 1 {
        return on_one_thread(role(ConnectionThreads::default()));
    }
    let runtimes: anyhow::Result<Vec<Runtime>> = (1..=threads)
        .map(|number| {
            let blocking = (BLOCKING_THREADS / threads).max(MIN_BLOCKING_THREADS);
            let runtime = build(Builder::new_current_thread().max_blocking_threads(blocking));
            runtime.with_context(|| not_started(number, threads))
        })
        .collect();
    let mut runtimes = runtimes?.into_iter();
    let first = runtimes.next().context("no thread")?;
    let others = runtimes.as_slice().iter();
    let handles = std::iter::once(&first)
        .chain(others)
        .map(|runtime| runtime.handle().clone());
    let role = role(ConnectionThreads::new(handles));

    std::thread::scope(|scope| {
        // Dropped with the role, also where that panics: the scope waits for all threads.
        let (_running, ended) = watch::channel(());
        for (number, runtime) in (2..).zip(runtimes) {
            let mut ended = ended.clone();
            std::thread::Builder::new()
                .name(format!("connections-{number}"))
                .spawn_scoped(scope, move || {
                    // It fails when the sender is gone.
                    let ended = async { while ended.changed().await.is_ok() {} };
                    runtime.block_on(returning_memory(ended));
                })
                .with_context(|| not_started(number, threads))?;
        }
        first.block_on(returning_memory(role))
    })
}

/// Runs a role with one worker thread per core.
pub(crate) fn on_all_cores(role: impl Future<Output = anyhow::Result<()>>) -> anyhow::Result<()> {
    block_on(&mut Builder::new_multi_thread(), role)
}

/// Runs a role on this thread alone.
pub(crate) fn on_one_thread(role: impl Future<Output = anyhow::Result<()>>) -> anyhow::Result<()> {
    block_on(&mut Builder::new_current_thread(), role)
}

fn not_started(number: usize, threads: usize) -> String {
    format!("thread {number} of {threads} cannot be started, see THREADS")
}

/// Returns how many files are open for so many threads of a role, beside those of the first one.
pub(crate) fn files_of(threads: Option<NonZeroUsize>) -> usize {
    (number_of(threads) - 1).saturating_mul(FILES_OF_THREAD)
}

fn number_of(threads: Option<NonZeroUsize>) -> usize {
    threads.map_or_else(suitable_threads, NonZeroUsize::get)
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
    build(builder)?.block_on(returning_memory(role))
}

fn build(builder: &mut Builder) -> anyhow::Result<Runtime> {
    builder.enable_all().build().context("no runtime")
}

/// Runs something, and meanwhile returns memory to the system: that of this thread, as each has its own.
async fn returning_memory<T>(running: impl Future<Output = T>) -> T {
    tokio::select! {
        // Biased towards what runs, which alone ends.
        biased;
        result = running => result,
        never = return_memory() => match never {},
    }
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
