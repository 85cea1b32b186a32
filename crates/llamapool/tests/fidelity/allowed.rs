//! The intended differences between a direct call to a provider and the same call through
//! llamapool.
//!
//! Each has a reason, and each must occur in a scenario, or the tests fail.

use crate::difference::{AllowedDifference, Difference, Part};
use crate::harness::API_KEY;

const HOP: &str = "it is about one connection (RFC 9110, section 7.6.1)";
const CALLER: &str = "names the caller and its address; a provider trusts its proxy here, so a caller must not forge it";

const PAGE: &str = "all ids share the public origin, and a page of one could act as any other's; `TRUSTED_PAGES` of the server lifts it";

/// Returns all of them.
pub(crate) fn all() -> impl Iterator<Item = &'static AllowedDifference> {
    [REQUEST, ANSWER, BODY, EXCHANGE].into_iter().flatten()
}

const fn request(
    name: &'static str,
    subject: &'static str,
    reason: &'static str,
    matches: fn(&Difference) -> bool,
) -> AllowedDifference {
    AllowedDifference {
        name,
        part: Part::Request,
        subject,
        reason,
        matches,
    }
}

const fn answer(
    name: &'static str,
    subject: &'static str,
    reason: &'static str,
    matches: fn(&Difference) -> bool,
) -> AllowedDifference {
    AllowedDifference {
        name,
        part: Part::Answer,
        subject,
        reason,
        matches,
    }
}

const fn exchange(
    name: &'static str,
    subject: &'static str,
    reason: &'static str,
    matches: fn(&Difference) -> bool,
) -> AllowedDifference {
    AllowedDifference {
        name,
        part: Part::Exchange,
        subject,
        reason,
        matches,
    }
}

