//! Hostile callers disturb no other caller: after every abuse the same server goes on.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::Request;
use llamapool_testkit::{
    Pool, Provider, RawHttp, Relay, ServerConfig, http_request, json_answer, soon, tools_call,
};
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// A server with one relay, and the requests that reached its provider.
struct Target {
    pool: Pool,
    asked: Arc<Mutex<Vec<String>>>,
    _provider: Provider,
    _relay: Relay,
}

impl Target {
    async fn start() -> Self {
        Self::with(|_| {}).await
    }

    async fn with(configure: impl FnOnce(&mut ServerConfig)) -> Self {
        let pool = Pool::with(configure).await;

        let asked = Arc::new(Mutex::new(Vec::new()));
        let log = asked.clone();
        let provider = Provider::answering(move |request: Request| {
            log.lock().push(format!(
                "{} {} {:?}",
                request.method(),
                request.uri(),
                request.headers()
            ));
            async {
                let _ = axum::body::to_bytes(request.into_body(), usize::MAX).await;
                json_answer("{}")
            }
        })
        .await;
        let relay = pool.relay("normal", &provider.url).await;

        Self {
            pool,
            asked,
            _provider: provider,
            _relay: relay,
        }
    }

    /// Returns and forgets the requests that reached the provider.
    fn take_requests(&self) -> Vec<String> {
        std::mem::take(&mut *self.asked.lock())
    }

    /// Checks that a normal call reaches the provider once and is answered.
    async fn goes_on(&self, after: &str) {
        let message = tools_call(1, "echo").to_string();
        let (answer, _) = self
            .pool
            .raw_call(http_request(
                "POST",
                "/api/mcp/id/normal",
                "",
                message.as_bytes(),
            ))
            .await;

        assert_eq!(answer.status(), 200, "after {after}");
        assert_eq!(self.take_requests().len(), 1, "after {after}");
    }

    /// Sends these bytes and one good request behind them, in case the server still reads from the
    /// connection. Returns every status that is answered before the server hangs up.
    async fn answers_to(&self, bytes: impl AsRef<[u8]>) -> Vec<u16> {
        let last = "HEAD /the-last HTTP/1.1\r\nhost: 127.0.0.1\r\nconnection: close\r\n\r\n";
        let mut caller = RawHttp::connect(&self.pool.url).await;
        // The server may hang up in the middle.
        let _ = caller
            .try_send([bytes.as_ref(), last.as_bytes()].concat())
            .await;
        let mut statuses = Vec::new();

        while let Some(head) = caller.try_head().await {
            if head.status() == 404 {
                break;
            }
            statuses.push(head.status());
            caller.body_and_end(&head).await;
        }

        statuses
    }
}

/// Ids that are not `normal`, and the status of a call to each.
const HOSTILE_IDS: [(&str, u16); 18] = [
    ("%00", 503),
    ("normal%00", 503),
    ("..", 503),
    ("../normal", 503),
    ("..%2fnormal", 503),
    ("%2e%2e%2fnormal", 503),
    ("./normal", 503),
    ("nor%6dal", 503),
    ("normal%20", 503),
    ("NORMAL", 503),
    ("normal.", 503),
    ("normal;v=1", 503),
    ("%e2%84%aa", 503),
    ("normal%0d%0aX-Evil:%201", 503),
    ("{id}", 503),
    ("*", 503),
    ("", 404),
    ("/normal", 503),
];

#[tokio::test]
async fn hostile_ids_reach_no_relay() {
    let target = Target::start().await;
    let long = "x".repeat(10_000);

    for (id, status) in HOSTILE_IDS.into_iter().chain([(long.as_str(), 503)]) {
        let (answer, body) = target
            .pool
            .raw_call(http_request(
                "POST",
                &format!("/api/mcp/id/{id}"),
                "",
                b"{}",
            ))
            .await;
        let shown = &id[..id.len().min(40)];

        assert_eq!(answer.status(), status, "{shown}");
        assert_eq!(answer.values("x-evil"), Vec::<String>::new());
        assert!(
            body.len() < 1000 && serde_json::from_slice::<Value>(&body).is_ok(),
            "{shown}: {} bytes",
            body.len()
        );
        assert_eq!(target.take_requests(), Vec::<String>::new(), "{shown}");
    }

    for raw in [
        "nor\u{0}mal",
        "normal\u{7f}",
        "nörmal",
        "normal normal",
        "nor\rmal",
    ] {
        let statuses = target
            .answers_to(http_request(
                "POST",
                &format!("/api/mcp/id/{raw}"),
                "",
                b"{}",
            ))
            .await;

        assert!(
            statuses == [400] || statuses == [503],
            "{raw:?}: {statuses:?}"
        );
        assert_eq!(target.take_requests(), Vec::<String>::new(), "{raw:?}");
    }

    target.goes_on("hostile ids").await;

    assert_eq!(
        target.pool.state().await["mcp"]["clients"]
            .as_array()
            .unwrap()
            .len(),
        1
    );
}

