//! Epochs of ids: a grant ends when its id passes from one set of worker keys to a disjoint one, for it
//! would carry a person's calls to a program of another party.

use std::collections::BTreeSet;

use llamapool_wire::RelayId;

/// The epoch of an id that has grants.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Epoch {
    /// The id.
    pub id: RelayId,
    /// Its number; a later epoch has a greater one.
    pub number: i64,
    /// The worker keys that could serve the id all the time since the epoch began, by their ids; the
    /// bootstrap key has a word of its own.
    pub served_by: BTreeSet<String>,
}

impl Epoch {
    /// The name of the bootstrap key among [`Epoch::served_by`]. No id of a key has a space.
    pub const BOOTSTRAP: &str = "bootstrap key";

    /// Returns the first epoch of an id.
    pub fn first(id: RelayId, served_by: BTreeSet<String>) -> Self {
        Self {
            id,
            number: 1,
            served_by,
        }
    }

    /// Returns the epoch after a change of the keys that may serve the id, `None` if it is the same.
    /// Keys that join later are not added: two changes that each leave a key must not do what one
    /// change may not.
    pub fn after(&self, serving: &BTreeSet<String>) -> Option<Self> {
        let remaining: BTreeSet<_> = self.served_by.intersection(serving).cloned().collect();
        if remaining == self.served_by {
            return None;
        }
        let is_new = remaining.is_empty();
        Some(Self {
            id: self.id.clone(),
            number: self.number + i64::from(is_new),
            served_by: if is_new { serving.clone() } else { remaining },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(names: &[&str]) -> BTreeSet<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    fn epoch(names: &[&str]) -> Epoch {
        Epoch::first("notes".parse().unwrap(), keys(names))
    }

    #[test]
    fn an_id_that_changes_hands_has_a_new_epoch() {
        let after = epoch(&["a"]).after(&keys(&["b"])).unwrap();

        assert_eq!(after.number, 2);
        assert_eq!(after.served_by, keys(&["b"]));
        assert_eq!(epoch(&["a"]).after(&keys(&["a"])), None);
        assert_eq!(epoch(&["a"]).after(&keys(&["a", "b"])), None);
    }

    #[test]
    fn two_small_changes_are_no_way_around_a_great_one() {
        let both = epoch(&["a"]).after(&keys(&["a", "b"]));
        assert_eq!(both, None, "b has joined, and is no witness");

        let without = epoch(&["a", "c"]).after(&keys(&["c", "b"])).unwrap();
        assert_eq!(
            (without.number, without.served_by.clone()),
            (1, keys(&["c"]))
        );
        let gone = without.after(&keys(&["b"])).unwrap();
        assert_eq!(gone.number, 2);
    }
}
