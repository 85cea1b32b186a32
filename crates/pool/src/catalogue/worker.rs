//! One worker as the pool sees it: its slots, its models, what it is expected to do next.

use std::sync::Arc;

use crate::breaker::Breaker;
use crate::catalogue::Group;
use crate::score::{Warmth, load_time_of_size};
use crate::settings::SECOND;
use crate::{Availability, BreakerState, PoolModel, PoolSpeed, WorkerId, WorkerSettings};

/// The rest of a call of others, of which nothing is measured, in microseconds.
const FOREIGN_REST: u64 = 2 * SECOND;
/// The shortest expected wait for a busy worker, in microseconds: estimates run out, calls go on.
const SHORTEST_WAIT: u64 = SECOND / 100;
/// A model called within this time would be missed if it were unloaded. In microseconds.
const LATELY: u64 = 60 * SECOND;
/// The most loaded models that are looked at for what a load would push out.
const MAX_EVICTIONS: usize = 16;
/// The longest that a load is believed to go on after a call was sent for it, though the worker does not
/// report it. In microseconds.
const SHORTEST_LOAD: u64 = 5 * SECOND;

/// One worker.
#[derive(Debug)]
pub(crate) struct Worker {
    pub(crate) id: WorkerId,
    /// Its number of arrival, from 1; never used twice.
    pub(crate) serial: u32,
    pub(crate) settings: WorkerSettings,
    pub(crate) availability: Availability,
    pub(crate) breaker: Breaker,
    pub(crate) models: Vec<HeldModel>,
    /// Entries of the catalogue that its models are in, in the order of the entries.
    pub(crate) memberships: Vec<Membership>,
    /// Calls of this pool that hold slots.
    pub(crate) running: u32,
    pub(crate) elsewhere: u32,
    pub(crate) abandoned: u32,
    /// The sum of the expected ends of the running calls, in microseconds.
    pub(crate) ends: u128,
    /// Round trip of the tunnel, in microseconds.
    pub(crate) round_trip: u64,
    /// Its loaded models.
    pub(crate) resident: Vec<u16>,
    /// The most models that were seen loaded at once, which is the room that is proven to be there.
    pub(crate) most_resident: usize,
    /// When the model that it loaded last in place of another was expected to be loaded.
    pub(crate) swapped_at: u64,
    /// Queues of calls that only it may run.
    pub(crate) pinned: Vec<usize>,
    /// Where the comparison of its queues begins, if it has too many for one.
    pub(crate) next_queue: usize,
}

/// A model on a worker.
#[derive(Debug, Clone)]
pub(crate) struct HeldModel {
    pub(crate) model: Arc<PoolModel>,
    pub(crate) name: Arc<str>,
    /// The size of `model` in bytes, beside what decisions read besides.
    pub(crate) size: u64,
    /// Its APIs, one bit each.
    pub(crate) apis: u32,
    /// The context that it is loaded with, as far as is known. In tokens.
    pub(crate) context: u64,
    /// Since when it is loaded.
    pub(crate) resident: Option<u64>,
    /// Since when it is being loaded.
    pub(crate) loading: Option<u64>,
    /// Until when no call is sent, because the runtime refuses them while it loads.
    pub(crate) blocked: Option<u64>,
    pub(crate) speed: PoolSpeed,
    pub(crate) last_call: Option<u64>,
    /// How far predicted prefixes came true, from 0 to 1.
    pub(crate) trust: f64,
}

/// A model of a worker as a holder in one entry of the catalogue.
#[derive(Debug, Clone)]
pub(crate) struct Membership {
    pub(crate) entry: usize,
    pub(crate) model: u16,
    pub(crate) group: Group,
    /// Its place in the group.
    pub(crate) at: usize,
    /// Whether it counts as attached to the entry.
    pub(crate) is_attached: bool,
}