#[tokio::test]
async fn heads_that_are_far_too_large_are_refused_by_the_http_layer() {
    let target = Target::start().await;
    let one = format!("x-large: {}\r\n", "x".repeat(100_000));
    let many: String = (0..1000)
        .map(|index| format!("x-{index}: {index}\r\n"))
        .collect();
    let same = "x-same: again\r\n".repeat(5000);

    for (fields, name) in [
        (&one, "one header of 100 kB"),
        (&many, "1000 headers"),
        (&same, "5000 values"),
    ] {
        let statuses = target
            .answers_to(http_request("POST", "/api/mcp/id/normal", fields, b"{}"))
            .await;

        assert_eq!(statuses, [431], "{name}");
        assert_eq!(target.take_requests(), Vec::<String>::new(), "{name}");

        target.goes_on(name).await;
    }

    let path = format!("/api/mcp/id/normal/{}", "x".repeat(1 << 20));
    let statuses = target
        .answers_to(http_request("POST", &path, "", b"{}"))
        .await;

    assert!(statuses == [414] || statuses == [431], "{statuses:?}");

    target.goes_on("a path of 1 MiB").await;
}

/// Returns the fields and bodies of requests whose end two readers may find at different places. A
/// reader that finds the earlier one takes `smuggled` for a request.
fn ambiguous_requests(smuggled: &str) -> Vec<(String, String)> {
    let length = smuggled.len();
    let in_a_chunk = format!("{length:x}\r\n{smuggled}\r\n0\r\n\r\n");
    let chunked_length = in_a_chunk.len();
    let behind_the_end = format!("0\r\n\r\n{smuggled}");
    let behind_length = 5 + length;

    let lengths = [
        format!("content-length: 2\r\ncontent-length: {length}\r\n"),
        format!("content-length: {length}\r\ncontent-length: 0\r\n"),
        format!("content-length: 0, {length}\r\n"),
        format!("content-length: +{length}\r\n"),
        "content-length: -1\r\n".into(),
        "content-length: 0x0\r\n".into(),
        "content-length: 18446744073709551616\r\n".into(),
        "transfer-encoding: identity\r\ncontent-length: 0\r\n".into(),
    ];
    let both = [
        format!("content-length: {chunked_length}\r\ntransfer-encoding: chunked\r\n"),
        format!("transfer-encoding: chunked\r\ncontent-length: {chunked_length}\r\n"),
    ];
    let early_ends = [
        "content-length: 5\r\ntransfer-encoding: chunked\r\n".into(),
        "transfer-encoding: chunked\r\ncontent-length: 5\r\n".into(),
        format!("content-length: {behind_length}\r\ntransfer-encoding: chunked\r\n"),
        "transfer-encoding: chunked, identity\r\n".into(),
        "transfer-encoding: xchunked\r\n".into(),
        "transfer-encoding : chunked\r\n".into(),
        "transfer-encoding:\u{b}chunked\r\n".into(),
    ];
    let sizes = ["fffffffffffffffff", "0x0\r\n", "-0\r\n"];

    let with = |fields: Vec<String>, body: &str| {
        let body = body.to_owned();
        fields.into_iter().map(move |fields| (fields, body.clone()))
    };
    let of_size = |size| {
        let fields = "transfer-encoding: chunked\r\n".to_owned();
        (fields, format!("{size}\r\n{smuggled}"))
    };
    with(lengths.to_vec(), smuggled)
        .chain(with(both.to_vec(), &in_a_chunk))
        .chain(with(early_ends.to_vec(), &behind_the_end))
        .chain(sizes.into_iter().map(of_size))
        .collect()
}

#[tokio::test]
async fn a_request_that_can_be_read_in_two_ways_is_one_call_or_none() {
    let target = Target::start().await;
    let smuggled = "GET /api/mcp/id/normal/smuggled HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n";
    let requests = ambiguous_requests(smuggled);
    assert_eq!(requests.len(), 20);

    for (fields, body) in requests {
        let request = http_request("POST", "/api/mcp/id/normal", &fields, b"");
        let statuses = target
            .answers_to([request, body.into_bytes()].concat())
            .await;
        let asked = target.take_requests();

        assert!(
            statuses.len() <= 1 && asked.len() <= 1,
            "{fields:?}: {statuses:?} {asked:?}"
        );
        assert!(
            !asked.iter().any(|call| call.contains("smuggled")),
            "{fields:?}: {asked:?}"
        );

        target.goes_on(&fields).await;
    }
}

