//! Policies of messages: what is denied never reaches the provider, what is allowed arrives byte for
//! byte, and ids without a policy stream as before.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use axum::extract::Request;
use axum::http::Method;
use axum::response::Response;
use futures_util::StreamExt;
use llamapool_identity::{AccessMode, AccessRule, MessagePolicy, Store};
use llamapool_server::DataDirConfig;
use llamapool_testkit::{
    Answer, PendingCall, Pool, Provider, RawHttp, ScriptedProvider, event_stream, http_request,
    json_answer, metric, soon, tools_call,
};
use parking_lot::Mutex;
use serde_json::{Value, json};

const MIB: usize = 1 << 20;
const JSON: &str = "content-type: application/json\r\n";

/// A provider that records what it gets, and answers all of it.
struct Recorder {
    provider: Provider,
    seen: Arc<Mutex<Vec<Seen>>>,
}

/// A request that a provider got.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Seen {
    method: Method,
    path: String,
    length: Option<String>,
    is_chunked: bool,
    body: Vec<u8>,
}

impl Recorder {
    async fn start() -> Self {
        let seen = Arc::new(Mutex::new(Vec::new()));
        let record = seen.clone();
        let provider = Provider::answering(move |request: Request| {
            let record = record.clone();
            async move {
                let (head, body) = request.into_parts();
                let body = axum::body::to_bytes(body, usize::MAX).await.unwrap();
                let header = |name| head.headers.get(name).map(|value| value.to_str().unwrap());
                record.lock().push(Seen {
                    path: head.uri.path().to_owned(),
                    length: header("content-length").map(str::to_owned),
                    is_chunked: header("transfer-encoding").is_some(),
                    body: body.to_vec(),
                    method: head.method,
                });
                json_answer("{}")
            }
        })
        .await;
        Self { provider, seen }
    }

    /// Returns what it got since the last look.
    fn seen(&self) -> Vec<Seen> {
        std::mem::take(&mut self.seen.lock())
    }
}

fn rule(pattern: &str, policy: &Value) -> AccessRule {
    let messages: MessagePolicy = serde_json::from_value(policy.clone()).unwrap();
    AccessRule {
        messages,
        ..AccessRule::new(pattern.parse().unwrap(), AccessMode::Open)
    }
}

/// Starts a server with a policy for `notes`, and none for other ids.
async fn with_policy(policy: Value) -> Pool {
    Pool::with(|server| {
        server.identity.declared.access = vec![rule("notes", &policy)];
    })
    .await
}

/// The policy of most tests.
fn tools() -> Value {
    json!({ "tools": { "allow": ["search", "time/*"], "deny": ["*delete*"] } })
}

fn call(name: &str) -> String {
    json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": name}}).to_string()
}

/// Posts a body to an id, with header lines.
async fn post(pool: &Pool, path: &str, fields: &str, body: &[u8]) -> Answer {
    let target = format!("/api/mcp/id/{path}");
    let request = http_request("POST", &target, fields, body);
    let (head, body) = pool.raw_call(request).await;
    Answer::from_raw(&head, body)
}

fn word(answer: &Answer) -> String {
    format!(
        "{} {}",
        answer.status(),
        answer.header("llamapool-error").unwrap_or("-")
    )
}

#[tokio::test]
async fn a_denied_message_never_reaches_the_provider() {
    let pool = with_policy(json!({
        "tools": { "allow": ["search", "time/*"], "deny": ["*delete*"] },
        "prompts": { "deny": ["secret"] },
        "resources": { "allow": ["file:///docs/*"] },
    }))
    .await;
    let recorder = Recorder::start().await;
    let _relay = pool.relay("notes", &recorder.provider.url).await;

    for body in [
        call("delete"),
        call("time/delete_all"),
        call("Search"),
        r#"{"method":"tools/call","params":{"name":"other"}}"#.to_owned(),
        r#"{"\u006dethod":"tool\u0073/call","params":{"n\u0061me":"del\u0065te"},"id":1}"#
            .to_owned(),
        r#"{"id":1,"method":"prompts/get","params":{"name":"secret"}}"#.to_owned(),
        r#"{"id":1,"method":"resources/read","params":{"uri":"file:///etc/passwd"}}"#.to_owned(),
        format!("[{},{}]", call("search"), call("delete")),
        format!("{}{}", call("delete"), " ".repeat(1000)),
    ] {
        let answer = post(&pool, "notes", JSON, body.as_bytes()).await;
        assert_eq!(word(&answer), "403 message_denied", "{body}");
    }

    assert_eq!(recorder.seen(), []);
    let state = pool.client("notes").await;
    assert_eq!(state["calls_total"], 0);
}

