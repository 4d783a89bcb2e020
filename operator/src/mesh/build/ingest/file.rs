//! The settings file as text, and the hash by which pods are made anew when it changes. Pure.

use std::collections::BTreeMap;

use xxhash_rust::xxh3::xxh3_64;

use crate::mesh::observed::Observed;
use crate::mesh::plan::{Plan, SecretMount};
use crate::mesh::validate::TLS_VOLUME;

/// The file's name in the ConfigMap.
pub(super) const NAME: &str = "ingest.toml";
/// Where the ConfigMap is mounted.
pub(super) const DIRECTORY: &str = "/etc/pulsemesh";

/// Matters only to whoever makes the keyspace, once; pods that run need not be made anew when
/// the store grows.
const FOR_A_NEW_KEYSPACE: &str = "cassandra-replication-factor";

/// The settings file.
#[derive(Debug)]
pub(super) struct File {
    /// As TOML.
    pub(super) text: String,
    /// Of what pods that run must know.
    pub(super) hash: String,
}

impl File {
    /// Of a mesh.
    pub(super) fn of(plan: &Plan, observed: &Observed) -> Self {
        let mut settings = plan.ingest.settings.clone();
        if let Some(mount) = client_certificate(plan, observed) {
            for (name, key) in
                [("cassandra-tls-cert-file", "tls.crt"), ("cassandra-tls-key-file", "tls.key")]
            {
                settings.insert(name.to_owned(), format!("{}/{key}", mount.path).into());
            }
        }
        let text = format!(
            "# Written by pulsemesh-operator from PulseMesh {}/{}; changes here are undone.\n{}",
            plan.mesh.namespace,
            plan.mesh.name,
            lines(&settings)
        );
        settings.remove(FOR_A_NEW_KEYSPACE);
        Self { text, hash: format!("{:016x}", xxh3_64(lines(&settings).as_bytes())) }
    }
}

/// The Secret for TLS, if there is a client's certificate with its key in it: whether there is
/// can't be said in the spec.
fn client_certificate<'a>(plan: &'a Plan, observed: &Observed) -> Option<&'a SecretMount> {
    let mount = plan.ingest.mounts.iter().find(|mount| mount.volume == TLS_VOLUME)?;
    let keys = observed.secrets.get(&mount.secret)?.as_ref()?;
    (keys.contains("tls.crt") && keys.contains("tls.key")).then_some(mount)
}

fn lines(settings: &BTreeMap<String, toml::Value>) -> String {
    settings.iter().map(|(name, value)| format!("{name} = {value}\n")).collect()
}
