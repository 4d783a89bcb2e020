//! What counts as a difference, case by case.

use serde_json::{Value, json};

use super::differs;

#[track_caller]
fn same(wanted: &Value, live: &Value) {
    assert_eq!(differs(wanted, live), None, "{wanted} {live}");
}

#[track_caller]
fn different(wanted: &Value, live: &Value, at: &str) {
    assert_eq!(differs(wanted, live).as_deref(), Some(at), "{wanted} {live}");
}

#[test]
fn what_others_and_defaults_add_is_no_difference() {
    same(&json!({"a": 1}), &json!({"a": 1, "b": 2, "status": {"c": 3}}));
    same(&json!({"a": {"b": "c"}}), &json!({"a": {"b": "c", "d": "e"}}));
    same(&json!({"a": null}), &json!({"a": 1}));
    same(&json!({"a": null}), &json!({}));
}

#[test]
fn a_wanted_field_that_is_missing_or_other_is_named() {
    different(&json!({"a": {"b": 1}}), &json!({"a": {}}), ".a.b");
    different(&json!({"a": {"b": 1}}), &json!({}), ".a");
    different(&json!({"a": {"b": 1}}), &json!({"a": {"b": 2}}), ".a.b");
    different(&json!({"a": true}), &json!({"a": false}), ".a");
    different(&json!({"a": {}}), &json!({"a": 1}), ".a");
    different(&json!({"a": 1}), &json!({"a": null}), ".a");
}

fn resources(cpu: &str, memory: &str) -> Value {
    json!({"resources": {"requests": {"cpu": cpu}, "limits": {"memory": memory}}})
}

#[test]
fn amounts_are_compared_as_numbers_where_they_are_amounts() {
    same(&resources("1000m", "1Gi"), &resources("1", "1073741824"));
    let empty_dir = |limit: &str| json!({"emptyDir": {"sizeLimit": limit}});
    same(&empty_dir("1024Mi"), &empty_dir("1Gi"));
    same(&json!({"requests": {"cpu": 2}}), &json!({"requests": {"cpu": "2"}}));
    different(&resources("1", "1Gi"), &resources("2", "1Gi"), ".resources.requests.cpu");
    different(&resources("1", "1Gi"), &resources("1", "1G"), ".resources.limits.memory");
    let data = |text: &str| json!({"data": {"cores": text}});
    different(&data("1000m"), &data("1"), ".data.cores");
    let env = |text: &str| json!({"env": [{"name": "A", "value": text}]});
    different(&env("1000m"), &env("1"), ".env[0]");
}

#[test]
fn what_the_server_leaves_out_when_it_is_zero_or_empty_may_be_missing() {
    for wanted in [json!(0), json!(false), json!(""), json!([])] {
        same(&json!({"a": wanted}), &json!({}));
    }
    same(&json!({"labels": {}, "nodeSelector": {}}), &json!({}));
    different(&json!({"emptyDir": {}}), &json!({}), ".emptyDir");
    different(&json!({"podSelector": {}}), &json!({"other": {}}), ".podSelector");
}

#[test]
fn an_int_and_a_string_of_it_are_not_the_same_port() {
    same(&json!({"port": 80}), &json!({"port": 80}));
    same(&json!({"port": "http"}), &json!({"port": "http"}));
    same(&json!({"maxUnavailable": "25%"}), &json!({"maxUnavailable": "25%"}));
    different(&json!({"port": 80}), &json!({"port": "80"}), ".port");
    same(&json!({"port": 80}), &json!({"port": 80.0}));
}

#[test]
fn lists_that_are_ours_alone_are_compared_by_position_and_length() {
    same(&json!({"args": ["a", "b"]}), &json!({"args": ["a", "b"]}));
    different(&json!({"args": ["a", "b"]}), &json!({"args": ["b", "a"]}), ".args[0]");
    different(&json!({"args": ["a"]}), &json!({"args": ["a", "b"]}), ".args");
    different(&json!({"args": ["a", "b"]}), &json!({"args": ["a"]}), ".args");
    let template = |phase: bool| {
        let mut template = json!({"metadata": {"name": "data"}});
        if phase {
            template["status"] = json!({"phase": "Pending"});
        }
        json!({"volumeClaimTemplates": [template]})
    };
    same(&template(false), &template(true));
}

#[test]
fn others_may_add_entries_to_lists_that_are_merged_by_key() {
    let pod = |names: &[&str]| {
        let containers: Vec<Value> =
            names.iter().map(|name| json!({"name": name, "image": "a"})).collect();
        json!({"kind": "Deployment", "containers": containers})
    };
    same(&pod(&["ingest"]), &pod(&["ingest", "sidecar"]));
    same(&pod(&["ingest"]), &pod(&["sidecar", "ingest"]));
    same(&pod(&["a", "c"]), &pod(&["a", "b", "c"]));
    different(&pod(&["a", "b"]), &pod(&["b", "a"]), ".containers[1]");
    different(&pod(&["ingest"]), &pod(&["sidecar"]), ".containers[0]");
    let changed = json!({"kind": "Deployment", "containers": [{"name": "ingest", "image": "b"}]});
    different(&pod(&["ingest"]), &changed, ".containers[0]");
}

#[test]
fn a_rule_that_was_added_to_a_network_policy_is_a_difference() {
    let policy = |ports: &[i32]| {
        let ports: Vec<Value> = ports.iter().map(|port| json!({"port": port})).collect();
        json!({"kind": "NetworkPolicy", "spec": {"ingress": [{"ports": ports}]}})
    };
    same(&policy(&[80]), &policy(&[80]));
    different(&policy(&[80]), &policy(&[80, 22]), ".spec.ingress[0].ports");
}
