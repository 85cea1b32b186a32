//! What llamapool does otherwise than a provider would, and means to: every such difference occurs here, and no other.

use crate::differential::{MCP_PATH, Place, Way, final_head, mcp_fields, read_answer, scenarios};
use crate::harness::{API_KEY, RawHead, RawHttp, RawProvider, Settings, tools_call};
use crate::transcript::Transcript;

scenarios! {
    what_ends_with_a_connection: SeenTo, ALL;
    a_caller_who_asks_before_it_sends: SeenTo, ALL;
    hints_before_the_answer: SeenTo, ALL;
    what_follows_the_last_chunk: SeenTo, ALL;
    names_as_they_are_written: SeenTo, ALL;
    a_slash_at_the_end: SeenTo, ALL;
    event_streams_of_known_length: SeenTo, ALL;
    a_stream_for_a_caller_that_takes_anything: SeenTo, STREAMABLE;
    a_provider_that_redirects: SeenTo, ALL;
    a_challenge_and_its_metadata: SeenTo, AUTHORIZING;
    a_session_of_a_shared_id: SeenTo, SESSIONS;
    keys_that_are_not_the_providers: SeenTo, ALL;
    pages_in_browsers: SeenTo, ALL;
    paths_that_lead_up: SeenTo, ALL;
    more_than_the_limits: SeenTo, ALL;
    more_calls_than_the_limit: SeenTo, ALL;
    an_answer_that_takes_its_time: SeenTo, ALL;
}

const OK: &str = "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\r\n{}";

/// One exchange, recorded on both sides.
async fn exchange(
    place: &Place,
    provider: &RawProvider,
    request: &[u8],
    given: &str,
    log: &mut Transcript,
) -> RawHead {
    let mut caller = place.send(request).await;
    let (head, body) = provider.answer(given).await;
    log.asked(&head, &body);
    read_answer(&mut caller, log).await.0
}

/// One exchange of which it is not said whether the provider is asked.
async fn perhaps(
    what: &'static str,
    place: &Place,
    provider: &RawProvider,
    request: &[u8],
    log: &mut Transcript,
) -> RawHead {
    let mut seen = place.transcript();
    let mut caller = place.send(request).await;
    let early = tokio::select! {
        biased;
        head = caller.head() => Some(head),
        (mut connection, head) = provider.call() => {
            let body = connection.body(&head).await;
            seen.asked(&head, &body);
            connection.send(OK).await;
            None
        }
    };
    let head = match early {
        Some(head) => {
            seen.answered(&head);
            head
        }
        None => final_head(&mut caller, &mut seen).await,
    };
    let is_empty = request.starts_with(b"HEAD ") || head.status() == 204;
    seen.body(&if is_empty {
        Vec::new()
    } else {
        caller.body(&head).await
    });
    log.exchange(what, seen);
    head
}

async fn what_ends_with_a_connection(way: Way) -> Transcript {
    let provider = RawProvider::bind().await;
    let place = way.to(&provider.url).await;
    let mut log = place.transcript();
    let fields = [
        ("connection", "keep-alive, x-of-this-hop"),
        ("x-of-this-hop", "1"),
        ("keep-alive", "timeout=9"),
        ("proxy-connection", "keep-alive"),
        ("proxy-authorization", "Basic eA=="),
        ("te", "trailers"),
        ("trailer", "x-sum"),
        ("upgrade", "h2c"),
        ("x-stays", "1"),
    ];
    let given = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close, x-of-this-hop\r\nx-of-this-hop: 1\r\nkeep-alive: timeout=9\r\n\
        proxy-authenticate: Basic\r\ntrailer: x-sum\r\nupgrade: h2c\r\nx-stays: 1\r\nllamapool-error: relay_offline\r\n\r\n{}";
    let request = place.request_to("POST", &place.path, &mcp_fields(&fields), b"{}");
    exchange(&place, &provider, &request, given, &mut log).await;
    log
}

