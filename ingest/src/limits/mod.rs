//! What each tenant has used of its limits, in this process or shared by several through Redis.
//! Holds the state and keeps the count; what follows from a state is decided in `admission`.

mod connection;
mod lease;
mod lender;
mod link;
mod meter;
pub mod metrics;
mod script;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;

use crate::admission::rate::{Ticks, burst_of};
use crate::code::Code;
use crate::submission::Refusal;

use link::{Link, Mode};
use meter::{Denied, Kind, Meter};
use metrics::LimitMetrics;

pub use connection::RedisSettings;
pub(crate) use connection::{RedisFault, redis_client, within};
pub use lender::Lender;
pub use link::WithoutRedis;

/// When to come back where nobody can say whether a tenant is within its limits.
const RETRY_UNKNOWN: Duration = Duration::from_secs(2);

/// How much of something a tenant may use.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Allowance {
    /// Units a minute; 0: any number.
    pub per_minute: u64,
    /// Units at once after a pause; `None`: what fits the limit.
    pub burst: Option<u64>,
}

impl Allowance {
    fn burst(self) -> u64 {
        self.burst.unwrap_or_else(|| burst_of(self.per_minute)).max(1)
    }
}

/// What is left of one limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Quota {
    /// The limit.
    pub per_minute: u64,
    /// Units that this process would give now.
    pub remaining: u64,
    /// How long until it gives more, or all that it gives at once.
    pub more_in: Duration,
}

/// What is left of a tenant's limits; `None` for what has none.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Standing {
    /// Of requests.
    pub requests: Option<Quota>,
    /// Of pulses.
    pub pulses: Option<Quota>,
}

/// What one tenant may use.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Allowances {
    /// Requests.
    pub requests: Allowance,
    /// Pulses.
    pub pulses: Allowance,
}

impl Allowances {
    fn are_limits(self) -> bool {
        self.requests.per_minute > 0 || self.pulses.per_minute > 0
    }
}

/// As many as there are tenants with limits in the settings.
type Meters = HashMap<Box<str>, Arc<TenantMeters>>;

/// The limits of all tenants. Asking it takes no lock and allocates nothing.
#[derive(Debug)]
pub struct Limiter {
    divide_by: u64,
    link: Option<Arc<Link>>,
    metrics: LimitMetrics,
    started: Instant,
    meters: ArcSwap<Meters>,
}

impl Limiter {
    /// Counts in this process alone, which gives one of `divide_by` equal parts of each limit.
    pub fn new(divide_by: u64, metrics: LimitMetrics) -> Arc<Self> {
        metrics.set_mode(Mode::Alone.as_str());
        Arc::new(Self::with(divide_by, None, metrics))
    }

    /// Counts nothing that anybody reads, until it is configured.
    pub fn unlimited() -> Arc<Self> {
        Self::new(1, LimitMetrics::default())
    }

    /// Shares the count with all processes of the same Redis, as long as the lender runs. While
    /// Redis can't be asked, `without` says what is done, with limits divided by `divide_by`.
    pub fn shared(
        divide_by: u64,
        redis: RedisSettings,
        without: WithoutRedis,
        metrics: LimitMetrics,
    ) -> (Arc<Self>, Lender) {
        let (link, asks) = Link::new(without);
        metrics.set_mode(link.mode().as_str());
        let limiter = Arc::new(Self::with(divide_by, Some(link), metrics));
        (Arc::clone(&limiter), Lender::new(limiter, asks, redis))
    }

    fn with(divide_by: u64, link: Option<Arc<Link>>, metrics: LimitMetrics) -> Self {
        let meters = ArcSwap::default();
        Self { divide_by, link, metrics, started: Instant::now(), meters }
    }

