//! Serves the admin routes with bounds: on connections, on the time that a head may take, and
//! on a connection's life.

use std::future::Future;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::JoinSet;
use tracing::{debug, warn};

/// Bounds in number and time.
#[derive(Debug, Clone, Copy)]
struct Limits {
    /// Connections at once. What comes beyond waits in the kernel until one is done.
    connections_max: usize,
    /// For a request's head, and between requests: silent connections make room for probes.
    head_timeout: Duration,
    /// Of a connection, so that a reader that takes no bytes does not hold its place for ever.
    life: Duration,
    /// For the request in hand, at the end of a connection's life and at stop.
    grace: Duration,
}

/// Some scrapers and probes, each of which needs one connection and answers in milliseconds.
const LIMITS: Limits = Limits {
    connections_max: 64,
    head_timeout: Duration::from_secs(10),
    life: Duration::from_secs(300),
    grace: Duration::from_secs(5),
};
/// Bytes of a head; probes send a tenth.
const HEAD_BYTES_MAX: usize = 16 * 1024;
/// Pause after a failed accept: the usual reason, too many open files, does not pass at once.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Serves `router` until `stop` resolves, then finishes the requests in hand within 5 seconds.
/// The caller brings the socket and decides when to stop: last, so that `/readyz` can say why
/// everything else has.
pub async fn serve(listener: TcpListener, router: Router, stop: impl Future<Output = ()>) {
    serve_within(LIMITS, listener, router, stop).await;
}

async fn serve_within(
    limits: Limits,
    listener: TcpListener,
    router: Router,
    stop: impl Future<Output = ()>,
) {
    let places = Arc::new(Semaphore::new(limits.connections_max));
    let (stopping, _) = watch::channel(());
    let mut connections = JoinSet::new();
    tokio::pin!(stop);
    loop {
        let accepted = tokio::select! {
            biased;
            () = &mut stop => break,
            Some(_) = connections.join_next() => continue,
            accepted = accept(&listener, &places) => accepted,
        };
        match accepted {
            Ok((stream, place)) => {
                let ended = stopping.subscribe();
                let serving = serve_connection(limits, stream, router.clone(), ended);
                connections.spawn(async move {
                    serving.await;
                    drop(place);
                });
            }
            Err(error) => {
                warn!(%error, "accept an admin connection");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
    drop(listener);
    drop(stopping);
    while connections.join_next().await.is_some() {}
}

async fn accept(
    listener: &TcpListener,
    places: &Arc<Semaphore>,
) -> io::Result<(TcpStream, OwnedSemaphorePermit)> {
    let place = Arc::clone(places).acquire_owned().await.map_err(io::Error::other)?;
    let (stream, _) = listener.accept().await?;
    Ok((stream, place))
}

/// `ended` errs once the sender is dropped, which is how the connections learn of the stop.
async fn serve_connection(
    limits: Limits,
    stream: TcpStream,
    router: Router,
    mut ended: watch::Receiver<()>,
) {
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.head_timeout)
        .max_header_size(HEAD_BYTES_MAX)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router));
    tokio::pin!(connection);
    let result = tokio::select! {
        result = &mut connection => result,
        () = async {
            tokio::select! {
                _ = ended.changed() => {}
                () = tokio::time::sleep(limits.life) => {}
            }
        } => {
            connection.as_mut().graceful_shutdown();
            tokio::time::timeout(limits.grace, connection).await.unwrap_or(Ok(()))
        }
    };
    if let Err(error) = result {
        debug!(%error, "serve an admin connection");
    }
}

#[cfg(test)]
#[allow(clippy::disallowed_methods, reason = "a test may start what it waits for")]
mod tests {
    use axum::routing::get;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::sync::Notify;
    use tokio::time::timeout;

    use super::*;

    const SHORT: Limits = Limits {
        connections_max: 2,
        head_timeout: Duration::from_millis(100),
        life: Duration::from_secs(300),
        grace: Duration::from_millis(200),
    };

    async fn start(limits: Limits, router: Router) -> (std::net::SocketAddr, Arc<Notify>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("bound");
        let stop = Arc::new(Notify::new());
        let asked = Arc::clone(&stop);
        tokio::spawn(serve_within(limits, listener, router, async move { asked.notified().await }));
        (address, stop)
    }

    async fn get_alive(address: std::net::SocketAddr) -> TcpStream {
        let mut stream = TcpStream::connect(address).await.expect("connects");
        stream.write_all(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n").await.expect("sent");
        stream
    }

    async fn ends(mut stream: TcpStream) -> String {
        let mut answer = Vec::new();
        let read = timeout(Duration::from_secs(20), stream.read_to_end(&mut answer)).await;
        read.expect("the connection ends").expect("read");
        String::from_utf8(answer).expect("text")
    }

    #[tokio::test]
    async fn silent_connections_make_room_for_a_probe() {
        let (address, _stop) = start(SHORT, Router::new().route("/", get(async || "alive"))).await;
        let mut silent = Vec::new();
        for _ in 0..10 {
            silent.push(TcpStream::connect(address).await.expect("connects"));
        }
        assert!(ends(get_alive(address).await).await.contains("alive"));
    }

    #[tokio::test]
    async fn a_connection_ends_with_its_life_even_if_its_request_never_does() {
        let limits = Limits { life: Duration::from_millis(50), ..SHORT };
        let router = Router::new().route("/", get(std::future::pending::<&str>));
        let (address, _stop) = start(limits, router).await;
        assert_eq!(ends(get_alive(address).await).await, "");
    }
}
