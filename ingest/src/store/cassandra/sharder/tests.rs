//! Streams of pulses in simulated time, and the partitions that they fill.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::sync::atomic::AtomicI64;

use super::*;

/// A start of a bucket.
const START_MS: i64 = 1_790_000_400_000;
const MINUTE_MS: i64 = 60_000;
const HOUR_MS: i64 = 60 * MINUTE_MS;
/// A call may stand for several rows: it has their bytes. So many a second are enough.
const CALLS_PER_SECOND: u64 = 200;
/// Rows of a call where the writer matters.
const CALL_ROWS: u64 = 10;

/// Sharders on one clock, and what was put where.
struct Simulation {
    now_us: Arc<AtomicI64>,
    sharders: Vec<Sharder>,
    /// Bytes by bucket, layout and slice.
    filled: HashMap<(i64, Layout, u16), u64>,
}

impl Simulation {
    fn of(writers: u32) -> Self {
        let now_us = Arc::new(AtomicI64::new(START_MS * 1000));
        let sharder = |writer| {
            let now_us = Arc::clone(&now_us);
            let clock: Clock = Arc::new(move || now_us.load(Ordering::Relaxed));
            let sharder = Sharder::with_seed(clock, u64::from(writer));
            sharder.set_writers(writers);
            sharder
        };
        let sharders = (0..writers).map(sharder).collect();
        Self { now_us, sharders, filled: HashMap::new() }
    }

    fn now_ms(&self) -> i64 {
        self.now_us.load(Ordering::Relaxed) / 1000
    }

    /// One pulse of the hot service.
    fn push(&mut self, writer: usize, event_time_ms: i64, bytes: u64) -> Layout {
        let layout = self.sharders[writer].layout("t", "hot", event_time_ms, bytes as usize);
        let place = (bucket_of(event_time_ms), layout, layout.slice_of(event_time_ms));
        *self.filled.entry(place).or_default() += bytes;
        layout
    }

    /// So many rows a second for so long, at even times; `event_time` makes theirs from now.
    fn run(&mut self, rows_per_second: u64, lasts_ms: i64, event_time: impl Fn(i64) -> i64) {
        let rows = rows_per_second.div_ceil(CALLS_PER_SECOND);
        let (calls, begins) = (rows_per_second / rows * lasts_ms as u64 / 1000, self.now_ms());
        for call in 0..calls {
            let passed_us = (call as i64 * lasts_ms * 1000) / calls as i64;
            self.now_us.store(begins * 1000 + passed_us, Ordering::Relaxed);
            self.push(0, event_time(self.now_ms()), rows * ROW_BYTES);
        }
        self.now_us.store((begins + lasts_ms) * 1000, Ordering::Relaxed);
    }

    /// Rows by bucket and partition; the hash of ids spreads evenly.
    fn partitions(&self) -> BTreeMap<i64, BTreeMap<i32, u64>> {
        let mut partitions: BTreeMap<_, BTreeMap<_, _>> = BTreeMap::new();
        for ((bucket, layout, slice), bytes) in &self.filled {
            for shard in layout.shards_of_slice(*slice) {
                *partitions.entry(*bucket).or_default().entry(shard).or_default() +=
                    bytes / ROW_BYTES / u64::from(layout.spread());
            }
        }
        partitions
    }

    fn layouts(&self) -> BTreeMap<i64, BTreeSet<Layout>> {
        let mut layouts: BTreeMap<_, BTreeSet<_>> = BTreeMap::new();
        for (bucket, layout, _) in self.filled.keys() {
            layouts.entry(*bucket).or_default().insert(*layout);
        }
        layouts
    }

    /// No partition is too large, and no bucket has more than so many layouts. The fullest
    /// partition of all, in rows.
    fn check(&self, layouts_max: usize) -> u64 {
        for (bucket, layouts) in self.layouts() {
            let at = (bucket - START_MS) / MINUTE_MS;
            assert!(layouts.len() <= layouts_max, "{layouts:?} of the bucket at minute {at}");
        }
        let mut fullest = 0;
        for (bucket, partitions) in self.partitions() {
            for (shard, rows) in partitions {
                let at = (bucket - START_MS) / MINUTE_MS;
                assert!(rows <= 100_000, "{rows} rows in shard {shard} at minute {at}");
                fullest = fullest.max(rows);
            }
        }
        fullest
    }

