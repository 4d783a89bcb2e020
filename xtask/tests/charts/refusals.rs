//! Values that a chart refuses, with what it says, and those that it has to take.

use std::path::Path;

use serde_json::{Value, json};
use xtask::helm::{Helm, chart};

use super::{manifests, parse};

/// What Helm says against these values; empty where it takes them.
fn said(helm: &Helm, name: &str, release: &str, values: &[&str]) -> String {
    let chart = chart(name).display().to_string();
    let arguments = [&["template", release, &chart], values].concat();
    let output = helm.run(&arguments).expect("helm runs");
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.success(), text.is_empty(), "{text}");
    text
}

#[test]
#[ignore = "needs helm"]
fn values_that_mean_nothing_are_refused_with_their_place() {
    let helm = Helm::new().expect("helm");
    let operator = [
        ("replica=2", "additional properties 'replica' not allowed"),
        ("pod.label.a=b", "additional properties 'label' not allowed"),
        ("replicas=two", "at '/replicas': got string, want integer"),
        ("replicas=0", "at '/replicas': minimum: got 0, want 1"),
        ("image.pullPolicy=Sometimes", "at '/image/pullPolicy': value must be one of 'Always'"),
        ("image.digest=latest", "at '/image/digest': 'latest' does not match pattern"),
        ("pod.userId=0", "at '/pod/userId': minimum: got 0, want 1"),
        ("watchNamespaces=team-a", "at '/watchNamespaces': got string, want array"),
        ("resources.limit.memory=1Gi", "additional properties 'limit' not allowed"),
        ("crds.enabled=yes please", "at '/crds/enabled': got string, want boolean"),
        ("serviceAccount.create=false", "serviceAccount.name: name the ServiceAccount"),
    ];
    let mesh = [
        ("specs.ingest.replicas=2", "additional properties 'specs' not allowed"),
        ("spec.ingest.replica=2", "additional properties 'replica' not allowed"),
        ("spec.ingest.replicas=two", "at '/spec/ingest/replicas': got string, want integer"),
        ("spec.ingest.replicas=501", "at '/spec/ingest/replicas': maximum: got 501, want 500"),
        ("spec.ingest.ack=Certainly", "at '/spec/ingest/ack': value must be one of 'Memory'"),
        ("spec.store.cassandra.nodes=3", "missing property 'storage'"),
        ("spec.store.embedded.storage.size=5 GB", "'5 GB' does not match pattern"),
        ("name=Demo", "at '/name': 'Demo' does not match pattern"),
    ];
    for (name, cases) in [("pulsemesh-operator", &operator[..]), ("pulsemesh", &mesh)] {
        for (value, expected) in cases {
            let text = said(&helm, name, "demo", &["--set", value]);
            assert!(text.contains(expected), "{name} --set {value}: {text}");
        }
    }
}

#[test]
#[ignore = "needs helm"]
fn a_mesh_has_one_store_and_a_name_that_fits() {
    let helm = Helm::new().expect("helm");
    let two = r#"spec.store={"embedded": {}, "scylla": {"storage": {"size": "1Gi"}}}"#;
    let text = said(&helm, "pulsemesh", "demo", &["--set-json", two]);
    assert!(text.contains("at '/spec/store': maxProperties: got 2, want 1"), "{text}");
    let long = "a-release-with-more-than-thirty-letters";
    let text = said(&helm, "pulsemesh", long, &[]);
    assert!(text.contains("at most 30 characters") && text.contains(long), "{text}");
    assert_eq!(said(&helm, "pulsemesh", long, &["--set", "name=demo"]), "");
}

#[test]
#[ignore = "needs helm"]
fn every_documented_mesh_can_be_written_as_values() {
    let helm = Helm::new().expect("helm");
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../crds/examples");
    let values = tempfile::NamedTempFile::new().expect("a file");
    let mut seen = 0;
    for entry in std::fs::read_dir(folder).expect("examples") {
        let text = std::fs::read_to_string(entry.expect("an example").path()).expect("text");
        // Its tenants come behind the mesh.
        let example = parse(text.split("\n---\n").next().unwrap_or_default());
        let own = json!({"name": example["metadata"]["name"], "spec": example["spec"]});
        std::fs::write(values.path(), own.to_string()).expect("written");
        let made = mesh(&helm, values.path());
        assert_eq!(made["metadata"]["name"], example["metadata"]["name"]);
        assert_eq!(made["spec"], example["spec"]);
        seen += 1;
    }
    assert!(seen >= 5, "{seen} examples");
}

fn mesh(helm: &Helm, values: &Path) -> Value {
    let text = super::render(helm, "pulsemesh", values);
    let mesh = manifests(&text).into_iter().map(parse).find(|one| one["kind"] == "PulseMesh");
    mesh.expect("the chart makes a mesh")
}
