//! What is shared of an id or key: its name, what it leads to, and both as bytes. Pure.

use std::sync::Arc;

use aws_lc_rs::digest::{SHA256, digest};
use smallvec::SmallVec;
use uuid::Uuid;

use crate::reservation::Fixed;

/// What every name in Redis begins with.
const PREFIX: &[u8] = b"pulsemesh:once:";
/// Bytes of a hash of an id or key.
const HASH_BYTES: usize = 16;
/// Bytes of what a key leads to: the body's fingerprint, id, event and receive time, shard.
pub(super) const FIXED_BYTES: usize = 50;

/// An id or key of a tenant. Told apart by its tenant's name and 128 bits of a SHA-256: a client
/// can make none that meets another's.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct SharedKey {
    pub(super) tenant: Arc<str>,
    pub(super) hash: [u8; HASH_BYTES],
}

impl SharedKey {
    /// Its name in Redis: what it begins with names the tenant, so that all of one are found.
    pub(super) fn redis_name(&self) -> Vec<u8> {
        [PREFIX, self.tenant.as_bytes(), b":", &self.hash].concat()
    }
}

/// Makes the keys of one tenant.
#[derive(Debug, Clone)]
pub(crate) struct Namer(Arc<str>);

impl Namer {
    pub(crate) fn new(tenant: &str) -> Self {
        Self(tenant.into())
    }

    /// Of a pulse's id (where its client gave it one) and of its idempotency key.
    pub(crate) fn keys(&self, own_id: Option<Uuid>, key: Option<&str>) -> Keys {
        let by_id = own_id.map(|id| self.make(b"id", id.as_bytes()));
        let by_key = key.map(|key| self.make(b"key", key.as_bytes()));
        let mut keys: Keys = [by_id, by_key].into_iter().flatten().collect();
        // Always in the same order: of two who want both, one gets both.
        keys.sort();
        keys
    }

    fn make(&self, role: &[u8], text: &[u8]) -> SharedKey {
        let name = [self.0.as_bytes(), &[0], role, &[0], text].concat();
        let digest = digest(&SHA256, &name);
        let mut hash = [0; HASH_BYTES];
        hash.copy_from_slice(&digest.as_ref()[..HASH_BYTES]);
        SharedKey { tenant: Arc::clone(&self.0), hash }
    }
}

/// The keys of one pulse.
pub(crate) type Keys = SmallVec<[SharedKey; 1]>;

/// What one pulse asks for: all of its keys or none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Question {
    /// One or two.
    pub(crate) keys: Keys,
    /// What they lead to if they are new.
    pub(crate) fixed: Fixed,
}

/// What is known of a pulse's keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// They are the asker's now. What another had fixed before it was gone is to be logged again.
    New(Option<Fixed>),
    /// Accepted before with the same body.
    Repeat(Fixed),
    /// Used before with another body, or for two pulses.
    Reused,
    /// On its way into another process's log.
    InFlight,
}

pub(super) fn encode(fixed: &Fixed) -> [u8; FIXED_BYTES] {
    let mut bytes = [0; FIXED_BYTES];
    bytes[0..16].copy_from_slice(&fixed.body_hash.to_be_bytes());
    bytes[16..32].copy_from_slice(fixed.id.as_bytes());
    bytes[32..40].copy_from_slice(&fixed.event_time_ms.to_be_bytes());
    bytes[40..48].copy_from_slice(&fixed.received_at_us.to_be_bytes());
    bytes[48..50].copy_from_slice(&fixed.shard.to_be_bytes());
    bytes
}

/// `None` where the bytes are not those of [`encode`].
pub(super) fn decode(bytes: &[u8]) -> Option<Fixed> {
    let bytes: &[u8; FIXED_BYTES] = bytes.try_into().ok()?;
    Some(Fixed {
        body_hash: u128::from_be_bytes(bytes[0..16].try_into().ok()?),
        id: Uuid::from_bytes(bytes[16..32].try_into().ok()?),
        event_time_ms: i64::from_be_bytes(bytes[32..40].try_into().ok()?),
        received_at_us: i64::from_be_bytes(bytes[40..48].try_into().ok()?),
        shard: u16::from_be_bytes(bytes[48..50].try_into().ok()?),
    })
}
