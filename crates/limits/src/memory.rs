//! The bytes of memory that a process may hold for callers, shared like every other capacity.

use crate::fair_share::{Claim, FairShare, Share, ShareError};
use crate::owner::Owner;

/// The parties that memory is counted for: the caller, the address of the caller, and the id.
pub type MemoryClaims = [Claim; 3];

/// Memory that is counted as in use. Dropping it gives it back.
pub type MemoryShare = Share<3>;

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
        self.budget.bytes.take(self.claims, bytes)
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
