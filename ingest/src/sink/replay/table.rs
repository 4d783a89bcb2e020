//! All replays that are known, in memory and in a file that is replaced with each step. The file
//! always has what a sink was given before the sink has it.

use std::collections::{HashSet, VecDeque};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::clock::now_us;
use crate::fs::Fs;
use crate::sink::dead_letter::sealed::{Kind, SealedError};
use crate::sink::dead_letter::{LetterPlace, OpenError};
use crate::sink::progress::LogId;

use super::flight::Flight;
use super::job::{Order, Phase, Replay, SharedPart};

/// Twice what there may be: two pieces of each replay, nine bytes a letter.
const KIND: Kind = Kind { magic: 0x5052_4D50, version: 2, bytes_max: 128 << 20 };
const FILE: &str = "replays";
/// Replays that are remembered; beyond, the one that ended first is forgotten, of the same tenant
/// where there is one. The audit file tells of more.
const REPLAYS_MAX: usize = 100;
/// Replays that have not ended; each may hold a piece of letters in the file.
const OPEN_MAX: usize = 64;
/// Those of one tenant.
const OPEN_OF_TENANT_MAX: usize = 4;

/// What is on disk.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Saved {
    /// The log that the numbers of all replays belong to.
    #[serde(with = "crate::sink::dead_letter::uuid_text")]
    log: Uuid,
    next_seq: u64,
    /// The oldest first.
    replays: Vec<Replay>,
}

/// The replays.
#[derive(Debug)]
pub(super) struct Table {
    fs: Arc<dyn Fs>,
    path: PathBuf,
    saved: Mutex<Saved>,
    /// Held from the look at the replays to the end of the write: an older file never replaces a
    /// newer one.
    file: Mutex<()>,
}

impl Table {
    pub(super) fn open(fs: Arc<dyn Fs>, dir: &Path) -> Result<Self, OpenError> {
        let path = dir.join(FILE);
        let found: Option<Saved> = KIND.read(&*fs, &path).map_err(|error| match error {
            SealedError::Io(source) => OpenError::Io { path: path.clone(), source },
            SealedError::Newer(version) => OpenError::Newer { path: path.clone(), version },
        })?;
        let fresh = || Saved { log: Uuid::now_v7(), next_seq: 0, replays: Vec::new() };
        let saved = Mutex::new(found.unwrap_or_else(fresh));
        Ok(Self { fs, path, saved, file: Mutex::default() })
    }

    /// The log that numbers of replays belong to.
    pub(super) fn log(&self) -> LogId {
        LogId(self.lock().log)
    }

    /// Makes all that was changed survive a crash. Blocks.
    pub(super) fn save(&self) -> io::Result<()> {
        let _file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        let saved = self.lock().clone();
        KIND.write(&*self.fs, &self.path, &saved).map(drop)
    }

    /// Adds a replay of letters before `end`; `None`: too many have not ended.
    pub(super) fn add(
        &self,
        order: Order,
        letters: u64,
        (end, shared): (LetterPlace, Option<SharedPart>),
    ) -> Option<Replay> {
        let mut saved = self.lock();
        let of_tenant = |replay: &Replay| replay.order.filter.tenant == order.filter.tenant;
        let open = || saved.replays.iter().filter(|replay| !replay.phase.is_ended());
        if open().count() >= OPEN_MAX
            || open().filter(|replay| of_tenant(replay)).count() >= OPEN_OF_TENANT_MAX
        {
            return None;
        }
        if saved.replays.len() >= REPLAYS_MAX {
            let ended = |replay: &Replay| replay.phase.is_ended();
            let own = saved.replays.iter().position(|replay| ended(replay) && of_tenant(replay));
            if let Some(oldest) = own.or_else(|| saved.replays.iter().position(ended)) {
                saved.replays.remove(oldest);
            }
        }
        let replay = Replay {
            id: Uuid::now_v7(),
            order,
            phase: Phase::Running,
            created_at_us: now_us(),
            ended_at_us: None,
            letters,
            looked_at: 0,
            counts: super::Counts::default(),
            sample: Vec::new(),
            end,
            done: None,
            in_flight: VecDeque::new(),
            shared,
        };
        saved.replays.push(replay.clone());
        Some(replay)
    }

    /// Takes back a replay that could not be kept.
    pub(super) fn remove(&self, id: Uuid) {
        self.lock().replays.retain(|replay| replay.id != id);
    }

    /// Forgets the replays of a tenant that have ended and were asked for by then.
    pub(super) fn forget(&self, tenant: &str, until_us: i64) {
        self.lock().replays.retain(|replay| {
            replay.order.filter.tenant != tenant
                || !replay.phase.is_ended()
                || replay.created_at_us > until_us
        });
    }

    /// The replays of a tenant, the newest first.
    pub(super) fn of(&self, tenant: &str) -> Vec<Replay> {
        let saved = self.lock();
        let of_tenant = |replay: &&Replay| replay.order.filter.tenant == tenant;
        saved.replays.iter().rev().filter(of_tenant).cloned().collect()
    }

    pub(super) fn get(&self, id: Uuid) -> Option<Replay> {
        self.lock().replays.iter().find(|replay| replay.id == id).cloned()
    }

    /// Changes a replay.
    pub(super) fn change<T>(&self, id: Uuid, change: impl FnOnce(&mut Replay) -> T) -> Option<T> {
        let mut saved = self.lock();
        saved.replays.iter_mut().find(|replay| replay.id == id).map(change)
    }

    /// The next replay that has work to do, in turn behind `after`, of those that `may` go on.
    pub(super) fn next_due(&self, after: Uuid, may: impl Fn(&Replay) -> bool) -> Option<Replay> {
        let saved = self.lock();
        let due = || saved.replays.iter().filter(|replay| replay.is_due() && may(replay));
        due().find(|replay| replay.id > after).or_else(|| due().next()).cloned()
    }

    /// Whether any replay has work to do.
    pub(super) fn is_busy(&self) -> bool {
        self.lock().replays.iter().any(Replay::is_due)
    }

    /// Numbers for letters that are on their way from now on.
    pub(super) fn number(&self, letters: u64) -> u64 {
        let mut saved = self.lock();
        let first = saved.next_seq;
        saved.next_seq += letters;
        first
    }

    /// Below this, no number is on its way.
    pub(super) fn finished_below(&self) -> u64 {
        let saved = self.lock();
        let flights = saved.replays.iter().flat_map(|replay| &replay.in_flight);
        flights.map(|flight| flight.first_seq).min().unwrap_or(saved.next_seq)
    }

    /// Where letters lie that are on their way.
    pub(super) fn in_flight(&self) -> HashSet<LetterPlace> {
        self.in_flight_beside(Uuid::nil())
    }

    /// The same without those of one replay.
    pub(super) fn in_flight_beside(&self, own: Uuid) -> HashSet<LetterPlace> {
        let saved = self.lock();
        let others = saved.replays.iter().filter(|replay| replay.id != own);
        others.flat_map(|replay| &replay.in_flight).flat_map(Flight::on_their_way).collect()
    }

    /// Whether a letter is on its way.
    pub(super) fn is_in_flight(&self, place: LetterPlace) -> bool {
        let saved = self.lock();
        let mut flights = saved.replays.iter().flat_map(|replay| &replay.in_flight);
        flights.any(|flight| flight.on_their_way().any(|on_its_way| on_its_way == place))
    }

    fn lock(&self) -> MutexGuard<'_, Saved> {
        self.saved.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
