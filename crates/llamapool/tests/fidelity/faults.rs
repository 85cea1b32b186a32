//! Tests of the comparison itself: it finds every fault of a faulty proxy, and its message names
//! the fault.
//!
//! The same scenario through the same proxy without its fault must show no difference.

use crate::differential::{Route, Scenario};
use crate::faulty_proxy::Fault;
use crate::scenarios;

/// A fault, the scenario that finds it, and the beginning of the message.
const FAULTS: &[(Fault, &str, &str)] = &[
    (
        Fault::DropsAHeaderOfTheRequest,
        "unknown_param_headers",
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
        "huge_integers_and_unusual_json",
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
        "huge_integers_and_unusual_json",
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
        "the_provider_ends_a_stream_cleanly",
        "direct end Clean, through end Aborted",
    ),
    (
        Fault::DelaysTheRequest,
        "the_provider_ends_a_stream_cleanly",
        "a request on its way to the provider took longer",
    ),
    (
        Fault::DelaysTheHead,
        "the_provider_ends_a_stream_cleanly",
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
        "the_provider_ends_a_stream_cleanly",
        "the end of an answer, clean or not took longer",
    ),
    (
        Fault::DelaysLeaving,
        "the_caller_leaves_an_idle_stream",
        "the disconnect of the caller took longer",
    ),
];

fn scenario(name: &str) -> &'static Scenario {
    scenarios()
        .find(|scenario| scenario.name == name)
        .unwrap_or_else(|| panic!("there is no {name}"))
}

#[tokio::test]
async fn every_fault_of_a_proxy_is_found_and_named() {
    for (fault, name, expected) in FAULTS {
        let outcome = scenario(name)
            .differs_from_direct(Route::Past(*fault))
            .await;

        let message = outcome.expect_err(&format!("{fault:?} is found by {name}"));
        let first = message.lines().next().unwrap_or_default();
        let text = first
            .strip_prefix("entry ")
            .and_then(|rest| rest.split_once(": "))
            .map(|(_, text)| text);
        assert!(
            text.is_some_and(|text| text.starts_with(expected)),
            "{fault:?}: {first}"
        );
    }
}

#[tokio::test]
async fn a_proxy_without_a_fault_makes_no_difference() {
    for (_, name, _) in FAULTS {
        let seen = scenario(name)
            .differs_from_direct(Route::Past(Fault::None))
            .await;
        assert_eq!(seen, Ok(Default::default()), "{name}");
    }
}