impl Worker {
    pub(crate) fn new(id: WorkerId, serial: u32, settings: WorkerSettings) -> Self {
        Self {
            id,
            serial,
            settings,
            availability: Availability::Ready,
            breaker: Breaker::default(),
            models: Vec::new(),
            memberships: Vec::new(),
            running: 0,
            elsewhere: 0,
            abandoned: 0,
            ends: 0,
            round_trip: 0,
            resident: Vec::new(),
            most_resident: 1,
            swapped_at: 0,
            pinned: Vec::new(),
            next_queue: 0,
        }
    }

    /// Returns the number of calls that hold slots, whoever sent them.
    pub(crate) fn busy(&self) -> u32 {
        self.running
            .saturating_add(self.elsewhere)
            .saturating_add(self.abandoned)
    }

    /// Returns whether a call may be sent now, its model aside.
    pub(crate) fn is_free(&self) -> bool {
        let may_send = match self.breaker.state() {
            BreakerState::Open => false,
            BreakerState::Trial => self.running == 0,
            BreakerState::Closed => true,
        };
        let is_draining = self.availability == Availability::Draining;
        may_send && !is_draining && self.busy() < self.settings.slots
    }

    /// Returns where one of its models stands in the entries of the catalogue.
    pub(crate) fn group(&self, model: u16) -> Group {
        let held = &self.models[usize::from(model)];
        let is_out = self.availability == Availability::Draining
            || self.breaker.state() == BreakerState::Open
            || held.blocked.is_some()
            || self.settings.slots == 0;
        match (is_out, self.availability, self.is_free()) {
            (true, _, _) | (_, Availability::Unreachable, false) => Group::Out,
            (_, Availability::Unreachable, true) => Group::LastResort,
            (_, _, true) if held.resident.is_some() => Group::Warm,
            (_, _, true) => Group::Cold,
            (_, _, false) if held.resident.is_some() => Group::BusyWarm,
            (_, _, false) => Group::BusyCold,
        }
    }

    pub(crate) fn membership_of(&self, entry: usize) -> Option<&Membership> {
        let at = self
            .memberships
            .binary_search_by_key(&entry, |member| member.entry);
        at.ok().map(|at| &self.memberships[at])
    }

    /// Returns the expected microseconds until a slot is free.
    pub(crate) fn wait(&self, now: u64) -> u64 {
        let foreign = u64::from(self.elsewhere.saturating_add(self.abandoned));
        let running = u128::from(self.running);
        let rest = self.ends.saturating_sub(running * u128::from(now));
        let rest = rest + u128::from(foreign * FOREIGN_REST);

        let calls = (running + u128::from(foreign)).max(1);
        let mean = u64::try_from(rest / calls).unwrap_or(u64::MAX);
        (mean / u64::from(self.settings.slots.max(1))).max(SHORTEST_WAIT)
    }

    /// Notes that a call is sent for a model, which may make the runtime load it.
    pub(crate) fn used(&mut self, model: u16, warmth: &Warmth, num_ctx: Option<u64>, now: u64) {
        let must_swap = self.must_swap(model);
        let held = &mut self.models[usize::from(model)];
        held.last_call = Some(now);
        if *warmth == Warmth::Resident {
            return;
        }
        if *warmth == Warmth::Reload || must_swap {
            self.swapped_at = now.saturating_add(held.load_time());
        }
        held.resident = None;
        held.loading = match warmth {
            Warmth::Loading(_) => held.loading.or(Some(now)),
            _ => Some(now),
        };
        held.context = num_ctx.unwrap_or(held.context);
        self.count_resident();
    }

    /// Counts the loaded models, after a change.
    pub(crate) fn count_resident(&mut self) {
        let loaded = (0u16..).zip(&self.models);
        let loaded = loaded.filter(|(_, held)| held.resident.is_some());
        self.resident = loaded.map(|(at, _)| at).collect();
        self.most_resident = self.most_resident.max(self.resident.len());
    }

