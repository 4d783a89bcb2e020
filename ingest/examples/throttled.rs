//! A server whose store takes only so many rows a second: what a slow database does to the log
//! and to clients can be seen with it. Takes the flags of `pulsemesh-ingest`, and
//! `--rows-per-second N`; 0 is a store that is stuck.

use std::ffi::OsString;
use std::process::ExitCode;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::future::BoxFuture;
use pulsemesh_ingest::cli;
use pulsemesh_ingest::sink::SinkError;
use pulsemesh_ingest::store::gated::Gated;
use tokio::time::Instant;

const FLAG: &str = "--rows-per-second";

/// As in the binary: memory is compared between the two.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let mut arguments: Vec<OsString> = std::env::args_os().collect();
    let mut rows_per_second = 20_000;
    if let Some(at) = arguments.iter().position(|argument| argument == FLAG) {
        let value = arguments.get(at + 1).and_then(|value| value.to_str()?.parse().ok());
        let Some(value) = value else { return ExitCode::from(2) };
        rows_per_second = value;
        arguments.drain(at..at + 2);
    }
    let pace = Pace { rows_per_second, free_at: Mutex::new(None) };
    cli::main_with(arguments, move |inner| {
        Arc::new(Gated::new(inner, Box::new(move |batch| pace.wait(batch.len()))))
    })
}

/// Lets rows through at a steady rate.
struct Pace {
    rows_per_second: u32,
    free_at: Mutex<Option<Instant>>,
}

impl Pace {
    fn wait(&self, rows: usize) -> BoxFuture<'static, Result<(), SinkError>> {
        if self.rows_per_second == 0 {
            return Box::pin(std::future::pending());
        }
        let turn = self.turn(rows);
        Box::pin(async move {
            tokio::time::sleep_until(turn).await;
            Ok(())
        })
    }

    /// When `rows` more have had their time.
    fn turn(&self, rows: usize) -> Instant {
        let mut free_at = self.free_at.lock().unwrap_or_else(PoisonError::into_inner);
        let time = Duration::from_secs_f64(rows as f64 / f64::from(self.rows_per_second));
        let turn = free_at.map_or_else(Instant::now, |free| free.max(Instant::now())) + time;
        *free_at = Some(turn);
        turn
    }
}
