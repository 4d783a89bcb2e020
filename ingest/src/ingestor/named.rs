//! Events that their client named: reserved, logged, committed. A repeat is answered with what
//! the first acceptance fixed, and never logged again.

use std::time::Duration;

use tokio::time::Instant;
use uuid::Uuid;

use crate::code::{Code, Reject};
use crate::log::AppendError;
use crate::reservation::{Claim, Reserved, Wanted};
use crate::sink::source::Source;
use crate::submission::{Ack, EventError, Receipt, Refusal, Submission};

use super::judge::{Named, Rules, frame_named};
use super::place::{Append, Numbers, Placed};
use super::shared::{Held, Pause};
use super::{Parts, with_scratch};

/// How long a repeat waits for the first to be answered before it is told to come back: longer
/// than any sync on a sound disk, shorter than a client's patience.
const IN_FLIGHT_WAIT: Duration = Duration::from_secs(2);

/// What a request has come to so far.
#[derive(Debug)]
pub(super) struct Sofar {
    pub(super) receipt: Receipt,
    /// What it has put into the log or the buffer.
    pub(super) logged: Vec<Logged>,
    /// Events that were accepted earlier, with their ids.
    pub(super) repeats: Vec<(usize, Uuid)>,
}

/// Pulses that were given numbers.
#[derive(Debug)]
pub(super) struct Logged {
    pub(super) numbers: Numbers,
    /// The place in the request of each, in the order of the numbers.
    pub(super) indexes: Vec<usize>,
}

impl Sofar {
    pub(super) fn refuse(&mut self, event: &Named, reject: Reject) {
        self.refuse_at(event.index, reject);
    }

    pub(super) fn refuse_at(&mut self, index: usize, reject: Reject) {
        if let Some(id) = self.receipt.ids.get_mut(index) {
            *id = None;
        }
        self.receipt.errors.push(EventError { index, reject });
    }

    pub(super) fn repeat(&mut self, event: &Named, id: Uuid) {
        self.receipt.duplicates += 1;
        self.repeats.push((event.index, id));
        if let Some(place) = self.receipt.ids.get_mut(event.index) {
            *place = Some(id);
        }
    }
}

/// The claims of a request's events, sorted by what is to be done; places among the events.
#[derive(Debug, Default)]
pub(super) struct Sorted {
    pub(super) fresh: Vec<usize>,
    /// The same again within the request.
    pub(super) same: Vec<usize>,
    /// Held by other requests.
    pub(super) waiting: Vec<usize>,
    /// Some of them in other processes, which do not wake us.
    pub(super) elsewhere: bool,
}

impl Parts {
    /// Takes the named events of a request, which may have asked for their keys already. Refuses
    /// as a whole only where nothing else of the request was accepted.
    pub(super) async fn submit_named(
        &self,
        request: (Rules<'_>, &Submission<'_>),
        mut named: Vec<Named>,
        mut asked: Option<Reserved>,
        sofar: &mut Sofar,
    ) -> Result<(), Refusal> {
        let deadline = Instant::now() + IN_FLIGHT_WAIT;
        let mut pause = Pause::new();
        let tenant = &*request.1.tenant.name;
        loop {
            let wanted = self.all_wanted(tenant, &named);
            let reserved = asked.take().unwrap_or_else(|| self.reservations.reserve(&wanted));
            let reserved = reserved.settled().await;
            let may_wait = Instant::now() < deadline;
            let mut sorted = sort(&reserved, &named, may_wait, sofar);
            let sorting = (&mut sorted, may_wait);
            let claimed =
                self.share((tenant, &mut named), (&reserved, &wanted), sorting, sofar).await;
            let held = Held::new(reserved, claimed);
            let failed = self.log_named(request, (&named, &sorted.fresh), held, sofar).await?;
            for event in sorted.same.iter().filter_map(|at| named.get(*at)) {
                match &failed {
                    None => sofar.repeat(event, event.names.id),
                    Some(reject) => sofar.refuse(event, reject.clone()),
                }
            }
            let Some(first) = sorted.waiting.first() else { return Ok(()) };
            if sorted.elsewhere {
                pause.wait(deadline.saturating_duration_since(Instant::now())).await;
            } else {
                self.wait_for(&wanted[*first], deadline).await;
            }
            let mut places = 0..;
            named.retain(|_| {
                places.next().is_some_and(|at| sorted.waiting.binary_search(&at).is_ok())
            });
        }
    }

    /// Waits until no other request holds a key of the event.
    async fn wait_for(&self, wanted: &Wanted, deadline: Instant) {
        for key in [Some(wanted.key), wanted.other].into_iter().flatten() {
            let left = deadline.saturating_duration_since(Instant::now());
            self.reservations.wait(key, left).await;
        }
        // Whoever holds it may be a task of this thread.
        tokio::task::yield_now().await;
    }

