//! Reading the directory at start. Damage is skipped and counted and never stops a start; a
//! newer format does, before anything is touched.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rand::random;
use thiserror::Error;
use tracing::warn;
use uuid::Uuid;

use super::active::Active;
use super::clock::{AgeClock, Clock, Stamp};
use super::format::{
    JOURNAL_MAGIC, Name, PREFIX_BYTES, RUN_MAGIC, ReadError, check_prefix, journal_path, run_path,
};
use super::journal::JournalContent;
use super::key::array;
use super::run::{Run, RunMeta};
use super::run_writer::{rebuild, remove_if_there};
use crate::fs::{Fs, Open, read_file, replace_file};

/// Why the reservations could not be opened.
#[derive(Debug, Error)]
pub enum OpenError {
    /// A file has a format that only a newer program knows. Nothing was changed.
    #[error("{} has format version {version}, which is newer than this program's", path.display())]
    Newer {
        /// The file.
        path: PathBuf,
        /// Its version.
        version: u32,
    },
    /// The directory can't be read or written.
    #[error("open the reservations in {}", path.display())]
    Io {
        /// The directory.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// What the directory held.
#[derive(Debug)]
pub(super) struct Loaded {
    pub(super) ages: AgeClock,
    pub(super) content: Content,
}

/// What the files held.
#[derive(Debug, Default)]
pub(super) struct Content {
    pub(super) seed: u64,
    pub(super) journals: Vec<JournalContent>,
    /// In the order of their journal numbers.
    pub(super) runs: Vec<Arc<Run>>,
    /// Files whose content is in memory or in a run.
    pub(super) old_journals: Vec<PathBuf>,
    /// Runs whose header or index is damaged, by their journal numbers.
    broken: Vec<(u64, u64)>,
    /// The highest age time of all.
    pub(super) newest: Option<Stamp>,
    pub(super) covered: u64,
    pub(super) next_number: u64,
    pub(super) damaged: u64,
}

impl Loaded {
    /// Reads all that is there, making the directory if it is not.
    pub(super) fn read(
        fs: &Arc<dyn Fs>,
        directory: &Path,
        log: Uuid,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, OpenError> {
        let io = |source| OpenError::Io { path: directory.to_path_buf(), source };
        fs.create_dir_all(directory).map_err(io)?;
        // What this process relies on or replaces must not vanish with the power: names that a
        // killed one left may not be durable.
        for directory in directory.parent().into_iter().chain([directory]) {
            fs.sync_dir(directory).map_err(io)?;
        }
        let names = fs.list(directory).map_err(io)?;
        let mut names: Vec<_> = names.iter().filter_map(|name| Name::parse(name)).collect();
        refuse_newer(&**fs, directory, &names)?;
        let mut content = Content::default();
        content.read_seed(&**fs, directory, &mut names).map_err(io)?;
        remove_unfinished(&**fs, directory).map_err(io)?;
        for name in &names {
            if let Name::Run(first, last) = name {
                content.read_run(&**fs, directory, *first, *last);
            }
        }
        content.drop_merged(&**fs);
        for name in &names {
            if let Name::Journal(number) = name {
                content.read_journal(&**fs, directory, *number);
            }
        }
        content.sum_up(&names, log);
        let ages = AgeClock::new(clock, content.newest);
        content.rebuild_broken(fs, directory, ages.now());
        Ok(Self { ages, content })
    }
}

impl Content {
    /// Reads the seed, or makes one. Without the seed that the files were written under they
    /// say nothing: they go, and the log is read from its start.
    fn read_seed(
        &mut self,
        fs: &dyn Fs,
        directory: &Path,
        names: &mut Vec<Name>,
    ) -> io::Result<()> {
        let path = directory.join("seed");
        let bytes = match read_file(fs, &path, 64) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            Err(error) if error.kind() == io::ErrorKind::FileTooLarge => Vec::new(),
            Err(error) => return Err(error),
        };
        if bytes.len() == 12 && crc32c::crc32c(&bytes[..8]) == u32::from_le_bytes(array(&bytes, 8))
        {
            self.seed = u64::from_le_bytes(array(&bytes, 0));
            return Ok(());
        }
        for name in names.drain(..) {
            match name {
                Name::Journal(number) => remove_if_there(fs, &journal_path(directory, number))?,
                Name::Run(first, last) => remove_if_there(fs, &run_path(directory, first, last))?,
                Name::Unfinished => continue,
            }
            self.damaged += 1;
        }
        if self.damaged > 0 {
            warn!(files = self.damaged, "reservations lost: their seed is missing or damaged");
        }
        self.seed = random();
        let mut bytes = self.seed.to_le_bytes().to_vec();
        bytes.extend_from_slice(&crc32c::crc32c(&bytes).to_le_bytes());
        replace_file(fs, &path, &bytes)
    }

    fn read_run(&mut self, fs: &dyn Fs, directory: &Path, first: u64, last: u64) {
        let path = run_path(directory, first, last);
        match Run::open(fs, &path) {
            Ok(run) => self.runs.push(Arc::new(run)),
            Err(ReadError::Damaged) => self.broken.push((first, last)),
            Err(error) => {
                self.damaged += 1;
                warn!(path = %path.display(), error = ?error, "run of reservations skipped");
            }
        }
    }

    fn rebuild_broken(&mut self, fs: &Arc<dyn Fs>, directory: &Path, now: Stamp) {
        for (first, last) in std::mem::take(&mut self.broken) {
            let path = run_path(directory, first, last);
            // Without its header nothing is known of a run's age: it counts as just written.
            let unknown = RunMeta {
                log: Uuid::nil(),
                first,
                last,
                slice: now.age_us,
                newest_us: now.age_us,
                stamp: now,
                covered: 0,
            };
            self.damaged += 1;
            match rebuild(fs, directory, &path, unknown) {
                Ok((run, lost)) => {
                    self.damaged += lost;
                    warn!(path = %path.display(), lost, "damaged run of reservations rebuilt");
                    self.runs.push(Arc::new(run));
                }
                Err(error) => {
                    warn!(path = %path.display(), error = ?error, "run of reservations skipped");
                }
            }
        }
        self.runs.sort_by_key(|run| run.meta().first);
    }

    /// Runs that a merged run replaced before a crash kept their files.
    fn drop_merged(&mut self, fs: &dyn Fs) {
        let all = self.runs.clone();
        self.runs.retain(|run| {
            let within = |other: &Arc<Run>| {
                let (one, other) = (run.meta(), other.meta());
                (one.first, one.last) != (other.first, other.last)
                    && (other.first..=other.last).contains(&one.first)
                    && one.last <= other.last
            };
            let merged = all.iter().any(within);
            if merged && let Err(error) = remove_if_there(fs, run.path()) {
                warn!(path = %run.path().display(), error = ?error, "remove merged run failed");
            }
            !merged
        });
        self.runs.sort_by_key(|run| run.meta().first);
    }

    fn read_journal(&mut self, fs: &dyn Fs, directory: &Path, number: u64) {
        let path = journal_path(directory, number);
        // A run is written before any journal above its numbers, so that all journals below are
        // sealed: in this run, or in one that is gone since.
        let sealed = self.runs.iter().any(|run| number <= run.meta().last);
        if !sealed {
            match JournalContent::read(fs, &path) {
                Ok(content) => {
                    self.damaged += content.damaged;
                    self.journals.push(content);
                }
                Err(error) => {
                    self.damaged += 1;
                    warn!(path = %path.display(), error = ?error, "journal skipped");
                }
            }
        }
        self.old_journals.push(path);
    }

    fn sum_up(&mut self, names: &[Name], log: Uuid) {
        let runs = self.runs.iter().map(|run| run.meta());
        let of_runs = runs.clone().filter(|meta| meta.log == log).map(|meta| meta.covered);
        let contents = self.journals.iter();
        let of_journals = contents
            .clone()
            .filter(|content| content.log == log)
            .filter_map(|content| content.covered);
        self.covered = of_runs.chain(of_journals).max().unwrap_or(0);
        let stamps = runs.map(|meta| meta.stamp);
        self.newest = stamps.chain(contents.filter_map(|content| content.stamp)).max();
        let last = |name: &Name| match name {
            Name::Journal(number) | Name::Run(_, number) => number.saturating_add(1),
            Name::Unfinished => 0,
        };
        self.next_number = names.iter().map(last).max().unwrap_or(0);
    }

    /// The journaled entries that are not older than `oldest_us` in age time, and the slice that
    /// they belong to.
    pub(super) fn take_active(&mut self, oldest_us: i64) -> (Active, Option<i64>) {
        let mut active = Active::default();
        let mut slice = None;
        for content in self.journals.drain(..) {
            if content.stamp.is_none_or(|stamp| stamp.age_us < oldest_us) {
                continue;
            }
            slice = Some(slice.map_or(content.slice, |slice: i64| slice.min(content.slice)));
            content.entries.into_iter().for_each(|entry| active.put(entry));
        }
        (active, slice)
    }
}

fn refuse_newer(fs: &dyn Fs, directory: &Path, names: &[Name]) -> Result<(), OpenError> {
    for name in names {
        let (path, magic) = match *name {
            Name::Journal(number) => (journal_path(directory, number), JOURNAL_MAGIC),
            Name::Run(first, last) => (run_path(directory, first, last), RUN_MAGIC),
            Name::Unfinished => continue,
        };
        let mut prefix = [0; PREFIX_BYTES];
        let read = fs.open(&path, Open::Read).and_then(|file| file.read_at(&mut prefix, 0));
        // What can't be read is counted as damage when its turn comes.
        if read.is_ok()
            && let Err(ReadError::Newer(version)) = check_prefix(&prefix, magic)
        {
            return Err(OpenError::Newer { path, version });
        }
    }
    Ok(())
}

fn remove_unfinished(fs: &dyn Fs, directory: &Path) -> io::Result<()> {
    for name in fs.list(directory)? {
        if Name::parse(&name) == Some(Name::Unfinished) {
            remove_if_there(fs, &directory.join(name))?;
        }
    }
    Ok(())
}
