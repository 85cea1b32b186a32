//! One HTTP/1 connection to the provider, driven by the task that uses it: no task of its own
//! stands between a call and its response.
//!
//! A request that was begun on a connection is never sent again; one that was not is given back.

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::task::{Context, Waker};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::combinators::UnsyncBoxBody;
use hyper::body::Incoming;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_rustls::MaybeHttpsStream;
use hyper_util::rt::TokioIo;
use llamapool_http::BoxError;
use tokio::net::TcpStream;

/// The byte stream of a connection, over TLS or not.
pub(super) type Io = MaybeHttpsStream<TokioIo<TcpStream>>;

/// The body of a request to the provider.
pub(super) type RequestBody = UnsyncBoxBody<Bytes, BoxError>;

type ConnectionDriver = Box<http1::Connection<Io, RequestBody>>;

/// A connection to the provider.
pub(super) struct ProviderConnection {
    requests: SendRequest<RequestBody>,
    /// `None` once the connection has ended.
    driver: Option<ConnectionDriver>,
}

/// A request got no response.
pub(super) enum RequestError {
    /// The request was never begun, and is given back.
    NotSent(Box<Request<RequestBody>>, hyper::Error),
    /// The provider may have the request.
    Sent(hyper::Error),
}

impl ProviderConnection {
    /// Opens HTTP/1.1 on a byte stream.
    pub(super) async fn open(io: Io) -> Result<Self, hyper::Error> {
        let (requests, driver) = http1::handshake(io).await?;
        Ok(Self {
            requests,
            driver: Some(Box::new(driver)),
        })
    }

    /// Sends a request and returns the head of the response. Dropping the future abandons the
    /// request, and with it the connection.
    pub(super) async fn send(
        &mut self,
        request: Request<RequestBody>,
    ) -> Result<Response<Incoming>, RequestError> {
        let mut response = pin!(self.requests.try_send_request(request));
        let driver = &mut self.driver;
        let response = poll_fn(|cx| {
            drive(driver, cx);
            response.as_mut().poll(cx)
        });

        response
            .await
            .map_err(|mut error| match error.take_message() {
                Some(request) => RequestError::NotSent(Box::new(request), error.into_error()),
                None => RequestError::Sent(error.into_error()),
            })
    }

    /// Reads and writes what is pending.
    pub(super) fn drive(&mut self, cx: &mut Context<'_>) {
        drive(&mut self.driver, cx);
    }

    /// Returns whether the connection takes another request, as far as the bytes show that have
    /// arrived: they are read here.
    pub(super) fn is_free(&mut self) -> bool {
        // No task need be woken: the one that takes the connection drives it.
        self.drive(&mut Context::from_waker(Waker::noop()));
        self.driver.is_some() && self.requests.is_ready()
    }

    /// Drives the connection to its end. It takes no other request.
    pub(super) async fn finish(self) {
        let Self { requests, driver } = self;
        drop(requests);
        if let Some(driver) = driver {
            // The response's body reports the same failure.
            let _ = driver.await;
        }
    }
}

fn drive(driver: &mut Option<ConnectionDriver>, cx: &mut Context<'_>) {
    let is_over = driver
        .as_mut()
        .is_some_and(|driver| Pin::new(driver).poll(cx).is_ready());
    if is_over {
        // Dropping it ends the requests and bodies that wait for it.
        *driver = None;
    }
}
