//! The connection over a pipe in memory: requests as they are written, responses as they are read.

use std::future::poll_fn;
use std::time::Duration;

use http::{HeaderValue, StatusCode, header};
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use llamapool_head::Fields;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};

use super::*;

/// Room of the pipe, in bytes.
const ROOM: usize = 1 << 20;

type Streamed = http_body_util::combinators::UnsyncBoxBody<Bytes, BoxError>;
type Connection = ClientConnection<DuplexStream, Streamed>;

fn pair() -> (Connection, DuplexStream) {
    let (near, far) = tokio::io::duplex(ROOM);
    (ClientConnection::new(near), far)
}

fn fields(pairs: &[(&'static str, &'static str)]) -> Fields {
    let mut fields = Fields::new();
    for (name, value) in pairs {
        let name = header::HeaderName::from_static(name);
        fields.append(&name, &HeaderValue::from_static(value));
    }
    fields
}

fn begin(
    connection: &mut Connection,
    method: &Method,
    fields: &Fields,
    body: RequestBody<Streamed>,
) -> Result<(), ClientError> {
    let request = OutgoingRequest {
        method,
        target: "/mcp?a=b",
        fields,
        host: Some(b"a.example:81"),
    };
    connection.begin(request, body)
}

async fn head(connection: &mut Connection) -> Result<ResponseHead, ClientError> {
    poll_fn(|cx| connection.poll_head(cx)).await
}

/// Reads a body to its end, or to its error.
async fn body(connection: &mut Connection) -> (Vec<u8>, Option<ClientError>) {
    let mut all = Vec::new();
    while let Some(piece) = poll_fn(|cx| connection.poll_body(cx)).await {
        match piece {
            Ok(data) => all.extend_from_slice(&data),
            Err(error) => return (all, Some(error)),
        }
    }
    (all, None)
}

/// Sends a `GET` whose response has these bytes, in two pieces, and then ends.
async fn response(
    method: &Method,
    pieces: [&[u8]; 2],
) -> Result<(StatusCode, Vec<u8>, Option<ClientError>), ClientError> {
    let (mut connection, mut far) = pair();
    begin(&mut connection, method, &Fields::new(), RequestBody::Empty)?;
    let answering = async move {
        for piece in pieces {
            far.write_all(piece).await.unwrap();
            tokio::task::yield_now().await;
        }
    };
    let reading = async {
        let head = head(&mut connection).await?;
        let (data, error) = body(&mut connection).await;
        Ok((head.status, data, error))
    };
    tokio::join!(answering, reading).1
}

/// Returns the bytes of a request with this body.
async fn written(
    method: &Method,
    fields: &Fields,
    body: RequestBody<Streamed>,
) -> Result<String, ClientError> {
    let (mut connection, mut far) = pair();
    begin(&mut connection, method, fields, body)?;
    poll_fn(|cx| connection.poll_send(cx)).await?;
    assert!(connection.is_request_sent());
    drop(connection);

    let mut all = String::new();
    far.read_to_string(&mut all).await.unwrap();
    Ok(all)
}

