//! Finds how many requests in flight a database works best with. Pure: time is passed in.
//!
//! Throughput against the number in flight rises, bends and then stays flat or falls; beyond the
//! bend only latency grows. So the limit climbs a ladder of levels by hill climbing: a level is
//! kept only if it brings more rows per second than the one below. Throughput is compared, not
//! latency: it needs no idea of what an unloaded request takes, which differs by size and drifts.
//! A refusal or timeout cuts at once, as in TCP, and keeps the limit below for a while.

use std::time::Duration;

use super::Outcome;

/// The first limit.
const START: usize = 16;
/// What the next level must bring more to be worth its latency. Levels lie 41 % apart; what is
/// lost at most by stopping below the bend is this.
const GAIN: f64 = 0.03;
/// A request's own cost, in rows: what makes requests of 1 and of 100 rows comparable.
const REQUEST_ROWS: usize = 16;
/// A window ends after this, if it has enough requests by then. Long enough for a few pauses of
/// a garbage collector to be a part of it rather than all, short enough to climb in seconds.
const WINDOW_MIN: Duration = Duration::from_millis(80);
const WINDOW_REQUESTS_MIN: usize = 32;
/// A database that slow is judged by few requests.
const WINDOW_MAX: Duration = Duration::from_secs(1);
/// A rate beyond these parts of what its level had is believed when it is seen twice; then all
/// that was known is of other times.
const CHANGED: (f64, f64) = (0.7, 1.5);
/// For how many windows it is known what a level brings; then it is tried again. Above costs
/// only latency, below costs throughput.
const ABOVE_KNOWN: u64 = 16;
const BELOW_KNOWN: u64 = 64;
/// For how long the level that was refused is not tried again.
const CEILING: Duration = Duration::from_secs(10);
/// Levels of a cut: to the half.
const CUT: usize = 2;

/// How one request ended.
#[derive(Debug, Clone, Copy)]
pub(super) struct End {
    pub(super) outcome: Outcome,
    pub(super) took: Duration,
    pub(super) rows: usize,
    /// Whether all that may be in flight was.
    pub(super) full: bool,
}

/// Finds the knee.
#[derive(Debug)]
pub(super) struct Knee {
    /// Limits, rising.
    levels: Vec<usize>,
    at: usize,
    rates: Vec<Option<Rate>>,
    /// How many windows were measured.
    windows: u64,
    window: Window,
    /// The last window was far from what its level had.
    doubted: bool,
    overload: Overload,
}

/// What a level brought, in rows per second, and when that was measured, in windows.
#[derive(Debug, Clone, Copy)]
struct Rate {
    rate: f64,
    window: u64,
}

#[derive(Debug, Default)]
struct Window {
    /// Requests that were sent before the limit was as it is.
    before: usize,
    begun: Option<Duration>,
    requests: usize,
    full: usize,
    rows: usize,
}

#[derive(Debug, Default)]
struct Overload {
    cut_at: Option<Duration>,
    /// Refusals since the last answer.
    in_row: usize,
    /// The highest level until that time.
    ceiling: Option<(usize, Duration)>,
    /// Up to this level it is known that the database could do with it: regained in steps of
    /// one round trip.
    regain: usize,
}

impl Knee {
    pub(super) fn new(limit_max: usize) -> Self {
        let levels = levels(limit_max.max(1));
        let at = levels.iter().rposition(|limit| *limit <= START).unwrap_or(0);
        Self {
            rates: vec![None; levels.len()],
            levels,
            at,
            windows: 0,
            window: Window::default(),
            doubted: false,
            overload: Overload::default(),
        }
    }

    pub(super) fn limit(&self) -> usize {
        self.levels.get(self.at).copied().unwrap_or(1)
    }

    pub(super) fn ended(&mut self, end: End, now: Duration) {
        match end.outcome {
            Outcome::Failed => {}
            Outcome::Overloaded => self.overloaded(end.took, now),
            Outcome::Done => {
                self.overload.in_row = 0;
                self.window.add(&end, now);
                if self.at < self.overload.regain {
                    self.regain();
                } else if self.window.is_over(self.limit(), now) {
                    self.measured(now);
                }
            }
        }
    }