/// It is told to go on, by whoever reads its request first.
async fn a_caller_who_asks_before_it_sends(way: Way) -> Transcript {
    let provider = RawProvider::bind().await;
    let place = way.to(&provider.url).await;
    let mut log = place.transcript();
    let fields = [("expect", "100-continue"), ("content-length", "2")];
    let mut caller = place
        .send(&place.request_to("POST", &place.path, &mcp_fields(&fields), b""))
        .await;
    let serve = async {
        let (mut connection, head) = provider.call().await;
        if !head.values("expect").is_empty() {
            connection.send("HTTP/1.1 100 Continue\r\n\r\n").await;
        }
        let body = connection.body(&head).await;
        connection.send(OK).await;
        (head, body, connection)
    };
    let mut got = place.transcript();
    let call = async {
        got.answered(&caller.head().await);
        caller.send("{}").await;
        read_answer(&mut caller, &mut got).await;
    };
    let ((head, body, _connection), ()) = tokio::join!(serve, call);
    log.asked(&head, &body);
    log.append(got);
    log
}

async fn hints_before_the_answer(way: Way) -> Transcript {
    let provider = RawProvider::bind().await;
    let place = way.to(&provider.url).await;
    let mut log = place.transcript();
    let given = format!("HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n{OK}");
    let request = place.request_to("POST", &place.path, &mcp_fields(&[]), b"{}");
    exchange(&place, &provider, &request, &given, &mut log).await;
    log
}

async fn what_follows_the_last_chunk(way: Way) -> Transcript {
    let provider = RawProvider::bind().await;
    let place = way.to(&provider.url).await;
    let mut log = place.transcript();
    let request = place.request_to(
        "POST",
        &place.path,
        &mcp_fields(&[("transfer-encoding", "chunked")]),
        b"",
    );
    let mut caller = place.send(&request).await;
    caller
        .send("2\r\n{}\r\n0\r\nX-Of-The-Caller: 1\r\n\r\n")
        .await;
    let (mut connection, head) = provider.call().await;
    let body = connection.body(&head).await;
    log.asked(&head, &body);
    log.trailers(connection.trailers());
    connection
        .send("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\nX-Of-The-Provider: 1\r\n\r\n")
        .await;
    read_answer(&mut caller, &mut log).await;
    log
}

async fn names_as_they_are_written(way: Way) -> Transcript {
    let provider = RawProvider::bind().await;
    let place = way.to(&provider.url).await;
    let mut log = place.transcript();
    let of_both = |end: &RawHttp| -> Vec<String> {
        let names = end
            .written_names()
            .iter()
            .filter(|name| name.to_ascii_lowercase().starts_with("x-of-"));
        names.cloned().collect()
    };
    let fields = [
        ("X-Of-The-Caller", "1"),
        ("x-OF-tHe-CALLER", "2"),
        ("x-of-small-letters", "3"),
    ];
    let mut caller = place.post(&fields, b"{}").await;
    let (mut connection, head) = provider.call().await;
    log.names(&of_both(&connection));
    let body = connection.body(&head).await;
    log.asked(&head, &body);
    connection
        .send("HTTP/1.1 200 OK\r\nX-Of-The-Provider: 1\r\nx-of-small-letters: 2\r\ncontent-length: 0\r\n\r\n")
        .await;
    read_answer(&mut caller, &mut log).await;
    log.names(&of_both(&caller));
    log
}

async fn a_slash_at_the_end(way: Way) -> Transcript {
    let provider = RawProvider::bind().await;
    let place = way.to(&provider.url).await;
    let mut log = place.transcript();
    let request = place.request_to("POST", &place.below("/"), &mcp_fields(&[]), b"{}");
    exchange(&place, &provider, &request, OK, &mut log).await;
    log
}

/// Only one that was opened with GET may be HTTP with SSE.
async fn event_streams_of_known_length(way: Way) -> Transcript {
    let provider = RawProvider::bind().await;
    let place = way.to(&provider.url).await;
    let mut log = place.transcript();
    let given = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ncontent-length: 9\r\nconnection: close\r\n\r\ndata: 1\n\n";
    for method in ["GET", "POST"] {
        let request = place.request_to(method, &place.path, &mcp_fields(&[]), b"");
        let head = exchange(&place, &provider, &request, given, &mut log).await;
        if method == "POST" {
            log.note(format!("its length is {:?}", head.values("content-length")));
        }
    }
    log
}

