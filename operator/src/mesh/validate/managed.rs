//! Nodes that the operator runs: how they are spread, and what each pod may use. Pure.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::ResourceRequirements;
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use pulsemesh_crds::quantity::Size;
use pulsemesh_crds::store::{Cassandra, Scylla};

use super::problems::Problems;
use crate::mesh::plan::{Engine, ManagedPlan, RackPlan};

const MIB: u64 = 1 << 20;
/// Below, Cassandra 5 ends with OutOfMemoryError while it starts.
const HEAP_BYTES_MIN: u64 = 256 * MIB;
/// Below, Scylla refuses to start a shard.
const SCYLLA_BYTES_MIN: u64 = 1024 * MIB;
/// What a node takes beside heap and buffers, whatever its heap: code, thread stacks, the chunk
/// cache, compression buffers.
const OFF_HEAP_BYTES: u64 = 512 * MIB;
/// The name of the one rack that there is unless the spec names some.
const RACK: &str = "rack1";
/// Replicas that let one node be away with `local_quorum`.
const REPLICAS: i32 = 3;

/// What Cassandra and Scylla have in common.
struct Nodes<'a> {
    path: &'static str,
    count: i32,
    racks: Option<&'a [String]>,
    replication_factor: Option<i32>,
}

/// Plans Cassandra.
pub(super) fn cassandra(spec: &Cassandra, problems: &mut Problems) -> ManagedPlan {
    let nodes = Nodes {
        path: "spec.store.cassandra",
        count: spec.nodes,
        racks: spec.racks.as_deref(),
        replication_factor: spec.replication_factor,
    };
    let path = "spec.store.cassandra.heap";
    let heap = problems.bytes(path, &spec.heap);
    at_least(path, &spec.heap, HEAP_BYTES_MIN, problems);
    problems.bytes("spec.store.cassandra.storage.size", &spec.storage.size);
    ManagedPlan {
        engine: Engine::Cassandra { heap: spec.heap.clone() },
        image: spec.image.clone(),
        datacenter: spec.datacenter.clone(),
        racks: spread(&nodes, problems),
        storage: spec.storage.clone(),
        resources: spec.resources.clone().unwrap_or_else(|| cassandra_resources(heap)),
        replication_factor: replication_factor(&nodes, problems),
        pod: spec.pod.clone(),
    }
}

/// Plans Scylla.
pub(super) fn scylla(spec: &Scylla, problems: &mut Problems) -> ManagedPlan {
    let nodes = Nodes {
        path: "spec.store.scylla",
        count: spec.nodes,
        racks: spec.racks.as_deref(),
        replication_factor: spec.replication_factor,
    };
    let path = "spec.store.scylla.memory";
    let memory = problems.bytes(path, &spec.memory);
    at_least(path, &spec.memory, SCYLLA_BYTES_MIN, problems);
    problems.bytes("spec.store.scylla.storage.size", &spec.storage.size);
    ManagedPlan {
        engine: Engine::Scylla { memory: spec.memory.clone(), cores: spec.cores },
        image: spec.image.clone(),
        datacenter: spec.datacenter.clone(),
        racks: spread(&nodes, problems),
        storage: spec.storage.clone(),
        resources: spec.resources.clone().unwrap_or_else(|| scylla_resources(memory, spec.cores)),
        replication_factor: replication_factor(&nodes, problems),
        pod: spec.pod.clone(),
    }
}

fn at_least(path: &str, size: &Size, least: u64, problems: &mut Problems) {
    if size.bytes().is_some_and(|bytes| bytes < least) {
        let least = least / MIB;
        problems
            .push(path, format!("`{size}` is too little for a node: give it {least}Mi or more"));
    }
}

/// Evenly; the first racks get one more.
fn spread(nodes: &Nodes<'_>, problems: &mut Problems) -> Vec<RackPlan> {
    let default = [RACK.to_owned()];
    let names = nodes.racks.filter(|racks| !racks.is_empty()).unwrap_or(&default);
    for (place, name) in names.iter().enumerate() {
        if names[..place].contains(name) {
            problems.push(format!("{}.racks", nodes.path), format!("`{name}` is named twice"));
        }
    }
    let count = i32::try_from(names.len()).unwrap_or(i32::MAX);
    if count > nodes.count {
        let message = format!("there are {count} racks for {} nodes: name fewer", nodes.count);
        problems.push(format!("{}.racks", nodes.path), message);
    }
    let (each, more) = (nodes.count / count, nodes.count % count);
    let share = |place: i32| each + i32::from(place < more);
    (0..)
        .zip(names)
        .map(|(place, name)| RackPlan { name: name.clone(), nodes: share(place) })
        .collect()
}

fn replication_factor(nodes: &Nodes<'_>, problems: &mut Problems) -> i32 {
    let wanted = nodes.replication_factor.unwrap_or_else(|| nodes.count.min(REPLICAS));
    if wanted > nodes.count || wanted < 1 {
        let path = format!("{}.replicationFactor", nodes.path);
        problems.push(path, format!("`{wanted}` does not fit {} nodes", nodes.count));
    }
    wanted
}

/// Memory is twice the heap and a constant: the JVM may take as much again in direct buffers and
/// memtables outside the heap, and a node over its limit is killed. Request and limit are the
/// same, so that it is never killed for what others use. Processor time has no limit: one would
/// turn a compaction into time-outs.
fn cassandra_resources(heap: u64) -> ResourceRequirements {
    let memory = mebibytes(heap.saturating_mul(2).saturating_add(OFF_HEAP_BYTES));
    // Half a core for each GiB of heap, between a quarter and four cores.
    let cpu = (heap / MIB * 500 / 1024).clamp(250, 4_000);
    resources(&memory, &format!("{cpu}m"), false)
}

/// Scylla takes all of `memory` at its start; the rest is for the process around it. With cores
/// and memory requested as they are limited, Kubernetes can give it cores of its own.
fn scylla_resources(memory: u64, cores: i32) -> ResourceRequirements {
    let around = (memory / 10).saturating_add(256 * MIB);
    resources(&mebibytes(memory.saturating_add(around)), &cores.to_string(), true)
}

fn resources(memory: &str, cpu: &str, limits_cpu: bool) -> ResourceRequirements {
    let amounts = |with_cpu: bool| {
        let memory = ("memory".to_owned(), Quantity(memory.to_owned()));
        let cpu = with_cpu.then(|| ("cpu".to_owned(), Quantity(cpu.to_owned())));
        Some(cpu.into_iter().chain([memory]).collect::<BTreeMap<_, _>>())
    };
    ResourceRequirements { requests: amounts(true), limits: amounts(limits_cpu), claims: None }
}

fn mebibytes(bytes: u64) -> String {
    format!("{}Mi", bytes.div_ceil(MIB))
}