/// Differences in the head of a request.
const REQUEST: &[AllowedDifference] = &[
    request(
        "`Connection` of a request",
        "connection",
        HOP,
        Difference::is_removed,
    ),
    request(
        "headers that `Connection` of a request names",
        "x-of-this-hop",
        HOP,
        Difference::is_removed,
    ),
    request("`TE`", "te", HOP, Difference::is_removed),
    request(
        "`Keep-Alive` of a request",
        "keep-alive",
        HOP,
        Difference::is_removed,
    ),
    request(
        "`Upgrade` of a request",
        "upgrade",
        HOP,
        Difference::is_removed,
    ),
    request(
        "`Trailer` of a request",
        "trailer",
        HOP,
        Difference::is_removed,
    ),
    request(
        "`Proxy-Authorization`, `Proxy-Connection`",
        "proxy-*",
        HOP,
        Difference::is_removed,
    ),
    request(
        "`Expect`",
        "expect",
        "the server has answered it with 100 (RFC 9110, section 10.1.1)",
        Difference::is_removed,
    ),
    request(
        "`Origin`",
        "origin",
        "the server has checked it; a provider would compare it with its own address",
        Difference::is_removed,
    ),
    request("`X-Forwarded-For`", "x-forwarded-for", CALLER, |it| {
        it.through == [b"127.0.0.1"]
    }),
    request("`X-Forwarded-Proto`", "x-forwarded-proto", CALLER, |it| {
        it.through == [b"http"]
    }),
    request("`X-Forwarded-Host`", "x-forwarded-host", CALLER, |it| {
        it.through == [b"<server>"]
    }),
    request(
        "other `X-Forwarded-*` of a caller",
        "x-forwarded-*",
        CALLER,
        Difference::is_removed,
    ),
    request(
        "`Forwarded` of a caller",
        "forwarded",
        CALLER,
        Difference::is_removed,
    ),
    request(
        "`X-Real-IP` of a caller",
        "x-real-ip",
        CALLER,
        Difference::is_removed,
    ),
    request(
        "`CF-Connecting-IP`, `True-Client-IP`, `Client-Cert` and others by which a proxy names the caller",
        "cf-connecting-ip",
        CALLER,
        Difference::is_removed,
    ),
    request(
        "`X-Original-URL`, `X-HTTP-Method-Override` and others that make another request of one",
        "x-original-url",
        "a caller could leave the provider's path, or hide what it calls",
        Difference::is_removed,
    ),
    request(
        "`X_Forwarded_For` and other spellings with `_` of headers that are removed or set",
        "x_forwarded_for",
        "gateways that make variables of headers do not distinguish `_` and `-` (RFC 3875, section 4.1.18)",
        Difference::is_removed,
    ),
    request(
        "`Llamapool-*` of a request",
        "llamapool-*",
        "they are reserved for server and relay",
        Difference::is_removed,
    ),
    request(
        "`X-Request-Id` of a request",
        "x-request-id",
        "finds the call in the logs of every hop",
        |it| it.through.len() == 1 && it.direct.iter().all(|id| id.contains(&b' ')),
    ),
    request(
        "`Authorization` with a key of the server",
        "authorization",
        "it must not reach the provider",
        |it| it.is_removed() && it.direct == [format!("Bearer {API_KEY}").as_bytes()],
    ),
    request(
        "`Authorization` with the `AUTH_TOKEN` of the relay",
        "authorization",
        "the relay has checked it; it is not the provider's",
        |it| it.is_removed() && it.direct == [b"Bearer of-the-relay"],
    ),
    request(
        "headers of `PROVIDER_HEADERS`",
        "x-tenant",
        "the operator of the relay configured them",
        |it| it.through == [b"of the relay"],
    ),
    request(
        "`Accept` of a caller that accepts anything",
        "accept",
        "providers refuse callers that do not list both types; plain curl lists none",
        |it| {
            let accepts_anything = it.is_added() || it.direct == [b"*/*"];
            accepts_anything && it.through == [b"application/json, text/event-stream"]
        },
    ),
    request(
        "a slash at the end of the URL",
        "the first line",
        "the URL of an id is the same with and without it; `PROVIDER_URL` contains the form of the provider",
        |it| it.direct == [b"POST /mcp/ HTTP/1.1"] && it.through == [b"POST /mcp HTTP/1.1"],
    ),
    AllowedDifference {
        name: "case and order of the names of headers",
        part: Part::Names,
        subject: "names",
        reason: "names are case-insensitive (RFC 9110, section 5.1), and lower case in the tunnel; \
            the order of different headers has no meaning (RFC 9110, section 5.3)",
        matches: |it| {
            let small = |names: &[Vec<u8>]| {
                let mut names: Vec<_> =
                    names.iter().map(|name| name.to_ascii_lowercase()).collect();
                names.sort();
                names
            };
            small(&it.direct) == small(&it.through)
        },
    },
];

