//! The Secrets of keys: what is known of one without reading the key, and what has to be done.
//! Pure.

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use pulsemesh_crds::tenant::PulseTenant;
use pulsemesh_runtime::units;

use crate::mesh::names::{self, FORMER_KEY, KEY_HASH, KEY_URL, ROTATE, TENANT_KEY};

/// Longest time that a former key may be good for.
const GRACE_MAX: Duration = Duration::from_secs(30 * 86_400);

/// What is known of the Secret of a key.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct KeySecret {
    pub(super) name: String,
    pub(super) uid: String,
    pub(super) version: String,
    /// The uid of the tenant that it was made for.
    pub(super) owner: Option<String>,
    /// The name of its key.
    pub(super) key: String,
    pub(super) hash: Option<String>,
    pub(super) url: Option<String>,
    /// As a person wrote it.
    pub(super) rotate: Option<String>,
    /// The hash of the former key, and until when it is good.
    pub(super) former: Option<(String, Timestamp)>,
    pub(super) is_going: bool,
}

impl KeySecret {
    pub(super) fn of(metadata: &ObjectMeta) -> Self {
        let annotation = |name: &str| metadata.annotations.as_ref()?.get(name).cloned();
        let owners = metadata.owner_references.as_deref().unwrap_or_default();
        let owner = owners.iter().find(|owner| owner.kind == "PulseTenant");
        let label = metadata.labels.as_ref().and_then(|labels| labels.get(TENANT_KEY));
        Self {
            name: metadata.name.clone().unwrap_or_default(),
            uid: metadata.uid.clone().unwrap_or_default(),
            version: metadata.resource_version.clone().unwrap_or_default(),
            owner: owner.map(|owner| owner.uid.clone()),
            key: label.cloned().unwrap_or_default(),
            hash: annotation(KEY_HASH).filter(|hash| is_hash(hash)),
            url: annotation(KEY_URL),
            rotate: annotation(ROTATE),
            former: annotation(FORMER_KEY).as_deref().and_then(former),
            is_going: metadata.deletion_timestamp.is_some(),
        }
    }

    /// Hashes that are good now, each with the end of its name in the file.
    pub(super) fn hashes(&self, now: Timestamp) -> impl Iterator<Item = (&'static str, &str)> {
        let former = self.former.as_ref().filter(|(_, until)| *until > now);
        let now = self.hash.as_deref().map(|hash| ("", hash));
        now.into_iter().chain(former.map(|(hash, _)| (".former", hash.as_str())))
    }

    /// For how long the former key stays good, if a person wants another; an error where it is no
    /// time.
    pub(super) fn grace(&self) -> Option<Result<Duration, String>> {
        let text = self.rotate.as_deref()?;
        let grace = units::time(text).filter(|time| *time <= GRACE_MAX);
        Some(grace.ok_or_else(|| {
            format!(
                "the annotation {ROTATE} of Secret {} is no time up to 30 days: write such as 1h, \
                 or 0s",
                self.name
            )
        }))
    }
}

/// What a file of tenants takes as one.
fn is_hash(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

fn former(text: &str) -> Option<(String, Timestamp)> {
    let (hash, until) = text.split_once(' ')?;
    Some((hash.to_owned(), until.parse().ok()?)).filter(|(hash, _)| is_hash(hash))
}

/// The Secret of a key that a tenant wants, in the state that it is in.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Wanted<'a> {
    /// It is as it should be.
    There(&'a KeySecret),
    /// It has to be made.
    Missing,
    /// A person wants another key in it.
    Rotate(&'a KeySecret, Duration),
    /// It tells another URL.
    Moved(&'a KeySecret),
    /// It goes, and is made anew once it has gone.
    Going,
    /// It was made for another.
    Taken,
}

/// What is to be done for a key of a tenant.
pub(super) fn wanted<'a>(
    tenant_uid: &str,
    name: &str,
    url: &str,
    known: &'a [KeySecret],
) -> Wanted<'a> {
    let Some(secret) = known.iter().find(|secret| secret.name == name) else {
        return Wanted::Missing;
    };
    if secret.is_going {
        return Wanted::Going;
    }
    // Without its hash nobody knows which key is in it.
    if secret.owner.as_deref() != Some(tenant_uid) || secret.hash.is_none() {
        return Wanted::Taken;
    }
    match secret.grace() {
        Some(Ok(grace)) => Wanted::Rotate(secret, grace),
        _ if secret.url.as_deref() != Some(url) => Wanted::Moved(secret),
        _ => Wanted::There(secret),
    }
}

/// Secrets of keys that a tenant no longer has.
pub(super) fn left<'a>(tenant: &PulseTenant, known: &'a [KeySecret]) -> Vec<&'a KeySecret> {
    let uid = tenant.metadata.uid.as_deref();
    let has = |secret: &KeySecret| tenant.spec.keys.iter().any(|key| key.name == secret.key);
    let ours = known.iter().filter(|secret| secret.owner.as_deref() == uid && uid.is_some());
    ours.filter(|secret| !has(secret) && !secret.is_going).collect()
}

/// Whether a Secret of this name could be one that a mesh needs itself.
pub(super) fn is_reserved(name: &str) -> bool {
    let ends = [names::tenants(""), names::credentials("")];
    ends.iter().any(|end| name.ends_with(end.as_str()))
}
