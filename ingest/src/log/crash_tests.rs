//! The crash model: generated histories of appends, failing syncs, full disks, stops, power
//! losses, recoveries, reads and forgetting, over a file system that loses what it may. What was
//! acknowledged or read once keeps its number and its content for ever.

#![allow(clippy::disallowed_methods, reason = "a test may start what it waits for")]

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::fs::fault::{Chance, Faults, SimFs};
use crate::fs::{File, Fs, Open};

use super::chain::Chain;
use super::reader::LogReader;
use super::recovery::recover;
use super::tests::{no_metrics, pulses, put_frame};
use super::writer::Writer;
use super::{LogSettings, assemble};

/// Histories of one run.
const HISTORIES: u64 = 12_000;
/// Histories after which a broken log must have been found out.
const HISTORIES_BROKEN: u64 = 2_000;
const STEPS_MAX: u64 = 60;

/// A way in which a log could be wrong. The test must find each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mutation {
    None,
    /// Acknowledges before the sync.
    AckBeforeSync,
    /// Takes a sync that succeeds after one that failed as proof.
    SyncAgain,
    /// Does not sync the directory.
    NamesUnsynced,
    /// Takes for synced what the last process left at the end.
    TailTrusted,
    /// Gives numbers out again that were read.
    NumbersReused,
}

/// The simulated file system behind a layer that does what a wrong log would.
#[derive(Debug)]
struct Wrong {
    fs: SimFs,
    mutation: Mutation,
}

#[derive(Debug)]
struct WrongFile {
    file: Arc<dyn File>,
    mutation: Mutation,
}

impl Fs for Wrong {
    fn open(&self, path: &Path, how: Open) -> io::Result<Arc<dyn File>> {
        Ok(Arc::new(WrongFile { file: self.fs.open(path, how)?, mutation: self.mutation }))
    }

    fn list(&self, directory: &Path) -> io::Result<Vec<String>> {
        self.fs.list(directory)
    }

    fn create_dir_all(&self, directory: &Path) -> io::Result<()> {
        self.fs.create_dir_all(directory)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.fs.rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.fs.remove(path)
    }

    fn sync_dir(&self, directory: &Path) -> io::Result<()> {
        match self.mutation {
            Mutation::NamesUnsynced => Ok(()),
            _ => self.fs.sync_dir(directory),
        }
    }

    fn free_bytes(&self, directory: &Path) -> io::Result<u64> {
        self.fs.free_bytes(directory)
    }
}

impl File for WrongFile {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        self.file.read_at(buffer, offset)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.file.write_at(bytes, offset)
    }

    fn sync(&self) -> io::Result<()> {
        match self.mutation {
            Mutation::AckBeforeSync => Ok(()),
            Mutation::SyncAgain => self.file.sync().or_else(|_| self.file.sync()),
            _ => self.file.sync(),
        }
    }

    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }

    fn set_len(&self, bytes: u64) -> io::Result<()> {
        self.file.set_len(bytes)
    }

    fn allocate(&self, bytes: u64) -> io::Result<()> {
        self.file.allocate(bytes)
    }
}

/// A log that is open, and all that is known to have come out of it.
struct History {
    chance: Chance,
    mutation: Mutation,
    fs: SimFs,
    settings: LogSettings,
    core: Option<(Arc<Chain>, Writer)>,
    next_id: u128,
    /// What was acknowledged or read: number to id. None of it may ever change.
    promised: BTreeMap<u64, u128>,
    /// Ids of pulses that were refused: each may come up once or not at all.
    refused: HashMap<u128, Option<u64>>,
    /// All below were forgotten on purpose.
    forgotten: u64,
    reader: Option<LogReader>,
}

type Checked = Result<(), String>;

impl History {
    fn new(seed: u64, mutation: Mutation) -> Self {
        let mut chance = Chance::new(seed);
        let fs = SimFs::new(chance.next());
        let settings = LogSettings {
            dir: PathBuf::from("/data/log"),
            budget_bytes: u64::MAX,
            segment_bytes: 1024 << chance.below(4),
            free_bytes_min: if chance.is(300) { 4096 } else { 0 },
        };
        fs.create_dir_all(Path::new("/data")).expect("no faults yet");
        fs.sync_dir(Path::new("/")).expect("no faults yet");
        Self {
            chance,
            mutation,
            fs,
            settings,
            core: None,
            next_id: 1,
            promised: BTreeMap::new(),
            refused: HashMap::new(),
            forgotten: 0,
            reader: None,
        }
    }

    fn run(&mut self) -> Checked {
        let steps = self.chance.below(STEPS_MAX);
        for _ in 0..steps {
            if self.core.is_none() {
                self.open();
            }
            self.step()?;
        }
        self.heal();
        self.crash();
        self.heal();
        self.check_all()
    }

