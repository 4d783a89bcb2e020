//! The yardstick: a bare hyper server that reads each body, throws it away and answers 202.
//! Two arrangements, since the faster one is what ours is compared with. Nothing of the
//! product is in it.

use std::convert::Infallible;
use std::io::Write;
use std::net::TcpListener;
use std::thread;

use anyhow::{Context, Result, anyhow};
use bytes::Bytes;
use clap::ValueEnum;
use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpStream;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::mpsc;
use tokio::task::{JoinSet, LocalSet};

/// How connections are spread over threads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Arrangement {
    /// One multi-threaded runtime that moves tasks between its threads.
    Shared,
    /// One single-threaded runtime per core; connections are dealt out in turn.
    PerCore,
}

/// Serves until it is killed. Says where it listens as the product does.
pub(crate) fn serve(arrangement: Arrangement) -> Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0").context("bind")?;
    listener.set_nonblocking(true)?;
    let address = listener.local_addr()?;
    let line = serde_json::json!({
        "message": "listening", "listen": address.to_string(), "admin_listen": address.to_string(),
    });
    writeln!(std::io::stderr(), "{line}")?;
    match arrangement {
        Arrangement::Shared => shared(listener),
        Arrangement::PerCore => per_core(listener),
    }
}

fn shared(listener: TcpListener) -> Result<()> {
    let runtime = Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let listener = tokio::net::TcpListener::from_std(listener)?;
        let mut connections = JoinSet::new();
        loop {
            let (stream, _) = listener.accept().await?;
            connections.spawn(connection(stream));
            while connections.try_join_next().is_some() {}
        }
    })
}

fn per_core(listener: TcpListener) -> Result<()> {
    let cores = thread::available_parallelism()?.get();
    let lanes = (0..cores).map(lane).collect::<Result<Vec<_>>>()?;
    single()?.block_on(async {
        let listener = tokio::net::TcpListener::from_std(listener)?;
        for turn in 0.. {
            let (stream, _) = listener.accept().await?;
            let sent = lanes[turn % cores].send(stream.into_std()?).await;
            sent.map_err(|_| anyhow!("a serving thread ended"))?;
        }
        Ok(())
    })
}

/// Starts one serving thread; it lives as long as the process.
fn lane(index: usize) -> Result<mpsc::Sender<std::net::TcpStream>> {
    let (sender, mut streams) = mpsc::channel::<std::net::TcpStream>(64);
    let runtime = single()?;
    let serve = async move {
        let mut connections = JoinSet::new();
        while let Some(stream) = streams.recv().await {
            if let Ok(stream) = TcpStream::from_std(stream) {
                connections.spawn_local(connection(stream));
            }
            while connections.try_join_next().is_some() {}
        }
    };
    thread::Builder::new()
        .name(format!("bare-{index}"))
        .spawn(move || LocalSet::new().block_on(&runtime, serve))?;
    Ok(sender)
}

fn single() -> Result<Runtime> {
    Ok(Builder::new_current_thread().enable_all().build()?)
}

async fn connection(stream: TcpStream) {
    // Whether it fails matters to nobody: the load counts what it was answered.
    let _ = stream.set_nodelay(true);
    let served = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .serve_connection(TokioIo::new(stream), service_fn(discard));
    let _ = served.await;
}

async fn discard(request: Request<Incoming>) -> Result<Response<Empty<Bytes>>, Infallible> {
    let mut body = request.into_body();
    while let Some(Ok(_)) = body.frame().await {}
    let mut response = Response::new(Empty::new());
    *response.status_mut() = StatusCode::ACCEPTED;
    Ok(response)
}
