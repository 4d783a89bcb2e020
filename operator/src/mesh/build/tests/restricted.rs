//! The *restricted* level of pod security, as the API server enforces it in a namespace, and what
//! the project asks for beyond it.

use k8s_openapi::api::core::v1::{Container, PodSpec, PodTemplateSpec};
use serde_json::Value;

use super::snapshots::with_monitoring;
use crate::mesh::fixtures::{examples, objects, planned};
use crate::mesh::object::Object;

/// Kinds of volumes that *restricted* lets through.
const VOLUMES: [&str; 8] = [
    "configMap",
    "csi",
    "downwardAPI",
    "emptyDir",
    "ephemeral",
    "persistentVolumeClaim",
    "projected",
    "secret",
];

/// What a pod template breaks; nothing when it is *restricted*.
pub(super) fn broken(template: &PodTemplateSpec) -> Vec<String> {
    let Some(spec) = &template.spec else { return vec!["no spec".to_owned()] };
    let mut broken = pod(spec);
    let containers = spec.containers.iter().chain(spec.init_containers.iter().flatten());
    for it in containers {
        broken.extend(container(spec, it).into_iter().map(|rule| format!("{}: {rule}", it.name)));
    }
    broken
}

fn failed(rules: &[(&str, bool)]) -> Vec<String> {
    rules.iter().filter(|(_, holds)| !holds).map(|(rule, _)| (*rule).to_owned()).collect()
}

fn pod(spec: &PodSpec) -> Vec<String> {
    let security = spec.security_context.clone().unwrap_or_default();
    let kinds = spec.volumes.iter().flatten().map(|volume| {
        let value = serde_json::to_value(volume).expect("JSON");
        let keys = value.as_object().map(|map| map.keys().cloned().collect::<Vec<_>>());
        keys.unwrap_or_default().into_iter().filter(|key| key != "name").collect::<Vec<_>>()
    });
    let allowed = |kinds: &Vec<String>| {
        kinds.len() == 1 && kinds.iter().all(|kind| VOLUMES.contains(&kind.as_str()))
    };
    failed(&[
        (
            "host namespaces",
            [spec.host_network, spec.host_pid, spec.host_ipc].iter().all(|host| host.is_none()),
        ),
        ("volume types", kinds.into_iter().all(|kinds| allowed(&kinds))),
        ("sysctls", security.sysctls.is_none()),
        ("no token of the API", spec.automount_service_account_token == Some(false)),
        ("no variables of Services", spec.enable_service_links == Some(false)),
    ])
}

fn container(spec: &PodSpec, container: &Container) -> Vec<String> {
    let of_pod = spec.security_context.clone().unwrap_or_default();
    let own = container.security_context.clone().unwrap_or_default();
    let capabilities = own.capabilities.unwrap_or_default();
    let seccomp = own.seccomp_profile.or(of_pod.seccomp_profile).map(|profile| profile.type_);
    let ports = container.ports.iter().flatten();
    failed(&[
        ("privileged", own.privileged != Some(true)),
        ("privilege escalation", own.allow_privilege_escalation == Some(false)),
        (
            "capabilities",
            capabilities.add.is_none()
                && capabilities.drop.is_some_and(|drop| drop.contains(&"ALL".to_owned())),
        ),
        ("not root", own.run_as_non_root.or(of_pod.run_as_non_root) == Some(true)),
        ("user", own.run_as_user.or(of_pod.run_as_user).is_some_and(|user| user != 0)),
        ("seccomp", seccomp.is_some_and(|kind| kind == "RuntimeDefault")),
        ("host ports", ports.into_iter().all(|port| port.host_port.is_none())),
        ("/proc", own.proc_mount.is_none()),
        ("read-only root", own.read_only_root_filesystem == Some(true)),
    ])
}

/// The pod template of an object that has one.
pub(super) fn template(object: &Object) -> Option<PodTemplateSpec> {
    let template: &Value = object.value.data.pointer("/spec/template")?;
    Some(serde_json::from_value(template.clone()).expect("a template"))
}

#[test]
fn every_pod_of_every_example_is_restricted() {
    let mut seen = 0;
    for (name, mesh) in examples() {
        for object in objects(&planned(&mesh), &with_monitoring()) {
            let Some(template) = template(&object) else { continue };
            let rules = broken(&template);
            assert_eq!(
                rules,
                Vec::<String>::new(),
                "{:?} {} of {name}",
                object.kind,
                object.name()
            );
            seen += 1;
        }
    }
    assert!(seen >= 5, "{seen} templates");
}

#[test]
fn a_pod_that_breaks_a_rule_is_found() {
    let (_, mesh) = examples().remove(0);
    let objects = objects(&planned(&mesh), &with_monitoring());
    let sound = objects.iter().find_map(template).expect("a template");
    for (rule, change) in [
        ("ingest: not root", "/spec/securityContext/runAsNonRoot"),
        ("ingest: user", "/spec/securityContext/runAsUser"),
        ("ingest: seccomp", "/spec/securityContext/seccompProfile"),
        ("ingest: capabilities", "/spec/containers/0/securityContext/capabilities"),
        (
            "ingest: privilege escalation",
            "/spec/containers/0/securityContext/allowPrivilegeEscalation",
        ),
        ("ingest: read-only root", "/spec/containers/0/securityContext/readOnlyRootFilesystem"),
        ("no token of the API", "/spec/automountServiceAccountToken"),
    ] {
        let mut value = serde_json::to_value(&sound).expect("JSON");
        *value.pointer_mut(change).expect("the field") = Value::Null;
        let changed: PodTemplateSpec = serde_json::from_value(value).expect("a template");
        assert_eq!(broken(&changed), [rule]);
    }
}
