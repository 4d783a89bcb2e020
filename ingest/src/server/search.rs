//! Answers searches: asks the log's tail, the dead letters and the store, in the order in which a
//! pulse moves on, so that one that moves meanwhile is not missed.

use std::sync::Arc;

use tokio::task::spawn_blocking;
use tracing::{error, warn};
use uuid::Uuid;

use crate::clock::now_us;
use crate::code::{Code, Reject};
use crate::pulse;
use crate::query::answer::PAGE_BYTES_SOFT;
use crate::query::life::Known;
use crate::query::search::{self, Name, One, Recent, Search, Writer};
use crate::response::Answer;
use crate::sink::dead_letter::SharedError;
use crate::sink::drain::{Looked, Whereabouts};
use crate::sink::replay::{Listing, ReplayError, Replays, Shown};
use crate::store::{Position, QueryError, Row, Store};
use crate::submission::{Intake, Refusal};

use super::exchange::{Exchange, Expired};
use super::letters::refusal_of;
use super::queries::{ROWS_MAX, failed, late, run};
use super::reply::Reply;
use super::service::{Call, Shared};

/// Rows that are asked for at once.
const STEP_ROWS: usize = 500;

/// Answers a search.
pub(super) async fn answer<I: Intake>(
    shared: &Arc<Shared<I>>,
    exchange: &Exchange,
    call: Call<'_>,
) -> Result<Reply, Refusal> {
    let intake = &shared.app.intake;
    let tenant = call.caller.tenant.name.to_string();
    let asked = search::parse(&tenant, call.parts.uri.query(), now_us() / 1000)?;
    let Some(store) = intake.store() else {
        return Err(Reject::new(Code::StoreUnavailable, "there is no store to ask").into());
    };
    let places = Places { store, replays: intake.replays(), whereabouts: intake.whereabouts() };
    exchange.work(shared.settings.query_timeout);
    match asked {
        Search::Recent(asked) => {
            run(shared, exchange, async move { places.recent(asked).await }).await
        }
        Search::One(asked) => {
            let id = match &asked.name {
                Name::Id(text) => pulse::id_from_text(&tenant, text),
                Name::Key(key) => {
                    let known = exchange.limit(intake.id_of_key(&tenant, key)).await;
                    let id = known.map_err(|Expired| late())?;
                    id.unwrap_or_else(|| pulse::id_from_key(&tenant, key))
                }
            };
            run(shared, exchange, async move { places.one(tenant, asked, id).await }).await
        }
    }
}

/// Where pulses can be.
struct Places {
    store: Arc<dyn Store>,
    replays: Option<Replays>,
    whereabouts: Option<Whereabouts>,
}

impl Places {
    /// The newest rows that fit, of a bounded number.
    async fn recent(self, asked: Recent) -> Result<Answer, Refusal> {
        let mut query = asked.query.clone();
        let (mut writer, mut looked_at) = (Writer::default(), 0);
        loop {
            query.limit = STEP_ROWS.min(ROWS_MAX - looked_at);
            let page = self.store.pulses(&query).await.map_err(failed)?;
            let mut rows = page.rows.iter().peekable();
            while let Some(row) = rows.next() {
                looked_at += 1;
                if !asked.fits(row) {
                    continue;
                }
                writer.push(row, &self.stored(row).life(row));
                let is_full =
                    writer.pulses() == asked.query.limit || writer.bytes() >= PAGE_BYTES_SOFT;
                if is_full {
                    let more = rows.peek().is_some() || page.next.is_some();
                    let next = more.then(|| asked.cursor(position(row)));
                    return Ok(Answer::json(200, writer.finish(&[], next, true)));
                }
            }
            let Some(next) = page.next else {
                return Ok(Answer::json(200, writer.finish(&[], None, true)));
            };
            if looked_at >= ROWS_MAX {
                return Ok(Answer::json(200, writer.finish(&[], Some(asked.cursor(next)), false)));
            }
            query.after = Some(next);
        }
    }

