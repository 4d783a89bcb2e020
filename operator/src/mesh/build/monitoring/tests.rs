//! Alerts and dashboards ask for what there is, and are made where they are wanted.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use serde_json::Value;

use crate::mesh::fixtures::{object, objects, plan, with_spec};
use crate::mesh::names;
use crate::mesh::object::{Kind, Object};
use crate::mesh::observed::Observed;

const CASSANDRA: &str = "store: {cassandra: {storage: {size: 1Gi}}}";

fn all(spec: &str, kinds: &[Kind]) -> Vec<Object> {
    let observed =
        Observed { optional_kinds: kinds.iter().copied().collect(), ..Observed::default() };
    objects(&plan(spec), &observed)
}

fn both(spec: &str) -> Vec<Object> {
    all(spec, &[Kind::ServiceMonitor, Kind::PrometheusRule])
}

/// The documented metrics with their labels; of a histogram, what it is exported as.
fn documented() -> BTreeMap<String, BTreeSet<String>> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/metrics.md");
    let text = std::fs::read_to_string(path).expect("docs/metrics.md");
    let mut metrics = BTreeMap::new();
    for row in text.lines().filter(|line| line.starts_with("| `")) {
        let cells: Vec<_> = row.trim_matches('|').split(" | ").map(str::trim).collect();
        let name = cells[0].trim_matches([' ', '`']).to_owned();
        let label = |text: &str| text.trim_matches([' ', '`']).to_owned();
        let labels = row.trim_matches('|').split('|').nth(2).unwrap_or_default();
        let labels: BTreeSet<_> =
            labels.split(',').map(label).filter(|label| !label.is_empty()).collect();
        if cells[1] == "histogram" {
            for part in ["_bucket", "_sum", "_count"] {
                let mut labels = labels.clone();
                labels.insert("le".to_owned());
                metrics.insert(format!("{name}{part}"), labels);
            }
        } else {
            metrics.insert(name, labels);
        }
    }
    assert!(metrics.len() > 40, "{metrics:?}");
    metrics
}

/// The names of metrics in a query: words before a brace.
fn metrics_of(query: &str) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    let mut word = String::new();
    for letter in query.chars() {
        if letter.is_ascii_alphanumeric() || letter == '_' {
            word.push(letter);
            continue;
        }
        if letter == '{' && !word.is_empty() {
            names.insert(word.clone());
        }
        word.clear();
    }
    names
}

/// The labels by which a query groups.
fn grouped(query: &str) -> BTreeSet<String> {
    let groups = query.split(" by (").skip(1).filter_map(|rest| rest.split(')').next());
    groups.flat_map(|group| group.split(", ").map(str::to_owned)).collect()
}

/// All queries of alerts and dashboards.
fn queries(objects: &[Object], mesh: &str) -> Vec<String> {
    let rule = &object(objects, Kind::PrometheusRule, &names::ingest(mesh)).value.data;
    let rules = rule["spec"]["groups"][0]["rules"].as_array().expect("rules");
    let mut queries: Vec<_> =
        rules.iter().map(|rule| rule["expr"].as_str().expect("a query").to_owned()).collect();
    for panel in dashboard(objects, mesh)["panels"].as_array().expect("panels") {
        let targets = panel["targets"].as_array().expect("targets");
        let of = |target: &Value| target["expr"].as_str().expect("a query").to_owned();
        queries.extend(targets.iter().map(of));
    }
    queries
}

fn dashboard(objects: &[Object], mesh: &str) -> Value {
    let map = &object(objects, Kind::ConfigMap, &names::dashboards(mesh)).value.data;
    let data = map["data"].as_object().expect("files");
    let [text] = data.values().collect::<Vec<_>>()[..] else { unreachable!("one file") };
    serde_json::from_str(text.as_str().expect("text")).expect("JSON")
}

#[test]
fn every_query_asks_for_documented_metrics_of_this_mesh_by_labels_that_they_have() {
    let metrics = documented();
    let queries = queries(&both(&format!("{{{CASSANDRA}}}")), "demo");
    assert!(queries.len() > 20, "{queries:?}");
    for query in queries {
        let names = metrics_of(&query);
        assert!(!names.is_empty(), "{query}");
        let of_target = ["pod", "le"].map(str::to_owned);
        for name in names {
            let labels = metrics.get(&name).unwrap_or_else(|| unreachable!("{name}: {query}"));
            let known = |label: &String| labels.contains(label) || of_target.contains(label);
            assert!(grouped(&query).iter().all(known), "{name} has no such label: {query}");
        }
        let braces = query.matches('{').count();
        let selected = query.matches("{namespace=\"shop\",mesh=\"demo\"").count();
        assert_eq!(braces, selected, "{query}");
        assert!(!query.contains("SERIES"), "{query}");
    }
}

