//! The threads that connections are served on.
//!
//! A connection is given to a thread when it is accepted, and the tunnel that it may become stays there. Any other
//! connection moves once, to the thread of the tunnel that its first call went through: from then on nothing of
//! its calls is done by two threads. No thread takes over a task that another one has begun.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::runtime::{Handle, Id};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::Handler;
use super::connection::Connection;
use super::transport::Transport;

/// The runtimes that the connections of a listener are spread over, one for each thread. By default the runtime
/// that accepts them serves them all.
///
/// Clones are the same threads, which take connections in turns, whichever listener accepts them.
#[derive(Debug, Clone, Default)]
pub struct ConnectionThreads(Arc<Threads>);

#[derive(Debug, Default)]
struct Threads {
    runtimes: Vec<Handle>,
    /// The number of connections that were given to a thread.
    given: AtomicUsize,
}

/// How a connection is served.
pub(super) struct Service<T, H> {
    pub(super) transport: T,
    pub(super) handler: H,
    pub(super) farewell: CancellationToken,
    pub(super) threads: ConnectionThreads,
    /// Takes connections to other threads: the owner of their tasks is the listener.
    pub(super) moves: mpsc::Sender<Move>,
}

/// A connection on its way to another thread.
pub(super) struct Move {
    pub(super) runtime: Handle,
    pub(super) task: Pin<Box<dyn Future<Output = ()> + Send>>,
}

impl Move {
    /// Goes on with the connection there.
    pub(super) fn spawn(self, tasks: &mut JoinSet<()>) {
        tasks.spawn_on(self.task, &self.runtime);
    }
}

impl ConnectionThreads {
    /// Returns the threads of these runtimes, each of which is driven by one thread of its own for as long as
    /// anything is served.
    pub fn new(runtimes: impl IntoIterator<Item = Handle>) -> Self {
        Self(Arc::new(Threads {
            runtimes: runtimes.into_iter().collect(),
            given: AtomicUsize::new(0),
        }))
    }

    /// Serves a connection, which was accepted on this thread, on the one whose turn it is. The task is of
    /// `tasks` on every thread.
    pub(super) fn serve<T: Transport, H: Handler>(
        &self,
        mut connection: Connection,
        service: Service<T, H>,
        tasks: &mut JoinSet<()>,
    ) {
        let Some(runtime) = self.next().and_then(|runtime| self.other(runtime.id())) else {
            tasks.spawn(connection.serve(service));
            return;
        };
        let served = async move {
            if connection.socket.move_here() {
                connection.serve(service).await;
            }
        };
        tasks.spawn_on(served, &runtime);
    }

    /// Returns the runtime of this id, unless it is the one that asks, or none of these.
    pub(super) fn other(&self, id: Id) -> Option<Handle> {
        let runtimes = &self.0.runtimes;
        if runtimes.is_empty() || id == Handle::current().id() {
            return None;
        }
        runtimes.iter().find(|runtime| runtime.id() == id).cloned()
    }

