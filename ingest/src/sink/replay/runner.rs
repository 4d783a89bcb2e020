//! Works the replays, one piece of letters after the other, each replay in turn, and gives the
//! letters' room back. While sinks write a piece, it is noted what became of the one before, and
//! the next is read. What is before a sink from the log goes first.

use std::collections::HashMap;
use std::io;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use tokio::task::spawn_blocking;
use tokio::time::{Instant, sleep, timeout};
use uuid::Uuid;

use crate::clock::now_us;
use crate::sink::dead_letter::{LetterPlace, Slip, Slips, Wanted};

use super::flight::Flight;
use super::job::{Replay, SAMPLE_MAX};
use super::piece::Written;
use super::{Desk, Phase, of};

/// Letters of a piece: some batches at their usual size, since each piece waits for the disk
/// several times, however small it is. In tests some letters make several pieces.
const PIECE_LETTERS_ENOUGH: usize = if cfg!(test) { 100 } else { 20_000 };
/// Most letters of one: what is noted of a segment is written as a whole, so a piece rather ends
/// where a segment does.
const PIECE_LETTERS_MAX: usize = if cfg!(test) { 150 } else { 32_000 };
/// Bytes of segments that end a piece; one segment may begin below. A piece that is noted, one
/// that is written and one that is read ahead are in memory at once.
const PIECE_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Pieces of a replay that are on their way: one that is written, and one that is noted.
const FLIGHTS_MAX: usize = 2;
/// Between two looks whether room can be given back: a cursor is synced once a second.
const COMPACT_INTERVAL: Duration = Duration::from_secs(2);
/// How long a failing disk is left alone.
const DISK_WAIT: Duration = Duration::from_secs(1);
/// Longest time that a piece waits for what comes from the log: a replay gets on all the same.
const GIVE_WAY_MAX: Duration = Duration::from_secs(1);
const GIVE_WAY_LOOK: Duration = Duration::from_millis(10);

/// Works until told to stop.
pub(super) async fn run(desk: Arc<Desk>) {
    let mut runner = Runner {
        turn: Uuid::nil(),
        not_before: HashMap::new(),
        compacted: Instant::now(),
        ahead: None,
        written: None,
        desk,
    };
    while !runner.desk.is_stopping() {
        runner.round().await;
        runner.desk.changed.notify_waiters();
    }
}

/// Where the work is.
struct Runner {
    desk: Arc<Desk>,
    /// The replay that had the last turn.
    turn: Uuid,
    /// When replays with a rate go on.
    not_before: HashMap<Uuid, Instant>,
    compacted: Instant,
    ahead: Option<Ahead>,
    /// The last piece, of which it is noted how it ended while the next is written.
    written: Option<Written>,
}

impl Runner {
    /// Writes a piece of the next replay while it is noted what became of the piece before.
    async fn round(&mut self) {
        let now = Instant::now();
        self.not_before.retain(|_, at| *at > now);
        let not_before = &self.not_before;
        let may = |replay: &Replay| {
            !not_before.contains_key(&replay.id) || replay.phase == Phase::Cancelling
        };
        let (desk, written) = (Arc::clone(&self.desk), self.written.take());
        let Some(replay) = desk.table.next_due(self.turn, may) else {
            if written.is_none() {
                self.rest(now).await;
            }
            return wait_if_failed(settle(&desk, written).await).await;
        };
        self.turn = replay.id;
        let (rate, before) = (replay.rate(), replay.counts.matched);
        let noting = written.as_ref().map(|written| written.first_seq);
        let (step, settled, ()) = tokio::join!(
            step(&desk, replay, &mut self.ahead, noting),
            settle(&desk, written),
            give_room_back(&desk, &mut self.compacted),
        );
        wait_if_failed(settled).await;
        let after = desk.table.get(self.turn);
        let matched = after.as_ref().map_or(0, |replay| replay.counts.matched);
        if let Some(rate) = rate.filter(|_| step.is_ok()) {
            let letters = matched.saturating_sub(before) as f64;
            let time = Duration::from_secs_f64(letters / f64::from(rate.max(1)));
            self.not_before.insert(self.turn, now + time);
        }
        match step {
            Ok(Some(written)) if after.is_some_and(|replay| replay.goes_on_at_once()) => {
                self.written = Some(written);
            }
            Ok(written) => wait_if_failed(settle(&desk, written).await).await,
            Err(error) => wait_if_failed(Err(error)).await,
        }
    }