#[test]
fn what_is_said_of_the_database_is_left_out_where_there_is_none() {
    let embedded = queries(&both("{store: {embedded: {}}}"), "demo");
    assert!(embedded.iter().all(|query| !query.contains("cassandra")));
}

#[test]
fn optional_kinds_are_made_only_where_the_cluster_knows_them_and_the_spec_wants_them() {
    let kinds = |objects: &[Object]| {
        let kinds = objects.iter().map(|object| object.kind).filter(|kind| kind.is_optional());
        kinds.collect::<Vec<_>>()
    };
    let spec = |monitoring: &str| format!("{{{CASSANDRA}, monitoring: {{{monitoring}}}}}");
    assert_eq!(kinds(&both(&spec(""))), [Kind::ServiceMonitor, Kind::PrometheusRule]);
    assert_eq!(kinds(&all(&spec(""), &[])), []);
    assert_eq!(kinds(&all(&spec(""), &[Kind::ServiceMonitor])), [Kind::ServiceMonitor]);
    assert_eq!(kinds(&both(&spec("serviceMonitor: false"))), [Kind::PrometheusRule]);
    assert_eq!(kinds(&both(&spec("prometheusRule: false"))), [Kind::ServiceMonitor]);
    let without = both(&spec("dashboards: false"));
    assert!(!without.iter().any(|object| object.name() == "demo-dashboards"));
}

#[test]
fn the_user_s_labels_are_on_all_of_them_and_never_in_place_of_the_operator_s() {
    let labels = "labels: {release: stack, app.kubernetes.io/instance: other}";
    let objects = both(&format!("{{{CASSANDRA}, monitoring: {{{labels}}}}}"));
    for (kind, name) in [
        (Kind::ServiceMonitor, "demo-ingest"),
        (Kind::PrometheusRule, "demo-ingest"),
        (Kind::ConfigMap, "demo-dashboards"),
    ] {
        let labels = object(&objects, kind, name).value.metadata.labels.clone().expect("labels");
        assert_eq!(labels["release"], "stack", "{kind:?}");
        assert_eq!(labels["app.kubernetes.io/instance"], "demo", "{kind:?}");
    }
    let map = object(&objects, Kind::ConfigMap, "demo-dashboards");
    assert_eq!(map.value.metadata.labels.as_ref().expect("labels")["grafana_dashboard"], "1");
}

#[test]
fn the_alerts_and_panels_are_these() {
    let objects = both(&format!("{{{CASSANDRA}}}"));
    let rule = object(&objects, Kind::PrometheusRule, "demo-ingest");
    insta::assert_snapshot!("alerts", serde_saphyr::to_string(&rule.value.data).expect("YAML"));
    let dashboard = dashboard(&objects, "demo");
    assert!(dashboard["uid"].as_str().is_some_and(|uid| uid.len() <= 40));
    let panels = dashboard["panels"].as_array().expect("panels").iter();
    let told = panels.map(|panel| {
        let (title, unit) = (&panel["title"], &panel["fieldConfig"]["defaults"]["unit"]);
        let targets = panel["targets"].as_array().expect("targets").iter();
        let lines = targets.map(|it| format!("  {}: {}", it["legendFormat"], it["expr"]));
        format!("{title} ({unit})\n{}", lines.collect::<Vec<_>>().join("\n"))
    });
    insta::assert_snapshot!("panels", told.collect::<Vec<_>>().join("\n"));
}

#[test]
fn meshes_of_one_name_in_two_namespaces_have_dashboards_of_their_own() {
    let mut other = with_spec(&format!("{{{CASSANDRA}}}"));
    other.metadata.namespace = Some("other".to_owned());
    let uid = |plan| dashboard(&objects(&plan, &Observed::default()), "demo")["uid"].clone();
    let here = plan(&format!("{{{CASSANDRA}}}"));
    assert_ne!(uid(here), uid(crate::mesh::fixtures::planned(&other)));
}

#[test]
fn every_alert_is_documented() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/operator.md");
    let text = std::fs::read_to_string(path).expect("docs/operator.md");
    let objects = both(&format!("{{{CASSANDRA}}}"));
    let rule = &object(&objects, Kind::PrometheusRule, "demo-ingest").value.data;
    for rule in rule["spec"]["groups"][0]["rules"].as_array().expect("rules") {
        let name = rule["alert"].as_str().expect("a name");
        assert!(text.contains(&format!("`{name}`")), "{name}");
    }
}
