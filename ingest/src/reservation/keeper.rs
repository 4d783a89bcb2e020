//! Keeps the table on disk: journals what was committed, seals runs, merges them, and drops what
//! is older than the window. All of its steps are called by one thread at a time.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use tracing::warn;
use uuid::Uuid;

use super::Shared;
use super::active::Active;
use super::clock::{AgeClock, oldest_us};
use super::format::{ReadError, journal_path};
use super::journal::{BlockBuffer, BlockHead, Journal};
use super::merge::{Merge, choose, merged_meta};
use super::run::{Run, RunMeta};
use super::run_writer::{RunWriter, remove_if_there};

/// Slices that a window is cut into: a key is forgotten at most a sixth of the window late.
pub(super) const SLICES_PER_WINDOW: i64 = 6;
/// Entries that one step of a merge writes, some 5 ms: the wait of whoever asks for a sync.
const MERGE_STEP_ENTRIES: usize = 16 * 1024;
/// Journal at which a new one is begun though nothing is committed: a week of empty blocks.
const JOURNAL_BYTES_MAX: u64 = 64 << 20;

/// The files of the table and where writing them has come.
#[derive(Debug)]
pub(super) struct Keeper {
    pub(super) shared: Arc<Shared>,
    pub(super) ages: AgeClock,
    pub(super) log: Uuid,
    /// When the slice began that is being filled.
    pub(super) slice: i64,
    /// Age time of the newest of the first `aged` active entries, which are from files and log.
    pub(super) newest_us: i64,
    pub(super) aged: usize,
    /// Journal numbers of the active entries: from the first up to the next, exclusive.
    pub(super) first_number: u64,
    pub(super) next_number: u64,
    pub(super) journal: Option<Journal>,
    /// How many active entries the journal holds.
    pub(super) journaled: usize,
    /// [`BLOCK_ENTRIES_MAX`], and fewer in tests.
    pub(super) block_entries: usize,
    /// Journals that go once a newer one is synced.
    pub(super) old_journals: Vec<PathBuf>,
    pub(super) sealing: Option<RunMeta>,
    pub(super) merge: Option<Merge>,
    /// Age time of the last block. A stamp now and then, though nothing is committed, keeps a
    /// step of the wall clock from being taken for time in which no process ran.
    pub(super) stamped_us: i64,
    /// Below this number of the log all is in files.
    pub(super) covered: u64,
    /// What of that this process has synced: files that a killed one left may not be.
    pub(super) synced: u64,
}

impl Keeper {
    /// Everything that is due. `end_seq` is the log's durable end, read just now. Whether there
    /// is more to do at once.
    pub(super) fn tick(&mut self, end_seq: u64) -> io::Result<bool> {
        self.expire();
        self.seal_if_due()?;
        self.checkpoint(end_seq)?;
        self.merge_some();
        self.shared.publish_level();
        Ok(self.is_merging())
    }

    /// Whether a merge is under way.
    pub(super) fn is_merging(&self) -> bool {
        self.merge.is_some()
    }

    /// Drops the runs whose newest entry is older than the window.
    pub(super) fn expire(&mut self) {
        let oldest = oldest_us(self.ages.now().age_us, self.shared.window_us);
        let is_old = |run: &Arc<Run>| run.meta().newest_us < oldest;
        let runs = Arc::clone(self.shared.table().runs());
        if !runs.iter().any(is_old) {
            return;
        }
        if self.merge.as_ref().is_some_and(|merge| merge.inputs().iter().any(is_old)) {
            self.merge = None;
        }
        let (old, kept) = runs.iter().cloned().partition(is_old);
        self.shared.table().set_runs(kept);
        self.remove_runs(&old);
    }

    fn remove_runs(&self, runs: &Vec<Arc<Run>>) {
        for run in runs {
            self.shared.count_damaged(run.damaged());
            if let Err(error) = remove_if_there(&*self.shared.fs, run.path()) {
                warn!(path = %run.path().display(), error = ?error, "remove run failed");
            }
        }
    }

    fn seal_if_due(&mut self) -> io::Result<()> {
        let now = self.ages.now().age_us;
        let (keys, full) = {
            let table = self.shared.table();
            (table.active().len(), table.wants_seal())
        };
        let slice_over = now.saturating_sub(self.slice) >= self.slice_us();
        if full || slice_over {
            self.rotate();
        }
        if slice_over {
            self.slice = now;
        }
        let oversized = self.journal.as_ref().is_some_and(|it| it.bytes() > JOURNAL_BYTES_MAX);
        if oversized && keys == 0 {
            self.abandon_journal();
        }
        self.write_sealed()
    }

    fn slice_us(&self) -> i64 {
        self.shared.window_us / SLICES_PER_WINDOW
    }

    /// Sets the active entries aside, unless there are none or others wait to be written.
    pub(super) fn rotate(&mut self) {
        let mut table = self.shared.table();
        let keys = table.active().len();
        if self.sealing.is_some() || keys == 0 {
            return;
        }
        table.rotate();
        drop(table);
        let stamp = self.ages.now();
        let newest_us = if keys > self.aged { stamp.age_us } else { self.newest_us };
        self.aged = 0;
        self.abandon_journal();
        if self.next_number == self.first_number {
            self.next_number += 1;
        }
        self.sealing = Some(RunMeta {
            log: self.log,
            first: self.first_number,
            last: self.next_number - 1,
            slice: self.slice,
            newest_us,
            stamp,
            covered: self.covered,
        });
        self.first_number = self.next_number;
    }

