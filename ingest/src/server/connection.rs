//! One connection, from its first byte to its end: finds the protocol and has hyper speak it,
//! until the client goes, the thread's table ends it, or a request leaves it in a state that
//! can't be gone on from.

use std::cell::RefCell;
use std::future::poll_fn;
use std::mem::MaybeUninit;
use std::pin::{Pin, pin};
use std::rc::{Rc, Weak};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use hyper::rt::Executor;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::TokioTimer;
use tokio::io::{AsyncRead, ReadBuf};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tracing::debug;

use crate::routes::Endpoint;
use crate::submission::Intake;

use super::exchange::Exchange;
use super::service::{Local, respond};
use super::socket::Socket;
use super::table::{Line, Verdict};
use super::thread::log_defect;
use super::tls::Stream;

/// Largest head of a request, in bytes; more is answered 431.
const HEAD_BYTES_MAX: usize = 16 * 1024;
/// Largest read and write buffer of a connection, in bytes: large enough for a batch to arrive
/// in a few pieces. It begins small and only grows while it is filled.
const BUFFER_BYTES_MAX: usize = 128 * 1024;
/// Bytes read at once while the protocol is not known: a small request as a whole.
const FIRST_BYTES: usize = 1024;
/// What a client may send of one stream, and of all streams of a connection, ahead of being
/// read. Bodies are read into reserved memory as they arrive: an open window costs nothing.
const STREAM_WINDOW_BYTES: u32 = 1024 * 1024;
const CONNECTION_WINDOW_BYTES: u32 = 2 * 1024 * 1024;
/// Most bytes of answers that one stream buffers.
const SEND_BUFFER_BYTES: usize = 64 * 1024;
/// Finds peers that went without a word while their streams were open.
const PING_INTERVAL: Duration = Duration::from_secs(30);
const PING_TIMEOUT: Duration = Duration::from_secs(10);

const HTTP2_PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Serves a connection until it ends.
pub(super) async fn serve<I: Intake>(local: Rc<Local<I>>, stream: TcpStream, line: Rc<Line>) {
    let Some(mut stream) = encrypted(&local, stream, &line).await else { return };
    let ended = loop {
        let Some((http2, begun)) = begin(&mut stream, &line).await else { return };
        let socket = Socket::new(stream, Rc::clone(&line), begun);
        if http2 {
            line.set_http2();
            // Boxed: it is several times the size of the other, and rarer.
            break Box::pin(serve_http2(&local, socket, &line)).await;
        }
        match serve_http1(&local, socket, &line).await {
            Ok(Some(parked)) => stream = parked,
            Ok(None) => break Ok(()),
            Err(error) => break Err(error),
        }
    };
    if let Err(error) = ended {
        if error.is_parse() {
            let status = if error.is_parse_too_large() { 431 } else { 400 };
            local.counters.counted(Endpoint::Other, status);
        }
        debug!(%error, "connection ended early");
    }
}

/// The connection as requests come over it: encrypted where that is set.
async fn encrypted<I>(local: &Local<I>, stream: TcpStream, line: &Line) -> Option<Stream> {
    let app = &local.shared.app;
    let Some(tls) = &app.tls else { return Some(Stream::Clear(stream)) };
    let encrypted = tls.accept(stream, line).await;
    if encrypted.is_none() {
        app.metrics.handshakes_failed.inc();
    }
    encrypted
}

/// Reads until the protocol is known: whether it is HTTP/2, and what was read. Until then a
/// connection has no buffers. `None`: it ended before.
async fn begin(stream: &mut Stream, line: &Line) -> Option<(bool, Bytes)> {
    let mut begun = Vec::new();
    poll_fn(|cx| {
        loop {
            if matches!(line.verdict(cx.waker()), Verdict::Finish | Verdict::Cut) {
                return Poll::Ready(None);
            }
            let mut space = [MaybeUninit::uninit(); FIRST_BYTES];
            let mut buffer = ReadBuf::uninit(&mut space);
            let read = ready!(Pin::new(&mut *stream).poll_read(cx, &mut buffer));
            if read.is_err() || buffer.filled().is_empty() {
                return Poll::Ready(None);
            }
            line.bytes_arrived();
            begun.extend_from_slice(buffer.filled());
            let compared = begun.len().min(HTTP2_PREFACE.len());
            let http2 = begun[..compared] == HTTP2_PREFACE[..compared];
            if !http2 || compared == HTTP2_PREFACE.len() {
                return Poll::Ready(Some((http2, Bytes::from(std::mem::take(&mut begun)))));
            }
        }
    })
    .await
}