    fn next(&self) -> Option<&Handle> {
        let threads = &*self.0;
        let turn = threads.given.fetch_add(1, Ordering::Relaxed);
        let turn = turn.checked_rem(threads.runtimes.len())?;
        threads.runtimes.get(turn)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::net::SocketAddr;
    use std::time::Duration;

    use bytes::Bytes;
    use http::{Request, Response, Uri};
    use http_body_util::Full;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpStream;
    use tokio::runtime::{Builder, Runtime};
    use tokio::sync::watch;
    use tokio_util::sync::CancellationToken;

    use super::*;
    use crate::listen::{ListenLimits, Listener, Overload, ReceivedBody, Versions};

    /// Answers with the name of the thread that it runs on, after a wait by that thread's clock.
    #[derive(Clone, Default)]
    struct ThreadName {
        /// Where the calls of all connections are best served.
        home: Option<Id>,
    }

    impl Handler for ThreadName {
        type Body = Full<Bytes>;
        type Connection = ();

        async fn answer(&self, _: SocketAddr, _: Request<ReceivedBody>) -> Response<Full<Bytes>> {
            tokio::time::sleep(Duration::from_millis(1)).await;
            let name = std::thread::current().name().unwrap_or_default().to_owned();
            let is_other = name.starts_with("thread ");
            Response::new(Full::from(if is_other { name } else { FIRST.to_owned() }))
        }

        fn home(&self, (): &()) -> Option<Id> {
            self.home
        }

        fn is_essential(&self, _: &Uri) -> bool {
            false
        }

        fn refuse(&self, _: &Request<ReceivedBody>, _: Overload) -> Response<Full<Bytes>> {
            Response::new(Full::from("refused"))
        }
    }

    /// The name of the thread that accepts.
    const FIRST: &str = "thread 0";
    const NAME_BYTES: usize = FIRST.len();
    const LIMITS: ListenLimits = ListenLimits {
        max_connections: 100,
        header_timeout: Duration::from_secs(5),
        idle_timeout: Duration::from_secs(5),
        send_timeout: Duration::from_secs(5),
        max_head_bytes: 8192,
        versions: Versions::Http1,
    };

    fn runtime() -> Runtime {
        Builder::new_current_thread().enable_all().build().unwrap()
    }

    /// Makes so many requests on one connection, one by one or all at once, and returns the names in the answers.
    async fn ask(address: SocketAddr, requests: usize, at_once: bool) -> Vec<String> {
        let mut stream = TcpStream::connect(address).await.unwrap();
        let request = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
        if at_once {
            let all = request.repeat(requests);
            stream.write_all(all.as_bytes()).await.unwrap();
        }
        let mut names = Vec::new();
        let mut received = String::new();
        while names.len() < requests {
            if !at_once {
                stream.write_all(request.as_bytes()).await.unwrap();
            }
            let (name, rest) = loop {
                // All names have as many letters.
                let body = received.find("\r\n\r\n").map(|at| at + 4);
                if let Some(body) = body.filter(|body| received.len() >= body + NAME_BYTES) {
                    break received[body..].split_at(NAME_BYTES);
                }
                let mut bytes = [0; 1000];
                let length = stream.read(&mut bytes).await.unwrap();
                assert!(length > 0, "the connection has ended");
                received += std::str::from_utf8(&bytes[..length]).unwrap();
            };
            names.push(name.to_owned());
            received = rest.to_owned();
        }
        names
    }

    /// Serves on this thread, `thread 1` and `thread 2`, while something is asked, and then ends.
    fn serve_while<F: Future>(
        home: impl FnOnce(&[Runtime]) -> Option<Id>,
        ask: impl FnOnce(SocketAddr) -> F,
    ) -> F::Output {
        let runtimes = [runtime(), runtime(), runtime()];
        let threads = runtimes.iter().map(|runtime| runtime.handle().clone());
        let threads = ConnectionThreads::new(threads);
        let handler = ThreadName {
            home: home(&runtimes),
        };

        std::thread::scope(|scope| {
            let (_running, ended) = watch::channel(());
            for (number, runtime) in runtimes.iter().enumerate().skip(1) {
                let mut ended = ended.clone();
                std::thread::Builder::new()
                    .name(format!("thread {number}"))
                    .spawn_scoped(scope, move || runtime.block_on(ended.changed()))
                    .unwrap();
            }
            runtimes[0].block_on(async {
                let listener = Listener::bind(([127, 0, 0, 1], 0).into(), LIMITS).unwrap();
                let address = listener.address().unwrap();
                let farewell = CancellationToken::new();
                let serving = listener.on(threads).serve(handler, farewell.clone());
                let asking = async {
                    let answer = ask(address).await;
                    farewell.cancel();
                    answer
                };
                tokio::join!(serving, asking).1
            })
        })
    }

    /// Each takes as many as the others, and all end with the listener.
    #[test]
    fn connections_are_served_on_the_threads_in_turns() {
        let names = serve_while(
            |_| None,
            async |address| {
                let mut names = BTreeMap::new();
                for _ in 0..9 {
                    *names.entry(ask(address, 2, false).await).or_insert(0) += 1;
                }
                names
            },
        );

        let counts: Vec<_> = names.values().copied().collect();
        assert_eq!(counts, [3, 3, 3], "{names:?}");
        assert!(names.keys().all(|of_one| of_one[0] == of_one[1]));
    }

    /// It moves once, after its first call, and nothing that arrives meanwhile is lost.
    #[test]
    fn a_connection_moves_to_the_home_of_its_first_call() {
        let names = serve_while(
            |runtimes| Some(runtimes[2].handle().id()),
            async |address| {
                let mut names = Vec::new();
                for number in 0..6 {
                    names.push(ask(address, 4, number >= 3).await);
                }
                names
            },
        );

        let firsts: Vec<_> = names.iter().map(|of_one| &*of_one[0]).collect();
        assert!(firsts.contains(&"thread 1"), "{firsts:?}");
        for of_one in names {
            assert_eq!(of_one[1..], ["thread 2", "thread 2", "thread 2"]);
        }
    }
}
