//! What is done with dead letters: looked at, given up, replayed. A replay is a job: its letters
//! go to their sink again as they were, under numbers of their own, and leave when the sink has
//! them. Knows neither HTTP nor who may do what.

mod audit;
mod batches;
mod ended;
mod erase;
mod flight;
mod job;
mod piece;
mod recent;
mod runner;
mod shared;
mod shown;
mod table;

use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use thiserror::Error;
use tokio::runtime::Handle;
use tokio::sync::{Notify, Semaphore};
use tokio::task::JoinSet;
use uuid::Uuid;

use crate::clock::now_us;
use crate::fs::Fs;
use crate::metrics::LeftLabels;
use crate::sink::dead_letter::{
    DeadLetters, Filter, Group, Leaving, LetterPage, LetterPlace, OpenError, Settled, SharedError,
    SharedLetters,
};
use crate::sink::drain::job::Tried;
use crate::sink::drain::view::View;

use audit::{Audit, Line};
use job::SharedPart;
use recent::Recent;
use table::Table;

pub(crate) use erase::LettersReached;
pub use job::{Counts, Order, Phase, Replay};
pub use recent::Replayed;
pub use shown::{Behind, Listing, Shown, ShownGroup};

/// Why something was not done with letters or replays.
#[derive(Debug, Error)]
pub enum ReplayError {
    /// There is no such letter or replay of this tenant.
    #[error("find the letter or replay failed")]
    NotFound,
    /// The letter is on its way to its sink.
    #[error("letter is being replayed")]
    InFlight,
    /// The replay has ended.
    #[error("replay has ended")]
    Ended,
    /// As many replays have not ended as there may be.
    #[error("too many replays have not ended")]
    TooMany,
    /// The letters or what is kept beside them can't be read or written.
    #[error("use of the dead letters failed")]
    Io(#[from] io::Error),
    /// Letters that a store keeps can't be read or changed.
    #[error("use of the store's dead letters failed")]
    Shared(#[from] SharedError),
}

/// What a person asks of a replay that there is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Steer {
    /// To wait.
    Pause,
    /// To go on.
    Resume,
    /// To end.
    Cancel,
}

/// Whoever acts: a tenant, and which of its keys, where keys are needed.
#[derive(Debug, Clone, Copy)]
pub struct Actor<'a> {
    /// The tenant.
    pub tenant: &'a str,
    /// The tenant's and the key's name.
    pub by: Option<&'a str>,
}

/// The dead letters and their replays. Cloning shares them. Its methods block, but for those
/// that are asynchronous.
#[derive(Debug, Clone)]
pub struct Replays {
    desk: Arc<Desk>,
    tasks: Arc<Mutex<JoinSet<()>>>,
}

/// What all who work with letters share.
#[derive(Debug)]
struct Desk {
    letters: Arc<DeadLetters>,
    view: Arc<View>,
    table: Table,
    audit: Audit,
    /// Where letters lie that all processes see, if a sink has such a place.
    shared: Option<Arc<dyn SharedLetters>>,
    /// Held while a letter is given up and while letters are taken for a replay: none is both.
    taking: Mutex<()>,
    /// Held while letters are handed over, and while they are erased: none is both.
    handing: Semaphore,
    /// What is being tried, of which replay.
    trying: Mutex<Option<(Uuid, Arc<Tried>)>>,
    /// Rung when there is something to do.
    due: Notify,
    /// Rung when a replay has changed.
    changed: Notify,
    stopping: AtomicBool,
    recent: Recent,
}

impl Replays {
    /// Goes on where the last run was. Blocks.
    pub(crate) fn open(fs: Arc<dyn Fs>, dir: &Path, view: Arc<View>) -> Result<Self, OpenError> {
        let desk = Desk {
            letters: Arc::clone(&view.letters),
            table: Table::open(Arc::clone(&fs), dir)?,
            audit: Audit::new(fs, dir),
            shared: view.sinks.iter().find_map(|drain| drain.sink.letters()),
            view,
            taking: Mutex::default(),
            handing: Semaphore::new(1),
            trying: Mutex::default(),
            due: Notify::new(),
            changed: Notify::new(),
            stopping: AtomicBool::new(false),
            recent: Recent::default(),
        };
        Ok(Self { desk: Arc::new(desk), tasks: Arc::default() })
    }

