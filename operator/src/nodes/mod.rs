//! Administration of a store's nodes: what a node says of all nodes, and the few orders that are
//! given to one. One trait, so that decisions can be tested against nodes that lie, hang and
//! die, and so that a store of another kind needs no other decisions.

pub mod cassandra;
pub mod reach;

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::future::Future;
use std::net::IpAddr;

use thiserror::Error;

/// Where a node is and how it is logged in to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeRef {
    /// The namespace of its pod and of the credentials.
    pub namespace: String,
    /// Its pod.
    pub pod: String,
    /// Its pod's address.
    pub address: IpAddr,
    /// The Secret of the login.
    pub credentials: String,
}

/// What one node says of itself and all others, fresh.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct View {
    /// The host id of the node that says so.
    pub host_id: String,
    /// All nodes that it knows, itself among them, those that left lately too.
    pub members: Vec<Member>,
    /// Copies of each row by keyspace, in the mesh's datacenter; those of the system that matter
    /// and the mesh's own.
    pub replication: BTreeMap<String, i32>,
    /// Whether the login of the image (`cassandra`) still works.
    pub default_login: bool,
}

/// A node as another sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// Its host id: the same for as long as its data is.
    pub host_id: String,
    /// Where it was last.
    pub address: IpAddr,
    /// Its part in the ring.
    pub state: State,
    /// Whether it was heard of within the last seconds.
    pub is_alive: bool,
}

/// A node's part in the ring.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// It takes over data and does not serve it yet.
    Joining,
    /// It holds data.
    Normal,
    /// It hands its data over.
    Leaving,
    /// It holds none any more and will not come back.
    Left,
    /// Something else, or not known: nothing may be concluded.
    Unknown,
}

/// Why a node did not do or say something.
#[derive(Debug, Error)]
pub enum NodesError {
    /// It could not be reached or did not answer in time.
    #[error("node {pod} did not answer: {why}")]
    Unreachable {
        /// Its pod.
        pod: String,
        /// As it came.
        why: String,
    },
    /// It answered that it will not.
    #[error("node {pod} refused {order}: {why}")]
    Refused {
        /// Its pod.
        pod: String,
        /// What was asked.
        order: &'static str,
        /// As it came.
        why: String,
    },
    /// What was begun has failed; it is begun again after a while.
    #[error("node {pod} failed {order}: {why}")]
    Failing {
        /// Its pod.
        pod: String,
        /// What was asked.
        order: &'static str,
        /// How often in a row.
        times: u32,
        /// As it came.
        why: String,
    },
    /// Neither the credentials nor the image's login work.
    #[error("node {pod} takes neither the login of Secret {secret} nor the image's own")]
    Login {
        /// Its pod.
        pod: String,
        /// The Secret.
        secret: String,
    },
}

/// Administration of nodes. Every call ends within seconds: long work is begun and its end is
/// seen in a later view. Every order may be given twice.
pub trait Nodes: Send + Sync + Debug + 'static {
    /// What the node says of all.
    fn view(&self, node: &NodeRef) -> impl Future<Output = Result<View, NodesError>> + Send;
    /// Makes the login of the credentials and takes the image's own away.
    fn secure(&self, node: &NodeRef) -> impl Future<Output = Result<(), NodesError>> + Send;
    /// Begins to hand its data to the others.
    fn decommission(&self, node: &NodeRef) -> impl Future<Output = Result<(), NodesError>> + Send;
    /// Notes in the claim of a node that has left that its data is no longer of the ring, so that
    /// a node that gets the claim later moves it aside before it starts.
    fn mark_left(&self, node: &NodeRef) -> impl Future<Output = Result<(), NodesError>> + Send;
    /// Raises the copies of each row of a keyspace in the datacenter; never lowers them.
    fn raise_replication(
        &self,
        node: &NodeRef,
        keyspace: &str,
        datacenter: &str,
        copies: i32,
    ) -> impl Future<Output = Result<(), NodesError>> + Send;
    /// Begins a repair of all that the node holds, or tells whether the one that was begun for
    /// this reason has ended well (`true`).
    fn repaired(
        &self,
        node: &NodeRef,
        reason: &str,
    ) -> impl Future<Output = Result<bool, NodesError>> + Send;
}

/// Nodes of a process that has no way to any.
#[derive(Debug, Clone, Copy)]
pub struct Unreachable;

impl Unreachable {
    fn error(node: &NodeRef) -> NodesError {
        NodesError::Unreachable { pod: node.pod.clone(), why: "there is no way to it".to_owned() }
    }
}

impl Nodes for Unreachable {
    async fn view(&self, node: &NodeRef) -> Result<View, NodesError> {
        Err(Self::error(node))
    }

    async fn secure(&self, node: &NodeRef) -> Result<(), NodesError> {
        Err(Self::error(node))
    }

    async fn decommission(&self, node: &NodeRef) -> Result<(), NodesError> {
        Err(Self::error(node))
    }

    async fn mark_left(&self, node: &NodeRef) -> Result<(), NodesError> {
        Err(Self::error(node))
    }

    async fn raise_replication(
        &self,
        node: &NodeRef,
        _keyspace: &str,
        _datacenter: &str,
        _copies: i32,
    ) -> Result<(), NodesError> {
        Err(Self::error(node))
    }

    async fn repaired(&self, node: &NodeRef, _reason: &str) -> Result<bool, NodesError> {
        Err(Self::error(node))
    }
}
