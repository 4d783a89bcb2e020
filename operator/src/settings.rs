//! What can be set, by flag or environment: names, defaults, and what they mean. Decides nothing.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use clap::{ArgAction, Args, ValueEnum};
use pulsemesh_runtime::telemetry::{self, LogFormat};

use crate::mesh::validate::Defaults;

/// Where Kubernetes tells a pod its namespace.
const NAMESPACE_FILE: &str = "/var/run/secrets/kubernetes.io/serviceaccount/namespace";
/// Where the Lease is if neither a flag nor the pod says.
const NAMESPACE: &str = "default";
/// The image of ingest pods: the release of this operator.
const INGEST_IMAGE: &str =
    concat!("ghcr.io/pulsemesh/pulsemesh-ingest:", env!("CARGO_PKG_VERSION"));

/// What the meshes are made with; `plan` has these too.
#[derive(Debug, Clone, Args)]
pub struct MeshArguments {
    /// Image of ingest pods whose mesh names none
    #[arg(
        long,
        env = "PULSEMESH_INGEST_IMAGE",
        hide_env_values = true,
        value_name = "IMAGE",
        default_value = INGEST_IMAGE
    )]
    pub ingest_image: String,
    /// Domain of the cluster's DNS
    #[arg(
        long,
        env = "PULSEMESH_CLUSTER_DOMAIN",
        hide_env_values = true,
        value_name = "DOMAIN",
        default_value = "cluster.local"
    )]
    pub cluster_domain: String,
    /// Namespace of the operator, which NetworkPolicies let reach the store; that of the pod
    /// unless set
    #[arg(long, env = "POD_NAMESPACE", hide_env_values = true, value_name = "NAMESPACE")]
    pub operator_namespace: Option<String>,
}

impl MeshArguments {
    /// As validation takes them.
    pub fn defaults(&self) -> Defaults {
        let Self { ingest_image, cluster_domain, operator_namespace } = self;
        Defaults {
            ingest_image: ingest_image.clone(),
            cluster_domain: cluster_domain.clone(),
            operator_namespace: operator_namespace.clone(),
        }
    }
}

/// What a run takes.
#[derive(Debug, Clone, Args)]
pub struct RunArguments {
    #[command(flatten)]
    mesh: MeshArguments,
    /// Namespaces to look after, repeated or with commas between; all unless set
    #[arg(
        long = "namespace",
        short = 'n',
        env = "PULSEMESH_NAMESPACES",
        hide_env_values = true,
        value_name = "NAMESPACE",
        value_delimiter = ','
    )]
    namespaces: Vec<String>,
    /// Where metrics and probes are served
    #[arg(
        long,
        env = "PULSEMESH_ADMIN_LISTEN",
        hide_env_values = true,
        value_name = "ADDRESS",
        default_value = "0.0.0.0:8081"
    )]
    admin_listen: SocketAddr,
    /// Whether only the holder of the Lease acts, so that several may run
    #[arg(
        long,
        env = "PULSEMESH_LEADER_ELECTION",
        hide_env_values = true,
        value_name = "BOOL",
        default_value_t = true,
        action = ArgAction::Set
    )]
    leader_election: bool,
    /// Name of the Lease
    #[arg(
        long,
        env = "PULSEMESH_LEASE_NAME",
        hide_env_values = true,
        value_name = "NAME",
        default_value = "pulsemesh-operator"
    )]
    lease_name: String,
    /// Namespace of the Lease; that of the pod unless set
    #[arg(long, env = "POD_NAMESPACE", hide_env_values = true, value_name = "NAMESPACE")]
    lease_namespace: Option<String>,
    /// Meshes whose objects are read and written at once
    #[arg(
        long,
        env = "PULSEMESH_CONCURRENCY",
        hide_env_values = true,
        value_name = "COUNT",
        default_value_t = 4,
        value_parser = clap::value_parser!(u16).range(1..=64)
    )]
    concurrency: u16,
    /// Time after which a mesh is looked at even if nothing was seen to change, such as 5m
    #[arg(
        long,
        env = "PULSEMESH_RESYNC",
        hide_env_values = true,
        value_name = "TIME",
        default_value = "5m",
        value_parser = duration
    )]
    resync: Duration,
    /// Time that reading the objects of a mesh may take, and writing them; nodes have their own
    #[arg(
        long,
        env = "PULSEMESH_RECONCILE_TIMEOUT",
        hide_env_values = true,
        value_name = "TIME",
        default_value = "90s",
        value_parser = duration
    )]
    reconcile_timeout: Duration,
    /// Look of log lines: auto is text on a terminal, else JSON
    #[arg(
        long,
        env = "PULSEMESH_LOG_FORMAT",
        hide_env_values = true,
        value_name = "FORMAT",
        default_value = "auto"
    )]
    log_format: Format,
    /// Least severe log lines: error, warn, info, debug, trace, or directives by module
    #[arg(
        long,
        env = "PULSEMESH_LOG_LEVEL",
        hide_env_values = true,
        value_name = "LEVEL",
        default_value = "info",
        value_parser = level
    )]
    log_level: String,
}

