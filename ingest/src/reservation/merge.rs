//! Merging: several runs of one slice become one, a step at a time, so that looking a key up
//! asks few runs and the thread that does it stays free for more urgent work.

use std::io;
use std::path::Path;
use std::sync::Arc;

use super::format::ReadError;
use super::key::Entry;
use super::run::{Run, RunMeta};
use super::run_writer::{RunCursor, RunWriter};
use crate::fs::Fs;

/// Runs of one level that become one of the next: each key is written about once more for every
/// eightfold growth of a slice, and a slice has at most seven runs of each level.
pub(super) const RUNS_PER_LEVEL: usize = 8;

/// A merge under way.
#[derive(Debug)]
pub(super) struct Merge {
    inputs: Vec<Arc<Run>>,
    /// Of the newest run first.
    cursors: Vec<(Option<Entry>, RunCursor)>,
    output: RunWriter,
}

impl Merge {
    /// Starts to merge `inputs`, which are of one slice and follow one another.
    pub(super) fn start(
        fs: &Arc<dyn Fs>,
        directory: &Path,
        inputs: Vec<Arc<Run>>,
        meta: RunMeta,
    ) -> Result<Self, ReadError> {
        let keys = inputs.iter().map(|run| run.len()).sum();
        let output = RunWriter::create(fs, directory, meta, keys)?;
        let mut cursors = Vec::with_capacity(inputs.len());
        for run in inputs.iter().rev() {
            let mut cursor = RunCursor::new(Arc::clone(run.file()), run.len());
            cursors.push((cursor.next()?, cursor));
        }
        Ok(Self { inputs, cursors, output })
    }

    pub(super) fn inputs(&self) -> &[Arc<Run>] {
        &self.inputs
    }

    /// Writes up to `entries` more; `true` when all are written.
    pub(super) fn step(&mut self, entries: usize) -> Result<bool, ReadError> {
        for _ in 0..entries {
            // Of equal keys the newest run's comes first and is the one that is kept.
            let least = self
                .cursors
                .iter_mut()
                .filter_map(|(head, cursor)| head.map(|entry| (entry, head, cursor)))
                .min_by_key(|(entry, ..)| entry.key);
            let Some((entry, head, cursor)) = least else { return Ok(true) };
            self.output.push(&entry)?;
            *head = cursor.next()?;
        }
        Ok(false)
    }

    /// Damaged entries that were left out so far.
    pub(super) fn damaged(&self) -> u64 {
        self.cursors.iter().map(|(_, cursor)| cursor.damaged()).sum()
    }

    /// Completes the new run.
    pub(super) fn finish(self) -> io::Result<Run> {
        self.output.finish()
    }
}

/// Which neighbouring runs should become one: all of a slice that is over, or as many of one
/// size as [`RUNS_PER_LEVEL`]. `runs` is in the order of their journal numbers.
pub(super) fn choose(runs: &[Arc<Run>], slice_now: i64, run_keys: usize) -> Option<Vec<Arc<Run>>> {
    runs.chunk_by(|one, next| one.meta().slice == next.meta().slice).find_map(|slice| {
        if slice.len() > 1 && slice[0].meta().slice != slice_now {
            return Some(slice.to_vec());
        }
        slice
            .chunk_by(|one, next| level(one, run_keys) == level(next, run_keys))
            .find(|runs| runs.len() >= RUNS_PER_LEVEL)
            .map(<[_]>::to_vec)
    })
}

/// 0 for a run as it is sealed, one more for every eightfold size.
fn level(run: &Run, run_keys: usize) -> u32 {
    (run.len() / (run_keys / 2).max(1)).max(1).ilog(RUNS_PER_LEVEL)
}

/// What the merged run's header says.
pub(super) fn merged_meta(inputs: &[Arc<Run>]) -> Option<RunMeta> {
    let (first, last) = (inputs.first()?.meta(), inputs.last()?.meta());
    let newest_us = inputs.iter().map(|run| run.meta().newest_us).max()?;
    Some(RunMeta { first: first.first, newest_us, ..*last })
}
