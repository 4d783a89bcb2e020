//! Named events that are all new, which most are: reserved and handed to the log without a wait
//! between, so that they cost little more than events without a name. What is not so simple
//! goes on in `named`, with the reservation that was made here.

use smallvec::SmallVec;

use crate::log::AppendError;
use crate::reservation::{Claim, Reserved, Wanted};
use crate::submission::{Ack, Refusal, Submission};

use super::judge::{Judged, Named, Rules, frame_named};
use super::place::{Append, Placed};
use super::shared::Held;
use super::{Parts, with_scratch};

/// What the events of a request want to reserve; mostly there is one.
pub(super) type AllWanted = SmallVec<[Wanted; 1]>;

/// How far the named events of a request have come without a wait.
#[derive(Debug)]
pub(super) enum First<'p> {
    /// Nothing is done yet.
    Nothing,
    /// They have asked for their keys; something must be waited for, or be told.
    Asked(Reserved),
    /// All of them are on their way into the log.
    Logging(Logging<'p>),
}

/// An append and the keys that hang on it, of this process alone.
#[derive(Debug)]
pub(super) struct Logging<'p> {
    parts: &'p Parts,
    append: Option<(Append, Reserved)>,
}

impl Logging<'_> {
    /// Returns once the events are logged and their keys committed.
    pub(super) async fn logged(mut self) -> Result<(), Refusal> {
        let Some((append, _)) = &mut self.append else {
            return Err(self.parts.refusal_of(AppendError::Closed));
        };
        let outcome = append.logged().await;
        if let Some((_, reserved)) = self.append.take()
            && outcome.is_ok()
        {
            reserved.commit();
        }
        outcome.map(drop).map_err(|error| self.parts.refusal_of(error))
    }
}

impl Drop for Logging<'_> {
    fn drop(&mut self) {
        // The client has gone: what is logged all the same must not have free keys.
        if let Some((append, reserved)) = self.append.take() {
            self.parts.finish_later(append, Held::new(reserved, None));
        }
    }
}

impl Parts {
    /// Does for the named events of a request what can be done without a wait.
    pub(super) fn log_at_once(
        &self,
        rules: Rules<'_>,
        submission: &Submission<'_>,
        level: Ack,
        judged: &Judged,
    ) -> Result<First<'_>, Refusal> {
        let is_simple = level == Ack::Durable && judged.framed == 0 && self.sharing.is_none();
        if judged.named.is_empty() || !is_simple {
            return Ok(First::Nothing);
        }
        let tenant = &*submission.tenant.name;
        let reserved = self.reservations.reserve(&self.all_wanted(tenant, &judged.named));
        if !reserved.claims().iter().all(|claim| *claim == Claim::New) {
            return Ok(First::Asked(reserved));
        }
        let placed = with_scratch(|frames| {
            let pulses = frame_named(rules, submission, judged.named.iter(), frames);
            self.place(tenant, level, frames, pulses)
        })?;
        // At this level nothing goes elsewhere.
        let Placed::Log { append, .. } = placed else { return Ok(First::Asked(reserved)) };
        Ok(First::Logging(Logging { parts: self, append: Some((append, reserved)) }))
    }

    pub(super) fn all_wanted(&self, tenant: &str, named: &[Named]) -> AllWanted {
        named.iter().map(|event| self.wanted(tenant, event)).collect()
    }
}
