//! Ids and keys that other processes know too: taken from them once this process's own
//! reservations are held, committed behind the log's sync. Without sharing nothing here runs.

use std::sync::Arc;
use std::time::Duration;

use crate::code::Code;
use crate::log::AppendError;
use crate::log::frame::Record;
use crate::pulse::id_from_key;
use crate::reservation::{Claim, Fixed, Reserved, Wanted};
use crate::sharing::{Claimed, LEASE, Link, Mode, Namer, OnFailure, Question, Settled, Verdict};

use super::judge::Named;
use super::named::{Sofar, Sorted};
use super::{IngestorBuilder, Parts};

/// Pulses at the end of the log that a start looks through for keys that others were not told
/// of: more than a process logs while one commit is under way, some 20 MiB.
const RECENT_PULSES: u64 = 100_000;

/// What a request holds until its pulses are logged.
#[derive(Debug)]
pub(super) struct Held {
    reserved: Reserved,
    claimed: Option<Claimed>,
}

impl Held {
    pub(super) fn new(reserved: Reserved, claimed: Option<Claimed>) -> Self {
        Self { reserved, claimed }
    }

    /// The log has synced the pulses. This process knows of it when what is returned has ended or
    /// is dropped, others soon.
    pub(super) fn commit(self) -> impl Future<Output = ()> + Send {
        let telling = self.claimed.map(Claimed::commit);
        let own = CommitAtEnd(Some(self.reserved));
        async move {
            if let Some(telling) = telling {
                telling.told().await;
            }
            // Behind the others: until then the log keeps the records, and a start that finds
            // them there tells the others again.
            drop(own);
        }
    }

    /// The log did not take the pulses; some errors leave open whether it has them.
    pub(super) fn fail(mut self, error: &AppendError) {
        if let Some(claimed) = &mut self.claimed
            && matches!(error, AppendError::Failed | AppendError::Closed)
        {
            claimed.doubt();
        }
    }
}

/// Commits however it ends.
struct CommitAtEnd(Option<Reserved>);

impl Drop for CommitAtEnd {
    fn drop(&mut self) {
        if let Some(reserved) = self.0.take() {
            reserved.commit();
        }
    }
}

/// What it means, for a person, that ids and keys are known in this way.
pub(super) fn why_not(mode: Mode) -> Option<&'static str> {
    match mode {
        Mode::Alone | Mode::Shared => None,
        Mode::Local => Some("others can't be asked: only repeats at this process are known"),
        Mode::Refuse => Some("others can't be asked: pulses with an id or key are refused"),
    }
}

impl Parts {
    /// Takes the keys of fresh events from all processes. Events that others have are answered
    /// or sorted anew, and their reservations freed.
    pub(super) async fn share(
        &self,
        (tenant, named): (&str, &mut [Named]),
        (reserved, wanted): (&Reserved, &[Wanted]),
        (sorted, may_wait): (&mut Sorted, bool),
        sofar: &mut Sofar,
    ) -> Option<Claimed> {
        let link = self.sharing.as_ref().filter(|_| !sorted.fresh.is_empty())?;
        let (claimed, verdicts) = ask(link, tenant, named, &sorted.fresh).await;
        let mut fates = vec![Fate::Fresh; named.len()];
        for (place, verdict) in std::mem::take(&mut sorted.fresh).into_iter().zip(verdicts) {
            let fate = Fate::of(verdict, may_wait);
            fates[place] = fate;
            match fate {
                Fate::Fresh => sorted.fresh.push(place),
                _ => reserved.free(place, &wanted[place]),
            }
            if let Some(Verdict::New(Some(earlier))) = verdict {
                named[place].fixed = earlier;
            }
            fate.tell(place, &named[place], sorted, sofar);
        }
        for place in std::mem::take(&mut sorted.same) {
            // It has the body and a key of the other.
            let first = match reserved.claims().get(place) {
                Some(Claim::RepeatOf(first)) => *first,
                _ => place,
            };
            match fates[first] {
                Fate::Fresh => sorted.same.push(place),
                fate => fate.tell(place, &named[place], sorted, sofar),
            }
        }
        sorted.waiting.sort_unstable();
        claimed
    }
}

