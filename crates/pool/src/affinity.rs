//! Which workers may still have the beginning of a prompt in their cache.
//!
//! A table of hashes, all models together, without the texts. It has a fixed number of places in groups
//! of [`WAYS`]; a full group gives up the place that was not used for the longest time. No threshold and
//! no mode: a hit shortens the expected time of a worker, and nothing else.

use crate::PrefixMark;
use crate::random::mix;
use crate::steps::step;

/// The most workers that are remembered for one prefix.
pub(crate) const HOLDERS: usize = 4;
/// The places in which a hash may be.
const WAYS: usize = 8;
/// Microseconds in one unit of a remembered moment; 32 bits of it are 13 years.
const MOMENT: u64 = 100_000;

/// A worker that had a prefix, by its serial. 0 for none.
#[derive(Debug, Clone, Copy, Default)]
struct Holder {
    worker: u32,
    moment: u32,
}

/// 48 bytes: a prefix and its holders.
#[derive(Debug, Clone, Copy, Default)]
struct Place {
    hash: u64,
    holders: [Holder; HOLDERS],
    /// When it was written or found last.
    used: u32,
}

/// A worker that had a prefix of a prompt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Hit {
    /// The serial of the worker.
    pub(crate) worker: u32,
    /// Length of the prefix in bytes.
    pub(crate) bytes: u64,
    /// When, in microseconds, rounded down.
    pub(crate) at: u64,
}

/// The table of prefixes. It takes its memory with the first one.
#[derive(Debug)]
pub(crate) struct Affinity {
    places: Vec<Place>,
    groups: usize,
}

impl Affinity {
    /// Returns a table for about `entries` prefixes; with 0, one that remembers nothing.
    pub(crate) fn new(entries: usize) -> Self {
        let groups = entries.div_ceil(WAYS);
        Self {
            places: Vec::new(),
            groups,
        }
    }

    /// Returns workers that had the longest beginnings of a prompt, the longest first, at most
    /// [`HOLDERS`]. `scope` separates models and, if that is wanted, keys.
    pub(crate) fn find(&mut self, marks: &[PrefixMark], scope: u64, now: u64) -> Vec<Hit> {
        let moment = moment(now);
        let mut hits: Vec<Hit> = Vec::new();
        for mark in marks.iter().rev() {
            step();
            let Some(place) = self.place(mix(mark.hash ^ mix(scope))) else {
                continue;
            };
            place.used = place.used.max(moment);
            for holder in place.holders.iter().filter(|holder| holder.worker != 0) {
                let is_new = hits.iter().all(|hit| hit.worker != holder.worker);
                if is_new && hits.len() < HOLDERS {
                    hits.push(Hit {
                        worker: holder.worker,
                        bytes: mark.bytes,
                        at: u64::from(holder.moment) * MOMENT,
                    });
                }
            }
            if hits.len() == HOLDERS {
                break;
            }
        }
        hits
    }

    /// Remembers that a worker has all beginnings of a prompt.
    pub(crate) fn insert(&mut self, marks: &[PrefixMark], scope: u64, worker: u32, now: u64) {
        if self.groups == 0 {
            return;
        }
        if self.places.is_empty() {
            self.places = vec![Place::default(); self.groups * WAYS];
        }
        let moment = moment(now);
        for mark in marks {
            let hash = mix(mark.hash ^ mix(scope));
            let place = match self.place(hash) {
                Some(place) => place,
                None => self.free_place(hash),
            };
            place.used = moment;
            place.hold(Holder { worker, moment });
        }
    }

    fn group(&mut self, hash: u64) -> &mut [Place] {
        let group = (hash % self.groups as u64) as usize;
        &mut self.places[group * WAYS..(group + 1) * WAYS]
    }

    fn place(&mut self, hash: u64) -> Option<&mut Place> {
        if self.places.is_empty() {
            return None;
        }
        self.group(hash).iter_mut().find(|place| place.hash == hash)
    }

