//! The store of a mesh: its plan, and what the ingest is told of it. Pure.

use pulsemesh_crds::PulseMeshSpec;
use pulsemesh_crds::ingest::Storage;
use pulsemesh_crds::store::{Embedded, External, ExternalCassandra};

use super::problems::Problems;
use super::settings::Settings;
use super::{Defaults, managed};
use crate::mesh::names;
use crate::mesh::plan::{Identity, ManagedPlan, SecretMount, StorePlan};

const LOGIN_PATH: &str = "/run/pulsemesh/login";
const TLS_PATH: &str = "/run/pulsemesh/tls";
/// The keyspace of a store that the operator runs: nobody else is in it.
const KEYSPACE: &str = "pulsemesh";

/// A store, as the rest of the plan needs it.
#[derive(Debug)]
pub(super) struct StoreRead {
    pub(super) plan: StorePlan,
    /// The claim of the ingest pod that has the store in it.
    pub(super) claim: Option<Storage>,
    /// Secrets that ingest pods need to reach it.
    pub(super) mounts: Vec<SecretMount>,
}

/// Reads `spec.store` and sets what the ingest must know of it.
pub(super) fn read(
    spec: &PulseMeshSpec,
    mesh: &Identity,
    defaults: &Defaults,
    settings: &mut Settings,
    problems: &mut Problems,
) -> StoreRead {
    let store = &spec.store;
    let kinds = [
        store.embedded.is_some(),
        store.cassandra.is_some(),
        store.scylla.is_some(),
        store.external.is_some(),
    ];
    if kinds.iter().filter(|is_set| **is_set).count() != 1 {
        let message = "exactly one of embedded, cassandra, scylla and external must be set";
        problems.push("spec.store", message);
    }
    if let Some(spec) = &store.cassandra {
        let path = "spec.store.cassandra.retention";
        settings.set("retention", &spec.retention, path, problems);
        let plan = managed::cassandra(spec, problems);
        managed_store(plan, mesh, defaults, settings)
    } else if let Some(spec) = &store.scylla {
        let path = "spec.store.scylla.retention";
        settings.set("retention", &spec.retention, path, problems);
        let plan = managed::scylla(spec, problems);
        managed_store(plan, mesh, defaults, settings)
    } else if let Some(spec) = &store.external {
        external(spec, settings, problems)
    } else {
        embedded(store.embedded.as_ref(), settings, problems)
    }
}

fn embedded(
    spec: Option<&Embedded>,
    settings: &mut Settings,
    problems: &mut Problems,
) -> StoreRead {
    settings.put("store", "embedded");
    let spec = spec.cloned().unwrap_or_default();
    settings.set("retention", &spec.retention, "spec.store.embedded.retention", problems);
    StoreRead { plan: StorePlan::Embedded, claim: Some(spec.storage), mounts: Vec::new() }
}

fn managed_store(
    plan: ManagedPlan,
    mesh: &Identity,
    defaults: &Defaults,
    settings: &mut Settings,
) -> StoreRead {
    settings.put("store", "cassandra");
    settings.put("cassandra-nodes", contact_point(mesh, defaults));
    settings.put("cassandra-keyspace", KEYSPACE);
    settings.put("cassandra-datacenter", plan.datacenter.clone());
    settings.put("cassandra-replication-factor", i64::from(plan.replication_factor));
    let mounts = vec![login(names::credentials(&mesh.name), settings)];
    StoreRead { plan: StorePlan::Managed(Box::new(plan)), claim: None, mounts }
}

/// The headless Service of all nodes: the driver takes every address of a name, asks for them anew
/// when it knows no node that lives, and the name stays when nodes and racks come and go.
fn contact_point(mesh: &Identity, defaults: &Defaults) -> String {
    let (service, namespace) = (names::store(&mesh.name), &mesh.namespace);
    format!("{service}.{namespace}.svc.{}:{}", defaults.cluster_domain, names::CQL_PORT)
}

fn external(spec: &External, settings: &mut Settings, problems: &mut Problems) -> StoreRead {
    settings.put("store", "cassandra");
    let mut mounts = Vec::new();
    match &spec.cassandra {
        Some(spec) => mounts = external_cassandra(spec, settings, problems),
        None => problems.push("spec.store.external.cassandra", "names the nodes and is missing"),
    }
    StoreRead { plan: StorePlan::External, claim: None, mounts }
}

fn external_cassandra(
    spec: &ExternalCassandra,
    settings: &mut Settings,
    problems: &mut Problems,
) -> Vec<SecretMount> {
    const PATH: &str = "spec.store.external.cassandra";
    for (place, node) in spec.nodes.iter().enumerate() {
        if let Err(wrong) = check_node(node) {
            problems.push(format!("{PATH}.nodes[{place}]"), format!("`{node}` {wrong}"));
        }
    }
    settings.put("cassandra-nodes", spec.nodes.join(","));
    settings.put("cassandra-keyspace", spec.keyspace.clone());
    settings.set("retention", &spec.retention, &format!("{PATH}.retention"), problems);
    if let Some(datacenter) = &spec.datacenter {
        if !is_datacenter(datacenter) {
            let message = "has letters, digits, `_`, `-` and `.` only";
            problems.push(format!("{PATH}.datacenter"), message);
        }
        settings.put("cassandra-datacenter", datacenter.clone());
    }
    let login = spec.credentials_secret.as_ref().map(|secret| login(secret.name.clone(), settings));
    let tls = spec.tls.as_ref().map(|tls| {
        settings.put("cassandra-tls", true);
        settings.put("cassandra-tls-ca-file", format!("{TLS_PATH}/ca.crt"));
        settings.put("cassandra-tls-verify-name", tls.verify_name);
        SecretMount {
            volume: super::TLS_VOLUME.to_owned(),
            secret: tls.secret.name.clone(),
            path: TLS_PATH.to_owned(),
            keys: vec!["ca.crt".to_owned()],
        }
    });
    login.into_iter().chain(tls).collect()
}

fn login(secret: String, settings: &mut Settings) -> SecretMount {
    settings.put("cassandra-username-file", format!("{LOGIN_PATH}/username"));
    settings.put("cassandra-password-file", format!("{LOGIN_PATH}/password"));
    SecretMount {
        volume: super::LOGIN_VOLUME.to_owned(),
        secret,
        path: LOGIN_PATH.to_owned(),
        keys: vec!["username".to_owned(), "password".to_owned()],
    }
}

/// As the ingest reads it: a host with its port, an IPv6 address in brackets.
pub(super) fn check_node(text: &str) -> Result<(), String> {
    let no_port = || format!("has no port; write {text}:{}", names::CQL_PORT);
    let (host, port) = text.rsplit_once(':').ok_or_else(no_port)?;
    if !port.parse::<u16>().is_ok_and(|port| port != 0) {
        return Err(format!("ends with `{port}`, which is no port; write 1 to 65535"));
    }
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
    let is_host = !host.is_empty() && host.bytes().all(is_plain);
    let inner = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    let is_address = inner.is_some_and(|text| text.parse::<std::net::Ipv6Addr>().is_ok());
    if is_host || is_address {
        return Ok(());
    }
    Err("names no host; write host:9042, an IPv6 address in brackets".to_owned())
}

fn is_datacenter(text: &str) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_-.".contains(&byte);
    !text.is_empty() && text.len() <= 128 && text.bytes().all(is_plain)
}
