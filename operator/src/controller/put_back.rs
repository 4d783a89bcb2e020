//! What a look does while nodes take their time: what was changed or taken away of the mesh is put
//! back, again and again, as far as no node has to be asked for it. Decides nothing of the ring.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::pin;

use futures_util::future::{Either, select};
use kube::core::{DeserializeGuard, ObjectMeta};
use tokio::sync::{Notify, SemaphorePermit};
use tokio::time::sleep;
use tracing::debug;

use super::news;
use super::queue::GATHER;
use super::reconcile::Seen;
use super::under_way::{End, Look};
use super::worker::{ReconcileError, Worker, chain};
use crate::apply::{self, ApplyError};
use crate::mesh::names::FINALIZER;
use crate::mesh::observed::Observed;
use crate::mesh::{build, dereference, topology};
use crate::nodes::{NodeRef, Nodes, View};

/// A turn with nodes; other looks wait for theirs until it is dropped.
pub(super) type NodesTurn<'a> = Option<SemaphorePermit<'a>>;
/// A turn of a look that keeps what it has read; ends before nodes are asked.
pub(super) type LookTurn<'a> = Option<SemaphorePermit<'a>>;
/// What nodes say, by pod.
type Views = BTreeMap<String, Result<View, String>>;

impl<N: Nodes> Worker<N> {
    /// Asks the store's nodes and adds what they say; what was read is read again where it has
    /// changed meanwhile. `None` where the mesh itself has, so that a new look is due.
    pub(super) async fn with_views<'a>(
        &'a self,
        seen: Seen,
        turn: LookTurn<'a>,
        look: &Look<'_>,
    ) -> Result<Option<(Seen, LookTurn<'a>, NodesTurn<'a>)>, ReconcileError> {
        let nodes = nodes_of(&seen);
        if nodes.is_empty() {
            return Ok(Some((seen, turn, None)));
        }
        self.put_back(&seen, look).await?;
        let free = self.turns.nodes.try_acquire().ok();
        // A look that waits for its turn does not keep what it has read.
        let seen = Some(seen).filter(|_| free.is_some());
        // From here on what is kept is bounded by the turns with nodes.
        drop(turn);
        let (uids, nodes): (Vec<_>, Vec<_>) = nodes.into_iter().unzip();
        let pods: Vec<_> = nodes.iter().map(|node| node.pod.clone()).zip(uids).collect();
        let asked = self.beside(look, self.ask(free, nodes, look)).await;
        let (nodes_turn, views) = match asked {
            Ok(said) => said,
            Err(End::Changed) => return Ok(None),
            Err(End::NamespaceEnds) => return Err(ReconcileError::NamespaceEnds),
        };
        let seen = match seen.filter(|_| !look.is_old()) {
            Some(seen) => Some(seen),
            None => self.in_turn(Box::pin(self.read_again(look))).await?,
        };
        Ok(seen.map(|mut seen| {
            seen.observed.views = views_of_same(views, &pods, &seen.observed);
            (seen, None, nodes_turn)
        }))
    }

    /// Does what may take long; what changes of the mesh is put back beside it.
    pub(super) async fn beside<T>(&self, look: &Look<'_>, slow: impl Future<Output = T>) -> T {
        let done = Notify::new();
        let putting_back = pin!(Box::pin(self.put_back_until(&done, look)));
        match select(Box::pin(slow), putting_back).await {
            Either::Left((outcome, putting_back)) => {
                // A write is not cut off: nobody would know whether it still comes.
                done.notify_one();
                putting_back.await;
                outcome
            }
            Either::Right(((), slow)) => slow.await,
        }
    }

    async fn ask<'a>(
        &'a self,
        free: NodesTurn<'a>,
        nodes: Vec<NodeRef>,
        look: &Look<'_>,
    ) -> Result<(NodesTurn<'a>, Views), End> {
        let answers = async {
            let turn = match free {
                Some(turn) => Some(turn),
                None => self.turns.nodes.acquire().await.ok(),
            };
            (turn, dereference::views(&self.nodes, nodes).await)
        };
        tokio::select! {
            answers = answers => Ok(answers),
            why = look.ended() => Err(why),
        }
    }

    async fn put_back_until(&self, done: &Notify, look: &Look<'_>) {
        loop {
            tokio::select! {
                biased;
                () = done.notified() => return,
                () = look.changed() => look.age(),
            }
            tokio::select! {
                biased;
                () = done.notified() => return,
                () = sleep(GATHER) => {}
            }
            // This look may have a turn itself, until what is slow is done.
            let _turn = tokio::select! {
                biased;
                () = done.notified() => return,
                turn = self.turns.looks.acquire() => turn,
            };
            let seen = match self.in_turn(Box::pin(self.read_again(look))).await {
                Ok(Some(seen)) => seen,
                Ok(None) => return look.end(End::Changed),
                // The rest of the look meets it too, and tells it.
                Err(error) => {
                    debug!(mesh = ?look.mesh(), error = %chain(&error), "read what has changed");
                    continue;
                }
            };
            if self.put_back(&seen, look).await.is_err() {
                return look.end(End::NamespaceEnds);
            }
        }
    }

    /// The mesh and all of it as it is now; `None` where there is no mesh to put things back of.
    async fn read_again(&self, look: &Look<'_>) -> Result<Option<Seen>, ReconcileError> {
        let (namespace, name) = look.mesh();
        let read = dereference::mesh(&self.client, namespace, name).await;
        match read.map_err(ReconcileError::Read)? {
            Some(DeserializeGuard(Ok(mesh))) if mesh.metadata.deletion_timestamp.is_none() => {
                Box::pin(self.see(mesh)).await.map(Some)
            }
            _ => Ok(None),
        }
    }

    /// Writes what differs and needs no view; an error where the namespace takes nothing more.
    /// Any other failure is met again by the rest of the look, which tells it.
    async fn put_back(&self, seen: &Seen, look: &Look<'_>) -> Result<(), ReconcileError> {
        let Ok(plan) = &seen.plan else { return Ok(()) };
        if plan.paused || !is_held(&seen.mesh.metadata) {
            return Ok(());
        }
        let written = self.in_turn(Box::pin(async {
            let step = topology::as_it_is(plan, &seen.observed);
            let objects = build::objects(plan, &seen.observed, &step)?;
            let changes = apply::changes(objects, &seen.observed, &plan.mesh.uid)?;
            if changes.is_empty() {
                return Ok(None);
            }
            look.age();
            let client = &self.client;
            match apply::write_all(client, &plan.mesh, changes, &seen.observed).await {
                Err(ApplyError::NamespaceEnds { .. }) => Err(ReconcileError::NamespaceEnds),
                applied => Ok(Some(applied?)),
            }
        }));
        match written.await {
            Ok(Some(applied)) => {
                let status = seen.mesh.status.clone().unwrap_or_default();
                for news in news::news(&status, &status, &applied.done, &seen.observed.objects) {
                    self.events.tell(&seen.identity, news).await;
                }
            }
            Ok(None) => {}
            Err(error @ ReconcileError::NamespaceEnds) => return Err(error),
            Err(error) => {
                debug!(mesh = ?look.mesh(), error = %chain(&error), "put back what has changed");
            }
        }
        Ok(())
    }
}

