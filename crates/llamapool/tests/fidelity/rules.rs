//! The rules for an intermediary between an MCP client and an MCP server, and the tests that check
//! each.
//!
//! A test is named by its function, of any suite of the workspace; a name without a test is a
//! failure, and a rule without tests has a reason.

/// A rule.
pub(crate) struct Rule {
    pub(crate) text: &'static str,
    pub(crate) coverage: Coverage,
}

/// The tests of a rule.
pub(crate) enum Coverage {
    /// The names of the tests.
    Tests(&'static [&'static str]),
    /// The reason for having none.
    None(&'static str),
}

const fn tested(text: &'static str, tests: &'static [&'static str]) -> Rule {
    Rule {
        text,
        coverage: Coverage::Tests(tests),
    }
}

const fn untested(text: &'static str, reason: &'static str) -> Rule {
    Rule {
        text,
        coverage: Coverage::None(reason),
    }
}

/// All rules, in the order of the document.
pub(crate) const RULES: &[Rule] = &[
    tested(
        "bodies pass in both directions byte for byte",
        &[
            "huge_integers_and_unusual_json",
            "all_of_unicode",
            "big_bodies_both_ways",
            "a_body_of_unknown_length",
        ],
    ),
    tested(
        "batches stay batches (2025-03-26)",
        &["batches_in_and_out", "a_batch_in_a_session"],
    ),
    tested(
        "`Mcp-Session-Id` passes in both directions, with any visible characters",
        &[
            "every_value_of_every_header",
            "session_ids_pass_unchanged_with_one_relay_and_no_secret",
        ],
    ),
    tested(
        "a session stays with its relay: its calls, its listening and resumed streams, and its end",
        &[
            "a_session_stays_with_its_relay_and_keeps_its_id",
            "listening_resuming_and_ending_reach_the_relay_of_the_session",
        ],
    ),
    tested(
        "a forged or moved session id is not accepted",
        &[
            "a_forged_or_moved_session_id_is_not_found",
            "session_ids_of_every_kind_are_forwarded_or_not_found",
        ],
    ),
    tested(
        "no provider speaks for the public origin that all ids share, or to a proxy in front of it",
        &[
            "headers_of_proxies_and_of_the_origin",
            "a_provider_neither_speaks_for_the_origin_nor_to_a_proxy",
            "a_hostile_relay_cannot_speak_for_the_origin_either",
        ],
    ),
    tested(
        "a cookie of one id reaches no other, and its own provider as it was set",
        &[
            "a_cookie_of_one_id_reaches_no_other",
            "cookies_that_a_program_sends_stay_as_they_are",
        ],
    ),
    tested(
        "a page of one id can neither act as another's nor read it, unless the server's operator trusts it",
        &[
            "a_page_runs_in_a_sandbox_unless_its_id_is_trusted",
            "a_page_is_given_to_no_script_of_the_same_origin",
        ],
    ),
    tested(
        "a redirect of one caller or method leads no other, and one that is gone costs no session",
        &[
            "a_redirect_that_depends_on_its_caller_leads_no_other",
            "a_redirect_of_one_method_leads_no_other",
            "a_remembered_redirect_that_is_gone_is_asked_anew",
        ],
    ),
    untested(
        "a session is bound to the caller that began it",
        "the provider gets token and session together and checks them; the server identifies callers by their token alone, and tokens are renewed during a session",
    ),
    tested(
        "`Last-Event-ID`, `id:` and `retry:` are exact, and resuming reaches the same session",
        &[
            "events_of_every_shape",
            "headers_and_versions_of_the_future",
            "resuming_a_stream_that_the_caller_left",
            "resuming_a_stream_that_the_provider_ended",
        ],
    ),
    tested(
        "GET and DELETE are forwarded, and never answered on behalf of the provider",
        &[
            "methods_that_a_provider_does_not_support",
            "methods_of_the_older_revisions",
            "listening_twice",
            "every_method_reaches_the_provider_with_path_query_and_body",
        ],
    ),
    tested(
        "when a caller disconnects, its connection at the provider ends at once",
        &[
            "the_caller_leaves_before_the_head",
            "the_caller_leaves_in_the_middle_of_a_stream",
            "the_caller_leaves_an_idle_stream",
            "the_caller_leaves_in_the_middle_of_its_request",
            "closing_a_stream_cancels",
        ],
    ),
    tested(
        "up to 2025-11-25 a disconnect cancels nothing, and a cancelling message is forwarded unchanged",
        &[
            "resuming_a_stream_that_the_caller_left",
            "a_message_that_cancels",
            "cancelling_in_a_session",
        ],
    ),
    tested(
        "a clean end stays a clean end; any other end breaks off, after everything that came before it",
        &[
            "the_provider_ends_a_stream_cleanly",
            "the_provider_breaks_a_stream_off",
            "the_provider_breaks_off_within_an_event",
            "the_provider_breaks_the_stream_of_an_endpoint_off",
            "the_provider_breaks_a_body_of_known_length_off",
        ],
    ),
    tested(
        "a lost tunnel breaks its streams off, over HTTP/2 with a reset",
        &[
            "the_tunnel_is_lost_in_the_middle_of_a_stream",
            "a_stream_of_a_killed_relay_is_aborted_with_all_it_had",
            "over_http_2_a_lost_tunnel_resets_its_streams_and_no_others",
            "over_http_2_a_break_resets_the_stream_and_nothing_else",
        ],
    ),
    tested(
        "an id whose relay is not connected is answered with 503 and `Retry-After`, never with 400, 404 or 405",
        &["a_session_waits_for_its_relay_and_then_is_gone"],
    ),
    tested(
        "an id without a relay is answered with 503 too, not with 404: a relay may still connect, and clients take 404 for the end of a session",
        &[
            "hostile_ids_reach_no_relay",
            "an_invalid_id_is_offline_and_a_path_up_is_refused",
        ],
    ),
    tested(
        "a session whose relay is gone is answered with 404",
        &["a_session_waits_for_its_relay_and_then_is_gone"],
    ),
    tested(
        "a session does not wait for a relay that drains",
        &["a_session_does_not_wait_for_a_relay_that_drains"],
    ),
    tested(
        "sessions survive a restart of the server",
        &["sessions_survive_a_restart_of_the_server"],
    ),
    tested(
        "an open stream has no time limit",
        &["a_stream_that_outlives_every_limit"],
    ),
    tested(
        "requests to the client arrive on the stream, and the answers reach the same provider",
        &[
            "sampling_on_the_stream_of_a_call",
            "elicitation_on_the_stream_of_a_call",
            "elicitation_and_progress_with_python",
            "sampling_on_the_one_stream",
            "fastmcp_with_sessions_and_streams",
            "fastmcp_over_http_with_sse",
        ],
    ),
    tested(
        "answers to such requests outside of sessions reach the relay that asked (from 2025-06-18 on, whose messages can be distinguished)",
        &["an_older_caller_without_a_session_keeps_to_one_relay"],
    ),
    tested(
        "a final answer is never invented, and subscriptions keep their ids (2026-07-28)",
        &[
            "listening_to_a_subscription",
            "two_subscriptions",
            "the_provider_breaks_a_stream_off",
        ],
    ),
    tested(
        "the state of a question is returned unchanged (2026-07-28)",
        &["questions_with_request_state"],
    ),
    tested(
        "callers without sessions stay with one relay, and continue at another if it is lost (2026-07-28)",
        &["a_caller_without_sessions_keeps_to_one_relay"],
    ),
    tested(
        "unknown revisions pass",
        &["headers_and_versions_of_the_future"],
    ),
    tested(
        "`Mcp-Param-*` and other unknown headers pass",
        &["unknown_param_headers", "arguments_in_headers"],
    ),
    tested(
        "only the provider compares headers with bodies",
        &["headers_that_contradict_the_body"],
    ),
    tested(
        "all values of all headers pass, bytes beyond ASCII included",
        &["every_value_of_every_header"],
    ),
    tested(
        "hop-by-hop headers end at their hop, and `Connection` cannot remove a header that a client needs",
        &[
            "headers_about_the_connection",
            "hop_by_hop_headers_of_an_answer",
            "hop_by_hop_headers_end_at_the_hop",
            "connection_cannot_take_away_what_the_other_end_needs",
        ],
    ),
    tested(
        "forwarding headers are set by the server alone: `X-Forwarded-For`, `-Proto`, `-Host`",
        &[
            "forwarding_headers_of_a_caller",
            "headers_of_llamapool_cannot_be_forged",
            "a_caller_cannot_speak_as_a_proxy_to_the_provider",
            "behind_a_trusted_proxy_a_caller_can_forge_nothing_else",
            "the_public_address_is_configured_or_of_a_trusted_proxy",
        ],
    ),
    untested(
        "`X-Forwarded-Prefix` and `Forwarded` contain the path under which the server was called",
        "a provider that uses a prefix sends public paths, and the relay rewrites paths to public ones itself: both together would do it twice; `Forwarded` would add nothing",
    ),
    untested(
        "forwarding headers can be turned off",
        "a provider trusts them only if it is configured to",
    ),
    tested(
        "`Host` is the provider's",
        &[
            "every_value_of_every_header",
            "the_suite_reports_the_same_of_2025_11_25",
        ],
    ),
    tested(
        "`Origin` is checked at the server and not forwarded; several of them, and `null`, are refused",
        &[
            "headers_about_the_connection",
            "pages_in_browsers",
            "the_origin_that_the_edge_has_checked_is_not_passed_on",
            "several_origins_or_hosts_are_refused_if_each_is_allowed",
            "a_public_address_admits_any_host_and_listed_origins",
            "the_suite_reports_the_same_of_2026_07_28",
        ],
    ),
    tested(
        "a server on loopback accepts loopback names alone",
        &[
            "loopback_admits_loopback_names_and_origins_only",
            "pages_in_browsers",
        ],
    ),
    tested(
        "state, metrics and the relay's status are protected from pages like calls",
        &[
            "a_browsers_page_gets_no_data_from_a_server_on_loopback",
            "a_page_in_a_browser_gets_nothing_from_a_relay_on_loopback",
            "every_route_refuses_an_ambiguous_host_or_origin",
        ],
    ),
    tested(
        "a browser's preflight is answered for exactly the headers that it asks for, and needs no token",
        &[
            "a_preflight_gets_exactly_the_headers_that_it_requests",
            "a_preflight_needs_no_token_and_never_reaches_the_provider",
            "an_options_request_without_preflight_is_the_providers",
        ],
    ),
    tested(
        "a listed page can read answers and errors, any other page nothing",
        &[
            "a_listed_page_can_read_answers_and_errors_of_every_hop",
            "an_unlisted_page_can_neither_call_nor_read",
        ],
    ),
    tested(
        "CORS headers are sent once, and `Vary` names `Origin`",
        &[
            "the_server_answers_about_origins_not_the_provider",
            "vary_names_the_origin_besides_the_providers_own_headers",
            "without_an_origin_the_providers_cors_headers_pass",
        ],
    ),
    tested(
        "a challenge names the provider's metadata at a public URL, which any page may read",
        &[
            "a_challenge_leads_to_metadata_of_the_called_url",
            "a_challenge_and_its_metadata",
            "a_place_on_another_public_host_stays",
            "any_page_may_read_oauth_metadata",
            "every_origin_may_read_well_known_documents",
        ],
    ),
    tested(
        "without metadata the answer is a plain 404, after which clients go on; a failure is not a 404",
        &[
            "where_there_are_no_metadata_the_answer_is_a_plain_404",
            "failed_metadata_are_not_taken_for_missing_ones",
        ],
    ),
    tested(
        "every status passes with its headers and body",
        &[
            "statuses_with_their_headers",
            "every_status_goes_through_with_headers_and_body_unchanged",
        ],
    ),
    tested(
        "paths below an id's URL are forwarded unchanged, and dot segments are refused",
        &[
            "paths_and_queries_below",
            "paths_and_queries_are_appended_to_those_of_the_provider",
            "dot_segments_are_refused_and_reach_no_provider",
            "a_hostile_server_does_not_leave_the_providers_path",
        ],
    ),
    tested(
        "a failure on the way is 502, a timeout 504, an exceeded limit 429 or 503, each with its name in `Llamapool-Error`",
        &[
            "a_provider_that_takes_no_connection_is_unreachable",
            "a_provider_that_hangs_up_before_its_answer_has_closed",
            "an_answer_that_is_not_http_is_provider_garbage",
            "over_http_2_a_tunnel_lost_before_the_head_is_a_named_error",
            "a_silent_provider_times_out_and_its_call_is_cancelled",
            "an_id_gets_no_more_calls_at_once_than_it_may",
        ],
    ),
    tested(
        "no request is sent to a provider twice",
        &[
            "a_provider_that_closes_after_each_answer_loses_no_call",
            "a_provider_that_always_hangs_up_loses_no_call",
            "a_404_of_the_same_place_stands_and_is_sent_there_once",
            "a_provider_that_hangs_up_before_its_answer_has_closed",
        ],
    ),
    tested(
        "a body may have 64 MiB; above that the answer is a readable 413",
        &[
            "bodies_and_heads_above_the_limits",
            "a_body_above_the_limit_is_refused_with_a_readable_answer",
            "an_endless_request_is_answered_and_closed",
            "big_bodies_both_ways",
        ],
    ),
    tested(
        "`Expect` is answered at the server",
        &[
            "a_caller_that_expects_100_continue",
            "expect_100_continue_is_answered_by_the_server",
        ],
    ),
    tested(
        "keys of the server and of the relay never reach a provider, and a caller's own token does",
        &[
            "keys_that_are_not_the_providers",
            "server_keys_reach_no_provider_and_callers_tokens_do",
        ],
    ),
    tested(
        "a 202 has no body and no content type",
        &["an_accepted_notification_has_no_body"],
    ),
    tested(
        "`HEAD` gets no invented length",
        &["a_head_without_a_length"],
    ),
    tested(
        "nothing is compressed, decompressed or transcoded",
        &["a_compressed_answer"],
    ),
    tested(
        "an answer may begin before its request is complete",
        &["an_answer_before_the_request_is_complete"],
    ),
    tested(
        "each event is forwarded before the next one is made",
        &[
            "each_event_before_the_next_is_made",
            "each_event_on_a_stream_that_was_opened_with_get",
            "listening_with_get",
            "progress_on_the_stream_of_a_call",
        ],
    ),
    tested(
        "the head of a stream is forwarded before its first event",
        &["listening_with_get", "an_idle_stream"],
    ),
    tested(
        "comments are added between events alone, and the provider's own pass",
        &[
            "an_idle_stream",
            "an_event_that_arrives_in_pieces",
            "comments_of_the_provider",
            "the_suite_reports_the_same_among_many_comments",
        ],
    ),
    tested(
        "nothing is added to a body that is encoded or no event stream",
        &[
            "a_slow_answer_that_is_no_stream",
            "an_encoded_stream_gets_no_comments_between_its_bytes",
        ],
    ),
    tested(
        "middleboxes are asked not to buffer, unless the provider sets these headers itself",
        &["a_stream_with_its_own_cache_control"],
    ),
    tested(
        "a slow reader holds back its own provider alone",
        &[
            "a_reader_that_does_not_read",
            "a_caller_who_stops_reading_slows_no_other",
        ],
    ),
    tested(
        "no body is buffered because of its size",
        &[
            "a_big_event",
            "an_event_of_100_mb_passes_without_being_buffered",
        ],
    ),
    tested(
        "many streams at once are not mixed",
        &["two_hundred_streams"],
    ),
    tested(
        "the endpoint of HTTP with SSE resolves below the public URL, in every form, for real clients, too",
        &[
            "an_endpoint_as_an_absolute_path",
            "an_endpoint_as_a_relative_path",
            "an_endpoint_as_an_absolute_url",
            "an_endpoint_that_is_a_query",
            "an_endpoint_with_dot_segments",
            "the_endpoint_is_found_behind_other_fields_and_events",
            "the_example_server_at_its_url",
            "the_example_server_below_its_url",
            "the_python_client_sees_the_same_over_http_with_sse",
            "the_typescript_client_sees_the_same_over_http_with_sse",
            "fastmcps_client_sees_the_same_over_http_with_sse",
            "a_client_behind_mcp_remote_sees_the_same_over_http_with_sse",
            "the_inspector_sees_the_same_over_http_with_sse",
        ],
    ),
    tested(
        "posts of HTTP with SSE reach the relay that holds the stream",
        &["posts_of_http_with_sse_reach_the_relay_that_holds_the_stream"],
    ),
    tested(
        "`Location` within the provider resolves below the public URL, and any other passes unchanged",
        &[
            "locations_on_the_providers_host_are_reachable",
            "locations_elsewhere_go_through_unchanged",
        ],
    ),
    tested(
        "an authorization server on the provider's origin is found and used through the public URL, if its relay opted in",
        &[
            "a_client_signs_in_at_the_provider_through_public_urls_alone",
            "all_three_places_have_the_metadata_and_nothing_else_leaks",
            "without_opting_in_nothing_of_the_origin_is_published",
            "a_client_finds_signs_in_and_calls_with_the_public_url_alone",
        ],
    ),
    tested(
        "callers without sessions are spread over the relays, and calls about a task stay with the caller's relay (2026-07-28)",
        &[
            "callers_behind_one_proxy_are_spread_and_keep_to_their_relay",
            "a_caller_leaves_a_busier_relay_but_not_with_a_task",
        ],
    ),
    tested(
        "`Mcp-Session-Id` has no effect where there are no sessions (2026-07-28)",
        &["a_session_id_without_sessions_is_ignored_and_goes_through"],
    ),
    tested(
        "interim answers (1xx) and trailers end at each hop",
        &[
            "early_hints_before_the_answer",
            "trailers_behind_the_last_chunk",
            "interim_answers_end_at_the_hop",
        ],
    ),
    untested(
        "resuming a tunnel's streams after a reconnect",
        "llamapool breaks them off; clients resume at the provider",
    ),
];
