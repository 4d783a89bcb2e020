//! Counts against a model database whose answers get lost, come late or never, while the process
//! is stopped at any step and the log is read again from wherever its cursor on disk was.

use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use proptest::prelude::*;
use tokio::runtime::{Builder, Runtime};
use uuid::Uuid;

use crate::fs::fault::{Chance, Faults, SimFs};
use crate::sink::{LogId, SeqSet};

use super::super::metrics::CassandraMetrics;
use super::super::settings::CassandraSettings;
use super::part::SumRow;
use super::{Counted, Origin, Sums};

const LOG: LogId = LogId(Uuid::from_u128(7));
const TENANTS: [&str; 2] = ["a", "b"];
const KINDS: [&str; 3] = ["x", "y", "z"];
/// Numbers of the log; what is not written by the steps is written at the end.
const NUMBERS: u64 = 400;
/// How far beyond the lowest unfinished number a batch may reach.
const WINDOW: u64 = 60;

#[derive(Debug, Clone)]
enum Step {
    /// A batch is written; its answer may never reach the drain.
    Write {
        rows: u64,
        answered: bool,
    },
    /// Rows that can't be written become dead letters.
    Bury,
    Flush,
    /// The drain notes its place, syncs, and writes its cursor.
    Sync {
        cursor_written: bool,
    },
    /// The process stops between two steps.
    Crash {
        power: bool,
    },
    /// The process stops within one of the next changes of the disk.
    StopAfter(u64),
    /// The disk fails now and then, or no more.
    Fail(bool),
    /// The clock jumps by minutes.
    Clock(i64),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        6 => (1u64..30, prop::bool::weighted(0.8))
            .prop_map(|(rows, answered)| Step::Write { rows, answered }),
        2 => Just(Step::Bury),
        5 => Just(Step::Flush),
        4 => prop::bool::weighted(0.8)
            .prop_map(|cursor_written| Step::Sync { cursor_written }),
        2 => any::<bool>().prop_map(|power| Step::Crash { power }),
        1 => (0u64..12).prop_map(Step::StopAfter),
        1 => any::<bool>().prop_map(Step::Fail),
        2 => (-90i64..90).prop_map(Step::Clock),
    ];
    prop::collection::vec(step, 1..60)
}

type Key = (LogId, i64, String, i64, String);

#[derive(Debug, Default)]
struct Database {
    cells: HashMap<Key, (i64, i64)>,
    /// Sent, and neither answered nor done yet.
    late: Vec<(SumRow, i64)>,
}

impl Database {
    /// The newest write wins, as there.
    fn apply(&mut self, row: &SumRow, stamp: i64) {
        let part = row.part;
        let key =
            (part.log, part.number, row.tenant.to_string(), row.minute_ms, row.kind.to_string());
        let cell = self.cells.entry(key).or_insert((i64::MIN, 0));
        *cell = (*cell).max((stamp, row.pulses));
    }

    fn totals(&self) -> BTreeMap<(String, i64, String), i64> {
        let mut totals = BTreeMap::new();
        for ((_, _, tenant, minute, kind), (_, pulses)) in &self.cells {
            *totals.entry((tenant.clone(), *minute, kind.clone())).or_default() += pulses;
        }
        totals
    }
}

struct World {
    runtime: Runtime,
    fs: SimFs,
    settings: CassandraSettings,
    time_us: Arc<AtomicI64>,
    chance: RefCell<Chance>,
    database: RefCell<Database>,
    /// On disk: what the drain will not read again, and what became a dead letter.
    cursor: SeqSet,
    dead: SeqSet,
    process: RefCell<Process>,
}

struct Process {
    sums: Arc<Sums>,
    finished: SeqSet,
}

fn row(seq: u64) -> Counted<'static> {
    let tenant = TENANTS[(seq / 5 % 2) as usize];
    let kind = KINDS[(seq * 7 % 3) as usize];
    Counted { seq, tenant, minute_ms: (seq / 40 * 60_000) as i64, kind }
}

/// Rows that the database never takes.
fn is_poison(seq: u64) -> bool {
    seq % 11 == 3
}

impl World {
    fn new(seed: u64) -> Self {
        let fs = SimFs::new(seed);
        let time_us = Arc::new(AtomicI64::new(1_700_000_000_000_000));
        let mut settings = CassandraSettings::new(Vec::new(), PathBuf::from("/cassandra"));
        let clock = Arc::clone(&time_us);
        settings.clock = Arc::new(move || clock.fetch_add(1_000, Ordering::Relaxed));
        let runtime = Builder::new_current_thread().build().expect("a runtime");
        let process = RefCell::new(start(&fs, &settings, SeqSet::default()));
        Self {
            runtime,
            fs,
            settings,
            time_us,
            chance: RefCell::new(Chance::new(seed)),
            database: RefCell::default(),
            cursor: SeqSet::default(),
            dead: SeqSet::default(),
            process,
        }
    }

    fn below(&self, end: u64) -> u64 {
        self.chance.borrow_mut().below(end)
    }

