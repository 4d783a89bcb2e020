//! The cluster under test and a session of the driver with it.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore};
use scylla::client::session::Session;
use scylla::client::session_builder::SessionBuilder;
use xtask::cassandra::{Cluster, Node, TlsFiles};

/// Longest wait for nodes that were started to be up.
pub(crate) const UP_MAX: Duration = Duration::from_secs(120);

/// The cluster that the environment names, with all of its nodes up.
pub(crate) fn cluster() -> Result<Cluster> {
    let cluster = Cluster::from_environment()?;
    cluster.mend(UP_MAX)?;
    Ok(cluster)
}

/// A session as the superuser that is begun with this node, over TLS.
pub(crate) async fn connect(cluster: &Cluster, node: &Node) -> Result<Session> {
    let files = cluster.tls_files().context("the cluster has no TLS")?;
    let (name, password) = cluster.settings().login().context("nobody is asked for a login")?;
    SessionBuilder::new()
        .known_node_addr(node.address())
        .user(name, password)
        .tls_context(Some(client_config(&files)?))
        .build()
        .await
        .with_context(|| format!("connect to {}", node.address()))
}

fn client_config(files: &TlsFiles) -> Result<Arc<ClientConfig>> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(&files.ca)?)?;
    let chain = vec![CertificateDer::from_pem_file(&files.client)?];
    let key = PrivateKeyDer::from_pem_file(&files.client_key)?;
    let builder = ClientConfig::builder().with_root_certificates(roots);
    Ok(Arc::new(builder.with_client_auth_cert(chain, key)?))
}
