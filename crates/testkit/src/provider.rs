//! Providers that answer with a handler.

use std::future::Future;
use std::net::Ipv4Addr;

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::http::header;
use axum::response::Response;
use bytes::Bytes;
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

/// A provider made of a handler. Dropping it ends it.
pub struct Provider {
    /// Its MCP endpoint.
    pub url: String,
    server: JoinSet<()>,
}

impl Provider {
    /// Starts a provider that answers every request, of any method and path, with a handler.
    pub async fn answering<H, A>(handler: H) -> Self
    where
        H: Fn(Request) -> A + Clone + Send + Sync + 'static,
        A: Future<Output = Response> + Send + 'static,
    {
        let service = axum::routing::any(move |request: Request| handler(request));
        Self::serving(Router::new().fallback(service)).await
    }

    /// Starts a provider that serves a router.
    pub async fn serving(router: Router) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await;
        let listener = listener.expect("a free port");
        let url = format!("http://{}/mcp", listener.local_addr().expect("an address"));

        let mut server = JoinSet::new();
        server.spawn(async move {
            let served = axum::serve(listener, router).await;
            served.expect("the provider serves");
        });
        Self { url, server }
    }

    /// Ends the provider and waits until its port is closed.
    pub async fn stop(mut self) {
        self.server.shutdown().await;
    }

    /// Starts a provider that answers every request with its own body, as JSON.
    pub async fn echoing() -> Self {
        Self::answering(async |request: Request| {
            let body = axum::body::to_bytes(request.into_body(), usize::MAX).await;
            Response::builder()
                .header(header::CONTENT_TYPE, "application/json")
                .body(Body::from(body.unwrap_or_default()))
                .expect("an answer")
        })
        .await
    }
}

/// Builds an answer with a JSON body.
pub fn json_answer(body: &str) -> Response {
    Response::builder()
        .header(header::CONTENT_TYPE, "application/json")
        .body(Body::from(body.to_owned()))
        .expect("an answer")
}

/// Builds an event stream. Returns it with the sender of its pieces: dropping the sender ends the
/// stream cleanly, an `Err` aborts it.
pub fn event_stream() -> (mpsc::Sender<Result<Bytes, std::io::Error>>, Response) {
    let (sender, receiver) = mpsc::channel(1);
    let pieces = futures_util::stream::unfold(receiver, |mut receiver| async move {
        receiver.recv().await.map(|piece| (piece, receiver))
    });
    let answer = Response::builder()
        .header(header::CONTENT_TYPE, "text/event-stream")
        .body(Body::from_stream(pieces));
    (sender, answer.expect("an answer"))
}
