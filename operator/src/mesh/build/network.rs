//! Who may reach the pods of a mesh. Only what comes in is ruled; what goes out, names among it, is
//! left to the cluster. Pure.

use std::collections::BTreeMap;

use k8s_openapi::api::networking::v1::{
    NetworkPolicy, NetworkPolicyIngressRule, NetworkPolicyPeer, NetworkPolicyPort,
    NetworkPolicySpec,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::meta;
use crate::mesh::names::{self, ADMIN_PORT, CQL_PORT, Component, HTTP_PORT};
use crate::mesh::object::{Kind, Object};
use crate::mesh::plan::{Engine, ManagedPlan, Plan, StorePlan};

/// Where Cassandra and Scylla speak among themselves, in the clear and with TLS.
const INTERNODE_PORTS: [i32; 2] = [7000, 7001];
/// Where Scylla lets a driver choose the shard that it speaks to.
const SHARD_AWARE_PORT: i32 = 19_042;

/// The policies of a mesh.
pub(super) fn objects(plan: &Plan) -> serde_json::Result<Vec<Object>> {
    let mut policies = vec![ingest(plan)];
    if let StorePlan::Managed(managed) = &plan.store {
        policies.push(store(plan, managed));
    }
    policies.iter().map(|policy| Object::new(Kind::NetworkPolicy, policy)).collect()
}

/// Anybody may post pulses. Anybody may ask for metrics and readiness, which tell no secret: the
/// operator can't know where a Prometheus runs.
fn ingest(plan: &Plan) -> NetworkPolicy {
    let name = names::ingest(&plan.mesh.name);
    let rules = vec![rule(None, &[HTTP_PORT, ADMIN_PORT])];
    policy(plan, name, Component::Ingest, rules)
}

/// CQL for the mesh's own ingest and the operator; the nodes' own ports for the nodes alone.
fn store(plan: &Plan, managed: &ManagedPlan) -> NetworkPolicy {
    let name = names::store(&plan.mesh.name);
    let cql: &[i32] = match managed.engine {
        Engine::Cassandra { .. } => &[CQL_PORT],
        Engine::Scylla { .. } => &[CQL_PORT, SHARD_AWARE_PORT],
    };
    let pods = |component| NetworkPolicyPeer {
        pod_selector: Some(meta::selector(plan, component)),
        ..NetworkPolicyPeer::default()
    };
    let drains = NetworkPolicyPeer {
        pod_selector: Some(matching(names::drain_labels(&plan.mesh.name))),
        ..NetworkPolicyPeer::default()
    };
    let clients = vec![pods(Component::Ingest), drains, operator(plan)];
    let rules =
        vec![rule(Some(clients), cql), rule(Some(vec![pods(Component::Store)]), &INTERNODE_PORTS)];
    policy(plan, name, Component::Store, rules)
}

/// The operator's namespace; where it is not known, pods that are labelled as the operator.
fn operator(plan: &Plan) -> NetworkPolicyPeer {
    let labels = |name: &str, value: &str| matching([(name.to_owned(), value.to_owned())].into());
    match &plan.operator_namespace {
        Some(namespace) => NetworkPolicyPeer {
            namespace_selector: Some(labels("kubernetes.io/metadata.name", namespace)),
            ..NetworkPolicyPeer::default()
        },
        None => NetworkPolicyPeer {
            namespace_selector: Some(LabelSelector::default()),
            pod_selector: Some(labels("app.kubernetes.io/name", names::MANAGER)),
            ..NetworkPolicyPeer::default()
        },
    }
}

fn matching(labels: BTreeMap<String, String>) -> LabelSelector {
    LabelSelector { match_labels: Some(labels), match_expressions: None }
}

fn rule(from: Option<Vec<NetworkPolicyPeer>>, ports: &[i32]) -> NetworkPolicyIngressRule {
    let port = |number: &i32| NetworkPolicyPort {
        port: Some(IntOrString::Int(*number)),
        protocol: Some("TCP".to_owned()),
        end_port: None,
    };
    NetworkPolicyIngressRule { from, ports: Some(ports.iter().map(port).collect()) }
}

fn policy(
    plan: &Plan,
    name: String,
    component: Component,
    rules: Vec<NetworkPolicyIngressRule>,
) -> NetworkPolicy {
    NetworkPolicy {
        metadata: meta::of(plan, name, component),
        spec: Some(NetworkPolicySpec {
            pod_selector: Some(meta::selector(plan, component)),
            ingress: Some(rules),
            policy_types: Some(vec!["Ingress".to_owned()]),
            egress: None,
        }),
    }
}
