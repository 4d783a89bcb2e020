//! The pods of a mesh, counted, and what keeps one from starting, in words that do not change
//! with each try.

use k8s_openapi::api::core::v1::{ContainerStatus, Pod};
use pulsemesh_crds::status::MeshStatus;

use super::Facts;
use crate::mesh::build;
use crate::mesh::names::{self, Component};
use crate::mesh::object::Kind;
use crate::mesh::plan::{Replicas, StorePlan};

/// How many pods of a component there are.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Counted {
    /// That are not told to stop.
    pub(super) there: i32,
    /// Of these, those that serve.
    pub(super) ready: i32,
    /// How many there should be.
    pub(super) desired: i32,
}

/// The pods of ingest, and of a store that the operator runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct AllCounted {
    pub(super) ingest: Counted,
    pub(super) store: Option<Counted>,
}

/// Counts both.
pub(super) fn count(facts: &Facts<'_>, former: &MeshStatus) -> AllCounted {
    let ready = |pod: &&Pod| is_ready(pod);
    let ingest = staying(facts, Component::Ingest);
    let store = staying(facts, Component::Store);
    let desired = match facts.plan {
        Ok(plan) => match &plan.store {
            StorePlan::Managed(managed) => Some(managed.nodes()),
            StorePlan::Embedded | StorePlan::External => None,
        },
        Err(_) => former.store.as_ref().map(|store| store.desired_replicas),
    };
    AllCounted {
        ingest: Counted {
            there: number(ingest.len()),
            ready: number(ingest.iter().copied().filter(ready).count()),
            desired: desired_ingest(facts),
        },
        store: desired.map(|desired| Counted {
            there: number(store.len()),
            ready: number(store.iter().filter(|pod| is_joined(facts, pod)).count()),
            desired,
        }),
    }
}

fn number(count: usize) -> i32 {
    i32::try_from(count).unwrap_or(i32::MAX)
}

/// As the spec says, else as the workload was told: by an autoscaler, or by a former spec.
fn desired_ingest(facts: &Facts<'_>) -> i32 {
    if let Ok(Replicas::Fixed(replicas)) = facts.plan.map(|plan| &plan.ingest.replicas) {
        return *replicas;
    }
    let live = workload(facts).and_then(build::replicas_of);
    let first = match facts.plan {
        Ok(plan) => build::ingest_replicas(plan, facts.observed).unwrap_or_default(),
        Err(_) => 0,
    };
    live.unwrap_or(first)
}

/// The workload of ingest as it was read.
pub(super) fn workload<'a>(facts: &'a Facts<'_>) -> Option<&'a crate::mesh::object::Object> {
    let name = names::ingest(facts.name());
    let of = |kind| facts.observed.object(kind, &name);
    of(Kind::Deployment).or_else(|| of(Kind::StatefulSet))
}

/// The pods of a component.
pub(super) fn of<'a>(
    facts: &'a Facts<'_>,
    component: Component,
) -> impl Iterator<Item = &'a Pod> + use<'a> {
    let selector = names::selector(facts.name(), component);
    facts.observed.pods.iter().filter(move |pod| {
        let labels = pod.metadata.labels.as_ref();
        selector.iter().all(|(key, value)| labels.and_then(|all| all.get(key)) == Some(value))
    })
}

/// The pods of a component that are not told to stop.
pub(super) fn staying<'a>(facts: &'a Facts<'_>, component: Component) -> Vec<&'a Pod> {
    of(facts, component).filter(|pod| pod.metadata.deletion_timestamp.is_none()).collect()
}

pub(super) fn name(pod: &Pod) -> &str {
    pod.metadata.name.as_deref().unwrap_or_default()
}

fn has(pod: &Pod, condition: &str) -> bool {
    let conditions = pod.status.iter().flat_map(|status| status.conditions.iter().flatten());
    conditions.into_iter().any(|it| it.type_ == condition && it.status == "True")
}

pub(super) fn is_ready(pod: &Pod) -> bool {
    has(pod, "Ready")
}

/// Whether a node serves: by what its peers say now, else by what the pod was told of it.
pub(super) fn is_joined(facts: &Facts<'_>, pod: &Pod) -> bool {
    match facts.step.joined.get(name(pod)) {
        Some(joined) => joined.is_ok() && has(pod, "ContainersReady"),
        None => is_ready(pod),
    }
}

/// What keeps a pod from starting or running; `None` where only time is needed.
pub(super) fn trouble(pod: &Pod) -> Option<String> {
    let status = pod.status.as_ref()?;
    let unscheduled = status
        .conditions
        .iter()
        .flatten()
        .find(|it| it.type_ == "PodScheduled" && it.status == "False");
    if let Some(condition) = unscheduled {
        let why = condition.message.as_deref().unwrap_or("no node takes it");
        return Some(format!("{} is not scheduled: {why}", name(pod)));
    }
    let containers = status.init_container_statuses.iter().chain(&status.container_statuses);
    containers.flatten().find_map(|container| container_trouble(pod, container))
}

fn container_trouble(pod: &Pod, container: &ContainerStatus) -> Option<String> {
    let waiting = container.state.as_ref()?.waiting.as_ref()?;
    let reason = waiting.reason.as_deref()?;
    let pod = name(pod);
    match reason {
        "ContainerCreating" | "PodInitializing" => None,
        // The two take turns; so would the status.
        "ErrImagePull" | "ImagePullBackOff" | "InvalidImageName" => {
            Some(format!("{pod} can't pull image {}", container.image))
        }
        "CrashLoopBackOff" => {
            let last = container.last_state.as_ref().and_then(|state| state.terminated.as_ref());
            let how = last.map_or_else(String::new, |last| {
                let why = last.reason.as_deref().unwrap_or("Error");
                format!(" ({why}, exit code {})", last.exit_code)
            });
            let container = &container.name;
            Some(format!(
                "{pod} ends after each start{how}: see kubectl logs {pod} -c {container} \
                 --previous"
            ))
        }
        _ => Some(format!("{pod} waits: {reason}")),
    }
}
