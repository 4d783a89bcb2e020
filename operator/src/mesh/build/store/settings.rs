//! The files of the store's ConfigMap: settings of a node, and the scripts that put them in
//! place. All nodes share them, whatever they were made from: what a script reads, and what a pod
//! template calls, stays as it is.

use std::collections::BTreeMap;

use super::rack::Rack;
use super::seeds;
use crate::mesh::plan::{Engine, ManagedPlan, Plan};

const PREPARE_CASSANDRA: &str = include_str!("cassandra/prepare.sh");
const START_CASSANDRA: &str = include_str!("cassandra/start.sh");
const YAML_CASSANDRA: &str = include_str!("cassandra/cassandra.yaml");
const LOGBACK: &str = include_str!("cassandra/logback.xml");
const PREPARE_SCYLLA: &str = include_str!("scylla/prepare.sh");
const START_SCYLLA: &str = include_str!("scylla/start.sh");
const YAML_SCYLLA: &str = include_str!("scylla/scylla.yaml");

/// The commit log may take a quarter of the claim, as Cassandra itself reckons; it sees the disk
/// of the machine where the claim is a folder on it.
const COMMIT_LOG_PART: u64 = 4;
/// Hints for one node that is away; with a few away at once there is still room for data.
const HINTS_PART: u64 = 16;
/// Four segments of 32 MiB, below which each write flushes.
const COMMIT_LOG_MIB_MIN: u64 = 128;
/// Cassandra's own bound.
const COMMIT_LOG_MIB_MAX: u64 = 8192;
const HINTS_MIB_MIN: u64 = 64;

/// Every file by its name.
pub(super) fn files(
    plan: &Plan,
    managed: &ManagedPlan,
    racks: &[Rack],
) -> BTreeMap<String, String> {
    let mut files = BTreeMap::from([("seeds".to_owned(), seeds::of(plan, racks).join(","))]);
    let mut add = |name: &str, text: String| {
        files.insert(name.to_owned(), text);
    };
    match managed.engine {
        Engine::Cassandra { .. } => {
            add("cassandra.yaml", cassandra_yaml(plan, managed, racks));
            add("logback.xml", LOGBACK.to_owned());
            add("prepare.sh", PREPARE_CASSANDRA.to_owned());
            add("start.sh", START_CASSANDRA.to_owned());
        }
        Engine::Scylla { .. } => {
            add("scylla.yaml", filled(YAML_SCYLLA, &[("CLUSTER", cluster(plan))]));
            add("prepare.sh", PREPARE_SCYLLA.to_owned());
            add("start.sh", START_SCYLLA.to_owned());
        }
    }
    for rack in racks {
        let text = format!("dc={}\nrack={}\n", managed.datacenter, rack.name);
        add(&format!("rackdc.{}.properties", rack.name), text);
    }
    files
}

/// `SEEDS` alone is filled in by the script, at each start.
fn cassandra_yaml(plan: &Plan, managed: &ManagedPlan, racks: &[Rack]) -> String {
    let mib = managed.storage.size.bytes().unwrap_or_default() >> 20;
    let commit_log = (mib / COMMIT_LOG_PART).clamp(COMMIT_LOG_MIB_MIN, COMMIT_LOG_MIB_MAX);
    let hints = (mib / HINTS_PART).max(HINTS_MIB_MIN);
    let values = [
        ("CLUSTER", cluster(plan)),
        ("COMMIT_LOG", format!("{commit_log}MiB")),
        ("HINTS", format!("{hints}MiB")),
        ("TOKENS_FOR", tokens_for(managed.replication_factor, racks).to_string()),
    ];
    let mut yaml = filled(YAML_CASSANDRA, &values);
    yaml.push_str(sync(managed.replication_factor));
    yaml
}

/// For how many copies a node that joins chooses its tokens, so that all hold equally much.
/// Cassandra refuses more than there are racks, unless there is one; racks come one by one.
fn tokens_for(copies: i32, racks: &[Rack]) -> i32 {
    let used = racks.iter().filter(|rack| rack.step.replicas > 0).count();
    if used <= 1 || used >= copies.unsigned_abs() as usize { copies } else { 1 }
}

/// A row with one copy is on disk before it is acknowledged; one with more survives the loss of
/// a machine's memory in the others.
fn sync(copies: i32) -> &'static str {
    if copies > 1 {
        "\ncommitlog_sync: periodic\ncommitlog_sync_period: 10000ms\n"
    } else {
        "\ncommitlog_sync: group\ncommitlog_sync_group_window: 5ms\n"
    }
}

/// The ring's name. A node refuses to speak to one of another ring, so a pod that gets the
/// former address of a node of another mesh is not taken for it.
fn cluster(plan: &Plan) -> String {
    format!("{}/{}", plan.mesh.namespace, plan.mesh.name)
}

fn filled(text: &str, values: &[(&str, String)]) -> String {
    values
        .iter()
        .fold(text.to_owned(), |text, (name, value)| text.replace(&format!("@{name}@"), value))
}
