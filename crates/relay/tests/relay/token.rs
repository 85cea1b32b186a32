//! The token of an id, which every kind of request needs before anything is made of it.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use http::Method;
use llamapool_testkit::{Pool, Provider, error_word, json_answer};
use llamapool_wire::Secret;

const TOKEN: &str = "sesame";

/// Methods, paths and contents that are MCP's, that only look so, and that are not.
#[tokio::test]
async fn no_form_of_a_request_gets_past_the_token() {
    let received = Arc::new(AtomicUsize::new(0));
    let counter = received.clone();
    let provider = Provider::answering(move |_| {
        counter.fetch_add(1, Ordering::Relaxed);
        async { json_answer("{}") }
    })
    .await;
    let pool = Pool::start().await;
    let _relay = pool
        .relay_with("locked", &provider.url, |relay| {
            relay.providers[0].auth_token = Some(Secret::new(TOKEN));
        })
        .await;
    let contents = [
        (
            "application/json",
            r#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#,
        ),
        ("application/json", r#"{"JSONRPC":"2.0","Method":"ping"}"#),
        ("application/json", "[]"),
        ("text/plain", "hello"),
        ("multipart/form-data; boundary=x", "--x--"),
        ("", ""),
    ];

    let mut refused = 0;
    for method in [
        Method::GET,
        Method::POST,
        Method::PUT,
        Method::PATCH,
        Method::DELETE,
        Method::OPTIONS,
        Method::from_bytes(b"PROPFIND").unwrap(),
    ] {
        for path in [
            "",
            "/",
            "/sse",
            "/messages?token=sesame",
            "/~announced/x",
            "/a//b",
        ] {
            let (media_type, body) = contents[refused % contents.len()];
            let tokens: &[&str] = match refused % 4 {
                0 => &[],
                1 => &["Bearer wrong"],
                2 => &["Bearer sesame2"],
                _ => &["Bearer wrong", "Bearer sesame"],
            };
            let url = format!("{}{path}", pool.mcp("locked"));
            let mut request = pool.http.request(method.clone(), url).body(body);
            if !media_type.is_empty() {
                request = request.header("content-type", media_type);
            }
            for token in tokens {
                request = request.header("authorization", *token);
            }

            let answer = request.send().await.unwrap();

            assert_eq!(answer.status(), 401, "{method} {path} {tokens:?}");
            assert_eq!(error_word(answer).await, "wrong_token");
            refused += 1;
        }
    }
    assert_eq!((refused, received.load(Ordering::Relaxed)), (42, 0));

    let opened = pool.http.post(pool.mcp("locked")).bearer_auth(TOKEN);
    assert_eq!(opened.send().await.unwrap().status(), 200);
}
