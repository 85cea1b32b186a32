//! Every difference between a call straight at a provider and the same call through llamapool that is meant to be
//! there. The one rule: each has a reason, and each occurs in a scenario, or the tests fail.

use crate::difference::{Allowed, At, Difference};
use crate::harness::API_KEY;

const HOP: &str = "it is about one connection (RFC 9110, section 7.6.1)";
const WHO: &str =
    "says who called and how, which a provider believes of a proxy; nobody may forge it";

/// All of them.
pub(crate) fn all() -> impl Iterator<Item = &'static Allowed> {
    [REQUEST, ANSWER, BODY, EXCHANGE].into_iter().flatten()
}

const fn request(
    name: &'static str,
    what: &'static str,
    reason: &'static str,
    is_it: fn(&Difference) -> bool,
) -> Allowed {
    Allowed {
        name,
        at: At::Request,
        what,
        reason,
        is_it,
    }
}

const fn answer(
    name: &'static str,
    what: &'static str,
    reason: &'static str,
    is_it: fn(&Difference) -> bool,
) -> Allowed {
    Allowed {
        name,
        at: At::Answer,
        what,
        reason,
        is_it,
    }
}

const fn exchange(
    name: &'static str,
    what: &'static str,
    reason: &'static str,
    is_it: fn(&Difference) -> bool,
) -> Allowed {
    Allowed {
        name,
        at: At::Exchange,
        what,
        reason,
        is_it,
    }
}

