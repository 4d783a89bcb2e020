//! Tests of what is told, from what may be seen.

mod conditions;
mod stable;

use std::collections::BTreeMap;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use pulsemesh_crds::PulseMesh;
use pulsemesh_crds::status::MeshStatus;
use serde_json::json;

use super::{Facts, status};
use crate::mesh::fixtures::{defaults, objects};
use crate::mesh::names::{self, Component};
use crate::mesh::object::{Kind, Object};
use crate::mesh::observed::Observed;
use crate::mesh::topology::StoreStep;
use crate::mesh::validate::{Defaults, validate};
use crate::nodes::{Member, State, View};

pub(super) const CASSANDRA: &str =
    "{ingest: {replicas: 2}, store: {cassandra: {nodes: 3, storage: {size: 1Gi}}}}";

/// All that a test may change before it asks for the status.
#[derive(Debug)]
pub(super) struct Seen {
    pub(super) mesh: PulseMesh,
    pub(super) observed: Observed,
    pub(super) step: StoreStep,
    pub(super) failure: Option<&'static str>,
    pub(super) changed: usize,
    pub(super) defaults: Defaults,
    pub(super) now: Timestamp,
}

impl Seen {
    /// A mesh of which nothing is there yet.
    pub(super) fn nothing(mesh: PulseMesh) -> Self {
        Self {
            mesh,
            observed: Observed::default(),
            step: StoreStep::default(),
            failure: None,
            changed: 0,
            defaults: defaults(),
            now: Timestamp::from_second(1_800_000_000).expect("a time"),
        }
    }

    /// A mesh that runs as it should, with this many ready pods.
    pub(super) fn running(mesh: PulseMesh, ingest: i32, nodes: i32) -> Self {
        let mut seen = Self::nothing(mesh);
        if let Ok(plan) = validate(&seen.mesh, &seen.defaults) {
            seen.observed.objects = objects(&plan, &Observed::default());
        }
        for object in &mut seen.observed.objects {
            if matches!(object.kind, Kind::Deployment | Kind::StatefulSet) {
                object.value.metadata.generation = Some(3);
                object.value.data["spec"]["replicas"] = json!(ingest);
                object.value.data["status"] =
                    json!({"observedGeneration": 3, "updatedReplicas": ingest, "replicas": ingest});
            }
        }
        seen.observed.pods = (0..ingest).map(|n| pod(Component::Ingest, n, true)).collect();
        seen.nodes(nodes, nodes);
        seen
    }

    /// This many nodes of the ring, of which so many are up.
    pub(super) fn nodes(&mut self, ring: i32, up: i32) {
        self.observed.pods.retain(|pod| !super::pods::name(pod).contains("-store-"));
        self.step.joined.clear();
        for n in 0..ring {
            let pod = pod(Component::Store, n, n < up);
            let joined = if n < up { Ok(()) } else { Err("no peer sees it".to_owned()) };
            self.step.joined.insert(super::pods::name(&pod).to_owned(), joined);
            self.observed.pods.push(pod);
        }
        let member = |n: i32| Member {
            host_id: format!("host-{n}"),
            address: [10, 0, 0, u8::try_from(n).expect("few nodes")].into(),
            state: State::Normal,
            is_alive: n < up,
        };
        let view = |n: i32| View {
            host_id: format!("host-{n}"),
            members: (0..ring).map(member).collect(),
            replication: [("pulsemesh".to_owned(), ring.min(3))].into(),
            default_login: false,
        };
        self.observed.views =
            (0..up).map(|n| (format!("demo-store-rack1-{n}"), Ok(view(n)))).collect();
    }

    pub(super) fn status(&self) -> MeshStatus {
        let plan = validate(&self.mesh, &self.defaults);
        status(&Facts {
            mesh: &self.mesh,
            plan: plan.as_ref().map_err(Vec::as_slice),
            observed: &self.observed,
            step: &self.step,
            failure: self.failure,
            changed: self.changed,
            defaults: &self.defaults,
            now: self.now,
        })
    }

    pub(super) fn condition(&self, kind: &str) -> Condition {
        let all = self.status().conditions;
        all.into_iter().find(|it| it.type_ == kind).expect("the condition")
    }

    /// The condition of this kind is so.
    #[track_caller]
    pub(super) fn tells(&self, kind: &str, status: &str, reason: &str, part: &str) {
        let condition = self.condition(kind);
        let found = (condition.status.as_str(), condition.reason.as_str());
        assert_eq!(found, (status, reason), "{kind}: {}", condition.message);
        assert!(condition.message.contains(part), "{kind}: {}", condition.message);
    }

    pub(super) fn object(&mut self, kind: Kind) -> &mut Object {
        let found = self.observed.objects.iter_mut().find(|object| object.kind == kind);
        found.expect("an object of the kind")
    }
}

/// A pod of a component.
pub(super) fn pod(component: Component, number: i32, is_ready: bool) -> Pod {
    let name = match component {
        Component::Ingest => format!("demo-ingest-{number}"),
        Component::Store => format!("demo-store-rack1-{number}"),
    };
    let labels: BTreeMap<_, _> = names::labels("demo", component);
    let ready = if is_ready { "True" } else { "False" };
    let pod = json!({
        "metadata": {"name": name, "labels": labels},
        "status": {"conditions": [
            {"type": "Ready", "status": ready},
            {"type": "ContainersReady", "status": ready},
        ]},
    });
    serde_json::from_value(pod).expect("a pod")
}
