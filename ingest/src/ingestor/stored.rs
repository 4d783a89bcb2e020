//! The level `stored`: waits until every required sink has finished a request's pulses, and tells
//! which of them it could not take.

use futures_util::{StreamExt, stream};
use tokio::time::timeout;
use uuid::Uuid;

use crate::code::{Code, Reject};
use crate::sink::source::Source;
use crate::store::{QueryError, Store};
use crate::submission::Refusal;

use super::Parts;
use super::named::{Logged, Sofar};
use super::place::RETRY_SOON;

/// Looks into the store that one request has at the same time: enough to hide the way to a
/// database, few enough to leave it to others.
const LOOKS_MAX: usize = 16;

impl Parts {
    /// Returns once every required sink has finished what a request has logged or repeats. What
    /// is not stored is refused, each event alone.
    pub(super) async fn stored(&self, tenant: &str, sofar: &mut Sofar) -> Result<(), Refusal> {
        let logged = std::mem::take(&mut sofar.logged);
        let dead = timeout(self.stored_timeout, self.dead_of(&logged)).await;
        for index in dead.unwrap_or_else(|_| Err(late()))? {
            sofar.receipt.accepted -= 1;
            sofar.refuse_at(index, Code::DeadLettered.into());
        }
        let repeats = std::mem::take(&mut sofar.repeats);
        for (index, reject) in self.not_stored(tenant, repeats).await {
            sofar.receipt.duplicates -= 1;
            sofar.refuse_at(index, reject);
        }
        Ok(())
    }

    /// The places in the request of those that became dead letters, once all are finished.
    async fn dead_of(&self, logged: &[Logged]) -> Result<Vec<usize>, Refusal> {
        let mut dead = Vec::new();
        for Logged { numbers, indexes } in logged {
            let finished =
                self.drains.finished(numbers.source, numbers.first_seq, numbers.pulses).await;
            let seqs = finished.map_err(|_| late())?.dead_lettered;
            let place = |seq: u64| usize::try_from(seq - numbers.first_seq).ok();
            dead.extend(seqs.into_iter().filter_map(|seq| indexes.get(place(seq)?)));
        }
        Ok(dead)
    }

    /// Those of the events accepted earlier that are not in the store, once the sinks have
    /// finished all that was logged before.
    async fn not_stored(&self, tenant: &str, repeats: Vec<(usize, Uuid)>) -> Vec<(usize, Reject)> {
        let Some(store) = self.store.as_deref().filter(|_| !repeats.is_empty()) else {
            return Vec::new();
        };
        let all_logged = self.drains.finished(Source::Log, 0, self.log.end_seq());
        if !matches!(timeout(self.stored_timeout, all_logged).await, Ok(Ok(_))) {
            let refuse = |(index, _)| (index, Code::NotStoredInTime.into());
            return repeats.into_iter().map(refuse).collect();
        }
        stream::iter(repeats)
            .map(async |(index, id)| Some((index, look(store, tenant, id).await?)))
            .buffer_unordered(LOOKS_MAX)
            .filter_map(async |reject| reject)
            .collect()
            .await
    }
}

/// Why a pulse that the sinks have finished is not stored; `None` when it is.
async fn look(store: &dyn Store, tenant: &str, id: Uuid) -> Option<Reject> {
    match store.pulse(tenant, id).await {
        Ok(Some(_)) => None,
        Ok(None) => Some(Code::DeadLettered.into()),
        // Nobody can look; the sinks have finished it.
        Err(QueryError::NotIndexed) => None,
        Err(_) => Some(Code::StoreUnavailable.into()),
    }
}

fn late() -> Refusal {
    Refusal::later(Code::NotStoredInTime, RETRY_SOON)
}
