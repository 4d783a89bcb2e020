//! HTTP/2 by prior knowledge, on the same port.

#![allow(clippy::disallowed_methods, reason = "a test may start what it waits for")]

use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http2::{SendRequest, handshake};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::harness::{PATIENCE, SHORT, Server, settings};
use crate::server::{Phase, ServerSettings};

/// One task, which ends with its owner.
struct Task<T>(JoinSet<T>);

impl<T: Send + 'static> Task<T> {
    fn start(task: impl Future<Output = T> + Send + 'static) -> Self {
        let mut tasks = JoinSet::new();
        tasks.spawn(task);
        Self(tasks)
    }

    async fn ended(mut self) -> T {
        self.0.join_next().await.expect("one task").expect("no panic")
    }

    fn runs(&mut self) -> bool {
        self.0.try_join_next().is_none()
    }
}

struct Client {
    requests: SendRequest<Full<Bytes>>,
    connection: Task<hyper::Result<()>>,
}

impl Client {
    async fn connect(server: &Server) -> Self {
        let stream = TcpStream::connect(server.address).await.expect("connect");
        let shaken = handshake(TokioExecutor::new(), TokioIo::new(stream)).await;
        let (requests, connection) = shaken.expect("an HTTP/2 connection");
        Self { requests, connection: Task::start(connection) }
    }

    async fn post(&mut self, body: impl Into<Bytes>) -> hyper::Result<Response<Incoming>> {
        let request = Request::post("http://a/pulse").body(Full::new(body.into())).expect("valid");
        self.requests.ready().await?;
        self.requests.send_request(request).await
    }

    async fn status(&mut self, body: impl Into<Bytes>) -> StatusCode {
        self.post(body).await.expect("an answer").status()
    }
}

/// Runs a test's clients on a runtime that is gone, and its connections with it, before the
/// server stops.
fn run(settings: ServerSettings, test: impl AsyncFnOnce(&mut Server)) {
    let mut server = Server::start(settings);
    let mut builder = tokio::runtime::Builder::new_current_thread();
    let runtime = builder.enable_all().build().expect("a runtime");
    runtime.block_on(async { timeout(PATIENCE, test(&mut server)).await.expect("in time") });
    drop(runtime);
}

#[test]
fn requests_share_a_connection() {
    run(settings(), async |server| {
        let client = Client::connect(server).await;
        let mut asked = JoinSet::new();
        for _ in 0..100 {
            let mut requests = client.requests.clone();
            let request = Request::post("http://a/pulse")
                .header("x-request-id", "r")
                .body(Full::new(Bytes::from_static(b"single")))
                .expect("valid");
            asked.spawn(async move { requests.send_request(request).await });
        }
        while let Some(answer) = asked.join_next().await {
            let answer = answer.expect("no panic").expect("an answer");
            assert_eq!(answer.status(), 202);
            assert_eq!(answer.headers()["x-request-id"], "r");
            let piece = answer.into_body().frame().await.expect("a piece").expect("a body");
            assert!(piece.data_ref().is_some_and(|data| data.starts_with(b"{\"id\"")));
        }
        assert_eq!(server.counted("/pulse", 202), 100);
    });
}

#[test]
fn bodies_are_bounded_and_pass_the_first_window() {
    let body_bytes_max = 4 * 1024 * 1024;
    run(ServerSettings { body_bytes_max, ..settings() }, async |server| {
        let mut client = Client::connect(server).await;
        assert_eq!(client.status(vec![b'x'; 3 * 1024 * 1024]).await, 202);
        assert_eq!(client.status(vec![b'x'; 5 * 1024 * 1024]).await, 413);
        assert_eq!(client.status("").await, 400);
        assert_eq!(client.status("single").await, 202, "the connection goes on");
    });
}

#[test]
fn one_stalled_request_does_not_stall_its_neighbours_and_times_out() {
    run(ServerSettings { handler_timeout: SHORT, ..settings() }, async |server| {
        let mut client = Client::connect(server).await;
        let mut neighbour =
            Client { requests: client.requests.clone(), connection: Task::start(async { Ok(()) }) };
        let (stalled, quick) = tokio::join!(client.status("stall"), neighbour.status("single"));
        assert_eq!((stalled.as_u16(), quick.as_u16()), (503, 202));
    });
}

#[test]
fn a_client_that_goes_away_takes_its_waits_along() {
    run(settings(), async |server| {
        let mut client = Client::connect(server).await;
        let waiting = Task::start(async move { client.post("stall").await.map(drop) });
        server.wait_for_waiting_async(1).await;
        drop(waiting);
        server.wait_for_waiting_async(0).await;
    });
}

#[test]
fn during_the_delay_streams_are_answered_and_the_client_is_told_to_go() {
    run(settings(), async |server| {
        let mut client = Client::connect(server).await;
        assert_eq!(client.status("single").await, 202);
        server.phases.send_replace(Phase::Delay);
        let ended = client.connection.ended().await;
        assert!(ended.is_ok(), "GOAWAY, then the end: {ended:?}");

        let mut late = Client::connect(server).await;
        assert_eq!(late.status("single").await, 202, "it still accepts");
        late.connection.ended().await.expect("GOAWAY behind the answer");
    });
}

#[test]
fn a_stop_answers_the_streams_in_progress() {
    run(ServerSettings { handler_timeout: SHORT, ..settings() }, async |server| {
        let mut client = Client::connect(server).await;
        let mut requests = client.requests.clone();
        let stalled = Task::start(async move {
            let body = Full::new(Bytes::from_static(b"stall"));
            requests.send_request(Request::post("http://a/pulse").body(body).expect("valid")).await
        });
        server.wait_for_waiting_async(1).await;
        server.phases.send_replace(Phase::Stop);
        let answer = stalled.ended().await.expect("an answer");
        assert_eq!(answer.status(), 503);
        client.connection.ended().await.expect("GOAWAY, then the end");
        assert!(client.requests.ready().await.is_err());
        assert!(server.ended() < Duration::from_secs(3));
    });
}

#[test]
fn an_idle_connection_makes_room_and_a_busy_one_does_not() {
    run(ServerSettings { connections_max: 2, threads: 1, ..settings() }, async |server| {
        let mut busy = Client::connect(server).await;
        let mut stalled = Task::start(async move { busy.post("stall").await.map(drop) });
        server.wait_for_waiting_async(1).await;
        let mut idle = Client::connect(server).await;
        assert_eq!(idle.status("single").await, 202);
        let mut fresh = Client::connect(server).await;
        assert_eq!(fresh.status("single").await, 202);
        // It made room, in whatever state it was.
        drop(idle.connection.ended().await);
        assert!(stalled.runs());
        server.wait_for_waiting_async(1).await;
        drop(stalled);
    });
}

#[test]
fn an_idle_connection_is_closed() {
    run(ServerSettings { idle_timeout: SHORT, ..settings() }, async |server| {
        let mut client = Client::connect(server).await;
        assert_eq!(client.status("single").await, 202);
        assert!(client.connection.ended().await.is_ok());
    });
}

#[test]
fn a_client_that_says_nothing_more_does_not_hold_up_the_stop() {
    let settings = settings();
    run(settings, async |server| {
        let mut client = Client::connect(server).await;
        assert_eq!(client.status("single").await, 202);
        server.phases.send_replace(Phase::Stop);
        // Waiting here, on its only thread, the client can't answer.
        assert!(server.ended() < Duration::from_secs(3));
    });
}
