//! The pod of ingest, and the pod that drains a log left behind. Pure.

use k8s_openapi::api::core::v1::{
    ConfigMapVolumeSource, Container, ContainerPort, EmptyDirVolumeSource, HTTPGetAction,
    Lifecycle, LifecycleHandler, PersistentVolumeClaimVolumeSource, PodSpec, PodTemplateSpec,
    Probe, SecretVolumeSource, SleepAction, Volume, VolumeMount,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::file::{self, File};
use crate::mesh::build::pods;
use crate::mesh::names::{self, ADMIN_PORT, CLAIM_TEMPLATE, Component, HTTP_PORT};
use crate::mesh::plan::Plan;
use crate::mesh::validate::DATA_DIR;

const CONFIG_VOLUME: &str = "settings";

/// The template of the pods that accept pulses.
pub(super) fn template(plan: &Plan, file: &File) -> PodTemplateSpec {
    let pod = &plan.ingest.pod;
    let mut labels = pod.labels.clone();
    labels.extend(names::labels(&plan.mesh.name, Component::Ingest));
    let mut annotations = pod.annotations.clone();
    annotations.insert(names::SETTINGS.to_owned(), file.hash.clone());
    // A claim's volume is added by the StatefulSet, by the same name.
    let data = plan.ingest.claim.is_none().then(|| scratch(plan));
    PodTemplateSpec {
        metadata: Some(ObjectMeta {
            labels: Some(labels),
            annotations: Some(annotations),
            ..ObjectMeta::default()
        }),
        spec: Some(PodSpec {
            containers: vec![serving(plan)],
            termination_grace_period_seconds: Some(seconds(plan.ingest.grace)),
            volumes: Some(volumes(plan, data)),
            ..base(plan)
        }),
    }
}

/// The template of a pod that writes what the log in `claim` still holds to the store, and ends.
pub(super) fn drain(plan: &Plan, claim: &str) -> PodTemplateSpec {
    let data = Volume {
        name: CLAIM_TEMPLATE.to_owned(),
        persistent_volume_claim: Some(PersistentVolumeClaimVolumeSource {
            claim_name: claim.to_owned(),
            read_only: None,
        }),
        ..Volume::default()
    };
    let container = container(plan, &["log", "drain", DATA_DIR]);
    PodTemplateSpec {
        metadata: Some(ObjectMeta {
            labels: Some(names::drain_labels(&plan.mesh.name)),
            ..ObjectMeta::default()
        }),
        spec: Some(PodSpec {
            containers: vec![container],
            // Told to stop, it ends its writes and leaves the rest to the next try.
            termination_grace_period_seconds: Some(60),
            restart_policy: Some("OnFailure".to_owned()),
            volumes: Some(volumes(plan, Some(data))),
            ..base(plan)
        }),
    }
}

fn base(plan: &Plan) -> PodSpec {
    PodSpec {
        service_account_name: Some(names::ingest(&plan.mesh.name)),
        ..pods::placed(plan, &plan.ingest.pod, Component::Ingest)
    }
}

fn serving(plan: &Plan) -> Container {
    let port = |name: &str, number: i32| ContainerPort {
        name: Some(name.to_owned()),
        container_port: number,
        protocol: Some("TCP".to_owned()),
        ..ContainerPort::default()
    };
    Container {
        ports: Some(vec![port(plan.ingest.access.scheme(), HTTP_PORT), port("admin", ADMIN_PORT)]),
        // Opening a log takes no longer for being full: two minutes are for a slow disk.
        startup_probe: Some(probe("/livez", 1, 120)),
        readiness_probe: Some(probe("/readyz", 2, 2)),
        liveness_probe: Some(probe("/livez", 10, 6)),
        lifecycle: Some(Lifecycle {
            pre_stop: Some(LifecycleHandler {
                sleep: Some(SleepAction { seconds: seconds(plan.ingest.pre_stop) }),
                ..LifecycleHandler::default()
            }),
            ..Lifecycle::default()
        }),
        resources: Some(plan.ingest.resources.clone()),
        ..container(plan, &[])
    }
}

/// The ingest's container with these arguments before those that name the settings.
fn container(plan: &Plan, arguments: &[&str]) -> Container {
    let config = format!("{}/{}", file::DIRECTORY, file::NAME);
    let arguments = arguments.iter().copied().chain(["--config", &config]);
    let mount = |name: &str, path: &str, read_only: bool| VolumeMount {
        name: name.to_owned(),
        mount_path: path.to_owned(),
        read_only: read_only.then_some(true),
        ..VolumeMount::default()
    };
    let secrets = plan.ingest.mounts.iter();
    let mounts =
        [mount(CONFIG_VOLUME, file::DIRECTORY, true), mount(CLAIM_TEMPLATE, DATA_DIR, false)];
    Container {
        name: "ingest".to_owned(),
        image: Some(plan.ingest.image.clone()),
        args: Some(arguments.map(str::to_owned).collect()),
        security_context: Some(pods::container_security()),
        // Its last words, where it had none for the file.
        termination_message_policy: Some("FallbackToLogsOnError".to_owned()),
        volume_mounts: Some(
            mounts
                .into_iter()
                .chain(secrets.map(|secret| mount(&secret.volume, &secret.path, true)))
                .collect(),
        ),
        ..Container::default()
    }
}

fn probe(path: &str, period_seconds: i32, failure_threshold: i32) -> Probe {
    Probe {
        http_get: Some(HTTPGetAction {
            path: Some(path.to_owned()),
            port: IntOrString::String("admin".to_owned()),
            ..HTTPGetAction::default()
        }),
        period_seconds: Some(period_seconds),
        timeout_seconds: Some(2),
        failure_threshold: Some(failure_threshold),
        ..Probe::default()
    }
}

fn volumes(plan: &Plan, data: Option<Volume>) -> Vec<Volume> {
    let settings = Volume {
        name: CONFIG_VOLUME.to_owned(),
        config_map: Some(ConfigMapVolumeSource {
            name: names::ingest(&plan.mesh.name),
            ..ConfigMapVolumeSource::default()
        }),
        ..Volume::default()
    };
    let secrets = plan.ingest.mounts.iter().map(|mount| Volume {
        name: mount.volume.clone(),
        secret: Some(SecretVolumeSource {
            secret_name: Some(mount.secret.clone()),
            // For the pod's user and group alone.
            default_mode: Some(0o440),
            ..SecretVolumeSource::default()
        }),
        ..Volume::default()
    });
    [settings].into_iter().chain(data).chain(secrets).collect()
}

/// The log in the pod itself: kept over restarts of the container, gone with the pod.
fn scratch(plan: &Plan) -> Volume {
    Volume {
        name: CLAIM_TEMPLATE.to_owned(),
        empty_dir: Some(EmptyDirVolumeSource {
            size_limit: Some(quantity(plan.ingest.scratch_bytes)),
            ..EmptyDirVolumeSource::default()
        }),
        ..Volume::default()
    }
}

/// In the form that the API server keeps, so that what is read is what was written.
fn quantity(bytes: u64) -> Quantity {
    let units = [("Ti", 1 << 40), ("Gi", 1 << 30), ("Mi", 1 << 20), ("Ki", 1 << 10)];
    Quantity(match units.iter().find(|(_, unit)| bytes != 0 && bytes.is_multiple_of(*unit)) {
        Some((name, unit)) => format!("{}{name}", bytes / unit),
        None => bytes.to_string(),
    })
}

fn seconds(time: std::time::Duration) -> i64 {
    i64::try_from(time.as_secs()).unwrap_or(i64::MAX)
}
