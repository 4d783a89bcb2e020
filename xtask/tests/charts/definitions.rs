//! The definitions: those of the API, kept when the chart goes, and left out on demand.

use std::path::Path;

use serde_json::{Value, json};
use xtask::helm::{Helm, chart};

use super::{manifests, parse, render};

const KIND: &str = "CustomResourceDefinition";

fn definitions(helm: &Helm, values: &str) -> Vec<Value> {
    let name = "pulsemesh-operator";
    let text = render(helm, name, &chart(name).join("ci").join(values));
    let all = manifests(&text).into_iter().filter(|one| one.contains(&format!("kind: {KIND}\n")));
    all.map(parse).collect()
}

#[test]
#[ignore = "needs helm"]
fn they_are_those_of_the_api_and_helm_keeps_them() {
    let helm = Helm::new().expect("helm");
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../crds/definitions");
    let mut committed = Vec::new();
    for entry in std::fs::read_dir(folder).expect("definitions") {
        let text = std::fs::read_to_string(entry.expect("a file").path()).expect("text");
        committed.push(parse(&text));
    }
    let by_name = |one: &Value| one["metadata"]["name"].to_string();
    committed.sort_by_key(by_name);
    let mut rendered = definitions(&helm, "default.yaml");
    rendered.sort_by_key(by_name);
    for definition in &mut rendered {
        let keep = json!({"helm.sh/resource-policy": "keep"});
        assert_eq!(definition["metadata"]["annotations"], keep);
        assert_eq!(definition["metadata"]["labels"]["app.kubernetes.io/managed-by"], "Helm");
        definition["metadata"] = json!({"name": definition["metadata"]["name"]});
    }
    // Compared as texts: a difference of values of 300 kB is not read by anybody.
    assert!(!rendered.is_empty() && rendered == committed, "run `cargo xtask generate`");
}

#[test]
#[ignore = "needs helm"]
fn they_can_be_left_to_somebody_else() {
    let helm = Helm::new().expect("helm");
    assert_eq!(definitions(&helm, "namespaced.yaml"), Vec::<Value>::new());
}