    /// Rows per partition in buckets of these minutes.
    fn mean(&self, minutes: std::ops::Range<i64>) -> u64 {
        let (mut rows, mut partitions) = (0, 0);
        for (bucket, found) in self.partitions() {
            if minutes.contains(&((bucket - START_MS) / MINUTE_MS)) {
                rows += found.values().sum::<u64>();
                partitions += found.len() as u64;
            }
        }
        rows / partitions.max(1)
    }
}

#[test]
fn steady_streams_fill_partitions_neither_too_much_nor_too_little() {
    let check = |rows_per_second, minutes: i64, mean_min| {
        let mut simulation = Simulation::of(1);
        // Begins in the middle of a bucket.
        simulation.now_us.fetch_add(4 * MINUTE_MS * 1000, Ordering::Relaxed);
        simulation.run(rows_per_second, minutes * MINUTE_MS, |now| now);
        let fullest = simulation.check(9);
        let mean = simulation.mean(10..minutes / 10 * 10);
        println!("{rows_per_second}/s: mean {mean}, fullest {fullest}");
        assert!(mean >= mean_min, "{mean} rows a partition at {rows_per_second}/s");
    };
    check(10, 60, 5_000);
    check(100, 60, 15_000);
    check(1_000, 60, 15_000);
    check(10_000, 60, 15_000);
    check(100_000, 30, 15_000);
}

#[test]
fn a_quiet_service_has_one_partition_for_ever() {
    let mut simulation = Simulation::of(1);
    simulation.run(10, 3 * HOUR_MS, |now| now);
    assert!(simulation.filled.keys().all(|(_, layout, _)| *layout == Layout::ONE));
}

#[test]
fn a_rate_may_jump_and_fall_at_any_time_of_a_bucket() {
    for jump_at in [0, 1, 4, 7, 9] {
        for (quiet, loud) in [(100, 10_000), (600, 60_000), (30, 3_000)] {
            let mut simulation = Simulation::of(1);
            simulation.run(quiet, (10 + jump_at) * MINUTE_MS, |now| now);
            simulation.run(loud, 7 * MINUTE_MS, |now| now);
            simulation.run(quiet, 20 * MINUTE_MS, |now| now);
            let fullest = simulation.check(8);
            println!("{quiet} to {loud} at minute {jump_at}: fullest {fullest}");
        }
    }
}

#[test]
fn millions_of_pulses_with_one_event_time_are_spread_step_by_step() {
    let passed = START_MS - 20 * HOUR_MS;
    for rows_per_second in [100, 1_000, 10_000, 100_000] {
        // The start of a bucket is the worst: all layouts share its first partitions.
        for event_time in [passed, passed + 7 * MINUTE_MS, START_MS, START_MS + MINUTE_MS] {
            let lasts_ms = 5_000_000 / rows_per_second as i64 * 1000;
            if event_time >= START_MS && lasts_ms > HOUR_MS {
                // By then it has passed.
                continue;
            }
            let mut simulation = Simulation::of(1);
            simulation.run(rows_per_second, lasts_ms, |_| event_time);
            // At 100,000/s the rate asks for six layouts before a slice is known to get all.
            let (fullest, mean) = (simulation.check(10), simulation.mean(-10_000..10_000));
            println!("{rows_per_second}/s at {event_time}: mean {mean}, fullest {fullest}");
        }
    }
}

#[test]
fn what_is_filled_in_later_is_spread_by_its_own_amount() {
    let begins = START_MS - 24 * HOUR_MS;
    // A service of ten pulses a second, sent again a thousand times as fast.
    let mut simulation = Simulation::of(1);
    simulation.run(10_000, 60_000, |now| begins + (now - START_MS) * 1000);
    simulation.check(1);
    // One of 10,000 a second, four times as fast.
    let mut simulation = Simulation::of(1);
    simulation.run(40_000, 300_000, |now| begins + (now - START_MS) * 4);
    let (fullest, mean) = (simulation.check(8), simulation.mean(-10_000..10_000));
    println!("sent again: mean {mean}, fullest {fullest}");
    assert!(mean >= 5_000, "{mean}");
    // One whose pulses all come an hour late.
    let mut simulation = Simulation::of(1);
    simulation.run(20_000, 20 * MINUTE_MS, |now| now - HOUR_MS);
    println!("an hour late: fullest {}", simulation.check(8));
    // Many for one bucket, in no order.
    let mut simulation = Simulation::of(1);
    simulation
        .run(40_000, 600_000, |now| begins + now.wrapping_mul(7_919_777).rem_euclid(BUCKET_MS));
    println!("in no order: fullest {}", simulation.check(8));
}

