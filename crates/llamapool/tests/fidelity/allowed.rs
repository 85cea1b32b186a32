//! Every difference between a call straight at a provider and the same call through llamapool that is meant to be
//! there. The one rule: each has a reason, and each occurs in a scenario, or the tests fail.

use std::fmt;

/// Where a difference shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum At {
    /// In the head of a request, as the provider gets it.
    Request,
    /// In the head of an answer, as the caller gets it.
    Answer,
    /// In an event.
    Event,
    /// In a whole body.
    Body,
    /// Between two events.
    IdleStream,
    /// Before the head of an answer.
    Interim,
    /// Behind the last chunk of a body.
    Trailers,
    /// In how the names of headers are written.
    Names,
    /// In an exchange that somebody in between may see to.
    Exchange,
}

/// An allowed difference.
pub(crate) struct Allowed {
    /// What the document calls it.
    pub(crate) name: &'static str,
    pub(crate) at: At,
    /// The header's name, or what else it is about; with a star at its end, all that begin so.
    pub(crate) what: &'static str,
    pub(crate) reason: &'static str,
    /// Whether a difference in that place is this one.
    pub(crate) is_it: fn(&Difference) -> bool,
}

impl Allowed {
    /// Whether it is about something in a place.
    pub(crate) fn is_about(&self, at: At, what: &str) -> bool {
        let is_what = match self.what.strip_suffix('*') {
            Some(prefix) => what.starts_with(prefix),
            None => what == self.what,
        };
        at == self.at && is_what
    }
}

/// The values of one header, or what else differs.
#[derive(Default)]
pub(crate) struct Difference {
    pub(crate) direct: Vec<Vec<u8>>,
    pub(crate) through: Vec<Vec<u8>>,
    /// Whether it is the head of an event stream.
    pub(crate) is_event_stream: bool,
}

impl Difference {
    pub(crate) fn of(direct: &[Vec<u8>], through: &[Vec<u8>]) -> Self {
        Self { direct: direct.to_vec(), through: through.to_vec(), is_event_stream: false }
    }

    fn is_added(&self) -> bool {
        self.direct.is_empty()
    }

    fn is_taken_away(&self) -> bool {
        self.through.is_empty()
    }

    /// What was added, if it was and is one value.
    fn added(&self) -> Option<&[u8]> {
        match (&self.direct[..], &self.through[..]) {
            ([], [value]) => Some(value),
            _ => None,
        }
    }
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = |values: &[Vec<u8>]| values.iter().map(|value| value.escape_ascii().to_string()).collect::<Vec<_>>();
        write!(f, "direct {:?}, through {:?}", text(&self.direct), text(&self.through))
    }
}

