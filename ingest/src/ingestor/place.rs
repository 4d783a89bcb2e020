//! Where accepted frames go, and when they are there.

use std::time::Duration;

use crate::admission::Fill;
use crate::code::Code;
use crate::log::{AppendError, Ticket};
use crate::sink::source::Source;
use crate::submission::{Ack, Refusal};

use super::{Overflow, Parts};

/// Advice to wait where the process is short of something that passes within about a second:
/// room in the buffer, a sync.
pub(super) const RETRY_SOON: Duration = Duration::from_secs(1);
/// Advice to wait where a disk must be freed or mended.
const RETRY_DISK: Duration = Duration::from_secs(5);

/// Frames on their way.
#[derive(Debug)]
pub(super) enum Placed {
    /// In the memory buffer from this number on.
    Memory { first_seq: u64, pulses: u64 },
    /// In the log's pending group.
    Log { ticket: Ticket, pulses: u64 },
    /// Nowhere: the buffer was full, and the settings say to drop.
    Dropped,
}

/// Numbers that a request was given.
#[derive(Debug, Clone, Copy)]
pub(super) struct Numbers {
    pub(super) source: Source,
    pub(super) first_seq: u64,
    pub(super) pulses: u64,
}

impl Parts {
    /// Hands frames to the log or the buffer.
    pub(super) fn place(
        &self,
        tenant: &str,
        level: Ack,
        frames: &[u8],
        pulses: u64,
    ) -> Result<Placed, Refusal> {
        if level == Ack::Memory {
            return match self.buffer.append(frames, pulses) {
                Ok(first_seq) => Ok(Placed::Memory { first_seq, pulses }),
                Err(_) if self.overflow == Overflow::Drop => {
                    self.metrics.pulses.dropped.inc_by(pulses);
                    self.buffer.count_overflowed(pulses);
                    Ok(Placed::Dropped)
                }
                Err(_) => Err(Refusal::later(Code::BufferFull, RETRY_SOON)),
            };
        }
        let bytes = frames.len() as u64;
        self.admit_to_log(tenant, bytes)?;
        let ticket = self.log.append(frames, pulses).map_err(|error| self.refusal_of(error))?;
        self.drains.shares().add(tenant, bytes);
        Ok(Placed::Log { ticket, pulses })
    }

    /// Refuses what the log's budget has no room for.
    pub(super) fn admit_to_log(&self, tenant: &str, bytes: u64) -> Result<(), Refusal> {
        let used_bytes = self.log.used_bytes();
        let budget_bytes = self.log_budget_bytes;
        if used_bytes.saturating_add(bytes) <= budget_bytes / 2 {
            return Ok(());
        }
        let shares = self.drains.shares();
        let tenants = shares.holders() as u64;
        let tenant_bytes = if tenants > 1 { shares.held(tenant) } else { used_bytes };
        let fill = Fill { used_bytes, budget_bytes, tenant_bytes, tenants };
        // The rate is asked for only by those who are refused: it costs a look at every sink.
        fill.admit(bytes, || self.drain_bytes_per_second(used_bytes))
    }

    /// The drain counts rows; what is in the log says how large they are.
    fn drain_bytes_per_second(&self, used_bytes: u64) -> u64 {
        let pulses = self.drains.backlog().pulses.max(1);
        let row_bytes = used_bytes as f64 / pulses as f64;
        (self.drains.rows_per_second() * row_bytes) as u64
    }

    /// Returns where the frames are once they are there; `None` where they were dropped.
    pub(super) async fn placed(&self, placed: Placed) -> Result<Option<Numbers>, Refusal> {
        Ok(match placed {
            Placed::Dropped => None,
            Placed::Memory { first_seq, pulses } => {
                Some(Numbers { source: Source::Memory, first_seq, pulses })
            }
            Placed::Log { ticket, pulses } => {
                let first_seq = ticket.await.map_err(|error| self.refusal_of(error))?;
                Some(Numbers { source: Source::Log, first_seq, pulses })
            }
        })
    }

    pub(super) fn refusal_of(&self, error: AppendError) -> Refusal {
        match error {
            AppendError::Full => Refusal::later(Code::LogFull, RETRY_SOON),
            AppendError::Busy => Refusal::later(Code::Overloaded, RETRY_SOON),
            AppendError::DiskFull => Refusal::later(Code::DiskFull, RETRY_DISK),
            AppendError::Failed => Refusal::later(Code::LogFailed, RETRY_DISK),
            AppendError::Closed => Refusal::later(Code::Stopping, RETRY_SOON),
        }
    }
}
