//! Histories without a fault, in which one violation of each kind is planted and must be found.

use proptest::prelude::*;
use proptest::sample::Index;
use proptest::strategy::ValueTree;

use super::{DESCRIPTOR_SLACK, MEMORY_SLACK, Rule, check};
use crate::history::{
    Call, Cancellation, Content, End, Execution, History, IdState, IdTruth, Message, Millis,
    Operation, Outcome, PROBE, ProcessSample, Settled, Stop,
};

const WITHIN: Millis = 30_000;

fn call(number: usize, operation: Operation, outcome: Outcome) -> Call {
    let began = number as Millis * 10;
    Call {
        nonce: format!("n{number}"),
        caller: format!("c{}", number % 3),
        id: "plain".to_owned(),
        operation,
        session: None,
        upload: number % 5,
        events: None,
        began,
        within: WITHIN,
        messages: Vec::new(),
        ends: vec![End {
            at: began + 5,
            outcome,
        }],
    }
}

fn answered(status: u16) -> Outcome {
    Outcome::Answered {
        status,
        cause: None,
    }
}

fn refused(status: u16, cause: &str) -> Outcome {
    Outcome::Answered {
        status,
        cause: Some(cause.to_owned()),
    }
}

fn message(nonce: &str, content: Content) -> Message {
    Message {
        nonce: nonce.to_owned(),
        content,
    }
}

fn execution(call: &Call) -> Execution {
    Execution {
        nonce: call.nonce.clone(),
        upload: Some(call.upload),
    }
}

/// Adds a call that was executed and answered, with events before its result.
fn add_answered(history: &mut History, number: usize, events: u32) {
    let mut call = call(number, Operation::Tool, answered(200));
    call.events = (events > 0).then_some(events);
    call.messages = (0..events)
        .map(|event| message(&call.nonce, Content::Event(event)))
        .collect();
    call.messages
        .push(message(&call.nonce, Content::Result { intact: true }));
    history.executions.push(execution(&call));
    history.calls.push(call);
}

/// Adds a call with any other end, and whether it was executed.
fn add_failed(history: &mut History, number: usize, outcome: Outcome, executed: bool) {
    let call = call(number, Operation::Tool, outcome);
    if executed {
        history.executions.push(execution(&call));
    }
    history.calls.push(call);
}

/// Adds a session with a stream that is left after two of four events and resumed.
fn add_session(history: &mut History, number: usize) {
    let mut begin = call(number, Operation::Initialize, answered(200));
    begin.messages = vec![message(&begin.nonce, Content::Result { intact: true })];
    let session = Some(begin.nonce.clone());

    let mut first = call(number + 1, Operation::Tool, Outcome::Left);
    let stream = first.nonce.clone();
    first.events = Some(4);
    first.messages = (0..2)
        .map(|event| message(&stream, Content::Event(event)))
        .collect();
    history.executions.push(execution(&first));

    let mut second = call(number + 2, Operation::Resume(stream.clone()), answered(200));
    second.messages = (2..4)
        .map(|event| message(&stream, Content::Event(event)))
        .collect();
    second
        .messages
        .push(message(&stream, Content::Result { intact: true }));
    let delete = call(number + 3, Operation::Delete, answered(204));
    for mut call in [begin, first, second, delete] {
        if call.operation != Operation::Initialize {
            call.session = session.clone();
        }
        history.calls.push(call);
    }
}

fn id_state(calls_total: u64) -> IdState {
    IdState {
        id: "plain".to_owned(),
        relays: 1,
        reachable: 1,
        inflight: 0,
        calls_total,
    }
}

/// Returns a history of so many calls in which every rule is kept.
fn honest(calls: usize) -> History {
    let mut history = History::default();
    let mut admitted = 0;
    for number in 0..calls {
        let number = number * 10;
        match number / 10 % 9 {
            0 => add_session(&mut history, number),
            1 => add_failed(&mut history, number, refused(503, "relay_offline"), false),
            2 => add_failed(&mut history, number, refused(502, "tunnel_lost"), true),
            3 => add_failed(&mut history, number, refused(502, "tunnel_lost"), false),
            4 => add_failed(&mut history, number, Outcome::Left, true),
            5 => add_failed(&mut history, number, Outcome::NoAnswer, false),
            6 => add_failed(&mut history, number, Outcome::Broken { status: 200 }, true),
            kind => add_answered(&mut history, number, kind as u32 - 7),
        }
        admitted += [4, 0, 1, 1, 1, 0, 1, 1, 1][number / 10 % 9];
    }

    let calls_total = 100 + admitted;
    history.settled = Some(Settled {
        truth: vec![IdTruth {
            id: "plain".to_owned(),
            relays: 1,
        }],
        reported: Some(vec![id_state(calls_total)]),
        before: Some(vec![id_state(100)]),
        processes: vec![ProcessSample {
            name: "server".to_owned(),
            descriptors: 20,
            descriptors_before: 20,
            memory: 30 << 20,
            memory_before: 30 << 20,
            ..ProcessSample::default()
        }],
        programs: 2,
        programs_allowed: 2,
    });
    history
}

