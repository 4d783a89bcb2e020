//! Plans that tests wish for.

use std::time::Duration;

use k8s_openapi::api::core::v1::ResourceRequirements;
use pulsemesh_crds::DeletionPolicy;
use pulsemesh_crds::ingest::{Pod, Service, Storage};
use pulsemesh_crds::monitoring::Monitoring;
use pulsemesh_crds::quantity::Size;

use crate::mesh::plan::{
    Access, Engine, Identity, IngestPlan, ManagedPlan, Plan, RackPlan, Replicas, StorePlan,
};

pub(crate) const MESH: &str = "demo";

/// A mesh whose racks `a`, `b`, … have so many nodes.
pub(crate) fn plan(racks: &[i32], replication_factor: i32, image: &str, size: &str) -> Plan {
    let rack = |(index, nodes): (usize, &i32)| RackPlan {
        name: rack_name(index).to_owned(),
        nodes: *nodes,
    };
    let store = ManagedPlan {
        engine: Engine::Cassandra { heap: Size::from("512Mi") },
        image: image.to_owned(),
        datacenter: "datacenter1".to_owned(),
        racks: racks.iter().enumerate().map(rack).collect(),
        storage: Storage { size: Size::from(size), storage_class_name: None },
        resources: ResourceRequirements::default(),
        replication_factor,
        pod: Pod::default(),
    };
    Plan {
        mesh: Identity {
            name: MESH.to_owned(),
            namespace: "default".to_owned(),
            uid: "mesh-uid".to_owned(),
            generation: 1,
        },
        ingest: ingest(),
        store: StorePlan::Managed(Box::new(store)),
        operator_namespace: None,
        monitoring: Monitoring::default(),
        deletion: DeletionPolicy::Retain,
        paused: false,
    }
}

pub(crate) fn rack_name(index: usize) -> &'static str {
    ["a", "b", "c"][index]
}

fn ingest() -> IngestPlan {
    IngestPlan {
        access: Access::default(),
        image: String::new(),
        replicas: Replicas::Fixed(1),
        claim: None,
        scratch_bytes: 0,
        settings: std::collections::BTreeMap::new(),
        mounts: Vec::new(),
        pre_stop: Duration::ZERO,
        grace: Duration::ZERO,
        resources: ResourceRequirements::default(),
        service: Service::default(),
        pod: Pod::default(),
        promise: String::new(),
    }
}