    /// Waits until there may be something to do.
    async fn rest(&mut self, now: Instant) {
        give_room_back(&self.desk, &mut self.compacted).await;
        let wait = self.not_before.values().min().map_or(COMPACT_INTERVAL, |at| *at - now);
        let _rung = timeout(wait.min(COMPACT_INTERVAL), self.desk.due.notified()).await;
    }
}

async fn wait_if_failed(done: io::Result<()>) {
    if let Err(error) = done {
        tracing::error!(%error, "replay waits");
        sleep(DISK_WAIT).await;
    }
}

/// Letters of a replay that were read before it was their turn.
struct Ahead {
    replay: Uuid,
    after: Option<LetterPlace>,
    page: Slips,
}

impl Ahead {
    /// What comes behind the letters that are on their way, if that is soon.
    async fn read(desk: &Arc<Desk>, replay: Uuid) -> Option<Self> {
        let replay = desk.table.get(replay).filter(Replay::goes_on_at_once)?;
        let (id, after) = (replay.id, replay.behind()?);
        let page = blocking(desk, move |desk| read(desk, &replay, after)).await.ok()?;
        Some(Self { replay: id, after, page })
    }

    /// What was read of this replay, if it is what comes next.
    fn of(ahead: &mut Option<Self>, replay: &Replay) -> Option<Slips> {
        let is_next =
            |ahead: &Self| ahead.replay == replay.id && Some(ahead.after) == replay.behind();
        ahead.take().filter(is_next).map(|ahead| ahead.page)
    }
}

/// Has sinks write the next piece of a replay, but not the one that is being noted.
async fn step(
    desk: &Arc<Desk>,
    replay: Replay,
    ahead: &mut Option<Ahead>,
    noting: Option<u64>,
) -> io::Result<Option<Written>> {
    let id = replay.id;
    if let (true, Some(shared)) = (replay.is_with_store(), &desk.shared) {
        return match super::shared::step(desk, &**shared, &replay).await {
            Ok(ended) => keep(desk, id, ended).await.map(|()| None),
            // The store is away, as its rows' is: it is waited for.
            Err(error) => Err(io::Error::other(format!("{error:#}"))),
        };
    }
    let again = |flight: &&Flight| Some(flight.first_seq) != noting && !flight.has_landed();
    let (flight, slips) = match replay.in_flight.iter().find(again).cloned() {
        Some(flight) => {
            let places: Vec<_> = flight.on_their_way().collect();
            (flight, blocking(desk, move |desk| desk.letters.at(&places)).await?)
        }
        None => {
            let ahead = Ahead::of(ahead, &replay);
            match blocking(desk, move |desk| take(desk, &replay, ahead)).await? {
                Taken::Letters(flight, slips) => (flight, slips),
                Taken::Nothing { ended } => return keep(desk, id, ended).await.map(|()| None),
            }
        }
    };
    give_way(desk, &slips).await;
    // The next letters are read while these are written.
    let writing = super::piece::write(desk, id, &flight, slips);
    let (written, read) = tokio::join!(writing, Ahead::read(desk, id));
    *ahead = read;
    Ok(Some(written))
}

/// Notes what has become of a piece, and that its replay has ended with it where it has.
async fn settle(desk: &Arc<Desk>, written: Option<Written>) -> io::Result<()> {
    let Some(written) = written else { return Ok(()) };
    let (id, first_seq) = (written.replay, written.first_seq);
    super::piece::settle(desk, written).await?;
    if desk.is_stopping() {
        return Ok(());
    }
    let landed = desk.table.change(id, |replay| {
        let is = |flight: &Flight| flight.first_seq == first_seq && !flight.has_landed();
        let halted = replay.in_flight.iter().any(is);
        (replay.land(now_us()), halted)
    });
    let Some((ended, halted)) = landed else { return Ok(()) };
    if halted {
        // One that is to end asks its sink again, not at once.
        sleep(GIVE_WAY_LOOK).await;
    }
    keep(desk, id, ended).await
}

/// Keeps that a replay has ended here, or how far it is if it does not go on.
async fn keep(desk: &Arc<Desk>, id: Uuid, ended: bool) -> io::Result<()> {
    let Some(replay) = desk.table.get(id) else { return Ok(()) };
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
    Ok(())
}

/// What was taken for a replay.
enum Taken {
    Letters(Flight, Vec<Slip>),
    /// There was nothing to be written; `ended`: and that was the end of it.
    Nothing {
        ended: bool,
    },
}