/// It cannot read streams, as a rule: it is somebody who tries something with plain curl.
async fn a_stream_for_a_caller_that_takes_anything(way: Way) -> Transcript {
    let provider = RawProvider::bind().await;
    let place = way.to(&provider.url).await;
    let mut log = place.transcript();
    let events = "data: {\"n\":1}\n\ndata: {\"jsonrpc\":\"2.0\",\"id\":1,\"result\":{}}\n\n";
    let stream =
        "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n";
    let given = format!("{stream}{:x}\r\n{events}\r\n0\r\n\r\n", events.len());
    for fields in [&[][..], &[("accept", "*/*")]] {
        let message = tools_call(1, "t").to_string();
        let mut caller = place
            .send(&place.request_to("POST", &place.path, fields, message.as_bytes()))
            .await;
        let (head, body) = provider.answer(&given).await;
        log.asked(&head, &body);
        let head = caller.head().await;
        log.answered(&head);
        let (body, end) = caller.body_and_end(&head).await;
        log.body(&body);
        log.end(end);
    }
    log
}

/// The client follows, as clients do; through llamapool there is nothing to follow.
async fn a_provider_that_redirects(way: Way) -> Transcript {
    let provider = RawProvider::bind().await;
    let place = way.to(&provider.url).await;
    let mut log = place.transcript();
    let moved = "HTTP/1.1 307 Temporary Redirect\r\nlocation: /elsewhere\r\nconnection: close\r\ncontent-length: 0\r\n\r\n";
    let message = tools_call(1, "t").to_string();
    let client = async |got: &mut Transcript, redirect: &mut Transcript| {
        let mut caller = place.post(&[], message.as_bytes()).await;
        let head = caller.head().await;
        if head.status() != 307 {
            got.answered(&head);
            got.body(&caller.body(&head).await);
            return;
        }
        redirect.answered(&head);
        let path = place.resolved(&place.path, &head.values("location")[0]);
        let request = place.request_to("POST", &path, &mcp_fields(&[]), message.as_bytes());
        read_whole(&mut place.send(&request).await, got).await;
    };
    for _ in 0..2 {
        let (mut asked, mut redirect, mut got) =
            (place.transcript(), place.transcript(), place.transcript());
        let mut answered = place.transcript();
        let serve = async {
            loop {
                let (mut connection, head) = provider.call().await;
                let body = connection.body(&head).await;
                let is_here = head.line.starts_with(&format!("POST {MCP_PATH} "));
                if is_here { &mut redirect } else { &mut asked }.asked(&head, &body);
                connection.send(if is_here { moved } else { OK }).await;
                if !is_here {
                    return;
                }
            }
        };
        tokio::join!(serve, client(&mut got, &mut answered));
        redirect.append(answered);
        log.exchange("redirect", redirect);
        log.append(asked);
        log.append(got);
    }
    log
}

async fn read_whole(caller: &mut RawHttp, log: &mut Transcript) {
    let head = caller.head().await;
    log.answered(&head);
    log.body(&caller.body(&head).await);
}