    /// Returns a place of the hash's group, emptied: the one that was not used for the longest time.
    fn free_place(&mut self, hash: u64) -> &mut Place {
        let group = self.group(hash);
        let oldest = (0..WAYS).min_by_key(|at| group[*at].used).unwrap_or(0);
        group[oldest] = Place {
            hash,
            ..Place::default()
        };
        &mut group[oldest]
    }

    #[cfg(test)]
    fn bytes(&self) -> usize {
        self.places.len() * size_of::<Place>()
    }
}

/// Returns a time in the unit of remembered moments.
fn moment(now: u64) -> u32 {
    u32::try_from(now / MOMENT).unwrap_or(u32::MAX)
}

impl Place {
    /// Adds a holder, in place of itself or of the oldest.
    fn hold(&mut self, holder: Holder) {
        let same = self
            .holders
            .iter()
            .position(|old| old.worker == holder.worker);
        let oldest = || {
            let holders = self.holders.iter().enumerate();
            holders.min_by_key(|(_, old)| (old.worker != 0, old.moment))
        };
        let at = same.or_else(|| oldest().map(|(at, _)| at)).unwrap_or(0);
        self.holders[at] = holder;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn marks(hashes: &[u64]) -> Vec<PrefixMark> {
        let marks = hashes.iter().enumerate();
        marks
            .map(|(at, hash)| PrefixMark {
                hash: *hash,
                bytes: 100 * (at as u64 + 1),
            })
            .collect()
    }

    #[test]
    fn the_longest_common_beginning_comes_first() {
        let mut affinity = Affinity::new(1000);
        affinity.insert(&marks(&[1, 2, 3]), 0, 7, 200_000);
        affinity.insert(&marks(&[1, 5]), 0, 8, 300_000);

        let hits = affinity.find(&marks(&[1, 2, 4]), 0, 0);

        let hit = |worker, bytes, at| Hit { worker, bytes, at };
        assert_eq!(hits, [hit(7, 200, 200_000), hit(8, 100, 300_000)]);
        assert!(affinity.find(&marks(&[9]), 0, 0).is_empty());
    }

    #[test]
    fn scopes_do_not_share_prefixes() {
        let mut affinity = Affinity::new(1000);

        affinity.insert(&marks(&[1, 2]), 5, 7, 0);

        assert!(affinity.find(&marks(&[1, 2]), 6, 0).is_empty());
        assert_eq!(affinity.find(&marks(&[1, 2]), 5, 0).len(), 1);
    }

    #[test]
    fn the_fifth_holder_takes_the_place_of_the_oldest() {
        let mut affinity = Affinity::new(1000);
        for worker in 1..=5 {
            affinity.insert(&marks(&[1]), 0, worker, u64::from(worker) * MOMENT);
        }

        let mut workers: Vec<u32> = affinity
            .find(&marks(&[1]), 0, 0)
            .iter()
            .map(|hit| hit.worker)
            .collect();

        workers.sort_unstable();
        assert_eq!(workers, [2, 3, 4, 5]);
    }

    #[test]
    fn the_table_never_grows_and_keeps_what_is_used() {
        let mut affinity = Affinity::new(1024);
        affinity.insert(&marks(&[42]), 0, 1, 0);
        let bytes = affinity.bytes();

        for hash in 100..20_000 {
            let now = hash * MOMENT;
            affinity.insert(&marks(&[hash]), 0, 2, now);
            affinity.find(&marks(&[42]), 0, now);
        }

        assert_eq!(affinity.bytes(), bytes);
        assert_eq!(affinity.find(&marks(&[42]), 0, 0).len(), 1);
        assert!(bytes <= 1024 * 48, "{bytes}");
    }

    #[test]
    fn a_table_of_no_size_remembers_nothing() {
        let mut affinity = Affinity::new(0);

        affinity.insert(&marks(&[1]), 0, 1, 0);

        assert!(affinity.find(&marks(&[1]), 0, 0).is_empty());
    }
}
