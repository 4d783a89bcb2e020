//! Encryption of connections: which certificates are believed, and ours. An unverified chain is
//! never accepted. Nothing is taken from the process's or the system's defaults.

use std::path::Path;
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{
    WebPkiServerVerifier, verify_server_cert_signed_by_trust_anchor, verify_server_name,
};
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};

use crate::fs::{OsFs, read_file};

use super::link::Down;
use super::settings::TlsFiles;

/// Most bytes of one PEM file: a whole system's list of CAs has about 250 KiB.
const PEM_BYTES_MAX: usize = 4 * 1024 * 1024;

/// What the files held when they were read, to see whether they have changed since.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Pem {
    ca: Vec<u8>,
    client: Option<(Vec<u8>, Vec<u8>)>,
}

impl Pem {
    /// Reads the files. Blocking.
    pub(super) fn read(files: &TlsFiles) -> Result<Self, Down> {
        let client = match &files.client {
            Some((certificate, key)) => Some((pem(certificate)?, pem(key)?)),
            None => None,
        };
        Ok(Self { ca: pem(&files.ca)?, client })
    }

    /// What connections are made with; `nodes` are those of the settings, as `host:port`.
    pub(super) fn config(
        &self,
        files: &TlsFiles,
        nodes: &[String],
    ) -> Result<Arc<ClientConfig>, Down> {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let wrong = |path: &Path, error: Error| Down(format!("{}: {error}", path.display()));
        let verifier = Verifier {
            names: files.verify_name.then(|| host_names(nodes)),
            chain: chain(self, files, &provider)?,
            roots: roots(self, files)?,
            provider: Arc::clone(&provider),
        };
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| wrong(&files.ca, error))?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(verifier));
        let config = match (&self.client, &files.client) {
            (Some((certificate, key)), Some((certificate_file, key_file))) => {
                let certificates = certificates(certificate, certificate_file)?;
                let key = PrivateKeyDer::from_pem_slice(key)
                    .map_err(|_| Down(format!("{} holds no PEM key", key_file.display())))?;
                config
                    .with_client_auth_cert(certificates, key)
                    .map_err(|error| wrong(certificate_file, error))?
            }
            _ => config.with_no_client_auth(),
        };
        Ok(Arc::new(config))
    }
}

fn pem(path: &Path) -> Result<Vec<u8>, Down> {
    read_file(&OsFs, path, PEM_BYTES_MAX)
        .map_err(|error| Down(format!("TLS file {}: {error}", path.display())))
}

fn certificates(pem: &[u8], path: &Path) -> Result<Vec<CertificateDer<'static>>, Down> {
    let none = || Down(format!("{} holds no PEM certificate", path.display()));
    let all: Vec<_> =
        CertificateDer::pem_slice_iter(pem).collect::<Result<_, _>>().map_err(|_| none())?;
    if all.is_empty() { Err(none()) } else { Ok(all) }
}

fn roots(pem: &Pem, files: &TlsFiles) -> Result<Arc<RootCertStore>, Down> {
    let mut roots = RootCertStore::empty();
    // A system's list may have some that are not understood; one must be.
    let (added, _) = roots.add_parsable_certificates(certificates(&pem.ca, &files.ca)?);
    if added == 0 {
        return Err(Down(format!("{} holds no certificate of a CA", files.ca.display())));
    }
    Ok(Arc::new(roots))
}

fn chain(
    pem: &Pem,
    files: &TlsFiles,
    provider: &Arc<CryptoProvider>,
) -> Result<Arc<WebPkiServerVerifier>, Down> {
    WebPkiServerVerifier::builder_with_provider(roots(pem, files)?, Arc::clone(provider))
        .build()
        .map_err(|error| Down(format!("{}: {error}", files.ca.display())))
}

/// The names among the hosts of `host:port`s; addresses are known from the connection.
fn host_names(nodes: &[String]) -> Vec<ServerName<'static>> {
    let host = |node: &String| {
        let (host, _) = node.rsplit_once(':')?;
        ServerName::try_from(host.to_owned()).ok()
    };
    let name = |name: &ServerName<'_>| matches!(name, ServerName::DnsName(_));
    nodes.iter().filter_map(host).filter(name).collect()
}

/// Believes a chain that a CA of ours signed. The driver knows nodes by their addresses alone,
/// which certificates seldom hold where pods come and go: one that names a host of the settings
/// is as good.
#[derive(Debug)]
struct Verifier {
    /// Hosts of the settings; `None`: no name is looked at.
    names: Option<Vec<ServerName<'static>>>,
    /// Checks signatures of the handshake.
    chain: Arc<WebPkiServerVerifier>,
    roots: Arc<RootCertStore>,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        address: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let certificate = ParsedCertificate::try_from(end_entity)?;
        let algorithms = self.provider.signature_verification_algorithms.all;
        verify_server_cert_signed_by_trust_anchor(
            &certificate,
            &self.roots,
            intermediates,
            now,
            algorithms,
        )?;
        let Some(names) = &self.names else { return Ok(ServerCertVerified::assertion()) };
        let by_address = verify_server_name(&certificate, address);
        if by_address.is_err()
            && !names.iter().any(|name| verify_server_name(&certificate, name).is_ok())
        {
            by_address?;
        }
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.chain.verify_tls12_signature(message, certificate, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.chain.verify_tls13_signature(message, certificate, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.chain.supported_verify_schemes()
    }
}

#[cfg(test)]
mod tests;
