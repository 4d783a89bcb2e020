//! Whether a request may be taken: pure decisions over numbers that the caller reads. Knows
//! neither HTTP nor a sink.

pub mod rate;
pub mod slice;

use std::time::Duration;

use crate::code::{Code, Reject};
use crate::submission::{Ack, Refusal};

/// Longest advice to wait: past it a client had better look at its own queue.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(30);
/// Advice where the drain's rate is not known.
const RETRY_AFTER_UNKNOWN: Duration = Duration::from_secs(5);

/// What levels a process gives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Levels {
    /// Given when a request asks for none.
    pub default: Ack,
    /// The highest that a request may ask for.
    pub highest: Ack,
}

impl Levels {
    /// The level of a request that asked for `asked`, of a tenant that may have `tenant_highest`.
    /// A level that can't be given is refused, never lowered; who asks for none gets the default,
    /// or the tenant's highest where that is less.
    pub fn choose(&self, asked: Option<Ack>, tenant_highest: Ack) -> Result<Ack, Refusal> {
        let level = asked.unwrap_or(self.default.min(tenant_highest));
        if level > self.highest {
            return Err(Code::AckNotAvailable.into());
        }
        if level > tenant_highest {
            let most = tenant_highest.as_str();
            let why = format!("the tenant may ask for {most} at most");
            return Err(Reject::new(Code::AckNotAvailable, why).into());
        }
        Ok(level)
    }
}

/// How full the log is, and who fills it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fill {
    /// Bytes that a required sink has not finished.
    pub used_bytes: u64,
    /// Bytes at which the log refuses.
    pub budget_bytes: u64,
    /// Of the used bytes, this tenant's.
    pub tenant_bytes: u64,
    /// Tenants that have bytes in the log, this one included.
    pub tenants: u64,
}

impl Fill {
    /// Decides whether `bytes` more of this tenant may be logged. Above half of the budget only
    /// a tenant that holds more than its equal share is refused, so that one who floods the log
    /// can't lock out the others. `drain_rate`, asked only then, gives the bytes a second that
    /// the drain finishes, 0 where that is not known.
    pub fn admit(&self, bytes: u64, drain_rate: impl FnOnce() -> u64) -> Result<(), Refusal> {
        if self.used_bytes.saturating_add(bytes) > self.budget_bytes {
            return Err(Refusal::later(
                Code::LogFull,
                self.retry_after(self.budget_bytes, drain_rate()),
            ));
        }
        let half = self.budget_bytes / 2;
        let share = self.budget_bytes / self.tenants.max(1);
        if self.used_bytes > half && self.tenants > 1 && self.tenant_bytes > share {
            return Err(Refusal::later(Code::OverShare, self.retry_after(half, drain_rate())));
        }
        Ok(())
    }

    /// How long the drain needs to bring the log down to nine tenths of `level_bytes`, so that
    /// those who come back find room and do not come back in vain.
    fn retry_after(&self, level_bytes: u64, drain_rate: u64) -> Duration {
        if drain_rate == 0 {
            return RETRY_AFTER_UNKNOWN;
        }
        let over = self.used_bytes.saturating_sub(level_bytes / 10 * 9);
        Duration::from_secs_f64(over as f64 / drain_rate as f64)
            .clamp(Duration::from_secs(1), RETRY_AFTER_MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rate() -> u64 {
        10
    }

    fn fill() -> Fill {
        Fill { used_bytes: 600, budget_bytes: 1000, tenant_bytes: 600, tenants: 1 }
    }

    #[test]
    fn a_level_above_what_the_server_gives_is_refused_and_never_lowered() {
        let levels = Levels { default: Ack::Durable, highest: Ack::Durable };
        let refused = Err(Code::AckNotAvailable);
        let cases = [
            (None, Ack::Stored, Ok(Ack::Durable)),
            (Some(Ack::Memory), Ack::Stored, Ok(Ack::Memory)),
            (Some(Ack::Stored), Ack::Stored, refused),
            (None, Ack::Memory, Ok(Ack::Memory)),
            (Some(Ack::Memory), Ack::Memory, Ok(Ack::Memory)),
            (Some(Ack::Durable), Ack::Memory, refused),
            (Some(Ack::Stored), Ack::Durable, refused),
        ];
        for (asked, tenant_highest, expected) in cases {
            let chosen = levels.choose(asked, tenant_highest);
            let chosen = chosen.map_err(|refusal| refusal.reject.code);
            assert_eq!(chosen, expected, "{asked:?} of a tenant with {tenant_highest:?}");
        }
    }

    #[test]
    fn above_half_only_a_tenant_over_its_share_is_refused() {
        assert_eq!(fill().admit(400, rate), Ok(()));
        let hot = Fill { tenants: 2, ..fill() };
        assert_eq!(hot.admit(1, rate).expect_err("over its share").reject.code, Code::OverShare);
        let quiet = Fill { tenants: 2, tenant_bytes: 10, ..fill() };
        assert_eq!(quiet.admit(1, rate), Ok(()));
        let below_half = Fill { used_bytes: 500, tenants: 2, ..fill() };
        assert_eq!(below_half.admit(1, rate), Ok(()));
    }

    #[test]
    fn a_full_log_says_when_the_drain_will_have_made_room() {
        let refusal = Fill { used_bytes: 1000, ..fill() }.admit(1, rate).expect_err("full");
        assert_eq!(refusal.reject.code, Code::LogFull);
        assert_eq!(refusal.retry_after, Some(Duration::from_secs(10)));
        let stuck = Fill { used_bytes: 1000, ..fill() };
        assert_eq!(stuck.admit(1, || 0).expect_err("full").retry_after, Some(RETRY_AFTER_UNKNOWN));
    }
}
