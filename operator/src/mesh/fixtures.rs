//! Meshes and plans for tests, all through the real validation.

use std::path::Path;

use pulsemesh_crds::PulseMesh;

use super::object::{Kind, Object};
use super::observed::Observed;
use super::plan::Plan;
use super::topology::StoreStep;
use super::validate::{Defaults, validate};
use super::{build, names};

/// What the operator sets for all.
pub(crate) fn defaults() -> Defaults {
    Defaults {
        ingest_image: "registry.example/pulsemesh-ingest:1.0.0".to_owned(),
        cluster_domain: "cluster.local".to_owned(),
        operator_namespace: Some("pulsemesh-system".to_owned()),
    }
}

/// A mesh as an API server gives it.
pub(crate) fn mesh(text: &str) -> PulseMesh {
    let mut mesh: PulseMesh = serde_saphyr::from_str(text).expect("the YAML of a mesh");
    mesh.metadata.namespace = Some("shop".to_owned());
    mesh.metadata.uid = Some("11111111-2222-3333-4444-555555555555".to_owned());
    mesh.metadata.generation = Some(7);
    mesh
}

/// A mesh of the name `demo` with this spec.
pub(crate) fn with_spec(spec: &str) -> PulseMesh {
    mesh(&format!(
        "{{apiVersion: pulsemesh.io/v1alpha1, kind: PulseMesh, metadata: {{name: demo}}, \
         spec: {spec}}}"
    ))
}

/// Every documented example by its file's name.
pub(crate) fn examples() -> Vec<(String, PulseMesh)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../crds/examples");
    let mut paths: Vec<_> = std::fs::read_dir(folder)
        .expect("the examples")
        .map(|entry| entry.expect("an example").path())
        .collect();
    paths.sort();
    paths
        .into_iter()
        .map(|path| {
            let name = path.file_stem().expect("a name").to_string_lossy().into_owned();
            let text = std::fs::read_to_string(path).expect("an example");
            // Its tenants come behind the mesh.
            (name, mesh(text.split("\n---\n").next().unwrap_or_default()))
        })
        .collect()
}

/// The plan of a mesh that must be sound.
#[track_caller]
pub(crate) fn planned(mesh: &PulseMesh) -> Plan {
    match validate(mesh, &defaults()) {
        Ok(plan) => plan,
        Err(problems) => unreachable!("refused: {problems:#?}"),
    }
}

/// The plan of a mesh with this spec.
#[track_caller]
pub(crate) fn plan(spec: &str) -> Plan {
    planned(&with_spec(spec))
}

/// All objects of a plan.
pub(crate) fn objects(plan: &Plan, observed: &Observed) -> Vec<Object> {
    build::objects(plan, observed, &StoreStep::default()).expect("objects as JSON")
}

/// The object of a kind and name among these.
#[track_caller]
pub(crate) fn object<'a>(objects: &'a [Object], kind: Kind, name: &str) -> &'a Object {
    let found = objects.iter().find(|object| object.kind == kind && object.name() == name);
    found.unwrap_or_else(|| unreachable!("no {kind:?} {name}"))
}

/// The settings file of a plan's ingest.
#[track_caller]
pub(crate) fn settings_file(plan: &Plan, observed: &Observed) -> String {
    let objects = objects(plan, observed);
    let map = object(&objects, Kind::ConfigMap, &names::ingest(&plan.mesh.name));
    let text = map.value.data.pointer("/data/ingest.toml").and_then(|text| text.as_str());
    text.expect("a settings file").to_owned()
}