/// In what the provider is asked.
const REQUEST: &[Allowed] = &[
    request(
        "`Connection` of a request",
        "connection",
        HOP,
        Difference::is_taken_away,
    ),
    request(
        "what `Connection` of a request names",
        "x-of-this-hop",
        HOP,
        Difference::is_taken_away,
    ),
    request("`TE`", "te", HOP, Difference::is_taken_away),
    request(
        "`Keep-Alive` of a request",
        "keep-alive",
        HOP,
        Difference::is_taken_away,
    ),
    request(
        "`Upgrade` of a request",
        "upgrade",
        HOP,
        Difference::is_taken_away,
    ),
    request(
        "`Trailer` of a request",
        "trailer",
        HOP,
        Difference::is_taken_away,
    ),
    request(
        "`Proxy-Authorization`, `Proxy-Connection`",
        "proxy-*",
        HOP,
        Difference::is_taken_away,
    ),
    request(
        "`Expect`",
        "expect",
        "the server has told the caller to go on (RFC 9110, section 10.1.1)",
        Difference::is_taken_away,
    ),
    request(
        "`Origin`",
        "origin",
        "the server has checked it; a provider would compare it with its own address",
        Difference::is_taken_away,
    ),
    request("`X-Forwarded-For`", "x-forwarded-for", WHO, |it| {
        it.through == [b"127.0.0.1"]
    }),
    request("`X-Forwarded-Proto`", "x-forwarded-proto", WHO, |it| {
        it.through == [b"http"]
    }),
    request("`X-Forwarded-Host`", "x-forwarded-host", WHO, |it| {
        it.through == [b"<server>"]
    }),
    request(
        "other `X-Forwarded-*` of a caller",
        "x-forwarded-*",
        WHO,
        Difference::is_taken_away,
    ),
    request(
        "`Forwarded` of a caller",
        "forwarded",
        WHO,
        Difference::is_taken_away,
    ),
    request(
        "`X-Real-IP` of a caller",
        "x-real-ip",
        WHO,
        Difference::is_taken_away,
    ),
    request(
        "`Llamapool-*` of a request",
        "llamapool-*",
        "server and relay speak to each other with these",
        Difference::is_taken_away,
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
        "the provider must not learn it",
        |it| it.is_taken_away() && it.direct == [format!("Bearer {API_KEY}").as_bytes()],
    ),
    request(
        "`Authorization` with the `AUTH_TOKEN` of the relay",
        "authorization",
        "the relay has checked it; it is not the provider's",
        |it| it.is_taken_away() && it.direct == [b"Bearer of-the-relay"],
    ),
    request(
        "what `PROVIDER_HEADERS` says",
        "x-tenant",
        "the operator of the relay wants it so",
        |it| it.through == [b"of the relay"],
    ),
    request(
        "`Accept` of a caller who takes anything",
        "accept",
        "providers refuse callers who do not list both types; plain curl lists none",
        |it| {
            let took_anything = it.is_added() || it.direct == [b"*/*"];
            took_anything && it.through == [b"application/json, text/event-stream"]
        },
    ),
    request(
        "a slash at the end of the URL",
        "the first line",
        "the id's URL is the same with it and without; `PROVIDER_URL` says which one the provider has",
        |it| it.direct == [b"POST /mcp/ HTTP/1.1"] && it.through == [b"POST /mcp HTTP/1.1"],
    ),
    Allowed {
        name: "case and order of the names of headers",
        at: At::Names,
        what: "names",
        reason: "names have no case (RFC 9110, section 5.1), and the tunnel has small letters alone; \
            the order of different headers means nothing (RFC 9110, section 5.3)",
        is_it: |it| {
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

/// In the head of what the caller gets.
const ANSWER: &[Allowed] = &[
    Allowed {
        name: "interim answers (1xx)",
        at: At::Interim,
        what: "1*",
        reason: "they end at the hop that gets them, as no MCP client waits for one; the server says 100 itself",
        is_it: |_| true,
    },
    answer(
        "the words behind a status",
        "the first line",
        "they mean nothing to a client (RFC 9112, section 4), and the tunnel has none",
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
        Difference::is_taken_away,
    ),
    answer(
        "what `Connection` of an answer names",
        "x-of-this-hop",
        HOP,
        Difference::is_taken_away,
    ),
    answer(
        "`Keep-Alive` of an answer",
        "keep-alive",
        HOP,
        Difference::is_taken_away,
    ),
    answer(
        "`Upgrade` of an answer",
        "upgrade",
        HOP,
        Difference::is_taken_away,
    ),
    answer(
        "`Trailer` of an answer",
        "trailer",
        HOP,
        Difference::is_taken_away,
    ),
    answer(
        "`Proxy-Authenticate`",
        "proxy-*",
        HOP,
        Difference::is_taken_away,
    ),
    answer(
        "`Llamapool-*` of an answer",
        "llamapool-*",
        "only llamapool itself may say that an error is its own",
        Difference::is_taken_away,
    ),
    answer(
        "framing of an answer of unknown length",
        "transfer-encoding",
        "it is about one connection (RFC 9112, section 6.1): where the provider closes it, the server sends chunks",
        |it| it.added() == Some(b"chunked"),
    ),
    answer(
        "length of an event stream that was opened with GET",
        "content-length",
        "its first event may name an endpoint, and the public one has another length",
        |it| it.is_event_stream && it.is_taken_away(),
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
        "keeps middleboxes from holding an event stream back, where the provider says nothing of it",
        |it| it.is_event_stream && it.added() == Some(b"no"),
    ),
    answer(
        "`Cache-Control`",
        "cache-control",
        "keeps middleboxes from changing an event stream, where the provider says nothing of it",
        |it| it.is_event_stream && it.added() == Some(b"no-cache, no-transform"),
    ),
    answer(
        "`Access-Control-Allow-Origin`",
        "access-control-allow-origin",
        "the server has checked the origin, so what it says of it counts",
        |it| it.through == [b"http://localhost:1"],
    ),
    answer(
        "`Access-Control-Expose-Headers`",
        "access-control-expose-headers",
        "a browser hides from its page what is not named there",
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
        "the caller cannot reach the provider's own place; llamapool has the document at a public one",
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
        "it says, sealed, which relay has the session; the provider gets its own back",
        |it| {
            let is_visible = |id: &Vec<u8>| id.iter().all(|byte| (0x21..=0x7e).contains(byte));
            it.is_replaced()
                && it.through.iter().all(is_visible)
                && it.direct == [b"!session~of~the~provider!"]
        },
    ),
    answer(
        "type of an answer to a caller who takes anything",
        "content-type",
        ONE_ANSWER,
        |it| it.direct == [b"text/event-stream"] && it.through == [b"application/json"],
    ),
    answer(
        "length of an answer to a caller who takes anything",
        "content-length",
        ONE_ANSWER,
        |it| it.is_event_stream && it.is_added(),
    ),
    answer(
        "framing of an answer to a caller who takes anything",
        "transfer-encoding",
        ONE_ANSWER,
        |it| it.is_event_stream && it.is_taken_away(),
    ),
];

const ONE_ANSWER: &str = "plain curl gets the one response of an event stream as JSON";

/// In bodies, between their pieces and behind them.
const BODY: &[Allowed] = &[
    Allowed {
        name: "body of an answer to a caller who takes anything",
        at: At::Body,
        what: "body",
        reason: ONE_ANSWER,
        is_it: |it| {
            it.direct
                == [[
                    b"data: {\"n\":1}\n\ndata: ",
                    it.through.concat().as_slice(),
                    b"\n\n",
                ]
                .concat()]
        },
    },
    Allowed {
        name: "comments on idle streams",
        at: At::IdleStream,
        what: "comments",
        reason: "middleboxes cut streams that show no life; clients ignore comments",
        is_it: |_| true,
    },
    Allowed {
        name: "the `endpoint` event of HTTP with SSE",
        at: At::Event,
        what: "endpoint",
        reason: "it names a path in the provider's address space; the caller needs the public one",
        is_it: is_public_endpoint,
    },
    Allowed {
        name: "trailers",
        at: At::Trailers,
        what: "trailers",
        reason: "they end at the hop that gets them, as no MCP client or server reads any",
        is_it: |_| true,
    },
];

/// Whole exchanges that llamapool sees to itself.
const EXCHANGE: &[Allowed] = &[
    exchange(
        "a redirect within the provider",
        "redirect",
        "the caller could not follow it; the relay does, and remembers where the provider's URL leads",
        |it| {
            let is_asked = |lines: &[Vec<u8>]| {
                lines
                    .iter()
                    .filter(|line| line.starts_with(b"asked"))
                    .count()
            };
            let is_answered = it.through.iter().any(|line| line.starts_with(b"answered"));
            !is_answered && is_asked(&it.direct) == 1 && is_asked(&it.through) <= 1
        },
    ),
    exchange(
        "the provider's OAuth metadata",
        "metadata",
        "the resource is the public URL, and a page from anywhere may read them",
        |it| {
            let (direct, through) = (json_in(&it.direct), json_in(&it.through));
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
        "which origins may call is the server's business, and the browser asks without a token",
        |it| {
            let is_asked = it.through.iter().any(|line| line.starts_with(b"asked"));
            !is_asked
                && it
                    .through
                    .first()
                    .is_some_and(|line| line.starts_with(b"answered \"HTTP/1.1 204 "))
        },
    ),
    exchange(
        "a path that leads up",
        "path_refused",
        "it could lead out of what the relay makes reachable",
        |it| it.is_refused("path_refused"),
    ),
    exchange(
        "an `Origin` that is not listed",
        "origin_refused",
        "a hostile page may not call",
        |it| it.is_refused("origin_refused"),
    ),
    exchange(
        "a `Host` that is not listed",
        "host_refused",
        "a hostile page may have rebound a name",
        |it| it.is_refused("host_refused"),
    ),
    exchange(
        "a body above `MAX_REQUEST_BYTES`",
        "request_too_large",
        "every body has a bound",
        |it| it.is_refused("request_too_large"),
    ),
    exchange(
        "a head above `TUNNEL_MAX_HEADER_BYTES`",
        "head_too_large",
        "every head has a bound",
        |it| it.is_refused("head_too_large"),
    ),
    exchange(
        "more calls than `MAX_CONCURRENCY_PER_CLIENT`",
        "too_many_calls",
        "the operator wants it so",
        |it| it.is_refused("too_many_calls"),
    ),
    exchange(
        "a caller without the `AUTH_TOKEN` of the relay",
        "wrong_token",
        "the operator of the relay wants it so",
        |it| it.is_refused("wrong_token"),
    ),
    exchange(
        "a session that is not there, where relays share an id",
        "session_gone",
        "nobody but the server can say so; it says what the provider would",
        |it| it.is_refused("session_gone"),
    ),
    exchange(
        "an answer that begins after `FIRST_BYTE_TIMEOUT`",
        "first_byte_timeout",
        "a provider that hangs would hold its callers for ever",
        |it| {
            it.through.iter().any(|line| {
                String::from_utf8_lossy(line).contains("llamapool-error: first_byte_timeout")
            })
        },
    ),
];

/// The JSON of the last body among what was seen, as it is shown.
fn json_in(lines: &[Vec<u8>]) -> Option<serde_json::Value> {
    let mut lines = lines
        .iter()
        .rev()
        .filter_map(|line| std::str::from_utf8(line).ok());
    let shown = lines.find(|line| line.starts_with("body ") && line.contains('{'))?;
    let text: String = serde_json::from_str(&shown[shown.find('"')?..]).ok()?;
    serde_json::from_str(&text).ok()
}

/// Whether an endpoint event is the same but for what stands before the last of the path.
fn is_public_endpoint(difference: &Difference) -> bool {
    let text = |values: &[Vec<u8>]| {
        values
            .first()
            .map(|value| String::from_utf8_lossy(value).into_owned())
    };
    let (Some(direct), Some(through)) = (text(&difference.direct), text(&difference.through))
    else {
        return false;
    };
    let (Some((before, own)), Some((same, public))) =
        (direct.split_once("data:"), through.split_once("data:"))
    else {
        return false;
    };
    let own = own.trim().rsplit('/').next().unwrap_or_default();
    let is_below = public.trim().starts_with("/api/mcp/id/same/~announced/");
    before == same && before.contains("event:") && is_below && public.trim().ends_with(own)
}