    /// Has these tenants and no others from now on. What a tenant has used stays known where its
    /// limits are as before; other limits begin a new count.
    pub fn configure<'t>(&self, tenants: impl IntoIterator<Item = (&'t str, Allowances)>) {
        self.configure_divided(None, tenants);
    }

    /// The same, with limits divided into so many parts; `None`: as it was made. Other parts begin
    /// no new count.
    pub fn configure_divided<'t>(
        &self,
        divide_by: Option<u64>,
        tenants: impl IntoIterator<Item = (&'t str, Allowances)>,
    ) {
        let divide_by = divide_by.unwrap_or(self.divide_by);
        let known = self.meters.load_full();
        let mut meters = Meters::new();
        for (tenant, allowances) in tenants.into_iter().filter(|(_, limits)| limits.are_limits()) {
            let same = known.get(tenant).filter(|known| known.allowances == allowances);
            let found = match same {
                Some(known) if known.divide_by == divide_by => Arc::clone(known),
                Some(known) => Arc::new(self.make(tenant, allowances, divide_by).after(known)),
                None => Arc::new(self.make(tenant, allowances, divide_by)),
            };
            meters.insert(tenant.into(), found);
        }
        self.meters.store(Arc::new(meters));
    }

    fn make(&self, tenant: &str, allowances: Allowances, divide_by: u64) -> TenantMeters {
        let tenant: Arc<str> = tenant.into();
        let meter = |kind, allowance: Allowance| {
            let limit = (allowance.per_minute, allowance.burst());
            Meter::new(kind, &tenant, limit, divide_by, self.link.as_ref()).map(Arc::new)
        };
        TenantMeters {
            allowances,
            divide_by,
            requests: meter(Kind::Requests, allowances.requests),
            pulses: meter(Kind::Pulses, allowances.pulses),
        }
    }

    /// Takes one request of a tenant, unless there is none left or pulses are owed.
    ///
    /// # Errors
    /// The refusal, with the time until it would succeed.
    pub fn admit(&self, tenant: &str) -> Result<(), Refusal> {
        let meters = self.meters.load();
        let Some(meters) = meters.get(tenant) else { return Ok(()) };
        let now = self.now();
        meters.admit(now).map_err(|denied| self.refusal(denied, now))
    }

    /// Charges pulses that a request had; what is not there is owed, and the next is refused.
    pub fn charge(&self, tenant: &str, pulses: u64) {
        let meters = self.meters.load();
        if let Some(meter) = meters.get(tenant).and_then(|meters| meters.pulses.as_ref()) {
            meter.charge(self.now(), pulses);
        }
    }

    /// What is left of a tenant's limits; `None` where it has none.
    pub fn standing(&self, tenant: &str) -> Option<Standing> {
        let meters = self.meters.load();
        meters.get(tenant).map(|meters| meters.standing(self.now()))
    }

    fn now(&self) -> Ticks {
        Ticks::after(self.started.elapsed())
    }

    fn refusal(&self, (kind, denied): (Kind, Denied), now: Ticks) -> Refusal {
        let (code, wait) = match (denied, kind) {
            (Denied::Unknown, _) => (Code::LimitsUnavailable, RETRY_UNKNOWN),
            (Denied::Until(ready), Kind::Requests) => (Code::TooManyRequests, now.until(ready)),
            (Denied::Until(ready), Kind::Pulses) => (Code::TooManyPulses, now.until(ready)),
        };
        self.metrics.refused(code);
        Refusal::later(code, wait)
    }

    /// Forgets all that was lent, which may be of a count that is lost.
    fn reset(&self) {
        for tenant in self.meters.load().values() {
            let meters = [&tenant.requests, &tenant.pulses];
            meters.into_iter().flatten().for_each(|meter| meter.reset());
        }
    }
}

/// One tenant's limits and what is used of them.
#[derive(Debug)]
struct TenantMeters {
    allowances: Allowances,
    divide_by: u64,
    requests: Option<Arc<Meter>>,
    pulses: Option<Arc<Meter>>,
}

impl TenantMeters {
    /// What was used before is used still.
    fn after(self, former: &Self) -> Self {
        for (meter, former) in [(&self.requests, &former.requests), (&self.pulses, &former.pulses)]
        {
            if let (Some(meter), Some(former)) = (meter, former) {
                meter.go_on_from(former);
            }
        }
        self
    }

    /// A debt of pulses is asked for first: what it refuses takes no request.
    fn admit(&self, now: Ticks) -> Result<(), (Kind, Denied)> {
        if let Some(pulses) = &self.pulses {
            pulses.look(now).map_err(|denied| (Kind::Pulses, denied))?;
        }
        if let Some(requests) = &self.requests {
            requests.take(now).map_err(|denied| (Kind::Requests, denied))?;
        }
        Ok(())
    }

    fn standing(&self, now: Ticks) -> Standing {
        let quota = |meter: &Option<Arc<Meter>>| meter.as_ref().map(|meter| meter.quota(now));
        Standing { requests: quota(&self.requests), pulses: quota(&self.pulses) }
    }
}
