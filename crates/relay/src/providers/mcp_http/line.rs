//! One connection to the provider, moved along by whoever uses it: no task of its own stands between a call and its answer.
//!
//! The one rule: a request that was begun on a connection is never sent again; one that was not is given back.

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::task::{Context, Waker};

use http::{Request, Response};
use hyper::body::Incoming;
use hyper::client::conn::http1::{Connection, SendRequest, handshake};

use super::{Io, RequestBody};

/// A connection.
pub(super) struct Line {
    requests: SendRequest<RequestBody>,
    /// None when it has ended.
    driver: Option<Box<Connection<Io, RequestBody>>>,
}

/// Why there is no answer.
pub(super) enum NotAnswered {
    /// The request was never begun: here it is.
    NotBegun(Box<Request<RequestBody>>, hyper::Error),
    /// The provider may have it.
    Begun(hyper::Error),
}

impl Line {
    /// HTTP/1.1 on what is connected.
    pub(super) async fn open(io: Io) -> Result<Self, hyper::Error> {
        let (requests, driver) = handshake(io).await?;
        Ok(Self {
            requests,
            driver: Some(Box::new(driver)),
        })
    }

    /// Sends a request; the answer's head. Dropping the future gives the request up with the connection.
    pub(super) async fn ask(
        &mut self,
        request: Request<RequestBody>,
    ) -> Result<Response<Incoming>, NotAnswered> {
        let mut answer = pin!(self.requests.try_send_request(request));
        let driver = &mut self.driver;
        let answer = poll_fn(|cx| {
            drive(driver, cx);
            answer.as_mut().poll(cx)
        });
        answer
            .await
            .map_err(|mut error| match error.take_message() {
                Some(request) => NotAnswered::NotBegun(Box::new(request), error.into_error()),
                None => NotAnswered::Begun(error.into_error()),
            })
    }

    /// Moves along what is under way.
    pub(super) fn drive(&mut self, cx: &mut Context<'_>) {
        drive(&mut self.driver, cx);
    }

    /// Whether it takes another request, as far as that can be known: what has arrived is looked at.
    pub(super) fn is_free(&mut self) -> bool {
        // Nobody need be woken: whoever takes the connection drives it.
        self.drive(&mut Context::from_waker(Waker::noop()));
        self.driver.is_some() && self.requests.is_ready()
    }

    /// Moves it along to its end; it takes no other request.
    pub(super) async fn finish(self) {
        let Self { requests, driver } = self;
        drop(requests);
        if let Some(driver) = driver {
            // What it fails of, the answer's body says too.
            let _ = driver.await;
        }
    }
}

fn drive(driver: &mut Option<Box<Connection<Io, RequestBody>>>, cx: &mut Context<'_>) {
    let ended = driver
        .as_mut()
        .is_some_and(|driver| Pin::new(driver).poll(cx).is_ready());
    if ended {
        // What waits for it hears of its end by that.
        *driver = None;
    }
}
