//! How many copies of each row keyspaces have, and raising them; never lowering.

use std::collections::{BTreeMap, HashMap};
use std::time::{Duration, Instant};

use uuid::Uuid;

use super::session::{Connected, quoted};
use crate::nodes::NodesError;

/// For all nodes to know a change: they tell each other at once, a busy one takes seconds.
const AGREEMENT_MAX: Duration = Duration::from_secs(10);
const ASK_AGAIN: Duration = Duration::from_millis(200);
const RAISE: &str = "to raise the copies of each row";

type Options = HashMap<String, String>;

/// Copies of each row by keyspace in the datacenter, without those that each node has for itself.
pub(super) async fn read(connected: &Connected) -> Result<BTreeMap<String, i32>, NodesError> {
    let all = options(connected).await?;
    let copies = |(name, options): (String, Options)| {
        copies(&options, &connected.datacenter).map(|copies| (name, copies))
    };
    Ok(all.into_iter().filter_map(copies).collect())
}

/// Raises the copies of a keyspace in a datacenter and waits until all nodes know.
pub(super) async fn raise(
    connected: &Connected,
    (keyspace, datacenter): (&str, &str),
    wanted: i32,
) -> Result<(), NodesError> {
    let all = options(connected).await?;
    let Some((_, options)) = all.into_iter().find(|(name, _)| name == keyspace) else {
        return Ok(());
    };
    let present = copies(&options, datacenter);
    let by_datacenter = class(&options).is_some_and(|class| class == BY_DATACENTER);
    if present.is_some_and(|copies| copies > wanted || (copies == wanted && by_datacenter)) {
        return Ok(());
    }
    let text = alter(keyspace, datacenter, wanted, &options);
    connected.order(RAISE, &text).await?;
    agreed(connected).await
}

async fn options(connected: &Connected) -> Result<Vec<(String, Options)>, NodesError> {
    connected.rows("SELECT keyspace_name, replication FROM system_schema.keyspaces").await
}

const BY_DATACENTER: &str = "NetworkTopologyStrategy";

fn class(options: &Options) -> Option<&str> {
    options.get("class")?.rsplit('.').next()
}

/// `None` where copies are none of the ring's matter.
fn copies(options: &Options, datacenter: &str) -> Option<i32> {
    let key = match class(options)? {
        "SimpleStrategy" => "replication_factor",
        BY_DATACENTER => datacenter,
        _ => return None,
    };
    // `3/1`: of three copies one is transient.
    options.get(key)?.split('/').next()?.parse().ok()
}

/// Other datacenters keep what they have.
fn alter(keyspace: &str, datacenter: &str, wanted: i32, options: &Options) -> String {
    let mut copies = BTreeMap::from([(datacenter, wanted.to_string())]);
    if class(options) == Some(BY_DATACENTER) {
        for (name, number) in options.iter().filter(|(name, _)| name.as_str() != "class") {
            copies.entry(name).or_insert_with(|| number.clone());
        }
    }
    let pair = |(name, number): (&str, String)| format!("{}: {}", quoted(name), quoted(&number));
    let pairs: Vec<String> = copies.into_iter().map(pair).collect();
    let keyspace = keyspace.replace('"', "\"\"");
    let pairs = pairs.join(", ");
    format!(
        "ALTER KEYSPACE \"{keyspace}\" WITH replication = {{'class': '{BY_DATACENTER}', {pairs}}}"
    )
}

/// Until no node that is known has another schema, or for as long as it may take.
async fn agreed(connected: &Connected) -> Result<(), NodesError> {
    const OWN: &str = "SELECT schema_version FROM system.local";
    const PEERS: &str = "SELECT schema_version FROM system.peers";
    let end = Instant::now() + AGREEMENT_MAX;
    loop {
        let own: Vec<(Option<Uuid>,)> = connected.rows(OWN).await?;
        let mut versions: Vec<(Option<Uuid>,)> = connected.rows(PEERS).await?;
        versions.extend(&own);
        if versions.iter().all(|version| version.0.is_none() || Some(version) == own.first()) {
            return Ok(());
        }
        if Instant::now() >= end {
            return Err(connected.silent("the nodes do not agree on the schema yet"));
        }
        tokio::time::sleep(ASK_AGAIN).await;
    }
}

#[cfg(test)]
mod unit_tests {
    use super::*;

    fn options(pairs: &[(&str, &str)]) -> Options {
        pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn copies_are_those_of_the_datacenter() {
        let simple = "org.apache.cassandra.locator.SimpleStrategy";
        let network = "org.apache.cassandra.locator.NetworkTopologyStrategy";
        let local = "org.apache.cassandra.locator.LocalStrategy";
        for (pairs, expected) in [
            (vec![("class", simple), ("replication_factor", "2")], Some(2)),
            (vec![("class", network), ("dc", "3"), ("far", "5")], Some(3)),
            (vec![("class", network), ("dc", "3/1")], Some(3)),
            (vec![("class", network), ("far", "5")], None),
            (vec![("class", local)], None),
            (vec![], None),
        ] {
            assert_eq!(copies(&options(&pairs), "dc"), expected, "{pairs:?}");
        }
    }

    #[test]
    fn other_datacenters_keep_their_copies() {
        let before = options(&[("class", "NetworkTopologyStrategy"), ("dc", "1"), ("far", "5")]);
        assert_eq!(
            alter("a", "dc", 3, &before),
            "ALTER KEYSPACE \"a\" WITH replication = \
             {'class': 'NetworkTopologyStrategy', 'dc': '3', 'far': '5'}"
        );
        let simple = options(&[("class", "SimpleStrategy"), ("replication_factor", "1")]);
        assert_eq!(
            alter("a", "dc", 3, &simple),
            "ALTER KEYSPACE \"a\" WITH replication = \
             {'class': 'NetworkTopologyStrategy', 'dc': '3'}"
        );
    }
}
