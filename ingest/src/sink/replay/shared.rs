//! Letters that a store keeps for all processes: those of this process's disk are handed over to
//! it, and a replay goes on with what lies there. A letter leaves this disk only when the store
//! has it as safe as its rows, and the store only when its sink has its row.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use tokio::time::{Instant, sleep};
use uuid::Uuid;

use crate::clock::now_us;
use crate::sink::dead_letter::{
    Held, Leaving, Letter, LetterPlace, Settled, SharedLetter, SharedLetters, SharedPage,
    SharedPlace, Slip, Wanted, group_of, shared_id, time_and_group,
};
use crate::sink::drain::job::Outcome;

use super::batches::{Row, batches_of, entry_of};
use super::job::{Replay, SAMPLE_MAX};
use super::piece;
use super::recent::RECENT_MAX;
use super::runner::blocking;
use super::{Desk, Shown};

/// Between two looks for letters to hand over, and after a store that was away.
const INTERVAL: Duration = Duration::from_secs(1);
/// Letters and bytes that are handed over at once.
const LETTERS_MAX: usize = 1_000;
const BYTES_MAX: usize = 4 * 1024 * 1024;
/// After this, what the store has refused is tried again.
const AGAIN_AFTER: Duration = Duration::from_secs(600);
/// Letters of a piece of a replay.
const PIECE_LETTERS_MAX: usize = 1_000;

/// Hands letters over until told to stop.
pub(super) async fn hand_over(desk: Arc<Desk>, shared: Arc<dyn SharedLetters>) {
    let (mut behind, mut end, mut begun) = (None, None, Instant::now());
    let mut failures: u32 = 0;
    while !desk.is_stopping() {
        if begun.elapsed() >= AGAIN_AFTER {
            (behind, end, begun) = (None, None, Instant::now());
        }
        let now_end = desk.letters.end();
        if desk.letters.is_empty() || end == Some(now_end) {
            sleep(INTERVAL).await;
            continue;
        }
        let Ok(handing) = desk.handing.acquire().await else { return };
        let handed = hand_over_some(&desk, &*shared, behind).await;
        drop(handing);
        match handed {
            Ok(Some(next)) => (behind, failures) = (Some(next), 0),
            Ok(None) => (end, failures) = (Some(now_end), 0),
            Err(error) => {
                failures = failures.saturating_add(1);
                if failures.is_power_of_two() {
                    tracing::warn!(failures, error = format!("{error:#}"), "letters stay here");
                }
                sleep(INTERVAL).await;
            }
        }
    }
}

/// Hands letters behind a place over; gives the last place that was looked at, `None` when there
/// was no more.
async fn hand_over_some(
    desk: &Arc<Desk>,
    shared: &dyn SharedLetters,
    behind: Option<LetterPlace>,
) -> anyhow::Result<Option<LetterPlace>> {
    let wanted =
        Wanted { letters_max: LETTERS_MAX, letters_enough: LETTERS_MAX, bytes_max: BYTES_MAX };
    let found = blocking(desk, move |desk| desk.letters.oldest(behind, wanted)).await?;
    let Some(last) = found.last().map(|held| held.place) else { return Ok(None) };
    let busy = desk.table.in_flight();
    let may = |held: &Held| !busy.contains(&held.place) && !held.letter.tenant.is_empty();
    let (held, letters): (Vec<_>, Vec<_>) = (found.into_iter().filter(may))
        .map(|held| {
            let shared = desk.as_shared(held.place, Letter::clone(&held.letter));
            (held, shared)
        })
        .unzip();
    let refused = shared.put(&letters).await?;
    let gone = |(index, held): (usize, Held)| {
        (!refused.contains(&index)).then(|| Settled::leaves(&held, Leaving::HandedOver))
    };
    let settled: Vec<_> = held.into_iter().enumerate().filter_map(gone).collect();
    blocking(desk, move |desk| {
        let _taking = desk.taking.lock().unwrap_or_else(PoisonError::into_inner);
        // What a replay has taken meanwhile is its own, and is removed there with its row.
        let busy = desk.table.in_flight();
        let left: Vec<_> =
            settled.into_iter().filter(|settled| !busy.contains(&settled.place)).collect();
        desk.letters.settle(&left)?;
        for settled in &left {
            desk.count(&settled.origin.sink, Leaving::HandedOver, 1);
        }
        Ok(())
    })
    .await?;
    Ok(Some(last))
}