/// Takes the next letters of a replay, numbered and kept as being on their way.
fn take(desk: &Desk, replay: &Replay, ahead: Option<Slips>) -> io::Result<Taken> {
    let _taking = desk.taking.lock().unwrap_or_else(PoisonError::into_inner);
    let may = replay.phase == Phase::Running && replay.in_flight.len() < FLIGHTS_MAX;
    let Some(behind) = replay.behind().filter(|_| may) else {
        return Ok(Taken::Nothing { ended: false });
    };
    let Slips { slips, looked_at, next } = look(desk, replay, behind, ahead)?;
    let writes = !replay.order.dry_run && !slips.is_empty();
    let first_seq = desk.table.number(if writes { slips.len() as u64 } else { 0 });
    let places = if writes { slips.iter().map(|slip| Some(slip.place)).collect() } else { vec![] };
    let flight = Flight { first_seq, places: Arc::new(places), next, looked_at };
    let taken = desk.table.change(replay.id, |replay| {
        if replay.phase != Phase::Running {
            return Some(false);
        }
        replay.counts.matched += slips.len() as u64;
        let room = SAMPLE_MAX.saturating_sub(replay.sample.len());
        let ids = slips.iter().filter_map(|slip| Some(desk.id_of(&slip.held()?)));
        replay.sample.extend(ids.take(room));
        replay.in_flight.push_back(flight.clone());
        // Where nothing is written, it has ended with all before it.
        (!writes).then(|| replay.land(now_us()))
    });
    if let Some(ended) = taken.unwrap_or(Some(false)) {
        return Ok(Taken::Nothing { ended });
    }
    if let Err(error) = desk.table.save() {
        // The sink has got nothing: as if they had not been taken.
        desk.table.change(replay.id, |replay| {
            replay.in_flight.retain(|flight| flight.first_seq != first_seq);
            let matched = replay.counts.matched.saturating_sub(slips.len() as u64);
            replay.counts.matched = matched;
        });
        return Err(error);
    }
    Ok(Taken::Letters(flight, slips))
}

/// The letters of a replay behind a place.
fn read(desk: &Desk, replay: &Replay, after: Option<LetterPlace>) -> io::Result<Slips> {
    if let Some(id) = replay.order.only {
        let place = desk.find(&replay.order.filter.tenant, id)?.map(|held| held.place);
        let slips = desk.letters.at(place.as_slice())?;
        return Ok(Slips { looked_at: slips.len() as u64, slips, next: None });
    }
    let wanted = Wanted {
        letters_max: replay.piece_letters(PIECE_LETTERS_MAX),
        letters_enough: replay.piece_letters(PIECE_LETTERS_ENOUGH),
        bytes_max: PIECE_BYTES_MAX,
    };
    desk.letters.forward(&replay.order.filter, (after, replay.end), wanted)
}

/// The next letters of a replay as they are now, some of which may have been read before.
fn look(
    desk: &Desk,
    replay: &Replay,
    behind: Option<LetterPlace>,
    ahead: Option<Slips>,
) -> io::Result<Slips> {
    let mut page = match ahead {
        None => read(desk, replay, behind)?,
        Some(mut ahead) => {
            desk.letters.keep_there(&mut ahead.slips)?;
            ahead
        }
    };
    // What another replay has on its way is the other's.
    let busy = desk.table.in_flight_beside(replay.id);
    page.slips.retain(|slip| !busy.contains(&slip.place));
    Ok(page)
}

/// Lets what comes from the log go first, for a while.
async fn give_way(desk: &Desk, slips: &[Slip]) {
    let Some(first) = slips.first() else { return };
    let sinks = &desk.view.sinks;
    let Some(drain) = sinks.iter().find(|drain| drain.name == first.origin.sink) else { return };
    let enough = 2 * drain.settings.batch_size as u64;
    let begun = Instant::now();
    let waits = || desk.view.boards().map(|board| board.unfinished(drain.index)).sum::<u64>();
    while waits() > enough && begun.elapsed() < GIVE_WAY_MAX && !desk.is_stopping() {
        sleep(GIVE_WAY_LOOK).await;
    }
}

/// Looks now and then whether letters that are gone give their room back.
async fn give_room_back(desk: &Arc<Desk>, looked: &mut Instant) {
    if looked.elapsed() < COMPACT_INTERVAL {
        return;
    }
    *looked = Instant::now();
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
