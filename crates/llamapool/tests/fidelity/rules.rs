//! What somebody between an MCP client and an MCP server must and must not do, and which test holds it.
//!
//! The one rule: a test is named as it is called, anywhere in the workspace, and a name that is no test's is a failure; what
//! has none says why.

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
    Rule {
        says,
        held: Held::By(tests),
    }
}

const fn not(says: &'static str, why: &'static str) -> Rule {
    Rule {
        says,
        held: Held::Not(why),
    }
}

/// All of them.
pub(crate) const RULES: &[Rule] = &[
    by(
        "bodies go both ways byte for byte",
        &[
            "huge_integers_and_odd_json",
            "all_of_unicode",
            "big_bodies_both_ways",
            "a_body_of_unknown_length",
        ],
    ),
    by(
        "batches stay batches (2025-03-26)",
        &["batches_in_and_out", "a_batch_in_a_session"],
    ),
    by(
        "`Mcp-Session-Id` goes both ways, with any visible characters",
        &[
            "every_value_of_every_header",
            "with_one_relay_and_no_secret_session_ids_are_left_alone",
        ],
    ),
    by(
        "a session keeps to its relay: its calls, the streams that are listened to and resumed, and its end",
        &[
            "a_session_stays_with_its_relay_and_looks_the_same_each_time",
            "listening_resuming_and_ending_reach_the_relay_of_the_session",
        ],
    ),
    by(
        "nobody makes up or moves a session id",
        &[
            "a_session_id_that_was_made_up_or_moved_is_nobodys",
            "session_ids_of_every_kind_are_passed_on_or_nobodys",
        ],
    ),
    not(
        "a session is bound to whoever began it",
        "the provider sees token and session together and checks them; the server knows nobody but by a token, and tokens are renewed while a session lasts",
    ),
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
        &[
            "methods_that_a_provider_does_not_have",
            "methods_of_the_older_revisions",
            "listening_twice",
            "every_method_reaches_the_provider_with_path_query_and_body",
        ],
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
        &[
            "resuming_a_stream_that_the_caller_left",
            "a_message_that_cancels",
            "cancelling_in_a_session",
        ],
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
    by(
        "a lost tunnel breaks streams off, over HTTP/2 with a reset",
        &[
            "the_way_is_lost_in_the_middle_of_a_stream",
            "a_stream_of_a_killed_relay_is_aborted_with_all_it_had",
            "over_http_2_a_lost_tunnel_resets_its_streams_and_no_others",
            "over_http_2_a_break_resets_the_stream_and_nothing_else",
        ],
    ),
    by(
        "an id whose relay is away is answered with 503 and `Retry-After`, never with 400, 404 or 405",
        &["a_session_waits_for_its_relay_and_then_is_gone"],
    ),
    by(
        "an id that nobody holds is answered with 503 too, not with 404: the server cannot know that nobody will, and clients take 404 for the end of a session",
        &[
            "hostile_ids_are_nobodys",
            "an_invalid_id_is_offline_and_a_path_up_is_refused",
        ],
    ),
    by(
        "a session whose relay is gone is answered with 404",
        &["a_session_waits_for_its_relay_and_then_is_gone"],
    ),
    by(
        "a session does not wait for a relay that drains",
        &["a_session_does_not_wait_for_a_relay_that_drains"],
    ),
    by(
        "sessions survive a restart of the server",
        &["sessions_survive_a_restart_of_the_server"],
    ),
    by(
        "an open stream has no time limit",
        &["a_stream_that_outlives_every_limit"],
    ),
    by(
        "questions to the client come on the stream, and the answers reach the same provider",
        &[
            "sampling_on_the_stream_of_a_call",
            "elicitation_on_the_stream_of_a_call",
            "elicitation_and_progress_with_python",
            "sampling_on_the_one_stream",
            "fastmcp_with_sessions_and_streams",
            "fastmcp_over_http_with_sse",
        ],
    ),
    by(
        "answers to such questions outside of sessions reach the relay that asked (from 2025-06-18 on, whose messages can be told apart)",
        &["a_caller_of_an_older_revision_without_a_session_keeps_to_one_relay"],
    ),
    by(
        "a final answer is never made up, and subscriptions keep their ids (2026-07-28)",
        &[
            "listening_to_a_subscription",
            "two_subscriptions",
            "the_provider_breaks_a_stream_off",
        ],
    ),
    by(
        "the state of a question goes back as it was given (2026-07-28)",
        &["questions_with_a_state"],
    ),
    by(
        "callers without sessions keep to one relay, and go on at another (2026-07-28)",
        &["a_caller_without_sessions_keeps_to_one_relay_and_goes_on_at_the_other"],
    ),
    by(
        "revisions that nobody knows yet go through",
        &["headers_and_versions_of_the_future"],
    ),
    by(
        "`Mcp-Param-*` and other unknown headers go through",
        &["param_headers_that_nobody_knows", "arguments_in_headers"],
    ),
    by(
        "headers are checked against bodies by the provider alone",
        &["headers_that_contradict_the_body"],
    ),
    by(
        "all values of all headers go through, bytes beyond ASCII too",
        &["every_value_of_every_header"],
    ),
    by(
        "headers about the connection end with it, and `Connection` takes nothing away that a client needs",
        &[
            "headers_about_the_connection",
            "what_ends_with_a_connection",
            "what_belongs_to_one_hop_ends_there",
            "connection_cannot_take_away_what_the_other_end_needs",
        ],
    ),
    by(
        "forwarding headers are the server's own: `X-Forwarded-For`, `-Proto`, `-Host`",
        &[
            "what_a_caller_says_of_itself",
            "nobody_can_forge_what_only_llamapool_says",
            "behind_a_trusted_proxy_a_caller_can_forge_nothing_else",
            "the_public_address_is_configured_or_of_a_trusted_proxy",
        ],
    ),
    not(
        "`X-Forwarded-Prefix` and `Forwarded` say under which path the server was called",
        "a provider that follows a prefix names paths of the public address space, and the relay makes those that it names public itself: both together would do it twice; `Forwarded` would say nothing new",
    ),
    not(
        "forwarding headers can be turned off",
        "a provider believes them only if it is told to",
    ),
    by(
        "`Host` is the provider's",
        &[
            "every_value_of_every_header",
            "the_suite_says_the_same_of_2025_11_25",
        ],
    ),
    by(
        "`Origin` is checked at the server and goes no further; several of them, and `null`, are refused",
        &[
            "headers_about_the_connection",
            "pages_in_browsers",
            "the_origin_that_the_edge_has_checked_is_not_passed_on",
            "several_origins_or_hosts_are_refused_if_each_is_allowed",
            "a_public_address_admits_any_host_and_listed_origins",
            "the_suite_says_the_same_of_2026_07_28",
        ],
    ),
    by(
        "a server on loopback answers to loopback names alone",
        &[
            "loopback_admits_loopback_names_and_origins_only",
            "pages_in_browsers",
        ],
    ),
    by(
        "state, metrics and the relay's status are as closed to pages as calls are",
        &[
            "a_browsers_page_gets_no_data_from_a_server_on_loopback",
            "a_page_in_a_browser_gets_nothing_from_a_relay_on_loopback",
            "every_route_refuses_an_ambiguous_host_or_origin",
        ],
    ),
    by(
        "a browser's preflight is answered for exactly what it asks, and before any token is asked for",
        &[
            "a_preflight_gets_exactly_the_headers_that_it_requests",
            "a_preflight_is_answered_before_any_token_is_asked_for_and_reaches_nobody",
            "an_options_request_without_preflight_is_the_providers",
        ],
    ),
    by(
        "a page that is let in reads answers and errors, and one that is not reads nothing",
        &[
            "a_page_reads_answers_and_errors_whoever_made_them",
            "a_page_that_is_not_listed_may_neither_ask_nor_read",
        ],
    ),
    by(
        "what is said of origins is said once, and `Vary` says that it depends on them",
        &[
            "the_server_answers_about_origins_not_the_provider",
            "an_answer_depends_on_what_the_provider_says_and_on_the_origin",
            "a_program_gets_what_the_provider_says_of_origins",
        ],
    ),
    by(
        "a challenge leads to the provider's metadata at a public place, which any page may read",
        &[
            "a_challenge_leads_to_metadata_of_the_called_url",
            "a_challenge_and_its_metadata",
            "a_page_from_anywhere_may_ask_for_oauth_metadata",
            "every_origin_may_read_well_known_documents",
        ],
    ),
    by(
        "where there are no metadata the answer is a plain 404, which sends clients on; a failure is none",
        &[
            "where_there_are_no_metadata_the_answer_is_a_plain_404",
            "failed_metadata_are_not_taken_for_missing_ones",
        ],
    ),
    by(
        "every status goes through with what belongs to it",
        &[
            "statuses_with_what_belongs_to_them",
            "every_status_goes_through_with_headers_and_body_unchanged",
        ],
    ),
    by(
        "what is below an id's URL is forwarded, as it is spelt, and nothing that leads up",
        &[
            "paths_and_queries_below",
            "paths_and_queries_are_appended_to_those_of_the_provider",
            "dot_segments_are_refused_and_reach_no_provider",
        ],
    ),
    by(
        "what fails on the way is 502, what takes too long 504, what is too much 429 or 503, each with its name in `Llamapool-Error`",
        &[
            "a_provider_that_takes_no_connection_is_unreachable",
            "a_provider_that_hangs_up_before_its_answer_has_closed",
            "a_provider_that_does_not_speak_http_says_garbage",
            "over_http_2_a_tunnel_that_is_lost_before_the_head_is_an_error_with_a_name",
            "a_silent_provider_times_out_and_its_call_is_cancelled",
            "an_id_gets_no_more_calls_at_once_than_it_may",
        ],
    ),
    by(
        "nothing is sent to a provider twice",
        &[
            "a_provider_that_closes_after_each_answer_loses_no_call",
            "a_provider_that_hangs_up_before_its_answer_has_closed",
        ],
    ),
    by(
        "a body has 64 MiB, above that comes a 413 that can be read",
        &[
            "more_than_the_limits",
            "a_body_above_the_limit_is_refused_with_a_readable_answer",
            "a_request_that_never_ends_is_answered_and_ended",
            "big_bodies_both_ways",
        ],
    ),
    by(
        "`Expect` is answered at the server",
        &[
            "a_caller_who_asks_before_it_sends",
            "expect_100_continue_is_answered_by_the_server",
        ],
    ),
    by(
        "keys of the server and of the relay are no provider's business, and a caller's own token is",
        &[
            "keys_that_are_not_the_providers",
            "server_keys_reach_no_provider_and_callers_tokens_do",
        ],
    ),
    by(
        "202 has no body and no type",
        &["an_accepted_notification_has_no_body"],
    ),
    by(
        "`HEAD` gets no length made up",
        &["a_head_without_a_length"],
    ),
    by(
        "nothing is compressed, unpacked or transcoded",
        &["a_compressed_answer"],
    ),
    by(
        "an answer may begin before its request is whole",
        &["an_answer_before_the_request_is_whole"],
    ),
    by(
        "each event is on its way before the next is made",
        &[
            "each_event_before_the_next_is_made",
            "each_event_on_a_stream_that_was_opened_with_get",
            "listening_with_get",
            "progress_on_the_stream_of_a_call",
        ],
    ),
    by(
        "an open stream shows itself before anything is said",
        &["listening_with_get", "a_stream_that_says_nothing"],
    ),
    by(
        "comments are added between events alone, and the provider's own go through",
        &[
            "a_stream_that_says_nothing",
            "an_event_that_comes_in_halves",
            "comments_of_the_provider",
            "the_suite_says_the_same_among_many_comments",
        ],
    ),
    by(
        "nothing is added to a body that is no event stream, or an encoded one",
        &[
            "a_slow_answer_that_is_no_stream",
            "an_encoded_stream_gets_no_comments_between_its_bytes",
        ],
    ),
    by(
        "middleboxes are asked not to buffer, unless the provider says what it wants of them",
        &["a_stream_that_says_what_middleboxes_may"],
    ),
    by(
        "a slow reader holds back its own provider and nobody else",
        &[
            "a_reader_that_does_not_read",
            "a_caller_who_stops_reading_slows_no_other",
        ],
    ),
    by(
        "nothing is held for its size",
        &[
            "a_big_event",
            "an_event_of_100_mb_goes_through_and_is_held_by_nobody",
        ],
    ),
    by(
        "many streams at once are not mixed",
        &["two_hundred_streams"],
    ),
    by(
        "the endpoint of HTTP with SSE resolves below the public URL, in every form, for real clients too",
        &[
            "an_endpoint_from_the_root",
            "an_endpoint_beside_the_stream",
            "an_endpoint_with_its_origin",
            "an_endpoint_that_is_a_query",
            "an_endpoint_with_dots",
            "the_example_server_at_its_url",
            "the_example_server_below_its_url",
            "the_official_python_client_sees_the_same_over_http_with_sse",
            "the_official_typescript_client_sees_the_same_over_http_with_sse",
            "fastmcps_client_sees_the_same_over_http_with_sse",
            "a_client_behind_mcp_remote_sees_the_same_over_http_with_sse",
            "the_inspector_sees_the_same_over_http_with_sse",
        ],
    ),
    by(
        "posts of HTTP with SSE reach the relay that holds the stream",
        &["posts_of_http_with_sse_reach_the_relay_that_holds_the_stream"],
    ),
    by(
        "where an answer leads resolves below the public URL, and elsewhere as it came",
        &[
            "locations_on_the_providers_host_are_reachable",
            "locations_elsewhere_go_through_unchanged",
        ],
    ),
    by(
        "an authorization server on the provider's origin is found and used through the public URL, if its relay opted in",
        &[
            "a_client_signs_in_at_the_provider_through_public_urls_alone",
            "all_three_places_have_the_metadata_and_nothing_else_leaks",
            "without_opting_in_nothing_of_the_origin_is_published",
            "a_client_finds_signs_in_and_calls_with_the_public_url_alone",
        ],
    ),
    by(
        "callers without sessions are spread, and what is about a task goes to the relay that its caller keeps to (2026-07-28)",
        &[
            "callers_behind_one_proxy_are_spread_and_keep_to_their_relay",
            "a_caller_leaves_a_busier_relay_but_not_with_a_task",
        ],
    ),
    by(
        "`Mcp-Session-Id` decides nothing where there are no sessions (2026-07-28)",
        &["a_session_id_without_sessions_is_ignored_and_goes_through"],
    ),
    by(
        "informational answers and trailers end at each hop",
        &[
            "hints_before_the_answer",
            "what_follows_the_last_chunk",
            "interim_answers_end_at_the_hop",
        ],
    ),
    not(
        "resuming a tunnel's streams after a reconnect",
        "llamapool breaks them off; clients resume at the provider",
    ),
];
