//! The keyspace: made where it is missing, and never changed.

use scylla::client::session::Session;
use tracing::{info, warn};

use crate::store::cassandra::settings::CassandraSettings;

use super::error::{SchemaError, is_refused, unread};
use super::requests::Requests;

const DOING: &str = "look for the keyspace";
/// Longest name of a keyspace.
const NAME_MAX: usize = 48;
/// Replicas of each row where there are as many nodes and no other number is set.
const REPLICAS: usize = 3;

/// Refuses a name that would be something else in a statement.
pub(super) fn check_name(name: &str) -> Result<(), SchemaError> {
    let first = name.bytes().next().is_some_and(|byte| byte.is_ascii_lowercase());
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
    if first && name.len() <= NAME_MAX && name.bytes().all(plain) {
        return Ok(());
    }
    Err(SchemaError::Name { name: name.to_owned() })
}

/// Makes the keyspace if it is missing, for a datacenter of so many nodes.
pub(super) async fn make(
    requests: Requests<'_>,
    settings: &CassandraSettings,
    nodes: usize,
) -> Result<(), SchemaError> {
    let cql = "SELECT keyspace_name FROM system_schema.keyspaces WHERE keyspace_name = ?";
    let rows = requests.rows(DOING, cql, (&settings.keyspace,)).await?;
    if rows.rows_num() > 0 {
        return Ok(());
    }
    let datacenter = match &settings.datacenter {
        Some(datacenter) => datacenter.clone(),
        None => local_datacenter(requests).await?,
    };
    let replicas = replicas(settings.replication_factor, nodes);
    let keyspace = &*settings.keyspace;
    info!(keyspace, datacenter, replicas, "make the keyspace");
    if is_scarce(settings.replication_factor, nodes) {
        warn!(
            keyspace,
            replicas,
            "the datacenter has fewer than {REPLICAS} nodes, and a keyspace keeps its replicas: \
             alter it when there are more"
        );
    }
    let plain = create(keyspace, &datacenter, replicas);
    make_as(requests, &plain, is_scylla(requests.session)).await
}

/// Of each row: as many as was asked for.
fn replicas(asked: Option<u32>, nodes: usize) -> u32 {
    asked.unwrap_or(nodes.clamp(1, REPLICAS) as u32)
}

/// Whether there are fewer replicas than there should be, and nobody has asked for so few.
fn is_scarce(asked: Option<u32>, nodes: usize) -> bool {
    asked.is_none() && nodes < REPLICAS
}

/// Scylla's releases before 2025.4 know no conditional writes in a keyspace with tablets, which
/// are their default, and older ones know no tablets; so the option is asked for, and left out
/// where it is refused.
async fn make_as(requests: Requests<'_>, plain: &str, scylla: bool) -> Result<(), SchemaError> {
    if scylla {
        let without = format!("{plain} AND tablets = {{'enabled': false}}");
        match requests.change(&without).await {
            Err(SchemaError::Request { source, .. }) if is_refused(&source) => {}
            done => return done,
        }
    }
    requests.change(plain).await
}

fn create(keyspace: &str, datacenter: &str, replicas: u32) -> String {
    let datacenter = datacenter.replace('\'', "''");
    format!(
        "CREATE KEYSPACE IF NOT EXISTS {keyspace} WITH replication = \
         {{'class': 'NetworkTopologyStrategy', '{datacenter}': {replicas}}}"
    )
}

async fn local_datacenter(requests: Requests<'_>) -> Result<String, SchemaError> {
    let rows = requests.rows(DOING, "SELECT data_center FROM system.local", ()).await?;
    let (datacenter,) = rows.first_row::<(String,)>().map_err(unread(DOING))?;
    Ok(datacenter)
}

fn is_scylla(session: &Session) -> bool {
    session.get_cluster_state().get_nodes_info().iter().any(|node| node.sharder().is_some())
}

#[cfg(test)]
pub(super) async fn make_as_on_scylla(
    requests: Requests<'_>,
    keyspace: &str,
    datacenter: &str,
) -> Result<(), SchemaError> {
    make_as(requests, &create(keyspace, datacenter, 1), true).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_plain_or_refused() {
        let check = |name: &str, fine: bool| assert_eq!(check_name(name).is_ok(), fine, "{name}");
        check("pulsemesh", true);
        check("p_2", true);
        check(&"a".repeat(48), true);
        check(&"a".repeat(49), false);
        check("", false);
        check("2p", false);
        check("_p", false);
        check("Pulse", false);
        check("pülse", false);
        check("a.b", false);
        check("a; DROP KEYSPACE b", false);
    }

    #[test]
    fn there_are_three_replicas_or_as_many_as_nodes_and_fewer_are_told_unless_asked_for() {
        let check = |asked, nodes, expected, scarce| {
            assert_eq!(replicas(asked, nodes), expected, "{asked:?} of {nodes}");
            assert_eq!(is_scarce(asked, nodes), scarce, "{asked:?} of {nodes}");
        };
        check(None, 0, 1, true);
        check(None, 1, 1, true);
        check(None, 2, 2, true);
        check(None, 3, 3, false);
        check(None, 9, 3, false);
        check(Some(1), 1, 1, false);
        check(Some(2), 9, 2, false);
        check(Some(5), 3, 5, false);
    }

    #[test]
    fn a_quote_in_the_name_of_a_datacenter_stays_in_it() {
        assert_eq!(
            create("k", "o'hare", 2),
            "CREATE KEYSPACE IF NOT EXISTS k WITH replication = \
             {'class': 'NetworkTopologyStrategy', 'o''hare': 2}"
        );
    }
}
