//! The use of a key, by days and months in UTC, and its quotas.

use std::fmt;
use std::time::{Duration, SystemTime};

use serde::Serialize;

use crate::limits::Quotas;

const DAY: Duration = Duration::from_secs(86_400);

/// Use that was counted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Usage {
    /// Calls that were let in.
    pub calls: u64,
    /// Bytes of request bodies.
    pub bytes_in: u64,
    /// Bytes of answers.
    pub bytes_out: u64,
    /// Tokens of LLMs.
    pub tokens: u64,
}

/// A day in UTC, as the number of days since 1970-01-01.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Day(pub i64);

/// The use of a key on the current day and in the current month, and what of it is not stored yet.
#[derive(Debug, Clone, Default)]
pub struct UsageLedger {
    day: Day,
    today: Usage,
    /// The use in the month before today.
    before: Usage,
    /// The use that is not stored yet, by the day of its use: mostly one, and two at midnight.
    unstored: Vec<(Day, Usage)>,
}

/// The unit of a quota.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Counted {
    /// Calls.
    Calls,
    /// Bytes of request bodies.
    BytesIn,
    /// Bytes of answers.
    BytesOut,
    /// Tokens of LLMs.
    Tokens,
}

/// A quota that is used up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the key has used up its {name}, which is {most}")]
pub struct QuotaError {
    /// The unit.
    pub what: Counted,
    /// Its name among the settings of a key, such as `calls_per_day`.
    pub name: &'static str,
    /// The quota.
    pub most: u64,
    /// The length of the day or month that it is for.
    pub window: Duration,
    /// When the next one begins.
    pub resets_in: Duration,
}

impl Usage {
    /// Returns one call.
    pub const CALL: Self = Self {
        calls: 1,
        bytes_in: 0,
        bytes_out: 0,
        tokens: 0,
    };

    /// Returns how much of something was used.
    fn of(self, what: Counted) -> u64 {
        match what {
            Counted::Calls => self.calls,
            Counted::BytesIn => self.bytes_in,
            Counted::BytesOut => self.bytes_out,
            Counted::Tokens => self.tokens,
        }
    }

    /// Adds what was used besides.
    pub fn add(&mut self, more: Self) {
        self.calls = self.calls.saturating_add(more.calls);
        self.bytes_in = self.bytes_in.saturating_add(more.bytes_in);
        self.bytes_out = self.bytes_out.saturating_add(more.bytes_out);
        self.tokens = self.tokens.saturating_add(more.tokens);
    }
}

impl Day {
    /// Returns the day of a moment.
    pub fn of(now: SystemTime) -> Self {
        let since = now.duration_since(SystemTime::UNIX_EPOCH);
        let days = since.unwrap_or_default().as_secs() / DAY.as_secs();
        Self(i64::try_from(days).unwrap_or(i64::MAX))
    }

    /// Returns the first day of its month.
    pub fn month_start(self) -> Self {
        Self(self.0 - (self.of_month() - 1))
    }

    /// Returns the first day of the next month.
    fn next_month(self) -> Self {
        // 31 days after the first of a month is always the next one.
        Self(self.month_start().0 + 31).month_start()
    }

    /// Returns the first moment of the day.
    fn start(self) -> SystemTime {
        let days = u64::try_from(self.0).unwrap_or_default();
        SystemTime::UNIX_EPOCH + Duration::from_secs(days.saturating_mul(DAY.as_secs()))
    }

    /// Returns the place of the day in its month, from 1 on.
    fn of_month(self) -> i64 {
        let date = self.to_string();
        let day = date.rsplit('-').next().and_then(|day| day.parse().ok());
        day.unwrap_or(1)
    }

    /// Returns the time from a moment until the day begins.
    fn starts_in(self, now: SystemTime) -> Duration {
        self.start().duration_since(now).unwrap_or_default()
    }
}

/// The day as `2027-01-31`.
impl fmt::Display for Day {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let moment = humantime::format_rfc3339_seconds(self.start()).to_string();
        f.write_str(moment.split('T').next().unwrap_or_default())
    }
}

impl UsageLedger {
    /// Returns the ledger of a key that has used this on these days, as they are stored.
    pub fn new(stored: impl IntoIterator<Item = (Day, Usage)>, now: SystemTime) -> Self {
        let mut ledger = Self::default();
        ledger.turn_to(Day::of(now));
        for (day, usage) in stored {
            if day == ledger.day {
                ledger.today.add(usage);
            } else if day >= ledger.day.month_start() && day < ledger.day {
                ledger.before.add(usage);
            }
        }
        ledger
    }

    /// Counts what is used at a moment.
    pub fn add(&mut self, usage: Usage, now: SystemTime) {
        self.turn_to(Day::of(now));
        self.today.add(usage);
        match self.unstored.last_mut() {
            Some((day, unstored)) if *day == self.day => unstored.add(usage),
            _ => self.unstored.push((self.day, usage)),
        }
    }