/// Does the next piece of a replay with what lies in the store; returns whether it has ended.
pub(super) async fn step(
    desk: &Arc<Desk>,
    shared: &dyn SharedLetters,
    replay: &Replay,
) -> anyhow::Result<bool> {
    let page = look(shared, replay).await?;
    let looked_at = page.letters.len() as u64;
    let fits = |letter: &SharedLetter| replay.order.filter.fits(&letter.letter);
    let letters: Vec<_> = page.letters.into_iter().filter(fits).collect();
    let known = desk.table.change(replay.id, |replay| {
        replay.counts.matched += letters.len() as u64;
        let room = SAMPLE_MAX.saturating_sub(replay.sample.len());
        replay.sample.extend(letters.iter().take(room).map(SharedLetter::id));
    });
    if known.is_none() {
        return Ok(true);
    }
    if !replay.order.dry_run && !letters.is_empty() && !write(desk, shared, replay, letters).await?
    {
        // What did not end is looked for again.
        return Ok(desk.table.change(replay.id, |replay| replay.give_up(now_us())) == Some(true));
    }
    let ended = desk
        .table
        .change(replay.id, |replay| replay.move_on_shared(page.next, looked_at, now_us()));
    blocking(desk, |desk| desk.table.save()).await?;
    Ok(ended == Some(true))
}

async fn look(shared: &dyn SharedLetters, replay: &Replay) -> anyhow::Result<SharedPage> {
    let tenant = &replay.order.filter.tenant;
    if let Some(id) = replay.order.only {
        let letters = shared.find(tenant, id).await?.into_iter().collect();
        return Ok(SharedPage { letters, next: None });
    }
    let newest = SharedPlace::newest(replay.created_at_us.div_euclid(1000));
    let after = replay.shared.as_ref().and_then(|shared| shared.after.as_ref());
    let limit = replay.piece_letters(PIECE_LETTERS_MAX);
    Ok(shared.page(tenant, after.unwrap_or(&newest), limit).await?)
}

/// Writes letters to their sinks and lets those go that were taken; whether all have ended.
async fn write(
    desk: &Arc<Desk>,
    shared: &dyn SharedLetters,
    replay: &Replay,
    letters: Vec<SharedLetter>,
) -> anyhow::Result<bool> {
    let below = desk.table.finished_below();
    let first = desk.table.number(letters.len() as u64);
    blocking(desk, |desk| desk.table.save()).await?;
    let mut by_sink: BTreeMap<String, BTreeMap<u64, SharedLetter>> = BTreeMap::new();
    for (seq, letter) in (first..).zip(letters) {
        by_sink.entry(letter.letter.sink.clone()).or_default().insert(seq, letter);
    }
    let mut all = true;
    for (sink, letters) in by_sink {
        let Some(drain) = desk.view.sinks.iter().find(|drain| drain.name == sink) else {
            let skipped = letters.len() as u64;
            desk.table.change(replay.id, |replay| replay.counts.skipped += skipped);
            continue;
        };
        let frames: Vec<_> = (letters.iter())
            .map(|(seq, letter)| (*seq, Bytes::copy_from_slice(&letter.letter.frame)))
            .collect();
        let rows = frames.iter().map(|(seq, frame)| Row::of(*seq, frame));
        let batches = batches_of(desk.table.log(), rows, below);
        let outcome = piece::try_batches(desk, replay.id, drain, batches).await;
        if !outcome.taken.is_empty() && !piece::synced(desk, drain).await {
            return Ok(false);
        }
        all &= end(desk, shared, (replay.id, &drain.name), (letters, outcome)).await?;
    }
    Ok(all)
}