    /// Begins to work.
    pub(crate) fn start(&self, runtime: &Handle) {
        let desk = Arc::clone(&self.desk);
        let mut tasks = self.tasks.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(shared) = desk.shared.clone() {
            let desk = Arc::clone(&desk);
            tasks.spawn_on(async move { shared::hand_over(desk, shared).await }, runtime);
        }
        tasks.spawn_on(async move { runner::run(desk).await }, runtime);
    }

    /// Ends the work, at the latest at `deadline`; what is on its way goes on at the next start.
    pub(crate) async fn stop(&self, deadline: Instant) {
        self.desk.stopping.store(true, Ordering::SeqCst);
        self.desk.due.notify_one();
        let tasks = std::mem::take(&mut *self.tasks.lock().unwrap_or_else(PoisonError::into_inner));
        let mut tasks = tasks;
        let ended = async { while tasks.join_next().await.is_some() {} };
        // What is left is dropped: it is kept how far it was.
        let _late = tokio::time::timeout_at(deadline.into(), ended).await;
    }

    /// A page of letters, the newest first, behind `after`.
    ///
    /// # Errors
    /// When they can't be read.
    pub fn page(
        &self,
        filter: &Filter,
        after: Option<LetterPlace>,
        limit: usize,
    ) -> io::Result<LetterPage> {
        self.desk.letters.page(filter, after, limit)
    }

    /// The letters of a tenant by reason.
    ///
    /// # Errors
    /// When they can't be read.
    pub fn groups(&self, tenant: &str) -> io::Result<Vec<Group>> {
        self.desk.letters.groups(tenant)
    }

    /// The letters of a tenant's pulse that were replayed lately, since the process began.
    pub fn replayed(&self, tenant: &str, pulse: Uuid) -> Vec<Replayed> {
        self.desk.recent.of(tenant, pulse)
    }

    /// Gives a letter up. `edited`: because a mended pulse has taken its place.
    ///
    /// # Errors
    /// When there is none, it is being replayed, or the disk fails.
    pub fn discard(&self, actor: Actor<'_>, id: Uuid, edited: bool) -> Result<(), ReplayError> {
        let desk = &*self.desk;
        let _taking = desk.taking.lock().unwrap_or_else(PoisonError::into_inner);
        let held = desk.find(actor.tenant, id)?.ok_or(ReplayError::NotFound)?;
        if desk.table.is_in_flight(held.place) {
            return Err(ReplayError::InFlight);
        }
        desk.audit.add(&Line {
            action: if edited { "edited" } else { "discarded" },
            letter: Some(id),
            ..line(actor)
        })?;
        let sink = held.letter.sink.clone();
        if desk.letters.settle(&[Settled::leaves(&held, Leaving::Discarded)])? == 0 {
            return Err(ReplayError::NotFound);
        }
        desk.count(&sink, Leaving::Discarded, 1);
        desk.due.notify_one();
        Ok(())
    }

    /// Begins a replay of the letters that there are now.
    ///
    /// # Errors
    /// When there are too many, or the disk fails.
    pub fn create(&self, order: Order) -> Result<Replay, ReplayError> {
        let desk = &*self.desk;
        let (letters, end) = (desk.letters.len_of(&order.filter.tenant), desk.letters.end());
        let shared = desk.shared.is_some().then(SharedPart::default);
        let replay = desk.table.add(order, letters, (end, shared)).ok_or(ReplayError::TooMany)?;
        let kept = desk.table.save().and_then(|()| desk.audit.add(&of(&replay, "replay_created")));
        if let Err(error) = kept {
            desk.table.remove(replay.id);
            return Err(error.into());
        }
        desk.due.notify_one();
        Ok(replay)
    }

