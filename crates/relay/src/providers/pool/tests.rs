//! The pool with providers that respond as they should, hang up, and do neither.

use std::sync::atomic::{AtomicUsize, Ordering};

use http_body_util::BodyExt;
use hyper_rustls::HttpsConnectorBuilder;
use hyper_util::client::legacy::connect::HttpConnector;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::*;

/// How long any step may take before the test fails as hanging.
const PATIENCE: Duration = Duration::from_secs(20);
const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";

async fn provider() -> (TcpListener, Uri, Arc<ConnectionPool>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/mcp?a=b", listener.local_addr().unwrap())
        .parse()
        .unwrap();
    let tls = crate::tls::tls_config(None).unwrap();
    let connector = HttpsConnectorBuilder::new()
        .with_tls_config(tls)
        .https_or_http()
        .enable_http1();
    let pool = ConnectionPool::new(connector.wrap_connector(HttpConnector::new()), &url);
    (listener, url, Arc::new(pool))
}

type Answer = (ResponseHead, ProviderBody);

async fn send(
    pool: &ConnectionPool,
    url: &Uri,
    body: Vec<u8>,
    reuse: Reuse,
) -> Result<Answer, PoolError> {
    let request = PoolRequest {
        method: &Method::POST,
        target: url.path_and_query().unwrap().as_str(),
        fields: &Fields::new(),
        body: RequestBody::Whole(body.into()),
    };
    pool.send(request, reuse).await
}

async fn ask(pool: &ConnectionPool, url: &Uri, reuse: Reuse) -> Result<Answer, PoolError> {
    timeout(PATIENCE, send(pool, url, b"x".to_vec(), reuse))
        .await
        .expect("it hangs")
}

async fn whole((_, body): Answer) -> Bytes {
    timeout(PATIENCE, body.collect())
        .await
        .expect("it hangs")
        .unwrap()
        .to_bytes()
}

/// Reads one request, whose body is one byte, and returns its head.
async fn read(stream: &mut TcpStream) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\nx") {
        head.push(stream.read_u8().await.unwrap());
    }
    String::from_utf8(head).unwrap()
}

/// Makes one call on a new connection and returns the provider's end of it.
async fn called_once(
    listener: &TcpListener,
    url: &Uri,
    pool: &ConnectionPool,
    reuse: Reuse,
) -> TcpStream {
    let serving = async {
        let (mut stream, _) = listener.accept().await.unwrap();
        read(&mut stream).await;
        stream.write_all(ANSWER).await.unwrap();
        stream
    };
    let asking = async { whole(ask(pool, url, reuse).await.unwrap()).await };
    let both = async { tokio::join!(serving, asking) };
    let (stream, answer) = timeout(PATIENCE, both)
        .await
        .expect("no connection is made");

    assert_eq!(answer, "ok");

    stream
}

#[tokio::test]
async fn a_request_names_its_host_and_reuses_an_idle_connection() {
    let (listener, url, pool) = provider().await;
    let serving = async {
        let (mut stream, _) = listener.accept().await.unwrap();
        for _ in 0..3 {
            let head = read(&mut stream).await;
            assert!(head.starts_with("POST /mcp?a=b HTTP/1.1\r\n"), "{head}");
            assert!(
                head.contains(&format!("host: {}\r\n", url.authority().unwrap())),
                "{head}"
            );
            stream.write_all(ANSWER).await.unwrap();
        }
        stream
    };
    let asking = async {
        for _ in 0..3 {
            assert_eq!(
                whole(ask(&pool, &url, Reuse::Pooled).await.unwrap()).await,
                "ok"
            );
        }
    };
    timeout(PATIENCE, async { tokio::join!(serving, asking) })
        .await
        .expect("a second connection is waited for");

    assert_eq!(pool.idle.connections.lock().len(), 1);
}

#[tokio::test]
async fn a_request_that_never_reuses_takes_and_leaves_no_connection() {
    let (listener, url, pool) = provider().await;
    for (reuse, idle) in [(Reuse::Pooled, 1), (Reuse::Never, 1), (Reuse::Never, 1)] {
        // The provider's end of the idle connection stays open.
        std::mem::forget(called_once(&listener, &url, &pool, reuse).await);
        assert_eq!(pool.idle.connections.lock().len(), idle, "{reuse:?}");
    }
}

