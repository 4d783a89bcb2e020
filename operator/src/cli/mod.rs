//! The command line: what was asked for, and with which code the process exits. What a program
//! reads goes to standard output, everything else to standard error.

mod plan;
mod run;
mod schema;

use std::ffi::OsString;
use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::LazyLock;

use clap::{Parser, Subcommand};
use pulsemesh_runtime::version::Version;
use serde::Serialize;

use crate::rbac;
use crate::settings::{MeshArguments, RunArguments};

/// The process did what it was asked.
const EXIT_OK: u8 = 0;
/// It could not: the reason is on standard error.
const EXIT_FAILED: u8 = 1;
/// Arguments, or what was read, are wrong.
const EXIT_USAGE: u8 = 2;
/// It was told to stop a second time and did not finish, as a shell tells it of an interrupt.
const EXIT_AT_ONCE: u8 = 130;

const VERSION: Version = Version::of_build(env!("CARGO_PKG_VERSION"));
static LONG_VERSION: LazyLock<String> = LazyLock::new(|| VERSION.to_string());

const EXAMPLES: &str = "\
Examples:
  Look after all meshes of the cluster that the kubeconfig, or the pod's account, leads to:
    pulsemesh-operator
  Look after two namespaces, as the only operator, and log for people:
    pulsemesh-operator -n team-a,team-b --leader-election false --log-format text
  Install the definitions, and allow what the operator needs:
    pulsemesh-operator crd | kubectl apply --server-side -f -
    pulsemesh-operator rbac | kubectl apply -f -
  See what a mesh would be made of, without a cluster:
    pulsemesh-operator plan -f mesh.yaml

Flags win over environment variables, which win over the defaults.

Signals:
  SIGTERM and SIGINT stop the process in order and give the Lease up; a second one exits at once.

Exit codes:
  0    done, or stopped in order
  1    failed
  2    arguments are wrong; `plan`: a mesh would be refused, or can't be made
  130  told to stop a second time before it was done";

/// Makes a running, healing system of each PulseMesh resource.
///
/// Without a command it runs: metrics and probes on port 8081.
#[derive(Debug, Parser)]
#[command(
    name = "pulsemesh-operator",
    version = VERSION.version,
    long_version = LONG_VERSION.as_str(),
    after_long_help = EXAMPLES,
    args_conflicts_with_subcommands = true,
    max_term_width = 100
)]
struct Cli {
    #[command(flatten)]
    run: RunArguments,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Print the definitions of the custom resources
    Crd,
    /// Print the roles that the operator needs
    Rbac {
        /// Namespaces that it looks after, repeated or with commas between; a ClusterRole unless
        /// set
        #[arg(long = "namespace", short = 'n', value_name = "NAMESPACE", value_delimiter = ',')]
        namespaces: Vec<String>,
        /// Namespace of the Lease; the first of the others unless set
        #[arg(long, value_name = "NAMESPACE")]
        lease_namespace: Option<String>,
    },
    /// Ask a running operator whether it is ready
    Check {
        /// Where its metrics and probes are served
        url: String,
    },
    /// Print all objects that would be made for a mesh, without a cluster; exits with 2 if it
    /// would be refused or can't be made
    Plan {
        /// YAML or JSON with one or more meshes; - is standard input
        #[arg(long = "filename", short = 'f', value_name = "FILE")]
        file: PathBuf,
        #[command(flatten)]
        mesh: MeshArguments,
    },
}

/// Runs what the arguments ask for.
pub fn main() -> ExitCode {
    main_with(std::env::args_os(), &mut io::stdout())
}

fn main_with(arguments: impl IntoIterator<Item = OsString>, out: &mut dyn Write) -> ExitCode {
    match Cli::try_parse_from(arguments) {
        Ok(cli) => finish(invoke(cli, out)),
        Err(error) => {
            // It goes to a stream that may be closed, and then nobody reads it.
            let _ = error.print();
            ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(EXIT_USAGE))
        }
    }
}

fn invoke(cli: Cli, out: &mut dyn Write) -> anyhow::Result<ExitCode> {
    match cli.command {
        None => run::run(cli.run.settings()),
        Some(Command::Crd) => {
            for (_, text) in pulsemesh_crds::definitions()? {
                write!(out, "---\n{text}")?;
            }
            Ok(ExitCode::from(EXIT_OK))
        }
        Some(Command::Rbac { namespaces, lease_namespace }) => {
            print_roles(&namespaces, lease_namespace.as_deref(), out)
        }
        Some(Command::Check { url }) => Ok(crate::check::run(&url, out)?),
        Some(Command::Plan { file, mesh }) => {
            plan::run(&file, &mesh.defaults(), out, &mut io::stderr())
        }
    }
}

fn print_roles(
    namespaces: &[String],
    lease_namespace: Option<&str>,
    out: &mut dyn Write,
) -> anyhow::Result<ExitCode> {
    if namespaces.is_empty() {
        print(&rbac::cluster_role(), out)?;
    }
    let lease = lease_namespace.or(namespaces.first().map(String::as_str));
    for namespace in namespaces {
        print(&rbac::role(namespace, lease == Some(namespace)), out)?;
    }
    if let Some(lease) = lease.filter(|lease| !namespaces.iter().any(|one| one == lease))
        && !namespaces.is_empty()
    {
        print(&rbac::lease_role(lease), out)?;
    }
    Ok(ExitCode::from(EXIT_OK))
}

/// Prints a YAML document.
fn print<T: Serialize>(object: &T, out: &mut dyn Write) -> anyhow::Result<()> {
    // Through a value, whose maps are sorted.
    let value = serde_json::to_value(object)?;
    write!(out, "---\n{}", serde_saphyr::to_string(&value)?)?;
    Ok(())
}

fn finish(result: anyhow::Result<ExitCode>) -> ExitCode {
    let error = match result {
        Ok(code) => return code,
        Err(error) => error,
    };
    // Whoever read our output has enough of it (`| head`).
    let closed = |error: &io::Error| error.kind() == io::ErrorKind::BrokenPipe;
    if error.chain().filter_map(|cause| cause.downcast_ref()).any(closed) {
        return ExitCode::from(EXIT_OK);
    }
    let _ = writeln!(io::stderr(), "pulsemesh-operator: {error:#}");
    ExitCode::from(EXIT_FAILED)
}

#[cfg(test)]
mod tests;
