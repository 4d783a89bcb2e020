//! What the chart lets the operator do, against what the operator does. The chart's templates put
//! `files/rbac.yaml` into roles as it is; here it is compared, right by right.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;

use k8s_openapi::api::rbac::v1::PolicyRule;
use pulsemesh_operator::mesh::object::Kind;
use pulsemesh_operator::rbac::{self, Scope};

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

#[test]
fn the_chart_gives_what_the_operator_needs_and_no_more() {
    let chart = of_chart();
    for (name, scope) in
        [("meshes", Scope::Meshes), ("lease", Scope::Lease), ("cluster", Scope::Cluster)]
    {
        assert_eq!(chart[name], rights(&rbac::rules(|one| one == scope)), "{name}");
    }
}

#[test]
fn every_flag_that_the_chart_sets_is_one_of_the_operator() {
    let path = "../charts/pulsemesh-operator/templates/deployment.yaml";
    let template = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path));
    let template = template.expect("the template");
    let program = env!("CARGO_BIN_EXE_pulsemesh-operator");
    let help = Command::new(program).arg("--help").output().expect("the operator runs").stdout;
    let help = String::from_utf8_lossy(&help);
    let flag =
        |line: &'_ str| Some(line.trim().strip_prefix("- --")?.split_once('=')?.0.to_owned());
    let flags: Vec<String> = template.lines().filter_map(flag).collect();
    assert!(flags.len() >= 7, "{flags:?}");
    for flag in flags {
        assert!(help.contains(&format!("--{flag} <")), "{flag}\n{help}");
    }
}
