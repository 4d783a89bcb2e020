//! Works the replays, one piece of letters at a time, each replay in turn, and gives the letters'
//! room back. What is before a sink from the log goes first.

use std::collections::HashMap;
use std::io;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use tokio::task::spawn_blocking;
use tokio::time::{Instant, sleep, timeout};
use uuid::Uuid;

use crate::clock::now_us;
use crate::sink::dead_letter::{Held, LetterPage, LetterPlace, Wanted};

use super::job::{Counts, InFlight, Replay, SAMPLE_MAX};
use super::{Desk, Phase, of};

/// Letters of a piece: some batches at their usual size, since each piece waits for the disk
/// several times, however small it is.
const PIECE_LETTERS_ENOUGH: usize = 20_000;
/// Most letters of one: what is noted of a segment is written as a whole, so a piece rather ends
/// where a segment does.
const PIECE_LETTERS_MAX: usize = 32_000;
/// Bytes of pulses that end a piece.
const PIECE_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Between two looks whether room can be given back: a cursor is synced once a second.
const COMPACT_INTERVAL: Duration = Duration::from_secs(2);
/// How long a failing disk is left alone.
const DISK_WAIT: Duration = Duration::from_secs(1);
/// Longest time that a piece waits for what comes from the log: a replay gets on all the same.
const GIVE_WAY_MAX: Duration = Duration::from_secs(1);
const GIVE_WAY_LOOK: Duration = Duration::from_millis(10);

/// Works until told to stop.
pub(super) async fn run(desk: Arc<Desk>) {
    let mut turn = Uuid::nil();
    let mut not_before: HashMap<Uuid, Instant> = HashMap::new();
    let mut compacted = Instant::now();
    let mut ahead = None;
    while !desk.is_stopping() {
        if compacted.elapsed() >= COMPACT_INTERVAL {
            give_room_back(&desk).await;
            compacted = Instant::now();
        }
        let now = Instant::now();
        not_before.retain(|_, at| *at > now);
        let may = |replay: &Replay| {
            !not_before.contains_key(&replay.id) || replay.phase == Phase::Cancelling
        };
        let Some(replay) = desk.table.next_due(turn, may) else {
            let wait = not_before.values().min().map_or(COMPACT_INTERVAL, |at| *at - now);
            let _rung = timeout(wait.min(COMPACT_INTERVAL), desk.due.notified()).await;
            continue;
        };
        turn = replay.id;
        let rate = replay.order.rate.filter(|_| !replay.order.dry_run);
        let before = replay.counts.matched;
        match step(&desk, replay, &mut ahead).await {
            Ok(matched) => {
                if let Some(rate) = rate {
                    let letters = matched.saturating_sub(before) as f64;
                    let time = Duration::from_secs_f64(letters / f64::from(rate.max(1)));
                    not_before.insert(turn, now + time);
                }
            }
            Err(error) => {
                tracing::error!(replay = %turn, %error, "replay waits");
                sleep(DISK_WAIT).await;
            }
        }
        desk.changed.notify_waiters();
    }
}

/// Letters of a replay that were read before it was their turn.
struct Ahead {
    replay: Uuid,
    after: Option<LetterPlace>,
    page: LetterPage,
}

impl Ahead {
    /// What comes behind the letters that are on their way, if that is soon.
    async fn read(desk: &Arc<Desk>, replay: &Replay) -> Option<Self> {
        let after = replay.in_flight.as_ref()?.next?;
        if replay.order.rate.is_some() || replay.phase != Phase::Running {
            return None;
        }
        let next = Replay { done: Some(after), in_flight: None, ..replay.clone() };
        let page = blocking(desk, move |desk| read(desk, &next)).await.ok()?;
        Some(Self { replay: replay.id, after: Some(after), page })
    }

    /// What was read of this replay, if it is what comes next.
    fn of(ahead: &mut Option<Self>, replay: &Replay) -> Option<LetterPage> {
        let is_next = |ahead: &Self| ahead.replay == replay.id && ahead.after == replay.done;
        ahead.take().filter(is_next).map(|ahead| ahead.page)
    }
}