    /// Returns whether loading a model would push out another one.
    pub(crate) fn must_swap(&self, model: u16) -> bool {
        let held = &self.models[usize::from(model)];
        let resident = self.resident.len();
        held.resident.is_none() && resident > 0 && resident >= self.most_resident
    }

    /// Returns the microseconds to load again what a load would push out, if it was used lately: other
    /// models, or this one as it is loaded now.
    pub(crate) fn evict(&self, model: u16, warmth: &Warmth, now: u64) -> u64 {
        if *warmth == Warmth::Reload {
            let held = &self.models[usize::from(model)];
            return if held.is_missed(now) {
                held.load_time()
            } else {
                0
            };
        }
        if !self.must_swap(model) {
            return 0;
        }
        let resident = self.resident.iter().take(MAX_EVICTIONS);
        let resident = resident.map(|at| &self.models[usize::from(*at)]);
        let lately = resident.filter(|held| held.is_missed(now));
        lately.map(HeldModel::load_time).max().unwrap_or(0)
    }
}

impl HeldModel {
    pub(crate) fn new(model: PoolModel, name: Arc<str>, apis: u32) -> Self {
        Self {
            name,
            apis,
            context: model.context,
            size: model.size,
            model: Arc::new(model),
            resident: None,
            loading: None,
            blocked: None,
            speed: PoolSpeed::default(),
            last_call: None,
            trust: 1.0,
        }
    }

    /// Takes over the measurements of the same model from an earlier list.
    pub(crate) fn inherit(&mut self, before: &Self) {
        if before.model.context == self.model.context {
            self.context = before.context;
        }
        self.resident = before.resident;
        self.loading = before.loading;
        self.blocked = before.blocked;
        self.speed = before.speed;
        self.last_call = before.last_call;
        self.trust = before.trust;
    }

    /// Returns whether it was called lately, and would be missed.
    fn is_missed(&self, now: u64) -> bool {
        self.last_call
            .is_some_and(|at| now.saturating_sub(at) < LATELY)
    }

    /// Returns whether a call finds the model loaded.
    pub(crate) fn warmth(&self, num_ctx: Option<u64>, now: u64) -> Warmth {
        let is_other = num_ctx.is_some_and(|wanted| self.context != 0 && wanted != self.context);
        match (self.resident, self.loading) {
            (Some(_), _) if is_other => Warmth::Reload,
            (Some(_), _) => Warmth::Resident,
            (None, Some(since)) if !is_other => Warmth::Loading(now.saturating_sub(since)),
            (None, _) => Warmth::Cold,
        }
    }

    /// Returns the microseconds to load it, 0 if the worker did not report them.
    pub(crate) fn reported_load(&self) -> u64 {
        self.speed.load_ms.saturating_mul(1000)
    }

    /// Returns the microseconds to load it.
    pub(crate) fn load_time(&self) -> u64 {
        match self.reported_load() {
            0 => load_time_of_size(self.size),
            reported => reported,
        }
    }

    /// Sets what a report of the worker's load contains about it.
    pub(crate) fn report(&mut self, is_resident: bool, is_loading: bool, now: u64) {
        if is_resident {
            self.resident = self.resident.or(Some(now));
            self.loading = None;
            self.blocked = None;
        } else {
            self.resident = None;
        }
        if is_loading {
            self.loading = self.loading.or(Some(now));
        } else if let Some(since) = self.loading {
            // The report may be older than the call that makes the runtime load it.
            let longest = self.load_time().max(SHORTEST_LOAD);
            self.loading = Some(since).filter(|since| now.saturating_sub(*since) < longest);
        }
    }

    pub(crate) fn set_speed(&mut self, speed: &PoolSpeed) {
        if speed.prefill > 0.0 {
            self.speed.prefill = speed.prefill;
        }
        if speed.decode > 0.0 {
            self.speed.decode = speed.decode;
        }
        if speed.load_ms > 0 {
            self.speed.load_ms = speed.load_ms;
        }
    }
}