async fn a_challenge_and_its_metadata(way: Way) -> Transcript {
    let provider = RawProvider::bind().await;
    let place = way.to(&provider.url).await;
    let mut log = place.transcript();
    let origin = provider.url.strip_suffix(MCP_PATH).unwrap();
    let own = format!("{origin}/.well-known/oauth-protected-resource{MCP_PATH}");
    let challenge = format!(
        "HTTP/1.1 401 Unauthorized\r\nconnection: close\r\ncontent-length: 0\r\n\
        www-authenticate: Bearer error=\"invalid_token\", resource_metadata=\"{own}\", scope=\"a b\"\r\n\r\n"
    );
    let request = place.request_to("POST", &place.path, &mcp_fields(&[]), b"{}");
    let head = exchange(&place, &provider, &request, &challenge, &mut log).await;
    let said = head.values("www-authenticate").concat();
    let url = said
        .split("resource_metadata=\"")
        .nth(1)
        .and_then(|rest| rest.split('"').next())
        .expect("a place");
    let path = place.resolved(&place.path, url);
    let document = format!(
        "{{\"resource\":\"{}\",\"authorization_servers\":[\"https://login.example\"]}}",
        provider.url
    );
    let given = format!(
        "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{document}",
        document.len()
    );
    let request = place.request_to("GET", &path, &[("accept", "application/json")], b"");
    let mut seen = place.transcript();
    exchange(&place, &provider, &request, &given, &mut seen).await;
    log.exchange("metadata", seen);
    log
}

/// The relays of such an id know a secret; one of them is enough.
const SHARED: Settings<'_> = &[("CLIENT_SECRET", "shared")];

async fn a_session_of_a_shared_id(way: Way) -> Transcript {
    let provider = RawProvider::bind().await;
    let place = way.between(&provider.url, &[], SHARED).await;
    let mut log = place.transcript();
    let begun = "HTTP/1.1 200 OK\r\nconnection: close\r\nmcp-session-id: !session~of~the~provider!\r\ncontent-length: 2\r\n\r\n{}";
    let request = place.request_to("POST", &place.path, &mcp_fields(&[]), b"{}");
    let head = exchange(&place, &provider, &request, begun, &mut log).await;
    let session = head.values("mcp-session-id").concat();
    let fields = [
        ("mcp-session-id", &*session),
        ("mcp-protocol-version", "2025-11-25"),
        ("last-event-id", "7"),
    ];
    for (method, body) in [("POST", &b"{}"[..]), ("GET", b""), ("DELETE", b"")] {
        let request = place.request_to(method, &place.path, &mcp_fields(&fields), body);
        exchange(&place, &provider, &request, begun, &mut log).await;
    }
    let request = place.request_to(
        "POST",
        &place.path,
        &mcp_fields(&[("mcp-session-id", "of-nobody")]),
        b"{}",
    );
    perhaps("session_gone", &place, &provider, &request, &mut log).await;
    log
}

async fn keys_that_are_not_the_providers(way: Way) -> Transcript {
    let provider = RawProvider::bind().await;
    let place = way.to(&provider.url).await;
    let mut log = place.transcript();
    for token in [
        format!("Bearer {API_KEY}"),
        "Bearer of-the-provider".to_owned(),
    ] {
        let request = place.request_to(
            "POST",
            &place.path,
            &mcp_fields(&[("authorization", &token)]),
            b"{}",
        );
        exchange(&place, &provider, &request, OK, &mut log).await;
    }
    let relay = [
        ("AUTH_TOKEN", "of-the-relay"),
        ("PROVIDER_HEADERS", "X-Tenant: of the relay"),
    ];
    let place = way.between(&provider.url, &[], &relay).await;
    let fields = [
        ("authorization", "Bearer of-the-relay"),
        ("x-tenant", "of the caller"),
    ];
    let mut seen = place.transcript();
    let request = place.request_to("POST", &place.path, &mcp_fields(&fields), b"{}");
    exchange(&place, &provider, &request, OK, &mut seen).await;
    log.append(seen);
    let request = place.request_to(
        "POST",
        &place.path,
        &mcp_fields(&[("authorization", "Bearer wrong")]),
        b"{}",
    );
    perhaps("wrong_token", &place, &provider, &request, &mut log).await;
    log
}

