//! The pods that accept pulses: settings, disk, memory and how they stop. Pure.

use std::collections::BTreeMap;
use std::time::Duration;

use k8s_openapi::api::core::v1::ResourceRequirements;
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use pulsemesh_crds::PulseMeshSpec;
use pulsemesh_crds::ingest::{Ack, Ingest, Overflow, Storage};

use super::problems::Problems;
use super::settings::Settings;
use super::store::StoreRead;
use pulsemesh_runtime::units;

use super::{Defaults, capacity, pod, promise};
use crate::mesh::names::{ADMIN_PORT, HTTP_PORT};
use crate::mesh::plan::{Access, IngestPlan, Replicas, SecretMount, StorePlan};

/// Where a pod keeps its log.
pub(in crate::mesh) const DATA_DIR: &str = "/var/lib/pulsemesh";
const MIB: u64 = 1 << 20;
/// Ten minutes: time for the store to come back while a pod waits to hand over its log.
const GRACE_SECONDS: i64 = 600;
/// With the embedded store, which is in the same pod and on the same volume as the log: nothing is
/// waited for. A namespace that is deleted waits for half of the longest grace period in it.
const GRACE_EMBEDDED_SECONDS: i64 = 30;

/// Plans the pods; `settings` has what the store and access need.
pub(super) fn plan(
    spec: &PulseMeshSpec,
    (store, (access, mounts)): (&StoreRead, (Access, Vec<SecretMount>)),
    defaults: &Defaults,
    mut settings: Settings,
    problems: &mut Problems,
) -> IngestPlan {
    let ingest = &spec.ingest;
    let replicas = replicas(ingest, &store.plan, problems);
    let claim = store.claim.clone().or_else(|| ingest.log.storage.clone());
    let is_embedded = matches!(store.plan, StorePlan::Embedded);
    set_fields(ingest, &mut settings, problems);
    set_budget(ingest, store, &mut settings, problems);
    settings.merge(&ingest.settings, !is_embedded, problems);
    suit_to_volume(&mut settings, claim.as_ref(), is_embedded, problems);
    let (grace, pre_stop) = stop(&ingest.pod, is_embedded, &mut settings);
    settings.check(problems);
    pod::check(&ingest.pod, "spec.ingest.pod", problems);
    pod::annotations(&ingest.service.annotations, "spec.ingest.service", problems);
    let overflow = ingest.buffer.as_ref().map_or(Overflow::default(), |buffer| buffer.overflow);
    IngestPlan {
        image: ingest.image.clone().unwrap_or_else(|| defaults.ingest_image.clone()),
        scratch_bytes: capacity::scratch_bytes(&settings),
        resources: resources(ingest, &settings, &store.plan, claim.is_some(), problems),
        promise: promise::promise(ingest.ack, overflow, claim.is_some(), &store.plan),
        settings: settings.into_values(),
        mounts: store.mounts.iter().cloned().chain(mounts).collect(),
        access,
        service: ingest.service.clone(),
        pod: ingest.pod.clone(),
        replicas,
        claim,
        grace,
        pre_stop,
    }
}

fn replicas(ingest: &Ingest, store: &StorePlan, problems: &mut Problems) -> Replicas {
    let is_embedded = matches!(store, StorePlan::Embedded);
    match &ingest.autoscaling {
        Some(_) if is_embedded => problems.push(
            "spec.ingest.autoscaling",
            "the embedded store lies in one pod: leave it out, or choose another store",
        ),
        None if is_embedded && ingest.replicas > 1 => problems.push(
            "spec.ingest.replicas",
            "the embedded store lies in one pod: set 1, or another store",
        ),
        Some(autoscaling) if autoscaling.min_replicas > autoscaling.max_replicas => {
            problems.push("spec.ingest.autoscaling.minReplicas", "is above maxReplicas: lower it")
        }
        _ => {}
    }
    match &ingest.autoscaling {
        Some(autoscaling) => Replicas::Autoscaled(autoscaling.clone()),
        None => Replicas::Fixed(ingest.replicas),
    }
}

/// What the fields of `spec.ingest` say, and what every pod has.
fn set_fields(ingest: &Ingest, settings: &mut Settings, problems: &mut Problems) {
    settings.put("listen", format!("0.0.0.0:{HTTP_PORT}"));
    settings.put("admin-listen", format!("0.0.0.0:{ADMIN_PORT}"));
    settings.put("data-dir", DATA_DIR);
    settings.put(
        "ack",
        match ingest.ack {
            Ack::Memory => "memory",
            Ack::Durable => "durable",
            Ack::Stored => "stored",
        },
    );
    if let Some(buffer) = &ingest.buffer {
        let overflow = match buffer.overflow {
            Overflow::Refuse => "refuse",
            Overflow::Drop => "drop",
        };
        settings.put("overflow", overflow);
        if let Some(pulses) = buffer.pulses {
            let path = "spec.ingest.buffer.pulses";
            settings.set("buffer-size", &pulses.to_string(), path, problems);
        }
        if let Some(size) = &buffer.size {
            let path = "spec.ingest.buffer.size";
            let bytes = units::size_text(problems.bytes(path, size));
            settings.set("buffer-bytes", &bytes, path, problems);
        }
    }
    if let Some(batch) = &ingest.batch {
        let fields = [
            ("batch-size", "size", batch.size.map(|size| size.to_string())),
            ("flush-interval", "interval", batch.interval.clone()),
            ("workers", "workers", batch.workers.map(|workers| workers.to_string())),
        ];
        for (name, field, text) in fields {
            if let Some(text) = text {
                settings.set(name, &text, &format!("spec.ingest.batch.{field}"), problems);
            }
        }
    }
}

