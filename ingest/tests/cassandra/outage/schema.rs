//! The tables are gone, or the nodes do not agree on them.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use tempfile::TempDir;
use uuid::Uuid;
use xtask::server::Server;

use crate::flow::{Acknowledged, Flow};
use crate::support::{Bed, SOON, connected, lasts};

#[test]
#[ignore = "needs the database of cargo xtask test cassandra"]
fn a_keyspace_that_is_dropped_under_load_is_made_anew_and_what_comes_then_is_stored() -> Result<()>
{
    let (bed, dir) = (Bed::new("dropped")?, TempDir::new()?);
    let server = bed.launch(dir.path()).start()?;
    connected(&server)?;
    let flow = Flow::start(server.listen(), "durable", 0)?;
    bed.settled(&server)?;
    bed.drop_keyspace(&server)?;
    let dropped = Instant::now();
    bed.settled(&server)?;
    // Some of what is stored now may have been acknowledged before; more is sent after.
    lasts(Duration::from_secs(3), || Ok(()))?;
    let sent = flow.stop()?;
    sent.check_none_refused()?;
    bed.settle(&[&server])?;
    let rows = bed.rows()?;
    let distinct: HashSet<Uuid> = rows.iter().copied().collect();
    let after: HashSet<Uuid> = sent.ids_sent_after(dropped).collect();
    let all: HashSet<Uuid> = sent.ids().collect();
    ensure!(!after.is_empty() && rows.len() == distinct.len(), "{} rows", rows.len());
    ensure!(after.is_subset(&distinct), "{} are lost", after.difference(&distinct).count());
    ensure!(distinct.is_subset(&all), "rows that nobody was told of");
    Ok(())
}

#[test]
#[ignore = "needs the database of cargo xtask test cassandra"]
fn servers_that_migrate_at_once_while_a_node_hangs_agree_and_store_all() -> Result<()> {
    let bed = Bed::new("disagreement")?;
    let dirs = [TempDir::new()?, TempDir::new()?];
    bed.last_node()?.pause()?;
    let begun = begin(&bed, &dirs[0]).and_then(|one| Ok([one, begin(&bed, &dirs[1])?]));
    let waited = lasts(Duration::from_secs(10), || Ok(()));
    // Whatever happened: a node that hangs would fail the next test.
    bed.last_node()?.resume()?;
    let [(first, one), (second, other)] = begun?;
    waited?;
    for server in [&first, &second] {
        connected(server)?;
        bed.settled(server)?;
    }
    let sent = [one.stop()?, other.stop()?];
    sent.iter().try_for_each(Acknowledged::check_none_refused)?;
    bed.check_rows(&[&first, &second], &[&sent[0], &sent[1]])?;
    Ok(())
}

/// Starts a server that finds no keyspace and a node that does not answer; it accepts at once.
fn begin(bed: &Bed, dir: &TempDir) -> Result<(Server, Flow)> {
    let server = bed.launch(dir.path()).start()?;
    server.wait_ready(SOON)?;
    let flow = Flow::start(server.listen(), "durable", 0)?;
    Ok((server, flow))
}
