//! Against real nodes of this machine. A command in a container becomes one on this machine, with
//! the project's own `nodetool` for the node, and a folder as its claim.

use std::collections::BTreeMap;
use std::fs;
use std::net::IpAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use tempfile::TempDir;
use tokio::time::sleep;
use xtask::cassandra::{Cluster, ClusterSettings, Node};

use super::CassandraNodes;
use crate::mesh::build::store::LEFT;
use crate::nodes::reach::{Login, Output, Reach};
use crate::nodes::{Member, NodeRef, Nodes, NodesError, State, View};

const DATACENTER: &str = "datacenter1";
const UP_MAX: Duration = Duration::from_secs(180);
/// Longest wait for what nodes do together: to leave takes a round of pauses.
const SOON: Duration = Duration::from_secs(180);
const ASK_AGAIN: Duration = Duration::from_secs(1);

/// This machine in the place of Kubernetes.
#[derive(Debug)]
struct Machine {
    dir: TempDir,
    login: Mutex<Option<Login>>,
}

impl Machine {
    /// With a folder and a `nodetool` for each node.
    fn new(cluster: &Cluster) -> Self {
        let machine = Self {
            dir: TempDir::new().expect("a folder"),
            login: Mutex::new(Some(login("cassandra", "cassandra"))),
        };
        for node in cluster.nodes() {
            let root = machine.root(node.address().ip());
            fs::create_dir_all(&root).expect("a root");
            let nodetool = root.join("nodetool");
            let command = node.nodetool_command();
            let mut words = vec![command.get_program().display().to_string()];
            words.extend(command.get_args().map(|word| format!("'{}'", word.display())));
            let script = format!("#!/bin/sh\nexec {} \"$@\"\n", words.join(" "));
            fs::write(&nodetool, script).expect("written");
            fs::set_permissions(&nodetool, fs::Permissions::from_mode(0o755)).expect("a program");
        }
        machine
    }

    fn root(&self, address: IpAddr) -> PathBuf {
        self.dir.path().join(address.to_string())
    }

    fn set_login(&self, login: Login) {
        *self.login.lock().expect("a login") = Some(login);
    }
}

impl Reach for Machine {
    async fn exec(&self, node: &NodeRef, mut command: Vec<String>) -> Result<Output, String> {
        let root = self.root(node.address);
        let roots = command.iter_mut().filter(|word| word.starts_with("/var/lib/"));
        roots.for_each(|word| *word = root.display().to_string());
        let script = format!("PATH=\"{}:$PATH\"; {}", root.display(), command[2]);
        let run = move || {
            let mut own = std::process::Command::new("sh");
            own.arg("-c").arg(script).args(&command[3..]).output()
        };
        let output = tokio::task::spawn_blocking(run).await.expect("run");
        let output = output.map_err(|error| error.to_string())?;
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        let is_success = output.status.success();
        Ok(Output { is_success, stdout: text(output.stdout), stderr: text(output.stderr) })
    }

    async fn login(&self, _node: &NodeRef) -> Result<Option<Login>, String> {
        Ok(self.login.lock().expect("a login").clone())
    }

    async fn is_at_its_address(&self, _node: &NodeRef) -> Result<bool, String> {
        Ok(true)
    }
}

fn login(username: &str, password: &str) -> Login {
    Login { username: username.to_owned(), password: password.to_owned() }
}

fn reference(node: &Node) -> NodeRef {
    NodeRef {
        namespace: "test".to_owned(),
        pod: format!("node-{}", node.address().ip()),
        address: node.address().ip(),
        credentials: "credentials".to_owned(),
    }
}

/// Nodes of this test alone, which it may change for good.
fn own(nodes: usize, first: &str) -> (Cluster, TempDir) {
    let dir = TempDir::new().expect("a folder");
    let mut settings = ClusterSettings::new(dir.path());
    settings.nodes = nodes;
    settings.heap = "512M".to_owned();
    settings.first = first.parse().expect("an address");
    settings.authentication = true;
    settings.java.push("-XX:TieredStopAtLevel=1".to_owned());
    (Cluster::start(settings).expect("a cluster"), dir)
}