    fn step(&mut self) -> Checked {
        match self.chance.below(20) {
            0..=8 => self.append()?,
            9 | 10 => self.read(3)?,
            11 => self.forget(),
            12 => self.with_writer(Writer::tidy),
            13 => self.with_writer(Writer::check),
            14 | 15 => self.change_faults(),
            16 => self.change_room(),
            17 => self.fs.stop_after(1 + self.chance.below(12)),
            18 => self.crash(),
            _ if self.chance.is(300) => {
                self.heal();
                self.check_all()?;
            }
            _ => {}
        }
        Ok(())
    }

    fn open(&mut self) {
        let fs: Arc<dyn Fs> = Arc::new(Wrong { fs: self.fs.clone(), mutation: self.mutation });
        let Ok(mut recovered) = recover(&*fs, &self.settings.dir, self.settings.segment_bytes)
        else {
            return self.fs.kill();
        };
        match self.mutation {
            Mutation::TailTrusted if recovered.start.replaced.is_none() => {
                let carry = std::mem::take(&mut recovered.start.carry);
                if let Some(last) = recovered.segments.last_mut() {
                    last.bytes += carry.frames.len() as u64;
                    last.end_seq = last.end_seq.max(carry.end_seq);
                    if let Some(link) = &mut recovered.start.previous {
                        link.bytes = last.bytes;
                    }
                }
            }
            Mutation::NumbersReused => {
                recovered.start.next_seq = recovered.start.next_seq.saturating_sub(1);
            }
            _ => {}
        }
        let (chain, mut writer) = assemble(&self.settings, fs, no_metrics(), recovered);
        writer.check();
        self.core = Some((chain, writer));
        self.reader = None;
    }

    fn with_writer(&mut self, act: impl FnOnce(&mut Writer)) {
        if let Some((_, writer)) = &mut self.core {
            act(writer);
        }
    }

    fn append(&mut self) -> Checked {
        let (group, ids) = self.group();
        let Some((chain, writer)) = &mut self.core else { return Ok(()) };
        let mut group = group;
        match writer.append(&mut group) {
            Ok(first_seq) => {
                let end_seq = first_seq + ids.len() as u64;
                if chain.end_seq() != end_seq {
                    return Err(format!("end is {}, not {end_seq}", chain.end_seq()));
                }
                for (seq, id) in (first_seq..).zip(ids) {
                    self.promise(seq, id)?;
                }
            }
            Err(_) => self.refused.extend(ids.into_iter().map(|id| (id, None))),
        }
        Ok(())
    }

    /// Frames of one group and the ids in them.
    fn group(&mut self) -> (Vec<u8>, Vec<u128>) {
        let (mut frames, mut ids) = (Vec::new(), Vec::new());
        for _ in 0..=self.chance.below(3) {
            let count = u128::from(1 + self.chance.below(5));
            let raw = vec![b'x'; self.chance.below(400) as usize];
            put_frame(&mut frames, self.next_id..self.next_id + count, &raw);
            ids.extend(self.next_id..self.next_id + count);
            self.next_id += count;
        }
        (frames, ids)
    }

    fn promise(&mut self, seq: u64, id: u128) -> Checked {
        match self.promised.insert(seq, id) {
            Some(before) if before != id => {
                Err(format!("number {seq} was pulse {before} and is now {id}"))
            }
            _ => Ok(()),
        }
    }

    /// Reads a few chunks as a sink would, behind its own cursor.
    fn read(&mut self, chunks: u64) -> Checked {
        let Some((chain, _)) = &self.core else { return Ok(()) };
        let mut reader =
            self.reader.take().unwrap_or_else(|| LogReader::new(Arc::clone(chain), self.forgotten));
        for _ in 0..chunks {
            let size = 100 + self.chance.below(3000) as usize;
            let from = reader.seq();
            let Ok(Some(chunk)) = reader.read(size) else { break };
            if chunk.damaged > 0 {
                return Err(format!("{} damaged before {}", chunk.damaged, chunk.first_seq));
            }
            let covered = chunk.end_seq - chunk.first_seq.max(from) + chunk.forgotten;
            if from + covered != chunk.end_seq {
                return Err(format!("read from {from} gave {chunk:?}"));
            }
            self.take(&chunk.bytes)?;
        }
        self.reader = Some(reader);
        Ok(())
    }

    fn take(&mut self, bytes: &[u8]) -> Checked {
        for (seq, id) in pulses(bytes) {
            self.promise(seq, id)?;
            if let Some(seen) = self.refused.get_mut(&id)
                && *seen.get_or_insert(seq) != seq
            {
                return Err(format!("refused pulse {id} is there twice"));
            }
        }
        Ok(())
    }