#[test]
fn uneven_writers_keep_the_bound_together() {
    // The first does most; and all pulses of a batch job have one time.
    for event_time in [None, Some(START_MS - 20 * HOUR_MS)] {
        let mut simulation = Simulation::of(4);
        let shares = [70, 90, 97, 100];
        for call in 0..10_000 / CALL_ROWS as i64 * 25 * 60 {
            simulation.now_us.store(START_MS * 1000 + call * 1_000, Ordering::Relaxed);
            // Every hundredth in turn, mixed.
            let writer = shares.iter().position(|share| call * 37 % 100 < *share).expect("100");
            let time = event_time.unwrap_or_else(|| simulation.now_ms());
            simulation.push(writer, time, CALL_ROWS * ROW_BYTES);
            if event_time.is_some() && call == 500_000 {
                break;
            }
        }
        println!("uneven: fullest {}", simulation.check(usize::MAX));
    }
}

#[test]
fn large_pulses_are_bounded_by_their_bytes() {
    let mut simulation = Simulation::of(1);
    for call in 0..200 * 25 * 60 {
        simulation.now_us.store(START_MS * 1000 + call * 5_000, Ordering::Relaxed);
        simulation.push(0, simulation.now_ms(), 64 << 10);
    }
    // Rows are counted in 500 bytes: 100,000 are 50 MB.
    println!("large: fullest {}", simulation.check(8));
    assert!(simulation.mean(10..20) >= 15_000);
}

#[test]
fn a_hot_service_is_known_among_a_hundred_thousand_cold_ones() {
    let mut simulation = Simulation::of(1);
    let names: Vec<_> = (0..100_000).map(|number| format!("cold-{number}")).collect();
    let mut wide = 0;
    // Five minutes, in which each cold service has 15 pulses, and the hot one 300,000 rows.
    for call in 0..1_500_000u64 {
        simulation.now_us.store(START_MS * 1000 + call as i64 * 200, Ordering::Relaxed);
        let name = &names[(call * 77_777 % 100_000) as usize];
        let cold = simulation.sharders[0].layout("t", name, simulation.now_ms(), 100);
        wide += usize::from(cold != Layout::ONE);
        if call % 50 == 0 {
            simulation.push(0, simulation.now_ms(), CALL_ROWS * ROW_BYTES);
        }
    }
    println!("hot: fullest {}", simulation.check(8));
    let mean = simulation.mean(0..10);
    assert!(mean >= 15_000, "{mean} rows a partition");
    assert!(wide < 1_500_000 / 50, "{wide} pulses of cold services were spread");
}

#[test]
fn tenants_are_kept_apart() {
    let mut simulation = Simulation::of(1);
    simulation.run(10_000, MINUTE_MS, |now| now);
    let other = simulation.sharders[0].layout("u", "hot", simulation.now_ms(), 100);
    assert_eq!(other, Layout::ONE);
}

#[test]
#[ignore = "measures; run alone with --nocapture in an optimized profile"]
fn what_a_pulse_costs() {
    let sharder = Sharder::with_seed(crate::clock::system_clock(), 1);
    let now_ms = crate::clock::now_us() / 1000;
    for services in [1, 100, 100_000] {
        let names: Vec<_> = (0..services).map(|number| format!("service-{number}")).collect();
        let begun = std::time::Instant::now();
        for call in 0..4_000_000usize {
            std::hint::black_box(sharder.layout("t", &names[call % services], now_ms, 300));
        }
        println!("{services} services: {} ns a pulse", begun.elapsed().as_nanos() / 4_000_000);
    }
}
