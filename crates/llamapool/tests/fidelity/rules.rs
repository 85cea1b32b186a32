//! What somebody between an MCP client and an MCP server must and must not do, and which test holds it.
//!
//! The one rule: a test is named as it is called, anywhere in the workspace; what has none says why.

/// A rule.
pub(crate) struct Rule {
    pub(crate) says: &'static str,
    pub(crate) held: Held,
}

/// Whether a rule has tests.
pub(crate) enum Held {
    By(&'static [&'static str]),
    Not(&'static str),
}

const fn by(says: &'static str, tests: &'static [&'static str]) -> Rule {
    Rule { says, held: Held::By(tests) }
}

const fn not(says: &'static str, why: &'static str) -> Rule {
    Rule { says, held: Held::Not(why) }
}

/// All of them.
pub(crate) const RULES: &[Rule] = &[
    by(
        "bodies go both ways byte for byte",
        &["huge_integers_and_odd_json", "all_of_unicode", "big_bodies_both_ways", "a_body_of_unknown_length"],
    ),
    by("batches stay batches (2025-03-26)", &["batches_in_and_out", "a_batch_in_a_session"]),
    by(
        "`Mcp-Session-Id` goes both ways, with any visible characters",
        &["every_value_of_every_header", "with_one_relay_and_no_secret_session_ids_are_left_alone"],
    ),
    by("a session keeps to its relay", &["a_session_stays_with_its_relay_and_looks_the_same_each_time"]),
    by("nobody makes up or moves a session id", &["a_session_id_that_was_made_up_or_moved_is_nobodys"]),
    by(
        "`Last-Event-ID`, `id:` and `retry:` are exact, and resuming reaches the same session",
        &[
            "events_of_every_shape",
            "headers_and_versions_of_the_future",
            "resuming_a_stream_that_the_caller_left",
            "resuming_a_stream_that_the_provider_ended",
        ],
    ),
    by(
        "GET and DELETE are forwarded, and nothing is invented for them",
        &["methods_that_a_provider_does_not_have", "methods_of_the_older_revisions", "listening_twice"],
    ),
    by(
        "a caller that leaves is a connection that ends at the provider, at once",
        &[
            "the_caller_leaves_before_the_head",
            "the_caller_leaves_in_the_middle_of_a_stream",
            "the_caller_leaves_an_idle_stream",
            "the_caller_leaves_in_the_middle_of_its_request",
            "closing_a_stream_cancels",
        ],
    ),
    by(
        "up to 2025-11-25 leaving cancels nothing, and a message that cancels goes on as it is",
        &["resuming_a_stream_that_the_caller_left", "a_message_that_cancels", "cancelling_in_a_session"],
    ),
    by(
        "a clean end is a clean end, and any other breaks off, behind all that came before it",
        &[
            "the_provider_ends_a_stream_well",
            "the_provider_breaks_a_stream_off",
            "the_provider_breaks_off_within_an_event",
            "the_provider_breaks_the_stream_of_an_endpoint_off",
            "the_provider_breaks_a_body_of_known_length_off",
        ],
    ),
    by("a lost tunnel breaks streams off", &["the_way_is_lost_in_the_middle_of_a_stream"]),
    by(
        "an id whose relay is away is answered with 503 and `Retry-After`, never with 400, 404 or 405",
        &["a_session_waits_for_its_relay_and_then_is_gone"],
    ),
    by("a session whose relay is gone is answered with 404", &["a_session_waits_for_its_relay_and_then_is_gone"]),
    by("a session does not wait for a relay that drains", &["a_session_does_not_wait_for_a_relay_that_drains"]),
    by("sessions survive a restart of the server", &["sessions_survive_a_restart_of_the_server"]),
    not("an open stream has no time limit", "it would have to wait for ever; the limits are settings, 0 by default"),
    by(
        "questions to the client come on the stream, and the answers reach the same provider",
        &[
            "sampling_on_the_stream_of_a_call",
            "elicitation_on_the_stream_of_a_call",
            "elicitation_and_progress_with_python",
            "sampling_on_the_one_stream",
        ],
    ),
    by(
        "a final answer is never made up, and subscriptions keep their ids (2026-07-28)",
        &["listening_to_a_subscription", "two_subscriptions", "the_provider_breaks_a_stream_off"],
    ),
    by("the state of a question goes back as it was given (2026-07-28)", &["questions_with_a_state"]),
    by(
        "callers without sessions keep to one relay, and go on at another (2026-07-28)",
        &["a_caller_without_sessions_keeps_to_one_relay_and_goes_on_at_the_other"],
    ),
    by("revisions that nobody knows yet go through", &["headers_and_versions_of_the_future"]),
    by(
        "`Mcp-Param-*` and other unknown headers go through",
        &["param_headers_that_nobody_knows", "arguments_in_headers"],
    ),
    by("headers are checked against bodies by the provider alone", &["headers_that_contradict_the_body"]),
    by("all values of all headers go through, bytes beyond ASCII too", &["every_value_of_every_header"]),
    by("headers about the connection end with it", &["headers_about_the_connection"]),
    by("forwarding headers are the server's own", &["what_a_caller_says_of_itself"]),
    by("`Host` is the provider's", &["every_value_of_every_header", "the_suite_says_the_same_of_2025_11_25"]),
    by(
        "`Origin` is checked at the server and goes no further",
        &["headers_about_the_connection", "the_suite_says_the_same_of_2026_07_28"],
    ),
    by(
        "a browser's preflight is answered for exactly what it asks",
        &["a_preflight_is_answered_with_exactly_the_headers_that_it_asks_for"],
    ),
    by("what is said of origins is said once", &["the_edge_speaks_of_origins_and_the_provider_does_not"]),
    by("every status goes through with what belongs to it", &["statuses_with_what_belongs_to_them"]),
    by("202 has no body and no type", &["an_accepted_notification_has_no_body"]),
    by("`HEAD` gets no length made up", &["a_head_without_a_length"]),
    by("nothing is compressed, unpacked or transcoded", &["a_compressed_answer"]),
    by("an answer may begin before its request is whole", &["an_answer_before_the_request_is_whole"]),
    by(
        "each event is on its way before the next is made",
        &["each_event_before_the_next_is_made", "listening_with_get", "progress_on_the_stream_of_a_call"],
    ),
    by("an open stream shows itself before anything is said", &["listening_with_get", "a_stream_that_says_nothing"]),
    by(
        "comments are added between events alone, and the provider's own go through",
        &["a_stream_that_says_nothing", "an_event_that_comes_in_halves", "comments_of_the_provider"],
    ),
    by(
        "middleboxes are asked not to buffer, unless the provider says what it wants of them",
        &["a_stream_that_says_what_middleboxes_may"],
    ),
    by("a slow reader holds back its own provider and nobody else", &["a_reader_that_does_not_read"]),
    by("many streams at once are not mixed", &["two_hundred_streams"]),
    by(
        "the endpoint of HTTP with SSE resolves below the public URL, in every form",
        &[
            "an_endpoint_from_the_root",
            "an_endpoint_beside_the_stream",
            "an_endpoint_with_its_origin",
            "an_endpoint_that_is_a_query",
            "an_endpoint_with_dots",
            "the_example_server_at_its_url",
            "the_example_server_below_its_url",
        ],
    ),
    by(
        "posts of HTTP with SSE reach the relay that holds the stream",
        &["posts_of_http_with_sse_reach_the_relay_that_holds_the_stream"],
    ),
    by(
        "where an answer leads resolves below the public URL, and elsewhere as it came",
        &[
            "a_caller_gets_to_what_the_provider_made_wherever_on_its_host_that_is",
            "what_leads_elsewhere_goes_through_as_it_came_and_every_value_does",
        ],
    ),
    by(
        "an authorization server on the provider's origin is found and used through the public URL, if its relay opted in",
        &[
            "a_client_signs_in_at_the_providers_own_server_through_public_urls_alone",
            "all_three_places_of_the_metadata_have_them_and_nothing_else_is_reachable",
            "who_did_not_opt_in_publishes_nothing_of_the_providers_origin",
            "a_client_finds_signs_in_and_calls_with_the_public_url_alone",
        ],
    ),
    by(
        "callers without sessions are spread, and what is about a task goes to the relay that its caller keeps to (2026-07-28)",
        &[
            "callers_with_one_token_behind_one_proxy_are_spread_and_each_keeps_to_its_relay",
            "a_caller_goes_elsewhere_when_its_relay_is_clearly_busier_but_not_with_a_task",
        ],
    ),
    by(
        "`Mcp-Session-Id` decides nothing where there are no sessions (2026-07-28)",
        &["a_session_id_means_nothing_where_there_are_no_sessions_and_goes_through"],
    ),
    not("informational answers and trailers", "they end at each hop by design, see ARCHITECTURE.md"),
    not("resuming a tunnel's streams after a reconnect", "llamapool breaks them off; clients resume at the provider"),
];
