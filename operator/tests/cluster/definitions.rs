//! The definitions as the API server takes them: every documented example is accepted, every rule
//! refuses with its own words, and kubectl scales and shows a mesh. No operator is needed.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::support::{Bed, root};

async fn bed() -> Result<Bed> {
    let bed = Bed::new("definitions").await?;
    for path in files("crds/definitions")? {
        let path = path.display().to_string();
        bed.kubectl(&["apply", "--server-side", "--force-conflicts", "-f", &path])?;
        bed.kubectl(&["wait", "--for=condition=Established", "--timeout=30s", "-f", &path])?;
    }
    Ok(bed)
}

fn files(folder: &str) -> Result<Vec<PathBuf>> {
    let folder = root().join(folder);
    let entries = fs::read_dir(&folder).with_context(|| format!("list {}", folder.display()))?;
    let mut files: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    files.sort();
    Ok(files)
}

fn mesh(bed: &Bed, name: &str, spec: &str) -> String {
    manifest(bed, "PulseMesh", name, spec)
}

fn tenant(bed: &Bed, name: &str, spec: &str) -> String {
    manifest(bed, "PulseTenant", name, spec)
}

fn manifest(bed: &Bed, kind: &str, name: &str, spec: &str) -> String {
    format!(
        "{{apiVersion: pulsemesh.io/v1alpha1, kind: {kind}, \
         metadata: {{name: {name}, namespace: {}}}, spec: {spec}}}",
        bed.namespace
    )
}

#[tokio::test]
#[ignore = "needs a cluster: cargo xtask test cluster"]
async fn every_documented_example_is_accepted() -> Result<()> {
    let bed = bed().await?;
    let examples = files("crds/examples")?;
    ensure!(examples.len() >= 5, "{examples:?}");
    for example in &examples {
        let path = example.display().to_string();
        bed.kubectl(&["apply", "--dry-run=server", "-f", &path])?;
    }
    Ok(())
}

/// A spec that each rule refuses for a new mesh.
const REFUSED: [&str; 11] = [
    "{store: {}}",
    "{store: {external: {}}}",
    "{ingest: {replicas: 2}, store: {embedded: {}}}",
    "{ingest: {log: {storage: {size: 10Gi}}}, store: {embedded: {}}}",
    "{ingest: {autoscaling: {minReplicas: 3, maxReplicas: 2}}, \
      store: {cassandra: {storage: {size: 1Gi}}}}",
    "{ingest: {log: {budget: 1Gi, storage: {size: 2047Mi}}}, \
      store: {cassandra: {storage: {size: 1Gi}}}}",
    "{store: {cassandra: {nodes: 3, replicationFactor: 4, storage: {size: 1Gi}}}}",
    "{store: {cassandra: {nodes: 1, racks: [a, b], storage: {size: 1Gi}}}}",
    "{ingest: {redis: {url: 'rediss://cache'}}, store: {embedded: {}}}",
    "{ingest: {redis: {url: 'redis://mesh@cache'}}, store: {embedded: {}}}",
    "{ingest: {redis: {url: 'redis://mesh:s3cret@cache', passwordSecret: {name: login}}}, \
      store: {embedded: {}}}",
];

/// The same of tenants.
const REFUSED_TENANTS: [&str; 2] =
    ["{mesh: demo, schemas: [{kind: order}]}", "{mesh: demo, retention: One-Year}"];

/// Changes that are refused, from one spec to another.
const REFUSED_CHANGES: [(&str, &str); 8] = [
    ("{store: {embedded: {}}}", "{store: {cassandra: {storage: {size: 1Gi}}}}"),
    (
        "{ingest: {log: {budget: 1Gi}}, store: {cassandra: {storage: {size: 1Gi}}}}",
        "{ingest: {log: {budget: 1Gi, storage: {size: 4Gi}}}, \
          store: {cassandra: {storage: {size: 1Gi}}}}",
    ),
    (
        "{store: {cassandra: {storage: {size: 10Gi}}}}",
        "{store: {cassandra: {storage: {size: 5Gi}}}}",
    ),
    (
        "{store: {cassandra: {storage: {size: 1Gi, storageClassName: a}}}}",
        "{store: {cassandra: {storage: {size: 1Gi, storageClassName: b}}}}",
    ),
    (
        "{store: {cassandra: {replicationFactor: 2, storage: {size: 1Gi}}}}",
        "{store: {cassandra: {replicationFactor: 1, storage: {size: 1Gi}}}}",
    ),
    (
        "{store: {cassandra: {racks: [a, b], storage: {size: 1Gi}}}}",
        "{store: {cassandra: {racks: [a, c], storage: {size: 1Gi}}}}",
    ),
    (
        "{store: {cassandra: {datacenter: one, storage: {size: 1Gi}}}}",
        "{store: {cassandra: {datacenter: two, storage: {size: 1Gi}}}}",
    ),
    (
        "{store: {scylla: {racks: [a, b], storage: {size: 1Gi}}}}",
        "{store: {scylla: {racks: [a, c], storage: {size: 1Gi}}}}",
    ),
];

