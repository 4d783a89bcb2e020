//! One node of three is away: killed, restarted, or silent. A quorum is left all the time.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use tempfile::TempDir;
use xtask::server::Server;

use super::under_load;
use crate::flow::{Acknowledged, Flow};
use crate::read::Reader;
use crate::session::UP_MAX;
use crate::support::{Bed, connected, lasts, stored};

/// Longest that nothing may be stored while two of three nodes answer: the times of some requests,
/// each of which is sent again when it was late. Far less than the fault lasts.
const STALL_MAX: Duration = Duration::from_secs(20);

/// How long a node is away.
const AWAY: Duration = Duration::from_secs(25);

#[test]
#[ignore = "needs the database of cargo xtask test cassandra"]
fn one_of_three_nodes_that_is_killed_fails_no_request_at_any_level() -> Result<()> {
    let (bed, dir) = (Bed::new("killed")?, TempDir::new()?);
    let server = bed.launch(dir.path()).start()?;
    connected(&server)?;
    let durable = Flow::start(server.listen(), "durable", 0)?;
    let stored = Flow::start(server.listen(), "stored", 0)?;
    bed.settled(&server)?;
    let reader = Reader::start(server.listen())?;
    bed.last_node()?.kill()?;
    goes_on(&server, AWAY)?;
    reader.stop()?;
    let sent = [durable.stop()?, stored.stop()?];
    sent.iter().try_for_each(Acknowledged::check_none_refused)?;
    bed.check(&server, &[&sent[0], &sent[1]])
}

#[test]
#[ignore = "needs the database of cargo xtask test cassandra"]
fn nodes_that_are_restarted_one_by_one_cost_no_request_and_no_pulse() -> Result<()> {
    let sent = under_load("restarted", |bed, server| {
        let reader = Reader::start(server.listen())?;
        for node in bed.cluster.nodes() {
            node.stop()?;
            node.start()?;
            node.wait_sees(3, UP_MAX)?;
            bed.settled(server)?;
        }
        reader.stop()
    })?;
    sent.check_none_refused()
}

#[test]
#[ignore = "needs the database of cargo xtask test cassandra"]
fn a_node_that_hangs_costs_no_request_and_the_others_go_on_storing() -> Result<()> {
    let sent = under_load("hung", |bed, server| {
        let reader = Reader::start(server.listen())?;
        bed.last_node()?.pause()?;
        let outcome = goes_on(server, AWAY).and_then(|()| reader.stop());
        bed.last_node()?.resume()?;
        outcome
    })?;
    sent.check_none_refused()
}

/// For so long, pulses are stored all the time.
fn goes_on(server: &Server, time: Duration) -> Result<()> {
    let (mut highest, mut since) = (stored(server)?, Instant::now());
    lasts(time, || {
        let now = stored(server)?;
        if now > highest {
            (highest, since) = (now, Instant::now());
        }
        ensure!(since.elapsed() < STALL_MAX, "nothing is stored; its log:\n{}", server.log());
        Ok(())
    })
}