/// All of them.
pub(crate) const ALLOWED: &[Allowed] = &[
    Allowed {
        name: "`Connection` of a request",
        at: At::Request,
        what: "connection",
        reason: "it is about one connection (RFC 9110, section 7.6.1)",
        is_it: Difference::is_taken_away,
    },
    Allowed {
        name: "`TE` of a request",
        at: At::Request,
        what: "te",
        reason: "it is about one connection (RFC 9110, section 10.1.4)",
        is_it: Difference::is_taken_away,
    },
    Allowed {
        name: "`Origin`",
        at: At::Request,
        what: "origin",
        reason: "the server has checked it; a provider would compare it with its own address",
        is_it: Difference::is_taken_away,
    },
    Allowed {
        name: "`X-Forwarded-For`",
        at: At::Request,
        what: "x-forwarded-for",
        reason: "says who called; what a caller says there itself is not believed",
        is_it: |difference| difference.through == [b"127.0.0.1"],
    },
    Allowed {
        name: "`X-Forwarded-Proto`",
        at: At::Request,
        what: "x-forwarded-proto",
        reason: "says how the server was called",
        is_it: |difference| difference.added() == Some(b"http"),
    },
    Allowed {
        name: "`X-Forwarded-Host`",
        at: At::Request,
        what: "x-forwarded-host",
        reason: "says under which name the server was called",
        is_it: |difference| difference.added() == Some(b"<server>"),
    },
    Allowed {
        name: "`X-Request-Id` of a request",
        at: At::Request,
        what: "x-request-id",
        reason: "finds the call in the logs of every hop",
        is_it: Difference::is_added,
    },
    Allowed {
        name: "`Accept` of a caller who takes anything",
        at: At::Request,
        what: "accept",
        reason: "providers refuse callers who do not list both types; plain curl lists none",
        is_it: |difference| {
            let took_anything = difference.is_added() || difference.direct == [b"*/*"];
            took_anything && difference.through == [b"application/json, text/event-stream"]
        },
    },
    Allowed {
        name: "`Date`",
        at: At::Answer,
        what: "date",
        reason: "a server adds it where the provider does not (RFC 9110, section 6.6.1); otherwise two calls are made at two times",
        is_it: |difference| difference.through.len() == 1,
    },
    Allowed {
        name: "`Connection` of an answer",
        at: At::Answer,
        what: "connection",
        reason: "it is about one connection (RFC 9110, section 7.6.1)",
        is_it: Difference::is_taken_away,
    },
    Allowed {
        name: "`Keep-Alive`",
        at: At::Answer,
        what: "keep-alive",
        reason: "it is about one connection (RFC 9112, appendix C.2.2)",
        is_it: Difference::is_taken_away,
    },
    Allowed {
        name: "framing of an answer of unknown length",
        at: At::Answer,
        what: "transfer-encoding",
        reason: "it is about one connection (RFC 9112, section 6.1): where the provider closes it, the server sends chunks",
        is_it: |difference| difference.added() == Some(b"chunked"),
    },
    Allowed {
        name: "`X-Request-Id` of an answer",
        at: At::Answer,
        what: "x-request-id",
        reason: "finds the call in the logs of every hop",
        is_it: Difference::is_added,
    },
    Allowed {
        name: "`X-Accel-Buffering`",
        at: At::Answer,
        what: "x-accel-buffering",
        reason: "keeps middleboxes from holding an event stream back, where the provider says nothing of it",
        is_it: |difference| difference.is_event_stream && difference.added() == Some(b"no"),
    },
    Allowed {
        name: "`Cache-Control`",
        at: At::Answer,
        what: "cache-control",
        reason: "keeps middleboxes from changing an event stream, where the provider says nothing of it",
        is_it: |difference| difference.is_event_stream && difference.added() == Some(b"no-cache, no-transform"),
    },
    Allowed {
        name: "`Access-Control-Allow-Origin`",
        at: At::Answer,
        what: "access-control-allow-origin",
        reason: "the server has checked the origin, so what it says of it counts",
        is_it: |difference| difference.through == [b"http://localhost:1"],
    },
    Allowed {
        name: "`Access-Control-Expose-Headers`",
        at: At::Answer,
        what: "access-control-expose-headers",
        reason: "a browser hides from its page what is not named there",
        is_it: |difference| {
            let exposed = "Mcp-Session-Id, MCP-Protocol-Version, WWW-Authenticate, Last-Event-ID, Retry-After, X-Request-Id, \
                Llamapool-Error";
            difference.added() == Some(exposed.as_bytes())
        },
    },
    Allowed {
        name: "`Vary`",
        at: At::Answer,
        what: "vary",
        reason: "the answer depends on the origin",
        is_it: |difference| difference.added() == Some(b"Origin"),
    },
    Allowed {
        name: "the words behind a status",
        at: At::Answer,
        what: "the first line",
        reason: "HTTP/2, which the tunnel speaks, has none (RFC 9113, section 8.3.2)",
        is_it: |difference| {
            let status = |lines: &[Vec<u8>]| lines.first().and_then(|line| line.get(..12).map(<[u8]>::to_vec));
            status(&difference.direct).is_some() && status(&difference.direct) == status(&difference.through)
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
        name: "`Location` within the provider",
        at: At::Answer,
        what: "location",
        reason: "it names a path in the provider's address space; the caller needs the public one",
        is_it: |difference| match (&difference.direct[..], &difference.through[..]) {
            ([own], [public]) => [&b"/api/mcp/id/same/~announced"[..], own].concat() == *public,
            _ => false,
        },
    },
];

/// Whether an endpoint event is the same but for what stands before the last of the path.
fn is_public_endpoint(difference: &Difference) -> bool {
    let text = |values: &[Vec<u8>]| values.first().map(|value| String::from_utf8_lossy(value).into_owned());
    let (Some(direct), Some(through)) = (text(&difference.direct), text(&difference.through)) else { return false };
    let (Some((before, own)), Some((same, public))) = (direct.split_once("data:"), through.split_once("data:")) else {
        return false;
    };
    let own = own.trim().rsplit('/').next().unwrap_or_default();
    let is_below = public.trim().starts_with("/api/mcp/id/same/~announced/");
    before == same && before.contains("event:") && is_below && public.trim().ends_with(own)
}
