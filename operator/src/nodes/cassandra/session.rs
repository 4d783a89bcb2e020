//! A session with one node and no other, and what went wrong with it in words.

use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use scylla::client::PoolSize;
use scylla::client::execution_profile::ExecutionProfile;
use scylla::client::session::Session;
use scylla::client::session_builder::SessionBuilder;
use scylla::cluster::metadata::Peer;
use scylla::deserialize::row::DeserializeRow;
use scylla::errors::{
    ConnectionError, ConnectionPoolError, ConnectionSetupRequestErrorKind, DbError, ExecutionError,
    MetadataError, NewSessionError, RequestAttemptError,
};
use scylla::policies::host_filter::HostFilter;
use scylla::policies::retry::FallthroughRetryPolicy;
use scylla::statement::Consistency;
use scylla::value::{CqlValue, Row};
use tokio::time::timeout;
use uuid::Uuid;

use crate::mesh::names::CQL_PORT;
use crate::nodes::reach::Login;
use crate::nodes::{NodeRef, NodesError};

/// For a connection, a login and the driver's own questions.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(6);
/// For one question.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);
/// Longer than any session lives: the topology is read once, when the session is made.
const REFRESH: Duration = Duration::from_secs(3600);
/// Most letters of what a node said.
const TEXT_CHARACTERS_MAX: usize = 200;

/// A session with one node.
pub(super) struct Connected {
    session: Session,
    pod: String,
    pub(super) host_id: String,
    pub(super) datacenter: String,
    /// Whether the image's own login was used.
    pub(super) is_default_login: bool,
    pub(super) is_scylla: bool,
}

/// Why there is no session.
#[derive(Debug)]
pub(super) enum Refusal {
    /// The node knows no such name and password.
    Login,
    /// Anything else.
    Other(String),
}

/// Lets in the node that was connected to, and none that it tells of.
struct Only(SocketAddr);

impl HostFilter for Only {
    fn accept(&self, peer: &Peer) -> bool {
        (peer.address.ip(), peer.address.port()) == (self.0.ip(), self.0.port())
    }
}

impl Connected {
    /// Logs in to the node.
    pub(super) async fn new(node: &NodeRef, login: Option<&Login>) -> Result<Self, Refusal> {
        let port = u16::try_from(CQL_PORT).unwrap_or_default();
        let builder = builder(SocketAddr::new(node.address, port), login);
        let session = match timeout(CONNECT_TIMEOUT, Box::pin(builder.build())).await {
            Ok(built) => built.map_err(|error| refusal(&error))?,
            Err(_elapsed) => return Err(Refusal::Other("no answer in time".to_owned())),
        };
        let mut connected = Self {
            is_scylla: session
                .get_cluster_state()
                .get_nodes_info()
                .iter()
                .any(|node| node.sharder().is_some()),
            session,
            pod: node.pod.clone(),
            host_id: String::new(),
            datacenter: String::new(),
            is_default_login: false,
        };
        connected.introduce().await.map_err(|error| Refusal::Other(error.to_string()))?;
        Ok(connected)
    }

    async fn introduce(&mut self) -> Result<(), NodesError> {
        let rows = self.rows("SELECT host_id, data_center FROM system.local").await?;
        let own: Option<(Uuid, String)> = rows.into_iter().next();
        let (host_id, datacenter) = own.ok_or_else(|| self.silent("it tells no host id"))?;
        (self.host_id, self.datacenter) = (host_id.to_string(), datacenter);
        Ok(())
    }

    /// The rows of a question without values.
    pub(super) async fn rows<T>(&self, question: &str) -> Result<Vec<T>, NodesError>
    where
        T: for<'frame, 'metadata> DeserializeRow<'frame, 'metadata>,
    {
        let answer = self.session.query_unpaged(question, ()).await;
        let rows = answer.map_err(|error| self.silent(&error.to_string()))?;
        let rows = rows.into_rows_result().map_err(|error| self.silent(&error.to_string()))?;
        let rows = rows.rows::<T>().map_err(|error| self.silent(&error.to_string()))?;
        rows.collect::<Result<_, _>>().map_err(|error| self.silent(&error.to_string()))
    }

    /// Gives an order that answers no rows.
    pub(super) async fn order(&self, order: &'static str, text: &str) -> Result<(), NodesError> {
        let Err(error) = self.session.query_unpaged(text, ()).await else { return Ok(()) };
        Err(match said_no(&error) {
            // Never the text of the order, which may hold a password.
            Some(why) => NodesError::Refused { pod: self.pod.clone(), order, why: cut(why) },
            None => self.silent("it did not take the order in time"),
        })
    }

