//! What requests see.

use std::sync::Barrier;
use std::thread;

use super::*;
use crate::fs::OsFs;
use crate::fs::fault::{Faults, SimFs};
use crate::reservation::Claim;

fn sim() -> Arc<dyn Fs> {
    Arc::new(SimFs::new(7))
}

fn wanted(table: &Reservations, pulse: u32, body: u128) -> Wanted {
    let attempt = Attempt { pulse, body };
    attempt.wanted(table.keys(), attempt.fixed(1_700_000_000_000_000 + i64::from(pulse)))
}

fn claims_of(table: &Reservations, wanted: &[Wanted]) -> Vec<Claim> {
    let mut reserved = table.reserve(wanted);
    reserved.settle();
    reserved.claims().to_vec()
}

fn accept(table: &Reservations, pulses: std::ops::Range<u32>) {
    let all: Vec<_> = pulses.map(|pulse| wanted(table, pulse, 1)).collect();
    let mut reserved = table.reserve(&all);
    reserved.settle();
    assert!(reserved.claims().iter().all(|claim| *claim == Claim::New));
    reserved.commit();
}

fn repeat(wanted: Wanted) -> Claim {
    Claim::Repeat(Box::new(wanted.fixed))
}

#[test]
fn a_repeat_gets_what_the_first_fixed_and_another_body_is_refused() {
    let (table, _keeper) = open_table(&sim(), &TestClock::new(), 4);
    for pulse in 0..3 {
        let first = wanted(&table, pulse, 1);
        let reserved = table.reserve(&[first]);
        assert_eq!(reserved.claims(), [Claim::New]);
        assert_eq!(claims_of(&table, &[first]), [Claim::InFlight]);
        reserved.commit();
        let mut later = first;
        later.fixed.received_at_us += 9;
        assert_eq!(claims_of(&table, &[later]), [repeat(first)]);
        assert_eq!(claims_of(&table, &[wanted(&table, pulse, 2)]), [Claim::Reused]);
    }
}

#[test]
fn a_failed_request_frees_its_keys() {
    let (table, _keeper) = open_table(&sim(), &TestClock::new(), 4);
    let all: Vec<_> = (0..3).map(|pulse| wanted(&table, pulse, 1)).collect();
    drop(table.reserve(&all));
    assert_eq!(claims_of(&table, &all), [Claim::New, Claim::New, Claim::New]);
    assert_eq!(table.stats().keys, 0);
}

#[test]
fn repeats_within_one_request_are_seen() {
    let (table, _keeper) = open_table(&sim(), &TestClock::new(), 4);
    let (one, other_body) = (wanted(&table, 5, 1), wanted(&table, 5, 2));
    let reserved = table.reserve(&[one, one, other_body]);
    assert_eq!(reserved.claims(), [Claim::New, Claim::RepeatOf(0), Claim::Reused]);
    reserved.commit();
    assert_eq!(table.stats().keys, 2);
    assert_eq!(claims_of(&table, &[one, one]), [repeat(one), repeat(one)]);
}

#[test]
fn two_keys_are_reserved_together_or_not_at_all() {
    let (table, _keeper) = open_table(&sim(), &TestClock::new(), 4);
    let keys = table.keys();
    let fixed = Attempt { pulse: 2, body: 1 }.fixed(5);
    let with_key = |key: &str| keys.wanted(TENANT, true, Some(key), fixed).expect("has both");
    let held = table.reserve(&[with_key("a")]);
    // The id is held, so the new key "b" must not be.
    assert_eq!(table.reserve(&[with_key("b")]).claims(), [Claim::InFlight]);
    let only_b = keys.wanted(TENANT, false, Some("b"), fixed).expect("has a key");
    let held_b = table.reserve(&[only_b]);
    assert_eq!(held_b.claims(), [Claim::New]);
    drop(held_b);
    held.commit();
    assert_eq!(claims_of(&table, &[with_key("b")]), [repeat(with_key("a"))]);
}

#[test]
fn an_id_and_a_key_of_different_pulses_do_not_go_together() {
    let (table, _keeper) = open_table(&sim(), &TestClock::new(), 4);
    let keys = table.keys();
    let [one, two] = [0, 1].map(|pulse| wanted(&table, pulse, 1));
    table.reserve(&[one, two]).commit();
    let key = Attempt { pulse: 1, body: 1 }.key();
    let mixed = keys.wanted(TENANT, true, key.as_deref(), one.fixed).expect("has both");
    assert_eq!(claims_of(&table, &[mixed]), [Claim::Reused]);
}

