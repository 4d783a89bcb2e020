//! Events that their client named: reserved, logged, committed. A repeat is answered with what
//! the first acceptance fixed, and never logged again.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::code::{Code, Reject};
use crate::log::{AppendError, Ticket};
use crate::reservation::{Claim, Fixed, Reserved, Wanted};
use crate::submission::{Ack, EventError, Receipt, Refusal, Submission};

use super::judge::{Named, Rules, frame_named};
use super::place::Placed;
use super::{Parts, with_scratch};

/// How long a repeat waits for the first to be answered before it is told to come back: longer
/// than any sync on a sound disk, shorter than a client's patience.
const IN_FLIGHT_WAIT: Duration = Duration::from_secs(2);

impl Parts {
    /// Takes the named events of a request and writes what became of each into `receipt`.
    /// Refuses as a whole only where nothing else of the request was accepted.
    pub(super) async fn submit_named(
        self: &Arc<Self>,
        rules: Rules,
        submission: &Submission<'_>,
        mut named: Vec<Named>,
        receipt: &mut Receipt,
    ) -> Result<(), Refusal> {
        let deadline = Instant::now() + IN_FLIGHT_WAIT;
        loop {
            let wanted: Vec<_> =
                named.iter().map(|event| self.wanted(submission, event, rules)).collect();
            let reserved = self.reservations.reserve(&wanted).settled().await;
            let mut fresh = Vec::new();
            let mut waiting = Vec::new();
            for (at, claim) in reserved.claims().iter().enumerate() {
                match claim {
                    Claim::New => fresh.push(at),
                    Claim::InFlight if Instant::now() < deadline => waiting.push(at),
                    other => answer(receipt, &named[at], other),
                }
            }
            self.log_named((rules, submission), (&named, &fresh), reserved, receipt).await?;
            let Some(first) = waiting.first() else { return Ok(()) };
            let left = deadline.saturating_duration_since(Instant::now());
            self.reservations.wait(wanted[*first].key, left).await;
            let mut at = 0;
            named.retain(|_| {
                at += 1;
                waiting.binary_search(&(at - 1)).is_ok()
            });
        }
    }

    fn wanted(&self, submission: &Submission<'_>, event: &Named, rules: Rules) -> Wanted {
        let fixed = Fixed {
            id: event.names.id,
            event_time_ms: event.event_time_ms,
            received_at_us: rules.now_us,
            body_hash: event.body_hash,
            shard: 0,
        };
        let keys = self.reservations.keys();
        let key = event.names.key.as_deref();
        let by_id = event.names.own_id.then(|| keys.of_id(submission.tenant, fixed.id));
        let by_key = key.map(|key| keys.of_key(submission.tenant, key));
        let other = by_id.and(by_key);
        let key = by_id.or(by_key).unwrap_or_else(|| keys.of_id(submission.tenant, fixed.id));
        Wanted { key, other, fixed }
    }

    /// Logs the events whose keys are new and commits their keys.
    async fn log_named(
        self: &Arc<Self>,
        (rules, submission): (Rules, &Submission<'_>),
        (named, fresh): (&[Named], &[usize]),
        reserved: Reserved,
        receipt: &mut Receipt,
    ) -> Result<(), Refusal> {
        if fresh.is_empty() {
            return Ok(());
        }
        let events = || fresh.iter().filter_map(|at| named.get(*at));
        let placed = with_scratch(|frames| {
            let pulses = frame_named(rules, submission, events(), frames);
            // In the log at every level: a reservation that outlives its pulse would turn the
            // client's retry away from a pulse that is nowhere.
            self.place(submission.tenant, receipt.ack.max(Ack::Durable), frames, pulses)
        });
        let logged = match placed {
            Ok(placed) => self.commit(placed, reserved, receipt.ack).await,
            Err(refusal) => Err(refusal),
        };
        match logged {
            Ok(()) => {
                receipt.accepted += fresh.len();
                Ok(())
            }
            // Others were accepted already, so the request has an answer, and each of these
            // its own.
            Err(refusal) if receipt.accepted + receipt.duplicates > 0 => {
                for event in events() {
                    refuse(receipt, event, refusal.reject.clone());
                }
                Ok(())
            }
            Err(refusal) => Err(refusal),
        }
    }

    /// Waits for the frames and commits their keys, even when the client goes meanwhile: what
    /// is logged stays logged, so its keys must not become free.
    async fn commit(
        self: &Arc<Self>,
        placed: Placed,
        reserved: Reserved,
        level: Ack,
    ) -> Result<(), Refusal> {
        let placed = match placed {
            // What was asked for is less than the log gives: it is not waited for.
            Placed::Log { ticket, .. } if level == Ack::Memory => {
                self.finish_later(ticket, reserved);
                return Ok(());
            }
            Placed::Log { ticket, pulses } => {
                let mut logging = Logging { parts: self, ticket: Some((ticket, reserved)) };
                let first_seq = logging.logged().await.map_err(|error| self.refusal_of(error))?;
                Placed::Logged { first_seq, pulses }
            }
            in_memory => {
                reserved.commit();
                in_memory
            }
        };
        self.settle(placed, level).await
    }
}

/// A ticket and the keys that hang on it.
struct Logging<'p> {
    parts: &'p Parts,
    ticket: Option<(Ticket, Reserved)>,
}

impl Logging<'_> {
    async fn logged(&mut self) -> Result<u64, AppendError> {
        let Some((ticket, _)) = &mut self.ticket else { return Err(AppendError::Closed) };
        let outcome = ticket.await;
        if let Some((_, reserved)) = self.ticket.take()
            && outcome.is_ok()
        {
            reserved.commit();
        }
        outcome
    }
}

impl Drop for Logging<'_> {
    fn drop(&mut self) {
        if let Some((ticket, reserved)) = self.ticket.take() {
            self.parts.finish_later(ticket, reserved);
        }
    }
}

impl Parts {
    fn finish_later(&self, ticket: Ticket, reserved: Reserved) {
        // Ends with the group's sync, which the log answers in any case, if only by closing.
        self.background.finish(async move {
            if ticket.await.is_ok() {
                reserved.commit();
            }
        });
    }
}

fn answer(receipt: &mut Receipt, event: &Named, claim: &Claim) {
    match claim {
        Claim::Repeat(fixed) => {
            receipt.duplicates += 1;
            if let Some(id) = receipt.ids.get_mut(event.index) {
                *id = Some(fixed.id);
            }
        }
        Claim::Reused => refuse(receipt, event, Code::KeyReused.into()),
        Claim::InFlight => refuse(receipt, event, Code::KeyInFlight.into()),
        Claim::Full => refuse(receipt, event, Code::ReservationsFull.into()),
        Claim::New | Claim::Unsettled | Claim::Unreadable => refuse(
            receipt,
            event,
            Reject::new(Code::LogFailed, "the table of ids and keys could not be read"),
        ),
    }
}

fn refuse(receipt: &mut Receipt, event: &Named, reject: Reject) {
    if let Some(id) = receipt.ids.get_mut(event.index) {
        *id = None;
    }
    receipt.errors.push(EventError { index: event.index, reject });
}
