//! `cargo xtask bench`: the figures that this project promises, each beside its target. Load
//! and servers share the machine, so figures of a server are read as a ratio to bare hyper
//! under the same load in the same run, or to a loop that writes the same rows by the driver.

mod cassandra;
mod context;
mod limits;
mod memory;
mod replay;
mod report;
mod sustained;
mod tenants;
mod throughput;
mod times;

use std::io::{self, Write};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use clap::Args;

use context::Context;
use report::Row;
use xtask::built::{self, STATIC};

const CASES_HELP: &str = "\
Cases:
  single-memory     one pulse a request, queued in memory
  single-durable    one pulse a request, synced before its answer
  ndjson-durable    batches, synced before their answer
  sustained         batches for a minute, until every pulse can be queried
  memory-idle       resident memory of a server that nobody uses
  memory-throttled  resident memory of one whose store can't keep up
  start-backlog     start with 2 GiB in the log
  stop-loaded       stop under load
  limits-fairness   latency of others while a tenant offers ten times its limit
  limits-shared     what three processes with one Redis let through of a limit in each minute
  replay            dead letters written again, against the same pulses from HTTP until stored
  tenants-cost      one pulse a request with a key, a limit and an idempotency key, against without
  tenants-many      ten thousand tenants: memory, and latency while they are read again

Cases with --cassandra, on one real node:
  cassandra-write     from HTTP until stored, against the best loop that writes the same tables by
                      the driver alone; cassandra-cpu: the processor time of both
  cassandra-down      one pulse a request while the database is stopped, against bare hyper
  cassandra-catch-up  a minute without the database at 20,000 pulses/s, until all is stored
  cassandra-read      the newest 100 rows of a service that has 10 million";

/// What `cargo xtask bench` is asked.
#[derive(Debug, Args)]
#[command(after_help = CASES_HELP)]
pub(crate) struct Options {
    /// Seconds in all, only to see that every case works: its figures mean nothing.
    #[arg(long)]
    smoke: bool,
    /// The cases of the Cassandra store, on one node that is started for them.
    #[arg(long)]
    cassandra: bool,
    /// A node of one's own instead, as host:port; cases that stop it are left out. Its keyspaces
    /// pulsemesh_bench and pulsemesh_raw are written to.
    #[arg(long, requires = "cassandra", value_name = "HOST:PORT")]
    node: Option<String>,
    /// The rows as JSON, one a line, instead of a table.
    #[arg(long)]
    json: bool,
    /// Where data directories are made; on the disk that is to be measured, not in memory.
    #[arg(long)]
    dir: Option<PathBuf>,
    /// Alternating rounds of a case that is compared with bare hyper.
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Seconds of one load.
    #[arg(long, default_value_t = 5)]
    seconds: u64,
    /// Threads that send.
    #[arg(long, default_value_t = 1)]
    threads: usize,
    /// The cargo profile of the servers and of this program.
    #[arg(long, default_value = "release")]
    profile: String,
    /// Where the programs are, once they are built.
    #[arg(long, hide = true)]
    built: Option<PathBuf>,
    /// The cases to measure. None: all.
    cases: Vec<String>,
}

type Case = fn(&mut Context) -> Result<Vec<Row>>;

/// Every case by name, in the order in which they run.
const CASES: [(&str, Case); 13] = [
    ("single-memory", throughput::single_memory),
    ("single-durable", throughput::single_durable),
    ("ndjson-durable", throughput::ndjson_durable),
    ("sustained", sustained::run),
    ("memory-idle", memory::idle),
    ("memory-throttled", memory::throttled),
    ("start-backlog", times::start),
    ("stop-loaded", times::stop),
    ("limits-fairness", limits::fairness),
    ("limits-shared", limits::shared),
    ("replay", replay::run),
    ("tenants-cost", tenants::cost),
    ("tenants-many", tenants::many),
];

/// Builds what is measured, measures, prints; says whether every target was met. A smoke run
/// meets its targets when every case gave a figure.
pub(crate) fn run(root: &Path, options: &Options) -> Result<bool> {
    let names: Vec<&str> = if options.cassandra {
        cassandra::CASES.iter().map(|case| case.name).collect()
    } else {
        CASES.iter().map(|(name, _)| *name).collect()
    };
    for case in &options.cases {
        ensure!(names.contains(&case.as_str()), "no case {case}; there are {}", names.join(", "));
    }
    match &options.built {
        Some(built) => measure(built, options),
        None => build_and_measure(root, options),
    }
}

/// The load must not be sent by a debug build: builds everything in the profile, then becomes
/// the program that was built.
fn build_and_measure(root: &Path, options: &Options) -> Result<bool> {
    let status = Command::new(env!("CARGO"))
        .arg("build")
        .args(STATIC)
        .args(["--quiet", "--workspace", "--bins", "--examples", "--profile"])
        .arg(&options.profile)
        .current_dir(root)
        .status()
        .context("run cargo build")?;
    ensure!(status.success(), "the build failed");
    let own = std::env::current_exe().context("find this program")?;
    let target = own.parent().and_then(Path::parent).context("find the target folder")?;
    let built = built::folder(target, &options.profile);
    let error = Command::new(built.join("xtask"))
        .args(std::env::args_os().skip(1))
        .arg("--built")
        .arg(&built)
        .exec();
    bail!("run {}: {error}", built.join("xtask").display())
}

fn measure(built: &Path, options: &Options) -> Result<bool> {
    let mut context = Context {
        built: built.to_owned(),
        dir: options.dir.clone().unwrap_or_else(|| built.with_file_name("bench")),
        rounds: if options.smoke { 1 } else { options.rounds.max(1) },
        load: Duration::from_secs(if options.smoke { 1 } else { options.seconds.max(1) }),
        threads: options.threads.max(1),
        smoke: options.smoke,
        bare_single: None,
    };
    std::fs::create_dir_all(&context.dir).context("make the directory for data")?;
    let mut printer = Printer::begin(options)?;
    if options.cassandra {
        cassandra::measure(&mut context, options, &mut printer)?;
    } else {
        for (name, case) in CASES.iter().filter(|(name, _)| options.wants(name)) {
            printer.print(name, case(&mut context))?;
        }
    }
    printer.end(&context)
}

impl Options {
    fn wants(&self, case: &str) -> bool {
        self.cases.is_empty() || self.cases.iter().any(|wanted| wanted == case)
    }
}

/// Prints each case's rows as soon as they are there.
#[derive(Debug)]
struct Printer {
    json: bool,
    smoke: bool,
    all_met: bool,
}

impl Printer {
    fn begin(options: &Options) -> Result<Self> {
        if !options.json {
            writeln!(io::stdout(), "{}", Row::HEADER)?;
        }
        Ok(Self { json: options.json, smoke: options.smoke, all_met: true })
    }

    /// One case that can't be measured must not hide the others.
    fn print(&mut self, case: &str, rows: Result<Vec<Row>>) -> Result<()> {
        for row in rows.unwrap_or_else(|error| vec![Row::failed(case, &error)]) {
            self.all_met &= row.is_met(self.smoke);
            let line = if self.json { row.to_json()? } else { row.to_table(self.smoke) };
            writeln!(io::stdout(), "{line}")?;
        }
        Ok(())
    }

    /// Says whether every target was met.
    fn end(self, context: &Context) -> Result<bool> {
        if !self.json {
            writeln!(io::stdout(), "{}", context.footer())?;
        }
        Ok(self.all_met)
    }
}
