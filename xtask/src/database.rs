//! `cargo xtask cassandra`: a real Cassandra to try the store with by hand, kept until it is told
//! to end, or for as long as a command runs.

use std::io::{self, Write};
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result};
use clap::Args;
use tokio::signal::unix::{SignalKind, signal};

use xtask::cassandra::{Cluster, ClusterSettings, ENVIRONMENT};

const EXAMPLE: &str = "\
Example:
  cargo xtask cassandra --nodes 3 --dir target/cassandra
  cargo run --release -- --store cassandra                  # in another shell
  cargo xtask cassandra --nodes 3 -- cargo test --test cassandra -- --ignored

Needs a JDK 17 and Maven: apt-get install -y openjdk-17-jdk-headless maven";

/// What `cargo xtask cassandra` is asked.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLE)]
pub(crate) struct Options {
    /// How many nodes, 1 to 3.
    #[arg(long, default_value_t = 1)]
    nodes: usize,
    /// Each node's heap.
    #[arg(long, default_value = "1G")]
    heap: String,
    /// Where its data and logs are, kept for the next start; without it they go with it.
    #[arg(long)]
    dir: Option<PathBuf>,
    /// The first node's address; the others have the next ones.
    #[arg(long, default_value_t = Ipv4Addr::LOCALHOST)]
    address: Ipv4Addr,
    /// Asks for a name and a password: `cassandra` and `cassandra`.
    #[arg(long)]
    authentication: bool,
    /// Answers TLS beside plain connections; prints where the certificates are.
    #[arg(long)]
    tls: bool,
    /// A further line of `cassandra.yaml`, such as `write_request_timeout=200ms`.
    #[arg(long, value_name = "KEY=VALUE", value_parser = parse_line)]
    yaml: Vec<(String, String)>,
    /// A further option of the Java machine, such as `--java=-Xlog:gc`.
    #[arg(long, value_name = "OPTION", allow_hyphen_values = true)]
    java: Vec<String>,
    /// Lets only those clients speak TLS that show a certificate.
    #[arg(long, requires = "tls")]
    client_certificates: bool,
    /// Runs this with PULSEMESH_TESTBED_CASSANDRA set to the folder, and ends when it ends.
    #[arg(last = true)]
    command: Vec<String>,
}

/// Starts it and prints how to use it; waits for Ctrl-C, `SIGTERM` or the command's end. Says
/// whether all went well.
pub(crate) fn run(options: Options) -> Result<bool> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let temporary = tempfile::tempdir().context("make a folder")?;
    let dir = options.dir.unwrap_or_else(|| temporary.path().to_owned());
    let mut settings = ClusterSettings {
        nodes: options.nodes,
        heap: options.heap,
        first: options.address,
        authentication: options.authentication,
        tls: options.tls,
        client_certificates: options.client_certificates,
        yaml: options.yaml,
        ..ClusterSettings::new(dir)
    };
    settings.java.extend(options.java);
    let cluster = Cluster::start_telling(settings, &say)?;
    hints(&cluster).iter().for_each(|line| say(line));
    if let Some((program, arguments)) = options.command.split_first() {
        // The nodes are killed: nobody looks at their data again.
        return run_command(&cluster, program, arguments);
    }
    say("ready; Ctrl-C ends it");
    runtime.block_on(stopped())?;
    say("stopping");
    cluster.stop()?;
    Ok(true)
}

fn run_command(cluster: &Cluster, program: &str, arguments: &[String]) -> Result<bool> {
    let status = Command::new(program)
        .args(arguments)
        .env(ENVIRONMENT, &cluster.settings().dir)
        .status()
        .with_context(|| format!("run {program}"))?;
    Ok(status.success())
}

async fn stopped() -> Result<()> {
    let mut interrupt = signal(SignalKind::interrupt()).context("listen for signals")?;
    let mut terminate = signal(SignalKind::terminate()).context("listen for signals")?;
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
    Ok(())
}

fn hints(cluster: &Cluster) -> Vec<String> {
    let settings = cluster.settings();
    let addresses: Vec<String> =
        cluster.nodes().iter().map(|node| node.address().to_string()).collect();
    let mut lines = vec![
        format!("nodes           {}", addresses.join(",")),
        format!("data and logs   {}", settings.dir.display()),
    ];
    lines.push(format!("for tests       {ENVIRONMENT}={}", settings.dir.display()));
    if let Some((name, password)) = settings.login() {
        lines.push(format!("login           {name}, {password}"));
    }
    if let Some(files) = cluster.tls_files() {
        lines.push(format!("authority       {}", files.ca.display()));
        lines.push(format!("certificate     {}", files.client.display()));
        lines.push(format!("its key         {}", files.client_key.display()));
    }
    lines
}

fn say(line: &str) {
    // With nobody to read, the cluster is still there.
    let _ = writeln!(io::stdout().lock(), "{line}");
}

fn parse_line(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').ok_or("write it as KEY=VALUE")?;
    Ok((key.to_owned(), value.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_the_configuration_is_a_key_and_a_value() {
        let parsed = parse_line("a=b=c").expect("a key and a value");
        assert_eq!(parsed, ("a".to_owned(), "b=c".to_owned()));
        assert!(parse_line("a").is_err());
    }
}
