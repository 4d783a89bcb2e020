//! Erases all that a tenant has, as a job: what was received when it is asked for and before, and
//! nothing that comes later. From that moment on the store takes no such row any more; what lies
//! in the log is waited for, dead letters and rows go step by step. Knows neither HTTP nor who may
//! do what.

mod job;
pub mod metrics;
mod runner;
mod table;

use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use thiserror::Error;
use tokio::runtime::Handle;
use tokio::sync::Notify;
use tokio::task::JoinSet;
use uuid::Uuid;

use crate::clock::Clock;
use crate::fs::Fs;
use crate::sink::dead_letter::sealed::SealedError;
use crate::sink::drain::Drains;
use crate::sink::drain::view::View;
use crate::sink::replay::{Actor, Replays};
use crate::store::Store;

use job::Stage;
use metrics::ErasureMetrics;
use table::Table;

pub use job::{Counts, Job, Phase};

/// Why something was not done with erasures.
#[derive(Debug, Error)]
pub enum ErasureError {
    /// There is no such erasure of this tenant.
    #[error("find the erasure failed")]
    NotFound,
    /// The erasure has ended.
    #[error("erasure has ended")]
    Ended,
    /// As many erasures have not ended as there may be.
    #[error("too many erasures have not ended")]
    TooMany,
    /// What is kept of erasures can't be written.
    #[error("keep the erasure failed")]
    Io(#[from] io::Error),
}

/// The erasures of a process. Cloning shares them. Its methods block.
#[derive(Debug, Clone)]
pub struct Erasures {
    desk: Arc<Desk>,
    tasks: Arc<Mutex<JoinSet<()>>>,
}

/// What is remembered of erasures, before there is anything to erase from.
#[derive(Debug)]
pub(crate) struct Remembered(Table);

/// What all who work with erasures share.
struct Desk {
    table: Table,
    store: Arc<dyn Store>,
    view: Arc<View>,
    replays: Replays,
    clock: Clock,
    metrics: ErasureMetrics,
    /// Held while an erasure begins or is cancelled: the bar of a tenant follows from its jobs.
    barring: Mutex<()>,
    /// Rung when there is something to do.
    due: Notify,
    stopping: AtomicBool,
}

impl std::fmt::Debug for Desk {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Desk").field("table", &self.table).finish_non_exhaustive()
    }
}

impl Remembered {
    /// Reads what the last run has kept. Blocks.
    pub(crate) fn open(fs: Arc<dyn Fs>, dir: &Path) -> Result<Self, SealedError> {
        Table::open(fs, dir).map(Self)
    }

    /// Has a store take nothing that was erased, before anything is written to it.
    pub(crate) fn bar(&self, store: &dyn Store) {
        for job in self.0.all() {
            store.bar(&job.tenant, self.0.barred_until(&job.tenant));
        }
    }
}

impl Erasures {
    /// Goes on where the last run was.
    pub(crate) fn new(
        remembered: Remembered,
        store: Arc<dyn Store>,
        drains: &Drains,
        clock: Clock,
        metrics: ErasureMetrics,
    ) -> Self {
        let desk = Desk {
            table: remembered.0,
            store,
            view: Arc::clone(drains.view()),
            replays: drains.replays().clone(),
            clock,
            metrics,
            barring: Mutex::default(),
            due: Notify::new(),
            stopping: AtomicBool::new(false),
        };
        Self { desk: Arc::new(desk), tasks: Arc::default() }
    }

    /// Begins to work.
    pub(crate) fn start(&self, runtime: &Handle) {
        let desk = Arc::clone(&self.desk);
        let mut tasks = self.tasks.lock().unwrap_or_else(PoisonError::into_inner);
        tasks.spawn_on(async move { runner::run(desk).await }, runtime);
    }

    /// Ends the work, at the latest at `deadline`; it goes on at the next start.
    pub(crate) async fn stop(&self, deadline: Instant) {
        self.desk.stopping.store(true, Ordering::SeqCst);
        self.desk.due.notify_one();
        let tasks = std::mem::take(&mut *self.tasks.lock().unwrap_or_else(PoisonError::into_inner));
        let mut tasks = tasks;
        let ended = async { while tasks.join_next().await.is_some() {} };
        // What is left is dropped: a step that is not kept is done again.
        let _late = tokio::time::timeout_at(deadline.into(), ended).await;
    }

    /// Begins to erase all of a tenant that was received by now.
    ///
    /// # Errors
    /// When there are too many, or the disk fails.
    pub fn create(&self, actor: Actor<'_>) -> Result<Job, ErasureError> {
        let desk = &*self.desk;
        let _barring = desk.barring.lock().unwrap_or_else(PoisonError::into_inner);
        let job = desk.job(actor);
        if !desk.table.add(job.clone()) {
            return Err(ErasureError::TooMany);
        }
        let kept = desk.table.save();
        let kept = kept.and_then(|()| desk.replays.audit_erasure(actor, job.id, "erasure_created"));
        if let Err(error) = kept {
            desk.table.remove(job.id);
            return Err(error.into());
        }
        desk.store.bar(&job.tenant, desk.table.barred_until(&job.tenant));
        desk.due.notify_one();
        Ok(job)
    }

    /// The erasures of a tenant, the newest first.
    pub fn list(&self, tenant: &str) -> Vec<Job> {
        self.desk.table.of(tenant)
    }

    /// One erasure.
    pub fn get(&self, tenant: &str, id: Uuid) -> Option<Job> {
        self.desk.table.get(id).filter(|job| job.tenant == tenant)
    }

    /// Ends an erasure; what it has erased stays so.
    ///
    /// # Errors
    /// When there is none, it has ended, or the disk fails.
    pub fn cancel(&self, actor: Actor<'_>, id: Uuid) -> Result<Job, ErasureError> {
        let desk = &*self.desk;
        let _barring = desk.barring.lock().unwrap_or_else(PoisonError::into_inner);
        self.get(actor.tenant, id).ok_or(ErasureError::NotFound)?;
        let ended = desk.table.change(id, |job| {
            if job.phase.is_ended() {
                return Err(ErasureError::Ended);
            }
            job.end(Phase::Cancelled, (desk.clock)());
            Ok(job.clone())
        });
        let job = ended.ok_or(ErasureError::NotFound)??;
        desk.table.save()?;
        desk.store.bar(&job.tenant, desk.table.barred_until(&job.tenant));
        desk.replays.audit_erasure(actor, id, "erasure_cancelled")?;
        desk.due.notify_one();
        Ok(job)
    }
}

impl Desk {
    /// A job of all that was received by now.
    fn job(&self, actor: Actor<'_>) -> Job {
        let until_us = (self.clock)();
        Job {
            id: Uuid::now_v7(),
            tenant: actor.tenant.to_owned(),
            by: actor.by.map(str::to_owned),
            phase: Phase::Running,
            until_us,
            ended_at_us: None,
            counts: Counts::default(),
            ends: self.view.ends().into_iter().map(|(id, end)| (id.into(), end)).collect(),
            stage: Stage::Begin,
            position: None,
        }
    }

    fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::SeqCst)
    }
}