fn shared() -> Cluster {
    let cluster = Cluster::from_environment().expect("a cluster");
    cluster.mend(UP_MAX).expect("all nodes up");
    cluster
}

fn seen(view: &View, address: IpAddr) -> Option<&Member> {
    view.members.iter().find(|member| member.address == address)
}

async fn until<T>(what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let end = Instant::now() + SOON;
    loop {
        if let Some(found) = look().await {
            return found;
        }
        assert!(Instant::now() < end, "waited for {what}");
        sleep(ASK_AGAIN).await;
    }
}

#[tokio::test]
#[ignore = "needs the database of cargo xtask test cassandra"]
async fn each_node_tells_of_all_and_one_that_was_killed_is_seen_dead() {
    let cluster = shared();
    let nodes = CassandraNodes::new(Machine::new(&cluster));
    let mut hosts = BTreeMap::new();
    for node in cluster.nodes() {
        let begun = Instant::now();
        let view = nodes.view(&reference(node)).await.expect("a view");
        println!("first view after {:?}", begun.elapsed());
        assert_eq!(view.members.len(), 3, "{view:?}");
        assert!(view.members.iter().all(|member| member.state == State::Normal), "{view:?}");
        assert!(view.members.iter().all(|member| member.is_alive), "{view:?}");
        assert!(view.default_login && view.replication["system_auth"] == 3, "{view:?}");
        assert!(!view.replication.contains_key("system"), "{view:?}");
        hosts.insert(view.host_id, node.address());
    }
    assert_eq!(hosts.len(), 3, "each has a host id of its own: {hosts:?}");

    let [first, _, last] = cluster.nodes() else { panic!("three nodes") };
    let begun = Instant::now();
    nodes.view(&reference(first)).await.expect("a view");
    println!("next view after {:?}", begun.elapsed());
    last.kill().expect("killed");
    until("the death to be seen", async || {
        let view = nodes.view(&reference(first)).await.expect("a view");
        let dead = seen(&view, last.address().ip()).is_some_and(|member| !member.is_alive);
        dead.then_some(())
    })
    .await;
    let gone = nodes.view(&reference(last)).await;
    assert!(matches!(gone, Err(NodesError::Unreachable { .. })), "{gone:?}");
    last.start().expect("started");
    cluster.mend(UP_MAX).expect("all nodes up");
    until("it to be seen alive", async || {
        let view = nodes.view(&reference(first)).await.expect("a view");
        seen(&view, last.address().ip()).is_some_and(|member| member.is_alive).then_some(())
    })
    .await;
}

#[tokio::test]
#[ignore = "needs the database of cargo xtask test cassandra"]
async fn a_node_that_hangs_is_told_within_the_time_of_a_call() {
    let cluster = shared();
    let nodes = CassandraNodes::new(Machine::new(&cluster));
    let node = &cluster.nodes()[1];
    node.pause().expect("paused");
    let begun = Instant::now();
    let view = nodes.view(&reference(node)).await;
    node.resume().expect("resumed");
    assert!(matches!(view, Err(NodesError::Unreachable { .. })), "{view:?}");
    assert!(begun.elapsed() < Duration::from_secs(30), "{:?}", begun.elapsed());
}

#[tokio::test]
#[ignore = "needs the database of cargo xtask test cassandra"]
async fn a_login_that_nobody_knows_is_told_without_the_password() {
    let cluster = shared();
    let machine = Machine::new(&cluster);
    machine.set_login(login("nobody", "s3cret"));
    let nodes = CassandraNodes::new(machine);
    // The image's own login works there, and is used.
    let view = nodes.view(&reference(&cluster.nodes()[0])).await.expect("a view");
    assert!(view.default_login);
    assert!(!format!("{nodes:?}").contains("s3cret"), "{nodes:?}");
}

