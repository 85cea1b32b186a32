//! Memory that is counted while something is collected, and for as long as the collected bytes live.

use bytes::Bytes;
use llamapool_limits::{MemoryAccount, MemoryShare, ShareError};

/// Bytes of one body or message that are not counted: as many belong to what every call costs, and
/// most never have more.
pub const UNCOUNTED_BYTES: usize = 16 * 1024;
/// The least that is counted at once.
const STEP_BYTES: usize = 64 * 1024;

/// The memory of something that grows.
#[derive(Debug)]
pub struct CountedMemory {
    account: MemoryAccount,
    share: Option<MemoryShare>,
}

impl CountedMemory {
    /// Returns memory of an account, nothing so far.
    pub fn new(account: &MemoryAccount) -> Self {
        Self {
            account: account.clone(),
            share: None,
        }
    }

    /// Takes memory for so many bytes in all, before they are held. More than that stays taken.
    ///
    /// # Errors
    /// There is none left; what was taken before stays taken.
    pub fn cover(&mut self, bytes: usize) -> Result<(), ShareError> {
        if bytes <= UNCOUNTED_BYTES {
            return Ok(());
        }
        match &mut self.share {
            None => self.share = Some(self.account.take(in_steps(bytes))?),
            Some(share) => share.grow(in_steps(bytes.saturating_sub(share.amount())))?,
        }
        Ok(())
    }

    /// Takes memory for so many bytes in all, and gives back what is more than that.
    ///
    /// # Errors
    /// As [`cover`](Self::cover).
    pub fn fit(&mut self, bytes: usize) -> Result<(), ShareError> {
        self.cover(bytes)?;
        if bytes <= UNCOUNTED_BYTES {
            self.share = None;
        }
        if let Some(share) = &mut self.share {
            share.shrink(share.amount() - in_steps(bytes).min(share.amount()));
        }
        Ok(())
    }

    /// Returns collected bytes, of which `held` bytes are held in memory, that keep it counted until
    /// their last part is dropped.
    pub fn seal(&mut self, data: Bytes, held: usize) -> Bytes {
        match self.share.take() {
            None => data,
            Some(mut share) => {
                share.shrink(share.amount().saturating_sub(held));
                held_with(data, share)
            }
        }
    }
}

fn in_steps(bytes: usize) -> usize {
    bytes.next_multiple_of(STEP_BYTES)
}

/// Returns bytes that hold a value until their last part is dropped.
pub fn held_with<T: Send + 'static>(data: Bytes, value: T) -> Bytes {
    Bytes::from_owner(BytesWith {
        data,
        _value: value,
    })
}

struct BytesWith<T> {
    data: Bytes,
    _value: T,
}

impl<T> AsRef<[u8]> for BytesWith<T> {
    fn as_ref(&self) -> &[u8] {
        &self.data
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_counted_in_steps_and_given_back() {
        let account = MemoryAccount::default();
        let used = || account.budget().used();
        let mut memory = CountedMemory::new(&account);

        let mut seen = Vec::new();
        for bytes in [UNCOUNTED_BYTES, 20_000, 70_000, 20_000, 0] {
            memory.fit(bytes).unwrap();
            seen.push(used() / STEP_BYTES);
        }

        assert_eq!(seen, [0, 1, 2, 1, 0]);
    }

    #[test]
    fn sealed_bytes_keep_what_they_hold() {
        let account = MemoryAccount::default();
        let mut memory = CountedMemory::new(&account);
        memory.cover(100_000).unwrap();

        let sealed = memory.seal(vec![7; 90_000].into(), 95_000);
        let part = sealed.slice(1..2);
        drop(sealed);

        assert_eq!(account.budget().used(), 95_000);

        drop(part);

        assert_eq!(account.budget().used(), 0);
    }
}
