//! A Cassandra node's containers. The image's own /etc/cassandra is copied into a volume that can
//! be written, because the image's entrypoint edits cassandra.yaml there.

use pulsemesh_crds::quantity::Size;
use serde_json::json;

use super::pod::{Parts, from_pod, mount, read_only, scratch, settings, variable};
use super::{CASSANDRA_DATA, CONTAINER, claim};
use crate::mesh::plan::Plan;

/// Options of Java beside the image's own. The superuser of the image is made as soon as the node
/// can, not after ten seconds; each try that comes too early is logged, so not at 0. It is written
/// with the oldest timestamp: a change of it that was made elsewhere always wins. A node without
/// memory ends, and writes no file as large as its heap. All keyspaces of the system begin with
/// one copy, as that of the roles does: they are raised with the nodes, and a node may not leave
/// where copies would be missing, be they of traces.
const JAVA: &str = "-Dcassandra.superuser_setup_delay_ms=200 \
                    -Dcassandra.system_distributed.default_rf=1 \
                    -Dcassandra.system_traces.default_rf=1 -XX:+ExitOnOutOfMemoryError \
                    -XX:-HeapDumpOnOutOfMemoryError";
/// The image's settings are some hundred KiB.
const ETC_MAX: &str = "16Mi";
/// Native libraries are unpacked there.
const TMP_MAX: &str = "1Gi";
/// The log of garbage collection, 100 MiB at most; all else goes to the console.
const LOGS_MAX: &str = "512Mi";

pub(super) fn parts(plan: &Plan, heap: &Size, rack: &str) -> Parts {
    Parts {
        prepare: json!({
            "name": "prepare",
            "command": ["sh", "/settings/prepare.sh"],
            "volumeMounts": [
                mount(claim::VOLUME, CASSANDRA_DATA),
                mount("etc", "/copy"),
                mount("tmp", "/tmp"),
                read_only("settings", "/settings"),
            ],
        }),
        store: json!({
            "name": CONTAINER,
            "command": ["sh", "/settings/start.sh"],
            "env": [
                from_pod("POD_NAME", "metadata.name"),
                from_pod("POD_IP", "status.podIP"),
                variable("RACK", rack),
                // The image's entrypoint writes it where an address of the node belongs.
                variable("CASSANDRA_LISTEN_ADDRESS", "$(POD_IP)"),
                variable("MAX_HEAP_SIZE", &java_size(heap)),
                variable("JVM_EXTRA_OPTS", JAVA),
            ],
            "ports": super::pod::ports(),
            "volumeMounts": [
                mount(claim::VOLUME, CASSANDRA_DATA),
                mount("etc", "/etc/cassandra"),
                mount("logs", "/var/log/cassandra"),
                mount("tmp", "/tmp"),
                read_only("settings", "/settings"),
            ],
        }),
        volumes: vec![
            settings(plan),
            scratch("etc", ETC_MAX),
            scratch("logs", LOGS_MAX),
            scratch("tmp", TMP_MAX),
        ],
    }
}

/// As Java reads it, in MiB: Kubernetes knows units that Java does not.
fn java_size(size: &Size) -> String {
    format!("{}M", size.bytes().unwrap_or_default() >> 20)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_heap_is_written_as_java_reads_it() {
        for (size, java) in [("512Mi", "512M"), ("1Gi", "1024M"), ("1G", "953M")] {
            assert_eq!(java_size(&Size::from(size)), java, "{size}");
        }
    }
}