fn nodes_of(seen: &Seen) -> Vec<(Option<String>, NodeRef)> {
    let plan = seen.plan.as_ref().ok();
    plan.map(|plan| dereference::nodes(plan, &seen.observed.pods)).unwrap_or_default()
}

/// Nothing is made before our finalizer guards it.
fn is_held(metadata: &ObjectMeta) -> bool {
    metadata.finalizers.iter().flatten().any(|one| one == FINALIZER)
}

/// Without those of pods that have gone: another pod of the name is another node, or starts anew.
fn views_of_same(
    mut views: Views,
    asked: &[(String, Option<String>)],
    observed: &Observed,
) -> Views {
    let is_there = |(name, uid): &&(String, Option<String>)| {
        let mut pods = observed.pods.iter().map(|pod| &pod.metadata);
        pods.any(|pod| pod.name.as_ref() == Some(name) && pod.uid == *uid)
    };
    asked.iter().filter(is_there).filter_map(|(name, _)| views.remove_entry(name)).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_a_pod_said_is_not_taken_for_the_word_of_another_of_its_name() {
        let pod = |name: &str, uid: &str| {
            serde_json::from_value(json!({"metadata": {"name": name, "uid": uid}})).expect("a pod")
        };
        let pods = vec![pod("same", "1"), pod("made-anew", "3"), pod("came-later", "4")];
        let observed = Observed { pods, ..Observed::default() };
        let asked = [("same", "1"), ("made-anew", "2"), ("gone", "5")]
            .map(|(name, uid)| (name.to_owned(), Some(uid.to_owned())));
        let said = |(name, _): &(String, _)| (name.clone(), Err("no answer".to_owned()));
        let left = views_of_same(asked.iter().map(said).collect(), &asked, &observed);
        assert_eq!(left.into_keys().collect::<Vec<_>>(), ["same"]);
    }
}
