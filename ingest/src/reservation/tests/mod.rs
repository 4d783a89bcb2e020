//! Tests of the whole table, over the simulated and the real file system.

mod behaviour;
mod damage;
mod history;
mod measure;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use uuid::Uuid;

use super::keeper::Keeper;
use super::{Clock, Fixed, KeyMaker, Reservations, Restoring, Settings, Wanted};
use crate::fs::Fs;
use crate::log::frame::{Entry, Envelope, Record};
use crate::metrics::HeldMetrics;
use crate::pulse::{Shape, id_from_key};
use crate::sink::LogId;

const TENANT: &str = "team";
const WINDOW: Duration = Duration::from_secs(600);
const LOG: LogId = LogId(Uuid::from_u128(1));

/// Clocks that a test sets, in microseconds.
#[derive(Debug, Default)]
struct TestClock {
    wall_us: AtomicI64,
    monotonic_us: AtomicI64,
}

impl Clock for TestClock {
    fn wall_us(&self) -> i64 {
        self.wall_us.load(Ordering::Relaxed)
    }

    fn monotonic(&self) -> Duration {
        Duration::from_micros(self.monotonic_us.load(Ordering::Relaxed) as u64)
    }
}

impl TestClock {
    fn new() -> Arc<Self> {
        let clock = Self::default();
        clock.wall_us.store(1_700_000_000_000_000, Ordering::Relaxed);
        Arc::new(clock)
    }

    fn advance(&self, time: Duration) {
        self.wall_us.fetch_add(time.as_micros() as i64, Ordering::Relaxed);
        self.monotonic_us.fetch_add(time.as_micros() as i64, Ordering::Relaxed);
    }

    fn set_wall_back(&self, time: Duration) {
        self.wall_us.fetch_sub(time.as_micros() as i64, Ordering::Relaxed);
    }
}

fn settings() -> Settings {
    Settings { window: WINDOW, keys_max: 10_000, log: Some(LOG) }
}

fn open(fs: &Arc<dyn Fs>, clock: &Arc<TestClock>) -> Restoring {
    let clock: Arc<dyn Clock> = Arc::clone(clock) as _;
    let directory = Path::new("/data/reservations");
    Restoring::open(directory, Arc::clone(fs), settings(), clock, HeldMetrics::default())
        .expect("opens whatever it finds")
}

/// A table whose keeper the test drives; runs are of `run_keys` keys.
fn open_table(fs: &Arc<dyn Fs>, clock: &Arc<TestClock>, run_keys: usize) -> (Reservations, Keeper) {
    let (reservations, keeper) = open(fs, clock).into_parts();
    reservations.shared.table().run_keys = run_keys;
    (reservations, keeper)
}

/// A pulse of a client that retries: which one, and with which body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Attempt {
    pulse: u32,
    body: u128,
}

impl Attempt {
    /// Every third pulse has an id of its own, every third a key, every third both.
    fn own_id(self) -> bool {
        self.pulse % 3 != 1
    }

    fn key(self) -> Option<String> {
        (!self.pulse.is_multiple_of(3)).then(|| format!("order-{}", self.pulse))
    }

    fn fixed(self, received_at_us: i64) -> Fixed {
        let key = self.key().unwrap_or_default();
        let own = Uuid::from_u128(0xA000 + u128::from(self.pulse));
        Fixed {
            id: if self.own_id() { own } else { id_from_key(TENANT, &key) },
            event_time_ms: received_at_us / 1000,
            received_at_us,
            body_hash: self.body,
            shard: 3,
        }
    }

    fn wanted(self, keys: KeyMaker, fixed: Fixed) -> Wanted {
        let key = self.key();
        keys.wanted(TENANT, self.own_id(), key.as_deref(), fixed).expect("it has an id or a key")
    }
}

/// A record as the log keeps it.
#[derive(Debug, Clone)]
struct Logged {
    fixed: Fixed,
    key: Option<String>,
}

impl Logged {
    fn record(&self, seq: u64) -> Record<'_> {
        let envelope = Envelope {
            tenant: TENANT,
            shape: Shape::Pulse,
            received_at_us: self.fixed.received_at_us,
            trace: None,
        };
        let entry = Entry {
            id: self.fixed.id,
            event_time_ms: self.fixed.event_time_ms,
            shard: self.fixed.shard,
            service: "checkout",
            kind: "order",
            key: self.key.as_deref(),
            body_hash: Some(self.fixed.body_hash),
            refused: None,
            raw: b"{}",
        };
        Record { seq, envelope, entry }
    }
}
