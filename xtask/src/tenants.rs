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
    let path = dir.join("tenants.yaml");
    let mut text = "tenants:\n".to_owned();
    for (Tenant { name, sha256, .. }, limit) in tenants {
        text.push_str(&format!(
            "  - name: {name}\n    keys: [{{name: test, kind: both, sha256: {sha256}}}]\n    \
             limits: {{requests_per_minute: {limit}}}\n"
        ));
    }
    std::fs::write(&path, text).context("write the file of tenants")?;
    Ok(path)
}

/// Requests of one pulse each with a tenant's key, `variants` different ones.
pub fn singles(tenant: Tenant, variants: usize) -> Vec<Vec<u8>> {
    let now = events::now_ms();
    let body = |number: usize| events::pulse(number, now + number as u64);
    let request = |number| Request::json("/pulse", body(number)).header("x-api-key", tenant.key);
    (0..variants).map(|number| request(number).to_bytes()).collect()
}