    fn forget(&mut self) {
        let Some(reader) = &self.reader else { return };
        self.forgotten = self.forgotten.max(reader.seq());
        if let Some((chain, _)) = &self.core {
            chain.release(self.forgotten);
            let _ = chain.forget(self.forgotten);
        }
    }

    fn change_faults(&mut self) {
        let mut rate = |rates: [u32; 4]| rates[self.chance.below(4) as usize];
        self.fs.set_faults(Faults {
            write: rate([0, 0, 0, 100]),
            sync: rate([0, 0, 200, 700]),
            sync_dir: rate([0, 0, 0, 300]),
            change: rate([0, 0, 0, 100]),
            read: rate([0, 0, 0, 5]),
        });
    }

    fn change_room(&mut self) {
        let room = [0, 2000, 20_000, 1 << 30][self.chance.below(4) as usize];
        self.fs.set_capacity(self.fs.used_bytes() + room);
    }

    fn crash(&mut self) {
        if self.chance.is(400) {
            self.fs.kill();
        } else {
            self.fs.power_loss();
        }
        self.core = None;
        self.reader = None;
    }

    /// No more faults; a process that was stopped is started again.
    fn heal(&mut self) {
        self.fs.set_faults(Faults::default());
        self.fs.set_capacity(1 << 30);
        self.fs.do_not_stop();
        if self.fs.is_stopped() {
            self.crash();
        }
        if self.core.is_none() {
            self.open();
        }
        self.with_writer(Writer::check);
    }

    /// All that was promised is there, once, in order, and nothing was damaged.
    fn check_all(&mut self) -> Checked {
        let Some((chain, writer)) = &self.core else { return Err("log does not open".into()) };
        if let Some(refusal) = writer.refusal() {
            return Err(format!("log still refuses: {refusal}"));
        }
        let end_seq = chain.end_seq();
        if let Some((last, _)) = self.promised.last_key_value()
            && *last >= end_seq.min(writer.next_seq())
        {
            return Err(format!("number {last} is promised, the log ends at {end_seq}"));
        }
        let mut reader = LogReader::new(Arc::clone(chain), self.forgotten);
        let mut read = BTreeMap::new();
        while let Some(chunk) = reader.read(1500).map_err(|error| error.to_string())? {
            if chunk.damaged > 0 {
                return Err(format!("{} damaged before {}", chunk.damaged, chunk.first_seq));
            }
            for (seq, id) in pulses(&chunk.bytes) {
                if read.insert(seq, id).is_some() {
                    return Err(format!("number {seq} was read twice"));
                }
            }
            self.take(&chunk.bytes)?;
        }
        self.compare(&read)
    }

    fn compare(&self, read: &BTreeMap<u64, u128>) -> Checked {
        for (seq, id) in self.promised.range(self.forgotten..) {
            if read.get(seq) != Some(id) {
                return Err(format!("number {seq} was {id} and is {:?}", read.get(seq)));
            }
        }
        // Ids were given in the order of the appends, so they ascend with the numbers.
        if !read.values().is_sorted_by(|before, after| before < after) {
            return Err("order or uniqueness of the pulses is lost".into());
        }
        Ok(())
    }
}

/// The first seed under which the log breaks a promise, and how.
fn first_failure(mutation: Mutation, seeds: std::ops::Range<u64>) -> Option<(u64, String)> {
    seeds.into_iter().find_map(|seed| {
        let broken = History::new(seed, mutation).run().err()?;
        Some((seed, broken))
    })
}

#[test]
fn no_generated_history_loses_doubles_or_renumbers_a_pulse() {
    // PULSEMESH_CRASH_SEED repeats one history, PULSEMESH_CRASH_HISTORIES runs more of them.
    let number = |name| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let seeds = match number("PULSEMESH_CRASH_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("PULSEMESH_CRASH_HISTORIES").unwrap_or(HISTORIES),
    };
    let failure = first_failure(Mutation::None, seeds);
    assert!(failure.is_none(), "PULSEMESH_CRASH_SEED and what it shows: {failure:?}");
}

#[test]
fn a_wrong_log_is_found_out() {
    for mutation in [
        Mutation::AckBeforeSync,
        Mutation::SyncAgain,
        Mutation::NamesUnsynced,
        Mutation::TailTrusted,
        Mutation::NumbersReused,
    ] {
        let failure = first_failure(mutation, 0..HISTORIES_BROKEN);
        assert!(failure.is_some(), "{mutation:?} was not noticed");
    }
}
