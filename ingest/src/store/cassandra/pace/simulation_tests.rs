//! The limit against simulated databases that always have more to do.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::time::Duration;

use crate::fs::fault::Chance;

use super::Outcome;
use super::knee::{End, Knee};

const TIMEOUT_US: u64 = 3_000_000;

/// Requests in flight, by when they end.
struct Simulation<'a> {
    knee: Knee,
    database: Database<'a>,
    now_us: u64,
    chance: Chance,
    waiting: VecDeque<(u64, usize)>,
    /// End, sending, rows, whether it times out.
    working: BinaryHeap<Reverse<(u64, u64, usize, bool)>>,
    rows: usize,
    /// Limits at each end.
    limits: Vec<usize>,
}

/// How many requests it works on at once, and what each takes.
struct Database<'a> {
    servers: usize,
    /// In µs, of that many rows, with that many in flight.
    service_us: &'a dyn Fn(usize, usize) -> u64,
    rows_of: &'a dyn Fn(&mut Chance) -> usize,
    /// Of latency, in percent to either side.
    noise: u64,
    down: bool,
}

fn database<'a>(servers: usize, service_us: &'a dyn Fn(usize, usize) -> u64) -> Database<'a> {
    Database { servers, service_us, rows_of: &|_| 100, noise: 0, down: false }
}

impl<'a> Simulation<'a> {
    fn new(database: Database<'a>) -> Self {
        Self {
            knee: Knee::new(256),
            database,
            now_us: 0,
            chance: Chance::new(5),
            waiting: VecDeque::new(),
            working: BinaryHeap::new(),
            rows: 0,
            limits: Vec::new(),
        }
    }

    fn in_flight(&self) -> usize {
        self.waiting.len() + self.working.len()
    }

    /// Goes on for so long; returns rows per second.
    fn run(&mut self, seconds: f64) -> f64 {
        let begin = self.now_us;
        let end = begin + (seconds * 1e6) as u64;
        self.rows = 0;
        self.limits.clear();
        while self.now_us < end {
            while self.in_flight() < self.knee.limit() {
                let rows = (self.database.rows_of)(&mut self.chance);
                self.waiting.push_back((self.now_us, rows));
            }
            self.work();
            self.end_one();
        }
        self.rows as f64 * 1e6 / (self.now_us - begin) as f64
    }

    fn work(&mut self) {
        while self.working.len() < self.database.servers || self.database.down {
            let in_flight = self.in_flight();
            let Some((sent, rows)) = self.waiting.pop_front() else { break };
            let Database { service_us, noise, down, .. } = &self.database;
            let noise = 100 - noise + self.chance.below(2 * noise + 1);
            let took = service_us(rows, in_flight) * noise / 100;
            let ends = if *down { sent + TIMEOUT_US } else { self.now_us + took };
            self.working.push(Reverse((ends.max(self.now_us), sent, rows, *down)));
        }
    }

    fn end_one(&mut self) {
        let full = self.in_flight() >= self.knee.limit();
        let Some(Reverse((ends, sent, rows, timed_out))) = self.working.pop() else { return };
        self.now_us = ends;
        let took = Duration::from_micros(ends - sent);
        let outcome = if timed_out { Outcome::Overloaded } else { Outcome::Done };
        self.rows += if timed_out { 0 } else { rows };
        self.knee.ended(End { outcome, took, rows, full }, Duration::from_micros(self.now_us));
        self.limits.push(self.knee.limit());
    }

    fn limits(&self) -> (usize, usize, usize) {
        let mut limits = self.limits.clone();
        limits.sort_unstable();
        (limits[0], limits[limits.len() / 2], limits[limits.len() - 1])
    }
}

/// Whether `limit` is at most a factor of two from the knee.
fn near(limit: usize, knee: usize) -> bool {
    limit <= 2 * knee && 2 * limit >= knee
}

#[test]
fn the_limit_settles_at_the_knee() {
    for (servers, service_us) in
        [(1, 2_000), (3, 500), (8, 5_000), (16, 1_000), (48, 4_000), (100, 2_000), (150, 20_000)]
    {
        let service = |_: usize, _: usize| service_us;
        let mut simulation = Simulation::new(database(servers, &service));
        simulation.run(10.0);
        let rate = simulation.run(20.0);
        let best = servers as f64 * 100.0 * 1e6 / service_us as f64;
        let (lowest, median, highest) = simulation.limits();
        let shown = format!("{servers} servers: {rate} of {best}, {lowest} {median} {highest}");
        assert!(near(median, servers), "{shown}");
        assert!(highest <= 3 * servers && 3 * lowest >= servers, "{shown}");
        assert!(rate >= 0.95 * best, "{shown}");
    }
}