/// Does the next piece of a replay; returns how many letters it has come to in all.
async fn step(desk: &Arc<Desk>, replay: Replay, ahead: &mut Option<Ahead>) -> io::Result<u64> {
    let id = replay.id;
    if let (true, Some(shared)) = (replay.is_with_store(), &desk.shared) {
        return match super::shared::step(desk, &**shared, &replay).await {
            Ok(ended) => keep(desk, id, ended).await,
            // The store is away, as its rows' is: it is waited for.
            Err(error) => Err(io::Error::other(format!("{error:#}"))),
        };
    }
    let held = match &replay.in_flight {
        Some(flight) => {
            let places: Vec<_> = flight.places.iter().flatten().copied().collect();
            blocking(desk, move |desk| desk.letters.at(&places)).await?
        }
        None => {
            let (taken, ahead) = (replay.clone(), Ahead::of(ahead, &replay));
            match blocking(desk, move |desk| take(desk, &taken, ahead)).await? {
                Taken::Letters(held) => held,
                Taken::Nothing { ended } => return keep(desk, id, ended).await,
            }
        }
    };
    let Some(replay) = desk.table.get(id) else { return Ok(0) };
    let mut ended = false;
    if replay.in_flight.is_some() {
        give_way(desk, &held).await;
        // The next letters are read while these are written.
        let writing = super::piece::write(desk, &replay, held);
        let (written, read) = tokio::join!(writing, Ahead::read(desk, &replay));
        *ahead = read;
        written?;
        if desk.is_stopping() {
            return Ok(0);
        }
        let landed = desk.table.change(id, |replay| {
            let flight = replay.in_flight.as_ref();
            let all = flight.is_some_and(|flight| flight.places.iter().all(Option::is_none));
            all.then(|| replay.landed(now_us()))
        });
        match landed.flatten() {
            Some(landed) => ended = landed,
            // It was halted. One that is to end asks its sink again, not at once.
            None => sleep(GIVE_WAY_LOOK).await,
        }
    }
    keep(desk, id, ended).await
}

/// Keeps that a replay has ended here, or how far it is if it does not go on.
async fn keep(desk: &Arc<Desk>, id: Uuid, ended: bool) -> io::Result<u64> {
    let Some(replay) = desk.table.get(id) else { return Ok(0) };
    let matched = replay.counts.matched;
    if ended {
        let action =
            if replay.phase == Phase::Cancelled { "replay_cancelled" } else { "replay_completed" };
        blocking(desk, move |desk| {
            desk.table.save()?;
            desk.audit.add(&of(&replay, action))
        })
        .await?;
    } else if replay.phase != Phase::Running {
        blocking(desk, |desk| desk.table.save()).await?;
    }
    Ok(matched)
}

/// What was taken for a replay.
enum Taken {
    Letters(Vec<Held>),
    /// There was nothing to be written; `ended`: and that was the end of it.
    Nothing {
        ended: bool,
    },
}

/// Takes the next letters of a replay, numbered and kept as being on their way.
fn take(desk: &Desk, replay: &Replay, ahead: Option<LetterPage>) -> io::Result<Taken> {
    let _taking = desk.taking.lock().unwrap_or_else(PoisonError::into_inner);
    let page = look(desk, replay, ahead)?;
    let writes = !replay.order.dry_run && !page.letters.is_empty();
    let first_seq = if writes { desk.table.number(page.letters.len() as u64) } else { 0 };
    let LetterPage { letters, looked_at, next } = page;
    let taken = desk.table.change(replay.id, |replay| {
        if replay.phase != Phase::Running {
            return Some(false);
        }
        replay.counts.matched += letters.len() as u64;
        let room = SAMPLE_MAX.saturating_sub(replay.sample.len());
        replay.sample.extend(letters.iter().take(room).map(|held| desk.id_of(held)));
        if writes {
            let places = letters.iter().map(|held| Some(held.place)).collect();
            replay.in_flight = Some(InFlight { first_seq, places, next, looked_at });
            return None;
        }
        Some(replay.move_on(next, looked_at, now_us()))
    });
    if let Some(ended) = taken.unwrap_or(Some(false)) {
        return Ok(Taken::Nothing { ended });
    }
    if let Err(error) = desk.table.save() {
        // The sink has got nothing: as if they had not been taken.
        desk.table.change(replay.id, |replay| {
            replay.in_flight = None;
            replay.counts = Counts {
                matched: replay.counts.matched.saturating_sub(letters.len() as u64),
                ..replay.counts
            };
        });
        return Err(error);
    }
    Ok(Taken::Letters(letters))
}

