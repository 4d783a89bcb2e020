//! The objects as YAML, and what holds for all of them.

use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::PodSpec;
use pulsemesh_crds::quantity::Size;
use serde_json::{Value, json};

use super::fixture::{applied, managed, plan, reached, rename};
use crate::mesh::build::store::{objects, rendered};
use crate::mesh::names;
use crate::mesh::object::{Kind, Object};
use crate::mesh::observed::Observed;
use crate::mesh::plan::{Engine, ManagedPlan, Plan, StorePlan};
use crate::mesh::topology::{RackStep, StoreStep};

const THREE_RACKS: [(&str, i32); 3] = [("a", 1), ("b", 1), ("c", 1)];

fn render(plan: &Plan, observed: &Observed, step: &StoreStep) -> Vec<Object> {
    objects(plan, observed, step).expect("they can be written")
}

fn made(managed: ManagedPlan, step: &StoreStep) -> Vec<Object> {
    render(&plan(managed), &Observed::default(), step)
}

fn scylla(memory: &str, cores: i32) -> ManagedPlan {
    ManagedPlan {
        engine: Engine::Scylla { memory: Size::from(memory), cores },
        image: "docker.io/scylladb/scylla:2026.1".to_owned(),
        ..managed(&[("rack1", 3)])
    }
}

fn yaml(objects: &[Object]) -> String {
    let yaml = |object: &Object| serde_saphyr::to_string(&object.value).expect("YAML");
    objects.iter().map(yaml).collect::<Vec<_>>().join("---\n")
}

fn sets(objects: &[Object]) -> Vec<&Object> {
    objects.iter().filter(|object| object.kind == Kind::StatefulSet).collect()
}

fn set(objects: &[Object]) -> Value {
    json!(sets(objects)[0].value)
}

#[test]
fn one_cassandra_node() {
    let racks = [("rack1", 1)];
    insta::assert_snapshot!(yaml(&made(managed(&racks), &reached(&racks))));
}

#[test]
fn three_cassandra_nodes_in_three_racks() {
    insta::assert_snapshot!(yaml(&made(managed(&THREE_RACKS), &reached(&THREE_RACKS))));
}

#[test]
fn three_scylla_nodes() {
    let objects = made(scylla("8Gi", 4), &reached(&[("rack1", 3)]));
    insta::assert_snapshot!(yaml(&objects));
}

#[test]
fn pods_run_where_the_spec_wants_them() {
    let racks = [("rack1", 1)];
    let mut managed = managed(&racks);
    managed.pod = serde_json::from_value(json!({
        "labels": {"team": "data", "pulsemesh.io/rack": "mine"},
        "annotations": {"note": "x", "pulsemesh.io/made-from": "mine"},
        "nodeSelector": {"disk": "ssd"},
        "tolerations": [{"key": "store", "operator": "Exists"}],
        "affinity": {"nodeAffinity": {}},
        "topologySpreadConstraints": [{
            "maxSkew": 1, "topologyKey": "zone", "whenUnsatisfiable": "DoNotSchedule",
        }],
        "imagePullSecrets": ["registry"],
        "priorityClassName": "high",
        "terminationGracePeriodSeconds": 90,
    }))
    .expect("a pod");
    let set = set(&made(managed, &reached(&racks)));
    let template = &set["spec"]["template"];
    let spec = &template["spec"];
    insta::assert_snapshot!(
        serde_saphyr::to_string(&json!({
            "metadata": template["metadata"],
            "affinity": spec["affinity"],
            "nodeSelector": spec["nodeSelector"],
            "tolerations": spec["tolerations"],
            "topologySpreadConstraints": spec["topologySpreadConstraints"],
            "imagePullSecrets": spec["imagePullSecrets"],
            "priorityClassName": spec["priorityClassName"],
            "terminationGracePeriodSeconds": spec["terminationGracePeriodSeconds"],
            "lifecycle": spec["containers"][0]["lifecycle"],
        }))
        .expect("YAML")
    );
}

