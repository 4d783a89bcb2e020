//! The whole database is away, from the start or for a while, or lets nobody in.

use std::time::Duration;

use anyhow::{Result, ensure};
use tempfile::TempDir;
use xtask::client::Client;
use xtask::server::{Server, wait_for};

use super::under_load;
use crate::flow::Flow;
use crate::support::{Bed, SOON, connected, lasts, long, stored};

#[test]
#[ignore = "needs the database of cargo xtask test cassandra"]
fn a_server_that_starts_before_its_database_accepts_and_stores_later() -> Result<()> {
    let (bed, dir) = (Bed::new("down_at_start")?, TempDir::new()?);
    bed.kill_all()?;
    let server = bed.launch(dir.path()).start()?;
    server.wait_ready(SOON)?;
    let flow = Flow::start(server.listen(), "durable", 0)?;
    lasts(Duration::from_secs(3), || ensure_nothing_stored(&server))?;
    bed.cluster.mend(SOON)?;
    connected(&server)?;
    bed.settled(&server)?;
    let sent = flow.stop()?;
    sent.check_none_refused()?;
    bed.check(&server, &[&sent])
}

#[test]
#[ignore = "needs the database of cargo xtask test cassandra"]
fn a_database_that_is_gone_for_a_while_costs_no_request_and_no_pulse() -> Result<()> {
    let away = Duration::from_secs(if long() { 30 } else { 10 });
    let sent = under_load("gone", |bed, server| {
        bed.kill_all()?;
        lasts(away, || ensure_ready(server))?;
        bed.cluster.mend(SOON * 2)?;
        bed.settled(server)
    })?;
    sent.check_none_refused()
}

#[test]
#[ignore = "needs the database of cargo xtask test cassandra"]
fn a_wrong_password_is_told_and_a_right_one_needs_no_restart() -> Result<()> {
    let (bed, dir) = (Bed::new("password")?, TempDir::new()?);
    bed.set_password("no-such-secret\n")?;
    let server = bed.launch(dir.path()).start()?;
    server.wait_ready(SOON)?;
    let flow = Flow::start(server.listen(), "durable", 0)?;
    wait_for(SOON, "a word about the login", || {
        ensure_nothing_stored(&server)?;
        let log = server.log().to_lowercase();
        Ok(["password", "credential", "authenticat", "login"].iter().any(|w| log.contains(w)))
    })?;
    ensure!(!server.log().contains("no-such-secret"), "the log holds the password");
    let (_, password) = bed.cluster.settings().login().unwrap_or_default();
    bed.set_password(password)?;
    connected(&server)?;
    bed.settled(&server)?;
    let sent = flow.stop()?;
    sent.check_none_refused()?;
    bed.check(&server, &[&sent])
}

fn ensure_nothing_stored(server: &Server) -> Result<()> {
    ensure!(stored(server)? == 0.0, "pulses are stored nowhere");
    ensure_ready(server)
}

/// The store's state is told, and is no reason to be taken out of service.
fn ensure_ready(server: &Server) -> Result<()> {
    let answer = Client::new(server.admin()).get("/readyz")?;
    ensure!(answer.status == 200, "{}: {}", answer.status, answer.text());
    Ok(())
}