    /// Whether the one role can log in and is superuser; `None` where there is none of the name.
    pub(super) async fn role(&self, name: &str) -> Result<Option<(bool, bool)>, NodesError> {
        let text = format!("LIST ROLES OF {}", quoted(name));
        match self.session.query_unpaged(text, ()).await {
            Ok(answer) => {
                let silent = |error: String| self.silent(&error);
                let rows = answer.into_rows_result().map_err(|error| silent(error.to_string()))?;
                let columns: Vec<_> = rows.column_specs().iter().map(|spec| spec.name()).collect();
                let found = rows.rows::<Row>().map_err(|error| silent(error.to_string()))?;
                let mut found = found.flatten();
                Ok(found.find_map(|row| rights(name, &columns, &row)))
            }
            Err(error) if said_no(&error).is_some() => Ok(None),
            Err(error) => Err(self.silent(&error.to_string())),
        }
    }

    /// The error of a node that does not answer as it should.
    pub(super) fn silent(&self, why: &str) -> NodesError {
        NodesError::Unreachable { pod: self.pod.clone(), why: cut(why) }
    }
}

/// Whether the row is of the role, and whether it can log in and is superuser. There are more
/// columns than these, and more with each version.
fn rights(name: &str, columns: &[&str], row: &Row) -> Option<(bool, bool)> {
    let value = |wanted| {
        let index = columns.iter().position(|column| *column == wanted)?;
        row.columns.get(index)?.as_ref()
    };
    let is_its = value("role").and_then(CqlValue::as_text).is_some_and(|role| role == name);
    let may = |column| value(column).and_then(CqlValue::as_boolean).unwrap_or_default();
    is_its.then(|| (may("login"), may("super")))
}

fn builder(address: SocketAddr, login: Option<&Login>) -> SessionBuilder {
    let profile = ExecutionProfile::builder()
        // What the one node knows, whichever others are up.
        .consistency(Consistency::LocalOne)
        .request_timeout(Some(REQUEST_TIMEOUT))
        .retry_policy(Arc::new(FallthroughRetryPolicy::new()))
        .build();
    let builder = SessionBuilder::new()
        .known_node_addr(address)
        .host_filter(Arc::new(Only(address)))
        .default_execution_profile_handle(profile.into_handle())
        .pool_size(PoolSize::PerHost(NonZeroUsize::MIN))
        .disallow_shard_aware_port(true)
        .connection_timeout(CONNECT_TIMEOUT)
        .fetch_schema_metadata(false)
        .cluster_metadata_refresh_interval(REFRESH)
        // It would ask this one node alone; who changes the schema asks for all.
        .auto_await_schema_agreement(false)
        .driver_config_reporting(false);
    match login {
        Some(login) => builder.user(&login.username, &login.password),
        None => builder,
    }
}

fn refusal(error: &NewSessionError) -> Refusal {
    use ConnectionSetupRequestErrorKind::DbError as Said;
    let NewSessionError::MetadataError(MetadataError::ConnectionPoolError(
        ConnectionPoolError::Broken { last_connection_error },
    )) = error
    else {
        return Refusal::Other(cut(&error.to_string()));
    };
    let ConnectionError::ConnectionSetupRequestError(setup) = last_connection_error else {
        return Refusal::Other(cut(&last_connection_error.to_string()));
    };
    match setup.get_error() {
        // It says the same of a login that it can't judge while nodes with its roles are down.
        Said(DbError::AuthenticationError, said) if !said.contains("Unable to perform") => {
            Refusal::Login
        }
        Said(_, said) => Refusal::Other(cut(said)),
        other => Refusal::Other(cut(&other.to_string())),
    }
}

/// What a node said when it understood and refused; `None` where it did not get that far.
fn said_no(error: &ExecutionError) -> Option<&str> {
    let ExecutionError::LastAttemptError(RequestAttemptError::DbError(kind, said)) = error else {
        return None;
    };
    let understood = matches!(
        kind,
        DbError::Invalid
            | DbError::SyntaxError
            | DbError::Unauthorized
            | DbError::ConfigError
            | DbError::AlreadyExists { .. }
    );
    understood.then_some(said)
}

/// A text as CQL writes it.
pub(super) fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

/// The start of a text that others made, on one line.
pub(super) fn cut(text: &str) -> String {
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    match line.char_indices().nth(TEXT_CHARACTERS_MAX) {
        Some((end, _)) => format!("{}…", &line[..end]),
        None => line,
    }
}
