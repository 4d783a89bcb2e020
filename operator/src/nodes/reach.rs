//! What of Kubernetes the administration of nodes needs: short commands in a node's container,
//! the login of a Secret, and whether an address is still that of the node. A seam, so that all
//! else is tested against real nodes without Kubernetes.

use std::collections::BTreeMap;
use std::fmt::{self, Debug, Formatter};
use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::{Pod, Secret};
use kube::api::AttachParams;
use kube::{Api, Client};
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::sync::OnceCell;
use tokio::time::timeout;

use super::NodeRef;
use crate::mesh::build::store::CONTAINER;

/// For one command: `nodetool` takes some seconds to start on a busy machine.
const EXEC_TIMEOUT: Duration = Duration::from_secs(20);
/// For one request to the API server.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);
/// The nodes of a mesh are asked at the same time: they share one read of their Secret, and a
/// Secret that was changed is not used for long.
const LOGIN_KEPT: Duration = Duration::from_secs(5);
/// Most bytes of each output of a command that are kept; its end says what went wrong.
const OUTPUT_BYTES_MAX: usize = 4096;

/// A name and a password.
#[derive(Clone, PartialEq, Eq)]
pub struct Login {
    /// The name.
    pub username: String,
    /// The password.
    pub password: String,
}

impl Debug for Login {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.debug_struct("Login").field("username", &self.username).finish_non_exhaustive()
    }
}

/// What a command did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Output {
    /// Whether it ended with 0.
    pub is_success: bool,
    /// The end of what it said.
    pub stdout: String,
    /// The end of what it said of errors.
    pub stderr: String,
}

/// What is needed of Kubernetes; errors are texts without secrets.
pub trait Reach: Send + Sync + Debug + 'static {
    /// Runs a command in the node's container and waits until it has ended.
    fn exec(
        &self,
        node: &NodeRef,
        command: Vec<String>,
    ) -> impl Future<Output = Result<Output, String>> + Send;
    /// The login of the node's Secret; `None` where there is no such Secret, or half of one.
    fn login(&self, node: &NodeRef) -> impl Future<Output = Result<Option<Login>, String>> + Send;
    /// Whether the node's pod has the node's address now.
    fn is_at_its_address(
        &self,
        node: &NodeRef,
    ) -> impl Future<Output = Result<bool, String>> + Send;
}

/// Namespace and name of a Secret.
type Key = (String, String);
/// A login that is read once, and since when.
type Kept = (Instant, Arc<OnceCell<Option<Login>>>);

/// Kubernetes itself.
pub struct Cluster {
    client: Client,
    logins: Mutex<BTreeMap<Key, Kept>>,
}

impl Debug for Cluster {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cluster").finish_non_exhaustive()
    }
}

impl Cluster {
    /// Through this client.
    pub fn new(client: Client) -> Self {
        Self { client, logins: Mutex::default() }
    }

    fn kept(&self, node: &NodeRef) -> Arc<OnceCell<Option<Login>>> {
        let mut logins = self.logins.lock().unwrap_or_else(PoisonError::into_inner);
        logins.retain(|_, (since, _)| since.elapsed() < LOGIN_KEPT);
        let key = (node.namespace.clone(), node.credentials.clone());
        let (_, cell) = logins.entry(key).or_insert_with(|| (Instant::now(), Arc::default()));
        Arc::clone(cell)
    }

    async fn read_login(&self, node: &NodeRef) -> Result<Option<Login>, String> {
        let secrets: Api<Secret> = Api::namespaced(self.client.clone(), &node.namespace);
        let read = answered(secrets.get_opt(&node.credentials)).await?;
        let text = |secret: &Secret, key: &str| {
            let bytes = secret.data.as_ref()?.get(key)?;
            let text = String::from_utf8(bytes.0.clone()).ok()?;
            Some(text.trim_end_matches(['\r', '\n']).to_owned())
        };
        Ok(read.and_then(|secret| {
            let (username, password) = (text(&secret, "username")?, text(&secret, "password")?);
            Some(Login { username, password })
        }))
    }
}

impl Reach for Cluster {
    async fn exec(&self, node: &NodeRef, command: Vec<String>) -> Result<Output, String> {
        let pods: Api<Pod> = Api::namespaced(self.client.clone(), &node.namespace);
        let run = Box::pin(run(pods, &node.pod, command));
        timeout(EXEC_TIMEOUT, run).await.unwrap_or_else(|_| Err(too_late("command", EXEC_TIMEOUT)))
    }

    async fn login(&self, node: &NodeRef) -> Result<Option<Login>, String> {
        let cell = self.kept(node);
        let login = cell.get_or_try_init(|| self.read_login(node)).await?;
        Ok(login.clone())
    }

    async fn is_at_its_address(&self, node: &NodeRef) -> Result<bool, String> {
        let pods: Api<Pod> = Api::namespaced(self.client.clone(), &node.namespace);
        let Some(pod) = answered(pods.get_opt(&node.pod)).await? else { return Ok(false) };
        let address = pod.status.and_then(|status| status.pod_ip?.parse().ok());
        Ok(pod.metadata.deletion_timestamp.is_none() && address == Some(node.address))
    }
}

async fn answered<T>(request: impl Future<Output = kube::Result<T>>) -> Result<T, String> {
    match timeout(REQUEST_TIMEOUT, request).await {
        Ok(answer) => answer.map_err(|error| error.to_string()),
        Err(_elapsed) => Err(too_late("API server", REQUEST_TIMEOUT)),
    }
}

async fn run(pods: Api<Pod>, pod: &str, command: Vec<String>) -> Result<Output, String> {
    let parameters = AttachParams::default().container(CONTAINER).stdin(false);
    let begun = pods.exec(pod, command, &parameters).await;
    let mut process = begun.map_err(|error| error.to_string())?;
    let (stdout, stderr) = (process.stdout(), process.stderr());
    let status = process.take_status();
    let (stdout, stderr) = tokio::join!(end_of(stdout), end_of(stderr));
    let status = match status {
        Some(status) => status.await,
        None => None,
    };
    let status = status.ok_or("the connection ended before the command")?;
    Ok(Output { is_success: status.status.as_deref() == Some("Success"), stdout, stderr })
}

/// Reads all and keeps the end.
async fn end_of(stream: Option<impl AsyncRead + Unpin>) -> String {
    let Some(mut stream) = stream else { return String::new() };
    let (mut kept, mut buffer) = (Vec::new(), [0; 1024]);
    while let Ok(read @ 1..) = stream.read(&mut buffer).await {
        kept.extend_from_slice(&buffer[..read]);
        kept.drain(..kept.len().saturating_sub(OUTPUT_BYTES_MAX));
    }
    String::from_utf8_lossy(&kept).into_owned()
}

fn too_late(who: &str, after: Duration) -> String {
    format!("the {who} did not answer within {} s", after.as_secs())
}