fn read(desk: &Desk, replay: &Replay) -> io::Result<LetterPage> {
    let page = match replay.order.only {
        Some(id) => {
            let letters: Vec<_> = desk.find(&replay.order.filter.tenant, id)?.into_iter().collect();
            LetterPage { looked_at: letters.len() as u64, letters, next: None }
        }
        None => {
            let wanted = Wanted {
                letters_max: replay.piece_letters(PIECE_LETTERS_MAX),
                letters_enough: replay.piece_letters(PIECE_LETTERS_ENOUGH),
                bytes_max: PIECE_BYTES_MAX,
            };
            desk.letters.forward(&replay.order.filter, (replay.done, replay.end), wanted)?
        }
    };
    Ok(page)
}

/// The next letters of a replay as they are now, some of which may have been read before.
fn look(desk: &Desk, replay: &Replay, ahead: Option<LetterPage>) -> io::Result<LetterPage> {
    let mut page = match ahead {
        None => read(desk, replay)?,
        Some(mut ahead) => {
            desk.letters.keep_there(&mut ahead.letters)?;
            ahead
        }
    };
    // What another replay has on its way is the other's.
    let busy = desk.table.in_flight();
    page.letters
        .retain(|held| replay.order.filter.fits(&held.letter) && !busy.contains(&held.place));
    Ok(page)
}

/// Lets what comes from the log go first, for a while.
async fn give_way(desk: &Desk, held: &[Held]) {
    let Some(first) = held.first() else { return };
    let Some(drain) = desk.view.sinks.iter().find(|drain| drain.name == first.letter.sink) else {
        return;
    };
    let enough = 2 * drain.settings.batch_size as u64;
    let begun = Instant::now();
    let waits = || desk.view.boards().map(|board| board.unfinished(drain.index)).sum::<u64>();
    while waits() > enough && begun.elapsed() < GIVE_WAY_MAX && !desk.is_stopping() {
        sleep(GIVE_WAY_LOOK).await;
    }
}

async fn give_room_back(desk: &Arc<Desk>) {
    let given = blocking(desk, |desk| {
        desk.letters.compact(&|sink, log, seq| {
            let board = desk.view.log.as_ref().filter(|board| board.source.id() == log);
            let drain = desk.view.sinks.iter().find(|drain| drain.name == sink);
            match (board, drain) {
                (Some(board), Some(drain)) => seq < board.durable_low(drain.index),
                // No start asks for the numbers of another log, or of memory, or of a sink that
                // is not there.
                _ => true,
            }
        })
    });
    match given.await {
        Ok(0) => {}
        Ok(bytes) => {
            tracing::debug!(bytes, "dead letters gave room back");
            if let Some(drain) = desk.view.sinks.first() {
                drain.metrics.dead_letter_bytes.set(desk.letters.bytes() as i64);
            }
        }
        Err(error) => tracing::warn!(%error, "give dead letters' room back failed"),
    }
}

/// Works on a thread where blocking is allowed.
pub(super) async fn blocking<T: Send + 'static>(
    desk: &Arc<Desk>,
    work: impl FnOnce(&Desk) -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    let desk = Arc::clone(desk);
    spawn_blocking(move || work(&desk)).await.map_err(io::Error::other)?
}
