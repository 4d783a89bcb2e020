//! Asks the shared count for what requests have used and will use, in the background. Keeps the
//! connection to Redis and says when there is none.

use std::cmp::{Ordering, Reverse};
use std::collections::BinaryHeap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::{MissedTickBehavior, interval, sleep};
use tracing::{info, warn};

use crate::admission::rate::Ticks;
use crate::reconnect::Reconnect;

use super::Limiter;
use super::connection::{Connection, RedisFault, RedisSettings};
use super::meter::Meter;
use super::script::Loan;

/// Meters that are asked for with one request to Redis, which works on nothing else meanwhile.
const LOANS_MAX: usize = 128;
/// Between two looks at a Redis that nobody has a question for.
const PING_INTERVAL: Duration = Duration::from_secs(1);
/// Keeps the limits of this process shared, for as long as it runs.
#[derive(Debug)]
pub struct Lender {
    limiter: Arc<Limiter>,
    pub(super) asks: mpsc::Receiver<Arc<Meter>>,
    redis: RedisSettings,
}

/// Units that may be used from a moment on. A meter has one at most.
#[derive(Debug)]
struct Reservation {
    ready: Ticks,
    units: u64,
    meter: Arc<Meter>,
}

impl Lender {
    pub(super) fn new(
        limiter: Arc<Limiter>,
        asks: mpsc::Receiver<Arc<Meter>>,
        redis: RedisSettings,
    ) -> Self {
        Self { limiter, asks, redis }
    }

    /// Runs until it is dropped.
    pub async fn run(mut self) {
        let reconnect = Reconnect::new();
        loop {
            let attempt = reconnect.attempt().await;
            let fault = match Connection::open(&self.redis).await {
                Ok(connection) => {
                    self.begin();
                    let fault = self.lend(connection).await;
                    self.end();
                    fault
                }
                Err(fault) => {
                    self.limiter.metrics.lease("failed");
                    fault
                }
            };
            if reconnect.has_failed_first(attempt).await {
                let error = anyhow::Error::new(fault);
                warn!(error = format!("{error:#}"), "limits are not shared: Redis can't be asked");
            }
        }
    }

    fn begin(&mut self) {
        while self.asks.try_recv().is_ok() {}
        self.limiter.reset();
        self.set(true);
        info!("limits are shared through Redis");
    }

    fn end(&self) {
        self.set(false);
        self.limiter.metrics.lease("failed");
    }

    fn set(&self, up: bool) {
        if let Some(link) = &self.limiter.link {
            link.set(up);
            self.limiter.metrics.set_mode(link.mode().as_str());
        }
    }

    /// Lends until Redis can't be asked.
    async fn lend(&mut self, mut connection: Connection) -> RedisFault {
        let mut reserved = Reserved::default();
        let mut ping = interval(PING_INTERVAL);
        ping.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut asking = Vec::with_capacity(LOANS_MAX);
        loop {
            let due = reserved.next_in(self.limiter.now());
            tokio::select! {
                _ = self.asks.recv_many(&mut asking, LOANS_MAX) => {
                    let asked = self.ask(&mut connection, &mut asking, &mut reserved).await;
                    if let Err(fault) = asked {
                        return fault;
                    }
                }
                () = sleep(due.unwrap_or(PING_INTERVAL)) => {}
                _ = ping.tick() => {
                    if let Err(fault) = connection.ping().await {
                        return fault;
                    }
                }
            }
            reserved.hand_out(self.limiter.now());
        }
    }

    async fn ask(
        &self,
        connection: &mut Connection,
        asking: &mut Vec<Arc<Meter>>,
        reserved: &mut Reserved,
    ) -> Result<(), RedisFault> {
        let (mut loans, mut wanted) = (Vec::new(), Vec::new());
        for meter in asking.drain(..) {
            let Some(lease) = meter.lease() else { continue };
            let units = lease.question(self.limiter.now());
            loans.push(Loan::of(&meter, units));
            wanted.push((meter, units));
        }
        let waits = connection.lend(&loans).await?;
        let now = self.limiter.now();
        for ((meter, units), wait_us) in wanted.into_iter().zip(waits) {
            let Some(lease) = meter.lease() else { continue };
            if wait_us == 0 {
                lease.lent(None);
                lease.add(units);
                self.limiter.metrics.lease("granted");
            } else {
                let ready =
                    Ticks(now.0.saturating_add(Ticks::after(Duration::from_micros(wait_us)).0));
                lease.lent(Some(ready));
                reserved.push(Reservation { ready, units, meter });
                self.limiter.metrics.lease("delayed");
            }
        }
        Ok(())
    }
}

/// What was lent and is not valid yet, the next first. As long as the list of meters at most.
#[derive(Debug, Default)]
struct Reserved(BinaryHeap<Reverse<Reservation>>);

impl Reserved {
    fn push(&mut self, reservation: Reservation) {
        self.0.push(Reverse(reservation));
    }

    fn next_in(&self, now: Ticks) -> Option<Duration> {
        self.0.peek().map(|Reverse(next)| now.until(next.ready))
    }

    fn hand_out(&mut self, now: Ticks) {
        while self.0.peek().is_some_and(|Reverse(next)| next.ready <= now) {
            let Some(Reverse(Reservation { units, meter, .. })) = self.0.pop() else { return };
            if let Some(lease) = meter.lease() {
                lease.add(units);
            }
        }
    }
}

impl Ord for Reservation {
    fn cmp(&self, other: &Self) -> Ordering {
        self.ready.cmp(&other.ready)
    }
}

impl PartialOrd for Reservation {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Reservation {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Reservation {}
