//! How Redis keeps a count: one number for each limit, when all that was lent is paid for, by
//! the clock of Redis. Several processes that ask get slices one behind the other.

use super::meter::Meter;

const MINUTE_US: f64 = 60_000_000.0;

/// Lends ARGV[1], a time in microseconds that the units take; ARGV[2] is that of the burst.
/// Answers with the microseconds until they may be used. The number goes by itself when it says
/// nothing any more. Not later than in an hour: a clock that was set back must not block for ever.
pub(super) const LEND: &str = "\
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local units, burst = tonumber(ARGV[1]), tonumber(ARGV[2])
local paid = math.max(tonumber(redis.call('GET', KEYS[1]) or 0), now)
paid = math.min(paid + units, now + burst + 3600000000)
redis.call('SET', KEYS[1], string.format('%.0f', paid),
  'PX', math.ceil((paid - now) / 1000) + 1000)
return math.max(0, math.ceil(paid - burst - now))
";

/// One question: the units that a meter asks for.
#[derive(Debug)]
pub(super) struct Loan {
    pub(super) key: String,
    pub(super) units_us: u64,
    pub(super) burst_us: u64,
}

impl Loan {
    pub(super) fn of(meter: &Meter, units: u64) -> Self {
        let (per_minute, burst) = meter.limit();
        let time = |units: u64| (units as f64 * MINUTE_US / per_minute as f64).ceil() as u64;
        Self { key: meter.key(), units_us: time(units), burst_us: time(burst) }
    }
}
