//! One request over TLS, and its answer within bounds.

use std::sync::Arc;

use axum::http::{HeaderMap, HeaderValue, Request, Response, StatusCode, header};
use bytes::Bytes;
use http_body_util::{BodyExt, Empty, LengthLimitError, Limited};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use rustls::crypto::ring::default_provider;
use rustls::{ClientConfig, RootCertStore};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::{AnswerError, FetchError, FetchTarget, Fetched, Freshness, MAX_DOCUMENT_BYTES};

/// The largest head of an answer, in bytes, and its most headers.
const MAX_HEAD_BYTES: usize = 16 * 1024;
const MAX_HEADERS: usize = 64;
/// The longest word of an answer that is repeated in an error, in characters.
const MAX_WORD_CHARS: usize = 60;
const AGENT: &str = concat!("llamapool/", env!("CARGO_PKG_VERSION"));

/// Returns how connections speak TLS.
pub(super) fn tls(roots: RootCertStore) -> Result<TlsConnector, rustls::Error> {
    let config = ClientConfig::builder_with_provider(Arc::new(default_provider()))
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(TlsConnector::from(Arc::new(config)))
}

/// Sends the one request of a connection, and takes its answer.
pub(super) async fn get(
    stream: TcpStream,
    target: &FetchTarget,
    tls: &TlsConnector,
) -> Result<Fetched, FetchError> {
    let stream = tls.connect(target.server_name(), stream).await;
    let stream = stream.map_err(|error| FetchError::Tls(target.host().to_owned(), error))?;

    let mut builder = http1::Builder::new();
    builder
        .max_buf_size(MAX_HEAD_BYTES)
        .max_headers(MAX_HEADERS);
    let broken = |_| AnswerError::Broken;
    let (mut sender, connection) = builder
        .handshake(TokioIo::new(stream))
        .await
        .map_err(broken)?;
    let exchange = async {
        let answer = sender.send_request(request(target)).await;
        taken(answer.map_err(broken)?).await
    };
    // The connection moves only while it is polled, so it needs no task of its own.
    let fetched = tokio::select! {
        biased;
        fetched = exchange => fetched,
        _ = async { connection.await.ok(); std::future::pending::<()>().await } => {
            Err(AnswerError::Broken)
        }
    };
    Ok(fetched?)
}

fn request(target: &FetchTarget) -> Request<Empty<Bytes>> {
    let mut request = Request::new(Empty::new());
    *request.uri_mut() = target.path().clone().into();
    let headers = request.headers_mut();
    let host = HeaderValue::from_str(target.host());
    // A name of a host is one of letters.
    headers.extend(host.ok().map(|host| (header::HOST, host)));
    for (name, value) in [
        (header::ACCEPT, "application/json"),
        (header::ACCEPT_ENCODING, "identity"),
        (header::CONNECTION, "close"),
        (header::USER_AGENT, AGENT),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    request
}

async fn taken(answer: Response<Incoming>) -> Result<Fetched, AnswerError> {
    let (head, body) = answer.into_parts();
    if head.status.is_redirection() {
        return Err(AnswerError::Redirect(head.status));
    }
    if head.status != StatusCode::OK {
        return Err(AnswerError::Status(head.status));
    }
    check_coding(&head.headers)?;
    check_media_type(&head.headers)?;

    let body = Limited::new(body, MAX_DOCUMENT_BYTES).collect().await;
    let body = body.map_err(|error| {
        if error.is::<LengthLimitError>() {
            AnswerError::TooLarge
        } else {
            AnswerError::Broken
        }
    })?;
    Ok(Fetched {
        body: body.to_bytes().to_vec(),
        freshness: Freshness::of(&head.headers),
    })
}

/// Checks that nothing has to be unpacked.
fn check_coding(headers: &HeaderMap) -> Result<(), AnswerError> {
    let codings = headers.get_all(header::CONTENT_ENCODING).into_iter();
    let mut other = codings.filter(|coding| !coding.as_bytes().eq_ignore_ascii_case(b"identity"));
    other
        .next()
        .map_or(Ok(()), |coding| Err(AnswerError::Coding(word(coding))))
}

/// Checks that the answer is JSON, by its own word: an uploaded text is no document
/// of its host.
fn check_media_type(headers: &HeaderMap) -> Result<(), AnswerError> {
    let mut values = headers.get_all(header::CONTENT_TYPE).into_iter();
    let value = values.next().filter(|_| values.next().is_none());
    let text = value.and_then(|value| value.to_str().ok());
    let text = text.unwrap_or_default();
    let essence = text.split(';').next().unwrap_or_default();
    let essence = essence.trim().to_ascii_lowercase();
    let subtype = essence.strip_prefix("application/");
    let is_json = |subtype: &str| subtype == "json" || subtype.ends_with("+json");
    if subtype.is_some_and(is_json) {
        return Ok(());
    }
    Err(AnswerError::MediaType(
        text.chars().take(MAX_WORD_CHARS).collect(),
    ))
}

fn word(value: &HeaderValue) -> String {
    let text = String::from_utf8_lossy(value.as_bytes());
    text.chars().take(MAX_WORD_CHARS).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_json_by_its_own_word_is_taken() {
        let of = |values: &[&'static str]| {
            let mut headers = HeaderMap::new();
            for value in values {
                let value = HeaderValue::from_static(value);
                headers.append(header::CONTENT_TYPE, value);
            }
            check_media_type(&headers).is_ok()
        };

        for right in [
            "application/json",
            "Application/JSON; charset=utf-8",
            "application/client-id+json",
        ] {
            assert!(of(&[right]), "{right}");
        }
        for wrong in ["", "text/html", "text/plain", "text/json", "image/svg+xml"] {
            assert!(!of(&[wrong]), "{wrong}");
        }
        assert!(!of(&[]));
        assert!(!of(&["application/json", "application/json"]));
    }
}
