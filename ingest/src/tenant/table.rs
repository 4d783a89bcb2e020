//! Which key is whose: tenants by name, and their keys by hash. Built once, then only read.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::fmt;
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::Arc;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::digest::{SHA256, SHA256_OUTPUT_LEN, digest};
use thiserror::Error;

use crate::limits::Allowances;

use super::{Caller, Permissions, Tenant};

/// Longest text that is hashed as a key: no key is longer, and a client must not choose how much
/// is hashed for it.
const KEY_BYTES_MAX: usize = 128;

/// The SHA-256 of a key. A key has 256 random bits, so that no slow hash is needed: nobody finds
/// it by trying.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct KeyHash([u8; SHA256_OUTPUT_LEN]);

impl fmt::Debug for KeyHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KeyHash")
    }
}

impl KeyHash {
    /// Of a key.
    pub fn of(key: &str) -> Self {
        let mut bytes = [0; SHA256_OUTPUT_LEN];
        bytes.copy_from_slice(digest(&SHA256, key.as_bytes()).as_ref());
        Self(bytes)
    }

    /// The hash that is written as 64 hexadecimal digits.
    pub fn from_hex(text: &str) -> Option<Self> {
        let digits = text.as_bytes();
        if digits.len() != 2 * SHA256_OUTPUT_LEN {
            return None;
        }
        let mut bytes = [0; SHA256_OUTPUT_LEN];
        for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
            let digit = |at: usize| char::from(pair[at]).to_digit(16);
            *byte = (digit(0)? * 16 + digit(1)?) as u8;
        }
        Some(Self(bytes))
    }

    /// Its 64 hexadecimal digits, for the file of tenants.
    pub fn to_hex(self) -> String {
        self.0.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// Its first eight bytes, by which it is looked up.
    fn prefix(&self) -> u64 {
        self.0.first_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes))
    }
}

/// Why a tenant or key can't be added.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum TableError {
    /// There is a tenant of this name.
    #[error("the name is given twice")]
    NameTwice,
    /// The key is there, for this or another tenant.
    #[error("the key is given twice")]
    KeyTwice,
}

/// Tenants and their keys.
#[derive(Debug, Default)]
pub struct Table {
    tenants: HashMap<Arc<str>, Arc<Tenant>>,
    keys: HashMap<u64, Key, BuildHasherDefault<Prefix>>,
    divide_by: Option<u64>,
}

#[derive(Debug)]
struct Key {
    hash: KeyHash,
    name: Arc<str>,
    tenant: Arc<Tenant>,
    permissions: Permissions,
}

impl Table {
    /// With limits of which each process that counts alone gives one of so many equal parts;
    /// `None`: as its own settings say.
    #[must_use]
    pub fn divided_by(self, parts: Option<u64>) -> Self {
        Self { divide_by: parts, ..self }
    }

    pub(super) fn divide_by(&self) -> Option<u64> {
        self.divide_by
    }

    /// Adds a tenant.
    ///
    /// # Errors
    /// [`TableError::NameTwice`].
    pub fn add(&mut self, tenant: &Arc<Tenant>) -> Result<(), TableError> {
        match self.tenants.entry(Arc::clone(&tenant.name)) {
            Entry::Occupied(_) => Err(TableError::NameTwice),
            Entry::Vacant(place) => {
                place.insert(Arc::clone(tenant));
                Ok(())
            }
        }
    }

    /// Adds a key of a tenant, by the name that the tenant has given it.
    ///
    /// # Errors
    /// [`TableError::KeyTwice`].
    pub fn add_key(
        &mut self,
        hash: KeyHash,
        tenant: &Arc<Tenant>,
        name: &str,
        permissions: Permissions,
    ) -> Result<(), TableError> {
        // Two that differ and share 64 bits do not come about by chance.
        match self.keys.entry(hash.prefix()) {
            Entry::Occupied(_) => Err(TableError::KeyTwice),
            Entry::Vacant(place) => {
                let (tenant, name) = (Arc::clone(tenant), name.into());
                place.insert(Key { hash, name, tenant, permissions });
                Ok(())
            }
        }
    }

    /// The tenant of this name.
    pub fn find(&self, name: &str) -> Option<&Arc<Tenant>> {
        self.tenants.get(name)
    }

    /// All tenants, in no order.
    pub fn tenants(&self) -> impl ExactSizeIterator<Item = &Arc<Tenant>> {
        self.tenants.values()
    }

    /// What each tenant may use, by its name.
    pub(super) fn allowances(&self) -> impl Iterator<Item = (&str, Allowances)> {
        self.tenants.values().map(|tenant| (&*tenant.name, tenant.limits.into()))
    }

    /// Whose key this is. What is found first is found by eight bytes of the hash, from which
    /// nothing follows about a key; the rest is compared in constant time all the same.
    pub(super) fn caller(&self, key: &str) -> Option<Caller> {
        if key.len() > KEY_BYTES_MAX {
            return None;
        }
        let hash = KeyHash::of(key);
        let found = self.keys.get(&hash.prefix())?;
        verify_slices_are_equal(&found.hash.0, &hash.0).ok()?;
        Some(Caller {
            tenant: Arc::clone(&found.tenant),
            permissions: found.permissions,
            key: Some(Arc::clone(&found.name)),
        })
    }
}

/// Takes eight bytes of a SHA-256 as the hash that they are.
#[derive(Debug, Default)]
struct Prefix(u64);

impl Hasher for Prefix {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(*byte);
        }
    }

    fn write_u64(&mut self, number: u64) {
        self.0 = number;
    }
}