    /// Counts a call that its quotas let in.
    ///
    /// # Errors
    ///
    /// If one of them is used up; then nothing is counted.
    pub fn begin_call(&mut self, quotas: &Quotas, now: SystemTime) -> Result<(), QuotaError> {
        self.turn_to(Day::of(now));
        if !quotas.is_empty() {
            self.check(quotas, now)?;
        }
        self.add(Usage::CALL, now);
        Ok(())
    }

    /// Takes a call back that was counted and let in nowhere.
    pub fn take_back_call(&mut self) {
        self.today.calls = self.today.calls.saturating_sub(1);
        if let Some((_, unstored)) = self.unstored.last_mut() {
            unstored.calls = unstored.calls.saturating_sub(1);
        }
    }

    /// Returns what was used today and in this month.
    pub fn used(&self, now: SystemTime) -> [Usage; 2] {
        let mut current = Self {
            unstored: Vec::new(),
            ..self.clone()
        };
        current.turn_to(Day::of(now));
        [current.today, current.month()]
    }

    /// Takes out what is not stored yet.
    pub fn take_unstored(&mut self) -> Vec<(Day, Usage)> {
        std::mem::take(&mut self.unstored)
    }

    /// Puts back what could not be stored.
    pub fn put_back(&mut self, unstored: Vec<(Day, Usage)>) {
        for (day, usage) in unstored {
            match self.unstored.iter_mut().find(|(other, _)| *other == day) {
                Some((_, other)) => other.add(usage),
                None => self.unstored.insert(0, (day, usage)),
            }
        }
    }

    fn month(&self) -> Usage {
        let mut month = self.before;
        month.add(self.today);
        month
    }

    fn check(&self, quotas: &Quotas, now: SystemTime) -> Result<(), QuotaError> {
        use Counted::{BytesIn, BytesOut, Calls, Tokens};
        let of_day = [
            (Calls, "calls_per_day", quotas.calls_per_day),
            (BytesIn, "bytes_in_per_day", quotas.bytes_in_per_day),
            (BytesOut, "bytes_out_per_day", quotas.bytes_out_per_day),
        ];
        let of_month = [
            (Calls, "calls_per_month", quotas.calls_per_month),
            (BytesIn, "bytes_in_per_month", quotas.bytes_in_per_month),
            (BytesOut, "bytes_out_per_month", quotas.bytes_out_per_month),
            (Tokens, "tokens_per_month", quotas.tokens_per_month),
        ];
        // The month first: what is used up for longer names the longer wait.
        let found = first_used_up(&of_month, self.month());
        if let Some((what, name, most)) = found {
            let next = self.day.next_month();
            let days = u32::try_from(next.0 - self.day.month_start().0);
            return Err(QuotaError {
                what,
                name,
                most,
                window: DAY * days.unwrap_or_default(),
                resets_in: next.starts_in(now),
            });
        }
        let found = first_used_up(&of_day, self.today);
        found.map_or(Ok(()), |(what, name, most)| {
            Err(QuotaError {
                what,
                name,
                most,
                window: DAY,
                resets_in: Day(self.day.0 + 1).starts_in(now),
            })
        })
    }

    /// Goes on to a day, and never back: a clock that is set back gives no quota twice.
    fn turn_to(&mut self, day: Day) {
        if day <= self.day {
            return;
        }
        let is_same_month = day.month_start() == self.day.month_start();
        self.before = if is_same_month {
            self.month()
        } else {
            Usage::default()
        };
        self.today = Usage::default();
        self.day = day;
    }
}

