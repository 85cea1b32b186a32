//! The counts of attempts, with a virtual clock: what is reported, what is estimated, and that each call
//! is charged once, with what its caller has seen.

use std::collections::BTreeMap;

use llamapool_dialect::Endpoint;
use llamapool_pool::{
    Ask, BudgetKind, BudgetLimits, Decision, Placement, Pool, PoolConfig, PoolModel, Resolution,
    ResolvedModel, Retry, WorkerSettings,
};
use proptest::prelude::*;

use super::*;

const SECOND: u64 = 1_000_000;
const KEY: KeyId = KeyId(1);
const WORKER: WorkerId = WorkerId(7);
const CALL: CallId = CallId(1);
const ESTIMATE: Estimate = Estimate {
    prompt: 30,
    completion: 12,
};

/// Returns what an attempt with a model is sent for.
fn of(model: &str) -> AttemptOf {
    AttemptOf {
        model: model.into(),
        model_at_worker: model.into(),
        endpoint: Endpoint::ChatCompletions,
        meter: None,
    }
}

/// Returns a ledger with one attempt whose answer goes to the caller, for a key with a bucket of 1000
/// tokens, of which 100 are reserved.
fn answered() -> Ledger<()> {
    let mut ledger = Ledger::default();
    let limits = BudgetLimits {
        tokens_per_day: Some(1000),
        ..BudgetLimits::default()
    };
    ledger.budget.set_key(KEY, limits);
    let reservation = ledger.budget.reserve(KEY, 100, 0).unwrap();
    ledger.begin(5, ((WORKER, ()), CALL), of("m"), 0);
    ledger.answered(5, reservation, Estimate::default());
    ledger
}

fn left(ledger: &Ledger<()>) -> u64 {
    let left = ledger.budget.remaining(KEY, BudgetKind::TokensPerDay, 0);
    left.unwrap().0
}

fn report(prompt: u64, completion: u64) -> CallReport {
    CallReport {
        attempt: 5,
        prompt,
        completion,
        source: CountSource::Usage,
        ..CallReport::default()
    }
}

fn settled(event: Option<LedgerEvent<()>>) -> SettledAttempt<()> {
    match event {
        Some(LedgerEvent::Settled(settled)) => settled,
        Some(LedgerEvent::Freed(..)) => panic!("freed, not settled"),
        None => panic!("nothing happened"),
    }
}

#[test]
fn a_report_settles_an_attempt_that_is_over() {
    let mut ledger = answered();
    assert!(ledger.close(5, ESTIMATE, SECOND).is_none());

    let settled = settled(ledger.report(WORKER, &report(20, 8), SECOND));

    assert_eq!(settled.key, Some(KEY));
    assert_eq!((settled.report.prompt, settled.report.completion), (20, 8));
    assert!(settled.frees.is_some());
    assert_eq!(left(&ledger), 972);
    assert!(
        ledger.report(WORKER, &report(20, 8), SECOND).is_none(),
        "once"
    );
}

#[test]
fn an_attempt_without_a_report_is_estimated_after_30_seconds() {
    let mut ledger = answered();
    ledger.close(5, ESTIMATE, SECOND);

    let freed = ledger.due(SECOND + REPORT_GRACE);
    let before = ledger.due(SECOND + REPORT_GRACE + REPORT_TIMEOUT - 1);
    let after = ledger.due(SECOND + REPORT_GRACE + REPORT_TIMEOUT);
    let late = ledger.report(WORKER, &report(20, 8), 40 * SECOND);

    assert!(
        matches!(freed[..], [LedgerEvent::Freed(CALL, _)]),
        "its slot"
    );
    assert!(before.is_empty());
    assert_eq!(after.len(), 1);
    let settled = settled(after.into_iter().next());
    assert_eq!((settled.report.prompt, settled.report.completion), (30, 12));
    assert_eq!(settled.report.source, CountSource::Estimate, "the flag");
    assert!(settled.frees.is_none(), "its slot was free already");
    assert_eq!(left(&ledger), 958);
    assert!(late.is_none(), "charged once");
    assert_eq!(ledger.next_deadline(), None);
}