/// Asks for events at `places`; what nobody can answer is `None`.
async fn ask(
    link: &Arc<Link>,
    tenant: &str,
    named: &[Named],
    places: &[usize],
) -> (Option<Claimed>, Vec<Option<Verdict>>) {
    let namer = Namer::new(tenant);
    let question = |event: &Named| Question {
        keys: namer.keys(event.names.own_id.then_some(event.fixed.id), event.names.key.as_deref()),
        fixed: event.fixed,
    };
    let questions: Vec<_> = places.iter().map(|place| question(&named[*place])).collect();
    match (link.take(questions.clone()).await, link.on_failure()) {
        (Ok((verdicts, claimed)), _) => (Some(claimed), verdicts.into_iter().map(Some).collect()),
        (Err(_), OnFailure::Refuse) => (None, vec![None; places.len()]),
        (Err(_), OnFailure::Local) => {
            let claimed = link.assume(&questions);
            (Some(claimed), vec![Some(Verdict::New(None)); places.len()])
        }
    }
}

/// What becomes of an event.
#[derive(Debug, Clone, Copy)]
enum Fate {
    Fresh,
    Repeat(Fixed),
    Refused(Code),
    Waits,
}

impl Fate {
    fn of(verdict: Option<Verdict>, may_wait: bool) -> Self {
        match verdict {
            None => Self::Refused(Code::IdempotencyUnavailable),
            Some(Verdict::New(_)) => Self::Fresh,
            Some(Verdict::Repeat(fixed)) => Self::Repeat(fixed),
            Some(Verdict::Reused) => Self::Refused(Code::KeyReused),
            Some(Verdict::InFlight) if may_wait => Self::Waits,
            Some(Verdict::InFlight) => Self::Refused(Code::KeyInFlight),
        }
    }

    fn tell(self, place: usize, event: &Named, sorted: &mut Sorted, sofar: &mut Sofar) {
        match self {
            Self::Fresh => {}
            Self::Repeat(fixed) => sofar.repeat(event, fixed.id),
            Self::Refused(code) => sofar.refuse(event, code.into()),
            Self::Waits => {
                sorted.elsewhere = true;
                sorted.waiting.push(place);
            }
        }
    }
}

/// How long a repeat waits until it asks again whether another process has ended: at first about
/// what a sync takes, ever longer then.
#[derive(Debug)]
pub(super) struct Pause(Duration);

impl Pause {
    const FIRST: Duration = Duration::from_millis(10);
    const LONGEST: Duration = Duration::from_millis(250);

    pub(super) fn new() -> Self {
        Self(Self::FIRST)
    }

    pub(super) async fn wait(&mut self, at_most: Duration) {
        tokio::time::sleep(self.0.min(at_most)).await;
        self.0 = (self.0 * 2).min(Self::LONGEST);
    }
}

/// Ids and keys of the newest records of the log, which others may not know of yet.
#[derive(Debug)]
pub(super) struct Recent {
    is_shared: bool,
    oldest_us: i64,
    pub(super) settled: Vec<Settled>,
}

impl Recent {
    pub(super) fn of(builder: &IngestorBuilder) -> Self {
        // What is older was told, or its lease is over since.
        let oldest_us = (builder.clock)() - 2 * LEASE.as_micros() as i64;
        let is_shared = builder.shared.on_failure().is_some();
        Self { is_shared, oldest_us, settled: Vec::new() }
    }

    /// From which number on the log is read that must be read from `from` on anyway.
    pub(super) fn start_seq(&self, from: u64, end: u64) -> u64 {
        if self.is_shared { from.min(end.saturating_sub(RECENT_PULSES)) } else { from }
    }

    pub(super) fn note(&mut self, record: &Record<'_>) {
        let (tenant, entry) = (record.envelope.tenant, &record.entry);
        let received_at_us = record.envelope.received_at_us;
        let Some(body_hash) = entry.body_hash.filter(|_| self.is_shared) else { return };
        if received_at_us < self.oldest_us {
            return;
        }
        // An id that was made from the key is not the client's own.
        let own_id = entry.key.is_none_or(|key| id_from_key(tenant, key) != entry.id);
        let keys = Namer::new(tenant).keys(own_id.then_some(entry.id), entry.key);
        let fixed = Fixed {
            id: entry.id,
            event_time_ms: entry.event_time_ms,
            received_at_us,
            body_hash,
            shard: entry.shard,
        };
        self.settled.push(Settled { keys, fixed });
    }
}
