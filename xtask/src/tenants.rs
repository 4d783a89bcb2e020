//! Tenants of benchmarks and tests: a file of them, and requests that carry their keys.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::client::Request;
use crate::events;

/// A tenant with one key. The key opens nothing but servers that tests start.
#[derive(Debug, Clone, Copy)]
pub struct Tenant {
    /// Its name.
    pub name: &'static str,
    /// Its key.
    pub key: &'static str,
    sha256: &'static str,
}

/// One that is limited.
pub const HOT: Tenant = Tenant {
    name: "hot",
    key: "key-of-hot",
    sha256: "60ea1d9e2c4c76824e6bdb1a6c7172eac5646613f603814c6f3d80bfcdd2316a",
};

/// One that keeps within what is its own.
pub const QUIET: Tenant = Tenant {
    name: "quiet",
    key: "key-of-quiet",
    sha256: "1235b4fc5c7c33e9e58129dc3a22fe2d5d8a01072015950489fb2aa917f74323",
};

/// Writes a file of tenants with the requests a minute that each may send; 0: any number.
pub fn write_file(dir: &Path, tenants: &[(Tenant, u64)]) -> Result<PathBuf> {
    write_file_of_many(dir, tenants, 0)
}

/// The same with so many others before them, whose keys nobody has. The file that was there is
/// replaced at once, as a mounted one is.
pub fn write_file_of_many(dir: &Path, known: &[(Tenant, u64)], others: usize) -> Result<PathBuf> {
    let path = dir.join("tenants.yaml");
    let mut text = "tenants:\n".to_owned();
    for number in 0..others {
        text.push_str(&entry(&format!("other-{number}"), &format!("{number:016x}").repeat(4), 0));
    }
    for (Tenant { name, sha256, .. }, limit) in known {
        text.push_str(&entry(name, sha256, *limit));
    }
    let whole = dir.join("tenants.new");
    std::fs::write(&whole, text).context("write the file of tenants")?;
    std::fs::rename(&whole, &path).context("put the file of tenants in its place")?;
    Ok(path)
}

fn entry(name: &str, sha256: &str, limit: u64) -> String {
    format!(
        "  - name: {name}\n    keys: [{{name: test, kind: both, sha256: {sha256}}}]\n    \
         limits: {{requests_per_minute: {limit}}}\n"
    )
}

/// Requests of one pulse each with a tenant's key, `variants` different ones.
pub fn singles(tenant: Tenant, variants: usize) -> Vec<Vec<u8>> {
    (0..variants).map(|number| single(tenant, number).to_bytes()).collect()
}

/// The same, each with an idempotency key of its own.
pub fn named_singles(tenant: Tenant, variants: usize) -> Vec<Vec<u8>> {
    let name = |number: usize| format!("bench-{number:012}");
    let request =
        |number| single(tenant, number).header("idempotency-key", &name(number)).to_bytes();
    (0..variants).map(request).collect()
}

fn single(tenant: Tenant, number: usize) -> Request {
    let body = events::pulse(number, events::now_ms() + (number % 1000) as u64);
    Request::json("/pulse", body).header("x-api-key", tenant.key)
}