    fn overloaded(&mut self, took: Duration, now: Duration) {
        self.overload.in_row += 1;
        let sent_at = now.saturating_sub(took);
        if self.overload.cut_at.is_some_and(|cut_at| sent_at <= cut_at) {
            return;
        }
        // All that was in flight has failed, and what was sent after the cut: this is no matter
        // of load, and says nothing of what the database can do when it is back.
        let outage = self.overload.in_row > self.limit();
        let below = self.at.saturating_sub(CUT);
        self.overload.cut_at = Some(now);
        self.overload.ceiling = None;
        self.rates.fill(None);
        if outage {
            self.go_to(0);
            return;
        }
        self.overload.ceiling = Some((self.at.saturating_sub(1), now + CEILING));
        self.overload.regain = below;
        self.go_to(below);
    }

    /// A round trip of answers: one step back up to where it was.
    fn regain(&mut self) {
        if self.window.begun.is_some() && self.window.requests + 1 >= self.limit() {
            self.go_to((self.at + CUT).min(self.overload.regain));
        }
    }

    fn measured(&mut self, now: Duration) {
        let Some(rate) = self.window.rate(now) else {
            self.window = Window::default();
            return;
        };
        self.window = Window::default();
        self.windows += 1;
        let known = self.rates.get(self.at).copied().flatten();
        let far = known
            .is_some_and(|known| rate < known.rate * CHANGED.0 || rate > known.rate * CHANGED.1);
        if far && !self.doubted {
            self.doubted = true;
            return;
        }
        self.doubted = false;
        let rate = match known {
            Some(_) if far => {
                self.rates.fill(None);
                rate
            }
            Some(known) => f64::midpoint(known.rate, rate),
            None => rate,
        };
        self.rates[self.at] = Some(Rate { rate, window: self.windows });
        self.decide(rate, now);
    }

    fn decide(&mut self, rate: f64, now: Duration) {
        let below = self.at.checked_sub(1).map(|at| self.known(at, BELOW_KNOWN));
        let ceiling = match self.overload.ceiling {
            Some((ceiling, until)) if now < until => ceiling,
            _ => self.levels.len() - 1,
        };
        let above = (self.at < ceiling).then(|| self.known(self.at + 1, ABOVE_KNOWN));
        match (below, above) {
            (Some(Some(below)), _) if rate < below * (1.0 + GAIN) => self.go_to(self.at - 1),
            (_, Some(None)) => self.go_to(self.at + 1),
            (_, Some(Some(above))) if above > rate * (1.0 + GAIN) => self.go_to(self.at + 1),
            (Some(None), _) => self.go_to(self.at - 1),
            _ => {}
        }
    }

    fn known(&self, at: usize, windows: u64) -> Option<f64> {
        let rate = self.rates.get(at).copied().flatten()?;
        (self.windows - rate.window <= windows).then_some(rate.rate)
    }

    fn go_to(&mut self, at: usize) {
        let before = self.limit();
        self.at = at;
        self.doubted = false;
        self.window = Window { before, ..Window::default() };
    }
}

impl Window {
    fn add(&mut self, end: &End, now: Duration) {
        if self.before > 0 {
            self.before -= 1;
            return;
        }
        // What ends at the first moment was worked for before it.
        if self.begun.is_none() {
            self.begun = Some(now);
            return;
        }
        self.requests += 1;
        self.full += usize::from(end.full);
        self.rows += end.rows + REQUEST_ROWS;
    }

    fn is_over(&self, limit: usize, now: Duration) -> bool {
        let Some(begun) = self.begun else { return false };
        let lasted = now.saturating_sub(begun);
        let enough = self.requests >= WINDOW_REQUESTS_MIN.max(2 * limit);
        (enough && lasted >= WINDOW_MIN) || (lasted >= WINDOW_MAX && self.requests > limit)
    }

    /// Rows per second; `None` where the limit was not what held them back.
    fn rate(&self, now: Duration) -> Option<f64> {
        let lasted = now.saturating_sub(self.begun?).as_secs_f64();
        let used = self.full * 10 >= self.requests * 9;
        (used && lasted > 0.0).then(|| self.rows as f64 / lasted)
    }
}

/// From 1 to the greatest, each about 1.41 times the one before.
fn levels(limit_max: usize) -> Vec<usize> {
    let mut levels: Vec<usize> = Vec::new();
    let mut limit = 1.0f64;
    while (limit.round() as usize) < limit_max {
        levels.push(limit.round() as usize);
        limit *= std::f64::consts::SQRT_2;
    }
    levels.push(limit_max);
    levels.dedup();
    levels
}
