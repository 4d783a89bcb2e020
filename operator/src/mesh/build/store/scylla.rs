//! A Scylla node's containers: the flags of the image's entrypoint, and volumes where it writes.
//! Made by the image's documents; no Scylla was at hand to try it.

use pulsemesh_crds::quantity::Size;
use serde_json::json;

use super::pod::{Parts, from_pod, mount, read_only, scratch, settings, variable};
use super::{CONTAINER, SCYLLA_DATA, claim};
use crate::mesh::plan::Plan;

/// Scylla refuses less for a core unless told that it is for developers.
const MEMORY_OF_A_CORE_MIN: u64 = 1 << 30;
const ETC_MAX: &str = "16Mi";
const TMP_MAX: &str = "1Gi";

pub(super) fn parts(plan: &Plan, memory: &Size, cores: i32, rack: &str) -> Parts {
    Parts {
        prepare: json!({
            "name": "prepare",
            "command": ["bash", "/settings/prepare.sh"],
            "volumeMounts": [
                mount(claim::VOLUME, SCYLLA_DATA),
                mount("etc", "/copy"),
                mount("tmp", "/tmp"),
                read_only("settings", "/settings"),
            ],
        }),
        store: json!({
            "name": CONTAINER,
            "command": ["bash", "/settings/start.sh"],
            "args": flags(memory, cores),
            "env": [
                from_pod("POD_IP", "status.podIP"),
                variable("RACK", rack),
                // The entrypoint writes settings of its tools there.
                variable("HOME", "/tmp"),
            ],
            "ports": super::pod::ports(),
            "volumeMounts": [
                mount(claim::VOLUME, SCYLLA_DATA),
                json!({"name": "etc", "mountPath": "/etc/scylla", "subPath": "scylla"}),
                json!({"name": "etc", "mountPath": "/etc/scylla.d", "subPath": "scylla.d"}),
                mount("tmp", "/tmp"),
                read_only("settings", "/settings"),
            ],
        }),
        volumes: vec![settings(plan), scratch("etc", ETC_MAX), scratch("tmp", TMP_MAX)],
    }
}

/// Those that come from the spec; the script adds what differs from pod to pod.
fn flags(memory: &Size, cores: i32) -> Vec<String> {
    let bytes = memory.bytes().unwrap_or_default();
    let cores = u64::from(cores.unsigned_abs().max(1));
    let for_developers = bytes / cores < MEMORY_OF_A_CORE_MIN;
    [
        ("--smp", cores.to_string()),
        ("--memory", format!("{}M", bytes >> 20)),
        // Threads are not bound to cores, which the pod shares with others.
        ("--overprovisioned", "1".to_owned()),
        ("--developer-mode", u8::from(for_developers).to_string()),
        ("--authenticator", "PasswordAuthenticator".to_owned()),
        ("--authorizer", "CassandraAuthorizer".to_owned()),
        ("--endpoint-snitch", "GossipingPropertyFileSnitch".to_owned()),
    ]
    .into_iter()
    .flat_map(|(flag, value)| [flag.to_owned(), value])
    .chain(["--disable-version-check".to_owned()])
    .collect()
}