/// Differences in the head of an answer.
const ANSWER: &[AllowedDifference] = &[
    AllowedDifference {
        name: "interim answers (1xx)",
        part: Part::Interim,
        subject: "1*",
        reason: "they end at the hop that receives them, as no MCP client waits for one; the server sends 100 itself",
        matches: |_| true,
    },
    answer(
        "the reason phrase of a status",
        "the first line",
        "clients ignore it (RFC 9112, section 4), and the tunnel has none",
        |it| {
            let status = |lines: &[Vec<u8>]| {
                lines
                    .first()
                    .and_then(|line| line.get(..12).map(<[u8]>::to_vec))
            };
            status(&it.direct).is_some() && status(&it.direct) == status(&it.through)
        },
    ),
    answer(
        "`Date`",
        "date",
        "a server adds it where the provider does not (RFC 9110, section 6.6.1); otherwise two calls are made at two times",
        |it| it.through.len() == 1,
    ),
    answer(
        "`Connection` of an answer",
        "connection",
        HOP,
        Difference::is_removed,
    ),
    answer(
        "headers that `Connection` of an answer names",
        "x-of-this-hop",
        HOP,
        Difference::is_removed,
    ),
    answer(
        "`Keep-Alive` of an answer",
        "keep-alive",
        HOP,
        Difference::is_removed,
    ),
    answer(
        "`Upgrade` of an answer",
        "upgrade",
        HOP,
        Difference::is_removed,
    ),
    answer(
        "`Trailer` of an answer",
        "trailer",
        HOP,
        Difference::is_removed,
    ),
    answer(
        "`Proxy-Authenticate`",
        "proxy-*",
        HOP,
        Difference::is_removed,
    ),
    answer(
        "`Llamapool-*` of an answer",
        "llamapool-*",
        "only llamapool itself may mark an error as its own",
        Difference::is_removed,
    ),
    answer(
        "`X-Accel-Redirect`, `X-Sendfile`, `Surrogate-Control` and other commands to a proxy",
        "x-accel-redirect",
        "they would command the proxy in front of the server; `X-Accel-Buffering` passes",
        Difference::is_removed,
    ),
    answer(
        "`Service-Worker-Allowed`, `Clear-Site-Data`, `Strict-Transport-Security`, `Alt-Svc`, `Refresh` and others that speak for the origin",
        "service-worker-allowed",
        "all ids share the public origin, and one provider cannot speak for the others",
        Difference::is_removed,
    ),
    answer(
        "`Set-Cookie`",
        "set-cookie",
        "all ids share the public origin: a cookie gets the id in its name and its path, and the provider gets it back as it was",
        |it| {
            let public = it.direct.iter().map(|own| {
                let own = String::from_utf8_lossy(own).replace("; Path=/", "");
                format!("llamapool-same!{own}; Path=/api/mcp/id/same").into_bytes()
            });
            it.through == public.collect::<Vec<_>>()
        },
    ),
    answer(
        "`Content-Security-Policy` of an answer that browsers run, or whose type they would guess",
        "content-security-policy",
        PAGE,
        |it| {
            let policies = it.direct.iter().map(Vec::as_slice);
            it.through
                .iter()
                .eq(policies.chain([&b"sandbox"[..]]).collect::<Vec<_>>())
        },
    ),
    answer(
        "`X-Content-Type-Options` of such an answer",
        "x-content-type-options",
        PAGE,
        |it| it.added() == Some(b"nosniff"),
    ),
    answer(
        "framing of an answer of unknown length",
        "transfer-encoding",
        "it is about one connection (RFC 9112, section 6.1): where the provider closes the connection, the server sends chunks",
        |it| it.added() == Some(b"chunked"),
    ),
    answer(
        "length of an event stream that was opened with GET",
        "content-length",
        "its first event may name an endpoint, and the public one has another length",
        |it| it.is_event_stream && it.is_removed(),
    ),
    answer(
        "`X-Request-Id` of an answer",
        "x-request-id",
        "finds the call in the logs of every hop",
        Difference::is_added,
    ),
    answer(
        "`X-Accel-Buffering`",
        "x-accel-buffering",
        "keeps middleboxes from buffering an event stream, unless the provider sets it",
        |it| it.is_event_stream && it.added() == Some(b"no"),
    ),
    answer(
        "`Cache-Control`",
        "cache-control",
        "keeps middleboxes from changing an event stream, unless the provider sets it",
        |it| it.is_event_stream && it.added() == Some(b"no-cache, no-transform"),
    ),
    answer(
        "`Access-Control-Allow-Origin`",
        "access-control-allow-origin",
        "the server has checked the origin, so it answers for it",
        |it| it.through == [b"http://localhost:1"],
    ),
    answer(
        "`Access-Control-Expose-Headers`",
        "access-control-expose-headers",
        "a browser hides all other headers from its page",
        |it| {
            let exposed = "Mcp-Session-Id, MCP-Protocol-Version, WWW-Authenticate, Last-Event-ID, Retry-After, X-Request-Id, \
                Llamapool-Error";
            it.added() == Some(exposed.as_bytes())
        },
    ),
    answer("`Vary`", "vary", "the answer depends on the origin", |it| {
        it.added() == Some(b"Origin")
    }),
    answer(
        "`Location` within the provider",
        "location",
        "it names a path in the provider's address space; the caller needs the public one",
        |it| match (&it.direct[..], &it.through[..]) {
            ([own], [public]) => [&b"/api/mcp/id/same/~announced"[..], own].concat() == *public,
            _ => false,
        },
    ),
    answer(
        "`resource_metadata` of a challenge",
        "www-authenticate",
        "the caller cannot reach the provider's own URL; llamapool serves the document at a public one",
        |it| {
            let own = "http://<provider>/.well-known/oauth-protected-resource/mcp";
            let public = "http://<server>/.well-known/oauth-protected-resource/api/mcp/id/same";
            let text = |values: &[Vec<u8>]| String::from_utf8_lossy(&values.concat()).into_owned();
            it.is_replaced() && text(&it.direct).replace(own, public) == text(&it.through)
        },
    ),
    answer(
        "`Mcp-Session-Id` where relays share an id",
        "mcp-session-id",
        "it contains, encrypted, the relay of the session; the provider gets its own id back",
        |it| {
            let is_visible = |id: &Vec<u8>| id.iter().all(|byte| (0x21..=0x7e).contains(byte));
            it.is_replaced()
                && it.through.iter().all(is_visible)
                && it.direct == [b"!session~of~the~provider!"]
        },
    ),
    answer(
        "type of an answer to a caller that accepts anything",
        "content-type",
        ONE_ANSWER,
        |it| it.direct == [b"text/event-stream"] && it.through == [b"application/json"],
    ),
    answer(
        "length of an answer to a caller that accepts anything",
        "content-length",
        ONE_ANSWER,
        |it| it.is_event_stream && it.is_added(),
    ),
    answer(
        "framing of an answer to a caller that accepts anything",
        "transfer-encoding",
        ONE_ANSWER,
        |it| it.is_event_stream && it.is_removed(),
    ),
];

