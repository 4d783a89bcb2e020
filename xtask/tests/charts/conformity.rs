//! Every manifest against the schema of its kind, by `kubeconform`. It would fetch schemas from
//! the network; here they are made from the API of the Kubernetes that the testbed builds, which
//! lies in Go's module cache, and from our own definition.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use serde_json::Value;
use xtask::helm::{Helm, chart, program};
use xtask::openapi;

use super::{CHARTS, manifests, parse, render, values};

/// The Kubernetes whose API is meant.
const KUBERNETES: &str = "k8s.io/kubernetes@v1.35.4";
/// Of another project; what it looks like is kept as a snapshot.
const FOREIGN: &str = "ServiceMonitor";

#[test]
#[ignore = "needs helm and kubeconform"]
fn every_manifest_is_as_its_kind_asks() {
    let helm = Helm::new().expect("helm");
    let folder = tempfile::tempdir().expect("a folder");
    let rendered = folder.path().join("rendered");
    std::fs::create_dir(&rendered).expect("a folder");
    let mut kinds = BTreeSet::new();
    for name in CHARTS {
        for file in values(name) {
            let text = render(&helm, name, &file);
            kinds.extend(manifests(&text).into_iter().map(parse).map(kind_of));
            let stem = file.file_stem().expect("a name").to_string_lossy().into_owned();
            std::fs::write(rendered.join(format!("{name}-{stem}.yaml")), text).expect("written");
        }
    }
    // Names that YAML would read as numbers.
    let chart = chart("pulsemesh-operator").display().to_string();
    let arguments = ["template", "2025", "--namespace=2026", "--set-json=watchNamespaces=[\"1\"]"];
    let text = helm.text(&[&arguments[..], &[&chart]].concat()).expect("rendered");
    std::fs::write(rendered.join("numbers.yaml"), text).expect("written");
    write_schemas(folder.path(), &kinds);
    let (passed, text) = kubeconform(folder.path(), &rendered);
    assert!(passed, "{text}");
    assert!(text.contains("Invalid: 0, Errors: 0") && !text.contains("Valid: 0"), "{text}");
}

#[test]
#[ignore = "needs helm and kubeconform"]
fn a_field_that_a_kind_does_not_have_is_found() {
    let folder = tempfile::tempdir().expect("a folder");
    let manifest = folder.path().join("wrong.yaml");
    let text = "apiVersion: v1\nkind: Pod\nmetadata: {name: a}\nspec: {containers: [], cpus: 1}\n";
    std::fs::write(&manifest, text).expect("written");
    write_schemas(folder.path(), &[("v1".to_owned(), "Pod".to_owned())].into());
    let (passed, text) = kubeconform(folder.path(), &manifest);
    assert!(!passed && text.contains("cpus"), "{text}");
}

fn kind_of(manifest: Value) -> (String, String) {
    let text = |key: &str| manifest[key].as_str().unwrap_or_default().to_owned();
    (text("apiVersion"), text("kind"))
}

/// Writes a schema for each kind, under the name that `kubeconform` is told.
fn write_schemas(folder: &Path, kinds: &BTreeSet<(String, String)>) {
    let swagger = swagger();
    for (api_version, kind) in kinds.iter().filter(|(_, kind)| kind != FOREIGN) {
        let own = matches!(kind.as_str(), "PulseMesh" | "PulseTenant").then(|| own_schema(kind));
        let schema = own.or_else(|| openapi::of_kind(&swagger, api_version, kind));
        let schema = schema.expect("a kind of this Kubernetes or our own");
        let group = api_version.split('/').next().unwrap_or_default();
        let version = api_version.split('/').next_back().unwrap_or_default();
        let name = format!("{group}-{version}-{}.json", kind.to_lowercase());
        std::fs::write(folder.join(name), schema.to_string()).expect("written");
    }
}

fn own_schema(kind: &str) -> Value {
    let plural = if kind == "PulseMesh" { "pulsemeshes" } else { "pulsetenants" };
    let path = format!("../crds/definitions/pulsemesh.io_{plural}.yaml");
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    let definition = parse(&std::fs::read_to_string(path).expect("the definition"));
    let mut schema = definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"].clone();
    // Every kind has them, so a definition does not list them.
    for key in ["apiVersion", "kind", "metadata"] {
        schema["properties"][key] = serde_json::json!({});
    }
    openapi::strict(&schema)
}

/// The API as the API server tells it; fetched by Go where its cache has been emptied.
fn swagger() -> Value {
    let output = Command::new("go")
        .args(["mod", "download", "-json", KUBERNETES])
        .env("GOFLAGS", "-mod=mod")
        .current_dir(std::env::temp_dir())
        .output()
        .expect("go, which builds kubeconform, is there");
    let module: Value = serde_json::from_slice(&output.stdout).expect("go says where it is");
    let folder = module["Dir"].as_str().expect("the module is in the cache, or can be fetched");
    let path = Path::new(folder).join("api/openapi-spec/swagger.json");
    let text = std::fs::read_to_string(path).expect("the API is part of the module");
    serde_json::from_str(&text).expect("JSON")
}

/// Whether all is well, and what it says.
fn kubeconform(schemas: &Path, manifests: &Path) -> (bool, String) {
    let template = "{{.Group}}-{{.ResourceAPIVersion}}-{{.ResourceKind}}.json";
    let output = Command::new(program("kubeconform").expect("kubeconform"))
        .args(["-strict", "-summary", "-skip", FOREIGN, "-schema-location"])
        .arg(format!("{}/{template}", schemas.display()))
        .arg(manifests)
        .output()
        .expect("kubeconform runs");
    let text = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8_lossy(&text).into_owned())
}
