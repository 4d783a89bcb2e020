//! Who may use a mesh, and how that is encrypted and counted: settings and the Secrets that pods
//! need for it. Pure.

use pulsemesh_crds::ingest::{Ingest, Redis, WhileAway};

use super::problems::Problems;
use super::settings::Settings;
use super::store::check_node;
use crate::mesh::names::{self, TENANTS_FILE};
use crate::mesh::plan::{Access, Identity, SecretMount};

const TENANTS_PATH: &str = "/run/pulsemesh/tenants";
const TLS_PATH: &str = "/run/pulsemesh/server-tls";
const REDIS_PATH: &str = "/run/pulsemesh/redis";
const REDIS_CA_PATH: &str = "/run/pulsemesh/redis-ca";

/// Reads what `spec.ingest` says of it.
pub(super) fn read(
    ingest: &Ingest,
    mesh: &Identity,
    settings: &mut Settings,
    problems: &mut Problems,
) -> (Access, Vec<SecretMount>) {
    let mut mounts = Vec::new();
    if ingest.tenants.required {
        settings.put("tenants", format!("{TENANTS_PATH}/{TENANTS_FILE}"));
        let secret = names::tenants(&mesh.name);
        mounts.push(mount("tenants", &secret, TENANTS_PATH, &[TENANTS_FILE]));
    }
    if let Some(tls) = &ingest.tls {
        settings.put("tls-cert", format!("{TLS_PATH}/tls.crt"));
        settings.put("tls-key", format!("{TLS_PATH}/tls.key"));
        mounts.push(mount("server-tls", &tls.secret_name, TLS_PATH, &["tls.crt", "tls.key"]));
    }
    if let Some(redis) = &ingest.redis {
        mounts.extend(counted_by(redis, settings, problems));
    }
    let access = Access { by_tenants: ingest.tenants.required, encrypted: ingest.tls.is_some() };
    (access, mounts)
}

fn counted_by(redis: &Redis, settings: &mut Settings, problems: &mut Problems) -> Vec<SecretMount> {
    if let Err(wrong) = check_url(&redis.url) {
        problems.push("spec.ingest.redis.url", wrong);
    }
    settings.put("redis-url", redis.url.clone());
    settings.put(
        "limits-without-redis",
        match redis.while_away {
            WhileAway::Local => "local",
            WhileAway::Refuse => "refuse",
        },
    );
    let password = redis.password_secret.as_ref().map(|secret| {
        settings.put("redis-password-file", format!("{REDIS_PATH}/password"));
        mount("redis-password", &secret.name, REDIS_PATH, &["password"])
    });
    let ca = redis.ca_secret.as_ref().map(|secret| {
        settings.put("redis-tls-ca-file", format!("{REDIS_CA_PATH}/ca.crt"));
        mount("redis-ca", &secret.name, REDIS_CA_PATH, &["ca.crt"])
    });
    password.into_iter().chain(ca).collect()
}

fn mount(volume: &str, secret: &str, path: &str, keys: &[&str]) -> SecretMount {
    SecretMount {
        volume: volume.to_owned(),
        secret: secret.to_owned(),
        path: path.to_owned(),
        keys: keys.iter().map(|key| (*key).to_owned()).collect(),
    }
}

/// As the ingest reads it: `redis://user@host:port/database`. Never tells the text, in which a
/// password may be.
fn check_url(text: &str) -> Result<(), &'static str> {
    const FORM: &str = "is no address of a Redis; write redis://host:6379/0, or rediss://user@host";
    let (_, rest) =
        text.split_once("://").filter(|(how, _)| ["redis", "rediss"].contains(how)).ok_or(FORM)?;
    let (place, database) = rest.split_once('/').unwrap_or((rest, ""));
    let (user, host) = place.rsplit_once('@').map_or(("", place), |(user, host)| (user, host));
    if user.contains(':') {
        return Err("holds a password: put it into a Secret, and name that in passwordSecret");
    }
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
    let is_user = !place.contains('@') || !user.is_empty() && user.bytes().all(is_plain);
    let is_database = database.is_empty() || database.parse::<u16>().is_ok();
    // The port may be left out.
    let is_host = check_node(host).is_ok() || check_node(&format!("{host}:6379")).is_ok();
    if is_user && is_database && is_host { Ok(()) } else { Err(FORM) }
}
