//! What clients read of a load through the API: rows that lie in the database and that nothing
//! leads to are as good as lost.

use std::collections::HashSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{Builder, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, ensure};
use serde_json::Value;
use uuid::Uuid;
use xtask::client::{Client, Request};
use xtask::server::{Server, wait_for};

use crate::flow::SERVICES;
use crate::support::SOON;

/// Rows of a page: the most that there can be.
const PAGE_ROWS: usize = 1_000;
/// How many pulses are looked up by their ids.
const LOOKUPS: usize = 20;

/// Between two reads of a reader.
const INTERVAL: Duration = Duration::from_millis(100);
/// Longest that a read may take while a quorum is there: as long as a server tries, on a machine
/// where it may have to wait for a core.
const READ_MAX: Duration = Duration::from_secs(12);

/// Somebody who reads the newest pulses again and again, until told to stop.
pub(crate) struct Reader {
    thread: JoinHandle<Result<Vec<Duration>>>,
    stop: Arc<AtomicBool>,
}

impl Reader {
    /// Begins.
    pub(crate) fn start(address: SocketAddr) -> Result<Self> {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let read = move || {
            let mut client = Client::new(address);
            let mut times = Vec::new();
            while !stopped.load(Ordering::Relaxed) {
                let service = SERVICES[times.len() % SERVICES.len()];
                times.push(read_newest(&mut client, service)?);
                std::thread::sleep(INTERVAL);
            }
            Ok(times)
        };
        let thread = Builder::new().name("reader".to_owned()).spawn(read);
        Ok(Self { thread: thread.context("start a thread")?, stop })
    }

    /// Ends; an error if a read failed, or was slower than a client waits for.
    pub(crate) fn stop(self) -> Result<()> {
        self.stop.store(true, Ordering::Relaxed);
        let times = self.thread.join().map_err(|_| anyhow!("the reader panicked"))??;
        let slowest = times.iter().max().context("nothing was read")?;
        ensure!(*slowest < READ_MAX, "a read took {slowest:?}");
        Ok(())
    }
}

/// Reads a page and asks whether it has rows; how long it took.
fn read_newest(client: &mut Client, service: &str) -> Result<Duration> {
    let begun = Instant::now();
    let target = format!("/v1/pulses?service={service}&limit=100");
    let response = client.send(&Request::get(&target))?;
    let took = begun.elapsed();
    ensure!(response.status == 200, "{} after {took:?}: {}", response.status, response.text());
    let page = response.json()?;
    ensure!(page["pulses"].as_array().is_some_and(|rows| !rows.is_empty()), "no rows: {page}");
    Ok(took)
}

/// Asks whether all of these pulses, and no others, are listed, each once, and whether some of
/// them are found by their ids. A node that has just come back may be slow to answer.
pub(crate) fn check(server: &Server, ids: &HashSet<Uuid>) -> Result<()> {
    wait_for(SOON, "an answer to all reads", || {
        let mut client = server.client();
        check_lists(&mut client, ids)?;
        let step = ids.len().div_ceil(LOOKUPS).max(1);
        for id in ids.iter().step_by(step) {
            let row = client.get_json(&format!("/v1/pulses/{id}"))?;
            ensure!(row["id"] == id.to_string(), "{id} leads to {row}");
            let found = client.get_json(&format!("/v1/search?id={id}"))?;
            let (pulse, life) = (&found["pulses"][0], &found["pulses"][0]["life"]);
            ensure!(pulse["id"] == row["id"] && found["complete"] == true, "{id}: {found}");
            ensure!(life[1]["step"] == "stored", "{id} is stored: {life}");
        }
        Ok(true)
    })
}

fn check_lists(client: &mut Client, ids: &HashSet<Uuid>) -> Result<()> {
    let mut listed = Vec::with_capacity(ids.len());
    for service in SERVICES {
        list(client, service, &mut listed)?;
    }
    let distinct: HashSet<Uuid> = listed.iter().copied().collect();
    let (hidden, strange) = (ids.difference(&distinct).count(), distinct.difference(ids).count());
    ensure!(hidden == 0, "{hidden} of {} are in no list", ids.len());
    ensure!(strange == 0, "{strange} are listed that were not acknowledged");
    ensure!(listed.len() == distinct.len(), "{} listed, {} ids", listed.len(), distinct.len());
    Ok(())
}

/// The ids of a service, by all of its pages.
fn list(client: &mut Client, service: &str, listed: &mut Vec<Uuid>) -> Result<()> {
    let mut cursor = String::new();
    loop {
        let target = format!("/v1/pulses?service={service}&limit={PAGE_ROWS}{cursor}");
        let page = client.get_json(&target)?;
        for row in page["pulses"].as_array().context("a page has no pulses")? {
            listed.push(id_of(row)?);
        }
        match page["next"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => return Ok(()),
        }
    }
}

fn id_of(row: &Value) -> Result<Uuid> {
    Uuid::parse_str(row["id"].as_str().context("a row has no id")?).context("read an id")
}