fn stream(pieces: &[&'static str]) -> RequestBody<Streamed> {
    let pieces: Vec<Result<_, BoxError>> = pieces
        .iter()
        .map(|piece| Ok(Frame::data(Bytes::from_static(piece.as_bytes()))))
        .collect();
    RequestBody::Stream(StreamBody::new(futures_util::stream::iter(pieces)).boxed_unsync())
}

#[tokio::test]
async fn requests_are_written_as_their_heads_frame_them() {
    let start = "POST /mcp?a=b HTTP/1.1\r\nhost: a.example:81\r\n";
    let whole = || RequestBody::Whole(Bytes::from_static(b"abc"));
    let unannounced = || RequestBody::WholeUnannounced(Bytes::from_static(b"abc"));
    let long = [("content-length", "03")];
    for (pairs, body, rest) in [
        (&[][..], RequestBody::Empty, "\r\n"),
        (
            &[("x", "y")],
            whole(),
            "x: y\r\ncontent-length: 3\r\n\r\nabc",
        ),
        (&long, whole(), "content-length: 03\r\n\r\nabc"),
        (&long, unannounced(), "content-length: 03\r\n\r\nabc"),
        (
            &[("content-length", "3, 3"), ("transfer-encoding", "gzip")],
            whole(),
            "content-length: 3\r\n\r\nabc",
        ),
        (
            &[],
            unannounced(),
            "transfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
        ),
        (
            &[],
            stream(&["ab", "", "0123456789abcdef"]),
            "transfer-encoding: chunked\r\n\r\n2\r\nab\r\n10\r\n0123456789abcdef\r\n0\r\n\r\n",
        ),
        (&long, stream(&["ab", "c"]), "content-length: 03\r\n\r\nabc"),
        (
            &[("content-length", "0")],
            stream(&["ab"]),
            "content-length: 0\r\n\r\n",
        ),
    ] {
        let written = written(&Method::POST, &fields(pairs), body).await.unwrap();
        assert_eq!(written, format!("{start}{rest}"));
    }

    let own_host = fields(&[("host", "b")]);
    let written = written(&Method::GET, &own_host, unannounced()).await;
    assert_eq!(written.unwrap(), "GET /mcp?a=b HTTP/1.1\r\nhost: b\r\n\r\n");
}

#[tokio::test]
async fn a_body_of_another_length_than_its_head_is_not_sent() {
    let three = fields(&[("content-length", "3")]);
    for body in [
        RequestBody::Empty,
        RequestBody::Whole(Bytes::from_static(b"ab")),
        RequestBody::WholeUnannounced(Bytes::from_static(b"abcd")),
        stream(&["ab"]),
        stream(&["ab", "cd"]),
    ] {
        let written = written(&Method::POST, &three, body).await;
        assert!(
            matches!(written, Err(ClientError::BodyLength)),
            "{written:?}"
        );
    }
}

/// What is too long to be copied is sent from where it is, in the same order.
#[tokio::test]
async fn large_pieces_are_framed_like_small_ones() {
    let large: &'static str = "x".repeat(100_000).leak();

    let sent = written(&Method::POST, &Fields::new(), stream(&["ab", large, large])).await;

    let sent = sent.unwrap();
    let (_, chunks) = sent.split_once("\r\n\r\n").unwrap();
    assert_eq!(
        chunks,
        format!("2\r\nab\r\n186A0\r\n{large}\r\n186A0\r\n{large}\r\n0\r\n\r\n")
    );
}

#[tokio::test]
async fn a_response_is_the_same_wherever_it_is_cut() {
    for (bytes, expected) in [
        (&b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello"[..], &b"hello"[..]),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, Chunked\r\n\r\n2;x=y\r\nhe\r\n3 \r\nllo\r\n0\r\nA: b\r\n\r\n", b"hello"),
        (b"\r\nHTTP/1.1 200\nx:y\n\nhello", b"hello"),
        (b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 x\r\na: b\r\n\r\nHTTP/1.0 200 OK\r\n\r\nhello", b"hello"),
        (b"HTTP/1.1 200 OK\r\ntransfer-encoding: x\r\ncontent-length: 1\r\n\r\nhello", b"hello"),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 2, 2\r\nContent-Length: 2\r\n\r\nok", b"ok"),
    ] {
        for cut in 0..=bytes.len() {
            let (first, second) = bytes.split_at(cut);
            let read = response(&Method::GET, [first, second]).await.unwrap();
            assert_eq!(read.0, StatusCode::OK, "{cut}");
            assert_eq!(read.1, expected, "{cut}");
            assert!(read.2.is_none(), "{cut}: {:?}", read.2);
        }
    }
}

#[tokio::test]
async fn what_is_no_head_is_told_from_a_lost_connection() {
    for garbage in [
        &b"SSH-2.0-OpenSSH_9.9\r\n"[..],
        b"HTTP/1.1 two\r\n\r\n",
        b"HTTP/1.1 099 x\r\n\r\n",
        b"HTTP/2.0 200 OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nno colon\r\n\r\n",
        b"HTTP/1.1 200 OK\r\na: b\r\n folded\r\n\r\n",
        b"HTTP/1.1 200 OK\r\na : b\r\n\r\n",
        b"HTTP/1.1 200 OK\r\na: b\rc\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: -1\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: +1\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length:\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nab",
        b"HTTP/1.1 200 OK\r\ncontent-length: 1, 2\r\n\r\nab",
        b"HTTP/1.1 200 OK\r\ncontent-length: 18446744073709551615\r\n\r\nab",
        b"HTTP/1.0 200 OK\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
    ] {
        let read = response(&Method::GET, [garbage, b""]).await;
        let is_garbage = read.as_ref().is_err_and(ClientError::is_not_http);
        assert!(is_garbage, "{read:?} {}", String::from_utf8_lossy(garbage));
    }

    for lost in [
        &b""[..],
        b"HTTP/1.1 200 OK\r\ncontent",
        b"HTTP/1.1 100 Continue\r\n\r\n",
    ] {
        let read = response(&Method::GET, [lost, b""]).await;
        assert!(matches!(read, Err(ClientError::Closed)), "{read:?}");
    }
}

#[tokio::test]
async fn a_head_has_a_bound_in_bytes_and_in_fields() {
    let of_fields = |count: usize| format!("HTTP/1.1 200 OK\r\n{}\r\n", "x: y\r\n".repeat(count));
    let of_bytes = |count: usize| format!("HTTP/1.1 200 OK\r\nx: {}\r\n\r\n", "y".repeat(count));
    for (bytes, is_accepted) in [
        (of_fields(100), true),
        (of_fields(101), false),
        (of_bytes(300_000), true),
        (of_bytes(500_000), false),
    ] {
        let read = response(&Method::GET, [bytes.as_bytes(), b""]).await;
        assert_eq!(read.is_ok(), is_accepted, "{}", bytes.len());
        let too_large = |error| matches!(error, ClientError::Head(ResponseHeadError::TooLarge));
        assert_eq!(read.is_err_and(too_large), !is_accepted);
    }
}

#[tokio::test]
async fn a_body_not_as_announced_breaks_off_behind_its_last_byte() {
    let chunked =
        |body: &str| format!("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n{body}");
    for (bytes, arrived) in [
        (
            "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhel".to_owned(),
            "hel",
        ),
        (chunked("3\r\nhel"), "hel"),
        (chunked("3\r\nhel\r\n"), "hel"),
        (chunked("3\r\nhel\r\n0\r\n"), "hel"),
        (chunked("3\r\nhelx\n0\r\n\r\n"), "hel"),
        (chunked("3\r\nhel\r\nnot hex\r\n"), "hel"),
        (chunked("3\r\nhel\r\n1 1\r\nx\r\n0\r\n\r\n"), "hel"),
        (chunked("3\nhel\r\n0\r\n\r\n"), ""),
        (chunked("\r\nhel\r\n0\r\n\r\n"), ""),
        (chunked("11111111111111111\r\nhel"), ""),
        (chunked("3;a\nb\r\nhel\r\n0\r\n\r\n"), ""),
        (
            chunked(&format!("3;{}\r\nhel\r\n0\r\n\r\n", "x".repeat(16 * 1024))),
            "",
        ),
        (chunked("3\r\nhel\r\n0\r\nno colon\r\n\r\n"), "hel"),
        (chunked("3\r\nhel\r\n0\r\na: b\r\n folded\r\n\r\n"), "hel"),
        (
            chunked(&format!("3\r\nhel\r\n0\r\n{}\r\n", "a: b\r\n".repeat(101))),
            "hel",
        ),
        (
            chunked(&format!(
                "3\r\nhel\r\n0\r\na: {}\r\n\r\n",
                "b".repeat(16 * 1024)
            )),
            "hel",
        ),
    ] {
        let read = response(&Method::GET, [bytes.as_bytes(), b""])
            .await
            .unwrap();
        assert_eq!(String::from_utf8(read.1).unwrap(), arrived, "{bytes:.80}");
        assert!(matches!(read.2, Some(ClientError::Body(_))), "{bytes:.80}");
    }
}

#[tokio::test]
async fn a_connection_is_free_when_nothing_else_can_have_arrived() {
    let ok = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n";
    for (method, bytes, is_free) in [
        (Method::GET, format!("{ok}\r\nok"), true),
        (
            Method::GET,
            format!("{ok}Connection: Keep-Alive\r\n\r\nok"),
            true,
        ),
        (
            Method::GET,
            format!("{ok}Connection: x, Close\r\n\r\nok"),
            false,
        ),
        (Method::GET, format!("{ok}\r\nokHTTP/1.1 200 OK\r\n"), false),
        (
            Method::GET,
            format!("{ok}transfer-encoding: chunked\r\n\r\n0\r\n\r\n"),
            false,
        ),
        (Method::HEAD, format!("{ok}\r\n"), true),
        (Method::HEAD, format!("{ok}\r\nok"), false),
        (
            Method::GET,
            "HTTP/1.1 204 No Content\r\n\r\n".to_owned(),
            true,
        ),
        (
            Method::GET,
            "HTTP/1.1 304 x\r\ncontent-length: 7\r\n\r\n".to_owned(),
            true,
        ),
        (Method::GET, "HTTP/1.1 101 x\r\n\r\n".to_owned(), false),
        (Method::CONNECT, "HTTP/1.1 200 x\r\n\r\n".to_owned(), false),
        (
            Method::GET,
            "HTTP/1.1 200 x\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n".to_owned(),
            true,
        ),
        (
            Method::GET,
            "HTTP/1.0 200 x\r\nconnection: keep-alive\r\ncontent-length: 0\r\n\r\n".to_owned(),
            false,
        ),
    ] {
        let (mut connection, mut far) = pair();
        begin(&mut connection, &method, &Fields::new(), RequestBody::Empty).unwrap();
        far.write_all(bytes.as_bytes()).await.unwrap();
        head(&mut connection).await.unwrap();
        assert!(body(&mut connection).await.1.is_none());
        poll_fn(|cx| connection.poll_send(cx)).await.unwrap();

        assert_eq!(connection.is_free(), is_free, "{bytes}");
    }
}

#[tokio::test]
async fn a_free_connection_that_ends_is_not_free() {
    for said in [&b""[..], b"x"] {
        let (mut connection, mut far) = pair();
        assert!(connection.is_free());
        far.write_all(said).await.unwrap();
        drop(far);
        assert!(!connection.is_free());
    }
}

#[tokio::test]
async fn a_response_arrives_while_its_request_is_sent() {
    let (mut connection, mut far) = pair();
    let endless = futures_util::stream::repeat_with(|| {
        Ok::<_, BoxError>(Frame::data(Bytes::from_static(&[b'x'; 10_000])))
    });
    let body_of_request = RequestBody::Stream(StreamBody::new(endless).boxed_unsync());
    begin(
        &mut connection,
        &Method::POST,
        &Fields::new(),
        body_of_request,
    )
    .unwrap();
    far.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")
        .await
        .unwrap();

    let wait = tokio::time::timeout(Duration::from_secs(20), head(&mut connection));
    assert_eq!(wait.await.unwrap().unwrap().status, StatusCode::OK);
    assert_eq!(body(&mut connection).await.0, b"ok");
    assert!(!connection.is_request_sent() && !connection.is_free());
}

#[tokio::test]
async fn a_request_whose_body_breaks_off_has_no_response() {
    let (mut connection, _far) = pair();
    let pieces: Vec<Result<Frame<Bytes>, BoxError>> = vec![Err("broken".into())];
    let broken = StreamBody::new(futures_util::stream::iter(pieces)).boxed_unsync();
    begin(
        &mut connection,
        &Method::POST,
        &Fields::new(),
        RequestBody::Stream(broken),
    )
    .unwrap();

    let answer = head(&mut connection).await;

    assert!(
        matches!(answer, Err(ClientError::RequestBody(_))),
        "{answer:?}"
    );
    assert!(!connection.is_free());
}

#[tokio::test]
async fn what_has_arrived_of_a_body_is_taken_without_waiting() {
    let (mut connection, mut far) = pair();
    begin(
        &mut connection,
        &Method::GET,
        &Fields::new(),
        RequestBody::Empty,
    )
    .unwrap();
    far.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nab")
        .await
        .unwrap();
    head(&mut connection).await.unwrap();

    assert_eq!(connection.body_bytes_left(), Some(4));
    assert_eq!(connection.arrived_body().unwrap().unwrap(), "ab");
    assert!(connection.arrived_body().is_none() && !connection.is_response_read());

    far.write_all(b"cd").await.unwrap();

    assert_eq!(body(&mut connection).await.0, b"cd");
    assert!(connection.is_response_read() && connection.is_free());
}
