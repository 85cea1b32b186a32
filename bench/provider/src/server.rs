//! An HTTP server on one thread, for programs that do as little as possible.

use std::convert::Infallible;
use std::future::Future;
use std::net::{IpAddr, SocketAddr};

use bytes::Bytes;
use http_body_util::combinators::UnsyncBoxBody;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use tokio::net::TcpSocket;
use tokio::task::spawn_local;

/// The body of any answer.
pub type AnyBody = UnsyncBoxBody<Bytes, Infallible>;

/// Serves on the port and IPv4 address of the command line, and never returns. Panics with `usage` without them.
pub fn serve<F>(usage: &str, answer: fn(Request<Incoming>) -> F)
where
    F: Future<Output = Result<Response<AnyBody>, Infallible>> + 'static,
{
    let mut words = std::env::args().skip(1);
    let port = words.next().and_then(|port| port.parse().ok());
    let port = port.expect(usage);
    let address = words.next().unwrap_or_else(|| "127.0.0.1".to_owned());
    let address = address.parse().expect("an IPv4 address");

    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    tokio::task::LocalSet::new().block_on(&runtime, accept(address, port, answer));
}

async fn accept<F>(address: IpAddr, port: u16, answer: fn(Request<Incoming>) -> F)
where
    F: Future<Output = Result<Response<AnyBody>, Infallible>> + 'static,
{
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.set_reuseaddr(true).expect("a socket option");
    socket
        .bind(SocketAddr::new(address, port))
        .expect("the port is free");

    // A backlog for the largest burst: a connection that does not fit is repeated a second later,
    // and that second would be measured.
    let listener = socket.listen(4096).expect("a socket that listens");

    loop {
        let Ok((stream, _)) = listener.accept().await else {
            continue;
        };
        let _ = stream.set_nodelay(true);
        spawn_local(async move {
            let _ = http1::Builder::new()
                .serve_connection(TokioIo::new(stream), service_fn(answer))
                .await;
        });
    }
}