#[tokio::test]
async fn a_denial_repeats_the_id_and_names_the_kind_alone() {
    let pool = with_policy(tools()).await;
    let recorder = Recorder::start().await;
    let _relay = pool.relay("notes", &recorder.provider.url).await;
    let body = r#"{"id":"\u0061 1","method":"tools/call","params":{"name":"drop_table"}}"#;

    let answer = post(&pool, "notes", JSON, body.as_bytes()).await;

    assert_eq!(answer.json()["id"], "a 1");
    assert!(
        answer.text().contains(r#""id":"\u0061 1""#),
        "{}",
        answer.text()
    );
    let message = "the policy of the id does not allow this tool";
    assert_eq!(answer.json()["error"]["message"], message);
    assert_eq!(answer.json()["error"]["code"], 4039);
    assert!(!answer.text().contains("search") && !answer.text().contains("drop"));
}

#[tokio::test]
async fn a_message_that_can_be_read_in_two_ways_is_refused() {
    let pool = with_policy(tools()).await;
    let recorder = Recorder::start().await;
    let _relay = pool.relay("notes", &recorder.provider.url).await;
    let deep = format!(
        r#"{{"method":"ping","params":{{"x":{}{}}}}}"#,
        "[".repeat(64),
        "]".repeat(64)
    );
    let utf16: Vec<u8> = call("search")
        .encode_utf16()
        .flat_map(u16::to_le_bytes)
        .collect();
    let with_mark = [b"\xff\xfe".as_slice(), &utf16].concat();

    for body in [
        br#"{"method":"ping","method":"tools/call","params":{"name":"x"}}"#.as_slice(),
        br#"{"method":"ping","meth\u006fd":"tools/call","params":{"name":"x"}}"#,
        br#"{"method":"ping","Method":"tools/call","params":{"name":"x"}}"#,
        r#"{"method":"tools/call","paramſ":{"name":"x"},"params":{"name":"search"}}"#.as_bytes(),
        br#"{"method":"tools/call","params":{"name":"search","NAME":"x"}}"#,
        br#"{"method":"tools/call","params":{"name":"search"}}{"method":"ping"}"#,
        br#"{"method":"ping"} x"#,
        b"\xef\xbb\xbf{\"method\":\"ping\"}",
        br#"{"method":"ping","x":"\ud800"}"#,
        b"{\"method\":\"ping\",\"x\":\"\xff\"}",
        br#"[[{"method":"tools/call","params":{"name":"x"}}]]"#,
        b"[]",
        b"",
        b"nonsense",
        br#"{"id":1,"result":{},"error":{}}"#,
        deep.as_bytes(),
        &utf16,
        &with_mark,
    ] {
        let answer = post(&pool, "notes", JSON, body).await;
        let text = String::from_utf8_lossy(body);
        assert_eq!(word(&answer), "422 message_unreadable", "{text}");
    }

    assert_eq!(recorder.seen(), []);
}

#[tokio::test]
async fn a_body_that_is_not_plain_json_is_refused() {
    let pool = with_policy(tools()).await;
    let recorder = Recorder::start().await;
    let _relay = pool.relay("notes", &recorder.provider.url).await;
    let body = call("search");

    for fields in [
        "",
        "content-type: text/plain\r\n",
        "content-type: application/json; charset=utf-16\r\n",
        "content-type: application/json\r\ncontent-type: text/plain\r\n",
        "content-type: application/json\r\ncontent_type: text/plain\r\n",
        "content-type: application/json\r\ncontent-encoding: gzip\r\n",
        "content-type: application/json\r\ncontent-encoding: identity\r\ncontent-encoding: br\r\n",
    ] {
        let answer = post(&pool, "notes", fields, body.as_bytes()).await;
        assert_eq!(word(&answer), "415 media_type_refused", "{fields}");
    }
    let odd = "Content-Type: Application/JSON ; Charset=UTF-8\r\n";
    let denied = post(&pool, "notes", odd, call("delete").as_bytes()).await;
    assert_eq!(word(&denied), "403 message_denied");
    assert_eq!(recorder.seen(), []);

    let allowed = post(&pool, "notes", odd, body.as_bytes()).await;
    assert_eq!(allowed.status(), 200);
    assert_eq!(recorder.seen().len(), 1);
}

#[tokio::test]
async fn headers_that_do_not_repeat_the_message_mismatch() {
    let pool = with_policy(tools()).await;
    let recorder = Recorder::start().await;
    let _relay = pool.relay("notes", &recorder.provider.url).await;
    let body =
        r#"{"jsonrpc":"2.0","id":"\u0061","method":"tools/call","params":{"name":"search"}}"#;
    let send = async |lines: &[&str]| {
        let fields: String = lines.iter().map(|line| format!("{line}\r\n")).collect();
        post(&pool, "notes", &format!("{JSON}{fields}"), body.as_bytes()).await
    };
    let [new, old] = ["2026-07-28", "2025-06-18"].map(|it| format!("mcp-protocol-version: {it}"));
    let [method, name] = ["mcp-method: tools/call", "mcp-name: search"];

    for lines in [
        &[&*new, method, "mcp-name: time/now"][..],
        &[&new, method, "mcp-name: =?base64?dGltZS9ub3c=?="],
        &[&new, method],
        &[&new, name],
        &[&new, "mcp-method: tools/list", name],
        &[&new, method, name, "mcp-name: time/now"],
        &[&new, method, name, "mcp_name: time/now"],
        &[&new, &old, method, name],
        &[&old, "mcp-method: tools/list"],
        &["mcp-method: tools/list"],
    ] {
        let answer = send(lines).await;
        assert_eq!(word(&answer), "400 header_mismatch", "{lines:?}");
        assert_eq!(answer.json()["error"]["code"], -32020, "{lines:?}");
        assert!(
            answer.text().contains(r#""id":"\u0061""#),
            "{}",
            answer.text()
        );
    }
    assert_eq!(recorder.seen(), []);

    for lines in [
        &[&*new, method, name][..],
        &[&new, method, "mcp-name: =?base64?c2VhcmNo?="],
        &[&old],
        &[],
    ] {
        assert_eq!(send(lines).await.status(), 200, "{lines:?}");
        assert_eq!(recorder.seen().len(), 1, "{lines:?}");
    }
}

#[tokio::test]
async fn an_allowed_message_arrives_byte_for_byte() {
    let pool = with_policy(tools()).await;
    let recorder = Recorder::start().await;
    let _relay = pool.relay("notes", &recorder.provider.url).await;
    let body = br#"  {"id" : 1.0,"method":"t\u006fols/call", "params":{"name":"search","arguments":{"a":1,"a":2}}} "#;

    assert_eq!(post(&pool, "notes", JSON, body).await.status(), 200);
    let mut dripping = RawHttp::connect(&pool.url).await;
    let head = "POST /api/mcp/id/notes HTTP/1.1\r\nhost: 127.0.0.1\r\n\
                content-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n";
    dripping.send(head).await;
    for byte in body.chunks(7) {
        let length = format!("{:x}\r\n", byte.len());
        dripping
            .send([length.as_bytes(), byte, b"\r\n"].concat())
            .await;
    }
    assert_eq!(recorder.seen().len(), 1, "the second one has no end yet");
    dripping.send("0\r\n\r\n").await;
    assert_eq!(dripping.head().await.status(), 200);

    let seen = recorder.seen();
    let [seen] = &seen[..] else {
        panic!("one request: {seen:?}");
    };
    assert_eq!(seen.body, body);
    assert_eq!(seen.length, Some(body.len().to_string()));
    assert!(!seen.is_chunked);
}

#[tokio::test]
async fn a_message_beyond_the_bound_is_refused() {
    let pool = with_policy(tools()).await;
    let recorder = Recorder::start().await;
    let _relay = pool.relay("notes", &recorder.provider.url).await;
    let of = |bytes: usize| {
        let start = call("search");
        format!("{start}{}", " ".repeat(bytes - start.len()))
    };

    let whole = post(&pool, "notes", JSON, of(MIB).as_bytes()).await;
    assert_eq!(whole.status(), 200);
    assert_eq!(recorder.seen()[0].body.len(), MIB);
    let declared = post(&pool, "notes", JSON, of(MIB + 1).as_bytes()).await;
    assert_eq!(word(&declared), "413 request_too_large");
    assert!(declared.text().contains("POLICY_MAX_BYTES"));

    let pieces = futures_util::stream::iter([Ok::<_, std::io::Error>(of(MIB + 1))]);
    let chunked = pool.http.post(pool.mcp("notes"));
    let chunked = chunked.header("content-type", "application/json");
    let chunked = chunked.body(reqwest::Body::wrap_stream(pieces));
    assert_eq!(chunked.send().await.unwrap().status(), 413);
    assert_eq!(recorder.seen(), []);
}

#[tokio::test]
async fn a_message_that_does_not_end_is_refused_in_time() {
    let pool = Pool::with(|server| {
        server.identity.declared.access = vec![rule("notes", &tools())];
        server.mcp.policy_timeout = Duration::from_millis(50);
    })
    .await;
    let recorder = Recorder::start().await;
    let _relay = pool.relay("notes", &recorder.provider.url).await;

    let mut caller = RawHttp::connect(&pool.url).await;
    let head = "POST /api/mcp/id/notes HTTP/1.1\r\nhost: 127.0.0.1\r\n\
                content-type: application/json\r\ncontent-length: 100\r\n\r\n{\"method\":";
    caller.send(head).await;
    let answer = caller.head().await;

    assert_eq!(answer.status(), 408);
    assert_eq!(answer.values("llamapool-error"), ["request_too_slow"]);
    assert_eq!(recorder.seen(), []);
}

#[tokio::test]
async fn requests_without_a_message_pass_if_they_have_no_body() {
    let pool = with_policy(json!({ "methods": ["read"] })).await;
    let recorder = Recorder::start().await;
    let _relay = pool.relay("notes", &recorder.provider.url).await;
    let denied = call("search");

    for method in ["GET", "DELETE", "OPTIONS"] {
        let request = http_request(method, "/api/mcp/id/notes", "", b"");
        assert_eq!(pool.raw_call(request).await.0.status(), 200, "{method}");
        assert_eq!(recorder.seen()[0].method, method);
        let request = http_request(method, "/api/mcp/id/notes", JSON, denied.as_bytes());
        assert_eq!(pool.raw_call(request).await.0.status(), 422, "{method}");
    }
    for method in ["PUT", "PATCH", "OWN"] {
        let request = http_request(method, "/api/mcp/id/notes", JSON, denied.as_bytes());
        assert_eq!(pool.raw_call(request).await.0.status(), 403, "{method}");
    }
    assert_eq!(recorder.seen(), []);
}

/// The messages of HTTP with SSE go to a path that the provider announced, those of others to any.
#[tokio::test]
async fn messages_below_the_id_are_read_likewise() {
    let pool = with_policy(tools()).await;
    let recorder = Recorder::start().await;
    let _relay = pool.relay("notes", &recorder.provider.url).await;

    for path in ["~announced/messages?session=1", "messages", ""] {
        let path = format!("notes/{path}");
        let answer = post(&pool, &path, JSON, call("delete").as_bytes()).await;
        assert_eq!(word(&answer), "403 message_denied", "{path}");
    }
    assert_eq!(recorder.seen(), []);

    let answer = post(&pool, "notes/messages", JSON, call("search").as_bytes()).await;
    assert_eq!(answer.status(), 200);
    assert_eq!(recorder.seen()[0].path, "/mcp/messages");
}

#[tokio::test]
async fn ids_without_a_policy_stream_what_they_get() {
    let pool = with_policy(tools()).await;
    let provider = Provider::answering(async |request: Request| {
        let is_chunked = !request.headers().contains_key("content-length");
        let answer = Response::builder().header("content-type", "text/event-stream");
        let answer = answer.header("x-chunked", is_chunked.to_string());
        answer.body(request.into_body()).unwrap()
    })
    .await;
    let _relay = pool.relay("clock", &provider.url).await;
    let (sender, receiver) = tokio::sync::mpsc::channel::<Result<Vec<u8>, std::io::Error>>(1);
    let upload = futures_util::stream::unfold(receiver, |mut receiver| async move {
        receiver.recv().await.map(|piece| (piece, receiver))
    });
    let request = pool.http.post(pool.mcp("clock"));
    let request = request.body(reqwest::Body::wrap_stream(upload));
    let mut pending = PendingCall::start(request.header("accept", "text/event-stream"));

    sender.send(Ok(b"\xff\xfe no".to_vec())).await.unwrap();
    let answer = pending.answer().await;
    assert_eq!(answer.headers()["x-chunked"], "true");
    let mut echo = answer.bytes_stream();
    let first = soon("the first piece, before the last one is sent", echo.next()).await;
    assert_eq!(&first.unwrap().unwrap()[..], b"\xff\xfe no");

    sender.send(Ok(b" message".to_vec())).await.unwrap();
    drop(sender);
    let second = soon("the second piece", echo.next()).await;
    assert_eq!(&second.unwrap().unwrap()[..], b" message");
}

#[tokio::test]
async fn the_answer_to_an_allowed_message_is_streamed() {
    let pool = with_policy(tools()).await;
    let mut provider = ScriptedProvider::start().await;
    let _relay = pool.relay("notes", &provider.url).await;
    let request = pool.http.post(pool.mcp("notes"));
    let request = request.header("accept", "text/event-stream");
    let mut pending = PendingCall::start(request.json(&tools_call(1, "search")));

    let (events, answer) = event_stream();
    provider.next_request().await.answer(answer);
    let mut pieces = pending.answer().await.bytes_stream();
    events.send(Ok("data: 1\n\n".into())).await.unwrap();

    let piece = soon("the first event", pieces.next()).await;
    assert_eq!(&piece.unwrap().unwrap()[..], b"data: 1\n\n");
}

#[tokio::test]
async fn a_policy_holds_as_soon_as_the_server_has_it() {
    let folder = tempfile::tempdir().unwrap();
    let data_dir = DataDirConfig::Required(folder.path().to_owned());
    let pool = Pool::with(|server| server.data_dir = data_dir).await;
    let recorder = Recorder::start().await;
    let _relay = pool.relay("notes", &recorder.provider.url).await;
    let status = async || post(&pool, "notes", JSON, call("delete").as_bytes()).await;
    assert_eq!(status().await.status(), 200);

    let mut store = Store::open_in(folder.path()).unwrap();
    for (policy, expected) in [(tools(), 403), (json!({}), 200)] {
        let rule = rule("notes", &policy);
        let change = store.set_rule(&rule, SystemTime::now()).unwrap();
        soon("the server applies the change", async {
            while store.acknowledgement(change).unwrap().is_none() {
                tokio::task::yield_now().await;
            }
        })
        .await;
        assert_eq!(status().await.status(), expected);
    }
}

/// Begins a message of 1 MiB from an address, and leaves its last byte out.
async fn held_back(pool: &Pool, id: &str, number: usize) -> RawHttp {
    let mut caller = RawHttp::connect(&pool.url).await;
    let head = format!(
        "POST /api/mcp/id/{id} HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: application/json\r\n\
         x-forwarded-for: 10.0.{}.{}\r\ncontent-length: {MIB}\r\n\r\n",
        number / 100,
        number % 100
    );
    let start = call("search");
    let body = format!("{start}{}", " ".repeat(MIB - 1 - start.len()));
    // A message that is refused is not read to its end.
    let _ = caller.try_send(head + &body).await;
    caller
}

async fn refused_for_the_id(pool: &Pool) -> f64 {
    let series = r#"llamapool_refusals_total{door="mcp",reason="id_share"}"#;
    metric(&pool.metrics().await, series).unwrap_or_default()
}

async fn used_memory(pool: &Pool) -> usize {
    let metrics = pool.metrics().await;
    metric(&metrics, "llamapool_memory_used_bytes").unwrap() as usize
}

#[tokio::test]
async fn messages_that_are_held_back_have_bounded_memory() {
    let pool = Pool::with(|server| {
        server.listen.trust_forwarded = true;
        server.identity.declared.access = vec![rule("notes", &tools()), rule("tasks", &tools())];
    })
    .await;
    let recorder = Recorder::start().await;
    let [_notes, _tasks, _clock] = [
        pool.relay("notes", &recorder.provider.url).await,
        pool.relay("tasks", &recorder.provider.url).await,
        pool.relay("clock", &recorder.provider.url).await,
    ];

    let mut held = Vec::new();
    for number in 0..300 {
        held.push(held_back(&pool, "notes", number).await);
    }
    // Eight ninths of 256 MiB are the share of one id.
    soon("the others are refused", async {
        while refused_for_the_id(&pool).await < 70.0 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    let used = used_memory(&pool).await;
    assert!((200 * MIB..=256 * MIB).contains(&used), "{used}");

    let mut last = held_back(&pool, "notes", 1000).await;
    let last = last.head().await;
    assert_eq!(last.status(), 503);
    assert_eq!(last.values("retry-after").len(), 1);
    let small = post(&pool, "notes", JSON, call("search").as_bytes()).await;
    assert_eq!(small.status(), 200, "small ones need no room");
    let mut large = held_back(&pool, "tasks", 1001).await;
    large.send(" ").await;
    assert_eq!(large.head().await.status(), 200);
    let other = post(&pool, "clock", JSON, &vec![b' '; MIB]).await;
    assert_eq!(other.status(), 200);
    assert_eq!(recorder.seen().len(), 3);

    drop(held);
    soon("the memory is free", async {
        while used_memory(&pool).await > MIB {
            tokio::task::yield_now().await;
        }
    })
    .await;
}
