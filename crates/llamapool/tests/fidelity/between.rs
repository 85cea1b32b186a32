//! Scenarios in which llamapool intentionally differs from the provider.

use crate::differential::{
    Endpoint, MCP_PATH, Route, final_head, mcp_fields, read_answer, scenarios,
};
use crate::harness::{API_KEY, RawHead, RawHttp, RawProvider, Settings, tools_call};
use crate::transcript::Transcript;

scenarios! {
    hop_by_hop_headers_of_an_answer: AnsweredByLlamapool, ALL;
    a_caller_that_expects_100_continue: AnsweredByLlamapool, ALL;
    early_hints_before_the_answer: AnsweredByLlamapool, ALL;
    trailers_behind_the_last_chunk: AnsweredByLlamapool, ALL;
    case_and_order_of_header_names: AnsweredByLlamapool, ALL;
    a_slash_at_the_end: AnsweredByLlamapool, ALL;
    event_streams_of_known_length: AnsweredByLlamapool, ALL;
    a_stream_for_a_caller_that_accepts_anything: AnsweredByLlamapool, STREAMABLE;
    a_provider_that_redirects: AnsweredByLlamapool, ALL;
    a_challenge_and_its_metadata: AnsweredByLlamapool, AUTHORIZING;
    a_session_of_a_shared_id: AnsweredByLlamapool, SESSIONS;
    keys_that_are_not_the_providers: AnsweredByLlamapool, ALL;
    pages_in_browsers: AnsweredByLlamapool, ALL;
    headers_of_proxies_and_of_the_origin: AnsweredByLlamapool, ALL;
    a_method_about_the_connection: AnsweredByLlamapool, ALL;
    paths_that_lead_up: AnsweredByLlamapool, ALL;
    bodies_and_heads_above_the_limits: AnsweredByLlamapool, ALL;
    more_calls_than_the_limit: AnsweredByLlamapool, ALL;
    an_answer_after_the_first_byte_timeout: AnsweredByLlamapool, ALL;
}

const OK: &str = "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\r\n{}";

/// Runs one exchange and records it on both sides.
async fn exchange(
    endpoint: &Endpoint,
    provider: &RawProvider,
    request: &[u8],
    given: &str,
    log: &mut Transcript,
) -> RawHead {
    let mut caller = endpoint.send(request).await;
    let (head, body) = provider.answer(given).await;
    log.request(&head, &body);
    read_answer(&mut caller, log).await.0
}

