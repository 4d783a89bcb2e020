//! All erasures that are known, in memory and in a file that is replaced with each step.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use uuid::Uuid;

use crate::fs::Fs;
use crate::sink::dead_letter::sealed::{Kind, SealedError};

use super::job::{Job, Phase};

const KIND: Kind = Kind { magic: 0x5345_4D50, version: 1, bytes_max: 1 << 20 };
const FILE: &str = "erasures";
/// Erasures that are remembered; beyond, the one that ended first is forgotten, of the same tenant
/// where there is one. The audit file tells of more.
const JOBS_MAX: usize = 100;
/// Erasures that have not ended; they work in turns.
const OPEN_MAX: usize = 16;
/// Those of one tenant: a later one has all to erase that an earlier one has.
const OPEN_OF_TENANT_MAX: usize = 1;

/// The erasures, the oldest first.
#[derive(Debug)]
pub(super) struct Table {
    fs: Arc<dyn Fs>,
    path: PathBuf,
    jobs: Mutex<Vec<Job>>,
    /// Held from the look at the jobs to the end of the write: an older file never replaces a
    /// newer one.
    file: Mutex<()>,
}

impl Table {
    /// Blocks.
    pub(super) fn open(fs: Arc<dyn Fs>, dir: &Path) -> Result<Self, SealedError> {
        let path = dir.join(FILE);
        let jobs: Option<Vec<Job>> = KIND.read(&*fs, &path)?;
        // A file that was replaced just before a kill is acted upon from now on.
        fs.sync_dir(dir).map_err(SealedError::Io)?;
        let jobs = Mutex::new(jobs.unwrap_or_default());
        Ok(Self { fs, path, jobs, file: Mutex::default() })
    }

    /// Makes all that was changed survive a crash. Blocks.
    pub(super) fn save(&self) -> io::Result<()> {
        let _file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        let jobs = self.lock().clone();
        KIND.write(&*self.fs, &self.path, &jobs).map(drop)
    }

    /// Adds an erasure; whether there was room for one that has not ended.
    pub(super) fn add(&self, job: Job) -> bool {
        let mut jobs = self.lock();
        let of_tenant = |known: &Job| known.tenant == job.tenant;
        let open = || jobs.iter().filter(|known| !known.phase.is_ended());
        if open().count() >= OPEN_MAX
            || open().filter(|known| of_tenant(known)).count() >= OPEN_OF_TENANT_MAX
        {
            return false;
        }
        if jobs.len() >= JOBS_MAX {
            let ended = |known: &Job| known.phase.is_ended();
            let own = jobs.iter().position(|known| ended(known) && of_tenant(known));
            if let Some(oldest) = own.or_else(|| jobs.iter().position(ended)) {
                jobs.remove(oldest);
            }
        }
        jobs.push(job);
        true
    }

    /// Takes back an erasure that could not be kept.
    pub(super) fn remove(&self, id: Uuid) {
        self.lock().retain(|job| job.id != id);
    }

    /// The erasures of a tenant, the newest first.
    pub(super) fn of(&self, tenant: &str) -> Vec<Job> {
        self.lock().iter().rev().filter(|job| job.tenant == tenant).cloned().collect()
    }

    /// All of them.
    pub(super) fn all(&self) -> Vec<Job> {
        self.lock().clone()
    }

    pub(super) fn get(&self, id: Uuid) -> Option<Job> {
        self.lock().iter().find(|job| job.id == id).cloned()
    }

    /// Changes an erasure.
    pub(super) fn change<T>(&self, id: Uuid, change: impl FnOnce(&mut Job) -> T) -> Option<T> {
        self.lock().iter_mut().find(|job| job.id == id).map(change)
    }

    /// The next erasure that has work to do, in turn behind `after`, of those that `may` go on.
    pub(super) fn next_due(&self, after: Uuid, may: impl Fn(&Job) -> bool) -> Option<Job> {
        let jobs = self.lock();
        let due = || jobs.iter().filter(|job| !job.phase.is_ended() && may(job));
        due().find(|job| job.id > after).or_else(|| due().next()).cloned()
    }

    /// Up to when what a tenant has received is not taken any more, by all its erasures that were
    /// not cancelled.
    pub(super) fn barred_until(&self, tenant: &str) -> Option<i64> {
        let jobs = self.lock();
        let bars = |job: &&Job| job.tenant == tenant && job.phase != Phase::Cancelled;
        jobs.iter().filter(bars).map(|job| job.until_us).max()
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Job>> {
        self.jobs.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::super::job::{Counts, Stage};
    use super::*;
    use crate::fs::OsFs;

    fn job(tenant: &str, until_us: i64) -> Job {
        Job {
            id: Uuid::now_v7(),
            tenant: tenant.to_owned(),
            by: None,
            phase: Phase::Running,
            until_us,
            ended_at_us: None,
            counts: Counts::default(),
            ends: Vec::new(),
            stage: Stage::Begin,
            position: None,
        }
    }

    #[test]
    fn there_are_only_so_many_erasures_and_the_latest_survive_a_restart() {
        let dir = tempfile::tempdir().expect("a directory");
        let open = || Table::open(Arc::new(OsFs), dir.path()).expect("opens");
        let table = open();
        for number in 0..OPEN_MAX {
            assert!(table.add(job(&format!("t{number}"), 1)));
            assert!(!table.add(job(&format!("t{number}"), 2)), "one of a tenant");
        }
        assert!(!table.add(job("one more", 1)));
        for job in table.all() {
            table.change(job.id, |job| job.end(Phase::Completed, 5));
        }
        for until_us in 0..2 * JOBS_MAX as i64 {
            let next = job("busy", until_us);
            assert!(table.add(next.clone()));
            table.change(next.id, |job| job.end(Phase::Completed, 9));
        }
        table.save().expect("saved");
        let again = open();
        assert_eq!((again.all().len(), again.all()), (JOBS_MAX, table.all()));
        assert_eq!(again.of("t3").len(), 1, "a tenant's own make room for its next");
    }

    #[test]
    fn a_tenant_is_barred_until_the_latest_of_its_erasures_that_were_not_cancelled() {
        let dir = tempfile::tempdir().expect("a directory");
        let table = Table::open(Arc::new(OsFs), dir.path()).expect("opens");
        assert_eq!(table.barred_until("a"), None);
        for (until_us, phase) in [(5, Phase::Completed), (9, Phase::Cancelled)] {
            let next = job("a", until_us);
            assert!(table.add(next.clone()));
            assert_eq!(table.barred_until("a"), Some(until_us));
            table.change(next.id, |job| job.end(phase, 10));
        }
        assert_eq!((table.barred_until("a"), table.barred_until("b")), (Some(5), None));
    }
}
