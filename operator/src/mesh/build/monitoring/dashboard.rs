//! The dashboard as Grafana reads it. Pure.

use serde_json::{Value, json};
use xxhash_rust::xxh3::xxh3_64;

use super::panels::{DATABASE_PANELS, PANELS, Panel};
use super::series;
use crate::mesh::plan::{Plan, StorePlan};

/// Columns of Grafana's grid, and how many of them a panel takes.
const COLUMNS: usize = 24;
const WIDTH: usize = 8;
const HEIGHT: usize = 8;

/// The dashboard of a mesh.
pub(super) fn dashboard(plan: &Plan) -> Value {
    let of_database = match plan.store {
        StorePlan::Embedded => &[],
        StorePlan::Managed(_) | StorePlan::External => DATABASE_PANELS,
    };
    let panels = PANELS.iter().chain(of_database).enumerate();
    let panels: Vec<_> = panels.map(|(place, it)| panel(plan, place, it)).collect();
    let mesh = format!("{}/{}", plan.mesh.namespace, plan.mesh.name);
    json!({
        // The same for the same mesh, so that links to it stay.
        "uid": format!("pulsemesh-{:016x}", xxh3_64(mesh.as_bytes())),
        "title": format!("PulseMesh {mesh}"),
        "tags": ["pulsemesh"],
        "schemaVersion": 39,
        "editable": false,
        "refresh": "30s",
        "time": {"from": "now-1h", "to": "now"},
        "templating": {"list": [{
            "name": "datasource",
            "label": "Data source",
            "type": "datasource",
            "query": "prometheus",
        }]},
        "panels": panels,
    })
}

fn panel(plan: &Plan, place: usize, panel: &Panel) -> Value {
    let source = json!({"type": "prometheus", "uid": "${datasource}"});
    let per_row = COLUMNS / WIDTH;
    let targets = panel.queries.iter().enumerate().map(|(number, (query, legend))| {
        json!({
            "refId": format!("Q{number}"),
            "datasource": source,
            "expr": query.replace("SERIES", &series(plan)),
            "legendFormat": legend,
        })
    });
    json!({
        "id": place + 1,
        "type": "timeseries",
        "title": panel.title,
        "description": panel.about,
        "datasource": source,
        "gridPos": {
            "x": place % per_row * WIDTH,
            "y": place / per_row * HEIGHT,
            "w": WIDTH,
            "h": HEIGHT,
        },
        "fieldConfig": {"defaults": {"unit": panel.unit, "min": 0}, "overrides": []},
        "targets": targets.collect::<Vec<_>>(),
    })
}
