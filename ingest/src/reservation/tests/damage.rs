//! Files that are torn, damaged, left over or from the future.

use super::*;
use crate::fs::fault::SimFs;
use crate::reservation::format::{RUN_MAGIC, prefix};
use crate::reservation::{Claim, OpenError};

const DIRECTORY: &str = "/data/reservations";

struct Files {
    sim: SimFs,
    fs: Arc<dyn Fs>,
    clock: Arc<TestClock>,
}

impl Files {
    fn new() -> Self {
        let sim = SimFs::new(11);
        Self { fs: Arc::new(sim.clone()), sim, clock: TestClock::new() }
    }

    /// Accepts the pulses and ends as by `kill -9` after one tick.
    fn accept(&self, pulses: std::ops::Range<u32>, run_keys: usize) {
        let (table, mut keeper) = open_table(&self.fs, &self.clock, run_keys);
        let all: Vec<_> = pulses.map(|pulse| self.wanted(&table, pulse)).collect();
        let mut reserved = table.reserve(&all);
        reserved.settle();
        reserved.commit();
        keeper.tick(77).expect("no faults");
        self.sim.kill();
    }

    fn wanted(&self, table: &Reservations, pulse: u32) -> Wanted {
        let attempt = Attempt { pulse, body: 1 };
        attempt.wanted(table.keys(), attempt.fixed(5))
    }

    fn path(&self, ending: &str) -> std::path::PathBuf {
        let names = self.fs.list(Path::new(DIRECTORY)).expect("lists");
        let name = names.iter().find(|name| name.ends_with(ending)).expect("such a file");
        Path::new(DIRECTORY).join(name)
    }

    /// How many of `pulses` are known after a restart, and what was counted as damaged.
    fn known(&self, pulses: std::ops::Range<u32>) -> (usize, u64) {
        let (table, _keeper) = open_table(&self.fs, &self.clock, 1 << 20);
        let known = pulses.filter(|pulse| {
            let mut reserved = table.reserve(&[self.wanted(&table, *pulse)]);
            reserved.settle();
            matches!(reserved.claims(), [Claim::Repeat(_)])
        });
        (known.count(), table.stats().damaged)
    }
}

#[test]
fn a_torn_journal_keeps_what_came_before_and_says_where_to_restore_from() {
    let files = Files::new();
    files.accept(0..9, 1000);
    let path = files.path(".journal");
    let bytes = files.sim.content(&path).expect("a journal");
    assert_eq!(open(&files.fs, &files.clock).restore_from_seq(), 77);
    let file = files.fs.open(&path, crate::fs::Open::Write).expect("opens");
    file.set_len(bytes.len() as u64 - 1).expect("cuts");
    assert_eq!(open(&files.fs, &files.clock).restore_from_seq(), 0);
    assert_eq!(files.known(0..9), (0, 1));
}

#[test]
fn no_flipped_bit_in_a_journal_stops_a_start_or_makes_a_key_up() {
    let files = Files::new();
    files.accept(0..9, 1000);
    let path = files.path(".journal");
    let bytes = files.sim.content(&path).expect("a journal");
    for at in 0..bytes.len() {
        files.sim.damage(&path, at, &[bytes[at] ^ 0x40]);
        let (table, _keeper) = open_table(&files.fs, &files.clock, 1000);
        let stats = table.stats();
        assert_eq!((stats.keys, stats.damaged), (0, 1), "byte {at}");
        files.sim.damage(&path, at, &bytes[at..=at]);
    }
    assert_eq!(files.known(0..9), (9, 0));
}

#[test]
fn a_damaged_run_is_rebuilt_from_what_is_sound() {
    let files = Files::new();
    files.accept(0..60, 1);
    let path = files.path(".run");
    let bytes = files.sim.content(&path).expect("a run");
    // 80 keys: header, entries, index; and one entry whose damage only a lookup notices.
    let index_at = 128 + 80 * 70;
    for (at, lost) in [(40, 0), (3, 0), (index_at + 2, 0), (bytes.len() - 1, 0), (128 + 71, 1)] {
        let files = Files::new();
        files.accept(0..60, 1);
        let path = files.path(".run");
        let bytes = files.sim.content(&path).expect("a run");
        files.sim.damage(&path, at, &[bytes[at] ^ 0x40]);
        let (known, damaged) = files.known(0..60);
        // A pulse with two keys is known by the other one.
        assert!(known + lost >= 60 && damaged >= 1, "byte {at}: {known} known, {damaged} damaged");
    }
}

