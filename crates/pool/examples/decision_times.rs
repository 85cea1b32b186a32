//! Prints how long decisions take with ten thousand workers and a hundred thousand waiting calls, and how
//! much memory all of that takes.
//!
//! Times depend on the machine and are asserted nowhere; the tests count steps.

use std::io::Write;
use std::time::Instant;

use llamapool_pool::{
    Ask, CallId, Decision, KeyId, Outcome, Placement, Pool, PoolConfig, PoolLoad, PoolModel,
    PrefixMark, Resolution, WorkerId, WorkerSettings,
};

const WORKERS: u64 = 10_000;
const CALLS: u64 = 100_000;
const MODELS: u64 = 50;
const KEYS: u64 = 1000;
const ROUNDS: usize = 20_000;
/// One second in the pool's unit.
const SECOND: u64 = 1_000_000;

/// A pool under load, and what runs in it.
struct Crowd {
    pool: Pool,
    running: Vec<CallId>,
    now: u64,
    last_call: u64,
}

impl Crowd {
    fn new() -> Self {
        let mut pool = Pool::new(PoolConfig {
            queue_size: 2 * CALLS as usize,
            ..PoolConfig::default()
        });
        for id in 1..=WORKERS {
            let worker = WorkerId(id);
            let settings = WorkerSettings {
                slots: 2,
                ..WorkerSettings::default()
            };
            pool.worker_joined(worker, settings, SECOND);
            let models = (0..5).map(|at| PoolModel {
                name: format!("model-{}", (id + at) % MODELS),
                apis: vec!["chat".into()],
                ..PoolModel::default()
            });
            pool.set_models(worker, models.collect(), SECOND);
            let load = PoolLoad {
                resident: vec![0, 1],
                ..PoolLoad::default()
            };
            pool.set_load(worker, load, SECOND);
        }
        Self {
            pool,
            running: Vec::new(),
            now: SECOND,
            last_call: 0,
        }
    }

    /// Makes a call with a prompt of 40 KB.
    fn ask(&mut self) -> Option<Ask> {
        self.last_call += 1;
        let name = format!("model-{}", self.last_call % MODELS);
        let key = KeyId((self.last_call % KEYS) as u32);
        let Resolution::Found(model) = self.pool.resolve(&name, "chat", key) else {
            return None;
        };
        let marks = (1..=10).map(|at| PrefixMark {
            hash: self.last_call % 5000 * 100 + at,
            bytes: at * 4096,
        });
        Some(Ask {
            prompt_tokens: 10_000,
            marks: marks.collect(),
            ..Ask::new(CallId(self.last_call), key, model, "chat")
        })
    }

    fn place(&mut self, ask: Ask) {
        let call = ask.call;
        if let Placement::Run(_) = self.pool.place(ask, self.now) {
            self.pool.first_content(call, self.now);
            self.running.push(call);
        }
        self.take();
    }

    fn take(&mut self) {
        for decision in self.pool.take_decisions(self.now) {
            if let Decision::Run(call, _) = decision {
                self.pool.first_content(call, self.now);
                self.running.push(call);
            }
        }
    }

    fn finish(&mut self, at: usize) {
        let call = self.running.swap_remove(at % self.running.len());
        self.now += 100;
        self.pool.finished(call, Outcome::default(), self.now);
        self.take();
    }
}

/// Prints the median, the 99th percentile and the longest of some times in nanoseconds.
fn report(what: &str, mut times: Vec<u128>) -> std::io::Result<()> {
    times.sort_unstable();
    let at = |share: f64| {
        times
            .get((times.len() as f64 * share) as usize)
            .copied()
            .unwrap_or(0)
    };
    let [median, high, longest] = [at(0.5), at(0.99), at(0.99999)].map(|time| time as f64 / 1000.0);
    let mut output = std::io::stdout();
    writeln!(
        output,
        "{what:28} p50 {median:8.1} µs  p99 {high:8.1} µs  max {longest:8.1} µs"
    )
}

/// Prints the resident memory of this process, where the operating system shows it.
fn report_memory() -> std::io::Result<()> {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let memory = line.map_or("not known", str::trim);
    writeln!(
        std::io::stdout(),
        "{:28} {memory}",
        "resident memory, 100 000 wait"
    )
}

fn timed(rounds: usize, mut round: impl FnMut(usize)) -> Vec<u128> {
    (0..rounds)
        .map(|at| {
            let start = Instant::now();
            round(at);
            start.elapsed().as_nanos()
        })
        .collect()
}

fn main() -> std::io::Result<()> {
    let mut crowd = Crowd::new();
    let asks: Vec<Ask> = (0..ROUNDS).filter_map(|_| crowd.ask()).collect();
    let mut asks = asks.into_iter();
    let times = timed(ROUNDS - 2000, |_| {
        asks.by_ref().take(1).for_each(|ask| crowd.place(ask))
    });
    report("arrival, a worker is free", times)?;

    while crowd.pool.waiting() < CALLS as usize {
        match crowd.ask() {
            Some(ask) => crowd.place(ask),
            None => break,
        }
    }
    let asks: Vec<Ask> = (0..ROUNDS).filter_map(|_| crowd.ask()).collect();
    let mut asks = asks.into_iter();
    let times = timed(ROUNDS, |_| {
        asks.by_ref().take(1).for_each(|ask| crowd.place(ask))
    });
    report("arrival, 100 000 wait", times)?;
    report_memory()?;
    let times = timed(ROUNDS, |at| crowd.finish(at * 7919));
    report("a slot is free, 100 000 wait", times)?;
    let first = crowd.last_call - ROUNDS as u64;
    let times = timed(ROUNDS, |at| {
        crowd.pool.cancel(CallId(first + at as u64), crowd.now)
    });
    report("a caller leaves", times)?;
    let times = timed(5, |_| drop(crowd.pool.queue(10_000, crowd.now)));
    report("the queue listed", times)
}
