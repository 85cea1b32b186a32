//! A provider whose requests wait until the test answers each.

use axum::extract::Request;
use axum::response::Response;
use tokio::sync::{mpsc, oneshot};

use super::{Provider, soon};

/// The number of requests that may wait for the test to take them: more than any test sends.
const MAX_WAITING: usize = 1024;

/// A provider that hands every request to the test.
pub struct ScriptedProvider {
    /// Its MCP endpoint.
    pub url: String,
    requests: mpsc::Receiver<ScriptedRequest>,
    _provider: Provider,
}

/// A request that waits for its answer.
pub struct ScriptedRequest {
    /// The request with its whole body.
    pub request: Request,
    answer: oneshot::Sender<Response>,
}

impl ScriptedProvider {
    /// Starts the provider.
    pub async fn start() -> Self {
        let (sender, requests) = mpsc::channel(MAX_WAITING);
        let provider = Provider::answering(move |request| {
            let sender = sender.clone();
            async move { hand_over(request, sender).await }
        })
        .await;
        Self {
            url: provider.url.clone(),
            requests,
            _provider: provider,
        }
    }

    /// Waits for the next request.
    pub async fn next_request(&mut self) -> ScriptedRequest {
        let request = soon("the provider gets a request", self.requests.recv()).await;
        request.expect("the provider lives")
    }

    /// Waits for several requests.
    pub async fn next_requests(&mut self, number: usize) -> Vec<ScriptedRequest> {
        let mut requests = Vec::new();
        while requests.len() < number {
            requests.push(self.next_request().await);
        }
        requests
    }
}

/// Sends a request to the test and waits for the answer. A request that the test drops is never
/// answered.
async fn hand_over(request: Request, sender: mpsc::Sender<ScriptedRequest>) -> Response {
    // With an unread body in the connection, hyper would not notice that the caller has left.
    let (head, body) = request.into_parts();
    let body = axum::body::to_bytes(body, usize::MAX).await;
    let request = Request::from_parts(head, body.unwrap_or_default().into());

    let (answer, answered) = oneshot::channel();
    let sent = sender.send(ScriptedRequest { request, answer }).await;
    sent.expect("the test has the provider");

    match answered.await {
        Ok(answer) => answer,
        Err(_) => std::future::pending().await,
    }
}

impl ScriptedRequest {
    /// Answers the request, if it still waits.
    pub fn answer(self, answer: Response) {
        let _ = self.answer.send(answer);
    }

    /// Waits until the request is cancelled.
    pub async fn cancelled(&mut self) {
        soon("the request is cancelled", self.answer.closed()).await;
    }
}