/// Returns the calls that satisfy a condition.
fn some_call(history: &mut History, index: Index, wanted: impl Fn(&Call) -> bool) -> &mut Call {
    let mut calls: Vec<&mut Call> = history.calls.iter_mut().filter(|it| wanted(it)).collect();
    let place = index.index(calls.len());
    calls.swap_remove(place)
}

fn has_result(call: &Call) -> bool {
    let result = Content::Result { intact: true };
    call.operation == Operation::Tool && call.messages.iter().any(|it| it.content == result)
}

/// Plants a violation of a rule at a place.
fn plant(history: &mut History, rule: Rule, index: Index) {
    match rule {
        Rule::ExecutedTwice => {
            let again = index.get(&history.executions).clone();
            history.executions.push(again);
        }
        Rule::UnknownExecution => history.executions.push(Execution {
            nonce: "n-of-nobody".to_owned(),
            upload: Some(0),
        }),
        Rule::ExecutedThoughRefused => {
            let call = some_call(history, index, |it| {
                it.ends[0].outcome == refused(503, "relay_offline")
            });
            let execution = execution(call);
            history.executions.push(execution);
        }
        Rule::NeverExecuted => {
            let nonce = some_call(history, index, has_result).nonce.clone();
            history.executions.retain(|it| it.nonce != nonce);
        }
        Rule::AlteredRequest => {
            let place = index.index(history.executions.len());
            let execution = &mut history.executions[place];
            execution.upload = [None, execution.upload.map(|it| it + 1)][place % 2];
        }
        Rule::NoEnd => some_call(history, index, |it| it.messages.is_empty())
            .ends
            .clear(),
        Rule::SeveralEnds => {
            let call = some_call(history, index, |_| true);
            call.ends.push(call.ends[0].clone());
        }
        Rule::Late => {
            let call = some_call(history, index, |_| true);
            call.ends[0].at = call.began + WITHIN + 6_000;
        }
        Rule::NoResponse => some_call(history, index, has_result).messages.clear(),
        Rule::SeveralResponses => {
            let call = some_call(history, index, has_result);
            call.messages
                .push(call.messages[call.messages.len() - 1].clone());
        }
        Rule::ForeignMessage => {
            let call = some_call(history, index, |it| !it.messages.is_empty());
            call.messages[0].nonce = "n-of-another".to_owned();
        }
        Rule::AlteredAnswer => {
            let call = some_call(history, index, has_result);
            let last = call.messages.len() - 1;
            call.messages[last].content = Content::Result { intact: false };
        }
        _ => plant_in_stream_or_state(history, rule, index),
    }
}

fn plant_in_stream_or_state(history: &mut History, rule: Rule, index: Index) {
    match rule {
        Rule::RepeatedEvent => {
            let resumed = |it: &Call| matches!(it.operation, Operation::Resume(_));
            let call = some_call(history, index, resumed);
            let Operation::Resume(stream) = call.operation.clone() else {
                return;
            };
            call.messages.insert(0, message(&stream, Content::Event(1)));
        }
        Rule::MissingEvent => {
            let resumed = |it: &Call| matches!(it.operation, Operation::Resume(_));
            let call = some_call(history, index, resumed);
            call.messages.remove(index.index(2));
        }
        Rule::WrongCancellation => history.cancellations.push(Cancellation {
            named: "n1".to_owned(),
            meant: "n2".to_owned(),
        }),
        Rule::ProcessStuck => history.stuck.push("relay-plain".to_owned()),
        Rule::SessionLost => {
            let call = some_call(history, index, |it| {
                it.session.is_some() && it.messages.len() == 2
            });
            call.ends[0].outcome = answered(404);
        }
        Rule::NotRecovered => {
            let mut call = call(999, Operation::Tool, Outcome::NoAnswer);
            call.caller = PROBE.to_owned();
            history.calls.push(call);
        }
        _ => plant_in_state(
            history.settled.as_mut().expect("a settled history"),
            rule,
            index,
        ),
    }
}

