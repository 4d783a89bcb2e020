//! One limit of one tenant: its state, and where it is counted now. Never waits.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::admission::rate::{Paid, Rate, Ticks};
use crate::admission::slice::Slice;

use super::Quota;
use super::lease::Lease;
use super::link::{Link, Mode};

/// What is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Requests,
    Pulses,
}

impl Kind {
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Requests => "requests",
            Self::Pulses => "pulses",
        }
    }
}

/// Why something is not given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Denied {
    /// It is used up until then.
    Until(Ticks),
    /// The shared count can't be asked, and the settings say to refuse then.
    Unknown,
}

/// One limit of one tenant.
#[derive(Debug)]
pub(super) struct Meter {
    kind: Kind,
    tenant: Arc<str>,
    /// The limit where this process counts by itself.
    rate: Rate,
    burst: u64,
    paid: AtomicU64,
    lease: Option<Lease>,
}

impl Meter {
    /// Of `limit` (units a minute, burst); `None` where there is none.
    pub(super) fn new(
        kind: Kind,
        tenant: &Arc<str>,
        (per_minute, burst): (u64, u64),
        divide_by: u64,
        link: Option<&Arc<Link>>,
    ) -> Option<Self> {
        let rate = Rate::new(per_minute, burst, divide_by)?;
        let slice = Slice::new(per_minute, burst);
        let lease = link.map(|link| Lease::new(Arc::clone(link), slice));
        let (tenant, paid) = (Arc::clone(tenant), AtomicU64::new(0));
        Some(Self { kind, tenant, rate, burst, paid, lease })
    }

    /// Has what another has counted here; what that one was lent stays with it.
    pub(super) fn go_on_from(&self, former: &Self) {
        self.paid.store(former.paid.load(Ordering::Relaxed), Ordering::Relaxed);
    }

    /// Takes one unit.
    pub(super) fn take(self: &Arc<Self>, now: Ticks) -> Result<(), Denied> {
        match self.counted() {
            Counted::Here => self.take_here(now).map_err(Denied::Until),
            Counted::Nowhere => Err(Denied::Unknown),
            Counted::Shared(lease) => {
                let taken = lease.take(now);
                lease.ask(self, now);
                if taken { Ok(()) } else { Err(Denied::Until(lease.ready())) }
            }
        }
    }

    /// Whether a unit could be taken.
    pub(super) fn look(self: &Arc<Self>, now: Ticks) -> Result<(), Denied> {
        match self.counted() {
            Counted::Here => {
                let paid = Paid(self.paid.load(Ordering::Relaxed));
                self.rate.take(paid, now).map(drop).map_err(Denied::Until)
            }
            Counted::Nowhere => Err(Denied::Unknown),
            Counted::Shared(lease) if lease.remaining(now) > 0 => Ok(()),
            Counted::Shared(lease) => {
                lease.ask(self, now);
                Err(Denied::Until(lease.ready()))
            }
        }
    }

    /// Charges units that were used.
    pub(super) fn charge(self: &Arc<Self>, now: Ticks, units: u64) {
        match self.counted() {
            Counted::Here => {
                let charge = |paid| Some(self.rate.charge(Paid(paid), now, units).0);
                // It always charges.
                let _ = self.paid.fetch_update(Ordering::Relaxed, Ordering::Relaxed, charge);
            }
            Counted::Nowhere => {}
            Counted::Shared(lease) => {
                lease.charge(units, self.rate.debt_max());
                lease.ask(self, now);
            }
        }
    }

    /// What is left.
    pub(super) fn quota(&self, now: Ticks) -> Quota {
        let (remaining, ready) = match self.counted() {
            Counted::Here => {
                let paid = Paid(self.paid.load(Ordering::Relaxed));
                let remaining = self.rate.remaining(paid, now);
                match self.rate.take(paid, now) {
                    Err(ready) => (remaining, ready),
                    Ok(_) => (remaining, self.rate.restored(paid, now)),
                }
            }
            Counted::Nowhere => (0, now),
            Counted::Shared(lease) => (lease.remaining(now), lease.ready()),
        };
        Quota { per_minute: self.rate.per_minute(), remaining, more_in: now.until(ready) }
    }

    /// The lease, where there is one.
    pub(super) fn lease(&self) -> Option<&Lease> {
        self.lease.as_ref()
    }

    /// Forgets what was lent.
    pub(super) fn reset(&self) {
        if let Some(lease) = &self.lease {
            lease.reset();
        }
    }

    /// Units a minute and at once, of all processes together.
    pub(super) fn limit(&self) -> (u64, u64) {
        (self.rate.per_minute(), self.burst)
    }

    /// Where the shared count is kept. A limit that changes begins a new one.
    pub(super) fn key(&self) -> String {
        let (per_minute, kind) = (self.rate.per_minute(), self.kind.as_str());
        format!("pulsemesh:limit:{kind}:{per_minute}:{}", self.tenant)
    }

    fn take_here(&self, now: Ticks) -> Result<(), Ticks> {
        let mut paid = self.paid.load(Ordering::Relaxed);
        loop {
            let next = self.rate.take(Paid(paid), now)?.0;
            let swap =
                self.paid.compare_exchange_weak(paid, next, Ordering::Relaxed, Ordering::Relaxed);
            match swap {
                Ok(_) => return Ok(()),
                Err(newer) => paid = newer,
            }
        }
    }

    fn counted(&self) -> Counted<'_> {
        let Some(lease) = &self.lease else { return Counted::Here };
        match lease.mode() {
            Mode::Shared => Counted::Shared(lease),
            Mode::Refuse => Counted::Nowhere,
            Mode::Alone | Mode::Local => Counted::Here,
        }
    }
}

/// Where units are counted now.
enum Counted<'m> {
    Here,
    Shared(&'m Lease),
    Nowhere,
}
