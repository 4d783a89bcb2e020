//! Letters as a person sees them, whichever place has them: this disk first, then what a store
//! keeps for all processes.

use std::collections::BTreeMap;

use tokio::task::spawn_blocking;
use uuid::Uuid;

use crate::clock::now_us;
use crate::sink::dead_letter::{
    Filter, Held, Letter, LetterPlace, SharedError, SharedLetter, SharedLetters, SharedPlace,
};

use super::audit::Line;
use super::{Actor, Desk, Leaving, ReplayError, Replays, line};

/// Letters of a store that one request looks through.
const LOOKED_AT_MAX: usize = 8_000;
/// Letters of a store that one request counts by reason.
const COUNTED_MAX: usize = 50_000;
/// Letters that are asked of a store at once.
const ASKED_AT_ONCE: usize = 1_000;

/// A letter and the id that it is called by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shown {
    /// Its id.
    pub id: Uuid,
    /// The letter.
    pub letter: std::sync::Arc<Letter>,
}

/// Where a page ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Behind {
    /// On this disk.
    Here(LetterPlace),
    /// In the store.
    Shared(SharedPlace),
}

impl Behind {
    fn here(self) -> Option<LetterPlace> {
        match self {
            Self::Here(place) => Some(place),
            Self::Shared(_) => None,
        }
    }
}

/// A page of letters.
#[derive(Debug, Clone, Default)]
pub struct Listing {
    /// The newest first, those of this disk before all others.
    pub letters: Vec<Shown>,
    /// Where the next page begins; `None` when there is no more.
    pub next: Option<Behind>,
    /// Whether the store, where there is one, could be asked.
    pub complete: bool,
}

/// Letters of one reason.
#[derive(Debug, Clone)]
pub struct ShownGroup {
    /// The stable word for the reason.
    pub reason: String,
    /// How many were counted.
    pub count: u64,
    /// One of them.
    pub sample: Option<Shown>,
}

impl Replays {
    /// A page of letters behind `after`, of whichever process.
    ///
    /// # Errors
    /// When they can't be read; a store that is away is none while this disk has letters.
    pub async fn letters(
        &self,
        filter: &Filter,
        after: Option<Behind>,
        limit: usize,
    ) -> Result<Listing, ReplayError> {
        let mut listing = Listing { complete: true, ..Listing::default() };
        let shared_after = match after {
            Some(Behind::Shared(after)) => after,
            after => {
                let after = after.and_then(Behind::here);
                let filter = filter.clone();
                let page = self.aside(move |desk| desk.letters.page(&filter, after, limit)).await?;
                listing.letters = page.letters.iter().map(|held| self.desk.shown(held)).collect();
                listing.next = page.next.map(Behind::Here);
                SharedPlace::newest(now_us() / 1000)
            }
        };
        let Some(shared) = self.desk.shared.as_ref().filter(|_| listing.next.is_none()) else {
            return Ok(listing);
        };
        match look(&**shared, filter, shared_after, limit, &mut listing).await {
            Ok(next) => listing.next = next.map(Behind::Shared),
            Err(SharedError::Unavailable(error)) if !listing.letters.is_empty() => {
                tracing::warn!(error = format!("{error:#}"), "letters of the store are left out");
                listing.complete = false;
            }
            Err(error) => return Err(error.into()),
        }
        Ok(listing)
    }

    /// The letters of a tenant's pulse behind `after`, of whichever process, the newest first.
    /// Looks through a bounded number.
    ///
    /// # Errors
    /// When they can't be read; a store that is away is none.
    pub async fn of_pulse(
        &self,
        tenant: &str,
        pulse: Uuid,
        after: Option<Behind>,
    ) -> Result<Listing, ReplayError> {
        let mut listing = Listing { complete: true, ..Listing::default() };
        let after = match after {
            Some(Behind::Shared(after)) => Some(after),
            after => {
                let after = after.and_then(Behind::here);
                let name = tenant.to_owned();
                let page =
                    self.aside(move |desk| desk.letters.of_pulse(&name, pulse, after)).await?;
                listing.letters = page.letters.iter().map(|held| self.desk.shown(held)).collect();
                listing.next = page.next.map(Behind::Here);
                None
            }
        };
        let Some(shared) = self.desk.shared.as_ref().filter(|_| listing.next.is_none()) else {
            return Ok(listing);
        };
        match shared.of_pulse(tenant, pulse, after.as_ref()).await {
            Ok(found) => {
                for found in &found.letters {
                    let found = Shown::of(found);
                    // One that is being handed over is in both places.
                    if listing.letters.iter().all(|known| known.id != found.id) {
                        listing.letters.push(found);
                    }
                }
                listing.next = found.next.map(Behind::Shared);
                listing.complete = !found.cut;
            }
            Err(SharedError::Unavailable(error)) => {
                tracing::warn!(error = format!("{error:#}"), "letters of the store are left out");
                listing.complete = false;
            }
            Err(error) => return Err(error.into()),
        }
        Ok(listing)
    }

