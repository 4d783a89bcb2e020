//! One round's settings, all from its seed.

use std::path::Path;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{RngExt, SeedableRng};
use xtask::flags;
use xtask::server::Launch;

/// How one round goes.
#[derive(Debug, Clone)]
pub(super) struct Round {
    pub(super) seed: u64,
    /// How many connections send.
    pub(super) lanes: usize,
    /// Pulses of a request; 1 is a single object.
    pub(super) pulses: usize,
    pub(super) ack: &'static str,
    /// When the process is killed, from when it listens.
    pub(super) kill_after: Duration,
    /// Kills it this long after its start instead, ready or not.
    pub(super) kill_in_start: Option<Duration>,
    batch_size: &'static str,
    flush_interval: &'static str,
    workers: &'static str,
    segment: &'static str,
}

impl Round {
    pub(super) fn new(seed: u64, number: u64) -> Self {
        let mut rng = StdRng::seed_from_u64(seed ^ number.wrapping_mul(0x9E37_79B9_7F4A_7C15));
        let mut pick = |from: &[&'static str]| *from.choose(&mut rng).unwrap_or(&"");
        let ack = pick(&["durable", "durable", "durable", "stored"]);
        let batch_size = pick(&["1", "7", "100", "1000", "5000"]);
        let flush_interval = pick(&["1ms", "10ms", "100ms", "1s"]);
        let workers = pick(&["1", "2", "4"]);
        let segment = pick(&["1MiB", "2MiB", "16MiB"]);
        let in_start = rng.random_ratio(1, 10);
        Self {
            seed: rng.random(),
            lanes: rng.random_range(1..=8),
            pulses: *[1, 1, 5, 20].choose(&mut rng).unwrap_or(&1),
            ack,
            kill_after: Duration::from_millis(rng.random_range(5..700)),
            kill_in_start: in_start.then(|| Duration::from_micros(rng.random_range(500..60_000))),
            batch_size,
            flush_interval,
            workers,
            segment,
        }
    }

    /// The server with this round's settings.
    pub(super) fn launch(&self, binary: &Path, data_dir: &Path) -> Launch {
        Launch::new(binary, data_dir)
            .flag(flags::BATCH_SIZE, self.batch_size)
            .flag(flags::FLUSH_INTERVAL, self.flush_interval)
            .flag(flags::WORKERS, self.workers)
            .flag(flags::LOG_SEGMENT, self.segment)
    }
}

#[test]
fn a_seed_makes_the_same_rounds_and_rounds_differ() {
    let text = |seed, number| format!("{:?}", Round::new(seed, number));
    assert_eq!(text(1, 2), text(1, 2));
    assert_ne!(text(1, 2), text(1, 3));
    assert_ne!(text(1, 2), text(2, 2));
}
