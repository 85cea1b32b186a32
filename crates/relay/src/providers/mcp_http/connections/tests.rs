//! Connections to providers that answer as they should, hang up, and do neither.

use http_body_util::{BodyExt, Full};
use hyper_rustls::HttpsConnectorBuilder;
use hyper_util::client::legacy::connect::HttpConnector;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

use super::*;

/// How long anything here may take before it is called hanging.
const PATIENCE: Duration = Duration::from_secs(20);
const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";

async fn provider() -> (TcpListener, Uri, Connections) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/mcp?a=b", listener.local_addr().unwrap())
        .parse()
        .unwrap();
    let tls = crate::tls::tls_config(None).unwrap();
    let connector = HttpsConnectorBuilder::new()
        .with_tls_config(tls)
        .https_or_http()
        .enable_http1();
    let connections = Connections::new(connector.wrap_connector(HttpConnector::new()), &url);
    (listener, url, connections)
}

fn request(url: &Uri, body: Vec<u8>) -> Request<RequestBody> {
    Request::post(url.clone())
        .body(
            Full::from(body)
                .map_err(|never| match never {})
                .boxed_unsync(),
        )
        .unwrap()
}

async fn ask(
    connections: &Connections,
    url: &Uri,
    on: On,
) -> Result<Response<ProviderBody>, SendError> {
    timeout(
        PATIENCE,
        connections.send(request(url, b"x".to_vec()), on, || true),
    )
    .await
    .expect("it hangs")
}

async fn whole(answer: Response<ProviderBody>) -> Bytes {
    timeout(PATIENCE, answer.into_body().collect())
        .await
        .expect("it hangs")
        .unwrap()
        .to_bytes()
}

/// Reads one request, whose body is one byte; its head.
async fn read(stream: &mut TcpStream) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\nx") {
        head.push(stream.read_u8().await.unwrap());
    }
    String::from_utf8(head).unwrap()
}

/// One call on a connection that is new; the provider's end of it.
async fn called_once(
    listener: &TcpListener,
    url: &Uri,
    connections: &Connections,
    on: On,
) -> TcpStream {
    let serving = async {
        let (mut stream, _) = listener.accept().await.unwrap();
        read(&mut stream).await;
        stream.write_all(ANSWER).await.unwrap();
        stream
    };
    let asking = async { whole(ask(connections, url, on).await.unwrap()).await };
    let both = async { tokio::join!(serving, asking) };
    let (stream, answer) = timeout(PATIENCE, both)
        .await
        .expect("no connection is made");
    assert_eq!(answer, "ok");
    stream
}

#[tokio::test]
async fn a_request_says_where_it_goes_and_a_free_connection_is_used_again() {
    let (listener, url, connections) = provider().await;
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
                whole(ask(&connections, &url, On::Kept).await.unwrap()).await,
                "ok"
            );
        }
    };
    timeout(PATIENCE, async { tokio::join!(serving, asking) })
        .await
        .expect("a second connection is waited for");
    assert_eq!(connections.kept.lines().len(), 1);
}

#[tokio::test]
async fn a_request_on_a_connection_of_its_own_neither_takes_nor_leaves_one() {
    let (listener, url, connections) = provider().await;
    for (on, kept) in [(On::Kept, 1), (On::ItsOwn, 1), (On::ItsOwn, 1)] {
        // The provider's end of the kept one stays open.
        std::mem::forget(called_once(&listener, &url, &connections, on).await);
        assert_eq!(connections.kept.lines().len(), kept, "{on:?}");
    }
}

#[tokio::test]
async fn a_kept_connection_that_the_provider_has_closed_is_not_used() {
    let (listener, url, connections) = provider().await;
    for _ in 0..3 {
        let stream = called_once(&listener, &url, &connections, On::Kept).await;
        assert_eq!(connections.kept.lines().len(), 1);
        drop(stream);
        // What the provider has sent is noticed by now, though nobody has looked.
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn connections_that_were_free_for_too_long_are_hung_up() {
    let (listener, url, connections) = provider().await;
    let mut stream = called_once(&listener, &url, &connections, On::Kept).await;
    let began = Instant::now();
    tokio::select! {
        () = connections.tidy() => unreachable!("it goes on"),
        read = timeout(PATIENCE, stream.read_u8()) => assert!(read.expect("it is hung up").is_err()),
    }
    assert!(
        began.elapsed() > IDLE_CONNECTION / 2,
        "{:?}",
        began.elapsed()
    );
}

#[tokio::test]
async fn an_answer_that_nobody_wants_any_more_hangs_up() {
    let (listener, url, connections) = provider().await;
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
        let mut answer = ask(&connections, &url, On::Kept).await.unwrap();
        assert_eq!(
            answer.frame().await.unwrap().unwrap().into_data().unwrap(),
            "half"
        );
    };
    timeout(PATIENCE, async { tokio::join!(serving, asking) })
        .await
        .expect("it is hung up");
    assert!(connections.kept.lines().is_empty());
}

#[tokio::test]
async fn the_rest_of_a_request_gets_on_while_nobody_reads_its_answer() {
    const REST: usize = 16 << 20;
    let (listener, url, connections) = provider().await;
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
    let asking = connections.send(request(&url, vec![b'x'; REST]), On::Kept, || false);
    let (served, answer) = timeout(PATIENCE, async { tokio::join!(serving, asking) })
        .await
        .expect("it stalls");
    let () = served;
    assert_eq!(answer.unwrap().status(), 200);
}

#[test]
fn a_host_has_no_port_that_is_the_schemes_own() {
    for (url, expected) in [
        ("http://a.example/mcp", "a.example"),
        ("http://a.example:80/", "a.example"),
        ("https://a.example:443/", "a.example"),
        ("https://a.example:80/", "a.example:80"),
        ("http://user:word@a.example:8080/", "a.example:8080"),
        ("http://[::1]:9/", "[::1]:9"),
    ] {
        assert_eq!(host(&url.parse().unwrap()).unwrap(), expected, "{url}");
    }
}
