//! A capacity that owners share, without one of them being able to use up what the others need.
//!
//! The rule is that of dynamic thresholds (Choudhury and Hahne, IEEE/ACM Transactions on Networking
//! 6.2, 1998): an owner may take more while it holds less than a factor times what is still free.
//! One greedy owner with factor `F` leaves `1 / (F + 1)` of the capacity free, `n` greedy owners
//! leave `1 / (n F + 1)`. So there is always room for an owner that holds little, an unloaded pool
//! limits no owner, small capacities can be used up by one owner, and no number has to be tuned.

use std::collections::HashMap;
use std::hash::BuildHasherDefault;
use std::sync::Arc;

use parking_lot::Mutex;

use crate::owner::{Owner, OwnerHasher};

/// A capacity that owners share: places, connections, bytes. Clones are the same capacity.
#[derive(Debug, Clone)]
pub struct FairShare {
    pool: Arc<Pool>,
}

/// One owner of a share, and its factor: the owner may take more while it holds less than this many
/// times what is free.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Claim {
    /// The owner that the share is counted for.
    pub owner: Owner,
    /// The factor of the owner. With 1, one greedy owner gets half; with 8, eight ninths.
    pub factor: usize,
}

/// The reason why a share was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ShareError {
    /// The capacity itself is used up.
    #[error("all of it is in use")]
    Full,
    /// An owner has used up its share; the number is its place in the list of claims.
    #[error("one owner holds its share of it")]
    Owner(usize),
}

#[derive(Debug)]
struct Pool {
    capacity: usize,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    used: usize,
    /// Owners that hold something. An owner that holds nothing has no entry.
    held: HashMap<Owner, usize, BuildHasherDefault<OwnerHasher>>,
}

impl FairShare {
    /// Makes a pool of so many units.
    pub fn new(capacity: usize) -> Self {
        Self {
            pool: Arc::new(Pool {
                capacity,
                state: Mutex::default(),
            }),
        }
    }

    /// Takes an amount that counts for every one of the claims' owners.
    ///
    /// # Errors
    /// [`ShareError::Full`] if less is free, [`ShareError::Owner`] if the amount is more than the
    /// fair share of one owner. Nothing is taken then.
    pub fn take<const N: usize>(
        &self,
        claims: [Claim; N],
        amount: usize,
    ) -> Result<Share<N>, ShareError> {
        self.pool.take(&claims, amount)?;
        Ok(Share {
            pool: self.pool.clone(),
            claims,
            amount,
        })
    }

    /// Returns the number of units there are.
    pub fn capacity(&self) -> usize {
        self.pool.capacity
    }

    /// Returns the number of units that are taken.
    pub fn used(&self) -> usize {
        self.pool.state.lock().used
    }

    /// Returns the number of units that an owner holds.
    pub fn held_by(&self, owner: Owner) -> usize {
        self.pool.state.lock().held_by(owner)
    }

    /// Returns the number of owners that hold something.
    pub fn owners(&self) -> usize {
        self.pool.state.lock().held.len()
    }
}

impl Pool {
    fn take(&self, claims: &[Claim], amount: usize) -> Result<(), ShareError> {
        if amount == 0 {
            return Ok(());
        }

        let mut state = self.state.lock();
        let free = self.capacity.saturating_sub(state.used);
        if amount > free {
            return Err(ShareError::Full);
        }
        let is_over = |claim: &Claim| {
            let holds = state.held_by(claim.owner).saturating_add(amount - 1);
            holds >= claim.factor.saturating_mul(free)
        };
        if let Some(index) = claims.iter().position(is_over) {
            return Err(ShareError::Owner(index));
        }

        state.used += amount;
        for claim in claims {
            *state.held.entry(claim.owner).or_default() += amount;
        }
        Ok(())
    }

    fn give_back(&self, claims: &[Claim], amount: usize) {
        if amount == 0 {
            return;
        }

        let mut state = self.state.lock();
        state.used -= amount;
        for claim in claims {
            if let Some(held) = state.held.get_mut(&claim.owner) {
                *held -= amount;
                if *held == 0 {
                    state.held.remove(&claim.owner);
                }
            }
        }
    }
}

impl State {
    fn held_by(&self, owner: Owner) -> usize {
        self.held.get(&owner).copied().unwrap_or_default()
    }
}

/// A part of a [`FairShare`], which dropping gives back.
#[derive(Debug)]
pub struct Share<const N: usize> {
    pool: Arc<Pool>,
    claims: [Claim; N],
    amount: usize,
}

impl<const N: usize> Share<N> {
    /// Takes more for the same owners.
    ///
    /// # Errors
    /// As [`FairShare::take`]; the share keeps what it has.
    pub fn grow(&mut self, more: usize) -> Result<(), ShareError> {
        self.pool.take(&self.claims, more)?;
        self.amount += more;
        Ok(())
    }

    /// Gives a part back, at most all of it.
    pub fn shrink(&mut self, less: usize) {
        let less = less.min(self.amount);
        self.pool.give_back(&self.claims, less);
        self.amount -= less;
    }

    /// Returns the number of units that this share holds.
    pub fn amount(&self) -> usize {
        self.amount
    }
}

impl<const N: usize> Drop for Share<N> {
    fn drop(&mut self) {
        self.pool.give_back(&self.claims, self.amount);
    }
}

#[cfg(test)]
mod tests;
