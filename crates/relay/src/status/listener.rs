//! The listeners of the status server and of the metrics: few places, which give way when they are
//! idle, so that no connection to them takes what calls need.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::ConnectInfo;
use axum::http::{Request, Response, StatusCode, Uri};
use llamapool_http::listen::{Handler, ListenLimits, Listener, Overload, ReceivedBody, Versions};
use tokio_util::sync::CancellationToken;
use tower_service::Service;

use super::local_only::{refusal, without_browsers};

/// The bounds of the connections. A person, a probe and a scraper each need one or two, for
/// milliseconds, and idle ones give way, so no operator needs more. A connection that is refused
/// finds the paths below answered all the same.
const LIMITS: ListenLimits = ListenLimits {
    max_connections: 64,
    header_timeout: Duration::from_secs(10),
    idle_timeout: Duration::from_secs(60),
    send_timeout: Duration::from_secs(10),
    max_head_bytes: 16 * 1024,
    versions: Versions::Http1,
};
/// The paths that are answered also where all places are taken.
const ESSENTIAL_PATHS: [&str; 3] = ["/healthz", "/readyz", "/metrics"];

/// The routes of a listener.
#[derive(Clone)]
struct Routes(Router);

/// Takes an address.
pub(crate) fn listen(address: SocketAddr) -> io::Result<Listener> {
    Listener::bind(address, LIMITS)
}

/// Serves routes to everything but browsers, until the relay ends.
pub(super) async fn serve(listener: Listener, router: Router) {
    let is_loopback = listener
        .address()
        .is_ok_and(|address| address.ip().is_loopback());
    let routes = Routes(without_browsers(router, is_loopback));
    listener.serve(routes, CancellationToken::new()).await;
}

impl Handler for Routes {
    type Body = Body;
    type Connection = ();

    async fn answer(&self, peer: SocketAddr, request: Request<ReceivedBody>) -> Response<Body> {
        let mut request = request.map(Body::new);
        request.extensions_mut().insert(ConnectInfo(peer));
        let answered = self.0.clone().call(request).await;
        answered.unwrap_or_else(|never| match never {})
    }

    fn is_essential(&self, uri: &Uri) -> bool {
        ESSENTIAL_PATHS.contains(&uri.path())
    }

    fn refuse(&self, _: &Request<ReceivedBody>, overload: Overload) -> Response<Body> {
        let message = match overload {
            Overload::All => "all connections of the status server are in use; try again",
            Overload::Network => {
                "this address uses its share of the status server's connections; close some, or try again"
            }
        };
        refusal(StatusCode::SERVICE_UNAVAILABLE, message)
    }
}