#[tokio::test]
#[ignore = "needs a cluster: cargo xtask test cluster"]
async fn every_rule_refuses_with_its_words() -> Result<()> {
    let bed = bed().await?;
    let mut told = String::new();
    let mut refuse = |manifest: &str, what: &str| -> Result<()> {
        let outcome = bed.apply(manifest);
        let error = outcome.err().with_context(|| format!("accepted: {what}"))?;
        told.push_str(&format!("{error:#}\n"));
        Ok(())
    };
    for spec in REFUSED {
        refuse(&mesh(&bed, "new", spec), spec)?;
    }
    for name in ["a".repeat(31), "team.mesh".to_owned()] {
        refuse(&mesh(&bed, &name, "{store: {embedded: {}}}"), &name)?;
    }
    for (number, (old, new)) in REFUSED_CHANGES.into_iter().enumerate() {
        let name = format!("change-{number}");
        bed.apply(&mesh(&bed, &name, old))?;
        refuse(&mesh(&bed, &name, new), new)?;
        bed.kubectl(&["delete", "pulsemesh", &name, "--wait=false"])?;
    }
    for spec in REFUSED_TENANTS {
        refuse(&tenant(&bed, "new", spec), spec)?;
    }
    refuse(&tenant(&bed, &"a".repeat(64), "{mesh: demo}"), "a long name")?;
    bed.apply(&tenant(&bed, "moves", "{mesh: demo}"))?;
    refuse(&tenant(&bed, "moves", "{mesh: other}"), "another mesh")?;
    bed.kubectl(&["delete", "pulsetenant", "moves", "--wait=false"])?;
    let messages = messages()?;
    ensure!(messages.len() >= 10, "{messages:?}");
    let unheard: Vec<&String> =
        messages.iter().filter(|message| !told.contains(message.as_str())).collect();
    ensure!(unheard.is_empty(), "never told: {unheard:#?}\ntold:\n{told}");
    Ok(())
}

/// The words of every rule of the definitions.
fn messages() -> Result<BTreeSet<String>> {
    let mut messages = BTreeSet::new();
    for path in files("crds/definitions")? {
        let text = fs::read_to_string(&path).context("read a definition")?;
        let definition: Value = serde_saphyr::from_str(&text).context("parse a definition")?;
        collect(&definition, &mut messages);
    }
    Ok(messages)
}

fn collect(value: &Value, messages: &mut BTreeSet<String>) {
    match value {
        Value::Object(fields) => {
            let rules = fields.get("x-kubernetes-validations").and_then(Value::as_array);
            for rule in rules.into_iter().flatten() {
                messages.extend(rule["message"].as_str().map(str::to_owned));
            }
            fields.values().for_each(|field| collect(field, messages));
        }
        Value::Array(items) => items.iter().for_each(|item| collect(item, messages)),
        _ => {}
    }
}

#[tokio::test]
#[ignore = "needs a cluster: cargo xtask test cluster"]
async fn a_mistyped_field_is_refused_by_its_name() -> Result<()> {
    let bed = bed().await?;
    for (spec, words) in [
        ("{store: {embedded: {}}, ingests: {}}", "unknown field \"spec.ingests\""),
        ("{store: {embedded: {}}, ingest: {replicas: many}}", "spec.ingest.replicas"),
        ("{store: {embedded: {}}, ingest: {ack: Perhaps}}", "spec.ingest.ack"),
        ("{store: {embedded: {}}, ingest: {replicas: -1}}", "spec.ingest.replicas"),
        ("{}", "spec.store"),
    ] {
        let error = bed.apply(&mesh(&bed, "mistyped", spec)).err();
        let error = format!("{:#}", error.with_context(|| format!("accepted: {spec}"))?);
        ensure!(error.contains(words), "{spec}: {error}");
    }
    Ok(())
}

#[tokio::test]
#[ignore = "needs a cluster: cargo xtask test cluster"]
async fn kubectl_scales_shows_and_explains_a_mesh() -> Result<()> {
    let bed = bed().await?;
    // It would tell another status than this test.
    bed.uninstall()?;
    let paused = "{paused: true, store: {cassandra: {storage: {size: 1Gi}}}}";
    bed.apply(&mesh(&bed, "shown", paused))?;
    bed.kubectl(&["scale", "pulsemesh/shown", "--replicas=3"])?;
    let replicas = ["get", "pm", "shown", "--output=jsonpath={.spec.ingest.replicas}"];
    ensure!(bed.kubectl(&replicas)? == "3");
    let status = r#"{"status": {"ingest": {"replicas": 3, "readyReplicas": 2, "desiredReplicas": 3,
        "summary": "2/3", "selector": "a=b"}, "conditions": [{"type": "Ready", "status": "False",
        "reason": "Waiting", "message": "m", "lastTransitionTime": "2026-01-01T00:00:00Z"}]}}"#;
    bed.kubectl(&["patch", "pm", "shown", "--subresource=status", "--type=merge", "-p", status])?;
    let table = bed.kubectl(&["get", "pulsemeshes"])?;
    for part in ["READY", "REASON", "INGEST", "STORE", "AGE", "shown", "False", "Waiting", "2/3"] {
        ensure!(table.contains(part), "no {part}:\n{table}");
    }
    let path =
        format!("/apis/pulsemesh.io/v1alpha1/namespaces/{}/pulsemeshes/shown/scale", bed.namespace);
    let scale: Value = serde_json::from_str(&bed.kubectl(&["get", "--raw", &path])?)?;
    ensure!(scale["status"]["replicas"] == 3 && scale["status"]["selector"] == "a=b", "{scale}");
    ensure!(bed.kubectl(&["get", "all"])?.contains("shown"), "it is in the category all");
    let told = bed.kubectl(&["explain", "pulsemesh.spec.ingest.ack"])?;
    ensure!(told.contains("202") && told.contains("Durable"), "{told}");
    Ok(())
}

#[test]
fn the_words_of_rules_are_found_wherever_they_lie() {
    let messages = messages().expect("the definitions are there");
    assert!(messages.iter().any(|message| message.contains("at most 30 characters")));
    assert!(messages.len() >= 10, "{messages:?}");
}