#[tokio::test]
async fn nonsense_instead_of_a_request_ends_its_own_connection_alone() {
    let target = Target::start().await;
    let long = "A".repeat(1 << 20);

    for nonsense in [
        &b"\0\0\0\0\0\0\0\0\r\n\r\n"[..],
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
        b"NONSENSE\r\n\r\n",
        b"GET /api/mcp/id/normal HTTP/9.9\r\n\r\n",
        b"GET /api/mcp/id/normal\r\n\r\n",
        b"G\xc3\x89T /api/mcp/id/normal HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n",
        b"POST /api/mcp/id/normal HTTP/1.1\r\nhost: 127.0.0.1\r\nno colon\r\n\r\n",
        b"POST /api/mcp/id/normal HTTP/1.1\r\nhost: 127.0.0.1\r\nx: a\0b\r\n\r\n",
        b"POST /api/mcp/id/normal HTTP/1.1\r\nhost: 127.0.0.1\r\n folded: 1\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\nand no frame at all, but something else",
        b"PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n",
        long.as_bytes(),
        b"\r\n",
        b"",
    ] {
        let mut connection = RawHttp::connect(&target.pool.url).await;
        let _ = connection.try_send(nonsense).await;
        let _ = connection.try_shut_down().await;
        let mut said = Vec::new();
        connection.rest_of_connection(&mut said).await;
        let said = String::from_utf8_lossy(&said);
        let shown = String::from_utf8_lossy(&nonsense[..nonsense.len().min(60)]).into_owned();

        assert!(!said.contains(" 200 "), "{shown:?}: {said}");
        assert_eq!(target.take_requests(), Vec::<String>::new(), "{shown:?}");

        target.goes_on(&shown).await;
    }
}

#[tokio::test]
async fn a_head_that_never_ends_is_not_waited_for() {
    let target =
        Target::with(|server| server.listen.header_timeout = Duration::from_millis(200)).await;
    for begun in [
        "POST /api/mcp/id/normal HTTP/1.1\r\nhost: 127.0.0.1\r\nx-slow: ",
        "POST ",
        "PRI * HT",
        "",
    ] {
        let mut caller = RawHttp::connect(&target.pool.url).await;
        caller.send(begun).await;
        caller.rest_of_connection(&mut Vec::new()).await;
        target.goes_on(begun).await;
    }
}

#[tokio::test]
async fn line_ends_in_header_values_do_not_get_through_http_2() {
    let target = Target::start().await;

    for (name, value) in [
        ("x-a", "1\r\nx-evil: 1"),
        ("x-a", "1\nx-evil: 1"),
        ("x-a", "1\r"),
        ("x-a", "\0"),
        ("x-a\r\nx-evil", "1"),
        ("x-a:x-evil", "1"),
        ("X-Upper", "1"),
        ("connection", "close"),
        ("transfer-encoding", "chunked"),
        (":path", "/api/mcp/id/normal/evil"),
    ] {
        let last = frames_answered(&target.pool.url, name, value).await;

        assert!(
            last == RST_STREAM || last == GOAWAY,
            "{name:?}: {value:?} was answered with frame type {last}"
        );
        assert_eq!(
            target.take_requests(),
            Vec::<String>::new(),
            "{name:?}: {value:?}"
        );

        target.goes_on(name).await;
    }

    assert_eq!(
        frames_answered(&target.pool.url, "x-a", "1").await,
        HEADERS,
        "the same without abuse"
    );
}

#[tokio::test]
async fn confusing_bodies_count_as_other_and_go_through() {
    let target = Target::start().await;
    let deep = |depth: usize| {
        format!(
            "{{\"params\":{}{},\"method\":\"ping\"}}",
            "[".repeat(depth),
            "]".repeat(depth)
        )
    };
    // The name of the method begins within the first KiB and ends behind it.
    let cut = format!(
        "{{\"x\":\"{}\",\"method\":\"tools/call\"}}",
        "x".repeat(1024 - 24)
    );
    let long = format!("{{\"method\":\"{}\"}}", "tools/call".repeat(1000));
    let bodies = [
        deep(10_000),
        "[".repeat(10_000).replacen('[', "{\"a\":[", 1),
        "{\"a\":".repeat(10_000),
        cut,
        long,
        "{\"method\":\"tools\\/call\"}".into(),
        "{\"Method\":\"ping\",\"METHOD\":\"ping\",\"method\":7}".into(),
        "{\"method\":\"evil\\\",client=\\\"x\"}".into(),
        "\u{1b}[31m{".into(),
    ];

    for body in &bodies {
        let (answer, _) = target
            .pool
            .raw_call(http_request(
                "POST",
                "/api/mcp/id/normal",
                "",
                body.as_bytes(),
            ))
            .await;

        assert_eq!(answer.status(), 200, "{}", &body[..body.len().min(60)]);
        assert_eq!(
            target.take_requests().len(),
            1,
            "{}",
            &body[..body.len().min(60)]
        );
    }

    let functions = target.pool.client("normal").await["functions"].clone();

    assert_eq!(functions, json!({ "other": bodies.len() }));

    target.goes_on("confusing bodies").await;
}

