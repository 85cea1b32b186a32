//! A history without a fault, in which one violation of each kind is planted and must be found.

use super::super::history::{LlmEnd, Refusal};
use super::*;

fn begin(attempt: &str, nonce: &str) -> AttemptRecord {
    AttemptRecord::Begin {
        attempt: attempt.to_owned(),
        nonce: nonce.to_owned(),
    }
}

/// Returns the records of an attempt that wrote so many words.
fn wrote(attempt: &str, nonce: &str, words: u32) -> Vec<AttemptRecord> {
    let word = |number| AttemptRecord::Word {
        attempt: attempt.to_owned(),
        number,
    };
    let mut records = vec![begin(attempt, nonce)];
    records.extend((0..words).map(word));
    records
}

fn end(attempt: &str) -> AttemptRecord {
    AttemptRecord::End {
        attempt: attempt.to_owned(),
    }
}

fn call(nonce: &str, text: &str, outcome: LlmOutcome) -> LlmCall {
    LlmCall {
        nonce: nonce.to_owned(),
        began: 1_000,
        text: text.to_owned(),
        ends: vec![LlmEnd { at: 1_500, outcome }],
    }
}

fn refused(word: &str, should_retry: bool) -> LlmOutcome {
    LlmOutcome::Refused(Refusal {
        status: 503,
        word: word.to_owned(),
        should_retry,
    })
}

/// Returns a history in which every rule is kept: `a` was answered by its second attempt, `b` broke off after its
/// second word, `c` had three attempts, `d` was left, `e` was refused, `f` failed after content.
fn honest() -> LlmHistory {
    let records = [
        wrote("a1", "a", 0),
        wrote("a2", "a", 2),
        vec![end("a2")],
        wrote("b1", "b", 3),
        wrote("c1", "c", 0),
        wrote("c2", "c", 0),
        wrote("c3", "c", 0),
        wrote("d1", "d", 5),
        wrote("f1", "f", 1),
    ];
    let lost = || Some("worker_lost".to_owned());
    LlmHistory {
        calls: vec![
            call("a", "a2.0 a2.1 ", LlmOutcome::Whole),
            call("b", "b1.0 b1.1 ", LlmOutcome::Broken(lost())),
            call("c", "", refused("runtime_closed", false)),
            call("d", "d1.0 ", LlmOutcome::Left),
            call("e", "", refused("call_timeout", false)),
            call("f", "", refused("worker_lost", false)),
        ],
        records: records.concat(),
        failed_attempts: ["a", "c", "c", "c"].map(str::to_owned).into(),
        ..LlmHistory::default()
    }
}

/// Plants a violation and returns what is found.
fn found(plant: impl FnOnce(&mut LlmHistory)) -> Vec<LlmRule> {
    let mut history = honest();
    plant(&mut history);
    let violations = check(&history);
    violations.iter().map(|violation| violation.rule).collect()
}

#[test]
fn a_history_that_keeps_the_rules_has_no_violation() {
    assert_eq!(check(&honest()), []);
}

#[test]
fn content_that_no_attempt_wrote_is_found() {
    let texts = [
        "a2.0 a2.1 a2.2 ",
        "a1.0 a2.1 ",
        "a2.1 ",
        "b1.0 ",
        "a2.0 a2.0 ",
    ];

    for text in texts {
        let rules = found(|history| history.calls[0].text = text.to_owned());
        assert_eq!(rules, [LlmRule::Invented], "{text}");
    }
    let empty = found(|history| history.calls[0].text.clear());
    assert_eq!(empty, [LlmRule::Invented]);
}

#[test]
fn a_whole_answer_that_is_cut_is_found() {
    let cut = found(|history| history.calls[0].text = "a2.0 ".to_owned());
    let unfinished = found(|history| history.records.retain(|record| *record != end("a2")));
    let endless = found(|history| history.calls[3].ends[0].outcome = LlmOutcome::Endless);

    for rules in [cut, unfinished, endless] {
        assert_eq!(rules, [LlmRule::CutShort]);
    }
}

#[test]
fn an_execution_after_first_content_is_found() {
    let after_a_failure = found(|history| history.records.push(begin("b2", "b")));
    let after_an_answer = found(|history| history.records.push(begin("a3", "a")));

    assert_eq!(after_a_failure, [LlmRule::Repeated]);
    assert_eq!(after_an_answer, [LlmRule::Repeated]);
}

/// The worker was lost on the way, and its runtime read the request later.
#[test]
fn an_attempt_that_has_failed_may_begin_late() {
    let rules = found(|history| {
        let first = history.records.remove(0);
        assert_eq!(first, begin("a1", "a"));
        history.records.push(first);
    });

    assert_eq!(rules, []);
}

#[test]
fn too_many_attempts_are_found() {
    let rules = found(|history| history.records.push(begin("c4", "c")));

    assert_eq!(rules, [LlmRule::TooManyAttempts]);
}

#[test]
fn a_call_that_is_given_up_too_early_is_found() {
    let rules = found(|history| {
        history.failed_attempts.pop();
    });
    let never_tried = found(|history| {
        history.calls[4].ends[0].outcome = refused("no_worker", true);
    });

    assert_eq!(rules, [LlmRule::Lost]);
    assert_eq!(never_tried, [LlmRule::Lost]);
}

#[test]
fn a_refusal_of_what_was_executed_is_found() {
    let rules = found(|history| {
        history.calls[2].ends[0].outcome = refused("runtime_busy", true);
    });

    assert_eq!(rules, [LlmRule::ExecutedThoughRefused]);
}

#[test]
fn calls_without_exactly_one_end_in_time_are_found() {
    let none = found(|history| history.calls[3].ends.clear());
    let two = found(|history| {
        let again = history.calls[3].ends[0].clone();
        history.calls[3].ends.push(again);
    });
    let late = found(|history| history.calls[3].ends[0].at = 32_000);
    let hung = found(|history| history.calls[3].ends[0].outcome = LlmOutcome::Hung);
    let unanswered = found(|history| history.calls[3].ends[0].outcome = LlmOutcome::NoAnswer);

    assert_eq!(none, [LlmRule::NotOneEnd]);
    assert_eq!(two, [LlmRule::NotOneEnd]);
    assert_eq!(late, [LlmRule::Late]);
    assert_eq!(hung, [LlmRule::Late]);
    assert_eq!(unanswered, [LlmRule::NoAnswer]);
}

#[test]
fn attempts_of_no_call_and_what_does_not_settle_are_found() {
    let unknown = found(|history| history.records.push(begin("x1", "x")));
    let unsettled = found(|history| history.unsettled.push("one in flight".to_owned()));

    assert_eq!(unknown, [LlmRule::UnknownAttempt]);
    assert_eq!(unsettled, [LlmRule::NotSettled]);
}
