//! Servers that know ids and keys together through the database of their store.

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use tempfile::TempDir;
use xtask::client::Request;
use xtask::flags;
use xtask::server::{Launch, Server, wait_for};

use crate::support::{Bed, SOON};

fn wait_shared(server: &Server) -> Result<()> {
    wait_for(3 * SOON, "ids and keys to be shared", || {
        let shared = [("mode", "shared")];
        Ok(server.samples()?.sum("pulsemesh_idempotency_mode", &shared) == 1.0)
    })
    .with_context(|| format!("its log:\n{}", server.log()))
}

fn send(server: &Server, key: &str, status: u16) -> Result<Value> {
    let request = Request::json("/pulse?ack=stored", r#"{"service_name":"a"}"#);
    let answer = server.client().send(&request.header("idempotency-key", key))?;
    ensure!(answer.status == status, "{} {}", answer.status, answer.text());
    answer.json()
}

#[test]
#[ignore = "needs the database of cargo xtask test cassandra"]
fn a_repeat_at_another_server_is_known_by_the_database() -> Result<()> {
    let bed = Bed::new("once")?;
    let dirs = [TempDir::new()?, TempDir::new()?];
    let launch =
        |dir: &TempDir| -> Launch { bed.launch(dir.path()).flag(flags::IDEMPOTENCY, "cassandra") };
    let servers = [launch(&dirs[0]).start()?, launch(&dirs[1]).start()?];
    servers.iter().try_for_each(wait_shared)?;
    let first = send(&servers[0], "key-1", 200)?;
    for server in [&servers[1], &servers[0]] {
        let again = send(server, "key-1", 200)?;
        assert_eq!((&again["id"], &again["duplicate"]), (&first["id"], &true.into()));
    }
    let other = Request::json("/pulse", r#"{"service_name":"b"}"#);
    let refused = servers[1].client().send(&other.header("idempotency-key", "key-1"))?;
    assert_eq!((refused.status, &refused.json()?["code"]), (422, &"key_reused".into()));
    assert_eq!(bed.rows()?.len(), 1);
    Ok(())
}
