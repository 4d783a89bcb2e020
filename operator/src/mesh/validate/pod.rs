//! What users write on pods, where it would break what the operator relies on. Pure.

use std::collections::BTreeMap;

use pulsemesh_crds::ingest::Pod;

use super::problems::Problems;

/// Labels under this prefix select pods; only the operator writes them.
const LABELS: &str = "app.kubernetes.io/";
/// Annotations and labels under this prefix are the operator's memory.
const OWN: &str = "pulsemesh.io/";

/// Refuses labels and annotations that are the operator's own.
pub(super) fn check(pod: &Pod, path: &str, problems: &mut Problems) {
    for name in pod.labels.keys().filter(|name| is_own(name)) {
        let message = "is the operator's own: Services and workloads select by it; use another";
        problems.push(format!("{path}.labels.{name}"), message);
    }
    annotations(&pod.annotations, path, problems);
}

/// Refuses annotations that are the operator's own.
pub(super) fn annotations(
    annotations: &BTreeMap<String, String>,
    path: &str,
    problems: &mut Problems,
) {
    for name in annotations.keys().filter(|name| name.starts_with(OWN)) {
        problems.push(format!("{path}.annotations.{name}"), "is the operator's own; use another");
    }
}

fn is_own(label: &str) -> bool {
    label.starts_with(LABELS) || label.starts_with(OWN)
}
