//! All that the operator may do in a cluster, in one list. The chart and the tests are compared
//! with it; what is not on it is never asked for.

use k8s_openapi::api::rbac::v1::{ClusterRole, PolicyRule, Role};
use kube::core::ObjectMeta;

/// Where a rule is needed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// In each namespace that has meshes.
    Meshes,
    /// In the namespace of the Lease.
    Lease,
    /// In the whole cluster; what is missing without it is said where it is used.
    Cluster,
}

type Rule = (Scope, &'static str, &'static [&'static str], &'static [&'static str]);

/// Scope, API group, resources, verbs.
const RULES: &[Rule] = &[
    (Scope::Meshes, "pulsemesh.io", &["pulsemeshes"], &["get", "list", "watch", "patch"]),
    (Scope::Meshes, "pulsemesh.io", &["pulsemeshes/status"], &["patch"]),
    // Owner references that block deletion ask for it where that admission is on.
    (Scope::Meshes, "pulsemesh.io", &["pulsemeshes/finalizers"], &["update"]),
    (Scope::Meshes, "pulsemesh.io", &["pulsetenants"], &["get", "list", "watch"]),
    (Scope::Meshes, "pulsemesh.io", &["pulsetenants/status"], &["patch"]),
    (Scope::Meshes, "", &["configmaps", "serviceaccounts", "services"], OWNED),
    (Scope::Meshes, "apps", &["deployments", "statefulsets"], OWNED),
    (Scope::Meshes, "autoscaling", &["horizontalpodautoscalers"], OWNED),
    (Scope::Meshes, "batch", &["jobs"], OWNED),
    (Scope::Meshes, "networking.k8s.io", &["networkpolicies"], OWNED),
    (Scope::Meshes, "policy", &["poddisruptionbudgets"], OWNED),
    (
        Scope::Meshes,
        "monitoring.coreos.com",
        &["servicemonitors", "prometheusrules"],
        // Never watched: a cluster may not know them.
        &["get", "list", "create", "patch", "delete"],
    ),
    (Scope::Meshes, "", &["pods"], &["get", "list", "watch"]),
    // The readiness gate of the store's pods.
    (Scope::Meshes, "", &["pods/status"], &["patch"]),
    // What only the nodes' own tools can be told; `get` opens a WebSocket on older clusters.
    (Scope::Meshes, "", &["pods/exec"], &["create", "get"]),
    (Scope::Meshes, "", &["persistentvolumeclaims"], &["get", "list", "watch", "patch", "delete"]),
    // Credentials are made once and never changed. The file of a mesh's tenants is, and so is a key
    // that a person wants replaced: without `patch` each would be away for a moment.
    (Scope::Meshes, "", &["secrets"], &["get", "list", "watch", "create", "patch", "delete"]),
    (Scope::Meshes, "events.k8s.io", &["events"], &["create", "patch"]),
    (Scope::Lease, "coordination.k8s.io", &["leases"], &["get", "create", "patch"]),
    // Whether claims can grow; without it, that is tried.
    (Scope::Cluster, "storage.k8s.io", &["storageclasses"], &["list"]),
];

/// What is done with objects that the operator makes.
const OWNED: &[&str] = &["get", "list", "watch", "create", "patch", "delete"];

/// The name of all roles.
const NAME: &str = "pulsemesh-operator";

/// The rules of one scope, or of all.
pub fn rules(within: impl Fn(Scope) -> bool) -> Vec<PolicyRule> {
    let owned = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect();
    let rules = RULES.iter().filter(|(scope, ..)| within(*scope));
    rules
        .map(|(_, group, resources, verbs)| PolicyRule {
            api_groups: Some(vec![(*group).to_owned()]),
            resources: Some(owned(resources)),
            verbs: owned(verbs),
            ..PolicyRule::default()
        })
        .collect()
}

/// The role for meshes in all namespaces.
pub fn cluster_role() -> ClusterRole {
    ClusterRole {
        metadata: ObjectMeta { name: Some(NAME.to_owned()), ..ObjectMeta::default() },
        rules: Some(rules(|_| true)),
        ..ClusterRole::default()
    }
}

/// The role for meshes in one namespace; with `lease`, for the Lease there too.
pub fn role(namespace: &str, lease: bool) -> Role {
    let within = |scope| matches!(scope, Scope::Meshes) || (lease && matches!(scope, Scope::Lease));
    named_role(namespace, rules(within))
}

/// The role for the Lease alone, in a namespace without meshes.
pub fn lease_role(namespace: &str) -> Role {
    named_role(namespace, rules(|scope| matches!(scope, Scope::Lease)))
}

fn named_role(namespace: &str, rules: Vec<PolicyRule>) -> Role {
    Role {
        metadata: ObjectMeta {
            name: Some(NAME.to_owned()),
            namespace: Some(namespace.to_owned()),
            ..ObjectMeta::default()
        },
        rules: Some(rules),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mesh::object::Kind;

    #[test]
    fn every_kind_that_is_applied_may_be_and_optional_ones_are_not_watched() {
        for kind in Kind::ALL {
            let resource = kind.resource();
            let rule = rules(|scope| scope == Scope::Meshes).into_iter().find(|rule| {
                rule.api_groups.iter().flatten().any(|group| *group == resource.group)
                    && rule.resources.iter().flatten().any(|name| *name == resource.plural)
            });
            let verbs = rule.map(|rule| rule.verbs).unwrap_or_default();
            let may = |verb: &str| verbs.iter().any(|one| one == verb);
            for verb in ["get", "list", "create", "patch", "delete"] {
                assert!(may(verb), "{kind:?}: {verb}");
            }
            assert_eq!(may("watch"), !kind.is_optional(), "{kind:?}");
        }
    }

    #[test]
    fn a_secret_can_be_made_changed_and_taken_away_and_never_updated_as_a_whole() {
        let all = rules(|_| true);
        let of_secrets = |rule: &&PolicyRule| {
            rule.resources.iter().flatten().any(|name| name == "secrets" || name == "*")
        };
        let verbs: Vec<&str> = all
            .iter()
            .filter(of_secrets)
            .flat_map(|rule| &rule.verbs)
            .map(String::as_str)
            .collect();
        assert_eq!(verbs, ["get", "list", "watch", "create", "patch", "delete"]);
    }

    #[test]
    fn roles_of_namespaces_hold_nothing_of_the_whole_cluster() {
        let has = |role: &Role, name: &str| {
            let mut rules = role.rules.iter().flatten();
            rules.any(|rule| rule.resources.iter().flatten().any(|one| one == name))
        };
        let role_of_meshes = role("a", false);
        assert!(has(&role_of_meshes, "pods") && !has(&role_of_meshes, "leases"));
        assert!(!has(&role_of_meshes, "storageclasses"));
        assert!(has(&role("a", true), "leases") && !has(&lease_role("a"), "pods"));
    }
}