    /// Some numbers that are not finished, from anywhere in the window.
    fn unfinished(&self, rows: u64) -> Vec<u64> {
        let process = self.process.borrow();
        let low = process.finished.low();
        let from = low + self.below(WINDOW);
        let numbers = from..(low + WINDOW).min(NUMBERS);
        let wanted = |seq: &u64| !is_poison(*seq) && !process.finished.contains(*seq);
        numbers.filter(wanted).take(rows as usize).collect()
    }

    fn write(&self, rows: u64, answered: bool) {
        let numbers = self.unfinished(rows);
        let mut process = self.process.borrow_mut();
        let origin =
            Origin { replay: false, log: Some(LOG), finished_below: process.finished.low() };
        process.sums.add(origin, numbers.iter().map(|seq| row(*seq)));
        for seq in numbers.iter().filter(|_| answered) {
            process.finished.insert(*seq, *seq + 1);
        }
    }

    fn bury(&mut self) {
        let mut process = self.process.borrow_mut();
        let low = process.finished.low();
        for seq in (low..low + WINDOW / 2).filter(|seq| is_poison(*seq)) {
            process.finished.insert(seq, seq + 1);
            self.dead.insert(seq, seq + 1);
        }
    }

    /// One flush, during which batches go on; returns whether all was answered.
    fn flush(&self, faulty: bool) -> bool {
        let sums = Arc::clone(&self.process.borrow().sums);
        let flushed = self.runtime.block_on(sums.flush_with(|rows, stamp| {
            let answer = self.receive(&rows, stamp, faulty);
            async move { (rows, answer) }
        }));
        flushed.is_ok()
    }

    fn receive(&self, rows: &[SumRow], stamp: i64, faulty: bool) -> Result<(), &'static str> {
        if faulty && self.below(2) == 0 {
            self.write(1 + self.below(5), true);
        }
        let fate = if faulty { self.below(8) } else { 7 };
        let mut database = self.database.borrow_mut();
        if fate == 0 {
            database.late.extend(rows.iter().map(|row| (row.clone(), stamp)));
        }
        if fate >= 2 {
            rows.iter().for_each(|row| database.apply(row, stamp));
        }
        if fate >= 3 { Ok(()) } else { Err("no answer") }
    }

    fn sync(&mut self, cursor_written: bool) {
        let place = self.process.borrow().finished.clone();
        if self.below(2) == 0 {
            self.write(3, true);
        }
        let sums = Arc::clone(&self.process.borrow().sums);
        let kept = self.runtime.block_on(sums.keep());
        if kept.is_ok() && cursor_written {
            self.cursor = place;
        }
    }

    fn crash(&mut self, power: bool) {
        if power {
            self.fs.power_loss()
        } else {
            self.fs.kill()
        }
        self.fs.set_faults(Faults::default());
        let mut finished = self.cursor.clone();
        finished.union(&self.dead);
        *self.process.borrow_mut() = start(&self.fs, &self.settings, finished);
    }

    fn step(&mut self, step: &Step) {
        match step {
            Step::Write { rows, answered } => self.write(*rows, *answered),
            Step::Bury => self.bury(),
            Step::Flush => {
                self.flush(true);
            }
            Step::Sync { cursor_written } => self.sync(*cursor_written),
            Step::Crash { power } => self.crash(*power),
            Step::StopAfter(calls) => self.fs.stop_after(*calls),
            Step::Fail(fail) => {
                let rate = if *fail { 200 } else { 0 };
                let faults =
                    Faults { write: rate, sync: rate, sync_dir: rate, change: rate, read: 0 };
                self.fs.set_faults(faults);
            }
            Step::Clock(minutes) => {
                self.time_us.fetch_add(minutes * 60_000_000, Ordering::Relaxed);
            }
        }
        if self.fs.is_stopped() {
            let power = self.below(2) == 0;
            self.crash(power);
        }
    }

    /// All that is left is written and answered; what was late comes now.
    fn end(&mut self) {
        self.fs.do_not_stop();
        self.fs.set_faults(Faults::default());
        while self.process.borrow().finished.low() < NUMBERS {
            self.write(NUMBERS, true);
            self.bury();
        }
        assert!(self.flush(false), "nothing fails any more");
        let mut database = self.database.borrow_mut();
        for (row, stamp) in std::mem::take(&mut database.late) {
            database.apply(&row, stamp);
        }
    }

    fn truth(&self) -> BTreeMap<(String, i64, String), i64> {
        let mut truth = BTreeMap::new();
        for row in (0..NUMBERS).filter(|seq| !is_poison(*seq)).map(row) {
            let key = (row.tenant.to_owned(), row.minute_ms, row.kind.to_owned());
            *truth.entry(key).or_default() += 1;
        }
        truth
    }
}

fn start(fs: &SimFs, settings: &CassandraSettings, finished: SeqSet) -> Process {
    let metrics = CassandraMetrics::unregistered();
    let sums = Sums::open(Arc::new(fs.clone()), settings, metrics).expect("opens");
    Process { sums: Arc::new(sums), finished }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn each_row_is_counted_once_wherever_a_crash_comes(seed in any::<u64>(), steps in steps()) {
        let mut world = World::new(seed);
        for step in &steps {
            world.step(step);
        }
        world.end();
        prop_assert_eq!(world.database.borrow().totals(), world.truth());
    }
}
