//! How a service's rows are to be spread, by how many of them there are: measured as pulses come,
//! before the log. Memory is fixed, whatever clients send; nothing is locked or waited for.

mod bucket;
mod rate;
mod sketch;
#[cfg(test)]
mod tests;

use std::fmt;
use std::sync::atomic::{AtomicU32, Ordering};

use xxhash_rust::xxh3::xxh3_64_with_seed;

use crate::clock::Clock;

use super::layout::{BUCKET_MS, Layout, bucket_of};
use bucket::Pulse;
use sketch::Sketch;

/// A row counts as so many bytes at least: a partition's rows times this are its bytes, so that
/// one bound serves for both.
const ROW_BYTES: u64 = 500;
/// How late a pulse may come and be one of the stream that the rate measures. What comes later is
/// sent again or filled in: how fast it comes tells nothing of how much there is for one bucket.
const LATE_MS: i64 = 15 * 60 * 1000;
/// How long a service or a bucket that gets nothing is known: as long as a bucket lasts.
const IDLE_S: u32 = 600;
/// The same of a slice. There are many, and nearly all that comes for one comes at once.
const SLICE_IDLE_S: u32 = 120;

/// Measures rates and gives layouts, so that no partition gets much over 50,000 rows or 25 MB,
/// and none over 100,000 or 50 MB: a bucket that has grown has had several layouts, and its
/// partitions may hold rows of each.
///
/// A process knows only its own pulses. It acts as if each of the other writers had as many:
/// with `n` writers it lets a partition have `1/n` of the bound of its own rows. However uneven
/// the shares are, the sum over the writers keeps the bound.
///
/// What it knows is lost with the process; a bucket that is being filled over a restart may get
/// twice the bound.
pub struct Sharder {
    clock: Clock,
    /// Clients name their services: none shall choose names that meet those of others.
    seed: u64,
    writers: AtomicU32,
    services: Sketch,
    buckets: Sketch,
    slices: Sketch,
}

impl fmt::Debug for Sharder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sharder").field("writers", &self.writers).finish_non_exhaustive()
    }
}

impl Sharder {
    /// Nothing measured yet, and no other writers.
    pub fn new(clock: Clock) -> Self {
        Self::with_seed(clock, rand::random())
    }

    fn with_seed(clock: Clock, seed: u64) -> Self {
        Self {
            clock,
            seed,
            writers: AtomicU32::new(1),
            services: Sketch::new(IDLE_S),
            buckets: Sketch::new(IDLE_S),
            slices: Sketch::new(SLICE_IDLE_S),
        }
    }

    /// How many processes write, this one included.
    pub fn set_writers(&self, writers: u32) {
        self.writers.store(writers.max(1), Ordering::Relaxed);
    }

    /// The layout of a new row of that service, which is counted. `bytes` is the size of its
    /// original bytes.
    pub fn layout(&self, tenant: &str, service: &str, event_time_ms: i64, bytes: usize) -> Layout {
        let now_us = (self.clock)();
        let now_s = (now_us / 1_000_000) as u32;
        let load = (bytes as u64).max(ROW_BYTES);
        let writers = u64::from(self.writers.load(Ordering::Relaxed));
        let seed = xxh3_64_with_seed(tenant.as_bytes(), self.seed);
        let service = xxh3_64_with_seed(service.as_bytes(), seed);
        let passed = event_time_ms < now_us / 1000 - LATE_MS;
        let least = if passed {
            Layout::ONE
        } else {
            let rate = rate::measure(self.services.slot(service, now_s), now_us, load);
            bucket::layout_of(rate, writers)
        };
        let key = mix(service, (bucket_of(event_time_ms) / BUCKET_MS).cast_unsigned());
        let pulse = Pulse { event_time_ms, load, least, passed, writers, now_s };
        bucket::place(self.buckets.slot(key, now_s), &self.slices, key, pulse)
    }
}

/// A key of a key and a number; its upper bits are as good as its lower ones.
fn mix(key: u64, number: u64) -> u64 {
    // The finalizer of SplitMix64 (Steele, Lea and Flood, 2014).
    let mixed = key ^ number.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let mixed = (mixed ^ mixed >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ mixed >> 31
}