/// Notes how letters have ended; whether all have.
async fn end(
    desk: &Arc<Desk>,
    shared: &dyn SharedLetters,
    (replay, sink): (Uuid, &str),
    (mut letters, outcome): (BTreeMap<u64, SharedLetter>, Outcome),
) -> anyhow::Result<bool> {
    let before = letters.len();
    letters.retain(|_, letter| entry_of(&letter.letter.frame).is_some());
    let skipped = before - letters.len();
    let expired: u64 = outcome.taken.iter().map(|(_, expired)| expired).sum();
    let ranges = outcome.taken.into_iter().flat_map(|(ranges, _)| ranges);
    let seqs = ranges.flat_map(|(start, end)| start..end);
    let mut taken: Vec<_> = seqs.filter_map(|seq| letters.remove(&seq)).collect();
    shared.remove(&taken).await?;
    // What has expired was received before what has not.
    taken.sort_by_key(|taken| taken.letter.record().map(|record| record.envelope.received_at_us));
    let replayed = taken.iter().skip(usize::try_from(expired).unwrap_or(usize::MAX));
    replayed.for_each(|taken| desk.recent.add_shown(&Shown::of(taken)));
    let mut failed = Vec::new();
    for tried in outcome.failed {
        if let Some(mut letter) = letters.remove(&tried.seq) {
            letter.letter.fail(&tried);
            failed.push(letter);
        }
    }
    shared.put(&failed).await?;
    let expired = expired.min(taken.len() as u64);
    let stored = taken.len() as u64 - expired;
    desk.count(sink, Leaving::Expired, expired);
    desk.count(sink, Leaving::Replayed, stored);
    desk.table.change(replay, |replay| {
        replay.counts.stored += stored;
        replay.counts.expired += expired;
        replay.counts.failed += failed.len() as u64;
        replay.counts.skipped += skipped as u64;
    });
    Ok(letters.is_empty())
}

impl Desk {
    /// Remembers letters of this disk whose pulses their sinks have taken.
    pub(super) fn remember(&self, slips: &[Slip]) {
        if self.shared.is_none() {
            return self.recent.add(slips.iter());
        }
        let last = &slips[slips.len().saturating_sub(RECENT_MAX)..];
        let letters = last.iter().filter_map(|slip| self.shared_of(slip));
        letters.for_each(|letter| self.recent.add_shown(&Shown::of(&letter)));
    }

    /// A letter of this disk as it would lie in the store, if it can be read.
    pub(super) fn shared_of(&self, slip: &Slip) -> Option<SharedLetter> {
        Some(self.as_shared(slip.place, slip.letter()?))
    }

    /// The same of one that is known as a whole.
    pub(super) fn as_shared(&self, place: LetterPlace, letter: Letter) -> SharedLetter {
        SharedLetter { group: group_of(self.table.log().0, place.segment), letter }
    }

    /// The id that clients call a letter of this disk by.
    pub(super) fn id_of(&self, held: &Held) -> Uuid {
        if self.shared.is_none() {
            return held.id();
        }
        shared_id(&held.letter, group_of(self.table.log().0, held.place.segment))
    }

    /// The letter of an id on this disk. Blocks.
    pub(super) fn find(&self, tenant: &str, id: Uuid) -> io::Result<Option<Held>> {
        if self.shared.is_none() {
            return self.letters.find(tenant, id);
        }
        let Some((at_ms, group)) = time_and_group(id) else { return Ok(None) };
        let owner = self.table.log().0;
        let lies = |segment| group_of(owner, segment) == group;
        self.letters.find_by(lies, |held| {
            held.letter.tenant == tenant
                && held.letter.first_at_us.div_euclid(1000) == at_ms
                && self.id_of(held) == id
        })
    }
}