/// A quota: what it counts, its name, and the most.
type Quota = (Counted, &'static str, Option<u64>);

/// Returns the first quota that is used up.
fn first_used_up(quotas: &[Quota], used: Usage) -> Option<(Counted, &'static str, u64)> {
    let mut used_up = quotas.iter().filter_map(|&(what, name, most)| {
        let most = most.filter(|most| used.of(what) >= *most)?;
        Some((what, name, most))
    });
    used_up.next()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> SystemTime {
        humantime::parse_rfc3339(&format!("{text}:00Z")).unwrap()
    }

    fn calls(calls: u64) -> Usage {
        Usage {
            calls,
            ..Usage::default()
        }
    }

    fn quotas(day: Option<u64>, month: Option<u64>) -> Quotas {
        Quotas {
            calls_per_day: day,
            calls_per_month: month,
            ..Quotas::default()
        }
    }

    #[test]
    fn a_day_has_its_month() {
        let months = [
            ("2026-11-26", "2026-11-01", "2026-12-01"),
            ("2026-12-31", "2026-12-01", "2027-01-01"),
            ("2028-02-29", "2028-02-01", "2028-03-01"),
            ("2027-01-01", "2027-01-01", "2027-02-01"),
        ];
        for (date, first, next) in months {
            let day = Day::of(at(&format!("{date}T23:59")));
            assert_eq!(day.to_string(), date);
            assert_eq!(day.month_start().to_string(), first);
            assert_eq!(day.next_month().to_string(), next);
        }
    }

    #[test]
    fn a_quota_of_a_day_ends_with_the_day() {
        let mut ledger = UsageLedger::new([], at("2026-11-26T23:00"));
        let quotas = quotas(Some(2), None);
        let late = at("2026-11-26T23:30");
        for _ in 0..2 {
            assert_eq!(ledger.begin_call(&quotas, late), Ok(()));
        }

        let error = ledger.begin_call(&quotas, late).unwrap_err();

        assert_eq!(
            error.to_string(),
            "the key has used up its calls_per_day, which is 2"
        );
        assert_eq!(error.resets_in, Duration::from_secs(1800));
        assert_eq!(error.window, DAY);
        assert_eq!(ledger.begin_call(&quotas, at("2026-11-27T00:00")), Ok(()));
        let [day, month] = ledger.used(at("2026-11-27T00:01"));
        assert_eq!((day.calls, month.calls), (1, 3));
    }

    #[test]
    fn a_quota_of_a_month_ends_with_the_month() {
        let now = at("2026-11-30T12:00");
        let stored = [
            (Day::of(at("2026-10-31T00:00")), calls(100)),
            (Day::of(at("2026-11-01T00:00")), calls(4)),
            (Day::of(now), calls(5)),
        ];
        let mut ledger = UsageLedger::new(stored, now);
        let quotas = quotas(None, Some(10));

        assert_eq!(ledger.begin_call(&quotas, now), Ok(()));
        let error = ledger.begin_call(&quotas, now).unwrap_err();

        assert_eq!(error.resets_in, Duration::from_secs(12 * 3600));
        assert_eq!(error.window, DAY * 30);
        assert_eq!(ledger.used(at("2026-12-01T00:00")), [Usage::default(); 2]);
        assert_eq!(ledger.begin_call(&quotas, at("2026-12-01T00:00")), Ok(()));
    }

    #[test]
    fn every_quota_is_checked() {
        let now = at("2026-11-26T12:00");
        let one = Some(1);
        let all = [
            ("calls_per_day", "{\"calls_per_day\":1}"),
            ("calls_per_month", "{\"calls_per_month\":1}"),
            ("bytes_in_per_day", "{\"bytes_in_per_day\":1}"),
            ("bytes_in_per_month", "{\"bytes_in_per_month\":1}"),
            ("bytes_out_per_day", "{\"bytes_out_per_day\":1}"),
            ("bytes_out_per_month", "{\"bytes_out_per_month\":1}"),
            ("tokens_per_month", "{\"tokens_per_month\":1}"),
        ];
        let mut ledger = UsageLedger::new([], now);
        assert_eq!(ledger.check(&quotas(one, one), now), Ok(()));
        ledger.add(
            Usage {
                calls: 1,
                bytes_in: 1,
                bytes_out: 1,
                tokens: 1,
            },
            now,
        );

        for (name, record) in all {
            let quotas: Quotas = serde_json::from_str(record).unwrap();
            assert_eq!(ledger.check(&quotas, now).unwrap_err().name, name);
        }
        assert_eq!(ledger.check(&Quotas::default(), now), Ok(()));
    }

    #[test]
    fn a_call_that_is_taken_back_was_not_used() {
        let now = at("2026-11-26T12:00");
        let mut ledger = UsageLedger::new([], now);
        let quotas = quotas(Some(1), None);

        assert_eq!(ledger.begin_call(&quotas, now), Ok(()));
        ledger.take_back_call();

        assert_eq!(ledger.begin_call(&quotas, now), Ok(()));
        assert!(ledger.begin_call(&quotas, now).is_err());
        assert_eq!(ledger.take_unstored(), [(Day::of(now), calls(1))]);
    }

    #[test]
    fn a_clock_that_is_set_back_gives_no_second_quota() {
        let quotas = quotas(Some(1), None);
        let after = at("2026-11-27T00:10");
        let mut ledger = UsageLedger::new([], after);
        assert_eq!(ledger.begin_call(&quotas, after), Ok(()));

        assert!(ledger.begin_call(&quotas, at("2026-11-26T23:50")).is_err());
        assert!(ledger.begin_call(&quotas, after).is_err());
        assert!(ledger.begin_call(&quotas, at("2026-10-01T00:00")).is_err());
        assert!(ledger.begin_call(&quotas, after).is_err());
        assert_eq!(ledger.begin_call(&quotas, at("2026-11-28T00:00")), Ok(()));
    }

    #[test]
    fn what_is_not_stored_yet_is_kept_by_its_day() {
        let mut ledger = UsageLedger::new([], at("2026-11-26T23:59"));
        ledger.add(calls(1), at("2026-11-26T23:59"));
        ledger.add(calls(2), at("2026-11-27T00:00"));
        ledger.add(calls(3), at("2026-11-27T00:01"));

        let unstored = ledger.take_unstored();
        let first = Day::of(at("2026-11-26T00:00"));
        let second = Day(first.0 + 1);

        assert_eq!(unstored, [(first, calls(1)), (second, calls(5))]);
        assert_eq!(ledger.take_unstored(), []);
        ledger.add(calls(1), at("2026-11-27T00:02"));
        ledger.put_back(unstored);
        let expected = [(first, calls(1)), (second, calls(6))];
        assert_eq!(ledger.take_unstored(), expected);
        assert_eq!(ledger.used(at("2026-11-27T00:03"))[0].calls, 6);
    }
}