#[tokio::test]
#[ignore = "needs the database of cargo xtask test cassandra"]
async fn a_lone_node_gets_a_login_of_its_own_and_loses_the_images() {
    let (cluster, _dir) = own(1, "127.0.92.1");
    let machine = Machine::new(&cluster);
    machine.set_login(login("mesh", "it's \"one\""));
    let nodes = CassandraNodes::new(machine);
    let node = reference(&cluster.nodes()[0]);
    let view = nodes.view(&node).await.expect("a view by the image's login");
    assert!(view.default_login, "{view:?}");
    for _ in 0..2 {
        nodes.secure(&node).await.expect("secured, and again");
        let view = nodes.view(&node).await.expect("a view by the own login");
        assert!(!view.default_login, "{view:?}");
    }
    // By somebody who knows the password.
    nodes.reach.set_login(login("other", "x"));
    // Nodes keep what they know of a role for some seconds.
    let locked = until("no login to work", async || nodes.view(&node).await.err()).await;
    assert!(matches!(locked, NodesError::Login { .. }), "{locked}");
}

#[tokio::test]
#[ignore = "needs the database of cargo xtask test cassandra"]
async fn copies_are_raised_and_never_lowered_and_then_filled_by_a_repair() {
    let (cluster, _dir) = own(2, "127.0.93.1");
    let nodes = CassandraNodes::new(Machine::new(&cluster));
    let node = reference(&cluster.nodes()[0]);
    let copies = async || {
        let view = nodes.view(&node).await.expect("a view");
        view.replication["system_traces"]
    };
    for (wanted, expected) in [(1, 2), (2, 2), (3, 3), (1, 3)] {
        let raised = nodes.raise_replication(&node, "system_traces", DATACENTER, wanted).await;
        raised.expect("raised");
        assert_eq!(copies().await, expected, "{wanted} was asked for");
    }
    let absent = nodes.raise_replication(&node, "none", DATACENTER, 3).await;
    absent.expect("what is not there has nothing to raise");
    until("the repair", async || {
        nodes.repaired(&node, "a reason").await.expect("begun").then_some(())
    })
    .await;
    assert!(nodes.repaired(&node, "a reason").await.expect("told"), "it is told again");
    assert!(!nodes.repaired(&node, "another").await.expect("begun"), "that is another repair");
}

#[tokio::test]
#[ignore = "needs the database of cargo xtask test cassandra"]
async fn a_node_that_was_told_to_leave_is_seen_to_have_left_by_another() {
    let (cluster, _dir) = own(2, "127.0.94.1");
    let nodes = CassandraNodes::new(Machine::new(&cluster));
    let [stays, leaves] = cluster.nodes() else { panic!("two nodes") };
    let (stays, leaves) = (reference(stays), reference(leaves));
    let early = nodes.mark_left(&leaves).await.expect_err("it has not left");
    assert!(matches!(early, NodesError::Refused { .. }), "{early}");
    // Keyspaces of two copies keep it from leaving, which the next order tells.
    nodes.decommission(&leaves).await.expect("begun");
    let refused = until("the refusal", async || nodes.decommission(&leaves).await.err()).await;
    assert!(refused.to_string().contains("replication factor"), "{refused}");
    let tool = &cluster.nodes()[1];
    for name in ["system_auth", "system_distributed", "system_traces"] {
        lower(&nodes, &stays, name).await;
    }
    // Nor is it tried again before a pause.
    let noted = nodes.reach.root(leaves.address).join(".pulsemesh/decommission.failed");
    fs::remove_file(noted).expect("the failure was noted");
    until("the leave", async || {
        // Given again and again: it is begun once.
        let _ = nodes.decommission(&leaves).await;
        let view = nodes.view(&stays).await.expect("a view");
        let state = seen(&view, leaves.address)?.state;
        assert_ne!(state, State::Unknown, "{view:?}");
        (state == State::Left).then_some(())
    })
    .await;
    until("its own word", async || nodes.mark_left(&leaves).await.ok()).await;
    assert!(nodes.reach.root(leaves.address).join(LEFT).exists());
    assert!(tool.is_running(), "its process stays");
    nodes.decommission(&leaves).await.expect("nothing to do");
}

/// As nobody but a person does.
async fn lower(nodes: &CassandraNodes<Machine>, node: &NodeRef, keyspace: &str) {
    let connected = super::login::connect(&nodes.reach, node).await.expect("a session");
    let text = format!(
        "ALTER KEYSPACE {keyspace} WITH replication = \
         {{'class': 'NetworkTopologyStrategy', '{DATACENTER}': '1'}}"
    );
    connected.order("lower", &text).await.expect("lowered");
}
