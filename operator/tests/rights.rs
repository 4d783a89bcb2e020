//! What the chart lets the operator do, against what the operator does. The chart's templates put
//! `files/rbac.yaml` into roles as it is; here it is compared, right by right.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use k8s_openapi::api::rbac::v1::PolicyRule;
use pulsemesh_operator::mesh::object::Kind;

/// One right: API group, resource, verb.
type Right = (String, String, String);

/// The rights of the chart by scope: `meshes`, `lease` and `cluster`.
fn of_chart() -> BTreeMap<String, BTreeSet<Right>> {
    let path = "../charts/pulsemesh-operator/files/rbac.yaml";
    let text = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path));
    let rules: BTreeMap<String, Vec<PolicyRule>> =
        serde_saphyr::from_str(&text.expect("the chart's rules")).expect("rules");
    rules.into_iter().map(|(scope, rules)| (scope, rights(&rules))).collect()
}

/// Rules as single rights, so that it does not matter how they are put together.
fn rights(rules: &[PolicyRule]) -> BTreeSet<Right> {
    let mut rights = BTreeSet::new();
    for rule in rules {
        assert!(rule.non_resource_urls.is_none() && rule.resource_names.is_none(), "{rule:?}");
        for group in rule.api_groups.iter().flatten() {
            for resource in rule.resources.iter().flatten() {
                let right = |verb: &String| (group.clone(), resource.clone(), verb.clone());
                rights.extend(rule.verbs.iter().map(right));
            }
        }
    }
    rights
}

#[test]
fn no_right_holds_for_everything() {
    let chart = of_chart();
    let scopes: Vec<_> = chart.keys().map(String::as_str).collect();
    assert_eq!(scopes, ["cluster", "lease", "meshes"]);
    for (group, resource, verb) in chart.values().flatten() {
        assert!(![group, resource, verb].into_iter().any(|part| part == "*"), "{resource}: {verb}");
        // What would let the operator give itself more than it has.
        assert!(group != "rbac.authorization.k8s.io" && verb != "escalate" && verb != "bind");
        assert!(resource != "serviceaccounts/token" && verb != "impersonate");
    }
}

#[test]
fn every_kind_that_is_made_may_be_made_seen_and_taken_away() {
    let chart = of_chart();
    for kind in Kind::ALL {
        let resource = kind.resource();
        let of_kind = |(group, name, verb): &Right| {
            (*group == resource.group && *name == resource.plural).then(|| verb.clone())
        };
        let verbs: BTreeSet<_> = chart["meshes"].iter().filter_map(of_kind).collect();
        let mut expected = vec!["create", "delete", "get", "list", "patch"];
        // A watch of a kind that a cluster does not know would fail for ever.
        expected.extend((!kind.is_optional()).then_some("watch"));
        assert_eq!(verbs.iter().map(String::as_str).collect::<Vec<_>>(), expected, "{kind:?}");
    }
}