/// Builds a call with a name of the caller's choice: in turn of the method in the body, of the
/// method in a header, of the HTTP method, and of the id.
fn call_with_evil_names(index: usize) -> Vec<u8> {
    let target = "/api/mcp/id/normal";
    match index % 4 {
        0 => {
            let body = format!("{{\"method\":\"evil/{index}\"}}");
            http_request("POST", target, "", body.as_bytes())
        }
        1 => http_request(
            "POST",
            target,
            format!("mcp-method: evil/{index}\r\n"),
            b"{}",
        ),
        2 => {
            let method = format!("EVIL{index}");
            http_request(&method, target, format!("mcp-name: evil/{index}\r\n"), b"x")
        }
        _ => http_request("POST", &format!("/api/mcp/id/evil-{index}"), "", b"{}"),
    }
}

#[tokio::test]
async fn names_that_callers_choose_never_become_labels() {
    let target = Target::start().await;
    target.goes_on("nothing yet").await;
    let _ = target
        .pool
        .raw_call(http_request("POST", "/api/mcp/id/nobody", "", b"{}"))
        .await;
    let series = |metrics: &str| {
        metrics
            .lines()
            .filter(|line| !line.starts_with('#'))
            .count()
    };
    let before = target.pool.metrics().await;
    let state = target.pool.state().await.to_string().len();
    let mut caller = RawHttp::connect(&target.pool.url).await;

    for index in 0..2000 {
        caller.send(call_with_evil_names(index)).await;
        let head = caller.head().await;

        assert_eq!(head.status(), if index % 4 == 3 { 503 } else { 200 });

        caller.body(&head).await;
    }

    let after = target.pool.metrics().await;

    assert!(!after.to_lowercase().contains("evil"), "{after}");

    let other = |metrics: &str| {
        metrics
            .lines()
            .filter(|line| line.contains("method=\"other\""))
            .count()
    };

    assert_eq!(
        series(&after) - other(&after),
        series(&before) - other(&before),
        "only `other` has come"
    );

    let functions = target.pool.client("normal").await["functions"].clone();
    assert_eq!(functions, json!({ "tools/call": 1, "other": 1500 }));

    let grown = target.pool.state().await.to_string().len() - state;
    assert!(grown < 200, "the state has grown by {grown} bytes");

    target.take_requests();
    target.goes_on("2000 names").await;
}

const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const GOAWAY: u8 = 7;

/// Sends a call over HTTP/2 with one more header, byte by byte as no library would. Reads up to the
/// frame that decides about the call, and returns its type.
async fn frames_answered(url: &str, name: &str, value: &str) -> u8 {
    // Without Huffman coding and without the dynamic table (RFC 7541, 6.2.2).
    let literal = |index: u8, text: &str| {
        [&[index, u8::try_from(text.len()).unwrap()], text.as_bytes()].concat()
    };
    let mut block = vec![0x82, 0x86]; // :method GET, :scheme http
    block.extend(literal(0x04, "/api/mcp/id/normal"));
    block.extend(literal(0x01, "127.0.0.1"));
    block.extend(literal(0x00, name));
    block.extend([u8::try_from(value.len()).unwrap()]);
    block.extend(value.as_bytes());
    let mut request = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
    request.extend([0, 0, 0, 4, 0, 0, 0, 0, 0]);
    request.extend([
        0,
        0,
        u8::try_from(block.len()).unwrap(),
        HEADERS,
        0x05,
        0,
        0,
        0,
        1,
    ]);
    request.extend(block);
    let mut stream = TcpStream::connect(url.strip_prefix("http://").unwrap())
        .await
        .unwrap();
    stream.write_all(&request).await.unwrap();
    let deciding = async {
        loop {
            let mut head = [0; 9];
            // A connection that ends without a frame counts as a GOAWAY.
            if stream.read_exact(&mut head).await.is_err() {
                return GOAWAY;
            }
            let length = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
            if stream.read_exact(&mut vec![0; length]).await.is_err() {
                return GOAWAY;
            }
            if [HEADERS, RST_STREAM, GOAWAY].contains(&head[3]) {
                return head[3];
            }
        }
    };
    soon("a frame decides", deciding).await
}