    /// The replays of a tenant, the newest first.
    pub fn list(&self, tenant: &str) -> Vec<Replay> {
        self.desk.table.of(tenant)
    }

    /// One replay.
    pub fn get(&self, tenant: &str, id: Uuid) -> Option<Replay> {
        self.desk.table.get(id).filter(|replay| replay.order.filter.tenant == tenant)
    }

    /// Has a replay wait, go on or end.
    ///
    /// # Errors
    /// When there is none, it has ended, or the disk fails.
    pub fn steer(&self, actor: Actor<'_>, id: Uuid, steer: Steer) -> Result<Replay, ReplayError> {
        let desk = &*self.desk;
        self.get(actor.tenant, id).ok_or(ReplayError::NotFound)?;
        let steered = desk.table.change(id, |replay| {
            if replay.phase.is_ended() {
                return Err(ReplayError::Ended);
            }
            replay.phase = match steer {
                // What has been told to end does.
                _ if replay.phase == Phase::Cancelling => Phase::Cancelling,
                Steer::Pause => Phase::Paused,
                Steer::Resume => Phase::Running,
                Steer::Cancel if !replay.in_flight.is_empty() => Phase::Cancelling,
                Steer::Cancel => Phase::Cancelled,
            };
            if replay.phase == Phase::Cancelled {
                replay.ended_at_us = Some(now_us());
            }
            Ok(replay.clone())
        });
        let replay = steered.ok_or(ReplayError::NotFound)??;
        if steer != Steer::Resume {
            desk.halt(id);
        }
        desk.table.save()?;
        if replay.phase == Phase::Cancelled {
            desk.audit.add(&of(&replay, "replay_cancelled"))?;
        }
        desk.due.notify_one();
        desk.changed.notify_waiters();
        Ok(replay)
    }

    /// Resolves with a replay once it has ended; to be given up by whoever has no more time.
    pub async fn ended(&self, id: Uuid) -> Option<Replay> {
        loop {
            let changed = self.desk.changed.notified();
            let replay = self.desk.table.get(id)?;
            if replay.phase.is_ended() {
                return Some(replay);
            }
            changed.await;
        }
    }

    /// Whether a replay has work to do.
    pub fn is_busy(&self) -> bool {
        self.desk.table.is_busy()
    }
}

impl Desk {
    /// What is being tried of a replay is not tried again.
    fn halt(&self, id: Uuid) {
        let trying = self.trying.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, tried)) = trying.as_ref().filter(|(of, _)| *of == id) {
            tried.halted.store(true, Ordering::Relaxed);
        }
    }

    fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::SeqCst)
    }

    fn count(&self, sink: &str, leaving: Leaving, letters: u64) {
        let metrics = self.view.sinks.iter().find(|drain| drain.name == sink);
        let Some(drain) = metrics else { return };
        let how = match leaving {
            Leaving::Replayed => "replayed",
            Leaving::Expired => "expired",
            Leaving::Discarded => "discarded",
            Leaving::HandedOver => "handed_over",
        };
        let labels = LeftLabels { sink: sink.to_owned(), how };
        drain.metrics.letters_left.get_or_create(&labels).inc_by(letters);
        drain.metrics.dead_letter_bytes.set(self.letters.bytes() as i64);
    }
}

fn line(actor: Actor<'_>) -> Line<'_> {
    Line {
        at_us: now_us(),
        action: "",
        tenant: actor.tenant,
        asked_by: actor.by,
        replay: None,
        letter: None,
        erasure: None,
        filter: None,
        dry_run: false,
        counts: None,
    }
}

fn of<'a>(replay: &'a Replay, action: &'static str) -> Line<'a> {
    let order = &replay.order;
    let actor = Actor { tenant: &order.filter.tenant, by: order.by.as_deref() };
    Line {
        action,
        replay: Some(replay.id),
        letter: order.only,
        filter: Some(&order.filter),
        dry_run: order.dry_run,
        counts: Some(replay.counts),
        ..line(actor)
    }
}

#[cfg(test)]
mod tests;