    fn stored(&self, row: &Row) -> Known {
        let replayed = self.replays.as_ref().map(|replays| replays.replayed(&row.tenant, row.id));
        Known { stored: true, replayed: replayed.unwrap_or_default(), ..Known::default() }
    }

    /// One pulse, wherever it is.
    async fn one(self, tenant: String, asked: One, id: Uuid) -> Result<Answer, Refusal> {
        let (named, asked_all) = match &asked.name {
            Name::Id(text) => self.letter(&tenant, text).await?,
            Name::Key(_) => (None, true),
        };
        let of_letter = named.as_ref().and_then(|shown| shown.letter.record());
        let id = of_letter.map_or(id, |record| record.entry.id);
        let (looked, read) = self.underway(&tenant, id).await;
        let mut page = self.letters(&tenant, id, &asked).await?;
        if let Some(shown) = named.filter(|named| page.letters.iter().all(|it| it.id != named.id)) {
            page.letters.push(shown);
        }
        let asked_store = self.store.pulse(&tenant, id).await;
        let all_letters = asked_all && page.complete && page.next.is_none();
        let mut complete = read && !looked.cut && all_letters;
        let stored = match asked_store {
            Ok(row) => row,
            Err(error) if looked.found.is_none() && page.letters.is_empty() => {
                return Err(failed(error));
            }
            Err(error) => {
                // What is known is worth telling.
                if !matches!(error, QueryError::NotIndexed) {
                    error!(error = format!("{error:#}"), "search goes on without the store");
                }
                complete = false;
                None
            }
        };
        let next = page.next.map(|behind| asked.cursor(&behind));
        let replayed = self.replays.as_ref().map(|replays| replays.replayed(&tenant, id));
        let known = Known {
            stored: stored.is_some(),
            underway: looked.found,
            letters: page.letters,
            replayed: replayed.unwrap_or_default(),
        };
        let mut writer = Writer::default();
        if let Some(row) = stored.or_else(|| row_of(&known)) {
            writer.push(&row, &known.life(&row));
        }
        Ok(Answer::json(200, writer.finish(&known.letters, next, complete)))
    }

    /// The letter that is named by its own id, and whether all could be asked who may have it.
    async fn letter(&self, tenant: &str, text: &str) -> Result<(Option<Shown>, bool), Refusal> {
        let (Some(replays), Ok(id)) = (&self.replays, Uuid::try_parse(text)) else {
            return Ok((None, true));
        };
        match replays.show(tenant, id).await {
            Ok(shown) => Ok((shown, true)),
            // Told as what is left out; the store of the rows may answer.
            Err(ReplayError::Shared(SharedError::Unavailable(error))) => {
                warn!(error = format!("{error:#}"), "search goes on without the store's letters");
                Ok((None, false))
            }
            Err(error) => Err(refusal_of(error)),
        }
    }

    async fn letters(&self, tenant: &str, id: Uuid, asked: &One) -> Result<Listing, Refusal> {
        let Some(replays) = &self.replays else {
            return Ok(Listing { complete: true, ..Listing::default() });
        };
        replays.of_pulse(tenant, id, asked.after.clone()).await.map_err(refusal_of)
    }

    /// What is on its way, and whether that could be read.
    async fn underway(&self, tenant: &str, id: Uuid) -> (Looked, bool) {
        let Some(whereabouts) = self.whereabouts.clone() else { return (Looked::default(), true) };
        let tenant = tenant.to_owned();
        let looked = spawn_blocking(move || whereabouts.of(&tenant, id)).await;
        match looked.map_err(std::io::Error::other).flatten() {
            Ok(looked) => (looked, true),
            Err(source) => {
                error!(error = %source, "search could not read the log");
                (Looked::default(), false)
            }
        }
    }
}

/// The row that a pulse would have that is in no store.
fn row_of(known: &Known) -> Option<Row> {
    let letters = known.letters.iter().filter_map(|shown| shown.letter.record());
    let mut records = known.underway.iter().filter_map(|found| found.record()).chain(letters);
    records.find_map(|record| Row::from_record(&record).ok())
}

fn position(row: &Row) -> Position {
    Position { event_time_ms: row.event_time_ms, id: row.id }
}
