//! What one process was lent of one shared limit. Requests take from it and ask for more in
//! passing; the lender adds to it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};

use crate::admission::rate::Ticks;
use crate::admission::slice::Slice;

use super::link::{Link, Mode};
use super::meter::Meter;

/// How long after it had no room the shared count is trusted to have some again: whoever still
/// meets the limit has asked and heard within this.
const CLOSED: Ticks = Ticks::of_seconds(2);

#[derive(Debug)]
pub(super) struct Lease {
    link: Arc<Link>,
    slice: Slice,
    /// Lent and not given; below zero: owed.
    credit: AtomicI64,
    /// Asked for and not given since the last question: a process is lent by what it is asked
    /// for, or one that gives much would be lent ever more.
    denied: AtomicI64,
    /// How much to hold.
    ahead: AtomicI64,
    /// Until when nothing is given on trust, as the shared count had no room.
    closed: AtomicU64,
    /// Whether it is being asked, or an answer is yet to become valid.
    asked: AtomicBool,
    /// When what was asked for last becomes valid.
    ready: AtomicU64,
    last: Last,
}

/// The last question: written and read by the lender alone.
#[derive(Debug, Default)]
struct Last {
    at: AtomicU64,
    /// What the credit would be since, had nothing been given.
    credit: AtomicI64,
}

impl Lease {
    pub(super) fn new(link: Arc<Link>, slice: Slice) -> Self {
        Self {
            link,
            slice,
            credit: AtomicI64::new(0),
            denied: AtomicI64::new(0),
            ahead: AtomicI64::new(0),
            closed: AtomicU64::new(0),
            asked: AtomicBool::new(false),
            ready: AtomicU64::new(0),
            last: Last::default(),
        }
    }

    pub(super) fn mode(&self) -> Mode {
        self.link.mode()
    }

    /// Takes one unit; whether there was one.
    pub(super) fn take(&self, now: Ticks) -> bool {
        let open = self.is_open(now);
        let take = |credit: i64| self.slice.allows(credit, open).then_some(credit - 1);
        let taken = self.credit.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take).is_ok();
        if !taken {
            self.denied.fetch_add(1, Ordering::Relaxed);
        }
        taken
    }

    /// Charges units, down to a debt of `debt_max`.
    pub(super) fn charge(&self, units: u64, debt_max: u64) {
        let signed = |units: u64| i64::try_from(units).unwrap_or(i64::MAX / 4);
        let charge = |credit: i64| Some((credit - signed(units)).max(-signed(debt_max)));
        // It always charges.
        let _ = self.credit.fetch_update(Ordering::Relaxed, Ordering::Relaxed, charge);
    }

    pub(super) fn remaining(&self, now: Ticks) -> u64 {
        self.slice.remaining(self.credit.load(Ordering::Relaxed), self.is_open(now))
    }

    pub(super) fn ready(&self) -> Ticks {
        Ticks(self.ready.load(Ordering::Relaxed))
    }

    /// Has the lender ask for more, if it is time to and it is not doing so.
    pub(super) fn ask(&self, meter: &Arc<Meter>, now: Ticks) {
        if self.asked.load(Ordering::Relaxed) || self.wanted(now).is_none() {
            return;
        }
        // With the queue full the next request asks again.
        if !self.asked.swap(true, Ordering::AcqRel) && !self.link.ask(meter) {
            self.asked.store(false, Ordering::Release);
        }
    }

    fn wanted(&self, now: Ticks) -> Option<u64> {
        let (credit, ahead) = (&self.credit, &self.ahead);
        let (credit, ahead) = (credit.load(Ordering::Relaxed), ahead.load(Ordering::Relaxed));
        self.slice.wanted(credit, ahead, self.is_open(now))
    }

    /// Units to ask for, as many as were needed lately. For the lender, once for each question.
    pub(super) fn question(&self, now: Ticks) -> u64 {
        let Last { at, credit: before } = &self.last;
        let credit = self.credit.load(Ordering::Relaxed);
        let given = before.load(Ordering::Relaxed).saturating_sub(credit);
        let needed = given.saturating_add(self.denied.swap(0, Ordering::Relaxed));
        let elapsed = Ticks(at.swap(now.0, Ordering::Relaxed)).until(now);
        self.ahead.store(self.slice.ahead(needed, elapsed), Ordering::Relaxed);
        let units = self.wanted(now).unwrap_or(0);
        before.store(credit.saturating_add_unsigned(units), Ordering::Relaxed);
        units
    }

    /// The shared count lends, at once or not before `ready`.
    pub(super) fn lent(&self, ready: Option<Ticks>) {
        let ready = ready.map_or(0, |ready| ready.0);
        self.ready.store(ready, Ordering::Relaxed);
        let closed = if ready == 0 { 0 } else { ready.saturating_add(CLOSED.0) };
        self.closed.store(closed, Ordering::Relaxed);
    }

    fn is_open(&self, now: Ticks) -> bool {
        now.0 >= self.closed.load(Ordering::Relaxed)
    }

    /// Adds what was lent once it is valid.
    pub(super) fn add(&self, units: u64) {
        self.credit.fetch_add(i64::try_from(units).unwrap_or(0), Ordering::Relaxed);
        self.asked.store(false, Ordering::Release);
    }

    /// Begins anew: nothing lent, nothing owed, nobody asked.
    pub(super) fn reset(&self) {
        self.credit.store(0, Ordering::Relaxed);
        self.last.credit.store(0, Ordering::Relaxed);
        self.lent(None);
        self.asked.store(false, Ordering::Release);
    }
}
