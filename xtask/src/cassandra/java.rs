//! The command lines of a node and of `nodetool`, and the files that they read beside
//! `cassandra.yaml`.

use std::fs;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

use super::process::Process;
use super::settings::Place;

const OPTIONS: &str = include_str!("../../../testbed/cassandra/jvm17.options");
const LOGBACK: &str = include_str!("../../../testbed/cassandra/logback.xml");
const SCRIPT: &str = include_str!("../../../testbed/cassandra/node");
/// Where a node is administered.
pub(super) const JMX_PORT: u16 = 7199;
/// How long a node that is started listens for others before it goes on without them, ms.
const RING_DELAY_MS: u32 = 1000;
/// How long a node that has no token yet may be silent, twice; on a busy machine it is. ms.
const QUARANTINE_DELAY_MS: u32 = 60_000;
/// How long a node that ends waits for others to have heard of it, ms.
const ANNOUNCE_MS: u32 = 500;
/// How long after its start a node makes the superuser, and tries again, ms.
const SUPERUSER_DELAY_MS: u32 = 500;

/// Writes the files that every node and tool reads.
pub(super) fn write_files(dir: &Path) -> Result<()> {
    for (name, text) in
        [("jvm17.options", OPTIONS), ("logback.xml", LOGBACK), ("quiet.xml", "<configuration/>\n")]
    {
        fs::write(dir.join(name), text).with_context(|| format!("write {name}"))?;
    }
    Ok(())
}

/// Starts the node `index`, from 0, which ends with the cluster's owner, not with this process.
pub(super) fn start(place: &Place, index: usize) -> Result<()> {
    let settings = &place.settings;
    let dir = settings.node_dir(index);
    let process = Process::of(&dir);
    let output = Command::new("sh")
        .args(["-c", SCRIPT, "node"])
        .args([Place::lock(&settings.dir), process.pid_file(), dir.join("system.log")])
        .arg("java")
        .args(options(place, index, &process.mark()))
        .args(["-cp", &format!("{}/*", place.jars.display())])
        .arg("org.apache.cassandra.service.CassandraDaemon")
        .current_dir(&dir)
        // Ctrl-C or a timeout of whoever starts it is not meant for the node.
        .process_group(0)
        .output()
        .context("run sh")?;
    let told = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "start the node: {told}");
    Ok(())
}

fn options(place: &Place, index: usize, mark: &str) -> Vec<String> {
    let settings = &place.settings;
    let dir = settings.dir.display();
    let mut options = vec![
        format!("-Xms{}", settings.heap),
        format!("-Xmx{}", settings.heap),
        "-XX:-UsePerfData".to_owned(),
        "-XX:+ExitOnOutOfMemoryError".to_owned(),
        format!("@{dir}/jvm17.options"),
        format!("-Dlogback.configurationFile={dir}/logback.xml"),
        format!("-Dcassandra.config=file://{dir}/node{}/cassandra.yaml", index + 1),
        mark.to_owned(),
        "-Dcassandra.skip_wait_for_gossip_to_settle=0".to_owned(),
        format!("-Dcassandra.ring_delay_ms={RING_DELAY_MS}"),
        format!("-Dcassandra.gossip_quarantine_delay_ms={QUARANTINE_DELAY_MS}"),
        format!("-Dcassandra.superuser_setup_delay_ms={SUPERUSER_DELAY_MS}"),
        format!("-Dcassandra.shutdown_announce_in_ms={ANNOUNCE_MS}"),
        // The least work that a password may cost: tests connect often.
        "-Dcassandra.auth_bcrypt_gensalt_log2_rounds=4".to_owned(),
        "-Dcassandra-foreground=yes".to_owned(),
    ];
    options.extend(jmx(&settings.address(index).ip().to_string()));
    // Every node has the roles: a login works while most of the nodes are up.
    for keyspace in ["auth", "traces", "distributed"] {
        options.push(format!("-Dcassandra.system_{keyspace}.default_rf={}", settings.nodes));
    }
    options.extend(settings.java.iter().cloned());
    options
}

/// Administration at the node's own address: Cassandra's own way is 127.0.0.1 for all, where
/// ports of clusters that start at the same time would meet.
fn jmx(address: &str) -> [String; 6] {
    [
        format!("-Djava.rmi.server.hostname={address}"),
        format!("-Dcom.sun.management.jmxremote.host={address}"),
        format!("-Dcom.sun.management.jmxremote.port={JMX_PORT}"),
        format!("-Dcom.sun.management.jmxremote.rmi.port={JMX_PORT}"),
        "-Dcom.sun.management.jmxremote.authenticate=false".to_owned(),
        "-Dcom.sun.management.jmxremote.ssl=false".to_owned(),
    ]
}

/// Runs `nodetool` and returns what it prints.
pub(super) fn nodetool(place: &Place, index: usize, arguments: &[&str]) -> Result<String> {
    let output = nodetool_command(place, index).args(arguments).output().context("run java")?;
    let out = String::from_utf8_lossy(&output.stdout).into_owned();
    let told = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "nodetool {}: {out}{told}", arguments.join(" "));
    Ok(out)
}

/// `nodetool` for one node, without arguments.
pub(super) fn nodetool_command(place: &Place, index: usize) -> Command {
    let dir = &place.settings.dir;
    let own = |text: &str, path: PathBuf| format!("{text}{}", path.display());
    let mut command = Command::new("java");
    command
        .args(["-Xmx64m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"])
        .arg(own("@", dir.join("jvm17.options")))
        .arg(own("-Dlogback.configurationFile=", dir.join("quiet.xml")))
        // Where it keeps its history.
        .arg(own("-Duser.home=", dir.clone()))
        .args(["-cp", &format!("{}/*", place.jars.display())])
        .arg("org.apache.cassandra.tools.NodeTool")
        .args(["-h", &place.settings.address(index).ip().to_string()])
        .args(["-p", &JMX_PORT.to_string()]);
    command
}
