//! Memory that is counted while a body is collected, and for as long as the collected bytes live.

use bytes::Bytes;
use llamapool_limits::{MemoryAccount, MemoryShare, ShareError};

/// Bytes of one body that are not counted: as many belong to what every call costs, and most bodies
/// never have more.
const UNCOUNTED_BYTES: usize = 16 * 1024;
/// The least that is counted at once.
const STEP_BYTES: usize = 64 * 1024;

/// The memory of something that grows.
#[derive(Debug)]
pub struct CountedMemory<'a> {
    account: &'a MemoryAccount,
    share: Option<MemoryShare>,
}

impl<'a> CountedMemory<'a> {
    /// Returns memory of an account, nothing so far.
    pub fn new(account: &'a MemoryAccount) -> Self {
        Self {
            account,
            share: None,
        }
    }

    /// Takes memory for so many bytes in all, before they are held.
    ///
    /// # Errors
    /// There is none left; what was taken before stays taken.
    pub fn cover(&mut self, bytes: usize) -> Result<(), ShareError> {
        if bytes <= UNCOUNTED_BYTES {
            return Ok(());
        }
        match &mut self.share {
            None => self.share = Some(self.account.take(bytes.next_multiple_of(STEP_BYTES))?),
            Some(share) => {
                let missing = bytes.saturating_sub(share.amount());
                share.grow(missing.next_multiple_of(STEP_BYTES))?;
            }
        }
        Ok(())
    }

    /// Returns the share for what was collected. `None` if that was too little to be counted.
    pub fn into_share(self) -> Option<MemoryShare> {
        self.share
    }
}

/// Returns collected bytes that hold their memory until the last part of them is dropped.
pub fn counted(data: Vec<u8>, share: Option<MemoryShare>) -> Bytes {
    match share {
        None => data.into(),
        Some(mut share) => {
            share.shrink(share.amount().saturating_sub(data.capacity()));
            Bytes::from_owner(CountedBytes {
                data,
                _share: share,
            })
        }
    }
}

struct CountedBytes {
    data: Vec<u8>,
    _share: MemoryShare,
}

impl AsRef<[u8]> for CountedBytes {
    fn as_ref(&self) -> &[u8] {
        &self.data
    }
}
