//! Gives the orders of a step: to nodes, to claims, and to the conditions of pods. Decides
//! nothing; names exactly the object that was seen, so that one that came in its place is left
//! alone. Every order may be given again.

mod claims;
mod credentials;
mod gates;
#[cfg(test)]
mod tests;

use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use kube::{Api, Client};
use thiserror::Error;
use tokio::time::timeout;

use super::names;
use super::observed::Observed;
use super::plan::{Plan, StorePlan};
use super::topology::{Action, Leaver, StoreStep, Waiting};
use crate::client::namespace_ends;
use crate::nodes::{NodeRef, Nodes, NodesError};

/// For one request to the API server.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);
/// For all orders of a step: a node that hangs must not hold up what heals others for longer.
const ORDERS_TIMEOUT: Duration = Duration::from_secs(30);

/// Failures in a row of what a node does in the background, minutes apart, until a person is
/// asked for.
const FAILURES_MAX: u32 = 3;

/// What came of a step.
#[derive(Debug, Default)]
pub struct Performed {
    /// Orders that were given, each in words for a person; an Event tells it.
    pub done: Vec<String>,
    /// How many objects were changed.
    pub changed: usize,
    /// The first that failed; the others were given all the same.
    pub failure: Option<PerformError>,
    /// What has failed so often that time will hardly mend it.
    pub stalled: Option<Waiting>,
}

/// Why an order was not given.
#[derive(Debug, Error)]
pub enum PerformError {
    /// The API server refused, or could not be reached.
    #[error("{what} failed: {why}")]
    Kubernetes {
        /// What was asked of it.
        what: String,
        /// As it came.
        why: String,
    },
    /// Nothing is made any more where this would be; no order after it was given.
    #[error("{0} failed: the namespace is being deleted")]
    NamespaceEnds(String),
    /// A node did not do it.
    #[error(transparent)]
    Node(#[from] NodesError),
    /// What was seen is no longer there.
    #[error("{0} has changed since it was read")]
    Changed(String),
    /// There was no time for it.
    #[error("orders took longer than {} s; the others come next time", ORDERS_TIMEOUT.as_secs())]
    TooLate,
}

/// All that orders are given with.
struct Giver<'a, N> {
    client: &'a Client,
    nodes: &'a N,
    plan: &'a Plan,
    observed: &'a Observed,
}

/// Gives the orders of a step.
pub async fn perform<N: Nodes>(
    client: &Client,
    nodes: &N,
    plan: &Plan,
    observed: &Observed,
    step: &StoreStep,
) -> Performed {
    let giver = Giver { client, nodes, plan, observed };
    let mut performed = Performed::default();
    let all = Box::pin(giver.all(step, &mut performed));
    if timeout(ORDERS_TIMEOUT, all).await.is_err() {
        performed.failure.get_or_insert(PerformError::TooLate);
    }
    performed
}