#[test]
fn keys_are_found_in_every_stage_and_forgotten_after_the_window() {
    let clock = TestClock::new();
    let (table, mut keeper) = open_table(&sim(), &clock, 16);
    let mut pulses = 0;
    // 24 pulses (32 keys) at a time: several slices, each with runs that merge.
    for _ in 0..40 {
        accept(&table, pulses..pulses + 24);
        pulses += 24;
        clock.advance(Duration::from_secs(8));
        keeper.tick(0).expect("no faults");
    }
    while keeper.tick(0).expect("no faults") {}
    assert!(table.stats().runs <= 20, "{} runs", table.stats().runs);
    for pulse in 0..pulses {
        let wanted = wanted(&table, pulse, 1);
        assert_eq!(claims_of(&table, &[wanted]), [repeat(wanted)], "pulse {pulse}");
    }
    clock.advance(WINDOW + WINDOW / 6);
    keeper.tick(0).expect("no faults");
    clock.advance(Duration::from_secs(1));
    accept(&table, 0..24);
    assert!(table.stats().keys >= 32);
    clock.advance(WINDOW);
    keeper.tick(0).expect("no faults");
    clock.advance(WINDOW + Duration::from_secs(2));
    keeper.tick(0).expect("no faults");
    assert_eq!((table.stats().keys, table.stats().runs, table.stats().disk_bytes), (0, 0, 0));
}

#[test]
fn a_key_lives_no_longer_than_the_window_and_a_sixth() {
    let clock = TestClock::new();
    let (table, mut keeper) = open_table(&sim(), &clock, 1000);
    accept(&table, 0..1);
    let mut age = Duration::ZERO;
    let step = Duration::from_secs(5);
    while table.stats().keys > 0 {
        clock.advance(step);
        age += step;
        keeper.tick(0).expect("no faults");
    }
    assert!(age > WINDOW && age <= WINDOW + WINDOW / 6 + step, "{age:?}");
}

#[test]
fn a_repeat_within_a_request_of_a_key_that_only_the_disk_knows_is_settled() {
    let clock = TestClock::new();
    let (table, mut keeper) = open_table(&sim(), &clock, 1);
    accept(&table, 0..6);
    keeper.tick(0).expect("no faults");
    assert!(table.stats().runs > 0);
    for pulse in 0..6 {
        let first = wanted(&table, pulse, 1);
        let mut again = first;
        again.fixed.event_time_ms += 1;
        let mut reserved = table.reserve(&[again, again, wanted(&table, pulse, 2)]);
        assert!(!reserved.is_settled() && reserved.claims()[0] == Claim::Unsettled);
        // Whoever comes between waits, and does not take it for new.
        assert_eq!(claims_of(&table, &[again]), [Claim::InFlight]);
        reserved.settle();
        assert_eq!(reserved.claims(), [repeat(first), repeat(first), Claim::Reused]);
        assert_eq!(table.stats().held, 0);
    }
}

#[test]
fn a_disk_that_can_not_be_read_is_no_new_key() {
    let sim = SimFs::new(3);
    let fs: Arc<dyn Fs> = Arc::new(sim.clone());
    let (table, mut keeper) = open_table(&fs, &TestClock::new(), 1);
    accept(&table, 0..1);
    keeper.tick(0).expect("no faults");
    sim.set_faults(Faults { read: 1000, ..Faults::default() });
    assert_eq!(claims_of(&table, &[wanted(&table, 0, 1)]), [Claim::Unreadable]);
    assert_eq!(table.stats().held, 0);
}

#[test]
fn a_full_table_refuses_new_keys_and_still_knows_the_old() {
    let (table, _keeper) = open_table(&sim(), &TestClock::new(), 100_000);
    let all: Vec<_> = (0..10_001).map(|n| wanted(&table, n * 3, 1)).collect();
    let reserved = table.reserve(&all);
    assert_eq!(reserved.claims()[9_999..], [Claim::New, Claim::Full]);
    reserved.commit();
    assert_eq!(claims_of(&table, &all[..1]), [repeat(all[0])]);
    assert_eq!((table.stats().keys, table.stats().full), (10_000, 1));
}

#[test]
fn a_disk_that_takes_nothing_stops_new_keys_at_a_bound() {
    let sim = SimFs::new(3);
    let fs: Arc<dyn Fs> = Arc::new(sim.clone());
    let clock: Arc<dyn Clock> = TestClock::new();
    let settings = Settings { keys_max: usize::MAX, ..settings() };
    let (table, mut keeper) =
        Restoring::open(Path::new("/r"), fs, settings, clock, HeldMetrics::default())
            .expect("opens")
            .into_parts();
    sim.set_faults(Faults { write: 1000, ..Faults::default() });
    let mut pulse = 0;
    loop {
        let all: Vec<_> = (0..10_000).map(|n| wanted(&table, (pulse + n) * 3, 1)).collect();
        let reserved = table.reserve(&all);
        if reserved.claims().contains(&Claim::Full) {
            break;
        }
        reserved.commit();
        assert!(keeper.tick(0).is_err());
        pulse += 10_000;
        assert!(pulse < 1_000_000, "no bound is kept");
    }
    let bytes = table.stats().memory_bytes;
    assert!(bytes <= 48 << 20, "{bytes} bytes");
    sim.set_faults(Faults::default());
    keeper.tick(0).expect("the disk is back");
    assert_eq!(claims_of(&table, &[wanted(&table, (pulse + 5) * 3, 1)]), [Claim::New]);
}

