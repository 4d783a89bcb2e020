//! `cargo xtask cluster`: a real Kubernetes to try things in by hand, kept until it is told to
//! end, or for as long as a command runs.

use std::io::{self, BufRead, BufReader, Write};
use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use clap::{Args, Subcommand};
use tokio::signal::unix::{SignalKind, signal};

use xtask::kube::{self, Cluster, DIR, components, requirements};

const EXAMPLE: &str = "\
Example:
  cargo xtask images --out target/images
  cargo xtask cluster up
  cargo xtask cluster load target/images/pulsemesh-ingest.tar
  cargo xtask cluster exec -- kubectl get nodes
  cargo xtask cluster down

It has a network of its own: kubectl, helm and all other clients run through `exec`. Nothing can
be pulled; what pods run is loaded before. Needs root, Go 1.25 and, on Debian:
  apt-get install -y --no-install-recommends containerd runc containernetworking-plugins \\
    iproute2 nftables iptables conntrack socat buildah openssl";

/// The line that the owner of a cluster prints when pods can run.
const READY: &str = "ready";

/// What `cargo xtask cluster` is asked.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLE)]
pub(crate) struct Options {
    /// Where everything of the cluster lies; it is removed with the cluster.
    #[arg(long, global = true, default_value = DIR)]
    dir: PathBuf,
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Starts a cluster in the background.
    Up,
    /// Ends it and removes all that it made.
    Down,
    /// Gives it the images of archives (docker-archive or OCI).
    Load {
        /// The archives.
        #[arg(required = true)]
        files: Vec<PathBuf>,
    },
    /// Runs a command in its network, with KUBECONFIG set and its programs found.
    Exec {
        /// The command with its arguments.
        #[arg(last = true, required = true)]
        command: Vec<String>,
    },
    /// Starts a cluster, runs a command as `exec` does, and ends the cluster.
    Run {
        /// An archive of images that is loaded before.
        #[arg(long)]
        load: Vec<PathBuf>,
        /// The command with its arguments.
        #[arg(last = true, required = true)]
        command: Vec<String>,
    },
    /// Builds what a cluster consists of, once, and says where it is; Helm is there too.
    Build,
    /// Says what is missing on this machine.
    Check,
    /// Starts a cluster and keeps it until it is told to end.
    #[command(hide = true)]
    Own,
}

/// Does it; says whether all went well.
pub(crate) fn run(options: Options) -> Result<bool> {
    let Options { dir, action } = options;
    match action {
        Action::Up => up(&dir),
        Action::Down => kube::stop(&dir).map(|()| true),
        Action::Load { files } => {
            let cluster = Cluster::attach(&dir)?;
            files.iter().try_for_each(|file| cluster.load(file)).map(|()| true)
        }
        Action::Exec { command } => run_command(&Cluster::attach(&dir)?, &command),
        Action::Run { load, command } => {
            let cluster = Cluster::start(&dir, &say)?;
            load.iter().try_for_each(|file| cluster.load(file))?;
            let passed = run_command(&cluster, &command)?;
            cluster.stop().map(|()| passed)
        }
        Action::Check => requirements::check().map(|()| true),
        Action::Build => {
            say(&components::build(&say)?.display().to_string());
            Ok(true)
        }
        Action::Own => own(&dir),
    }
}

/// The owner is a process of its own, which goes on when this one has ended.
fn up(dir: &PathBuf) -> Result<bool> {
    if Cluster::attach(dir).is_ok() {
        say(&format!("is up in {}", dir.display()));
        return Ok(true);
    }
    requirements::check()?;
    components::build(&say)?;
    let own = std::env::current_exe().context("find this program")?;
    let mut owner = Command::new("setsid")
        .args(["sh", "-c", "exec \"$@\" 2>&1", "sh"])
        .arg(own)
        .args(["cluster", "own", "--dir"])
        .arg(dir)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .context("run setsid")?;
    let told = owner.stdout.take().context("the owner has no output")?;
    for line in BufReader::new(told).lines().map_while(Result::ok) {
        if line == READY {
            say(&format!("up in {}; run clients with: cargo xtask cluster exec --", dir.display()));
            return Ok(true);
        }
        say(&line);
    }
    ensure!(owner.wait().context("wait for the owner")?.success(), "the cluster did not start");
    Ok(false)
}

fn own(dir: &PathBuf) -> Result<bool> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let cluster = Cluster::start(dir, &say)?;
    let stopped = async {
        let mut interrupt = signal(SignalKind::interrupt()).context("listen for signals")?;
        let mut terminate = signal(SignalKind::terminate()).context("listen for signals")?;
        say(READY);
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
        anyhow::Ok(())
    };
    runtime.block_on(stopped)?;
    cluster.stop().map(|()| true)
}

fn run_command(cluster: &Cluster, command: &[String]) -> Result<bool> {
    let (program, arguments) = command.split_first().context("no command")?;
    let status = cluster.command(program)?.args(arguments).status();
    Ok(status.with_context(|| format!("run {program}"))?.success())
}

fn say(line: &str) {
    // With nobody to read, the cluster is still there.
    let _ = writeln!(io::stdout().lock(), "{line}");
}
