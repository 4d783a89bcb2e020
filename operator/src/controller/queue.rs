//! From triggers to reconciles, while this process leads: one for each mesh at a time, again after
//! a while, and after failures with growing pauses. How many act at once is up to their turns.

use std::convert::Infallible;
use std::future::ready;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::stream::{self, Stream, StreamExt};
use kube::runtime::controller::{
    Action, Config, Error as QueueError, ReconcileReason, ReconcileRequest, applier,
};
use kube::runtime::scheduler::{ScheduleRequest, scheduler};
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;
use tracing::{debug, error};

use super::watches::{Mesh, MeshRef, Meshes};
use super::worker::{ReconcileError, Worker};
use crate::health::Standing;
use crate::nodes::Nodes;

/// What happens within this time is looked at once. The first trigger counts, so that a mesh of
/// which something changes all the time is still looked at.
pub(super) const GATHER: Duration = Duration::from_millis(100);

/// No bound: a look that waits for nodes must not hold up another mesh. See `worker::Turns`.
const CONCURRENCY: u16 = 0;

/// Works until all watches are gone.
pub(super) async fn run<N: Nodes>(
    worker: Arc<Worker<N>>,
    meshes: Meshes,
    mut triggers: mpsc::Receiver<MeshRef>,
    mut standing: watch::Receiver<Standing>,
) {
    loop {
        if !wait_to_lead(&mut triggers, &mut standing).await {
            return;
        }
        let all = stream::iter(meshes.within(""));
        let coming = stream::poll_fn(|context| triggers.poll_recv(context));
        let work = work(&worker, &meshes, all.chain(coming));
        tokio::select! {
            biased;
            // Dropping the work cancels what is in flight.
            _ = until(&mut standing, false) => {}
            () = work => return,
        }
        worker.forget_all();
    }
}

/// Lets triggers pass unheard until this process leads: all meshes are looked at then. `false`
/// when nothing more is to come.
async fn wait_to_lead(
    triggers: &mut mpsc::Receiver<MeshRef>,
    standing: &mut watch::Receiver<Standing>,
) -> bool {
    loop {
        tokio::select! {
            biased;
            known = until(standing, true) => return known,
            trigger = triggers.recv() => {
                if trigger.is_none() {
                    return false;
                }
            }
        }
    }
}

/// Waits until this process leads, or no longer does; `false` when nobody tells any more.
async fn until(standing: &mut watch::Receiver<Standing>, leads: bool) -> bool {
    while (*standing.borrow_and_update() == Standing::Leads) != leads {
        if standing.changed().await.is_err() {
            return false;
        }
    }
    true
}

async fn work<N: Nodes>(
    worker: &Arc<Worker<N>>,
    meshes: &Meshes,
    triggers: impl Stream<Item = MeshRef>,
) {
    // The queue itself gives a mesh out again only once its look has ended.
    let triggers = triggers.inspect(|mesh| worker.under_way.has_changed(mesh));
    let requests = triggers.map(|obj_ref| ScheduleRequest {
        message: ReconcileRequest { obj_ref, reason: ReconcileReason::Unknown },
        run_at: Instant::now() + GATHER,
    });
    let queue = scheduler(requests).map(Ok::<_, Infallible>);
    let config = Config::default().concurrency(CONCURRENCY);
    let results = applier(
        |mesh: Arc<Mesh>, worker: Arc<Worker<N>>| {
            async move { Box::pin(worker.reconcile(&mesh)).await }.boxed()
        },
        |mesh: Arc<Mesh>, error: &ReconcileError, worker: Arc<Worker<N>>| {
            Action::requeue(worker.failed(&mesh, error))
        },
        Arc::clone(worker),
        meshes.store(),
        queue,
        config,
    );
    let handle = |result| match result {
        Ok((mesh, _)) => debug!(%mesh, "looked at"),
        // Told where it was decided.
        Err(QueueError::ReconcilerFailed(..)) => {}
        Err(QueueError::ObjectNotFound(mesh)) => {
            let namespace = mesh.namespace.clone().unwrap_or_default();
            worker.forget(&namespace, &mesh.name);
        }
        Err(error) => error!(%error, "take from the queue"),
    };
    results
        .for_each(|result| {
            handle(result);
            ready(())
        })
        .await;
}
