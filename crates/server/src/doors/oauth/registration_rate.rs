//! The rate of registrations. They need no key, so those of one network and of all have a bound.

use std::collections::HashMap;
use std::time::Duration;

use llamapool_identity::{OAuthCode, OAuthError};
use llamapool_limits::Owner;
use tokio::time::Instant;

/// The time in which registrations are counted.
const WINDOW: Duration = Duration::from_secs(60 * 60);
/// The most registrations from one address in that time. Some clients register anew for each
/// connection, from addresses that many of their users share.
const MAX_OF_ADDRESS: u32 = 60;
/// The most in all, which also bounds the table.
const MAX_IN_ALL: u32 = 600;

/// The registrations of the present hour.
#[derive(Debug)]
pub(crate) struct RegistrationRate {
    since: Instant,
    in_all: u32,
    of_address: HashMap<Owner, u32>,
}

impl Default for RegistrationRate {
    fn default() -> Self {
        Self {
            since: Instant::now(),
            in_all: 0,
            of_address: HashMap::new(),
        }
    }
}

impl RegistrationRate {
    /// Counts a registration from an address.
    ///
    /// # Errors
    ///
    /// If there were too many in this hour.
    pub(super) fn count(&mut self, address: Owner, now: Instant) -> Result<(), OAuthError> {
        if now.duration_since(self.since) >= WINDOW {
            *self = Self {
                since: now,
                in_all: 0,
                of_address: HashMap::new(),
            };
        }
        let full = |message: &str| OAuthError::new(OAuthCode::TemporarilyUnavailable, message);
        if self.in_all >= MAX_IN_ALL {
            return Err(full("too many clients have registered in this hour"));
        }
        let of_address = self.of_address.entry(address).or_default();
        if *of_address >= MAX_OF_ADDRESS {
            return Err(full(
                "too many clients have registered from this address in this hour",
            ));
        }
        *of_address += 1;
        self.in_all += 1;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn an_address_and_all_together_have_a_bound() {
        let mut rate = RegistrationRate::default();
        let now = Instant::now();
        let address = |number: u32| Owner::of(&number);

        for _ in 0..MAX_OF_ADDRESS {
            rate.count(address(0), now).unwrap();
        }
        assert!(rate.count(address(0), now).is_err());
        for number in 0..MAX_IN_ALL - MAX_OF_ADDRESS {
            rate.count(address(1 + number), now).unwrap();
        }
        assert!(rate.count(address(9999), now).is_err());
        assert!(rate.of_address.len() <= MAX_IN_ALL as usize);

        assert!(rate.count(address(0), now + WINDOW).is_ok());
    }
}
