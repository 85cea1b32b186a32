//! A provider whose every answer is given by hand: the test is told of each request and answers when it likes.

use axum::extract::Request;
use axum::response::Response;
use tokio::sync::{mpsc, oneshot};

use super::{Provider, soon};

/// The provider.
pub struct Scripted {
    /// Its MCP endpoint.
    pub url: String,
    asked: mpsc::Receiver<Asked>,
    _provider: Provider,
}

/// A request that waits for its answer.
pub struct Asked {
    pub request: Request,
    answer: oneshot::Sender<Response>,
}

impl Scripted {
    pub async fn start() -> Self {
        let (sender, asked) = mpsc::channel(1024);
        let provider = Provider::answering(move |request| {
            let sender = sender.clone();
            async move {
                // Over a body that is unread nobody would notice that the caller has left.
                let (head, body) = Request::into_parts(request);
                let body = axum::body::to_bytes(body, usize::MAX)
                    .await
                    .unwrap_or_default();
                let request = Request::from_parts(head, body.into());
                let (answer, given) = oneshot::channel();
                sender
                    .send(Asked { request, answer })
                    .await
                    .expect("the test listens");
                match given.await {
                    Ok(answer) => answer,
                    Err(_) => std::future::pending().await,
                }
            }
        })
        .await;
        Self {
            url: provider.url.clone(),
            asked,
            _provider: provider,
        }
    }

    /// The next request.
    pub async fn asked(&mut self) -> Asked {
        soon("the provider is asked", self.asked.recv())
            .await
            .expect("the provider lives")
    }

    /// As many requests.
    pub async fn asked_times(&mut self, times: usize) -> Vec<Asked> {
        let mut all = Vec::new();
        while all.len() < times {
            all.push(self.asked().await);
        }
        all
    }
}

impl Asked {
    /// Answers.
    pub fn answer(self, answer: Response) {
        // It fails if nobody waits for the answer any more.
        let _ = self.answer.send(answer);
    }

    /// Waits until nobody waits for the answer any more.
    pub async fn abandoned(&mut self) {
        soon("the request is abandoned", self.answer.closed()).await;
    }
}
