//! The behaviour of the whole pool, with a virtual clock.

mod choosing;
mod fairness;
mod invariants;
mod names;
mod sizes;
mod translating;
mod variants;
mod waiting;
mod workers;

use crate::settings::SECOND;
use crate::{
    Ask, AskedApi, CallId, Decision, KeyId, KeySettings, Outcome, Placement, Pool, PoolConfig,
    PoolLoad, PoolModel, RefusedError, Resolution, ResolvedModel, Run, WorkerId, WorkerSettings,
};

const KEY: KeyId = KeyId(1);
const OTHER: KeyId = KeyId(2);

/// A pool with a clock, and calls with numbers of their own.
struct Kit {
    pool: Pool,
    now: u64,
    last_call: u64,
}

fn model(name: &str) -> PoolModel {
    PoolModel {
        name: name.to_owned(),
        context: 32_768,
        apis: vec!["chat".into(), "completions".into()],
        ..PoolModel::default()
    }
}

fn embedder(name: &str, digest: &str) -> PoolModel {
    PoolModel {
        digest: digest.to_owned(),
        apis: vec!["embeddings".into()],
        ..model(name)
    }
}

impl Kit {
    fn new() -> Self {
        Self::with(PoolConfig::default())
    }

    fn with(config: PoolConfig) -> Self {
        Self {
            pool: Pool::new(config),
            now: SECOND,
            last_call: 0,
        }
    }

    /// Adds a worker of a kind with slots and models, all of them loaded.
    fn worker(&mut self, id: u64, slots: u32, models: &[PoolModel]) -> WorkerId {
        let worker = self.cold_worker(id, slots, models);
        let resident: Vec<u16> = (0..models.len() as u16).collect();
        self.load(worker, &resident);
        worker
    }

    /// Adds a worker with no model loaded.
    fn cold_worker(&mut self, id: u64, slots: u32, models: &[PoolModel]) -> WorkerId {
        let worker = WorkerId(id);
        let settings = WorkerSettings {
            name: format!("worker-{id}"),
            runtime: "ollama".into(),
            slots,
            ..WorkerSettings::default()
        };
        self.pool.worker_joined(worker, settings, self.now);
        self.pool.set_models(worker, models.to_vec(), self.now);
        worker
    }

    fn load(&mut self, worker: WorkerId, resident: &[u16]) {
        let load = PoolLoad {
            resident: resident.to_vec(),
            ..PoolLoad::default()
        };
        self.pool.set_load(worker, load, self.now);
    }

    fn key(&mut self, key: KeyId, settings: KeySettings) {
        self.pool.set_key(key, settings, self.now);
    }

    fn model(&self, name: &str) -> ResolvedModel {
        self.resolve(name, "chat")
    }

    fn resolve(&self, name: &str, api: impl Into<AskedApi>) -> ResolvedModel {
        match self.pool.resolve(name, api, KEY) {
            Resolution::Found(model) => model,
            other => panic!("{name}: {other:?}"),
        }
    }

    /// Makes a chat call of a key.
    fn ask(&mut self, name: &str, key: KeyId) -> Ask {
        self.ask_api(name, key, "chat")
    }

    fn ask_api(&mut self, name: &str, key: KeyId, api: impl Into<AskedApi>) -> Ask {
        let api = api.into();
        self.last_call += 1;
        Ask {
            prompt_tokens: 100,
            ..Ask::new(CallId(self.last_call), key, self.resolve(name, api), api)
        }
    }

    fn place(&mut self, ask: Ask) -> Placement {
        self.pool.place(ask, self.now)
    }

    /// Places a call that must run.
    fn run(&mut self, ask: Ask) -> (CallId, Run) {
        let call = ask.call;
        match self.place(ask) {
            Placement::Run(run) => (call, run),
            other => panic!("{call:?} does not run: {other:?}"),
        }
    }

    /// Places a call that must wait.
    fn wait(&mut self, ask: Ask) -> CallId {
        let call = ask.call;
        match self.place(ask) {
            Placement::Waiting { .. } => call,
            other => panic!("{call:?} does not wait: {other:?}"),
        }
    }

    fn refused(&mut self, ask: Ask) -> RefusedError {
        match self.place(ask) {
            Placement::Refused(error) => error,
            other => panic!("not refused: {other:?}"),
        }
    }

    fn finish(&mut self, call: CallId) {
        self.pool.finished(call, Outcome::default(), self.now);
    }

    fn pass(&mut self, time: u64) -> Vec<Decision> {
        self.now += time;
        self.decisions()
    }

    fn decisions(&mut self) -> Vec<Decision> {
        self.pool.take_decisions(self.now)
    }

    /// Returns the calls that run now, and fails for every other decision.
    fn started(&mut self) -> Vec<CallId> {
        let decisions = self.decisions().into_iter();
        decisions
            .map(|decision| match decision {
                Decision::Run(call, _) => call,
                Decision::Expired(call, why) => panic!("{call:?} expired: {why}"),
            })
            .collect()
    }
}
