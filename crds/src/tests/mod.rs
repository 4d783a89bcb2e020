//! Tests of the definitions and their rules, as the API server evaluates them.

mod rules;
mod tenants;

use std::path::{Path, PathBuf};

use crate::mesh::DeletionPolicy;
use crate::{PulseMesh, PulseTenant, definitions};

fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

/// A mesh from its YAML.
fn mesh(text: &str) -> PulseMesh {
    serde_saphyr::from_str(text).expect("the YAML of a mesh")
}

/// A mesh of the name `demo` with this spec.
fn with_spec(spec: &str) -> PulseMesh {
    mesh(&format!(
        "{{apiVersion: pulsemesh.io/v1alpha1, kind: PulseMesh, metadata: {{name: demo}}, \
         spec: {spec}}}"
    ))
}

#[test]
fn the_committed_definitions_are_those_of_the_code() {
    for (name, text) in definitions().expect("definitions") {
        let path = folder("definitions").join(name);
        #[allow(clippy::disallowed_methods, reason = "how all generated files are made anew")]
        if std::env::var_os("UPDATE_DOCS").is_some() {
            std::fs::create_dir_all(folder("definitions")).expect("a folder");
            std::fs::write(&path, &text).expect("a file");
        }
        let kept = std::fs::read_to_string(&path).unwrap_or_default();
        assert!(kept == text, "{name} is old: UPDATE_DOCS=1 cargo test -p pulsemesh-crds");
    }
}

#[test]
fn every_documented_example_is_accepted() {
    let mut seen = 0;
    for entry in std::fs::read_dir(folder("examples")).expect("examples") {
        let path = entry.expect("an example").path();
        let text = std::fs::read_to_string(&path).expect("an example");
        for document in text.split("\n---\n") {
            if document.contains("kind: PulseTenant") {
                let tenant: PulseTenant = serde_saphyr::from_str(document).expect("a tenant");
                assert!(tenant.validate_cel().is_ok(), "{:?}", tenant.validate_cel());
            } else {
                let mesh = mesh(document);
                assert!(mesh.validate_cel().is_ok(), "{:?}", mesh.validate_cel());
                assert!(mesh.validate_cel_update(&mesh).is_ok(), "{}", path.display());
            }
            seen += 1;
        }
    }
    assert!(seen >= 8, "{seen} examples");
}

#[test]
fn what_is_left_out_has_the_documented_defaults() {
    let mesh = with_spec("{store: {cassandra: {storage: {size: 1Gi}}}}");
    let cassandra = mesh.spec.store.cassandra.expect("cassandra");
    assert_eq!((cassandra.nodes, cassandra.retention.as_str()), (3, "7d"));
    assert_eq!(cassandra.image, "docker.io/library/cassandra:5.0");
    assert_eq!((mesh.spec.ingest.replicas, mesh.spec.ingest.service.port), (1, 80));
    assert_eq!(mesh.spec.deletion_policy, DeletionPolicy::Retain);
    assert!(mesh.spec.monitoring.service_monitor && !mesh.spec.paused);
}

#[test]
fn the_definition_has_columns_a_scale_and_a_short_name() {
    let definitions = definitions().expect("definitions");
    let [(_, text), (_, tenants)] = &definitions[..] else { unreachable!("two definitions") };
    for part in ["- pt", "name: Mesh", "name: Ready", "jsonPath: .spec.mesh"] {
        assert!(tenants.contains(part), "{part}\n{tenants}");
    }
    for part in
        ["- pm", "labelSelectorPath", "specReplicasPath: .spec.ingest.replicas", "name: Ready"]
    {
        assert!(text.contains(part), "{part}\n{text}");
    }
}

/// API servers cut what lies deeper where a definition says both.
#[test]
fn what_may_have_any_fields_says_nothing_of_others_beside() {
    fn check(node: &serde_json::Value, free: &mut usize) {
        if node.get("x-kubernetes-preserve-unknown-fields").is_some() {
            *free += 1;
            assert!(node.get("additionalProperties").is_none(), "{node}");
        }
        for inner in node.as_object().into_iter().flat_map(serde_json::Map::values) {
            check(inner, free);
        }
        node.as_array().into_iter().flatten().for_each(|inner| check(inner, free));
    }
    let mut free = 0;
    for (_, text) in definitions().expect("definitions") {
        check(&serde_saphyr::from_str(&text).expect("YAML"), &mut free);
    }
    assert!(free > 0, "a tenant's JSON Schema");
}