#[test]
fn beyond_the_knee_nothing_is_lost_for_long_where_throughput_falls() {
    let service = |_: usize, in_flight: usize| 2_000 + 40 * in_flight.saturating_sub(32) as u64;
    let mut simulation = Simulation::new(database(32, &service));
    simulation.run(10.0);
    let rate = simulation.run(20.0);
    let (lowest, median, highest) = simulation.limits();
    assert!(near(median, 32) && highest <= 64, "{lowest} {median} {highest}");
    assert!(rate >= 0.95 * 1_600_000.0, "{rate}");
}

#[test]
fn the_limit_follows_a_capacity_that_changes() {
    let service = |_: usize, _: usize| 2_000;
    let mut simulation = Simulation::new(database(64, &service));
    for servers in [64, 32, 64, 8, 64] {
        simulation.database.servers = servers;
        simulation.run(8.0);
        let rate = simulation.run(8.0);
        let (lowest, median, highest) = simulation.limits();
        assert!(near(median, servers), "{servers}: {lowest} {median} {highest}");
        assert!(rate >= 0.93 * servers as f64 * 50_000.0, "{servers}: {rate}");
    }
}

#[test]
fn a_slower_database_with_the_same_knee_keeps_its_limit() {
    let (fast, slow) = (|_: usize, _: usize| 2_000, |_: usize, _: usize| 6_000);
    let mut simulation = Simulation::new(database(64, &fast));
    simulation.run(10.0);
    simulation.database.service_us = &slow;
    simulation.run(10.0);
    let rate = simulation.run(20.0);
    let (lowest, median, highest) = simulation.limits();
    assert!(near(median, 64), "{lowest} {median} {highest}");
    assert!(rate >= 0.95 * 64.0 * 100.0 / 0.006, "{rate}");
}

#[test]
fn after_an_outage_the_limit_is_back_within_seconds() {
    for service_us in [2_000, 50_000] {
        let service = |_: usize, _: usize| service_us;
        let mut simulation = Simulation::new(database(64, &service));
        simulation.run(30.0);
        simulation.database.down = true;
        simulation.run(20.0);
        assert_eq!(simulation.knee.limit(), 1);
        simulation.database.down = false;
        // The last that was sent times out.
        simulation.run(3.0);
        simulation.run(5.0);
        let rate = simulation.run(5.0);
        let best = 64.0 * 100.0 * 1e6 / service_us as f64;
        assert!(rate >= 0.9 * best, "{rate} of {best}, {:?}", simulation.limits());
    }
}

#[test]
fn noise_does_not_bring_it_down() {
    let service = |_: usize, _: usize| 5_000;
    let mut simulation = Simulation::new(database(48, &service));
    simulation.database.noise = 50;
    simulation.run(10.0);
    let rate = simulation.run(60.0);
    let (lowest, median, highest) = simulation.limits();
    assert!(near(median, 48) && lowest >= 16, "{lowest} {median} {highest}");
    assert!(rate >= 0.93 * 48.0 * 100.0 / 0.005, "{rate}");
}

#[test]
fn requests_of_one_row_and_of_a_hundred_are_compared_fairly() {
    let service = |rows: usize, _: usize| 500 + 20 * rows as u64;
    let rows = |chance: &mut Chance| if chance.is(500) { 1 } else { 100 };
    let mut simulation = Simulation::new(database(32, &service));
    simulation.database.rows_of = &rows;
    simulation.run(10.0);
    let rate = simulation.run(40.0);
    let best = 32.0 * 50.5 / (500.0 + 20.0 * 50.5) * 1e6;
    let (lowest, median, highest) = simulation.limits();
    assert!(near(median, 32), "{lowest} {median} {highest}");
    assert!(rate >= 0.93 * best, "{rate} of {best}");
}

#[test]
fn a_limit_that_is_not_used_does_not_grow() {
    let mut knee = Knee::new(256);
    for millis in 0..10_000 {
        let (outcome, took) = (Outcome::Done, Duration::from_millis(2));
        let end = End { outcome, took, rows: 100, full: false };
        knee.ended(end, Duration::from_millis(millis));
    }
    assert_eq!(knee.limit(), 16);
}

#[test]
fn refusals_of_one_round_trip_cut_once() {
    let mut knee = Knee::new(256);
    let (outcome, took) = (Outcome::Overloaded, Duration::from_millis(10));
    for micros in 0..16 {
        let end = End { outcome, took, rows: 100, full: true };
        knee.ended(end, Duration::from_secs(1) + Duration::from_micros(micros));
    }
    assert_eq!(knee.limit(), 8);
}