#[test]
fn a_report_within_30_seconds_counts_although_the_slot_is_free() {
    let mut ledger = answered();
    ledger.close(5, ESTIMATE, 0);
    ledger.due(REPORT_GRACE);

    let settled = settled(ledger.report(WORKER, &report(20, 8), 29 * SECOND));

    assert_eq!(settled.report.source, CountSource::Usage);
    assert!(settled.frees.is_none());
    assert_eq!(left(&ledger), 972);
}

#[test]
fn attempts_of_a_lost_worker_are_estimated_at_once() {
    let mut ledger = answered();
    ledger.begin(6, ((WORKER, ()), CallId(2)), of("m"), 0);
    ledger.begin(7, ((WorkerId(8), ()), CallId(3)), of("m"), 0);
    ledger.close(5, ESTIMATE, SECOND);

    let mut events = ledger.worker_left(WORKER, SECOND);

    assert_eq!(events.len(), 1, "the one that is over");
    let settled = settled(events.pop());
    assert_eq!(settled.report.source, CountSource::Estimate);
    assert!(settled.frees.is_some());
    assert_eq!(left(&ledger), 958);
    assert!(ledger.worker_left(WORKER, SECOND).is_empty());
    assert_eq!(ledger.attempts.len(), 2);
}

#[test]
fn a_report_of_another_worker_changes_nothing() {
    let mut ledger = answered();
    ledger.close(5, ESTIMATE, 0);

    let foreign = ledger.report(WorkerId(8), &report(1 << 31, 1 << 31), 0);
    let unknown = CallReport {
        attempt: 6,
        ..report(1 << 31, 1 << 31)
    };
    let unknown = ledger.report(WORKER, &unknown, 0);

    assert!(foreign.is_none() && unknown.is_none());
    assert_eq!(left(&ledger), 900, "what is reserved");
    let own = settled(ledger.report(WORKER, &report(20, 8), 0));
    assert_eq!(own.report.prompt, 20);
}

#[test]
fn what_is_not_trusted_is_completed_by_the_estimate() {
    let mut ledger = answered();
    ledger.close(5, ESTIMATE, 0);
    let counted = CallReport {
        source: CountSource::Events,
        ..report(0, 9)
    };

    let settled = settled(ledger.report(WORKER, &counted, 0));

    assert_eq!((settled.report.prompt, settled.report.completion), (30, 9));
}

/// A call of the simulation.
#[derive(Debug, Clone)]
struct Simulated {
    key: KeyId,
    model: usize,
    /// Its worker and the number of its attempt, while it runs.
    on: Option<(WorkerId, u64)>,
    reserved: u64,
}

/// A report on its way.
struct OnItsWay {
    at: u64,
    worker: WorkerId,
    report: CallReport,
}

/// Counts by key and model.
type Counts = BTreeMap<(KeyId, usize), (u64, u64)>;

const MODELS: [&str; 2] = ["a", "b"];
const WORKERS: [WorkerId; 3] = [WorkerId(1), WorkerId(2), WorkerId(3)];

/// An hour of calls that are answered, fail over and are cancelled.
struct Hour {
    random: u64,
    now: u64,
    pool: Pool,
    ledger: Ledger<()>,
    calls: BTreeMap<CallId, Simulated>,
    reservations: BTreeMap<CallId, Reservation>,
    reports: Vec<OnItsWay>,
    last: u64,
    seen: Counts,
    charged: Counts,
    wasted: u64,
    freed: usize,
    answered: usize,
}

impl Hour {
    fn new(seed: u64) -> Self {
        let mut pool = Pool::new(PoolConfig::default());
        let mut ledger = Ledger::default();
        for worker in WORKERS {
            let settings = WorkerSettings {
                slots: 3,
                ..WorkerSettings::default()
            };
            pool.worker_joined(worker, settings, 0);
            let models = MODELS.map(|name| PoolModel {
                name: name.to_owned(),
                apis: vec!["chat".into()],
                ..PoolModel::default()
            });
            pool.set_models(worker, models.to_vec(), 0);
        }
        for key in 0..3 {
            let limits = BudgetLimits {
                tokens_per_day: Some(u64::MAX >> 8),
                ..BudgetLimits::default()
            };
            ledger.budget.set_key(KeyId(key), limits);
        }
        Self {
            random: seed | 1,
            now: 0,
            pool,
            ledger,
            calls: BTreeMap::new(),
            reservations: BTreeMap::new(),
            reports: Vec::new(),
            last: 0,
            seen: Counts::new(),
            charged: Counts::new(),
            wasted: 0,
            freed: 0,
            answered: 0,
        }
    }

