//! Clients of the crash rounds: each sends pulses with ids of its own until the server is
//! gone, and remembers which were acknowledged. What was sent before may be sent again.

use std::collections::HashSet;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Result, ensure};
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{RngExt, SeedableRng};
use serde_json::Value;
use xtask::client::{Client, Request, Response};
use xtask::events::{now_ms, rfc3339};

use super::plan::Round;

/// Far more pulses than one connection sends in a round; each has numbers of its own.
const LANE_NUMBERS: u64 = 1_000_000;
/// One request in so many repeats a pulse that was acknowledged before.
const REPEATS: u32 = 8;
/// Acknowledged pulses of earlier rounds that a lane may repeat.
const REMEMBERED_MAX: usize = 64;

/// Everything that was sent in all rounds.
#[derive(Debug)]
pub(super) struct Sent {
    start_ms: u64,
    next: u64,
    rng: StdRng,
    /// Numbers whose acknowledgement arrived.
    pub(super) acknowledged: HashSet<u64>,
    /// Numbers that were sent and not answered.
    pub(super) unknown: HashSet<u64>,
}

impl Sent {
    pub(super) fn new(seed: u64) -> Self {
        Self {
            start_ms: now_ms(),
            next: 0,
            rng: StdRng::seed_from_u64(seed),
            acknowledged: HashSet::new(),
            unknown: HashSet::new(),
        }
    }

    pub(super) fn acknowledged(&self) -> usize {
        self.acknowledged.len()
    }

    /// The service of each connection of every round so far.
    pub(super) fn services(&self) -> impl Iterator<Item = String> {
        (0..self.next).step_by(LANE_NUMBERS as usize).map(service)
    }

    /// The clients of a round; each has numbers of its own.
    pub(super) fn lanes(&mut self, round: &Round) -> Vec<Lane> {
        let known: Vec<u64> = self.acknowledged.iter().copied().take(10_000).collect();
        let mut lanes = Vec::new();
        for number in 0..round.lanes {
            let first = self.next + number as u64 * LANE_NUMBERS;
            lanes.push(Lane {
                number,
                start_ms: self.start_ms,
                pulses: round.pulses,
                target: format!("/pulse?ack={}", round.ack),
                next: first,
                rng: StdRng::seed_from_u64(round.seed ^ number as u64),
                repeat: known.sample(&mut self.rng, REMEMBERED_MAX).copied().collect(),
                acknowledged: Vec::new(),
                unknown: Vec::new(),
            });
        }
        self.next += round.lanes as u64 * LANE_NUMBERS;
        lanes
    }

    pub(super) fn take_back(&mut self, lanes: Vec<Lane>) {
        for lane in lanes {
            self.acknowledged.extend(lane.acknowledged);
            self.unknown.extend(lane.unknown);
        }
        let acknowledged = &self.acknowledged;
        self.unknown.retain(|number| !acknowledged.contains(number));
    }
}

/// One connection of one round.
#[derive(Debug)]
pub(super) struct Lane {
    number: usize,
    start_ms: u64,
    pulses: usize,
    target: String,
    next: u64,
    rng: StdRng,
    repeat: Vec<u64>,
    acknowledged: Vec<u64>,
    unknown: Vec<u64>,
}

impl Lane {
    pub(super) fn number(&self) -> usize {
        self.number
    }

    /// Sends until the connection breaks, which it may only do once the server is killed.
    pub(super) fn run(mut self, address: SocketAddr, killed: &AtomicBool) -> Result<Self> {
        let mut client = Client::new(address);
        loop {
            let numbers = self.choose();
            match client.send(&self.request(&numbers)) {
                Ok(response) => self.answered(&response, numbers)?,
                Err(error) => {
                    ensure!(killed.load(Ordering::SeqCst), "before the kill: {error:#}");
                    self.unknown.extend(numbers);
                    return Ok(self);
                }
            }
        }
    }

    /// New numbers, and now and then one that was acknowledged before.
    fn choose(&mut self) -> Vec<u64> {
        let mut numbers: Vec<u64> = (self.next..).take(self.pulses).collect();
        self.next += self.pulses as u64;
        if self.rng.random_ratio(1, REPEATS)
            && let Some(before) = self.repeat.choose(&mut self.rng)
        {
            numbers[0] = *before;
        }
        numbers
    }

    fn request(&self, numbers: &[u64]) -> Request {
        let bodies: Vec<String> = numbers.iter().map(|number| self.body(*number)).collect();
        match bodies.as_slice() {
            [single] => Request::json(&self.target, single.as_str()),
            many => Request::lines(&self.target, many.join("\n")),
        }
    }

    /// The same bytes whenever the same number is sent.
    fn body(&self, number: u64) -> String {
        let (service, time) = (service(number), rfc3339(self.start_ms - number % 60_000));
        format!(
            r#"{{"service_name":"{service}","event_id":"crash-{number}","event_time":"{time}","#
        ) + &format!(r#""latency_ms":{},"metadata":{{"number":"{number}"}}}}"#, number % 1000)
    }

    fn answered(&mut self, response: &Response, numbers: Vec<u64>) -> Result<()> {
        let text = response.text();
        if response.status == 503 {
            // Refused: nothing is promised, and nothing may be there for certain either.
            self.unknown.extend(numbers);
            return Ok(());
        }
        ensure!(matches!(response.status, 200 | 202), "{}: {text}", response.status);
        if numbers.len() > 1 {
            let answer: Value = response.json()?;
            let count = |name: &str| answer[name].as_u64().unwrap_or_default();
            let all = count("accepted") + count("duplicates");
            ensure!(all == numbers.len() as u64 && count("rejected") == 0, "{text}");
        }
        if self.repeat.len() < 2 * REMEMBERED_MAX {
            self.repeat.push(numbers[0]);
        }
        self.acknowledged.extend(numbers);
        Ok(())
    }
}

/// The service of a pulse, by its number.
fn service(number: u64) -> String {
    format!("crash-{}", number / LANE_NUMBERS)
}