/// The look of log lines, as it is typed.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum Format {
    Auto,
    Text,
    Json,
}

/// What a run is told.
#[derive(Debug, Clone)]
pub struct Settings {
    /// What the meshes are made with.
    pub defaults: Defaults,
    /// Which namespaces; empty: all.
    pub namespaces: Vec<String>,
    /// Where metrics and probes are served.
    pub admin_listen: SocketAddr,
    /// Which Lease its leader holds; `None`: nobody else runs.
    pub lease: Option<LeaseName>,
    /// Meshes whose objects are read and written at once; 1 to 64.
    pub concurrency: u16,
    /// Time after which a mesh is looked at anyway.
    pub resync: Duration,
    /// Time that reading the objects of a mesh may take, and writing them.
    pub reconcile_timeout: Duration,
    /// Look of log lines.
    pub log_format: LogFormat,
    /// Least severe log lines.
    pub log_level: String,
}

/// A Lease.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeaseName {
    /// Its name.
    pub name: String,
    /// Its namespace.
    pub namespace: String,
}

impl RunArguments {
    /// What they mean.
    pub fn settings(self) -> Settings {
        let Self { mesh, mut namespaces, admin_listen, leader_election, lease_name, .. } = self;
        namespaces.retain(|namespace| !namespace.is_empty());
        namespaces.sort();
        namespaces.dedup();
        let namespace = || self.lease_namespace.unwrap_or_else(own_namespace);
        Settings {
            defaults: mesh.defaults(),
            namespaces,
            admin_listen,
            lease: leader_election.then(|| LeaseName { name: lease_name, namespace: namespace() }),
            concurrency: self.concurrency,
            resync: self.resync,
            reconcile_timeout: self.reconcile_timeout,
            log_format: match self.log_format {
                Format::Auto => LogFormat::Auto,
                Format::Text => LogFormat::Text,
                Format::Json => LogFormat::Json,
            },
            log_level: self.log_level,
        }
    }
}

fn own_namespace() -> String {
    let told = std::fs::read_to_string(Path::new(NAMESPACE_FILE)).unwrap_or_default();
    let told = told.trim();
    if told.is_empty() { NAMESPACE } else { told }.to_owned()
}

/// Longest time that can be set: nothing here is useful once a day only.
const TIME_MAX: Duration = Duration::from_secs(24 * 3600);

fn duration(text: &str) -> Result<Duration, String> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let seconds = match unit {
        "s" => Some(1),
        "m" => Some(60),
        "h" => Some(3600),
        _ => None,
    };
    let number = number.parse::<u64>().ok().filter(|number| *number > 0);
    number
        .zip(seconds)
        .and_then(|(number, seconds)| number.checked_mul(seconds))
        .map(Duration::from_secs)
        .filter(|time| *time <= TIME_MAX)
        .ok_or_else(|| "write a time such as 30s, 5m or 1h, at most 24h".to_owned())
}

fn level(text: &str) -> Result<String, String> {
    telemetry::check_level(text).map_err(|error| error.to_string())?;
    Ok(text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_a_unit_and_a_bound() {
        for (text, seconds) in
            [("30s", Some(30)), ("5m", Some(300)), ("24h", Some(86_400)), ("25h", None)]
        {
            assert_eq!(duration(text).ok().map(|time| time.as_secs()), seconds, "{text}");
        }
        for wrong in ["", "5", "m", "0s", "-1s", "5 m", "99999999999999999999h"] {
            assert!(duration(wrong).is_err(), "{wrong}");
        }
    }
}
