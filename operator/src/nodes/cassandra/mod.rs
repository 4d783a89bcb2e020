//! Administration of Cassandra nodes, and of Scylla's where it speaks the same: questions by CQL
//! to the one node alone, orders that only `nodetool` can give by a command in its container. No
//! session outlives a call.

mod gossip;
mod heard;
mod login;
mod orders;
mod replication;
mod session;
#[cfg(test)]
mod tests;

use std::future::Future;
use std::time::{Duration, Instant};

use tokio::time::timeout;

use self::heard::Heard;
use super::reach::Reach;
use super::{NodeRef, Nodes, NodesError, View};
use session::Connected;

/// For one call in all: connections, questions, and listening for heartbeats.
const CALL_TIMEOUT: Duration = Duration::from_secs(25);

/// Nodes that speak CQL and obey `nodetool`.
#[derive(Debug)]
pub struct CassandraNodes<R> {
    reach: R,
    heard: Heard,
}

impl<R: Reach> CassandraNodes<R> {
    /// Reached this way.
    pub fn new(reach: R) -> Self {
        Self { reach, heard: Heard::default() }
    }

    async fn view_of(&self, node: &NodeRef) -> Result<View, NodesError> {
        let connected = login::connect(&self.reach, node).await?;
        let members = self.members(node, &connected).await?;
        let replication = replication::read(&connected).await?;
        let default_login = connected.is_default_login || login::default_works(&connected).await?;
        Ok(View { host_id: connected.host_id.clone(), members, replication, default_login })
    }

    /// Listens until everybody was heard of, or for as long as it takes to be sure of a silence.
    async fn members(
        &self,
        node: &NodeRef,
        connected: &Connected,
    ) -> Result<Vec<super::Member>, NodesError> {
        let mut round = self.heard.begin(node, Instant::now());
        loop {
            let seen = gossip::read(connected).await?;
            if let Some(members) = round.listen(&connected.host_id, seen, Instant::now()) {
                self.heard.keep(node, round);
                return Ok(members);
            }
            tokio::time::sleep(heard::ASK_AGAIN).await;
        }
    }
}

impl<R: Reach> Nodes for CassandraNodes<R> {
    async fn view(&self, node: &NodeRef) -> Result<View, NodesError> {
        bounded(node, self.view_of(node)).await
    }

    async fn secure(&self, node: &NodeRef) -> Result<(), NodesError> {
        bounded(node, login::secure(&self.reach, node)).await
    }

    async fn decommission(&self, node: &NodeRef) -> Result<(), NodesError> {
        bounded(node, orders::decommission(&self.reach, node)).await
    }

    async fn mark_left(&self, node: &NodeRef) -> Result<(), NodesError> {
        bounded(node, orders::mark_left(&self.reach, node)).await
    }

    async fn raise_replication(
        &self,
        node: &NodeRef,
        keyspace: &str,
        datacenter: &str,
        copies: i32,
    ) -> Result<(), NodesError> {
        let raise = async {
            let connected = login::connect(&self.reach, node).await?;
            replication::raise(&connected, (keyspace, datacenter), copies).await
        };
        bounded(node, raise).await
    }

    async fn repaired(&self, node: &NodeRef, reason: &str) -> Result<bool, NodesError> {
        bounded(node, orders::repaired(&self.reach, node, reason)).await
    }
}

async fn bounded<T>(
    node: &NodeRef,
    call: impl Future<Output = Result<T, NodesError>>,
) -> Result<T, NodesError> {
    let why = || format!("nothing within {} s", CALL_TIMEOUT.as_secs());
    let bounded = timeout(CALL_TIMEOUT, Box::pin(call)).await;
    bounded.unwrap_or_else(|_| Err(NodesError::Unreachable { pod: node.pod.clone(), why: why() }))
}
