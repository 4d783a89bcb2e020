//! What pods have in common: the *restricted* rules of pod security, and where users want them
//! to run. Pure.

use k8s_openapi::api::core::v1::{
    Affinity, Capabilities, LocalObjectReference, PodAffinityTerm, PodAntiAffinity,
    PodSecurityContext, PodSpec, SeccompProfile, SecurityContext, WeightedPodAffinityTerm,
};
use pulsemesh_crds::ingest::Pod;

use super::meta::{self, some};
use crate::mesh::names::Component;
use crate::mesh::plan::Plan;

/// The user and group of ingest pods, as distroless images call `nonroot`. The images have no
/// files that only another user may read.
const NOBODY: i64 = 65_532;

/// The rules of *restricted* for a whole pod; its volumes belong to its group.
pub(super) fn security() -> PodSecurityContext {
    PodSecurityContext {
        run_as_non_root: Some(true),
        run_as_user: Some(NOBODY),
        run_as_group: Some(NOBODY),
        fs_group: Some(NOBODY),
        // A claim with many segments is not walked at each start.
        fs_group_change_policy: Some("OnRootMismatch".to_owned()),
        seccomp_profile: Some(SeccompProfile {
            type_: "RuntimeDefault".to_owned(),
            localhost_profile: None,
        }),
        ..PodSecurityContext::default()
    }
}

/// The rules of *restricted* for a container, and a root that nobody can write to.
pub(super) fn container_security() -> SecurityContext {
    SecurityContext {
        allow_privilege_escalation: Some(false),
        read_only_root_filesystem: Some(true),
        capabilities: Some(Capabilities { drop: Some(vec!["ALL".to_owned()]), add: None }),
        ..SecurityContext::default()
    }
}

/// A pod where the user wants it, and without access to the API; no container in it yet.
pub(super) fn placed(plan: &Plan, pod: &Pod, component: Component) -> PodSpec {
    let secrets = pod.image_pull_secrets.iter();
    PodSpec {
        affinity: Some(pod.affinity.clone().unwrap_or_else(|| apart(plan, component))),
        automount_service_account_token: Some(false),
        // Variables of Services would look like settings of ours.
        enable_service_links: Some(false),
        image_pull_secrets: some(
            secrets.map(|name| LocalObjectReference { name: name.clone() }).collect(),
        ),
        node_selector: some(pod.node_selector.clone()),
        priority_class_name: pod.priority_class_name.clone(),
        security_context: Some(security()),
        tolerations: some(pod.tolerations.clone()),
        topology_spread_constraints: some(pod.topology_spread_constraints.clone()),
        ..PodSpec::default()
    }
}

/// Pods of a component rather on different nodes than on one, and rather in different zones.
/// Preferred only: a cluster of one node runs all of them.
fn apart(plan: &Plan, component: Component) -> Affinity {
    let term = |weight: i32, topology_key: &str| WeightedPodAffinityTerm {
        weight,
        pod_affinity_term: PodAffinityTerm {
            label_selector: Some(meta::selector(plan, component)),
            topology_key: topology_key.to_owned(),
            ..PodAffinityTerm::default()
        },
    };
    let preferred =
        vec![term(100, "kubernetes.io/hostname"), term(50, "topology.kubernetes.io/zone")];
    Affinity {
        pod_anti_affinity: Some(PodAntiAffinity {
            preferred_during_scheduling_ignored_during_execution: Some(preferred),
            ..PodAntiAffinity::default()
        }),
        ..Affinity::default()
    }
}