#[tokio::test]
async fn an_idle_connection_that_the_provider_closed_is_not_used() {
    let (listener, url, pool) = provider().await;
    for _ in 0..3 {
        drop(called_once(&listener, &url, &pool, Reuse::Pooled).await);
        // What the provider has sent is noticed by now, though no task has looked.
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn connections_that_were_free_for_too_long_are_hung_up() {
    let (listener, url, pool) = provider().await;
    let mut stream = called_once(&listener, &url, &pool, Reuse::Pooled).await;
    let began = Instant::now();

    tokio::select! {
        () = pool.sweep() => unreachable!("it goes on"),
        read = timeout(PATIENCE, stream.read_u8()) => assert!(read.expect("it is hung up").is_err()),
    }
    assert!(began.elapsed() > IDLE_TIMEOUT / 2, "{:?}", began.elapsed());
}

#[tokio::test]
async fn dropping_an_unread_response_closes_its_connection() {
    let (listener, url, pool) = provider().await;
    let serving = async {
        let (mut stream, _) = listener.accept().await.unwrap();
        read(&mut stream).await;
        stream
            .write_all(b"HTTP/1.1 200 OK\r\n\r\nhalf")
            .await
            .unwrap();
        stream.read_u8().await.unwrap_err();
    };
    let asking = async {
        let (_, mut body) = ask(&pool, &url, Reuse::Pooled).await.unwrap();
        assert_eq!(
            body.frame().await.unwrap().unwrap().into_data().unwrap(),
            "half"
        );
    };
    timeout(PATIENCE, async { tokio::join!(serving, asking) })
        .await
        .expect("it is hung up");

    assert!(pool.idle.connections.lock().is_empty());
}

#[tokio::test]
async fn the_rest_of_a_request_is_sent_while_its_response_is_unread() {
    const REST: usize = 16 << 20;
    let (listener, url, pool) = provider().await;
    let serving = async {
        let (mut stream, _) = listener.accept().await.unwrap();
        stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await.unwrap();
        let mut got = 0;
        while got < REST {
            got += stream
                .read_buf(&mut Vec::with_capacity(1 << 16))
                .await
                .unwrap();
        }
    };
    let asking = send(&pool, &url, vec![b'x'; REST], Reuse::Pooled);
    let (served, answer) = timeout(PATIENCE, async { tokio::join!(serving, asking) })
        .await
        .expect("it stalls");
    let () = served;

    assert_eq!(answer.unwrap().0.status, 200);
}

#[test]
fn the_host_header_omits_the_port_of_the_scheme() {
    for (url, expected) in [
        ("http://a.example/mcp", "a.example"),
        ("http://a.example:80/", "a.example"),
        ("https://a.example:443/", "a.example"),
        ("https://a.example:80/", "a.example:80"),
        ("http://user:word@a.example:8080/", "a.example:8080"),
        ("http://[::1]:9/", "[::1]:9"),
    ] {
        assert_eq!(
            host_header(&url.parse().unwrap()).unwrap(),
            expected,
            "{url}"
        );
    }
}

/// Makes 200 calls, eight at once, and returns how many were lost. From its `closing_from`th answer
/// on, the provider hangs up after each without announcing it.
async fn lost_calls(closing_from: usize) -> usize {
    const CALLERS: usize = 8;
    const CALLS_OF_EACH: usize = 25;

    let (listener, url, pool) = provider().await;
    let answers = Arc::new(AtomicUsize::new(0));
    let mut serving = JoinSet::new();
    serving.spawn(async move {
        let mut connections = JoinSet::new();
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let answers = answers.clone();
            connections.spawn(async move {
                let mut head = Vec::new();
                while let Ok(byte) = stream.read_u8().await {
                    head.push(byte);
                    if !head.ends_with(b"\r\n\r\nx") {
                        continue;
                    }
                    head.clear();
                    stream.write_all(ANSWER).await.unwrap();
                    if answers.fetch_add(1, Ordering::Relaxed) >= closing_from {
                        return;
                    }
                }
            });
        }
    });

    let mut calls = JoinSet::new();
    for _ in 0..CALLERS {
        let pool = pool.clone();
        let url = url.clone();
        calls.spawn(async move {
            let mut lost = 0;
            for _ in 0..CALLS_OF_EACH {
                match ask(&pool, &url, Reuse::Pooled).await {
                    Ok(answer) => assert_eq!(whole(answer).await, "ok"),
                    Err(_) => lost += 1,
                }
            }
            lost
        });
    }
    calls.join_all().await.into_iter().sum()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_provider_that_always_hangs_up_loses_no_call() {
    assert_eq!(lost_calls(0).await, 0);
}

/// Those that are on their way at that moment, and no more: each caller has one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_provider_that_begins_to_hang_up_loses_few_calls() {
    let lost = lost_calls(100).await;
    assert!(lost <= 8, "{lost} of 200 were lost");
}