    /// The letters of a tenant by reason, the most frequent first, and whether all were counted.
    ///
    /// # Errors
    /// When they can't be read.
    pub async fn by_reason(&self, tenant: &str) -> Result<(Vec<ShownGroup>, bool), ReplayError> {
        let name = tenant.to_owned();
        let groups = self.aside(move |desk| desk.letters.groups(&name)).await?;
        let shown = |held: &Held| self.desk.shown(held);
        let mut all: BTreeMap<String, ShownGroup> = BTreeMap::new();
        for group in groups {
            let sample = group.sample.as_ref().map(shown);
            let (reason, count) = (group.reason, group.count);
            all.insert(reason.clone(), ShownGroup { reason, count, sample });
        }
        let mut complete = true;
        if let Some(shared) = &self.desk.shared {
            complete = count(&**shared, tenant, &mut all).await?;
        }
        let mut all: Vec<_> = all.into_values().collect();
        all.sort_by(|a, b| b.count.cmp(&a.count).then_with(|| a.reason.cmp(&b.reason)));
        Ok((all, complete))
    }

    /// One letter.
    ///
    /// # Errors
    /// When it can't be read.
    pub async fn show(&self, tenant: &str, id: Uuid) -> Result<Option<Shown>, ReplayError> {
        let name = tenant.to_owned();
        if let Some(held) = self.aside(move |desk| desk.find(&name, id)).await? {
            return Ok(Some(self.desk.shown(&held)));
        }
        let Some(shared) = &self.desk.shared else { return Ok(None) };
        Ok(shared.find(tenant, id).await?.map(|found| Shown::of(&found)))
    }

    /// Gives a letter up, wherever it is. `edited`: because a mended pulse has taken its place.
    ///
    /// # Errors
    /// When there is none, it is being replayed, or the disk or the store fails.
    pub async fn give_up(
        &self,
        (tenant, by): (String, Option<String>),
        id: Uuid,
        edited: bool,
    ) -> Result<(), ReplayError> {
        let name = tenant.clone();
        let here = self.aside(move |desk| desk.find(&name, id)).await?;
        if let Some(shared) = &self.desk.shared {
            let found = match &here {
                Some(held) => {
                    let letter = Letter::clone(&held.letter);
                    Some(self.desk.as_shared(held.place, letter))
                }
                None => shared.find(&tenant, id).await?,
            };
            let found = found.ok_or(ReplayError::NotFound)?;
            if here.is_none() {
                let sink = found.letter.sink.clone();
                let (tenant, by) = (tenant.clone(), by.clone());
                self.aside(move |desk| {
                    let action = if edited { "edited" } else { "discarded" };
                    let actor = Actor { tenant: &tenant, by: by.as_deref() };
                    desk.audit.add(&Line { action, letter: Some(id), ..line(actor) })
                })
                .await?;
                shared.remove(&[found]).await?;
                self.desk.count(&sink, Leaving::Discarded, 1);
                return Ok(());
            }
            // It may be there too, where the last word of its handing over was not heard.
            shared.remove(&[found]).await?;
        }
        let replays = self.clone();
        let discard =
            move || replays.discard(Actor { tenant: &tenant, by: by.as_deref() }, id, edited);
        spawn_blocking(discard).await.map_err(std::io::Error::other)?
    }

    async fn aside<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Desk) -> std::io::Result<T> + Send + 'static,
    ) -> Result<T, ReplayError> {
        Ok(super::runner::blocking(&self.desk, work).await?)
    }
}

impl Desk {
    pub(super) fn shown(&self, held: &Held) -> Shown {
        Shown { id: self.id_of(held), letter: held.letter.clone() }
    }
}

impl Shown {
    /// A letter of a store.
    pub(super) fn of(found: &SharedLetter) -> Self {
        Self { id: found.id(), letter: std::sync::Arc::new(found.letter.clone()) }
    }
}

/// Adds letters of a store; gives the place where it goes on.
async fn look(
    shared: &dyn SharedLetters,
    filter: &Filter,
    mut after: SharedPlace,
    limit: usize,
    listing: &mut Listing,
) -> Result<Option<SharedPlace>, SharedError> {
    let mut looked_at = 0;
    while listing.letters.len() < limit && looked_at < LOOKED_AT_MAX {
        let page = shared.page(&filter.tenant, &after, limit - listing.letters.len()).await?;
        looked_at += page.letters.len().max(1);
        let fit = page.letters.iter().filter(|found| filter.fits(&found.letter));
        listing.letters.extend(fit.map(Shown::of));
        match page.next {
            Some(next) => after = next,
            None => return Ok(None),
        }
    }
    Ok(Some(after))
}

/// Counts letters of a store by reason; whether all were counted.
async fn count(
    shared: &dyn SharedLetters,
    tenant: &str,
    all: &mut BTreeMap<String, ShownGroup>,
) -> Result<bool, SharedError> {
    let (mut after, mut counted) = (SharedPlace::newest(now_us() / 1000), 0);
    while counted < COUNTED_MAX {
        let page = shared.page(tenant, &after, ASKED_AT_ONCE).await?;
        counted += page.letters.len().max(1);
        for found in &page.letters {
            let reason = &found.letter.code;
            let new = || ShownGroup { reason: reason.clone(), count: 0, sample: None };
            let group = all.entry(reason.clone()).or_insert_with(new);
            group.count += 1;
            group.sample.get_or_insert_with(|| Shown::of(found));
        }
        match page.next {
            Some(next) => after = next,
            None => return Ok(true),
        }
    }
    Ok(false)
}
