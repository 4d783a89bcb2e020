//! Makes sessions: which nodes are asked, how connections are kept and given up. Knows nothing
//! of tables.

use std::num::NonZeroUsize;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use rustls::ClientConfig;
use scylla::client::execution_profile::ExecutionProfile;
use scylla::client::session::Session;
use scylla::client::session_builder::SessionBuilder;
use scylla::client::{Compression, PoolSize};
use scylla::policies::load_balancing::DefaultPolicy;
use scylla::policies::retry::FallthroughRetryPolicy;
use tokio::task::spawn_blocking;
use tokio::time::timeout;

use super::credentials::{self, Login};
use super::link::Down;
use super::reason;
use super::settings::{CassandraSettings, TlsFiles};
use super::tls::Pem;

/// For all of one attempt: several nodes may each use up their own time.
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(15);
/// For one connection to one node, encryption and login not counted.
const CONNECTION_TIMEOUT: Duration = Duration::from_secs(5);
/// A node that hangs is noticed within the sum of these two. A collection of garbage that takes
/// longer costs its connections; requests are sent again.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(2);
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(3);
/// For the driver's own questions about nodes and tables.
const METADATA_TIMEOUT: Duration = Duration::from_secs(5);
/// For all nodes that are up to know a change of tables.
const AGREEMENT_TIMEOUT: Duration = Duration::from_secs(30);
/// Connections to each shard of a Scylla node, or to a Cassandra node as a whole. One is enough
/// for the requests in flight; the second keeps a large answer from holding up writes.
const CONNECTIONS: NonZeroUsize = NonZeroUsize::MIN.saturating_add(1);

/// Makes sessions by the settings.
pub(super) struct Connector {
    settings: Arc<CassandraSettings>,
    /// The datacenter that the first session found, for the life of the process: a later
    /// session that begins at another node stays with it.
    datacenter: OnceLock<String>,
}

/// A session and what it was made from.
pub(super) struct Connected {
    pub(super) session: Arc<Session>,
    pub(super) datacenter: String,
    pem: Option<Pem>,
}

impl Connected {
    /// How many nodes the datacenter has.
    pub(super) fn nodes(&self) -> usize {
        let state = self.session.get_cluster_state();
        state.get_nodes_info().iter().filter(|node| self.asks(node.datacenter.as_deref())).count()
    }

    /// Whether any node that may be asked has a connection.
    pub(super) fn is_connected(&self) -> bool {
        let state = self.session.get_cluster_state();
        let mut nodes = state.get_nodes_info().iter();
        nodes.any(|node| self.asks(node.datacenter.as_deref()) && node.is_connected())
    }

    fn asks(&self, datacenter: Option<&str>) -> bool {
        datacenter == Some(&self.datacenter)
    }
}

impl Connector {
    pub(super) fn new(settings: Arc<CassandraSettings>) -> Self {
        let datacenter = settings.datacenter.clone().map(OnceLock::from).unwrap_or_default();
        Self { settings, datacenter }
    }

    /// Makes a session, or says why there is none.
    pub(super) async fn connect(&self) -> Result<Connected, Down> {
        match timeout(ATTEMPT_TIMEOUT, self.attempt()).await {
            Ok(connected) => connected,
            Err(_elapsed) => {
                let nodes = self.settings.nodes.join(", ");
                Err(Down(format!("no node of {nodes} answers in time")))
            }
        }
    }

    /// Whether the files of the encryption have changed since; unreadable ones have not.
    pub(super) async fn is_outdated(&self, connected: &Connected) -> bool {
        match (self.read_pem().await, &connected.pem) {
            (Ok(Some((pem, _))), Some(known)) => pem != *known,
            _ => false,
        }
    }

    async fn attempt(&self) -> Result<Connected, Down> {
        let (pem, tls) = match self.read_pem().await? {
            Some((pem, files)) => {
                let config = pem.config(files, &self.settings.nodes)?;
                (Some(pem), Some(config))
            }
            None => (None, None),
        };
        let datacenter = match self.datacenter.get() {
            Some(datacenter) => datacenter.clone(),
            None => self.find_datacenter(tls.clone()).await?,
        };
        let session = self.session(Some(&datacenter), tls).await?;
        let connected = Connected { session: Arc::new(session), datacenter, pem };
        if connected.nodes() == 0 {
            return Err(self.no_node_in(&connected));
        }
        // Kept once it has led to nodes.
        let _ = self.datacenter.set(connected.datacenter.clone());
        Ok(connected)
    }

