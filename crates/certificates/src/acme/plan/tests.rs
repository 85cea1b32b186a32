//! What a plan does next, by its orders, its certificates and the time.

use super::*;

const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(60 * 60);
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

fn start() -> SystemTime {
    SystemTime::UNIX_EPOCH + 20_000 * DAY
}

fn names(names: &[&str]) -> Vec<DomainName> {
    names.iter().map(|name| name.parse().unwrap()).collect()
}

/// A certificate of 90 days, received at this time; its authority makes no suggestions for now.
fn held(number: u64, of: &[&str], at: SystemTime) -> Held {
    Held {
        number,
        names: names(of),
        life: Life {
            not_before: at,
            not_after: at + 90 * DAY,
            obtained_at: at,
            place: 0.0,
        },
        window: None,
        ask_at: at + 1000 * DAY,
    }
}

fn plan(of: &[&str], held: Vec<Held>) -> Plan {
    Plan::new(&names(of), BTreeMap::new(), held)
}

fn failed_by(of: &[&str]) -> FailedOrder {
    FailedOrder {
        by: names(of),
        not_before: None,
    }
}

/// Orders what is due until it waits, with this result of every order. Returns the names of the orders,
/// and the time until the next one.
fn run(
    plan: &mut Plan,
    now: SystemTime,
    result: &dyn Fn(&[DomainName]) -> Option<FailedOrder>,
) -> (Vec<Vec<DomainName>>, Duration) {
    let mut ordered = Vec::new();
    for number in 100..120 {
        match plan.next(now) {
            Step::Order(names) => {
                plan.begin(&names, now);
                match result(&names) {
                    Some(failed) => plan.fail(&names, &failed, now),
                    None => {
                        let names: Vec<&str> = names.iter().map(DomainName::as_str).collect();
                        plan.obtain(held(number, &names, now));
                    }
                }
                ordered.push(names);
            }
            Step::Wait(_) => {
                let (at, _) = plan.next_order().unwrap();
                return (ordered, at.duration_since(now).unwrap());
            }
            Step::AskRenewal(number) => plan.ask_again(number, None, now),
        }
    }
    panic!("the plan never waits: {ordered:?}");
}

#[test]
fn one_order_is_for_all_names() {
    let mut plan = plan(&["b.example", "a.example"], vec![]);

    let (ordered, wait) = run(&mut plan, start(), &|_| None);

    assert_eq!(ordered, [names(&["a.example", "b.example"])]);
    assert_eq!(wait, 60 * DAY);
    let (renewed, _) = run(&mut plan, start() + 60 * DAY, &|_| None);
    assert_eq!(renewed, ordered);
    assert_eq!(plan.held().len(), 1);
}

#[test]
fn a_name_that_fails_twice_is_ordered_apart() {
    let mut plan = plan(&["a.example", "b.example"], vec![]);
    let result = |ordered: &[DomainName]| {
        let bad = names(&["b.example"]);
        ordered.contains(&bad[0]).then(|| failed_by(&["b.example"]))
    };
    let both = names(&["a.example", "b.example"]);

    let (first, wait) = run(&mut plan, start(), &result);
    assert_eq!(first, std::slice::from_ref(&both));
    assert_eq!(wait, MINUTE);

    // The other name has its certificate with the second failure, without a wait.
    let now = start() + MINUTE;
    let (second, wait) = run(&mut plan, now, &result);
    assert_eq!(second, [both.clone(), names(&["a.example"])]);
    assert_eq!(wait, 5 * MINUTE);

    let now = now + 5 * MINUTE;
    let (third, wait) = run(&mut plan, now, &result);
    assert_eq!(third, [names(&["b.example"])]);
    assert_eq!(wait, 30 * MINUTE);

    // With its own certificate it is one of all again, from the next renewal on.
    let now = now + 30 * MINUTE;
    let (fourth, _) = run(&mut plan, now, &|_| None);
    assert_eq!(fourth, [names(&["b.example"])]);
    assert_eq!(plan.held().len(), 2);
    let (renewed, _) = run(&mut plan, start() + 61 * DAY, &|_| None);
    assert_eq!(renewed, [both]);
    assert_eq!(plan.held().len(), 1);
}

#[test]
fn pauses_grow_and_no_hour_has_more_than_five_tries() {
    let mut plan = plan(&["a.example"], vec![]);
    let mut now = start();
    let mut pauses = Vec::new();

    for _ in 0..6 {
        let (ordered, wait) = run(&mut plan, now, &|_| Some(FailedOrder::default()));
        assert_eq!(ordered.len(), 1);
        pauses.push(wait);
        now += wait;
    }
    assert_eq!(pauses, [MINUTE, 5 * MINUTE, 30 * MINUTE, HOUR, HOUR, HOUR]);

    // A success takes the pauses back, and not the tries: certificates that are due at once.
    let mut plan = self::plan(&["a.example"], vec![]);
    for minute in 0..5 {
        let now = start() + minute * MINUTE;
        assert!(matches!(plan.next(now), Step::Order(_)), "{minute}");
        plan.begin(&names(&["a.example"]), now);
    }
    let next = plan.next(start() + 5 * MINUTE);
    assert_eq!(next, Step::Wait(start() + HOUR));
}

