//! The yardstick of the path into Cassandra: rows made from nothing and sent as fast as the
//! driver can, in a process of its own. No HTTP and no log; any error but a timeout ends it.
//! Nothing of the product is in it.

mod rows;
mod typed;
mod writer;

use std::io::Write;
use std::num::NonZeroUsize;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use clap::{Args, ValueEnum};
use scylla::client::session::Session;
use scylla::client::session_builder::SessionBuilder;
use scylla::client::{Compression, PoolSize};
use serde_json::json;
use tokio::runtime::{Builder, Runtime};
use xtask::processor::time_used;

use writer::Writer;

/// What the loop writes, and how.
#[derive(Debug, Clone, Args)]
pub(crate) struct Options {
    /// A node, as `host:port`.
    #[arg(long)]
    node: String,
    /// Where the tables are.
    #[arg(long)]
    keyspace: String,
    /// Rows in all.
    #[arg(long)]
    rows: u64,
    /// Which tables get them.
    #[arg(long, value_enum, default_value_t = Tables::All)]
    tables: Tables,
    /// Rows of a batch.
    #[arg(long, default_value_t = 100)]
    batch: usize,
    /// Batches that wait for their answer.
    #[arg(long, default_value_t = 64)]
    in_flight: usize,
    /// Partitions of one service that are written side by side.
    #[arg(long, default_value_t = 4)]
    spread: u16,
    /// Threads of the runtime.
    #[arg(long, default_value_t = 1)]
    threads: usize,
    /// Connections to the node.
    #[arg(long, default_value_t = NonZeroUsize::MIN)]
    connections: NonZeroUsize,
    /// How requests are compressed.
    #[arg(long, value_enum, default_value_t = Compressed::Lz4)]
    compression: Compressed,
    /// How values are bound.
    #[arg(long, value_enum, default_value_t = Bound::Cells)]
    values: Bound,
}

/// How values are bound.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Bound {
    /// Bytes of cells, one after the other: the least that can be done.
    Cells,
    /// A struct of Rust values for each row, as the driver's documentation shows.
    Typed,
}

/// Which tables get each row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Tables {
    /// The rows, the index of their ids, and the list of buckets.
    All,
    /// The rows alone.
    Events,
}

/// How requests are compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Compressed {
    Lz4,
    None,
}

/// Writes the rows and says what it took, as one line of JSON.
pub(crate) fn run(options: &Options) -> Result<()> {
    ensure!(options.batch > 0 && options.spread > 0 && options.in_flight > 0, "0 of something");
    runtime(options.threads)?.block_on(async {
        let writer = Writer::prepare(connect(options).await?, options).await?;
        // What starting and preparing cost belongs to neither side.
        let (started, used) = (Instant::now(), time_used(std::process::id())?);
        let (rows, timeouts) = writer.write_all().await?;
        let seconds = started.elapsed().as_secs_f64();
        let cpu = time_used(std::process::id())? - used;
        let line = json!({
            "rows": rows, "seconds": seconds, "cpu_seconds": cpu.as_secs_f64(),
            "timeouts": timeouts,
        });
        writeln!(std::io::stdout(), "{line}").context("print the result")
    })
}

fn runtime(threads: usize) -> Result<Runtime> {
    let mut builder = match threads {
        0 | 1 => Builder::new_current_thread(),
        _ => Builder::new_multi_thread(),
    };
    Ok(builder.worker_threads(threads.max(1)).enable_all().build()?)
}

async fn connect(options: &Options) -> Result<Session> {
    SessionBuilder::new()
        .known_node(&options.node)
        .pool_size(PoolSize::PerHost(options.connections))
        .compression((options.compression == Compressed::Lz4).then_some(Compression::Lz4))
        .use_keyspace(&options.keyspace, false)
        .connection_timeout(Duration::from_secs(10))
        .build()
        .await
        .with_context(|| format!("connect to {}", options.node))
}