#[test]
fn of_many_threads_exactly_one_gets_a_key() {
    let directory = tempfile::tempdir().expect("a directory");
    let clock: Arc<dyn Clock> = TestClock::new();
    let fs: Arc<dyn Fs> = Arc::new(OsFs);
    let restoring =
        Restoring::open(directory.path(), fs, settings(), clock, HeldMetrics::default())
            .expect("opens");
    let table = restoring.start(|| 0).expect("starts");
    table.shared.table().run_keys = 8;
    let (threads, pulses) = (4, 500);
    let barrier = Barrier::new(threads);
    let new: usize = thread::scope(|scope| {
        let work = || {
            let mut new = 0;
            for pulse in 0..pulses {
                if pulse % 50 == 0 {
                    barrier.wait();
                }
                let mut reserved = table.reserve(&[wanted(&table, pulse, 1)]);
                reserved.settle();
                match &reserved.claims()[0] {
                    Claim::New => new += 1,
                    Claim::Repeat(_) | Claim::InFlight => {}
                    other => assert_eq!(*other, Claim::New),
                }
                reserved.commit();
            }
            new
        };
        let threads: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        threads.into_iter().map(|thread| thread.join().expect("no panic")).sum()
    });
    assert_eq!(new, pulses as usize);
    table.close().expect("no faults");
}

#[tokio::test]
async fn a_waiter_wakes_when_the_key_is_resolved() {
    let (table, _keeper) = open_table(&sim(), &TestClock::new(), 4);
    let one = wanted(&table, 0, 1);
    assert!(table.wait(one.key, Duration::ZERO).await, "nobody holds it");
    let held = table.reserve(&[one]);
    assert!(!table.wait(one.key, Duration::from_millis(1)).await, "it is held");
    let waiting = table.clone();
    let waiter = async move { waiting.wait(one.key, Duration::from_secs(60)).await };
    let commit = async { held.commit() };
    assert!(futures_util::future::join(waiter, commit).await.0);
    assert_eq!(table.find(one.key).await, Some(one.fixed));
}

#[tokio::test]
async fn a_sealed_key_is_settled_and_found_without_blocking_the_caller() {
    let (table, mut keeper) = open_table(&sim(), &TestClock::new(), 1);
    accept(&table, 0..3);
    keeper.tick(0).expect("no faults");
    let one = wanted(&table, 0, 1);
    let reserved = table.reserve(&[one]).settled().await;
    assert_eq!(reserved.claims(), [repeat(one)]);
    assert_eq!(table.find(one.key).await, Some(one.fixed));
    assert_eq!(table.find(wanted(&table, 99, 1).key).await, None);
}

#[test]
fn whoever_asks_for_a_sync_gets_it() {
    let directory = tempfile::tempdir().expect("a directory");
    let clock: Arc<dyn Clock> = TestClock::new();
    let fs: Arc<dyn Fs> = Arc::new(OsFs);
    let restoring =
        Restoring::open(directory.path(), fs, settings(), clock, HeldMetrics::default())
            .expect("opens");
    let end = Arc::new(AtomicI64::new(0));
    let log_end = Arc::clone(&end);
    let table = restoring.start(move || log_end.load(Ordering::Relaxed) as u64).expect("starts");
    end.store(10, Ordering::Relaxed);
    table.sync_up_to(10).expect("nothing is in flight");
    table.close().expect("no faults");
    assert!(table.sync_up_to(11).is_err(), "closed");
}

#[test]
fn a_request_in_flight_holds_back_what_files_are_said_to_contain() {
    let (table, mut keeper) = open_table(&sim(), &TestClock::new(), 1000);
    let held = table.reserve(&[wanted(&table, 0, 1)]);
    let later = table.reserve(&[wanted(&table, 1, 1)]);
    keeper.tick(10).expect("no faults");
    later.commit();
    keeper.tick(11).expect("no faults");
    assert_eq!(keeper.covered, 0);
    held.commit();
    keeper.tick(12).expect("no faults");
    assert_eq!(keeper.covered, 12);
}

#[test]
fn the_death_of_the_thread_is_told_and_its_end_is_not() {
    let begin = || open(&sim(), &TestClock::new());
    let dying = begin().start(|| panic!("as told")).expect("a thread");
    let begun = std::time::Instant::now();
    while !dying.has_died() {
        assert!(begun.elapsed() < Duration::from_secs(20), "nobody was told");
        std::thread::yield_now();
    }
    let closing = begin().start(|| 0).expect("a thread");
    closing.close().expect("closes");
    assert!(!closing.has_died());
}