const ONE_ANSWER: &str = "plain curl gets the one response of an event stream as JSON";

/// Differences in bodies, between events, and in trailers.
const BODY: &[AllowedDifference] = &[
    AllowedDifference {
        name: "body of an answer to a caller that accepts anything",
        part: Part::Body,
        subject: "body",
        reason: ONE_ANSWER,
        matches: |it| {
            it.direct
                == [[
                    b"data: {\"n\":1}\n\ndata: ",
                    it.through.concat().as_slice(),
                    b"\n\n",
                ]
                .concat()]
        },
    },
    AllowedDifference {
        name: "comments on idle streams",
        part: Part::IdleStream,
        subject: "comments",
        reason: "middleboxes close idle streams; clients ignore comments",
        matches: |_| true,
    },
    AllowedDifference {
        name: "the `endpoint` event of HTTP with SSE",
        part: Part::Event,
        subject: "endpoint",
        reason: "it names a path in the provider's address space; the caller needs the public one",
        matches: is_public_endpoint,
    },
    AllowedDifference {
        name: "trailers",
        part: Part::Trailers,
        subject: "trailers",
        reason: "they end at the hop that receives them, as no MCP client or server reads any",
        matches: |_| true,
    },
];

/// Whole exchanges that llamapool answers itself.
const EXCHANGE: &[AllowedDifference] = &[
    exchange(
        "a redirect within the provider",
        "redirect",
        "the caller could not follow it; the relay does, and remembers one that only changes the slash at the end of `PROVIDER_URL`",
        |it| {
            let is_forwarded = |lines: &[Vec<u8>]| {
                lines
                    .iter()
                    .filter(|line| line.starts_with(b"request"))
                    .count()
            };
            let is_answered = it.through.iter().any(|line| line.starts_with(b"answer"));
            !is_answered && is_forwarded(&it.direct) == 1 && is_forwarded(&it.through) <= 1
        },
    ),
    exchange(
        "the provider's OAuth metadata",
        "metadata",
        "the resource is the public URL, and pages of any origin may read them",
        |it| {
            let direct = json_in(&it.direct);
            let through = json_in(&it.through);
            let (Some(mut direct), Some(through)) = (direct, through) else {
                return false;
            };
            direct["resource"] = "http://<server>/api/mcp/id/same".into();
            direct == through
        },
    ),
    exchange(
        "a browser's preflight",
        "preflight",
        "the server decides about origins, and a browser sends no token with it",
        |it| {
            let is_forwarded = it.through.iter().any(|line| line.starts_with(b"request"));
            !is_forwarded
                && it
                    .through
                    .first()
                    .is_some_and(|line| line.starts_with(b"answer \"HTTP/1.1 204 "))
        },
    ),
    exchange(
        "a path that leads up",
        "path_refused",
        "it could leave the part of the provider that the relay publishes",
        |it| it.is_refusal("path_refused"),
    ),
    exchange(
        "a page for a script of the public origin",
        "page_refused",
        "a page of one id could read those of another; `TRUSTED_PAGES` of the server lifts it",
        |it| {
            let answer = it.through.iter().find(|line| line.starts_with(b"answer"));
            answer.is_some_and(|line| {
                String::from_utf8_lossy(line).contains("\"llamapool-error: page_refused\"")
            })
        },
    ),
    exchange(
        "`CONNECT` and `TRACE`",
        "method_refused",
        "they are about the way to a server; neither has an answer that could be forwarded",
        |it| it.is_refusal("method_refused"),
    ),
    exchange(
        "an `Origin` that is not listed",
        "origin_refused",
        "a hostile page must not call",
        |it| it.is_refusal("origin_refused"),
    ),
    exchange(
        "a `Host` that is not listed",
        "host_refused",
        "a hostile page could use DNS rebinding",
        |it| it.is_refusal("host_refused"),
    ),
    exchange(
        "a body above `MAX_REQUEST_BYTES`",
        "request_too_large",
        "every body has a bound",
        |it| it.is_refusal("request_too_large"),
    ),
    exchange(
        "a head above `TUNNEL_MAX_HEADER_BYTES`",
        "head_too_large",
        "every head has a bound",
        |it| it.is_refusal("head_too_large"),
    ),
    exchange(
        "more calls than `MAX_CONCURRENCY_PER_CLIENT`",
        "too_many_calls",
        "the operator configured it",
        |it| it.is_refusal("too_many_calls"),
    ),
    exchange(
        "a caller without the `AUTH_TOKEN` of the relay",
        "wrong_token",
        "the operator of the relay configured it",
        |it| it.is_refusal("wrong_token"),
    ),
    exchange(
        "an unknown session, where relays share an id",
        "session_gone",
        "no single provider can decide it; the server answers as a provider would",
        |it| it.is_refusal("session_gone"),
    ),
    exchange(
        "an answer that begins after `FIRST_BYTE_TIMEOUT`",
        "first_byte_timeout",
        "a hanging provider must not block its callers for ever",
        |it| {
            it.through.iter().any(|line| {
                String::from_utf8_lossy(line).contains("llamapool-error: first_byte_timeout")
            })
        },
    ),
];