/// Runs one exchange that llamapool may answer without the provider.
async fn maybe_forwarded(
    subject: &'static str,
    endpoint: &Endpoint,
    provider: &RawProvider,
    request: &[u8],
    log: &mut Transcript,
) -> RawHead {
    let mut seen = endpoint.transcript();
    let mut caller = endpoint.send(request).await;

    let early = tokio::select! {
        biased;
        head = caller.head() => Some(head),
        (mut connection, head) = provider.call() => {
            let body = connection.body(&head).await;
            seen.request(&head, &body);
            connection.send(OK).await;
            None
        }
    };

    let head = match early {
        Some(head) => {
            seen.answer_head(&head);
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
    log.exchange(subject, seen);
    head
}

async fn hop_by_hop_headers_of_an_answer(route: Route) -> Transcript {
    let provider = RawProvider::bind().await;
    let endpoint = route.endpoint(&provider.url).await;
    let mut log = endpoint.transcript();

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
    let request = endpoint.request_to("POST", &endpoint.path, &mcp_fields(&fields), b"{}");
    exchange(&endpoint, &provider, &request, given, &mut log).await;

    log
}

/// The first hop that reads its request answers with 100.
async fn a_caller_that_expects_100_continue(route: Route) -> Transcript {
    let provider = RawProvider::bind().await;
    let endpoint = route.endpoint(&provider.url).await;
    let mut log = endpoint.transcript();

    let fields = [("expect", "100-continue"), ("content-length", "2")];
    let mut caller = endpoint
        .send(&endpoint.request_to("POST", &endpoint.path, &mcp_fields(&fields), b""))
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
    let mut got = endpoint.transcript();
    let call = async {
        got.answer_head(&caller.head().await);
        caller.send("{}").await;
        read_answer(&mut caller, &mut got).await;
    };
    let ((head, body, _connection), ()) = tokio::join!(serve, call);
    log.request(&head, &body);
    log.append(got);

    log
}

async fn early_hints_before_the_answer(route: Route) -> Transcript {
    let provider = RawProvider::bind().await;
    let endpoint = route.endpoint(&provider.url).await;
    let mut log = endpoint.transcript();

    let given = format!("HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n{OK}");
    let request = endpoint.request_to("POST", &endpoint.path, &mcp_fields(&[]), b"{}");
    exchange(&endpoint, &provider, &request, &given, &mut log).await;
    log
}

async fn trailers_behind_the_last_chunk(route: Route) -> Transcript {
    let provider = RawProvider::bind().await;
    let endpoint = route.endpoint(&provider.url).await;
    let mut log = endpoint.transcript();

    let request = endpoint.request_to(
        "POST",
        &endpoint.path,
        &mcp_fields(&[("transfer-encoding", "chunked")]),
        b"",
    );
    let mut caller = endpoint.send(&request).await;
    caller
        .send("2\r\n{}\r\n0\r\nX-Of-The-Caller: 1\r\n\r\n")
        .await;
    let (mut connection, head) = provider.call().await;
    let body = connection.body(&head).await;
    log.request(&head, &body);
    log.trailers(connection.trailers());
    connection
        .send("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\nX-Of-The-Provider: 1\r\n\r\n")
        .await;
    read_answer(&mut caller, &mut log).await;

    log
}

async fn case_and_order_of_header_names(route: Route) -> Transcript {
    let provider = RawProvider::bind().await;
    let endpoint = route.endpoint(&provider.url).await;
    let mut log = endpoint.transcript();

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
    let mut caller = endpoint.post(&fields, b"{}").await;
    let (mut connection, head) = provider.call().await;
    log.names(&of_both(&connection));
    let body = connection.body(&head).await;
    log.request(&head, &body);
    connection
        .send("HTTP/1.1 200 OK\r\nX-Of-The-Provider: 1\r\nx-of-small-letters: 2\r\ncontent-length: 0\r\n\r\n")
        .await;
    read_answer(&mut caller, &mut log).await;
    log.names(&of_both(&caller));

    log
}

async fn a_slash_at_the_end(route: Route) -> Transcript {
    let provider = RawProvider::bind().await;
    let endpoint = route.endpoint(&provider.url).await;
    let mut log = endpoint.transcript();

    let request = endpoint.request_to("POST", &endpoint.below("/"), &mcp_fields(&[]), b"{}");
    exchange(&endpoint, &provider, &request, OK, &mut log).await;
    log
}

/// Only a stream that was opened with GET may be HTTP with SSE, whose length changes.
async fn event_streams_of_known_length(route: Route) -> Transcript {
    let provider = RawProvider::bind().await;
    let endpoint = route.endpoint(&provider.url).await;
    let mut log = endpoint.transcript();

    let given = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ncontent-length: 9\r\nconnection: close\r\n\r\ndata: 1\n\n";

    for method in ["GET", "POST"] {
        let request = endpoint.request_to(method, &endpoint.path, &mcp_fields(&[]), b"");
        let head = exchange(&endpoint, &provider, &request, given, &mut log).await;
        if method == "POST" {
            log.note(format!("its length is {:?}", head.values("content-length")));
        }
    }

    log
}

/// Such a caller usually cannot read streams, like plain curl.
async fn a_stream_for_a_caller_that_accepts_anything(route: Route) -> Transcript {
    let provider = RawProvider::bind().await;
    let endpoint = route.endpoint(&provider.url).await;
    let mut log = endpoint.transcript();

    let events = "data: {\"n\":1}\n\ndata: {\"jsonrpc\":\"2.0\",\"id\":1,\"result\":{}}\n\n";
    let stream =
        "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n";
    let given = format!("{stream}{:x}\r\n{events}\r\n0\r\n\r\n", events.len());

    for fields in [&[][..], &[("accept", "*/*")]] {
        let message = tools_call(1, "t").to_string();
        let mut caller = endpoint
            .send(&endpoint.request_to("POST", &endpoint.path, fields, message.as_bytes()))
            .await;
        let (head, body) = provider.answer(&given).await;
        log.request(&head, &body);
        let head = caller.head().await;
        log.answer_head(&head);
        let (body, end) = caller.body_and_end(&head).await;
        log.body(&body);
        log.end(end);
    }

    log
}

/// A direct client follows the redirect; through llamapool the relay follows it.
async fn a_provider_that_redirects(route: Route) -> Transcript {
    let provider = RawProvider::bind().await;
    let endpoint = route.endpoint(&provider.url).await;
    let mut log = endpoint.transcript();

    let moved = "HTTP/1.1 307 Temporary Redirect\r\nlocation: /elsewhere\r\nconnection: close\r\ncontent-length: 0\r\n\r\n";
    let message = tools_call(1, "t").to_string();
    let client = async |got: &mut Transcript, redirect: &mut Transcript| {
        let mut caller = endpoint.post(&[], message.as_bytes()).await;
        let head = caller.head().await;
        if head.status() != 307 {
            got.answer_head(&head);
            got.body(&caller.body(&head).await);
            return;
        }

        redirect.answer_head(&head);
        let path = endpoint.resolved(&endpoint.path, &head.values("location")[0]);
        let request = endpoint.request_to("POST", &path, &mcp_fields(&[]), message.as_bytes());
        read_whole(&mut endpoint.send(&request).await, got).await;
    };

    for _ in 0..2 {
        let mut requests = endpoint.transcript();
        let mut redirect = endpoint.transcript();
        let mut got = endpoint.transcript();
        let mut answers = endpoint.transcript();
        let serve = async {
            loop {
                let (mut connection, head) = provider.call().await;
                let body = connection.body(&head).await;
                let is_here = head.line.starts_with(&format!("POST {MCP_PATH} "));
                if is_here {
                    &mut redirect
                } else {
                    &mut requests
                }
                .request(&head, &body);
                connection.send(if is_here { moved } else { OK }).await;
                if !is_here {
                    return;
                }
            }
        };

        tokio::join!(serve, client(&mut got, &mut answers));
        redirect.append(answers);
        log.exchange("redirect", redirect);
        log.append(requests);
        log.append(got);
    }

    log
}

async fn read_whole(caller: &mut RawHttp, log: &mut Transcript) {
    let head = caller.head().await;
    log.answer_head(&head);
    log.body(&caller.body(&head).await);
}

async fn a_challenge_and_its_metadata(route: Route) -> Transcript {
    let provider = RawProvider::bind().await;
    let endpoint = route.endpoint(&provider.url).await;
    let mut log = endpoint.transcript();

    let origin = provider.url.strip_suffix(MCP_PATH).unwrap();
    let own = format!("{origin}/.well-known/oauth-protected-resource{MCP_PATH}");
    let challenge = format!(
        "HTTP/1.1 401 Unauthorized\r\nconnection: close\r\ncontent-length: 0\r\n\
        www-authenticate: Bearer error=\"invalid_token\", resource_metadata=\"{own}\", scope=\"a b\"\r\n\r\n"
    );
    let request = endpoint.request_to("POST", &endpoint.path, &mcp_fields(&[]), b"{}");
    let head = exchange(&endpoint, &provider, &request, &challenge, &mut log).await;

    let challenges = head.values("www-authenticate").concat();
    let url = challenges
        .split("resource_metadata=\"")
        .nth(1)
        .and_then(|rest| rest.split('"').next())
        .expect("a URL");
    let path = endpoint.resolved(&endpoint.path, url);

    let document = format!(
        "{{\"resource\":\"{}\",\"authorization_servers\":[\"https://login.example\"]}}",
        provider.url
    );
    let given = format!(
        "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{document}",
        document.len()
    );
    let request = endpoint.request_to("GET", &path, &[("accept", "application/json")], b"");
    let mut seen = endpoint.transcript();
    exchange(&endpoint, &provider, &request, &given, &mut seen).await;
    log.exchange("metadata", seen);

    log
}

/// The secret of a shared id; one relay is enough for the test.
const SHARED: Settings<'_> = &[("CLIENT_SECRET", "shared")];

async fn a_session_of_a_shared_id(route: Route) -> Transcript {
    let provider = RawProvider::bind().await;
    let endpoint = route.endpoint_configured(&provider.url, &[], SHARED).await;
    let mut log = endpoint.transcript();

    let answer = "HTTP/1.1 200 OK\r\nconnection: close\r\nmcp-session-id: !session~of~the~provider!\r\ncontent-length: 2\r\n\r\n{}";
    let request = endpoint.request_to("POST", &endpoint.path, &mcp_fields(&[]), b"{}");
    let head = exchange(&endpoint, &provider, &request, answer, &mut log).await;
    let session = head.values("mcp-session-id").concat();
    let fields = [
        ("mcp-session-id", &*session),
        ("mcp-protocol-version", "2025-11-25"),
        ("last-event-id", "7"),
    ];

    for (method, body) in [("POST", &b"{}"[..]), ("GET", b""), ("DELETE", b"")] {
        let request = endpoint.request_to(method, &endpoint.path, &mcp_fields(&fields), body);
        exchange(&endpoint, &provider, &request, answer, &mut log).await;
    }

    let request = endpoint.request_to(
        "POST",
        &endpoint.path,
        &mcp_fields(&[("mcp-session-id", "of-nobody")]),
        b"{}",
    );
    maybe_forwarded("session_gone", &endpoint, &provider, &request, &mut log).await;

    log
}

async fn keys_that_are_not_the_providers(route: Route) -> Transcript {
    let provider = RawProvider::bind().await;
    let endpoint = route.endpoint(&provider.url).await;
    let mut log = endpoint.transcript();

    for token in [
        format!("Bearer {API_KEY}"),
        "Bearer of-the-provider".to_owned(),
    ] {
        let request = endpoint.request_to(
            "POST",
            &endpoint.path,
            &mcp_fields(&[("authorization", &token)]),
            b"{}",
        );
        exchange(&endpoint, &provider, &request, OK, &mut log).await;
    }

    let relay = [
        ("AUTH_TOKEN", "of-the-relay"),
        ("PROVIDER_HEADERS", "X-Tenant: of the relay"),
    ];
    let endpoint = route.endpoint_configured(&provider.url, &[], &relay).await;
    let fields = [
        ("authorization", "Bearer of-the-relay"),
        ("x-tenant", "of the caller"),
    ];
    let mut seen = endpoint.transcript();
    let request = endpoint.request_to("POST", &endpoint.path, &mcp_fields(&fields), b"{}");
    exchange(&endpoint, &provider, &request, OK, &mut seen).await;
    log.append(seen);
    let request = endpoint.request_to(
        "POST",
        &endpoint.path,
        &mcp_fields(&[("authorization", "Bearer wrong")]),
        b"{}",
    );
    maybe_forwarded("wrong_token", &endpoint, &provider, &request, &mut log).await;

    log
}

async fn pages_in_browsers(route: Route) -> Transcript {
    let provider = RawProvider::bind().await;
    let endpoint = route.endpoint(&provider.url).await;
    let mut log = endpoint.transcript();

    let preflight = [
        ("origin", "http://localhost:1"),
        ("access-control-request-method", "POST"),
        (
            "access-control-request-headers",
            "authorization, mcp-param-region",
        ),
    ];
    let request = endpoint.request_to("OPTIONS", &endpoint.path, &preflight, b"");
    maybe_forwarded("preflight", &endpoint, &provider, &request, &mut log).await;

    let request = endpoint.request_to(
        "POST",
        &endpoint.path,
        &mcp_fields(&[("origin", "http://evil.example")]),
        b"{}",
    );
    maybe_forwarded("origin_refused", &endpoint, &provider, &request, &mut log).await;

    let request =
        String::from_utf8(endpoint.request_to("POST", &endpoint.path, &mcp_fields(&[]), b"{}"))
            .unwrap();
    let head = request
        .lines()
        .find(|line| line.starts_with("host: "))
        .unwrap();
    let rebound = request.replace(head, "host: evil.example");
    maybe_forwarded(
        "host_refused",
        &endpoint,
        &provider,
        rebound.as_bytes(),
        &mut log,
    )
    .await;

    let script = mcp_fields(&[
        ("sec-fetch-site", "same-origin"),
        ("sec-fetch-mode", "cors"),
    ]);
    let request = endpoint.request_to("GET", &endpoint.path, &script, b"");
    let page = OK.replace("application/json", "text/html");
    let mut seen = endpoint.transcript();
    exchange(&endpoint, &provider, &request, &page, &mut seen).await;
    log.exchange("page_refused", seen);

    log
}

/// What a caller and a provider may not state, each with an example of every kind.
async fn headers_of_proxies_and_of_the_origin(route: Route) -> Transcript {
    let provider = RawProvider::bind().await;
    let endpoint = route.endpoint(&provider.url).await;
    let mut log = endpoint.transcript();

    let fields = [
        ("cf-connecting-ip", "10.0.0.1"),
        ("x-original-url", "/admin"),
        ("x_forwarded_for", "10.0.0.1"),
        ("x-stays", "1"),
    ];
    let given = "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-type: text/html\r\ncontent-length: 2\r\n\
        x-accel-redirect: /internal\r\nservice-worker-allowed: /\r\nx-stays: 1\r\nset-cookie: a=1; Path=/; HttpOnly\r\n\r\n{}";
    let request = endpoint.request_to("POST", &endpoint.path, &mcp_fields(&fields), b"{}");
    exchange(&endpoint, &provider, &request, given, &mut log).await;

    log
}

async fn a_method_about_the_connection(route: Route) -> Transcript {
    let provider = RawProvider::bind().await;
    let endpoint = route.endpoint(&provider.url).await;
    let mut log = endpoint.transcript();

    let request = endpoint.request_to("TRACE", &endpoint.path, &mcp_fields(&[]), b"");
    maybe_forwarded("method_refused", &endpoint, &provider, &request, &mut log).await;

    log
}

async fn paths_that_lead_up(route: Route) -> Transcript {
    let provider = RawProvider::bind().await;
    let endpoint = route.endpoint(&provider.url).await;
    let mut log = endpoint.transcript();

    for path in [
        "/../x",
        "/a/./b",
        "/%2e%2E/x",
        "/a%2f..%2fb",
        "/..%5Cx",
        "/..;/x",
    ] {
        let request = endpoint.request_to("POST", &endpoint.below(path), &mcp_fields(&[]), b"{}");
        maybe_forwarded("path_refused", &endpoint, &provider, &request, &mut log).await;
    }

    log
}

async fn bodies_and_heads_above_the_limits(route: Route) -> Transcript {
    let provider = RawProvider::bind().await;
    let limits = [
        ("MAX_REQUEST_BYTES", "1KiB"),
        ("TUNNEL_MAX_HEADER_BYTES", "4KiB"),
    ];
    let endpoint = route.endpoint_with(&provider.url, &limits).await;
    let mut log = endpoint.transcript();

    let fits = "x".repeat(1024);
    let long = "x".repeat(5000);
    let request = endpoint.request_to("POST", &endpoint.path, &mcp_fields(&[]), fits.as_bytes());
    exchange(&endpoint, &provider, &request, OK, &mut log).await;

    let request = endpoint.request_to(
        "POST",
        &endpoint.path,
        &mcp_fields(&[]),
        format!("{fits}x").as_bytes(),
    );
    maybe_forwarded(
        "request_too_large",
        &endpoint,
        &provider,
        &request,
        &mut log,
    )
    .await;

    let request = endpoint.request_to(
        "POST",
        &endpoint.path,
        &mcp_fields(&[("x-long", &long)]),
        b"{}",
    );
    maybe_forwarded("head_too_large", &endpoint, &provider, &request, &mut log).await;

    log
}

async fn more_calls_than_the_limit(route: Route) -> Transcript {
    let provider = RawProvider::bind().await;
    let endpoint = route
        .endpoint_with(&provider.url, &[("MAX_CONCURRENCY_PER_CLIENT", "1")])
        .await;
    let mut log = endpoint.transcript();

    let mut caller = endpoint.post(&[], b"{}").await;
    let (mut connection, head) = provider.call().await;
    let body = connection.body(&head).await;
    log.request(&head, &body);
    let request = endpoint.request_to("POST", &endpoint.path, &mcp_fields(&[]), b"{}");
    maybe_forwarded("too_many_calls", &endpoint, &provider, &request, &mut log).await;
    connection.send(OK).await;
    read_answer(&mut caller, &mut log).await;

    log
}

/// The provider answers only after the caller got an error, or after [`LONG`].
async fn an_answer_after_the_first_byte_timeout(route: Route) -> Transcript {
    let provider = RawProvider::bind().await;
    let endpoint = route
        .endpoint_with(&provider.url, &[("FIRST_BYTE_TIMEOUT", "100ms")])
        .await;
    let mut log = endpoint.transcript();

    let mut seen = endpoint.transcript();
    let mut caller = endpoint.post(&[], b"{}").await;
    let (mut connection, head) = provider.call().await;
    let body = connection.body(&head).await;
    seen.request(&head, &body);

    match tokio::time::timeout(LONG, caller.head()).await {
        Ok(head) => {
            seen.answer_head(&head);
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

/// The time that the provider takes: longer than the timeout of the server.
const LONG: std::time::Duration = std::time::Duration::from_millis(500);
