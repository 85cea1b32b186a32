//! The clocks of both sides, by the `Date` header of an answer (RFC 9110, 6.6.1).

use std::time::{Duration, SystemTime};

use http::{HeaderMap, header};

use crate::doctor::check::{CLOCK, Looked};

/// The difference from which on it is worth a word: more than the way of an answer takes.
const NOTABLE: Duration = Duration::from_secs(30);
/// The difference from which on keys and certificates are judged wrongly.
const HARMFUL: Duration = Duration::from_secs(10 * 60);
/// What a harmful difference may measure less, as `Date` has whole seconds and arrives later.
const TOLERANCE: Duration = Duration::from_secs(5);

/// Compares the clock of a server with this one. `None`: its answer has no time.
pub(super) fn judged(headers: &HeaderMap, now: SystemTime) -> Option<Looked> {
    let date = headers.get(header::DATE)?.to_str().ok()?;
    let theirs = httpdate::parse_http_date(date).ok()?;
    let (difference, side) = match theirs.duration_since(now) {
        Ok(ahead) => (ahead, "ahead of"),
        Err(behind) => (behind.duration(), "behind"),
    };
    let shown = humantime::format_duration(Duration::from_secs(difference.as_secs()));
    let found = format!("the server's clock is {shown} {side} this one");
    let remedy = "Let both machines take the time from the network (NTP). Which of them is wrong shows \
                  in comparison with a third.";
    Some(if difference + TOLERANCE >= HARMFUL {
        CLOCK.fail(found, remedy)
    } else if difference > NOTABLE {
        CLOCK.warn(found, remedy)
    } else {
        CLOCK.ok("the clocks agree")
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::report::Status;

    #[test]
    fn a_clock_is_judged_by_its_difference() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000);
        let at = |seconds: i64| {
            let time = 1_800_000_000 + seconds;
            let time = SystemTime::UNIX_EPOCH + Duration::from_secs(time as u64);
            let mut headers = HeaderMap::new();
            let date = httpdate::fmt_http_date(time).parse().unwrap();
            headers.insert(header::DATE, date);
            judged(&headers, now).unwrap()
        };

        assert_eq!(at(0).status, Status::Ok);
        assert_eq!(at(-20).status, Status::Ok);
        assert_eq!(at(45).status, Status::Warn);
        assert_eq!(at(-600).status, Status::Fail);
        assert!(at(-600).found.contains("10m behind"), "{:?}", at(-600));
        assert!(judged(&HeaderMap::new(), now).is_none());
    }
}
