//! Providers that do what a test says: over HTTP as a handler, or byte by byte.

use std::net::Ipv4Addr;

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::http::header;
use axum::response::Response;
use bytes::Bytes;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::raw::{RawHead, RawHttp};
use super::soon;

/// A provider made of a handler. Dropping it ends it.
pub struct Provider {
    /// The provider's MCP endpoint.
    pub url: String,
    _server: JoinSet<()>,
}

impl Provider {
    /// Answers every request, whatever its method and path, with what a handler says.
    pub async fn answering<H, A>(handler: H) -> Self
    where
        H: Fn(Request) -> A + Clone + Send + Sync + 'static,
        A: Future<Output = Response> + Send + 'static,
    {
        let service = axum::routing::any(move |request: Request| handler(request));
        Self::serving(Router::new().fallback(service)).await
    }

    /// Serves a router.
    pub async fn serving(router: Router) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
            .await
            .expect("a free port");
        let url = format!("http://{}/mcp", listener.local_addr().expect("an address"));
        let mut server = JoinSet::new();
        server.spawn(async move {
            axum::serve(listener, router)
                .await
                .expect("the provider serves")
        });
        Self {
            url,
            _server: server,
        }
    }

    /// Answers every request with the same JSON.
    pub async fn echoing() -> Self {
        Self::answering(async |request| {
            let body = axum::body::to_bytes(request.into_body(), usize::MAX)
                .await
                .unwrap_or_default();
            let mut answer = Response::new(Body::from(body));
            answer.headers_mut().insert(
                header::CONTENT_TYPE,
                "application/json".parse().expect("a value"),
            );
            answer
        })
        .await
    }
}

/// An answer with a JSON body.
pub fn json_answer(body: &str) -> Response {
    Response::builder()
        .header(header::CONTENT_TYPE, "application/json")
        .body(Body::from(body.to_owned()))
        .expect("an answer")
}

/// An event stream, and the end into which a test puts its pieces. Dropping that end ends the stream well; an `Err`
/// breaks it off.
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

/// A provider made of connections.
pub struct RawProvider {
    /// The provider's MCP endpoint.
    pub url: String,
    listener: TcpListener,
}

impl RawProvider {
    pub async fn bind() -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
            .await
            .expect("a free port");
        Self {
            url: format!("http://{}/mcp", listener.local_addr().expect("an address")),
            listener,
        }
    }

    /// A provider where another one was, which is gone.
    pub async fn bind_again(url: &str) -> Self {
        let address = url
            .strip_prefix("http://")
            .and_then(|rest| rest.strip_suffix("/mcp"))
            .expect("a provider's URL");
        let listener = TcpListener::bind(address)
            .await
            .expect("the port is free again");
        Self {
            url: url.to_owned(),
            listener,
        }
    }

    /// The next connection. The relay's probes connect too, and close without a byte.
    pub async fn accept(&self) -> TcpStream {
        self.listener.accept().await.expect("a connection").0
    }

    /// The same, taken apart, with the rest of the connection.
    pub async fn call(&self) -> (RawHttp, RawHead) {
        let call = async {
            loop {
                let mut connection = RawHttp::on(self.accept().await);
                if let Some(head) = connection.try_head().await {
                    return (connection, head);
                }
            }
        };
        // As a whole: probes come as long as the relay lives.
        soon("the provider is called", call).await
    }

    /// Reads the next call whole, answers it with these bytes and hangs up; what the call was.
    pub async fn answer(&self, answer: impl AsRef<[u8]>) -> (RawHead, Vec<u8>) {
        let (mut connection, head) = self.call().await;
        let body = connection.body(&head).await;
        connection.send(answer).await;
        (head, body)
    }

    /// The next connection on which something is sent, with the head of that request; probes are passed over.
    pub async fn request(&self) -> (TcpStream, String) {
        loop {
            let mut stream = self.accept().await;
            let head = read_head(&mut stream).await;
            if !head.is_empty() {
                return (stream, head);
            }
        }
    }
}

/// Reads up to the end of a request's head; what follows stays unread.
pub async fn read_head(stream: &mut TcpStream) -> String {
    use tokio::io::AsyncReadExt;
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        match stream.read_u8().await {
            Ok(byte) => head.push(byte),
            Err(_) => break,
        }
    }
    String::from_utf8_lossy(&head).into_owned()
}
