//! What is reserved, and what it was reserved for. Pure.

use smallvec::SmallVec;
use uuid::Uuid;
use xxhash_rust::xxh3::xxh3_128_with_seed;

/// A client's own id or idempotency key, hashed together with its tenant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ReservationKey(pub(super) u128);

/// Makes keys. The seed is drawn once for a data directory and stays secret: without it no
/// client can choose texts that collide with another tenant's or that crowd one place of the
/// table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeyMaker {
    seed: u64,
}

/// Tenant, role and text at their bounds fit.
const NAME_BYTES: usize = 512;

impl KeyMaker {
    /// Keys under `seed`.
    pub fn new(seed: u64) -> Self {
        Self { seed }
    }

    /// The key of a pulse's id, where its client gave it one: a text that names the same id in
    /// another spelling is the same key.
    pub fn of_id(&self, tenant: &str, id: Uuid) -> ReservationKey {
        self.make(tenant, b"id", id.as_bytes())
    }

    /// The key of an idempotency key.
    pub fn of_key(&self, tenant: &str, key: &str) -> ReservationKey {
        self.make(tenant, b"key", key.as_bytes())
    }

    fn make(&self, tenant: &str, role: &[u8], text: &[u8]) -> ReservationKey {
        let mut name = SmallVec::<[u8; NAME_BYTES]>::new();
        for part in [tenant.as_bytes(), role] {
            name.extend_from_slice(part);
            name.push(0);
        }
        name.extend_from_slice(text);
        ReservationKey(xxh3_128_with_seed(&name, self.seed))
    }
}

/// What the first acceptance of a pulse fixed; a repeat gets it back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fixed {
    /// The pulse's id.
    pub id: Uuid,
    /// In milliseconds since 1970 in UTC.
    pub event_time_ms: i64,
    /// In microseconds since 1970 in UTC.
    pub received_at_us: i64,
    /// Hash of the original bytes.
    pub body_hash: u128,
    /// The shard that was fixed with the id.
    pub shard: u16,
}

/// What one pulse wants to reserve: all of its keys or none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wanted {
    /// Its id's key, or its only key.
    pub key: ReservationKey,
    /// A second key: the idempotency key of a pulse that has an id of its own too.
    pub other: Option<ReservationKey>,
    /// What the keys lead to once the pulse is logged.
    pub fixed: Fixed,
}

impl Wanted {
    pub(super) fn keys(&self) -> impl Iterator<Item = ReservationKey> + use<> {
        // The same key twice is one key.
        [Some(self.key), self.other.filter(|other| *other != self.key)].into_iter().flatten()
    }
}

/// A key with what it leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) key: ReservationKey,
    pub(super) fixed: Fixed,
}

/// Bytes of an [`Entry`] in a file.
pub(super) const ENTRY_BYTES: usize = 66;

impl Entry {
    pub(super) fn encode(&self) -> [u8; ENTRY_BYTES] {
        let mut bytes = [0; ENTRY_BYTES];
        // Big endian, so that a run's bytes sort as its keys do.
        bytes[0..16].copy_from_slice(&self.key.0.to_be_bytes());
        bytes[16..32].copy_from_slice(self.fixed.id.as_bytes());
        bytes[32..40].copy_from_slice(&self.fixed.event_time_ms.to_le_bytes());
        bytes[40..48].copy_from_slice(&self.fixed.received_at_us.to_le_bytes());
        bytes[48..64].copy_from_slice(&self.fixed.body_hash.to_le_bytes());
        bytes[64..66].copy_from_slice(&self.fixed.shard.to_le_bytes());
        bytes
    }

    pub(super) fn decode(bytes: &[u8; ENTRY_BYTES]) -> Self {
        Self {
            key: ReservationKey(u128::from_be_bytes(array(bytes, 0))),
            fixed: Fixed {
                id: Uuid::from_bytes(array(bytes, 16)),
                event_time_ms: i64::from_le_bytes(array(bytes, 32)),
                received_at_us: i64::from_le_bytes(array(bytes, 40)),
                body_hash: u128::from_le_bytes(array(bytes, 48)),
                shard: u16::from_le_bytes(array(bytes, 64)),
            },
        }
    }
}

/// `N` bytes from `at` on; zeros where there are fewer.
pub(super) fn array<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    bytes.get(at..at + N).and_then(|part| part.try_into().ok()).unwrap_or([0; N])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_differ_by_tenant_role_text_and_seed() {
        let keys = KeyMaker::new(1);
        let id = Uuid::from_u128(7);
        let mut all = vec![
            keys.of_id("a", id),
            keys.of_id("b", id),
            keys.of_key("a", "x"),
            keys.of_key("a", "y"),
            keys.of_key("b", "x"),
            KeyMaker::new(2).of_key("a", "x"),
        ];
        assert_eq!(keys.of_key("a", "x"), all[2]);
        all.sort();
        all.dedup();
        assert_eq!(all.len(), 6);
    }

    #[test]
    fn an_entry_comes_back_from_its_bytes() {
        let entry = Entry {
            key: ReservationKey(u128::MAX / 3),
            fixed: Fixed {
                id: Uuid::from_u128(9),
                event_time_ms: -5,
                received_at_us: i64::MAX,
                body_hash: 77,
                shard: 65_535,
            },
        };
        assert_eq!(Entry::decode(&entry.encode()), entry);
    }
}