    /// Returns a number below another one (xorshift, which a test of counts is content with).
    fn below(&mut self, number: u64) -> u64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        self.random % number
    }

    fn model(&self, model: usize) -> ResolvedModel {
        match self.pool.resolve(MODELS[model], "chat", KEY) {
            Resolution::Found(found) => found,
            other => panic!("{other:?}"),
        }
    }

    fn place(&mut self) {
        self.last += 1;
        let call = CallId(self.last);
        let key = KeyId(self.below(3) as u32);
        let model = self.below(2) as usize;
        let reserved = 1 + self.below(2000);
        let reservation = self.ledger.budget.reserve(key, reserved, self.now).unwrap();
        self.reservations.insert(call, reservation);
        self.calls.insert(
            call,
            Simulated {
                key,
                model,
                on: None,
                reserved,
            },
        );
        let ask = Ask::new(call, key, self.model(model), "chat");
        let placement = self.pool.place(ask, self.now);
        self.placed(call, placement);
    }

    fn placed(&mut self, call: CallId, placement: Placement) {
        match placement {
            Placement::Run(run) => self.send(call, run.worker),
            Placement::Waiting { .. } => {}
            Placement::Refused(_) => self.give_up(call),
        }
    }

    /// A call ends without an answer: what it reserved is given back.
    fn give_up(&mut self, call: CallId) {
        self.calls.remove(&call);
        let reservation = self.reservations.remove(&call).unwrap();
        self.ledger.budget.settle(reservation, 0, self.now);
    }

    fn send(&mut self, call: CallId, worker: WorkerId) {
        self.last += 1;
        let number = self.last;
        let state = self.calls.get_mut(&call).unwrap();
        state.on = Some((worker, number));
        let of = of(MODELS[state.model]);
        self.ledger
            .begin(number, ((worker, ()), call), of, self.now);
    }

    /// Reports an attempt, at once or within 29 s.
    fn report(&mut self, worker: WorkerId, attempt: u64, end: CallEnd) -> CallReport {
        let report = CallReport {
            attempt,
            end,
            prompt: 1 + self.below(1000),
            completion: self.below(1000),
            source: CountSource::Usage,
            ..CallReport::default()
        };
        let delay = self.below(4) * self.below(29 * SECOND / 3);
        self.reports.push(OnItsWay {
            at: self.now + delay,
            worker,
            report: report.clone(),
        });
        report
    }

    /// Something happens to a running call.
    fn go_on(&mut self) {
        let running = self.calls.iter().filter_map(|(call, state)| {
            let (worker, number) = state.on?;
            Some((*call, worker, number))
        });
        let running: Vec<_> = running.collect();
        if running.is_empty() {
            return;
        }
        let at = self.below(running.len() as u64) as usize;
        let (call, worker, number) = running[at];
        match self.below(6) {
            0 => self.fail_over(call, worker, number),
            1 => self.cancel_before_content(call, worker, number),
            2 => self.answer(call, worker, number, CallEnd::Cancelled),
            _ => self.answer(call, worker, number, CallEnd::Complete),
        }
    }

    fn fail_over(&mut self, call: CallId, worker: WorkerId, number: u64) {
        if self.below(2) == 0 {
            self.report(worker, number, CallEnd::Failed);
        }
        let event = self.ledger.abandon(number, self.now);
        self.take(event);
        self.calls.get_mut(&call).unwrap().on = None;
        let placement = self.pool.retry(call, Retry::OtherWorker, self.now);
        self.placed(call, placement);
    }

    fn cancel_before_content(&mut self, call: CallId, worker: WorkerId, number: u64) {
        self.report(worker, number, CallEnd::Cancelled);
        let event = self.ledger.abandon(number, self.now);
        self.take(event);
        self.pool.finished(call, Outcome::default(), self.now);
        self.give_up(call);
    }

    /// A call is answered to its end, or left by its caller in the middle of the answer.
    fn answer(&mut self, call: CallId, worker: WorkerId, number: u64, end: CallEnd) {
        let reservation = self.reservations.remove(&call).unwrap();
        let state = self.calls.remove(&call).unwrap();
        assert!(state.reserved > 0);
        let estimate = Estimate::default();
        self.pool.first_content(call, self.now);
        self.ledger.answered(number, reservation, estimate);

        let report = self.report(worker, number, end);
        let seen = self.seen.entry((state.key, state.model)).or_default();
        seen.0 += report.prompt;
        seen.1 += report.completion;
        self.answered += 1;
        if self.below(3) == 0 {
            self.deliver(); // Reports often come before the last byte.
        }
        let event = self.ledger.close(number, estimate, self.now);
        self.take(event);
    }

    fn deliver(&mut self) {
        let now = self.now;
        let due: Vec<OnItsWay> = self.reports.extract_if(.., |one| one.at <= now).collect();
        for one in due {
            let event = self.ledger.report(one.worker, &one.report, now);
            self.take(event);
        }
    }

    fn take(&mut self, events: impl IntoIterator<Item = LedgerEvent<()>>) {
        for event in events {
            let frees = match event {
                LedgerEvent::Freed(call, outcome) => Some((call, outcome)),
                LedgerEvent::Settled(settled) => {
                    self.count(&settled);
                    settled.frees
                }
            };
            if let Some((call, outcome)) = frees {
                self.freed += 1;
                self.pool.finished(call, outcome, self.now);
            }
        }
    }

    fn count(&mut self, settled: &SettledAttempt<()>) {
        let report = &settled.report;
        let Some(key) = settled.key else {
            self.wasted += report.prompt + report.completion;
            return;
        };
        let model = MODELS.iter().position(|name| **name == *settled.of.model);
        let charged = self.charged.entry((key, model.unwrap())).or_default();
        charged.0 += report.prompt;
        charged.1 += report.completion;
    }

    fn pass(&mut self, time: u64) {
        self.now += time;
        self.deliver();
        let due = self.ledger.due(self.now);
        self.take(due);
        for decision in self.pool.take_decisions(self.now) {
            match decision {
                Decision::Run(call, run) => self.send(call, run.worker),
                Decision::Expired(call, _) => self.give_up(call),
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 20,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    /// Per key and model, the reports that are charged are what callers saw: none is lost, none counts
    /// twice, and attempts that another one followed are charged to nobody.
    #[test]
    fn reports_are_what_callers_saw(seed: u64) {
        let mut hour = Hour::new(seed);
        while hour.now < 3600 * SECOND {
            match hour.below(3) {
                0 => hour.place(),
                _ => hour.go_on(),
            }
            let time = hour.below(4 * SECOND);
            hour.pass(time);
        }
        while hour.calls.values().any(|call| call.on.is_some()) {
            hour.go_on();
            hour.pass(SECOND);
        }
        for _ in 0..100 {
            hour.pass(SECOND);
        }

        prop_assert!(hour.answered > 100, "{} calls", hour.answered);
        prop_assert_eq!(&hour.seen, &hour.charged);
        prop_assert!(hour.wasted > 0);
        prop_assert_eq!(hour.freed, hour.answered, "each slot once");
        prop_assert!(hour.pool.workers().iter().all(|worker| worker.running == 0));
        prop_assert!(hour.ledger.attempts.is_empty() && hour.ledger.of_worker.is_empty());

        let used = |key: KeyId| -> u64 {
            let of_key = hour.seen.iter().filter(|((owner, _), _)| *owner == key);
            of_key.map(|(_, (prompt, completion))| prompt + completion).sum()
        };
        prop_assert!((0..3).map(KeyId).any(|key| used(key) > 0));
    }
}
