//! The cluster itself: every node lets in who has the password and a certificate, and one that
//! was killed comes back.

use anyhow::{Result, ensure};
use xtask::cassandra::{Cluster, Node};

use crate::session::{UP_MAX, cluster, connect};

#[tokio::test]
#[ignore = "needs the database of cargo xtask test cassandra"]
async fn each_node_is_logged_in_to_and_one_that_was_killed_comes_back() -> Result<()> {
    let cluster = cluster()?;
    ensure!(cluster.nodes().len() == 3);
    for node in cluster.nodes() {
        ensure!(peers(&cluster, node).await? == 2, "{} does not know both others", node.address());
    }
    let killed = &cluster.nodes()[1];
    killed.kill()?;
    ensure!(connect(&cluster, killed).await.is_err(), "nobody is there");
    killed.start()?;
    killed.wait_sees(3, UP_MAX)?;
    ensure!(peers(&cluster, killed).await? == 2);
    Ok(())
}

/// How many others the node knows.
async fn peers(cluster: &Cluster, node: &Node) -> Result<usize> {
    let session = connect(cluster, node).await?;
    let rows = session.query_unpaged("SELECT peer FROM system.peers_v2", &[]).await?;
    Ok(rows.into_rows_result()?.rows_num())
}
