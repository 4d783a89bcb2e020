//! Where accepted frames go by their level, and when they are there.

use std::time::Duration;

use tokio::time::timeout;
use uuid::Uuid;

use crate::admission::Fill;
use crate::code::{Code, Reject};
use crate::log::{AppendError, Ticket};
use crate::sink::source::Source;
use crate::store::QueryError;
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

    /// Returns once every required sink has taken what a request has logged.
    pub(super) async fn stored(&self, logged: &[Numbers]) -> Result<(), Refusal> {
        let all = async {
            for numbers in logged {
                self.await_stored(*numbers).await?;
            }
            Ok(())
        };
        match timeout(self.stored_timeout, all).await {
            Ok(stored) => stored,
            Err(_) => Err(Refusal::later(Code::NotStoredInTime, RETRY_SOON)),
        }
    }

    async fn await_stored(&self, numbers: Numbers) -> Result<(), Refusal> {
        let Numbers { source, first_seq, pulses } = numbers;
        match self.drains.finished(source, first_seq, pulses).await {
            Ok(finish) if finish.dead_lettered == 0 => Ok(()),
            Ok(finish) => Err(Reject::new(
                Code::DeadLettered,
                format!("{} of {pulses} could not be stored", finish.dead_lettered),
            )
            .into()),
            Err(_) => Err(Refusal::later(Code::NotStoredInTime, RETRY_SOON)),
        }
    }

    /// Returns once a pulse that was accepted earlier is in the store.
    pub(super) async fn stored_before(&self, tenant: &str, id: Uuid) -> Result<(), Reject> {
        let Some(store) = &self.store else { return Ok(()) };
        let all_logged = self.drains.finished(Source::Log, 0, self.log.end_seq());
        let late = |_| Reject::from(Code::NotStoredInTime);
        timeout(self.stored_timeout, all_logged)
            .await
            .map_err(late)?
            .map_err(|_| Reject::from(Code::NotStoredInTime))?;
        match store.pulse(tenant, id).await {
            Ok(Some(_)) => Ok(()),
            Ok(None) => Err(Code::DeadLettered.into()),
            // Nobody can look; the sinks have finished it.
            Err(QueryError::NotIndexed) => Ok(()),
            Err(_) => Err(Code::StoreUnavailable.into()),
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