#[test]
fn a_template_that_is_kept_is_the_one_in_the_cluster() {
    let racks = [("rack1", 1)];
    let live = applied(made(managed(&racks), &reached(&racks)));
    let mut newer = managed(&racks);
    newer.image = "docker.io/library/cassandra:5.0.9".to_owned();
    let step = |keep_template| {
        let rack = RackStep { replicas: 1, partition: 1, keep_template };
        StoreStep { racks: [("rack1".to_owned(), rack)].into(), ..StoreStep::default() }
    };
    let kept = set(&render(&plan(newer.clone()), &live, &step(true)));
    assert_eq!(kept["spec"]["template"], set(&live.objects)["spec"]["template"]);
    assert_eq!(kept["spec"]["updateStrategy"]["rollingUpdate"]["partition"], json!(1));
    let changed = set(&render(&plan(newer.clone()), &live, &step(false)));
    let image = &changed["spec"]["template"]["spec"]["containers"][0]["image"];
    assert_eq!(*image, json!("docker.io/library/cassandra:5.0.9"));
    // Nothing to keep: the first pods are made by the plan.
    let first = set(&render(&plan(newer), &Observed::default(), &step(true)));
    assert_eq!(first["spec"]["template"], changed["spec"]["template"]);
}

#[test]
fn a_rack_that_nothing_was_decided_on_stays_as_it_is() {
    let racks = [("rack1", 3)];
    let live = applied(made(managed(&racks), &reached(&[("rack1", 2)])));
    let objects = render(&plan(managed(&racks)), &live, &StoreStep::default());
    let spec = &set(&objects)["spec"];
    assert_eq!(spec["replicas"], json!(2));
    assert_eq!(spec["updateStrategy"]["rollingUpdate"]["partition"], json!(2));
    assert_eq!(spec["template"], set(&live.objects)["spec"]["template"]);
    let none = render(&plan(managed(&racks)), &Observed::default(), &StoreStep::default());
    assert_eq!(sets(&none), Vec::<&Object>::new(), "nothing is made without a decision");
    let more = reached(&[("rack1", 3), ("old", 1)]);
    let names: Vec<_> = made(managed(&racks), &more);
    assert_eq!(
        sets(&names).iter().map(|set| set.name()).collect::<Vec<_>>(),
        ["demo-store-rack1", "demo-store-old"]
    );
}

#[test]
fn claims_of_a_stateful_set_stay_until_it_is_made_anew() {
    let racks = [("rack1", 1)];
    let live = applied(made(managed(&racks), &reached(&racks)));
    let mut grown = managed(&racks);
    grown.storage.size = Size::from("20Gi");
    grown.storage.storage_class_name = Some("fast".to_owned());
    let claims = |observed: &Observed| {
        set(&render(&plan(grown.clone()), observed, &reached(&racks)))["spec"]
            ["volumeClaimTemplates"]
            .clone()
    };
    assert_eq!(claims(&live), set(&live.objects)["spec"]["volumeClaimTemplates"]);
    let anew = claims(&Observed::default());
    assert_eq!(anew[0]["spec"]["resources"]["requests"]["storage"], json!("20Gi"));
    assert_eq!(anew[0]["spec"]["storageClassName"], json!("fast"));
}

/// As the API server gives a StatefulSet back: with what it fills in.
#[test]
fn what_the_api_server_fills_in_makes_no_difference() {
    let racks = [("rack1", 2)];
    let objects = made(managed(&racks), &reached(&racks));
    let mut live = applied(objects.clone());
    for object in live.objects.iter_mut().filter(|object| object.kind == Kind::StatefulSet) {
        let claim = &mut object.value.data["spec"]["volumeClaimTemplates"][0];
        claim["spec"]["volumeMode"] = json!("Filesystem");
        claim["status"] = json!({"phase": "Pending"});
    }
    assert_eq!(render(&plan(managed(&racks)), &live, &reached(&racks)), objects);
}