impl<N: Nodes> Giver<'_, N> {
    async fn all(&self, step: &StoreStep, performed: &mut Performed) {
        for (pod, joined) in &step.joined {
            let told = gates::tell(self, pod, joined.as_ref()).await;
            performed.note(told.map(|changed| (changed, String::new())));
        }
        for action in &step.actions {
            performed.note(Box::pin(self.give(action)).await);
            if performed.namespace_ends() {
                return;
            }
        }
    }

    /// Whether an object was changed, and what was done; nothing is said of what is a repetition.
    async fn give(&self, action: &Action) -> Result<(bool, String), PerformError> {
        match action {
            Action::MakeCredentials => credentials::make(self).await,
            Action::NoteHost { claim, host_id, copies } => {
                claims::note_host(self, claim, (host_id, *copies)).await
            }
            Action::FreeClaim(claim) => claims::free(self, claim).await,
            Action::Secure(pod) => {
                self.nodes.secure(&self.node(pod)?).await?;
                Ok((false, "replaced the image's own login to the store".to_owned()))
            }
            Action::Decommission(leaver) => self.decommission(leaver).await,
            Action::MarkLeft(leaver) => self.mark_left(leaver).await,
            Action::RaiseReplication { pod, keyspace, copies } => {
                let node = self.node(pod)?;
                self.nodes.raise_replication(&node, keyspace, self.datacenter(), *copies).await?;
                Ok((false, format!("raised the copies of keyspace {keyspace} to {copies}")))
            }
            Action::Repair { pod, claim, copies } => self.repair((pod, claim), *copies).await,
            Action::GrowClaim { claim, size } => claims::grow(self, claim, size).await,
            Action::ReleasePods { name, uid } => claims::release_pods(self, name, uid).await,
        }
    }

    /// The note comes first: a leave that may have begun is never forgotten.
    async fn decommission(&self, leaver: &Leaver) -> Result<(bool, String), PerformError> {
        let is_new = claims::note(self, leaver, (names::LEAVING, &leaver.host_id)).await?;
        self.is_there(leaver).await?;
        self.nodes.decommission(&self.node(&leaver.pod)?).await?;
        let told = format!("told the node of pod {} to leave", leaver.pod);
        Ok((is_new, if is_new { told } else { String::new() }))
    }

    /// The note in the claim comes first: who reads the other one may take the pod away.
    async fn mark_left(&self, leaver: &Leaver) -> Result<(bool, String), PerformError> {
        self.is_there(leaver).await?;
        self.nodes.mark_left(&self.node(&leaver.pod)?).await?;
        let left = format!("{} {}", leaver.host_id, leaver.pod_uid);
        let is_new = claims::note(self, leaver, (names::LEFT, &left)).await?;
        Ok((is_new, format!("the node of pod {} has left", leaver.pod)))
    }

    async fn repair(
        &self,
        (pod, claim): (&str, &str),
        copies: i32,
    ) -> Result<(bool, String), PerformError> {
        let host = self.observed.views.get(pod).and_then(|view| view.as_ref().ok());
        let host = host.map(|view| view.host_id.as_str()).unwrap_or_default();
        let reason = format!("{copies} copies, node {host}");
        if !self.nodes.repaired(&self.node(pod)?, &reason).await? {
            return Ok((false, String::new()));
        }
        claims::note_complete(self, claim, copies).await
    }

    fn node(&self, pod: &str) -> Result<NodeRef, PerformError> {
        let seen = self.pod(pod).and_then(|pod| pod.status.as_ref()?.pod_ip.as_ref()?.parse().ok());
        let address = seen.ok_or_else(|| PerformError::Changed(format!("pod {pod}")))?;
        let Plan { mesh, .. } = self.plan;
        let credentials = names::credentials(&mesh.name);
        Ok(NodeRef { namespace: mesh.namespace.clone(), pod: pod.to_owned(), address, credentials })
    }

    fn pod(&self, name: &str) -> Option<&Pod> {
        self.observed.pods.iter().find(|pod| pod.metadata.name.as_deref() == Some(name))
    }

    /// Whether the pod is the one that was seen: a command goes to a name.
    async fn is_there(&self, leaver: &Leaver) -> Result<(), PerformError> {
        let pods: Api<Pod> = self.api();
        let live = answered("a read of the pod", pods.get_metadata(&leaver.pod)).await?;
        if live.metadata.uid.as_ref() == Some(&leaver.pod_uid) {
            return Ok(());
        }
        Err(PerformError::Changed(format!("pod {}", leaver.pod)))
    }

    fn api<K>(&self) -> Api<K>
    where
        K: kube::Resource<Scope = k8s_openapi::NamespaceResourceScope>,
        K::DynamicType: Default,
    {
        Api::namespaced(self.client.clone(), &self.plan.mesh.namespace)
    }

    fn datacenter(&self) -> &str {
        match &self.plan.store {
            StorePlan::Managed(store) => &store.datacenter,
            StorePlan::Embedded | StorePlan::External => "",
        }
    }
}

impl Performed {
    /// Whether no order was given any more because the namespace goes.
    pub fn namespace_ends(&self) -> bool {
        matches!(self.failure, Some(PerformError::NamespaceEnds(_)))
    }

    fn note(&mut self, came: Result<(bool, String), PerformError>) {
        match came {
            Ok((changed, done)) => {
                self.changed += usize::from(changed);
                self.done.extend(Some(done).filter(|done| !done.is_empty()));
            }
            // More than any failure before it.
            Err(error @ PerformError::NamespaceEnds(_)) => self.failure = Some(error),
            Err(error) => {
                if self.stalled.is_none() {
                    self.stalled = keeps_failing(&error);
                }
                self.failure.get_or_insert(error);
            }
        }
    }
}

fn keeps_failing(error: &PerformError) -> Option<Waiting> {
    let PerformError::Node(NodesError::Failing { pod, order, times, why }) = error else {
        return None;
    };
    let message = format!(
        "the node of pod {pod} fails {order} again and again, and is told to every few minutes: \
         {why}"
    );
    (*times >= FAILURES_MAX).then_some(Waiting { reason: "OrderFails", message })
}

async fn answered<T>(
    what: &str,
    request: impl Future<Output = kube::Result<T>>,
) -> Result<T, PerformError> {
    let failed = |why| PerformError::Kubernetes { what: what.to_owned(), why };
    match timeout(REQUEST_TIMEOUT, request).await {
        Ok(Err(error)) if namespace_ends(&error) => {
            Err(PerformError::NamespaceEnds(what.to_owned()))
        }
        Ok(answer) => answer.map_err(|error| failed(error.to_string())),
        Err(_) => Err(failed(format!("no answer within {} s", REQUEST_TIMEOUT.as_secs()))),
    }
}