/// Returns the JSON of the last body among formatted entries.
fn json_in(lines: &[Vec<u8>]) -> Option<serde_json::Value> {
    let mut lines = lines
        .iter()
        .rev()
        .filter_map(|line| std::str::from_utf8(line).ok());
    let body = lines.find(|line| line.starts_with("body ") && line.contains('{'))?;
    let text: String = serde_json::from_str(&body[body.find('"')?..]).ok()?;
    serde_json::from_str(&text).ok()
}

/// Returns whether an endpoint event differs only in the path before its last segment.
fn is_public_endpoint(difference: &Difference) -> bool {
    let text = |values: &[Vec<u8>]| {
        values
            .first()
            .map(|value| String::from_utf8_lossy(value).into_owned())
    };
    let Some(direct) = text(&difference.direct) else {
        return false;
    };
    let Some(through) = text(&difference.through) else {
        return false;
    };
    let Some((before, own)) = direct.split_once("data:") else {
        return false;
    };
    let Some((same, public)) = through.split_once("data:") else {
        return false;
    };

    let own = own.trim().rsplit('/').next().unwrap_or_default();
    let is_below = public.trim().starts_with("/api/mcp/id/same/~announced/");
    before == same && before.contains("event:") && is_below && public.trim().ends_with(own)
}