fn plant_in_state(settled: &mut Settled, rule: Rule, index: Index) {
    let reported = settled.reported.as_mut().expect("a report");
    let process = &mut settled.processes[0];
    match rule {
        Rule::StateDiffers => match index.index(4) {
            0 => reported[0].inflight = 1,
            1 => reported[0].relays = 2,
            2 => reported.clear(),
            _ => settled.reported = None,
        },
        Rule::TotalsDiffer => match index.index(3) {
            0 => reported[0].calls_total = 99,
            1 => reported[0].calls_total += 1_000,
            _ => reported[0].calls_total = 100,
        },
        Rule::ProcessExited => process.exited = Some("exit status: 101".to_owned()),
        Rule::DescriptorsLeaked => process.descriptors += DESCRIPTOR_SLACK + 9,
        Rule::MemoryLeaked => process.memory = process.memory / 2 * 3 + MEMORY_SLACK + 1,
        Rule::ProgramsLeaked => settled.programs = 3,
        _ => panic!("{rule} is not planted"),
    }
}

const ALL: [Rule; 24] = [
    Rule::ExecutedTwice,
    Rule::UnknownExecution,
    Rule::ExecutedThoughRefused,
    Rule::NeverExecuted,
    Rule::AlteredRequest,
    Rule::NoEnd,
    Rule::SeveralEnds,
    Rule::Late,
    Rule::NoResponse,
    Rule::SeveralResponses,
    Rule::ForeignMessage,
    Rule::AlteredAnswer,
    Rule::RepeatedEvent,
    Rule::MissingEvent,
    Rule::WrongCancellation,
    Rule::SessionLost,
    Rule::NotRecovered,
    Rule::StateDiffers,
    Rule::TotalsDiffer,
    Rule::ProcessExited,
    Rule::ProcessStuck,
    Rule::DescriptorsLeaked,
    Rule::MemoryLeaked,
    Rule::ProgramsLeaked,
];

proptest! {
    #[test]
    fn a_history_in_which_every_rule_is_kept_has_no_violation(calls in 0_usize..200) {
        prop_assert_eq!(check(&honest(calls)), []);
    }

    #[test]
    fn every_planted_violation_is_found_by_its_name(
        calls in 20_usize..200,
        rule in prop::sample::select(&ALL[..]),
        index in any::<Index>(),
    ) {
        let mut history = honest(calls);
        plant(&mut history, rule, index);

        let violations = check(&history);

        let rules: Vec<Rule> = violations.iter().map(|it| it.rule).collect();
        prop_assert!(rules.contains(&rule), "{} is not among {:?}", rule, rules);
    }
}

#[test]
fn each_rule_is_found_at_least_once() {
    // The property draws rules at random; here each has its turn.
    for rule in ALL {
        let mut runner = proptest::test_runner::TestRunner::deterministic();
        let tree = any::<Index>().new_tree(&mut runner).unwrap();
        let mut history = honest(40);
        plant(&mut history, rule, tree.current());

        let violations = check(&history);

        assert!(
            violations.iter().any(|it| it.rule == rule),
            "{rule}: {violations:?}"
        );
    }
}

#[test]
fn a_session_may_be_gone_when_a_process_that_holds_it_was_ended() {
    let mut history = History::default();
    add_session(&mut history, 0);
    history.calls[2].ends[0].outcome = answered(404);
    history.calls[2].messages.clear();
    assert_eq!(check(&history)[0].rule, Rule::SessionLost);

    let stop = |process: &str| Stop {
        process: process.to_owned(),
        at: 1,
    };
    history.stops = vec![stop("relay-shared-first"), stop("server")];
    assert_eq!(check(&history)[0].rule, Rule::SessionLost);

    history.stops = vec![stop("relay-plain")];
    assert_eq!(check(&history), []);
}

#[test]
fn a_result_that_comes_before_its_events_is_a_missing_event() {
    let mut history = History::default();
    add_answered(&mut history, 0, 3);
    history.calls[0].messages.remove(2);

    assert_eq!(check(&history)[0].rule, Rule::MissingEvent);
}