#[test]
fn a_lost_seed_forgets_the_files_and_restores_all_from_the_log() {
    let files = Files::new();
    files.accept(0..9, 4);
    files.sim.lose_file(&Path::new(DIRECTORY).join("seed"));
    assert_eq!(open(&files.fs, &files.clock).restore_from_seq(), 0);
    assert_eq!(files.known(0..9).0, 0);
}

#[test]
fn files_of_another_log_keep_their_keys_and_not_their_numbers() {
    let files = Files::new();
    files.accept(0..9, 1000);
    let other = Settings { log: Some(LogId(Uuid::from_u128(2))), ..settings() };
    let clock: Arc<dyn Clock> = Arc::clone(&files.clock) as _;
    let fs = Arc::clone(&files.fs);
    let restoring = Restoring::open(Path::new(DIRECTORY), fs, other, clock, HeldMetrics::default())
        .expect("opens");
    assert_eq!(restoring.restore_from_seq(), 0);
    assert_eq!(files.known(0..9), (9, 0));
}

#[test]
fn a_newer_format_is_refused_untouched() {
    let files = Files::new();
    files.accept(0..9, 1);
    let path = files.path(".run");
    let mut mark = prefix(RUN_MAGIC);
    mark[8] = 2;
    let crc = crc32c::crc32c(&mark[..12]);
    mark[12..16].copy_from_slice(&crc.to_le_bytes());
    files.sim.damage(&path, 0, &mark);
    let unfinished = Path::new(DIRECTORY).join("1-1.run.tmp");
    files.fs.open(&unfinished, crate::fs::Open::CreateNew).expect("creates");
    let before = files.fs.list(Path::new(DIRECTORY)).expect("lists");
    let clock: Arc<dyn Clock> = Arc::clone(&files.clock) as _;
    let fs = Arc::clone(&files.fs);
    let opened =
        Restoring::open(Path::new(DIRECTORY), fs, settings(), clock, HeldMetrics::default());
    assert!(matches!(opened, Err(OpenError::Newer { version: 2, .. })));
    assert_eq!(files.fs.list(Path::new(DIRECTORY)).expect("lists"), before);
}

#[test]
fn restarts_and_downtime_neither_end_a_key_early_nor_keep_it_for_ever() {
    let files = Files::new();
    files.accept(0..3, 1000);
    for _ in 0..5 {
        files.clock.advance(WINDOW / 6);
        files.accept(0..0, 1000);
        files.clock.set_wall_back(Duration::from_secs(3000));
        files.accept(0..0, 1000);
    }
    assert_eq!(files.known(0..3).0, 3);
    files.clock.advance(WINDOW / 3 + Duration::from_secs(1));
    assert_eq!(files.known(0..3).0, 0);
}

#[test]
fn a_restored_record_keeps_its_age_and_an_old_one_is_left_out() {
    let files = Files::new();
    let now = files.clock.wall_us();
    let mut restoring = open(&files.fs, &files.clock);
    for (pulse, age) in [(0, WINDOW / 2), (3, WINDOW + Duration::from_secs(2))] {
        let attempt = Attempt { pulse, body: 1 };
        let fixed = attempt.fixed(now - age.as_micros() as i64);
        restoring.restore(&Logged { fixed, key: attempt.key() }.record(u64::from(pulse)));
    }
    let (table, mut keeper) = restoring.into_parts();
    assert_eq!(table.stats().keys, 1);
    for _ in 0..4 {
        files.clock.advance(WINDOW / 6);
        keeper.tick(1).expect("no faults");
    }
    assert_eq!(table.stats().keys, 0);
}

#[test]
fn a_clock_that_is_put_forward_while_a_process_runs_ends_no_key() {
    let files = Files::new();
    let (table, mut keeper) = open_table(&files.fs, &files.clock, 1000);
    table.reserve(&[files.wanted(&table, 0)]).commit();
    keeper.tick(77).expect("no faults");
    let attempt = Attempt { pulse: 6, body: 1 };
    let logged = Logged { fixed: attempt.fixed(files.clock.wall_us()), key: attempt.key() };
    files.clock.wall_us.fetch_add(86_400_000_000, Ordering::Relaxed);
    files.clock.advance(WINDOW / 6);
    keeper.tick(77).expect("no faults");
    files.sim.kill();
    let mut restoring = open(&files.fs, &files.clock);
    restoring.restore(&logged.record(77));
    let (table, _keeper) = restoring.into_parts();
    assert_eq!(table.stats().keys, 2);
}