    pub(super) fn wanted(&self, tenant: &str, event: &Named) -> Wanted {
        let (keys, fixed) = (self.reservations.keys(), event.fixed);
        let key = event.names.key.as_deref();
        let wanted = keys.wanted(tenant, event.names.own_id, key, fixed);
        // Every named event has one of the two.
        wanted.unwrap_or_else(|| Wanted { key: keys.of_id(tenant, fixed.id), other: None, fixed })
    }

    /// Logs the events whose keys are new and commits their keys. Returns why they were refused
    /// where others of the request were accepted.
    async fn log_named(
        &self,
        (rules, submission): (Rules<'_>, &Submission<'_>),
        (named, fresh): (&[Named], &[usize]),
        held: Held,
        sofar: &mut Sofar,
    ) -> Result<Option<Reject>, Refusal> {
        if fresh.is_empty() {
            return Ok(None);
        }
        let events = || fresh.iter().filter_map(|at| named.get(*at));
        let level = sofar.receipt.ack;
        let placed = with_scratch(|frames| {
            let pulses = frame_named(rules, submission, events(), frames);
            // In the log at every level: a reservation that outlives its pulse would turn the
            // client's retry away from a pulse that is nowhere.
            self.place(&submission.tenant.name, level.max(Ack::Durable), frames, pulses)
        });
        let logged = match placed {
            Ok(placed) => self.commit(placed, held, level).await,
            Err(refusal) => Err(refusal),
        };
        let others = sofar.receipt.accepted + sofar.receipt.duplicates > 0;
        match logged {
            Ok(numbers) => {
                sofar.receipt.accepted += fresh.len();
                let indexes = || events().map(|event| event.index).collect();
                let logged = numbers.map(|numbers| Logged { numbers, indexes: indexes() });
                sofar.logged.extend(logged);
                Ok(None)
            }
            // Others were accepted already, so the request has an answer, and each of these
            // its own.
            Err(refusal) if others => {
                events().for_each(|event| sofar.refuse(event, refusal.reject.clone()));
                Ok(Some(refusal.reject))
            }
            Err(refusal) => Err(refusal),
        }
    }

    /// Waits for the frames and commits their keys, even when the client goes meanwhile: what
    /// is logged stays logged, so its keys must not become free.
    async fn commit(
        &self,
        placed: Placed,
        held: Held,
        level: Ack,
    ) -> Result<Option<Numbers>, Refusal> {
        let Placed::Log { append, pulses } = placed else {
            held.commit().await;
            return self.placed(placed).await;
        };
        if level == Ack::Memory {
            // What was asked for is less than the log gives: it is not waited for.
            self.finish_later(append, held);
            return Ok(None);
        }
        let mut logging = Logging { parts: self, append: Some((append, held)) };
        let first_seq = logging.logged().await.map_err(|error| self.refusal_of(error))?;
        Ok(Some(Numbers { source: Source::Log, first_seq, pulses }))
    }

    pub(super) fn finish_later(&self, mut append: Append, held: Held) {
        // Ends with the group's sync, which the log answers in any case, if only by closing.
        self.background.finish(async move {
            match append.logged().await {
                Ok(_) => held.commit().await,
                Err(error) => held.fail(&error),
            }
        });
    }
}

/// Answers what needs no more, and sorts the rest. `may_wait`: there is time to wait for others.
fn sort(reserved: &Reserved, named: &[Named], may_wait: bool, sofar: &mut Sofar) -> Sorted {
    let mut sorted = Sorted::default();
    for (at, (claim, event)) in reserved.claims().iter().zip(named).enumerate() {
        match claim {
            Claim::New => sorted.fresh.push(at),
            Claim::RepeatOf(_) => sorted.same.push(at),
            Claim::InFlight if may_wait => sorted.waiting.push(at),
            Claim::Repeat(fixed) => sofar.repeat(event, fixed.id),
            Claim::Reused => sofar.refuse(event, Code::KeyReused.into()),
            Claim::InFlight => sofar.refuse(event, Code::KeyInFlight.into()),
            Claim::Full => sofar.refuse(event, Code::ReservationsFull.into()),
            Claim::Unsettled | Claim::Unreadable => {
                let what = "the table of ids and keys could not be read";
                sofar.refuse(event, Reject::new(Code::LogFailed, what));
            }
        }
    }
    sorted
}

/// An append and the keys that hang on it.
struct Logging<'p> {
    parts: &'p Parts,
    append: Option<(Append, Held)>,
}

impl Logging<'_> {
    async fn logged(&mut self) -> Result<u64, AppendError> {
        let Some((append, _)) = &mut self.append else { return Err(AppendError::Closed) };
        let outcome = append.logged().await;
        if let Some((_, held)) = self.append.take() {
            match &outcome {
                Ok(_) => held.commit().await,
                Err(error) => held.fail(error),
            }
        }
        outcome
    }
}

impl Drop for Logging<'_> {
    fn drop(&mut self) {
        if let Some((append, held)) = self.append.take() {
            self.parts.finish_later(append, held);
        }
    }
}
