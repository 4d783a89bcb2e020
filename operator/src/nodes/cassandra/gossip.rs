//! What a node knows of all by gossip. Cassandra tells all of it in a table; Scylla tells itself
//! who is up.

use std::net::IpAddr;

use uuid::Uuid;

use super::session::Connected;
use crate::nodes::{NodesError, State};

/// A node as gossip tells of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Seen {
    pub(super) host_id: String,
    pub(super) address: IpAddr,
    pub(super) state: State,
    pub(super) life: Life,
}

/// By what one tells whether a node is alive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Life {
    /// It counts about one a second for as long as it runs, and begins anew with a higher start.
    Beats {
        /// When it was started; seconds.
        generation: i32,
        /// How many.
        count: i32,
    },
    /// The node that was asked has judged itself.
    Told(bool),
}

const CASSANDRA: &str = "SELECT host_id, address, status_with_port, status, generation, heartbeat \
                         FROM system_views.gossip_info";
const SCYLLA: &str = "SELECT host_id, peer, status, up FROM system.cluster_status";

/// Scylla forgets by gossip who has left, and keeps it here.
const SCYLLA_TOPOLOGY: &str = "SELECT host_id, node_state FROM system.topology";

/// Whom the node knows.
pub(super) async fn read(connected: &Connected) -> Result<Vec<Seen>, NodesError> {
    if connected.is_scylla {
        let rows = connected.rows::<ScyllaRow>(SCYLLA).await?;
        let mut seen: Vec<Seen> = rows.into_iter().filter_map(of_scylla).collect();
        // Where it can't be read, nobody is known to have left, and who leaves is waited for.
        let topology = connected.rows::<TopologyRow>(SCYLLA_TOPOLOGY).await.unwrap_or_default();
        seen.extend(topology.into_iter().filter_map(left_of_scylla));
        return Ok(seen);
    }
    let rows = connected.rows::<CassandraRow>(CASSANDRA).await?;
    Ok(rows.into_iter().filter_map(of_cassandra).collect())
}

type CassandraRow =
    (Option<String>, IpAddr, Option<String>, Option<String>, Option<i32>, Option<i32>);

/// One that has not told its host id yet is not known.
fn of_cassandra(row: CassandraRow) -> Option<Seen> {
    let (host_id, address, status_with_port, status, generation, heartbeat) = row;
    let status = status_with_port.or(status).unwrap_or_default();
    let life = match state_and_rest(&status).0 {
        // Its last words: it has stopped in order.
        "shutdown" => Life::Told(false),
        _ => Life::Beats { generation: generation?, count: heartbeat? },
    };
    Some(Seen { host_id: host_id?, address, state: state(&status), life })
}

type ScyllaRow = (Option<Uuid>, IpAddr, Option<String>, bool);

fn of_scylla((host_id, address, status, up): ScyllaRow) -> Option<Seen> {
    let state = state(&status.unwrap_or_default());
    Some(Seen { host_id: host_id?.to_string(), address, state, life: Life::Told(up) })
}

type TopologyRow = (Option<Uuid>, Option<String>);

fn left_of_scylla((host_id, state): TopologyRow) -> Option<Seen> {
    let host_id = host_id.filter(|_| state.as_deref() == Some("left"))?.to_string();
    let address = IpAddr::from([0; 4]);
    Some(Seen { host_id, address, state: State::Left, life: Life::Told(false) })
}

fn state_and_rest(status: &str) -> (&str, &str) {
    status.split_once(',').unwrap_or((status, ""))
}

/// As both write it; what follows the comma are tokens.
fn state(status: &str) -> State {
    match state_and_rest(status).0 {
        "BOOT" | "BOOT_REPLACE" | "BOOTSTRAP" => State::Joining,
        // Stopped in order, it is part of the ring still.
        "NORMAL" | "shutdown" => State::Normal,
        "LEAVING" => State::Leaving,
        // The second: another was told that it is gone for good, and its data was made anew.
        "LEFT" | "removed" => State::Left,
        _ => State::Unknown,
    }
}

#[cfg(test)]
mod unit_tests {
    use super::*;

    #[test]
    fn a_state_is_read_from_what_gossip_tells() {
        for (status, expected) in [
            ("NORMAL,-9223372036854775807", State::Normal),
            ("BOOT,12", State::Joining),
            ("BOOT_REPLACE,127.0.0.1:7000", State::Joining),
            ("LEAVING,12", State::Leaving),
            ("LEFT,12,1764000000000", State::Left),
            ("shutdown,true", State::Normal),
            ("removing,x", State::Unknown),
            ("removed,x,1", State::Left),
            ("hibernate,true", State::Unknown),
            ("MOVING,1", State::Unknown),
            ("", State::Unknown),
        ] {
            assert_eq!(state(status), expected, "{status}");
        }
    }

    #[test]
    fn one_without_a_host_id_or_a_heartbeat_is_not_known() {
        let address = IpAddr::from([10, 0, 0, 1]);
        let row = |host: Option<&str>, beat| {
            let normal = Some("NORMAL,1".to_owned());
            of_cassandra((host.map(str::to_owned), address, normal, None, Some(1), beat))
        };
        assert_eq!(row(None, Some(5)), None);
        assert_eq!(row(Some("a"), None), None);
        let life = Life::Beats { generation: 1, count: 5 };
        let seen = Seen { host_id: "a".to_owned(), address, state: State::Normal, life };
        assert_eq!(row(Some("a"), Some(5)), Some(seen));
    }
}
