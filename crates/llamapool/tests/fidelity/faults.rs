//! The comparison of both ways finds what is wrong: every fault of a proxy is a failure that names it.
//!
//! The one rule: the same scenario past the same proxy without its fault shows no difference at all.

use crate::differential::{Scenario, Way};
use crate::faulty::Fault;
use crate::scenarios;

/// A fault, the scenario that finds it, and the beginning of what it says.
const FAULTS: &[(Fault, &str, &str)] = &[
    (
        Fault::DropsAHeaderOfTheRequest,
        "param_headers_that_nobody_knows",
        "Request, mcp-param-region: ",
    ),
    (
        Fault::DropsAHeader,
        "every_value_of_every_header",
        "Answer, dpop-nonce: ",
    ),
    (
        Fault::AddsAHeader,
        "every_value_of_every_header",
        "Answer, via: direct [], ",
    ),
    (
        Fault::JoinsValues,
        "every_value_of_every_header",
        "Answer, set-cookie: ",
    ),
    (
        Fault::ReordersValues,
        "every_value_of_every_header",
        "Answer, set-cookie: ",
    ),
    (
        Fault::ChangesTheStatus,
        "an_accepted_notification_has_no_body",
        "Answer, the first line: ",
    ),
    (
        Fault::Reframes,
        "huge_integers_and_odd_json",
        "Answer, content-length: ",
    ),
    (
        Fault::AddsAByte,
        "an_answer_that_ends_with_its_connection",
        "Body, body: ",
    ),
    (Fault::ChangesAByte, "a_big_event", "Event, endpoint: "),
    (
        Fault::ChangesAByteOfTheRequest,
        "huge_integers_and_odd_json",
        "Body, body: ",
    ),
    (Fault::ChangesAnId, "ids_that_look_random", "Body, body: "),
    (
        Fault::ReordersEvents,
        "comments_of_the_provider",
        "Event, endpoint: ",
    ),
    (
        Fault::RepeatsAnEvent,
        "events_of_every_shape",
        "Event, endpoint: ",
    ),
    (
        Fault::InterruptsAnEvent,
        "events_of_every_shape",
        "Event, endpoint: ",
    ),
    (
        Fault::SwallowsAnAbort,
        "the_provider_breaks_a_stream_off",
        "direct end Aborted, through end Clean",
    ),
    (
        Fault::BreaksOff,
        "the_provider_ends_a_stream_well",
        "direct end Clean, through end Aborted",
    ),
    (
        Fault::DelaysTheRequest,
        "the_provider_ends_a_stream_well",
        "a request on its way to the provider took longer",
    ),
    (
        Fault::DelaysTheHead,
        "the_provider_ends_a_stream_well",
        "the head of an answer on its way to the caller took longer",
    ),
    (
        Fault::DelaysEvents,
        "each_event_before_the_next_is_made",
        "an event on the stream of a call took longer",
    ),
    (
        Fault::DelaysEvents,
        "each_event_on_a_stream_that_was_opened_with_get",
        "an event on a stream that was opened with GET took longer",
    ),
    (
        Fault::DelaysTheEnd,
        "the_provider_ends_a_stream_well",
        "the end of an answer, good or bad took longer",
    ),
    (
        Fault::DelaysLeaving,
        "the_caller_leaves_an_idle_stream",
        "the news that the caller has left took longer",
    ),
];

fn scenario(name: &str) -> &'static Scenario {
    scenarios()
        .find(|scenario| scenario.name == name)
        .unwrap_or_else(|| panic!("there is no {name}"))
}

#[tokio::test]
async fn every_fault_of_a_proxy_is_found_and_named() {
    for (fault, name, says) in FAULTS {
        let found = scenario(name).differs_from_direct(Way::Past(*fault)).await;
        let found = found.expect_err(&format!("{fault:?} is found by {name}"));
        let first = found.lines().next().unwrap_or_default();
        let what = first
            .strip_prefix("entry ")
            .and_then(|rest| rest.split_once(": "))
            .map(|(_, what)| what);
        assert!(
            what.is_some_and(|what| what.starts_with(says)),
            "{fault:?}: {first}"
        );
    }
}

#[tokio::test]
async fn a_proxy_without_a_fault_makes_no_difference() {
    for (_, name, _) in FAULTS {
        let seen = scenario(name)
            .differs_from_direct(Way::Past(Fault::None))
            .await;
        assert_eq!(seen, Ok(Default::default()), "{name}");
    }
}