#[test]
fn only_what_a_pod_is_made_from_changes_its_template() {
    let base = plan(managed(&[("rack1", 1)]));
    let template = |plan: &Plan, n| {
        let objects = render(plan, &Observed::default(), &reached(&[("rack1", n)]));
        set(&objects)["spec"]["template"].clone()
    };
    let before = template(&base, 1);
    let mut more = plan(managed(&[("rack1", 3), ("rack2", 3)]));
    if let StorePlan::Managed(managed) = &mut more.store {
        managed.storage.size = Size::from("1Ti");
        managed.replication_factor = 3;
    }
    assert_eq!(template(&more, 3), before, "nodes come and go without a restart");
    let changes: [fn(&mut ManagedPlan); 5] = [
        |m| m.engine = Engine::Cassandra { heap: Size::from("2Gi") },
        |m| m.image.push('x'),
        |m| m.datacenter.push('x'),
        |m| m.resources.limits = None,
        |m| m.pod.termination_grace_period_seconds = Some(60),
    ];
    for change in changes {
        let mut managed = managed(&[("rack1", 1)]);
        change(&mut managed);
        let after = template(&plan(managed), 1);
        let made_from =
            |template: &Value| template["metadata"]["annotations"][names::MADE_FROM].clone();
        assert_ne!(made_from(&after), made_from(&before));
    }
}

#[test]
fn the_hash_of_a_template_is_known_without_it() {
    let managed = managed(&[("rack1", 1)]);
    let plan = plan(managed.clone());
    let objects = render(&plan, &Observed::default(), &reached(&[("rack1", 1)]));
    let annotations = &set(&objects)["spec"]["template"]["metadata"]["annotations"];
    assert_eq!(annotations[names::RENDERED], json!(rendered(&plan, &managed, "rack1")));
}

#[test]
fn one_node_has_no_budget_for_disruptions() {
    let budgets = |n| {
        let objects = made(managed(&[("rack1", n)]), &reached(&[("rack1", n)]));
        objects.iter().filter(|o| o.kind == Kind::PodDisruptionBudget).count()
    };
    assert_eq!((budgets(1), budgets(2)), (0, 1));
}

/// A misspelt field is lost when the object is read as its type.
#[test]
fn every_field_is_one_of_the_kind() {
    for managed in [managed(&THREE_RACKS), scylla("2Gi", 1)] {
        for object in sets(&made(managed, &reached(&[("a", 1), ("rack1", 1)]))) {
            let typed: StatefulSet = object.typed().expect("its type");
            assert_eq!(json!(typed), json!(object.value));
        }
    }
}

/// What the profile *restricted* asks of a pod, and a root that can't be written.
#[test]
fn pods_are_restricted() {
    for managed in [managed(&THREE_RACKS), scylla("2Gi", 1)] {
        for object in sets(&made(managed, &reached(&[("a", 1), ("rack1", 1)]))) {
            let set: StatefulSet = object.typed().expect("its type");
            restricted(&set.spec.template.spec.expect("a pod"));
        }
    }
}

fn restricted(spec: &PodSpec) {
    let pod = json!(spec.security_context);
    assert_eq!(pod["runAsNonRoot"], json!(true));
    assert!(pod["runAsUser"].as_i64() > Some(0), "{pod}");
    assert_eq!(pod["seccompProfile"]["type"], json!("RuntimeDefault"));
    let containers = spec.init_containers.iter().flatten().chain(&spec.containers);
    for container in containers {
        let context = json!(container.security_context);
        assert_eq!(context["allowPrivilegeEscalation"], json!(false));
        assert_eq!(context["readOnlyRootFilesystem"], json!(true));
        assert_eq!(context["capabilities"], json!({"drop": ["ALL"]}));
    }
    for volume in spec.volumes.iter().flatten() {
        assert!(volume.host_path.is_none(), "{volume:?}");
    }
    assert_eq!(spec.automount_service_account_token, Some(false));
}

#[test]
fn the_longest_names_are_still_names() {
    let rack = "r".repeat(15);
    let racks = [(rack.as_str(), 300)];
    let mut plan = plan(managed(&racks));
    rename(&mut plan, &"m".repeat(30));
    let objects = render(&plan, &Observed::default(), &reached(&racks));
    for object in &objects {
        assert!(object.name().len() <= 63, "{}", object.name());
    }
    // A pod's name is its host name; the hash of a revision is a label: `<set>-<10 characters>`.
    let set = sets(&objects)[0].name().to_owned();
    assert!(format!("{set}-299").len() <= 63 && set.len() + 11 <= 63, "{set}");
}
