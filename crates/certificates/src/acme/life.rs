//! The life of a certificate, and the time at which it is to be renewed.

use std::time::{Duration, SystemTime};

use ring::digest::{SHA256, digest};

/// A certificate that lives for less is renewed when half of its life is left.
const SHORT_LIFE: Duration = Duration::from_secs(10 * 24 * 60 * 60);
/// The part of the rest of a life over which the renewals of many servers are spread.
const SPREAD: f64 = 0.1;

/// The life of a certificate.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Life {
    pub(super) not_before: SystemTime,
    pub(super) not_after: SystemTime,
    /// The time at which the certificate was received, by the clock of this machine.
    pub(super) obtained_at: SystemTime,
    /// From 0 to 1: the place of this certificate within every span of time that renewals may be in.
    pub(super) place: f64,
}

/// A span of time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Window {
    pub(super) start: SystemTime,
    pub(super) end: SystemTime,
}

impl Life {
    /// Returns the time at which the certificate is to be renewed: within the window that its
    /// authority suggests, else when a third of its life is left.
    ///
    /// A certificate that was to be renewed when it was received comes from a clock that is wrong.
    /// Another one would be no better, so its life is counted from there.
    pub(super) fn renew_at(&self, window: Option<&Window>) -> SystemTime {
        let rest = self.rest();
        let spread = rest.mul_f64(SPREAD * self.place);
        let by_life = self.not_after - rest - spread;

        let latest = self.not_after - rest / 4;
        let by_window = window.map(|window| {
            let length = window.end.duration_since(window.start).unwrap_or_default();
            (window.start + length.mul_f64(self.place)).min(latest)
        });

        if by_life <= self.obtained_at {
            self.obtained_at + (self.length() - rest)
        } else {
            by_window.unwrap_or(by_life)
        }
    }

    /// Returns whether the clock of this machine disagrees with the certificate, which was just
    /// received.
    pub(super) fn contradicts_clock(&self) -> bool {
        self.obtained_at < self.not_before || self.not_after - self.rest() <= self.obtained_at
    }

    /// The part of the life that is left at a renewal.
    fn rest(&self) -> Duration {
        let length = self.length();
        if length < SHORT_LIFE {
            length / 2
        } else {
            length / 3
        }
    }

    fn length(&self) -> Duration {
        let length = self.not_after.duration_since(self.not_before);
        length.unwrap_or_default()
    }
}

/// Returns the place of a certificate: another one for each, and the same one after a restart.
pub(super) fn place_of(certificate: &[u8]) -> f64 {
    let digest = digest(&SHA256, certificate);
    let first = digest.as_ref().first_chunk::<4>().copied();
    f64::from(u32::from_be_bytes(first.unwrap_or_default())) / f64::from(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: Duration = Duration::from_secs(24 * 60 * 60);

    fn life(days: u32, place: f64) -> Life {
        let not_before = SystemTime::UNIX_EPOCH + 20_000 * DAY;
        Life {
            not_before,
            not_after: not_before + days * DAY,
            obtained_at: not_before + DAY / 24,
            place,
        }
    }

    #[test]
    fn a_third_of_the_life_is_left_and_half_of_a_short_one() {
        let days = |life: &Life, at: SystemTime| {
            let seconds = at.duration_since(life.not_before).unwrap().as_secs_f64();
            seconds / DAY.as_secs_f64()
        };

        let long = life(90, 0.0);
        assert_eq!(days(&long, long.renew_at(None)), 60.0);
        let spread = life(90, 1.0);
        assert_eq!(days(&spread, spread.renew_at(None)), 57.0);
        let short = life(6, 0.0);
        assert_eq!(days(&short, short.renew_at(None)), 3.0);
    }

    #[test]
    fn the_window_of_the_authority_is_obeyed_within_the_life() {
        let life = life(90, 0.5);
        let window = |from: u32, to: u32| Window {
            start: life.not_before + from * DAY,
            end: life.not_before + to * DAY,
        };

        // A certificate that is to be replaced, for example because it was revoked.
        let early = life.renew_at(Some(&window(2, 4)));
        assert_eq!(early, life.not_before + 3 * DAY);
        let past_the_end = life.renew_at(Some(&window(100, 200)));
        assert_eq!(past_the_end, life.not_after - 30 * DAY / 4);
        let reversed = life.renew_at(Some(&window(10, 4)));
        assert_eq!(reversed, life.not_before + 10 * DAY);
    }

    /// With the clock a year ahead, every certificate has ended when it comes.
    #[test]
    fn a_wrong_clock_is_no_reason_to_order_at_once() {
        let mut ahead = life(90, 0.0);
        ahead.obtained_at = ahead.not_after + 365 * DAY;
        assert!(ahead.contradicts_clock());
        assert_eq!(ahead.renew_at(None), ahead.obtained_at + 60 * DAY);
        let window = Window {
            start: ahead.not_before + 60 * DAY,
            end: ahead.not_before + 62 * DAY,
        };
        assert_eq!(ahead.renew_at(Some(&window)), ahead.obtained_at + 60 * DAY);

        let mut behind = life(90, 0.0);
        behind.obtained_at = behind.not_before - 365 * DAY;
        assert!(behind.contradicts_clock());
        assert_eq!(behind.renew_at(None), behind.not_before + 60 * DAY);

        assert!(!life(90, 0.0).contradicts_clock());
    }

    #[test]
    fn places_are_spread_and_constant() {
        assert_eq!(place_of(b"one"), place_of(b"one"));
        assert_ne!(place_of(b"one"), place_of(b"two"));
        assert!((0.0..=1.0).contains(&place_of(b"three")));
    }
}