/// The log's budget. With the embedded store, which lies in the same claim, the log takes a
/// quarter of it at most.
fn set_budget(
    ingest: &Ingest,
    store: &StoreRead,
    settings: &mut Settings,
    problems: &mut Problems,
) {
    const PATH: &str = "spec.ingest.log.budget";
    let wanted = problems.bytes(PATH, &ingest.log.budget);
    let (most, path) = match &store.claim {
        None => (u64::MAX, PATH),
        Some(claim) => {
            let path = "spec.store.embedded.storage.size";
            (problems.bytes(path, &claim.size) / 4 / MIB * MIB, path)
        }
    };
    let path = if wanted > most { path } else { PATH };
    settings.set("log-budget", &units::size_text(wanted.min(most)), path, problems);
}

fn suit_to_volume(
    settings: &mut Settings,
    claim: Option<&Storage>,
    is_embedded: bool,
    problems: &mut Problems,
) {
    settings.suit("log-format", "json");
    let Some(claim) = claim else {
        settings.suit("dead-letter-budget", "256MiB");
        return settings.suit("disk-free-min", "256MiB");
    };
    let path = if is_embedded {
        "spec.store.embedded.storage.size"
    } else {
        "spec.ingest.log.storage.size"
    };
    let bytes = problems.bytes(path, &claim.size);
    capacity::suit_to_claim(settings, bytes, settings.size("log-budget"));
    let least = capacity::claim_bytes_min(settings);
    if bytes < least {
        problems.push(
            path,
            format!(
                "`{}` is below {}Mi, which log-budget, dead-letter-budget, idempotency-keys-max \
                 and disk-free-min need together: raise it, or lower one of these",
                claim.size,
                least.div_ceil(MIB)
            ),
        );
    }
}

/// Divides the grace period: first endpoints go (`preStop`), then clients are told to close
/// their connections, then requests and writes under way end (15 s and 10 s in the ingest, and
/// a few for the rest), and what is left is for draining the log. Returns all of it, and the
/// part before the process is told.
fn stop(
    pod: &pulsemesh_crds::ingest::Pod,
    is_embedded: bool,
    settings: &mut Settings,
) -> (Duration, Duration) {
    let usual = if is_embedded { GRACE_EMBEDDED_SECONDS } else { GRACE_SECONDS };
    let seconds = pod.termination_grace_period_seconds.unwrap_or(usual);
    let seconds = u64::try_from(seconds).unwrap_or_default().max(10);
    let notice = (seconds / 10).min(5);
    let ending = (seconds / 2).min(30);
    let drain = seconds.saturating_sub(2 * notice + ending).max(1);
    settings.put("stop-delay", format!("{notice}s"));
    settings.put("stop-drain", true);
    settings.put("stop-timeout", units::time_text(Duration::from_secs(drain)));
    (Duration::from_secs(seconds), Duration::from_secs(notice))
}

/// Memory is limited at what all bounds reached at once would take; processor time is not
/// limited, since a throttled pod answers late while the machine idles.
fn resources(
    ingest: &Ingest,
    settings: &Settings,
    store: &StorePlan,
    has_claim: bool,
    problems: &mut Problems,
) -> ResourceRequirements {
    if let Some(resources) = &ingest.resources {
        let has_cpu = [&resources.requests, &resources.limits]
            .into_iter()
            .flatten()
            .any(|amounts| amounts.contains_key("cpu"));
        if ingest.autoscaling.is_some() && !has_cpu {
            let message = "autoscaling measures shares of the requested processor time: set it";
            problems.push("spec.ingest.resources.requests.cpu", message);
        }
        return resources.clone();
    }
    let limit = capacity::memory_bytes(settings, *store == StorePlan::Embedded) / MIB;
    // Enough for a quiet pod; an autoscaler multiplies it, so it gets what one can work with.
    let cpu = if ingest.autoscaling.is_some() { "250m" } else { "100m" };
    let amounts = |amounts: &[(&str, String)]| {
        let amount = |(name, text): &(&str, String)| ((*name).to_owned(), Quantity(text.clone()));
        Some(amounts.iter().map(amount).collect::<BTreeMap<_, _>>())
    };
    let memory = |mebibytes: u64| ("memory", format!("{mebibytes}Mi"));
    let mut requests = vec![("cpu", cpu.to_owned()), memory((limit / 4).max(64))];
    if !has_claim {
        // When a node's disk is full, pods go first that have more on it than they asked for.
        let disk = capacity::scratch_bytes(settings) / MIB;
        requests.push(("ephemeral-storage", format!("{disk}Mi")));
    }
    ResourceRequirements {
        requests: amounts(&requests),
        limits: amounts(&[memory(limit)]),
        claims: None,
    }
}
