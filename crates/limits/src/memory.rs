//! The bytes of memory that a process may hold for callers, shared like every other capacity.

use crate::fair_share::{Claim, FairShare, Share, ShareError};
use crate::owner::Owner;

/// The parties that memory is counted for: the caller, the address of the caller, and the id.
pub type MemoryClaims = [Claim; 3];

/// Memory that is counted as in use. Dropping it gives it back.
#[derive(Debug)]
pub struct MemoryShare {
    whole: Share<3>,
    /// The same bytes, in the part of the memory that they belong to.
    part: Option<Share<3>>,
}

/// The bytes that a process may hold in collected bodies, unread bytes and kept events. Clones are
/// the same bytes.
#[derive(Debug, Clone)]
pub struct MemoryBudget {
    bytes: FairShare,
}

/// The memory of a process as one caller of one id sees it: what is taken counts for both.
#[derive(Debug, Clone)]
pub struct MemoryAccount {
    budget: MemoryBudget,
    claims: MemoryClaims,
    /// A part of the budget, which the bytes count for as well.
    part: Option<MemoryBudget>,
}

impl MemoryBudget {
    /// Returns a budget of so many bytes.
    pub fn new(bytes: usize) -> Self {
        Self {
            bytes: FairShare::new(bytes),
        }
    }

    /// Returns the number of bytes there are.
    pub fn capacity(&self) -> usize {
        self.bytes.capacity()
    }

    /// Returns the number of bytes in use.
    pub fn used(&self) -> usize {
        self.bytes.used()
    }

    /// Returns the account of an id whose callers count as one, without a share of their own; see
    /// [`MemoryAccount::of_caller`].
    pub fn account_of_id(&self, id: Claim) -> MemoryAccount {
        let all = |name| Claim {
            owner: Owner::of(&name),
            factor: usize::MAX,
        };
        self.account([all("callers"), all("addresses"), id])
    }

    /// Returns the account of these parties.
    pub fn account(&self, claims: MemoryClaims) -> MemoryAccount {
        MemoryAccount {
            budget: self.clone(),
            claims,
            part: None,
        }
    }
}

/// A budget without a bound, for tests and for parts that are bounded by others.
impl Default for MemoryBudget {
    fn default() -> Self {
        Self::new(usize::MAX)
    }
}

/// An account without a bound, for tests and for parts that are bounded by others.
impl Default for MemoryAccount {
    fn default() -> Self {
        let claim = Claim {
            owner: Owner::of(&"unbounded"),
            factor: usize::MAX,
        };
        MemoryBudget::default().account([claim; 3])
    }
}

impl MemoryAccount {
    /// Takes so many bytes.
    ///
    /// # Errors
    /// [`ShareError::Full`] if less is free, [`ShareError::Owner`] if one of the parties has its
    /// share.
    pub fn take(&self, bytes: usize) -> Result<MemoryShare, ShareError> {
        let part = self.part.as_ref();
        let part = part.map(|part| part.bytes.take(self.claims, bytes));
        Ok(MemoryShare {
            part: part.transpose()?,
            whole: self.budget.bytes.take(self.claims, bytes)?,
        })
    }

    /// Returns the same account for bytes of one purpose, which together have a bound of their own: in
    /// both budgets its parties have their shares.
    #[must_use]
    pub fn within(self, part: &MemoryBudget) -> Self {
        Self {
            part: Some(part.clone()),
            ..self
        }
    }

    /// Returns the same id's account for one of its callers, and the address of the caller.
    #[must_use]
    pub fn of_caller(&self, caller_and_address: [Claim; 2]) -> Self {
        let [caller, address] = caller_and_address;
        let [_, _, id] = self.claims;
        self.budget.account([caller, address, id])
    }

    /// Returns the budget that the account belongs to.
    pub fn budget(&self) -> &MemoryBudget {
        &self.budget
    }
}

impl MemoryShare {
    /// Takes more for the same parties.
    ///
    /// # Errors
    /// As [`MemoryAccount::take`]; the share keeps what it has.
    pub fn grow(&mut self, more: usize) -> Result<(), ShareError> {
        self.whole.grow(more)?;
        let part = self.part.as_mut().map_or(Ok(()), |part| part.grow(more));
        if part.is_err() {
            self.whole.shrink(more);
        }
        part
    }

    /// Gives a part back, at most all of it.
    pub fn shrink(&mut self, less: usize) {
        self.whole.shrink(less);
        if let Some(part) = &mut self.part {
            part.shrink(less);
        }
    }

    /// Returns the number of bytes.
    pub fn amount(&self) -> usize {
        self.whole.amount()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: usize = 1 << 20;

    fn claims(caller: &str, address: &str, id: &str) -> MemoryClaims {
        let claim = |kind: &str, name: &str, factor| Claim {
            owner: Owner::of(&(kind, name)),
            factor,
        };
        [
            claim("caller", caller, 4),
            claim("address", address, 8),
            claim("id", id, 8),
        ]
    }

    #[test]
    fn a_greedy_caller_leaves_memory_to_others() {
        let budget = MemoryBudget::new(256 * MIB);
        let greedy = budget.account(claims("a", "1", "x"));
        let modest = budget.account(claims("b", "2", "y"));

        let mut taken = Vec::new();
        let refusal = loop {
            match greedy.take(MIB) {
                Ok(share) => taken.push(share),
                Err(refusal) => break refusal,
            }
        };

        assert_eq!(refusal, ShareError::Owner(0));
        assert!(budget.used() >= 200 * MIB, "{}", budget.used());
        assert!(modest.take(30 * MIB).is_ok());

        drop(taken);

        assert_eq!(budget.used(), 0);
    }

    #[test]
    fn bytes_of_a_part_count_for_the_whole_as_well() {
        let [whole, part] = [MemoryBudget::new(256 * MIB), MemoryBudget::new(4 * MIB)];
        let account = whole.account(claims("a", "1", "x")).within(&part);

        let mut share = account.take(MIB).unwrap();
        share.grow(MIB).unwrap();
        assert_eq!((whole.used(), part.used()), (2 * MIB, 2 * MIB));
        assert_eq!(share.grow(3 * MIB), Err(ShareError::Full));
        assert_eq!((whole.used(), part.used()), (2 * MIB, 2 * MIB));
        assert_eq!(account.take(3 * MIB).err(), Some(ShareError::Full));
        share.shrink(MIB);
        assert_eq!((whole.used(), part.used()), (MIB, MIB));

        drop(share);

        assert_eq!((whole.used(), part.used()), (0, 0));
        let small = MemoryBudget::new(MIB).account(claims("a", "1", "x"));
        assert_eq!(
            small.within(&part).take(2 * MIB).err(),
            Some(ShareError::Full)
        );
        assert_eq!(part.used(), 0, "a refusal holds nothing");
    }

    #[test]
    fn callers_of_one_id_have_shares_of_their_own() {
        let budget = MemoryBudget::new(256 * MIB);
        let [_, _, id] = claims("", "", "x");
        let id = budget.account_of_id(id);
        let of = |caller: &str| {
            let [caller, address, _] = claims(caller, caller, "");
            id.of_caller([caller, address])
        };

        let greedy = of("a");
        let taken: Vec<_> = (0..256).map_while(|_| greedy.take(MIB).ok()).collect();

        assert_eq!(greedy.take(MIB).err(), Some(ShareError::Owner(0)));
        assert!(taken.len() >= 200, "{}", taken.len());
        assert!(of("b").take(10 * MIB).is_ok());
    }
}
