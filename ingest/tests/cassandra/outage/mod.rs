//! Faults of the database and around it. After each: every acknowledged pulse is one row, the
//! ledger agrees, the counts tell as many, and no server has grown.

mod disk;
mod gone;
mod nodes;
mod schema;

use anyhow::Result;
use tempfile::TempDir;
use xtask::server::Server;

use crate::flow::{Acknowledged, Flow};
use crate::support::{Bed, connected};

/// Sends to a connected server, lets something happen, ends the load and asks whether each
/// acknowledged pulse is one row.
fn under_load(name: &str, fault: impl FnOnce(&Bed, &Server) -> Result<()>) -> Result<Acknowledged> {
    let (bed, dir) = (Bed::new(name)?, TempDir::new()?);
    let server = bed.launch(dir.path()).start()?;
    connected(&server)?;
    let flow = Flow::start(server.listen(), "durable", 0)?;
    bed.settled(&server)?;
    fault(&bed, &server)?;
    let sent = flow.stop()?;
    bed.check(&server, &[&sent])?;
    Ok(sent)
}