async fn pages_in_browsers(way: Way) -> Transcript {
    let provider = RawProvider::bind().await;
    let place = way.to(&provider.url).await;
    let mut log = place.transcript();
    let preflight = [
        ("origin", "http://localhost:1"),
        ("access-control-request-method", "POST"),
        (
            "access-control-request-headers",
            "authorization, mcp-param-region",
        ),
    ];
    let request = place.request_to("OPTIONS", &place.path, &preflight, b"");
    perhaps("preflight", &place, &provider, &request, &mut log).await;
    let request = place.request_to(
        "POST",
        &place.path,
        &mcp_fields(&[("origin", "http://evil.example")]),
        b"{}",
    );
    perhaps("origin_refused", &place, &provider, &request, &mut log).await;
    let request =
        String::from_utf8(place.request_to("POST", &place.path, &mcp_fields(&[]), b"{}")).unwrap();
    let head = request
        .lines()
        .find(|line| line.starts_with("host: "))
        .unwrap();
    let rebound = request.replace(head, "host: evil.example");
    perhaps(
        "host_refused",
        &place,
        &provider,
        rebound.as_bytes(),
        &mut log,
    )
    .await;
    log
}

async fn paths_that_lead_up(way: Way) -> Transcript {
    let provider = RawProvider::bind().await;
    let place = way.to(&provider.url).await;
    let mut log = place.transcript();
    for path in ["/../x", "/a/./b", "/%2e%2E/x", "/a%2f..%2fb", "/..%5Cx"] {
        let request = place.request_to("POST", &place.below(path), &mcp_fields(&[]), b"{}");
        perhaps("path_refused", &place, &provider, &request, &mut log).await;
    }
    log
}

async fn more_than_the_limits(way: Way) -> Transcript {
    let provider = RawProvider::bind().await;
    let limits = [
        ("MAX_REQUEST_BYTES", "1KiB"),
        ("TUNNEL_MAX_HEADER_BYTES", "4KiB"),
    ];
    let place = way.with(&provider.url, &limits).await;
    let mut log = place.transcript();
    let (fits, long) = ("x".repeat(1024), "x".repeat(5000));
    let request = place.request_to("POST", &place.path, &mcp_fields(&[]), fits.as_bytes());
    exchange(&place, &provider, &request, OK, &mut log).await;
    let request = place.request_to(
        "POST",
        &place.path,
        &mcp_fields(&[]),
        format!("{fits}x").as_bytes(),
    );
    perhaps("request_too_large", &place, &provider, &request, &mut log).await;
    let request = place.request_to(
        "POST",
        &place.path,
        &mcp_fields(&[("x-long", &long)]),
        b"{}",
    );
    perhaps("head_too_large", &place, &provider, &request, &mut log).await;
    log
}

async fn more_calls_than_the_limit(way: Way) -> Transcript {
    let provider = RawProvider::bind().await;
    let place = way
        .with(&provider.url, &[("MAX_CONCURRENCY_PER_CLIENT", "1")])
        .await;
    let mut log = place.transcript();
    let mut caller = place.post(&[], b"{}").await;
    let (mut connection, head) = provider.call().await;
    let body = connection.body(&head).await;
    log.asked(&head, &body);
    let request = place.request_to("POST", &place.path, &mcp_fields(&[]), b"{}");
    perhaps("too_many_calls", &place, &provider, &request, &mut log).await;
    connection.send(OK).await;
    read_answer(&mut caller, &mut log).await;
    log
}

/// The provider does not answer before somebody has lost patience, or nobody has for a while.
async fn an_answer_that_takes_its_time(way: Way) -> Transcript {
    let provider = RawProvider::bind().await;
    let place = way
        .with(&provider.url, &[("FIRST_BYTE_TIMEOUT", "100ms")])
        .await;
    let (mut log, mut seen) = (place.transcript(), place.transcript());
    let mut caller = place.post(&[], b"{}").await;
    let (mut connection, head) = provider.call().await;
    let body = connection.body(&head).await;
    seen.asked(&head, &body);
    match tokio::time::timeout(LONG, caller.head()).await {
        Ok(head) => {
            seen.answered(&head);
            seen.body(&caller.body(&head).await);
        }
        Err(_) => {
            connection.send(OK).await;
            read_whole(&mut caller, &mut seen).await;
        }
    }
    log.exchange("first_byte_timeout", seen);
    log
}

/// How long that provider takes: longer than the server waits.
const LONG: std::time::Duration = std::time::Duration::from_millis(500);
