//! Where accepted frames go by their level, and when they are there.

use std::time::Duration;

use tokio::time::timeout;

use crate::admission::Fill;
use crate::code::{Code, Reject};
use crate::log::{AppendError, Ticket};
use crate::sink::source::Source;
use crate::submission::{Ack, Refusal};

use super::{Overflow, Parts};

/// Advice to wait where the process is short of something that passes within about a second:
/// room in the buffer, a sync.
const RETRY_SOON: Duration = Duration::from_secs(1);
/// Advice to wait where a disk must be freed or mended.
const RETRY_DISK: Duration = Duration::from_secs(5);

/// Frames on their way.
#[derive(Debug)]
pub(super) enum Placed {
    /// In the memory buffer from this number on.
    Memory { first_seq: u64, pulses: u64 },
    /// In the log, synced, from this number on.
    Logged { first_seq: u64, pulses: u64 },
    /// In the log's pending group.
    Log { ticket: Ticket, pulses: u64 },
    /// Nowhere: the buffer was full, and the settings say to drop.
    Dropped,
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
        let fill = Fill {
            used_bytes,
            budget_bytes,
            tenant_bytes: shares.held(tenant),
            tenants: shares.holders() as u64,
            drain_bytes_per_second: self.drain_bytes_per_second(used_bytes),
        };
        fill.admit(bytes)
    }

    /// The drain counts rows; what is in the log says how large they are.
    fn drain_bytes_per_second(&self, used_bytes: u64) -> u64 {
        let pulses = self.drains.backlog().pulses.max(1);
        let row_bytes = used_bytes as f64 / pulses as f64;
        (self.drains.rows_per_second() * row_bytes) as u64
    }

    /// Returns once the frames are as safe as `level` says.
    pub(super) async fn settle(&self, placed: Placed, level: Ack) -> Result<(), Refusal> {
        let (source, first_seq, pulses) = match placed {
            Placed::Dropped => return Ok(()),
            Placed::Memory { first_seq, pulses } => (Source::Memory, first_seq, pulses),
            Placed::Logged { first_seq, pulses } => (Source::Log, first_seq, pulses),
            Placed::Log { ticket, pulses } => {
                let first_seq = ticket.await.map_err(|error| self.refusal_of(error))?;
                (Source::Log, first_seq, pulses)
            }
        };
        if level == Ack::Stored {
            self.await_stored(source, first_seq, pulses).await?;
        }
        Ok(())
    }

    async fn await_stored(
        &self,
        source: Source,
        first_seq: u64,
        pulses: u64,
    ) -> Result<(), Refusal> {
        let finished = self.drains.finished(source, first_seq, pulses);
        match timeout(self.stored_timeout, finished).await {
            Ok(Ok(finish)) if finish.dead_lettered == 0 => Ok(()),
            Ok(Ok(finish)) => Err(Reject::new(
                Code::DeadLettered,
                format!("{} of {pulses} could not be stored", finish.dead_lettered),
            )
            .into()),
            Ok(Err(_)) | Err(_) => Err(Refusal::later(Code::NotStoredInTime, RETRY_SOON)),
        }
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