/// A server that ends and starts again and again must not come back sooner than one that runs.
#[test]
fn tries_and_pauses_outlive_a_restart() {
    let mut first = plan(&["a.example"], vec![]);
    run(&mut first, start(), &|_| Some(FailedOrder::default()));

    let remembered = first.histories().clone();
    let mut second = Plan::new(&names(&["a.example"]), remembered, vec![]);

    assert_eq!(second.next(start()), Step::Wait(start() + MINUTE));
}

#[test]
fn the_authoritys_pause_is_obeyed_within_a_bound() {
    let limited = |pause| FailedOrder {
        by: vec![],
        not_before: Some(start() + pause),
    };

    let mut plan = plan(&["a.example"], vec![]);
    let (_, wait) = run(&mut plan, start(), &|_| Some(limited(36 * HOUR)));
    assert_eq!(wait, 36 * HOUR);

    let mut plan = self::plan(&["a.example"], vec![]);
    let (_, wait) = run(&mut plan, start(), &|_| Some(limited(5 * MINUTE / 10)));
    assert_eq!(wait, MINUTE);

    let mut plan = self::plan(&["a.example"], vec![]);
    let (_, wait) = run(&mut plan, start(), &|_| Some(limited(400 * DAY)));
    assert_eq!(wait, MAX_PAUSE);
}

#[test]
fn a_new_name_is_ordered_with_the_others() {
    let mut plan = plan(
        &["a.example", "b.example"],
        vec![held(1, &["a.example", "old.example"], start())],
    );

    let (ordered, _) = run(&mut plan, start(), &|_| None);

    assert_eq!(ordered, [names(&["a.example", "b.example"])]);
}

#[test]
fn a_certificate_with_more_names_is_enough() {
    let mut plan = plan(
        &["a.example"],
        vec![
            held(1, &["a.example", "old.example"], start()),
            held(2, &["old.example"], start()),
        ],
    );

    let (ordered, wait) = run(&mut plan, start(), &|_| None);

    assert!(ordered.is_empty(), "{ordered:?}");
    assert_eq!(wait, 60 * DAY);
    assert_eq!(plan.held().len(), 1);
}

#[test]
fn the_authoritys_window_moves_the_renewal() {
    let mut certificate = held(7, &["a.example"], start());
    certificate.ask_at = SystemTime::UNIX_EPOCH;
    let mut plan = plan(&["a.example"], vec![certificate]);
    assert_eq!(plan.next(start()), Step::AskRenewal(7));

    plan.ask_again(7, None, start());
    assert_eq!(plan.next(start()), Step::Wait(start() + ASK_INTERVAL));

    let now = start() + ASK_INTERVAL;
    assert_eq!(plan.next(now), Step::AskRenewal(7));
    let window = Window {
        start: now,
        end: now + DAY,
    };
    plan.ask_again(7, Some((window, 3 * HOUR)), now);
    assert_eq!(plan.next(now), Step::Order(names(&["a.example"])));
}

#[test]
fn questions_come_no_faster_than_every_minute() {
    let mut plan = plan(&["a.example"], vec![held(1, &["a.example"], start())]);
    let window = Window {
        start: start() + 60 * DAY,
        end: start() + 62 * DAY,
    };

    plan.ask_again(1, Some((window, Duration::ZERO)), start());
    assert_eq!(plan.next(start()), Step::Wait(start() + MINUTE));

    plan.ask_again(1, Some((window, 365 * DAY)), start());
    assert_eq!(plan.next(start()), Step::Wait(start() + DAY));
}

/// What was remembered of the future must not hold up the present.
#[test]
fn a_clock_that_is_set_back_waits_for_no_future() {
    let mut plan = plan(&["a.example"], vec![]);
    let future = start() + 365 * DAY;
    run(&mut plan, future, &|_| Some(FailedOrder::default()));

    assert_eq!(plan.next(start()), Step::Wait(start() + MINUTE));
    let later = start() + MINUTE;
    assert_eq!(plan.next(later), Step::Order(names(&["a.example"])));
}

#[test]
fn two_names_that_fail_take_no_third_one_down() {
    let mut plan = plan(&["a.example", "b.example", "c.example"], vec![]);
    let result = |ordered: &[DomainName]| {
        let good = names(&["b.example"]);
        (ordered != good).then(|| failed_by(&["a.example", "c.example"]))
    };

    run(&mut plan, start(), &result);
    let (ordered, _) = run(&mut plan, start() + MINUTE, &result);

    assert_eq!(ordered.last(), Some(&names(&["b.example"])));
}

/// Otherwise nothing would hold up the next try.
#[test]
fn a_failure_by_a_name_that_was_not_ordered_is_one_of_all() {
    let mut plan = plan(&["a.example"], vec![]);

    let (ordered, wait) = run(&mut plan, start(), &|_| Some(failed_by(&["x.example"])));

    assert_eq!(ordered.len(), 1);
    assert_eq!(wait, MINUTE);
}
