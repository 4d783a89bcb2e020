//! Plans and steps to render.

use std::collections::BTreeMap;
use std::time::Duration;

use pulsemesh_crds::DeletionPolicy;
use pulsemesh_crds::ingest::{Pod, Service, Storage};
use pulsemesh_crds::monitoring::Monitoring;
use pulsemesh_crds::quantity::Size;
use serde_json::json;

use crate::mesh::object::Object;
use crate::mesh::observed::Observed;
use crate::mesh::plan::{
    Access, Engine, Identity, IngestPlan, ManagedPlan, Plan, RackPlan, Replicas, StorePlan,
};
use crate::mesh::topology::{RackStep, StoreStep};

pub(super) fn managed(racks: &[(&str, i32)]) -> ManagedPlan {
    let racks: Vec<RackPlan> = racks
        .iter()
        .map(|(name, nodes)| RackPlan { name: (*name).to_owned(), nodes: *nodes })
        .collect();
    let nodes: i32 = racks.iter().map(|rack| rack.nodes).sum();
    ManagedPlan {
        engine: Engine::Cassandra { heap: Size::from("1Gi") },
        image: "docker.io/library/cassandra:5.0".to_owned(),
        datacenter: "datacenter1".to_owned(),
        racks,
        storage: Storage { size: Size::from("10Gi"), storage_class_name: None },
        resources: serde_json::from_value(
            json!({"requests": {"cpu": "1", "memory": "2Gi"}, "limits": {"memory": "2Gi"}}),
        )
        .expect("resources"),
        replication_factor: nodes.min(3),
        pod: Pod::default(),
    }
}

pub(super) fn plan(managed: ManagedPlan) -> Plan {
    Plan {
        mesh: Identity {
            name: "demo".to_owned(),
            namespace: "default".to_owned(),
            uid: "5d0c1e5e-0000-4000-8000-000000000001".to_owned(),
            generation: 1,
        },
        ingest: IngestPlan {
            access: Access::default(),
            image: "pulsemesh-ingest".to_owned(),
            replicas: Replicas::Fixed(1),
            claim: None,
            scratch_bytes: 0,
            settings: BTreeMap::new(),
            mounts: Vec::new(),
            pre_stop: Duration::from_secs(5),
            grace: Duration::from_secs(600),
            resources: serde_json::from_value(json!({})).expect("resources"),
            service: Service::default(),
            pod: Pod::default(),
            promise: String::new(),
        },
        store: StorePlan::Managed(Box::new(managed)),
        operator_namespace: None,
        monitoring: Monitoring::default(),
        deletion: DeletionPolicy::default(),
        paused: false,
    }
}

/// A step that makes what the plan says.
pub(super) fn reached(racks: &[(&str, i32)]) -> StoreStep {
    let rack = |(name, replicas): &(&str, i32)| {
        ((*name).to_owned(), RackStep { replicas: *replicas, partition: 0, keep_template: false })
    };
    StoreStep { racks: racks.iter().map(rack).collect(), ..StoreStep::default() }
}

/// What there is once the objects have been applied.
pub(super) fn applied(objects: Vec<Object>) -> Observed {
    Observed { objects, ..Observed::default() }
}

pub(super) fn rename(plan: &mut Plan, mesh: &str) {
    mesh.clone_into(&mut plan.mesh.name);
}
