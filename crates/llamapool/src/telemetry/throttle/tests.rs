//! Bursts, refills, shares of subjects, and the count of what was left out.

use parking_lot::Mutex as Lock;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::layer::SubscriberExt;

use super::*;

const LIMIT: LogLimit = LogLimit {
    burst: 5,
    per_minute: 60,
};

/// Counts the events that get through.
#[derive(Clone, Default)]
struct Counter(Arc<Lock<Vec<String>>>);

impl<S: tracing::Subscriber> Layer<S> for Counter {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        self.0.lock().push(message(event));
    }
}

/// Runs something that logs. Returns the messages that were logged, and what was left out.
fn logged(level: LevelFilter, run: impl FnOnce(&Counts)) -> (Vec<String>, Vec<LeftOut>) {
    let throttle = Throttle::new(LIMIT).unwrap();
    let counts = throttle.0.clone();
    let counter = Counter::default();
    let log = tracing_subscriber::registry()
        .with(counter.clone())
        .with(throttle)
        .with(super::super::targets(level));

    tracing::subscriber::with_default(log, || run(&counts));

    let messages = counter.0.lock().clone();
    (messages, counts.take_left_out())
}

fn flood(times: usize) {
    for _ in 0..times {
        tracing::warn!(reason = "wrong_key", "a relay was refused");
    }
}

#[test]
fn a_flood_is_logged_in_part_and_the_rest_is_counted() {
    let (messages, left_out) = logged(LevelFilter::INFO, |counts| {
        flood(1000);
        counts.report();
        flood(3);
    });

    let mut expected = vec!["a relay was refused".to_owned(); 5];
    expected.push("lines were left out of this log".to_owned());
    assert_eq!(messages, expected);
    assert_eq!(
        left_out,
        [LeftOut {
            message: "a relay was refused".to_owned(),
            lines: 3,
        }]
    );
}

#[test]
fn what_repeats_is_logged_once_and_then_counted() {
    let refuse = |remote: &str| {
        tracing::warn!(
            remote,
            reason = "wrong_key",
            repeats = true,
            "a relay was refused"
        );
    };

    let (messages, left_out) = logged(LevelFilter::INFO, |counts| {
        (0..42).for_each(|_| refuse("198.51.100.7"));
        refuse("203.0.113.9");
        counts.report();
    });

    let report = "lines were left out of this log".to_owned();
    let refused = "a relay was refused".to_owned();
    assert_eq!(messages, [refused.clone(), refused, report]);
    assert_eq!(left_out, [], "they are reported");
}

#[test]
fn one_id_takes_no_lines_from_another() {
    let (messages, left_out) = logged(LevelFilter::INFO, |_| {
        for n in 0..400 {
            let id = if n < 300 { "loud" } else { "other" };
            tracing::warn!(id, "call failed");
        }
        flood(1);
    });

    assert_eq!(messages.len(), 5 + 5 + 1);
    assert_eq!(left_out[0].lines, 400 - 10);
}

/// There are as many ids as a peer makes up.
#[test]
fn the_lines_about_all_ids_together_are_bounded() {
    let (messages, left_out) = logged(LevelFilter::INFO, |_| {
        for n in 0..10_000 {
            tracing::info!(id = %format_args!("id-{n}"), "relay connected");
        }
    });

    // The lines of the burst, and a few that the rate allows while a slow machine writes these.
    assert!((100..200).contains(&messages.len()), "{}", messages.len());
    assert_eq!(left_out[0].lines as usize, 10_000 - messages.len());
}

#[test]
fn details_have_room_and_count_only_where_they_are_logged() {
    let details = || {
        for _ in 0..1000 {
            tracing::debug!(req_id = "x", "call");
        }
    };

    let (messages, left_out) = logged(LevelFilter::DEBUG, |_| details());
    // The lines of the burst, and a few that the rate allows while a slow machine writes these.
    assert!((500..600).contains(&messages.len()), "{}", messages.len());
    assert_eq!(left_out.len(), 1);

    let (messages, left_out) = logged(LevelFilter::INFO, |_| details());
    assert_eq!((messages.len(), left_out.len()), (0, 0));
}

/// A traceback is one text of many lines.
#[test]
fn a_program_may_write_a_traceback() {
    let (messages, _) = logged(LevelFilter::INFO, |_| {
        for _ in 0..1000 {
            tracing::info!(target: "llamapool_bridge::stderr", pid = 7, "the provider says");
        }
    });

    assert_eq!(messages.len(), 100);
}

#[test]
fn lines_come_back_with_time_and_never_beyond_the_burst() {
    let allowance = Allowance {
        burst: 5.0,
        per_second: 1.0,
    };
    let start = Instant::now();
    let mut bucket = Bucket::full(allowance, start);
    let mut take = |after: u64| {
        let now = start + Duration::from_secs(after);
        let mut taken = 0;
        while bucket.has_line(allowance, now) {
            bucket.lines -= 1.0;
            taken += 1;
        }
        taken
    };

    assert_eq!(take(0), 5);
    assert_eq!(take(2), 2);
    assert_eq!(take(1), 0, "the clock does not go back");
    assert_eq!(take(1000), 5);
}

#[test]
fn the_end_reports_what_was_left_out_last() {
    let throttle = Throttle::new(LIMIT).unwrap();
    let counts = throttle.0.clone();
    let reports = throttle.reports();
    counts.state.lock().has_left_out = true;

    drop(reports);

    assert!(counts.state.lock().is_over);
    assert!(!counts.state.lock().has_left_out, "it was reported");
}

#[test]
fn a_burst_of_zero_is_no_bound() {
    let limit = LogLimit { burst: 0, ..LIMIT };
    assert!(Throttle::new(limit).is_none());
}
