//! What the files and variables of a client hold: its key, and whom it believes. Prints none of it.

use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, ensure};
use http::header::HeaderValue;
use rustls::crypto::aws_lc_rs;
use ureq::tls::{Certificate, ClientCert, PemItem, PrivateKey, RootCerts, TlsConfig, parse_pem};

use crate::Environment;
use crate::command::Global;

/// Variable that holds the key. It is no flag: flags are seen by every user of a machine.
const KEY_VARIABLE: &str = "PULSEMESH_API_KEY";
/// Largest file that is read for a key or certificates: far above what they need.
const SECRET_BYTES_MAX: u64 = 4 << 20;
/// The header with the key, if there is one. The file goes before the variable.
///
/// # Errors
/// When the file can't be read, or what is given is no key.
pub(super) fn key(
    global: &Global,
    environment: &Environment,
) -> anyhow::Result<Option<HeaderValue>> {
    let key = match &global.api_key_file {
        Some(path) => Some(key_of(path)?),
        None => environment.get(KEY_VARIABLE).filter(|key| !key.trim().is_empty()).cloned(),
    };
    key.map(|key| header(&key)).transpose()
}

/// Reads a file whole.
///
/// # Errors
/// When it can't be read, or is larger than any file of its kind.
fn read(path: &Path) -> anyhow::Result<Vec<u8>> {
    let read = || {
        let length = std::fs::metadata(path)?.len();
        ensure!(length <= SECRET_BYTES_MAX, "it has {length} bytes, more than any such file");
        Ok(std::fs::read(path)?)
    };
    read().with_context(|| format!("read {}", path.display()))
}

fn key_of(path: &Path) -> anyhow::Result<String> {
    let text = String::from_utf8(read(path)?).ok().map(|text| text.trim().to_owned());
    let key = text.filter(|text| !text.is_empty());
    key.with_context(|| format!("{} holds no key: write it there, alone", path.display()))
}

/// The header is marked, so that nothing prints it.
fn header(key: &str) -> anyhow::Result<HeaderValue> {
    let key = key.trim();
    ensure!(
        key.bytes().all(|byte| byte.is_ascii_graphic()),
        "the API key has characters that no key has: is it whole, and alone in its place?"
    );
    let mut value = HeaderValue::from_str(key)?;
    value.set_sensitive(true);
    Ok(value)
}

/// How connections are encrypted.
///
/// # Errors
/// When a file can't be read, or is not what it should be.
pub(super) fn tls(global: &Global) -> anyhow::Result<TlsConfig> {
    let roots = match &global.ca_file {
        Some(path) => certificates(path)?,
        None => system_roots(),
    };
    let client = match (&global.client_cert_file, &global.client_key_file) {
        (Some(certificate), Some(key)) => {
            let text = read(key)?;
            let private = PrivateKey::from_pem(&text)
                .with_context(|| format!("read a private key from {}", key.display()))?;
            Some(ClientCert::new_with_certs(&certificates(certificate)?, private))
        }
        _ => None,
    };
    Ok(TlsConfig::builder()
        .root_certs(RootCerts::new_with_certs(&roots))
        .client_cert(client)
        .unversioned_rustls_crypto_provider(Arc::new(aws_lc_rs::default_provider()))
        .build())
}

fn certificates(path: &Path) -> anyhow::Result<Vec<Certificate<'static>>> {
    let text = read(path)?;
    let mut found = Vec::new();
    for item in parse_pem(&text) {
        let item = item.with_context(|| format!("read PEM from {}", path.display()))?;
        if let PemItem::Certificate(certificate) = item {
            found.push(certificate);
        }
    }
    ensure!(!found.is_empty(), "{} holds no certificate in PEM", path.display());
    Ok(found)
}

/// Those that can't be read are left out, as browsers do: one may still be the right one.
fn system_roots() -> Vec<Certificate<'static>> {
    let found = rustls_native_certs::load_native_certs();
    found.certs.iter().map(|certificate| Certificate::from_der(certificate).to_owned()).collect()
}
