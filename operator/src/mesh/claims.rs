//! The claims of ingest, where the spec wants larger ones than there are. Claims that a class can
//! grow are told to; then the StatefulSet, which can't be changed in this, is made anew around
//! its pods. Level-triggered and pure, like the store's steps.

use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::PersistentVolumeClaim;
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use pulsemesh_crds::quantity::Size;

use super::names;
use super::object::Kind;
use super::observed::Observed;
use super::plan::Plan;
use super::topology::Action;

/// What of the claims is behind the spec.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Claims {
    /// Orders that bring them there.
    pub actions: Vec<Action>,
    /// Claims whose class can't grow them.
    pub stuck: Vec<String>,
}

/// Compares the claims of ingest with the plan.
pub fn behind(plan: &Plan, observed: &Observed) -> Claims {
    let mut claims = Claims::default();
    let Some(wanted) = &plan.ingest.claim else { return claims };
    let Some(bytes) = wanted.size.bytes() else { return claims };
    let is_less = |quantity: &Quantity| {
        Size::from(quantity.0.as_str()).bytes().is_some_and(|there| there < bytes)
    };
    for claim in observed.claims.iter().filter(|claim| is_of_ingest(plan, claim)) {
        if !requested(claim).is_some_and(is_less) {
            continue;
        }
        let name = claim.metadata.name.clone().unwrap_or_default();
        if observed.can_grow(claim) {
            claims.actions.push(Action::GrowClaim { claim: name, size: wanted.size.to_string() });
        } else {
            claims.stuck.push(name);
        }
    }
    if claims == Claims::default()
        && let Some((uid, size)) = made(plan, observed)
        && is_less(&size)
    {
        let name = names::ingest(&plan.mesh.name);
        claims.actions.push(Action::ReleasePods { name, uid });
    }
    claims
}

fn is_of_ingest(plan: &Plan, claim: &PersistentVolumeClaim) -> bool {
    let first = names::ingest_claim(&plan.mesh.name, 0);
    let prefix = first.trim_end_matches('0');
    let ordinal = claim.metadata.name.as_deref().and_then(|name| name.strip_prefix(prefix));
    ordinal.is_some_and(|ordinal| ordinal.parse::<i32>().is_ok())
}

fn requested(claim: &PersistentVolumeClaim) -> Option<&Quantity> {
    claim.spec.as_ref()?.resources.as_ref()?.requests.as_ref()?.get("storage")
}

/// The uid of the live StatefulSet, and the size of claims that it would make.
fn made(plan: &Plan, observed: &Observed) -> Option<(String, Quantity)> {
    let live: StatefulSet = observed.typed(Kind::StatefulSet, &names::ingest(&plan.mesh.name))?;
    let claim = live.spec.volume_claim_templates?.into_iter().next()?;
    Some((live.metadata.uid?, requested(&claim)?.clone()))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::mesh::fixtures::{objects, plan};

    fn spec(size: &str) -> String {
        format!(
            "{{ingest: {{replicas: 2, log: {{storage: {{size: {size}}}}}}}, \
             store: {{cassandra: {{storage: {{size: 1Gi}}}}}}}}"
        )
    }

    /// Two claims of these sizes, made by a StatefulSet of 4Gi each.
    fn there(sizes: [&str; 2], growable: &[&str]) -> Observed {
        let claim = |(ordinal, size): (i32, &str)| {
            serde_json::from_value(json!({
                "metadata": {"name": names::ingest_claim("demo", ordinal)},
                "spec": {"storageClassName": "fast", "resources": {"requests": {"storage": size}}},
            }))
            .expect("a claim")
        };
        let mut objects = objects(&plan(&spec("4Gi")), &Observed::default());
        for object in objects.iter_mut().filter(|object| object.name() == "demo-ingest") {
            object.value.metadata.uid = Some("set-1".to_owned());
        }
        Observed {
            objects,
            claims: (0..).zip(sizes).map(claim).collect(),
            growable_classes: Some(growable.iter().map(|class| (*class).to_owned()).collect()),
            ..Observed::default()
        }
    }

    fn released() -> Action {
        Action::ReleasePods { name: "demo-ingest".to_owned(), uid: "set-1".to_owned() }
    }

    fn grow(ordinal: i32) -> Action {
        Action::GrowClaim { claim: names::ingest_claim("demo", ordinal), size: "8Gi".to_owned() }
    }

    #[test]
    fn claims_grow_first_and_then_the_stateful_set_is_made_anew() {
        let wanted = plan(&spec("8Gi"));
        for (sizes, expected) in [
            (["4Gi", "4Gi"], vec![grow(0), grow(1)]),
            (["8Gi", "4096Mi"], vec![grow(1)]),
            (["8Gi", "8Gi"], vec![released()]),
        ] {
            let claims = behind(&wanted, &there(sizes, &["fast"]));
            assert_eq!(claims, Claims { actions: expected, stuck: Vec::new() }, "{sizes:?}");
        }
    }

    #[test]
    fn claims_that_are_as_wanted_or_larger_are_let_be() {
        let wanted = plan(&spec("4Gi"));
        for sizes in [["4Gi", "4096Mi"], ["8Gi", "1Ti"]] {
            let claims = behind(&wanted, &there(sizes, &["fast"]));
            assert_eq!(claims, Claims::default(), "{sizes:?}");
        }
    }

    #[test]
    fn a_class_that_can_not_grow_leaves_claims_stuck_and_one_that_may_not_be_read_does_not() {
        let wanted = plan(&spec("8Gi"));
        let mut seen = there(["8Gi", "4Gi"], &[]);
        let stuck = vec![names::ingest_claim("demo", 1)];
        assert_eq!(behind(&wanted, &seen), Claims { actions: Vec::new(), stuck });
        seen.growable_classes = None;
        let tried = Claims { actions: vec![grow(1)], stuck: Vec::new() };
        assert_eq!(behind(&wanted, &seen), tried);
    }
}
