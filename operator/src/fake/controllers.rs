//! What a cluster's controllers do by themselves, at once and without fault: pods and claims of
//! StatefulSets, the pods of Jobs, which all end well, and autoscalers, which want the most.

use serde_json::{Value, json};
use xxhash_rust::xxh3::xxh3_64;

use super::objects::Objects;

impl Objects {
    /// One beat of everything.
    pub(super) fn beat(&mut self) {
        for set in self.of("statefulsets") {
            self.run_set(set);
        }
        for job in self.of("jobs") {
            self.run_job(job);
        }
        for autoscaler in self.of("horizontalpodautoscalers") {
            self.run_autoscaler(autoscaler);
        }
        for pod in self.of("pods") {
            self.judge_pod(pod);
        }
    }

    fn run_set(&mut self, mut set: Value) {
        let name = name(&set).to_owned();
        let replicas = set["spec"]["replicas"].as_i64().unwrap_or(1);
        let revision = format!("{:016x}", xxh3_64(set["spec"]["template"].to_string().as_bytes()));
        for ordinal in 0..replicas {
            let pod = format!("{name}-{ordinal}");
            let volumes = self.claim(&set, &pod);
            if !self.has("pods", &pod) {
                self.start(&set, &pod, volumes);
            }
        }
        let ordinal = |pod: &str| pod.strip_prefix(&format!("{name}-"))?.parse::<i64>().ok();
        for pod in self.of("pods") {
            if ordinal(self::name(&pod)).is_some_and(|ordinal| ordinal >= replicas) {
                self.remove("pods", self::name(&pod));
            }
        }
        set["status"] = json!({
            "observedGeneration": set["metadata"]["generation"], "replicas": replicas,
            "readyReplicas": replicas, "updatedReplicas": replicas,
            "currentRevision": revision, "updateRevision": revision,
        });
        self.put("statefulsets", set);
    }

    /// Makes the claims of a pod that are not there; the volumes that name them.
    fn claim(&mut self, set: &Value, pod: &str) -> Vec<Value> {
        let templates = set.pointer("/spec/volumeClaimTemplates").and_then(Value::as_array);
        let mut volumes = Vec::new();
        for template in templates.into_iter().flatten() {
            let volume = name(template);
            let claim = format!("{volume}-{pod}");
            volumes.push(json!({"name": volume, "persistentVolumeClaim": {"claimName": claim}}));
            if self.has("persistentvolumeclaims", &claim) {
                continue;
            }
            let mut value = template.clone();
            value["metadata"]["name"] = claim.into();
            value["metadata"]["namespace"] = set["metadata"]["namespace"].clone();
            value["status"] = json!({"phase": "Bound"});
            self.put("persistentvolumeclaims", value);
        }
        volumes
    }

    /// Starts a pod of an owner's template with these volumes more.
    fn start(&mut self, owner: &Value, pod: &str, volumes: Vec<Value>) {
        let template = &owner["spec"]["template"];
        let mut value = json!({
            "metadata": {
                "name": pod,
                "namespace": owner["metadata"]["namespace"],
                "labels": template["metadata"]["labels"],
                "ownerReferences": [{
                    "apiVersion": owner["apiVersion"], "kind": owner["kind"],
                    "name": owner["metadata"]["name"], "uid": owner["metadata"]["uid"],
                    "controller": true,
                }],
            },
            "spec": template["spec"],
            "status": {
                "phase": "Running",
                "podIP": format!("10.0.0.{}", self.of("pods").len() + 1),
                "conditions": [{"type": "ContainersReady", "status": "True"}],
            },
        });
        let revision = xxh3_64(template.to_string().as_bytes());
        value["metadata"]["labels"]["controller-revision-hash"] = format!("{revision:016x}").into();
        match value.pointer_mut("/spec/volumes").and_then(Value::as_array_mut) {
            Some(others) => others.extend(volumes),
            None => value["spec"]["volumes"] = volumes.into(),
        }
        self.put("pods", value);
    }

    fn run_job(&mut self, mut job: Value) {
        let pod = format!("{}-pod", name(&job));
        if !self.has("pods", &pod) {
            self.start(&job, &pod, Vec::new());
        }
        let done = json!([{"type": "Complete", "status": "True"}]);
        job["status"] = json!({"succeeded": 1, "conditions": done});
        self.put("jobs", job);
    }

    /// One whose workload has no pods does nothing.
    fn run_autoscaler(&mut self, mut autoscaler: Value) {
        let target = autoscaler["spec"]["scaleTargetRef"].clone();
        let plural = format!("{}s", target["kind"].as_str().unwrap_or_default().to_lowercase());
        let workloads = self.of(&plural);
        let workload = workloads.iter().find(|it| name(it) == target["name"]);
        let replicas = workload.and_then(|it| it["spec"]["replicas"].as_i64()).unwrap_or(0);
        let most = autoscaler["spec"]["maxReplicas"].as_i64().unwrap_or(1);
        if replicas > 0 {
            if replicas != most {
                self.scale(&plural, target["name"].as_str().unwrap_or_default(), most);
            }
            autoscaler["status"] = json!({"desiredReplicas": most});
            self.put("horizontalpodautoscalers", autoscaler);
        }
    }

    /// As the kubelet does: ready once all its gates are open.
    fn judge_pod(&mut self, mut pod: Value) {
        let gates = pod.pointer("/spec/readinessGates").and_then(Value::as_array).cloned();
        let Some(Value::Array(conditions)) = pod.pointer_mut("/status/conditions") else { return };
        let is_open = |gate: &Value| {
            let gate = &gate["conditionType"];
            conditions.iter().any(|it| it["type"] == *gate && it["status"] == "True")
        };
        let ready = gates.iter().flatten().all(is_open);
        conditions.retain(|it| it["type"] != "Ready");
        let ready = if ready { "True" } else { "False" };
        conditions.push(json!({"type": "Ready", "status": ready}));
        conditions.sort_by_key(|it| it["type"].to_string());
        self.put("pods", pod);
    }

    fn has(&self, plural: &str, name: &str) -> bool {
        self.of(plural).iter().any(|object| self::name(object) == name)
    }
}

fn name(object: &Value) -> &str {
    object.pointer("/metadata/name").and_then(Value::as_str).unwrap_or_default()
}
