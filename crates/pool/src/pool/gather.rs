//! The candidates for a call: workers that may have its beginning in their cache, and a sample of the
//! others.

use crate::PoolConfig;
use crate::affinity::{Affinity, HOLDERS};
use crate::catalogue::{Catalogue, Entry, Group, Holder, Worker};
use crate::choose::{Choice, Preferred, Wish, choose};
use crate::pool::call_state::Call;
use crate::queue::Standing;
use crate::random::{Random, hash_text, mix};
use crate::score::{Candidate, Typical};
use crate::steps::step;

/// The most candidates of a decision. Of ten thousand workers, a sample of 32 has one of the best tenth
/// in it with 97 % certainty, which is 1 − 0.9³².
pub(crate) const MAX_CANDIDATES: usize = 32 + HOLDERS;
/// Looks into a group for one candidate from it, where some of the group are excluded or lack the API.
const PROBES: usize = 4;

/// What a decision reads.
pub(crate) struct Gather<'a> {
    pub(crate) catalogue: &'a Catalogue,
    pub(crate) affinity: &'a mut Affinity,
    pub(crate) random: &'a mut Random,
    pub(crate) config: &'a PoolConfig,
    pub(crate) now: u64,
    /// Whether workers whose runtime did not answer lately are looked at too. `false` at first.
    pub(crate) is_last_resort: bool,
}

/// The worker that was chosen.
#[derive(Debug)]
pub(crate) struct Chosen {
    pub(crate) candidate: Candidate,
    pub(crate) expected: u64,
    /// Microseconds from the start to its expected end.
    pub(crate) duration: u64,
    /// Tokens of the longest remembered prefix on it.
    pub(crate) matched: u64,
}

/// The result of a decision.
#[derive(Debug)]
pub(crate) enum Decided {
    Run(Box<Chosen>),
    /// Wait for a busy worker, though others are free.
    WaitFor(Preferred, [u32; HOLDERS]),
    Wait,
}

/// A candidate with its remembered prefix in tokens.
type Matched = (Candidate, u64);

/// Returns what separates prefixes of models, of contexts that they are loaded with, and of keys.
pub(crate) fn scope(call: &Call, entry: &Entry, config: &PoolConfig) -> u64 {
    let key = if config.affinity_by_key {
        u64::from(call.key.0) + 1
    } else {
        0
    };
    mix(hash_text(&entry.name) ^ mix(call.num_ctx.unwrap_or(0)) ^ mix(config.seed ^ key))
}