    /// Writes what was set aside as a run.
    pub(super) fn write_sealed(&mut self) -> io::Result<()> {
        let sealing = self.shared.table().sealing().cloned();
        if let (Some(meta), Some(sealing)) = (self.sealing, sealing) {
            let run = write_run(&self.shared, meta, &sealing)?;
            self.shared.table().sealed(Arc::new(run));
            self.sealing = None;
        }
        Ok(())
    }

    /// Brings the journal up to the table and syncs it; does nothing when nothing has changed.
    pub(super) fn checkpoint(&mut self, end_seq: u64) -> io::Result<()> {
        let (target, resolved, keys) = {
            let mut table = self.shared.table();
            table.epochs.close(end_seq);
            (table.active().len(), table.epochs.resolved(), table.keys())
        };
        let stamp_due = self.ages.now().age_us.saturating_sub(self.slice_us()) >= self.stamped_us;
        let covered = self.covered.max(resolved);
        // What is set aside and not yet a run is in no journal that can be relied on.
        if self.sealing.is_some() {
            return Err(io::Error::other("an older run is not written"));
        }
        if target > self.journaled || covered > self.covered || (keys > 0 && stamp_due) {
            if let Err(error) = self.write_journal(target, covered) {
                // Nothing is known of what was not synced: begin anew in another file.
                self.abandon_journal();
                return Err(error);
            }
            self.covered = covered;
            self.synced = covered;
            self.remove_old_journals();
        }
        self.shared.publish_covered(self.covered);
        Ok(())
    }

    fn write_journal(&mut self, target: usize, covered: u64) -> io::Result<()> {
        let created = self.journal.is_none();
        let mut journal = match self.journal.take() {
            Some(journal) => journal,
            None => self.create_journal()?,
        };
        let written = self.write_blocks(&mut journal, target, covered);
        self.journal = Some(journal);
        written?;
        if let Some(journal) = &self.journal {
            journal.sync()?;
        }
        if created {
            self.shared.fs.sync_dir(&self.shared.directory)?;
        }
        Ok(())
    }

    fn create_journal(&mut self) -> io::Result<Journal> {
        let number = self.next_number;
        self.next_number += 1;
        self.journaled = 0;
        let (fs, directory) = (&*self.shared.fs, &self.shared.directory);
        Journal::create(fs, directory, number, self.log, self.slice)
            .inspect_err(|_| self.old_journals.push(journal_path(directory, number)))
    }

    fn write_blocks(
        &mut self,
        journal: &mut Journal,
        target: usize,
        covered: u64,
    ) -> io::Result<()> {
        let mut block = BlockBuffer::new();
        loop {
            let end = target.min(self.journaled + self.block_entries);
            block.fill(&self.shared.table().active().entries()[self.journaled..end]);
            // Only with the last block is everything there that `covered` speaks of.
            let covered = if end == target { covered } else { self.synced };
            let stamp = self.ages.now();
            journal.append(block.finish(BlockHead { covered, stamp }))?;
            self.journaled = end;
            self.stamped_us = stamp.age_us;
            if end == target {
                return Ok(());
            }
        }
    }

    fn abandon_journal(&mut self) {
        self.journaled = 0;
        self.old_journals.extend(self.journal.take().map(|journal| journal.path().to_path_buf()));
    }

    fn remove_old_journals(&mut self) {
        self.old_journals.retain(|path| match remove_if_there(&*self.shared.fs, path) {
            Ok(()) => false,
            Err(error) => {
                warn!(path = %path.display(), error = ?error, "remove journal failed");
                true
            }
        });
    }

    /// Goes on with a merge, or starts the next.
    pub(super) fn merge_some(&mut self) {
        if let Err(error) = self.try_merge() {
            self.merge = None;
            warn!(error = ?error, "merge of reservations failed; it is tried again");
        }
    }

    fn try_merge(&mut self) -> Result<(), ReadError> {
        let Some(merge) = &mut self.merge else {
            return self.start_merge();
        };
        if !merge.step(MERGE_STEP_ENTRIES)? {
            return Ok(());
        }
        let Some(merge) = self.merge.take() else { return Ok(()) };
        let inputs = merge.inputs().to_vec();
        self.shared.count_damaged(merge.damaged());
        let run = Arc::new(merge.finish()?);
        let runs = Arc::clone(self.shared.table().runs());
        let is_input = |run: &Arc<Run>| inputs.iter().any(|input| Arc::ptr_eq(input, run));
        let mut kept: Vec<_> = runs.iter().filter(|run| !is_input(run)).cloned().collect();
        kept.push(run);
        kept.sort_by_key(|run| run.meta().first);
        self.shared.table().set_runs(kept);
        self.remove_runs(&inputs);
        Ok(())
    }

    fn start_merge(&mut self) -> Result<(), ReadError> {
        let (runs, run_keys) = {
            let table = self.shared.table();
            (Arc::clone(table.runs()), table.run_keys)
        };
        let Some(inputs) = choose(&runs, self.slice, run_keys) else { return Ok(()) };
        if let Some(meta) = merged_meta(&inputs) {
            let (fs, directory) = (&self.shared.fs, &self.shared.directory);
            self.merge = Some(Merge::start(fs, directory, inputs, meta)?);
        }
        Ok(())
    }
}

fn write_run(shared: &Shared, meta: RunMeta, entries: &Active) -> io::Result<Run> {
    let entries = entries.entries();
    // Keys beside their places: sorting them stays in the cache.
    let mut order: Vec<_> =
        (0u32..).zip(entries).map(|(place, entry)| (entry.key, place)).collect();
    order.sort_unstable();
    let mut writer = RunWriter::create(&shared.fs, &shared.directory, meta, entries.len())?;
    for (_, place) in order {
        writer.push(&entries[place as usize])?;
    }
    writer.finish()
}