/// Serves HTTP/1.1; what is left of a connection that is parked.
async fn serve_http1<I: Intake>(
    local: &Rc<Local<I>>,
    socket: Socket,
    line: &Rc<Line>,
) -> hyper::Result<Option<Stream>> {
    let exchange = Exchange::new(line);
    let service = service_fn(|request| respond(Rc::clone(local), Rc::clone(&exchange), request));
    let mut connection = http1::Builder::new()
        // The table sees to it, without a timer a request.
        .header_read_timeout(None)
        .max_header_size(HEAD_BYTES_MAX)
        .max_buf_size(BUFFER_BYTES_MAX)
        .serve_connection(socket, service);
    let driven = drive(line, Pin::new(&mut connection), |connection, finish| {
        if finish {
            connection.graceful_shutdown();
        }
    });
    match driven.await {
        Driven::Ended(ended) => ended.map(|()| None),
        Driven::Parked => {
            // Nothing is open, read or unwritten: this ends hyper's part and no more.
            Pin::new(&mut connection).graceful_shutdown();
            let parts = connection.without_shutdown().await?;
            Ok(Some(parts.io.into_stream()))
        }
    }
}

async fn serve_http2<I: Intake>(
    local: &Rc<Local<I>>,
    socket: Socket,
    line: &Rc<Line>,
) -> hyper::Result<()> {
    let streams = Rc::new(RefCell::new(JoinSet::new()));
    let service = service_fn(|request| respond(Rc::clone(local), Exchange::new(line), request));
    let connection = pin!(
        http2::Builder::new(Streams(Rc::downgrade(&streams)))
            .timer(TokioTimer::new())
            .max_concurrent_streams(local.shared.settings.streams_max)
            .max_header_list_size(HEAD_BYTES_MAX as u32)
            .initial_stream_window_size(STREAM_WINDOW_BYTES)
            .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
            .max_send_buf_size(SEND_BUFFER_BYTES)
            .keep_alive_interval(PING_INTERVAL)
            .keep_alive_timeout(PING_TIMEOUT)
            .serve_connection(socket, service)
    );
    let driven = drive(line, connection, |connection, finish| {
        while let Some(ended) = streams.borrow_mut().try_join_next() {
            log_defect(ended);
        }
        if finish {
            connection.graceful_shutdown();
        }
    });
    match driven.await {
        Driven::Ended(ended) => ended,
        Driven::Parked => Ok(()),
    }
}

/// How a connection was left.
enum Driven {
    Ended(hyper::Result<()>),
    /// It is idle and goes on without hyper for now. HTTP/2 is never told to.
    Parked,
}

/// Polls a connection, and does with it what the table says. `before` is called ahead of each
/// poll, and told once to end it gracefully.
async fn drive<C: Future<Output = hyper::Result<()>>>(
    line: &Line,
    mut connection: Pin<&mut C>,
    mut before: impl FnMut(Pin<&mut C>, bool),
) -> Driven {
    let mut finishing = false;
    poll_fn(|cx: &mut Context<'_>| {
        let verdict = line.verdict(cx.waker());
        match verdict {
            Verdict::Cut => return Poll::Ready(Driven::Ended(Ok(()))),
            Verdict::Park if line.take_park() => return Poll::Ready(Driven::Parked),
            Verdict::Park | Verdict::Run | Verdict::Finish => {}
        }
        let finish = verdict == Verdict::Finish && !finishing;
        finishing |= finish;
        before(connection.as_mut(), finish);
        connection.as_mut().poll(cx).map(Driven::Ended)
    })
    .await
}

/// Where hyper puts the streams of a connection: they end with it.
#[derive(Debug, Clone)]
struct Streams(Weak<RefCell<JoinSet<()>>>);

impl<F: Future<Output = ()> + 'static> Executor<F> for Streams {
    fn execute(&self, stream: F) {
        if let Some(streams) = self.0.upgrade() {
            streams.borrow_mut().spawn_local(stream);
        }
    }
}
