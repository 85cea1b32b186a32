//! The owner of a share: an address, a caller, an id.

use std::hash::{BuildHasher, Hash, Hasher, RandomState};
use std::sync::OnceLock;

/// An owner of shares, as a number.
///
/// The number is a hash with a key that every process draws anew, so that no caller can choose a
/// value that falls together with another's. Two owners fall together with a probability of 2⁻⁶⁴
/// per pair; they then share what each would have had.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Owner(u64);

impl Owner {
    /// Returns the owner that a value stands for. Values of different types that hash alike, such
    /// as an address and an id, should be tagged by a tuple or an enum.
    pub fn of(value: &impl Hash) -> Self {
        static KEY: OnceLock<RandomState> = OnceLock::new();
        Self(KEY.get_or_init(RandomState::new).hash_one(value))
    }
}

/// An owner is a hash already; hashing it again would cost time and gain nothing.
impl Hash for Owner {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.0);
    }
}

/// The hasher of tables by owner: it takes the owner's number as it is.
#[derive(Debug, Default)]
pub(crate) struct OwnerHasher(u64);

impl Hasher for OwnerHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(byte);
        }
    }

    fn write_u64(&mut self, value: u64) {
        self.0 = value;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_values_are_one_owner_and_others_are_not() {
        assert_eq!(Owner::of(&("id", "notes")), Owner::of(&("id", "notes")));
        assert_ne!(
            Owner::of(&("id", "notes")),
            Owner::of(&("address", "notes"))
        );
    }
}