    async fn read_pem(&self) -> Result<Option<(Pem, &TlsFiles)>, Down> {
        let Some(files) = &self.settings.tls else { return Ok(None) };
        let own = files.clone();
        let read = spawn_blocking(move || Pem::read(&own)).await;
        let pem = read.map_err(|error| Down(format!("read of TLS files failed: {error}")))??;
        Ok(Some((pem, files)))
    }

    /// The datacenter of the node that a session without preference asks.
    async fn find_datacenter(&self, tls: Option<Arc<ClientConfig>>) -> Result<String, Down> {
        const QUESTION: &str = "SELECT data_center FROM system.local";
        let unknown = |why: String| Down(format!("no node tells its datacenter: {why}"));
        let session = self.session(None, tls).await?;
        let answer = session.query_unpaged(QUESTION, ()).await;
        let answer = answer.map_err(|error| unknown(reason::cut(&error.to_string())))?;
        let rows = answer.into_rows_result().map_err(|error| unknown(error.to_string()))?;
        let (datacenter,) = rows.first_row().map_err(|error| unknown(error.to_string()))?;
        Ok(datacenter)
    }

    fn no_node_in(&self, connected: &Connected) -> Down {
        let state = connected.session.get_cluster_state();
        let mut found: Vec<_> =
            state.get_nodes_info().iter().filter_map(|node| node.datacenter.clone()).collect();
        found.sort_unstable();
        found.dedup();
        let datacenter = &connected.datacenter;
        Down(match found.as_slice() {
            [] => format!("no node of {} tells of the cluster", self.settings.nodes.join(", ")),
            _ => format!(
                "no node is in datacenter `{datacenter}`: there is `{}`",
                found.join("`, `")
            ),
        })
    }

    async fn session(
        &self,
        datacenter: Option<&String>,
        tls: Option<Arc<ClientConfig>>,
    ) -> Result<Session, Down> {
        let settings = &self.settings;
        let mut policy = DefaultPolicy::builder().token_aware(true).permit_dc_failover(false);
        if let Some(datacenter) = datacenter {
            policy = policy.prefer_datacenter(datacenter.clone());
        }
        let profile = ExecutionProfile::builder()
            .load_balancing_policy(policy.build())
            .consistency(settings.consistency)
            .request_timeout(Some(settings.request_timeout))
            // Who writes sends again itself, at the pace that the database keeps up with.
            .retry_policy(Arc::new(FallthroughRetryPolicy::new()))
            .build();
        let mut builder = SessionBuilder::new()
            .known_nodes(&settings.nodes)
            .default_execution_profile_handle(profile.into_handle())
            .compression(settings.compression.then_some(Compression::Lz4))
            .pool_size(PoolSize::PerShard(CONNECTIONS))
            .connection_timeout(CONNECTION_TIMEOUT)
            .keepalive_interval(KEEPALIVE_INTERVAL)
            .keepalive_timeout(KEEPALIVE_TIMEOUT)
            .metadata_request_serverside_timeout(METADATA_TIMEOUT)
            .schema_agreement_timeout(AGREEMENT_TIMEOUT)
            // Other keyspaces may have thousands of tables.
            .keyspaces_to_fetch([&settings.keyspace])
            .tls_context(tls);
        if let Some(datacenter) = datacenter {
            builder = builder.prefer_datacenter(datacenter.clone());
        }
        if let Some(files) = &settings.credentials {
            builder = builder.authenticator_provider(Arc::new(Login::new(files.clone())));
        }
        match Box::pin(builder.build()).await {
            Ok(session) => Ok(session),
            Err(error) => {
                let name = match &settings.credentials {
                    Some(files) => credentials::name(files).await,
                    None => None,
                };
                Err(Down(reason::of_session(&error, settings, name.as_deref())))
            }
        }
    }
}