impl Gather<'_> {
    /// Decides about a call. `hint` is a worker that has just become free.
    pub(crate) fn decide(mut self, call: &Call, hint: Option<usize>) -> Decided {
        let Some(entry) = self.catalogue.entries.get(call.entry.0) else {
            return Decided::Wait;
        };
        if !entry.has_free() && call.takes_slot {
            return Decided::Wait;
        }

        let mut candidates = self.candidates(call, entry, hint);
        if !call.takes_slot {
            for (candidate, _) in &mut candidates {
                candidate.is_free = true;
                candidate.wait = 0;
            }
        }
        let matched: Vec<u64> = candidates.iter().map(|(_, matched)| *matched).collect();
        let candidates: Vec<Candidate> = candidates.into_iter().map(|(one, _)| one).collect();
        let typical = Typical::of(&candidates, entry.prefill, entry.decode);
        let wish = Wish {
            prompt_tokens: call.prompt_tokens,
            waited: self.now.saturating_sub(call.queued_at),
            max_wait_for_warm: if call.may_wait {
                self.config.max_wait_for_warm
            } else {
                0
            },
        };
        match choose(&candidates, &wish, &typical) {
            Choice::Wait => Decided::Wait,
            Choice::WaitFor(preferred) => {
                let mut holders = [0; HOLDERS];
                let near = (0..candidates.len()).filter(|at| matched[*at] > 0);
                for (holder, at) in holders.iter_mut().zip(near) {
                    *holder = self.catalogue.workers[candidates[at].worker].serial;
                }
                Decided::WaitFor(preferred, holders)
            }
            Choice::Run(at) => {
                let candidate = candidates[at].clone();
                let to_content = candidate.to_first_content(call.prompt_tokens, &typical);
                Decided::Run(Box::new(Chosen {
                    expected: candidate.expected(call.prompt_tokens, &typical),
                    duration: to_content + candidate.writing(call.output, &typical),
                    matched: matched[at],
                    candidate,
                }))
            }
        }
    }

    /// Returns whether a worker that became free may be better than what a call waits for: then all
    /// candidates are worth a look.
    pub(crate) fn may_be_better(self, call: &Call, at: usize, standing: &Standing) -> bool {
        let Some(entry) = self.catalogue.entries.get(call.entry.0) else {
            return false;
        };
        let serial = self.catalogue.workers.get(at).map(|worker| worker.serial);
        if serial.is_some_and(|serial| standing.holders.contains(&serial)) {
            return true;
        }
        let Some((candidate, _)) = self.candidate(call, at, 0) else {
            return false;
        };

        let typical = Typical::of(
            std::slice::from_ref(&candidate),
            entry.prefill,
            entry.decode,
        );
        let at_once = candidate.expected(call.prompt_tokens, &typical);
        let wait = standing.free_at.saturating_sub(self.now);
        let later = standing.content_at.saturating_sub(self.now);
        at_once <= later.saturating_add(wait)
    }

    fn candidates(&mut self, call: &Call, entry: &Entry, hint: Option<usize>) -> Vec<Matched> {
        let mut found: Vec<Matched> = Vec::with_capacity(MAX_CANDIDATES);
        if let Some(only) = call.only {
            self.is_last_resort = true;
            let at = self.catalogue.worker_index(only);
            found.extend(at.and_then(|at| self.candidate(call, at, 0)));
            return found;
        }

        for (worker, bytes) in self.prefix_holders(call, entry) {
            let matched = (bytes as f64 / entry.bytes_per_token) as u64;
            found.extend(self.candidate(call, worker, matched));
        }
        if let Some(hint) = hint {
            self.add(&mut found, call, hint);
        }

        let size = |group: Group| entry.groups[group as usize].len();
        let room = MAX_CANDIDATES;
        // Of the loaded ones some may have to load anew for this context.
        let warm = if call.num_ctx.is_some() {
            room / 2
        } else {
            room
        };
        self.sample(&mut found, call, (entry, Group::Warm), warm);
        let left = room.saturating_sub(found.len());
        let cold = (left / 2).max(left.saturating_sub(size(Group::BusyWarm)));
        let most = found.len() + cold;
        self.sample(&mut found, call, (entry, Group::Cold), most);
        self.sample(&mut found, call, (entry, Group::BusyWarm), room);
        self.sample(&mut found, call, (entry, Group::BusyCold), room);
        if found.is_empty() {
            self.is_last_resort = true;
            self.sample(&mut found, call, (entry, Group::LastResort), room);
        }
        found
    }

    /// Adds candidates of a group until there are `most` in all.
    fn sample(
        &mut self,
        found: &mut Vec<Matched>,
        call: &Call,
        (entry, kind): (&Entry, Group),
        most: usize,
    ) {
        let group = &entry.groups[kind as usize];
        let wanted = most.saturating_sub(found.len());
        if group.len() <= wanted * PROBES {
            for holder in group {
                if found.len() < most {
                    self.add_holder(found, call, holder, kind);
                }
            }
            return;
        }
        for _ in 0..wanted * PROBES {
            if found.len() >= most {
                break;
            }
            let holder = group[self.random.below(group.len())];
            self.add_holder(found, call, &holder, kind);
        }
    }

    fn add(&mut self, found: &mut Vec<Matched>, call: &Call, worker: usize) {
        step();
        if found
            .iter()
            .all(|(candidate, _)| candidate.worker != worker)
        {
            found.extend(self.candidate(call, worker, 0));
        }
    }

    /// The same for a worker in a group of the call's entry.
    fn add_holder(&self, found: &mut Vec<Matched>, call: &Call, holder: &Holder, group: Group) {
        step();
        let is_new = |(candidate, _): &Matched| candidate.worker != holder.worker;
        if found.iter().all(is_new)
            && let Some(worker) = self.catalogue.workers.get(holder.worker)
        {
            let place = (holder.worker, holder.model, group);
            found.extend(self.candidate_at(call, worker, place, 0));
        }
    }

    /// Returns a worker as a candidate, `None` if it must not run the call or takes none.
    fn candidate(&self, call: &Call, at: usize, matched: u64) -> Option<Matched> {
        let worker = self.catalogue.workers.get(at)?;
        let member = worker.membership_of(call.entry.0)?;
        self.candidate_at(call, worker, (at, member.model, member.group), matched)
    }

    /// The same for one of the worker's models in a group of the call's entry.
    fn candidate_at(
        &self,
        call: &Call,
        worker: &Worker,
        (at, model, group): (usize, u16, Group),
        matched: u64,
    ) -> Option<Matched> {
        step();
        let held = worker.models.get(usize::from(model))?;
        let is_excluded = call.excluded.contains(&worker.id)
            || group == Group::Out
            || (group == Group::LastResort && !self.is_last_resort)
            || held.apis & self.api_of(call)? == 0
            || (call.min_context > 0 && held.context <= call.min_context);
        if is_excluded {
            return None;
        }

        let matched = matched.min(call.prompt_tokens);
        let is_free = !matches!(group, Group::BusyWarm | Group::BusyCold);
        let num_ctx = call.num_ctx_at(held.apis);
        let warmth = held.warmth(num_ctx, self.now);
        Some((
            Candidate {
                worker: at,
                model,
                is_free,
                // A context that the call asks for is the one that counts.
                fits: held.context == 0 || call.input_tokens < num_ctx.unwrap_or(held.context),
                evict: worker.evict(model, &warmth, self.now),
                warmth,
                wait: if is_free { 0 } else { worker.wait(self.now) },
                load: held.reported_load(),
                size: held.size,
                prefill: held.speed.prefill,
                decode: held.speed.decode,
                busy: worker.busy(),
                slots: worker.settings.slots,
                cached: (matched as f64 * held.trust) as u64,
                round_trip: worker.round_trip,
                weight: worker.settings.weight,
                tie: mix(call.seq ^ u64::from(worker.serial) << 32),
            },
            matched,
        ))
    }

    /// Returns the bit of the API that a worker must have for a call: that of those that make it of another
    /// one while no worker has it. `None` if there are neither.
    fn api_of(&self, call: &Call) -> Option<u32> {
        let entry = self.catalogue.entries.get(call.entry.0)?;
        entry.served_by(call.api, call.translated_api)
    }

    /// Returns workers that may still have a beginning of the prompt in their cache, with its bytes.
    fn prefix_holders(&mut self, call: &Call, entry: &Entry) -> Vec<(usize, u64)> {
        if call.marks.is_empty() {
            return Vec::new();
        }
        let scope = scope(call, entry, self.config);
        let hits = self.affinity.find(&call.marks, scope, self.now);
        let holders = hits.into_iter().filter_map(|hit| {
            let at = self.catalogue.by_serial(hit.worker)?;
            let worker = &self.catalogue.workers[at];
            let since = loaded_since(worker, call.entry.0)?;
            // Remembered moments are rounded down by less than a tenth of a second.
            (since <= hit.at.saturating_add(100_000)).then_some((at, hit.bytes))
        });
        holders.collect()
    }
}

fn loaded_since(worker: &Worker, entry: usize) -> Option<u64> {
    let member = worker.membership_of(entry)?;
    worker.models[usize::from(member.model)].resident
}
