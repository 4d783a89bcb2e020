//! What a serving thread knows of its connections: which are idle and since when, what each
//! waits for and how long it may. One sweep looks at all of them, so that a request costs no
//! timer. Single-threaded; does no I/O and no HTTP.

use std::cell::{Cell, RefCell};
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::Waker;
use std::time::{Duration, Instant};

use super::Phase;
use super::exchange::Exchange;

/// Time between two sweeps: how late a timeout may fire. Four sweeps a second over ten thousand
/// connections cost less than a thousandth of a core.
pub(super) const SWEEP_INTERVAL: Duration = Duration::from_millis(100);
/// Idle connections found by one search: a flood that evicts thousands searches rarely.
const CANDIDATES: usize = 64;
/// How long a connection is read from after its last answer, so that the client gets to read it.
const LINGER: Duration = Duration::from_secs(2);
/// Idle for so long, a connection gives its buffers back: they are most of what it costs, and
/// making them anew costs less than a request.
const PARK: Duration = Duration::from_secs(2);
/// How long an idle connection may take to close: HTTP/2 waits for the client's word, and a
/// client may be gone.
const CLOSE_IDLE: Duration = Duration::from_secs(1);
/// A deadline that never comes.
pub(super) const NEVER: u64 = u64::MAX;

/// How loaded a serving thread is, for the accept loop to read.
#[derive(Debug, Default)]
pub(super) struct Load {
    /// Connections handed to it that have not ended.
    pub(super) connections: AtomicUsize,
    /// Of these, those with a request in progress; written by the thread alone.
    busy: AtomicUsize,
}

impl Load {
    pub(super) fn idle(&self) -> usize {
        let busy = self.busy.load(Ordering::Relaxed);
        self.connections.load(Ordering::Relaxed).saturating_sub(busy)
    }
}

/// What a connection is told to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Go on.
    Run,
    /// Give back what an idle connection does not need, then go on.
    Park,
    /// End when the requests in progress are answered.
    Finish,
    /// End now.
    Cut,
}

/// All connections of a thread.
#[derive(Debug)]
pub(super) struct Table {
    started: Instant,
    now_ms: Cell<u64>,
    phase: Cell<Phase>,
    idle_turn: Cell<u64>,
    lines: RefCell<Vec<Weak<Line>>>,
    exchanges: RefCell<Vec<Weak<Exchange>>>,
    /// Idle connections, the longest idle last, as they were at the last search.
    candidates: RefCell<Vec<(u64, Weak<Line>)>>,
    load: Arc<Load>,
    header_timeout: Duration,
    idle_timeout: Duration,
}

impl Table {
    pub(super) fn new(load: Arc<Load>, header_timeout: Duration, idle_timeout: Duration) -> Self {
        Self {
            started: Instant::now(),
            now_ms: Cell::new(0),
            phase: Cell::new(Phase::Serve),
            idle_turn: Cell::new(0),
            lines: RefCell::default(),
            exchanges: RefCell::default(),
            candidates: RefCell::default(),
            load,
            header_timeout,
            idle_timeout,
        }
    }

    /// The moment `wait` from now, as a deadline; up to a sweep too early.
    pub(super) fn after(&self, wait: Duration) -> u64 {
        let wait = u64::try_from(wait.as_millis()).unwrap_or(NEVER);
        // The clock stands still between sweeps: the interval makes up for it.
        self.now_ms.get().saturating_add(wait).saturating_add(SWEEP_INTERVAL.as_millis() as u64)
    }

    /// Whether every answer must end its connection.
    pub(super) fn ending(&self) -> bool {
        self.phase.get() != Phase::Serve
    }

    pub(super) fn watch(&self, exchange: &Rc<Exchange>) {
        self.exchanges.borrow_mut().push(Rc::downgrade(exchange));
    }

    /// Adds a connection, which first of all has a head to send.
    pub(super) fn add(self: &Rc<Self>) -> Rc<Line> {
        let line = Rc::new(Line {
            table: Rc::clone(self),
            open: Cell::new(0),
            turn: Cell::new(self.next_turn()),
            deadline_ms: Cell::new(self.after(self.header_timeout)),
            park_ms: Cell::new(NEVER),
            in_head: Cell::new(true),
            write_blocked: Cell::new(false),
            http2: Cell::new(false),
            lingers: Cell::new(false),
            verdict: Cell::new(Verdict::Run),
            waker: RefCell::new(None),
        });
        self.lines.borrow_mut().push(Rc::downgrade(&line));
        line
    }

    /// Tells every connection and request whose time is over, and forgets those that ended.
    pub(super) fn sweep(&self) {
        self.sweep_at(u64::try_from(self.started.elapsed().as_millis()).unwrap_or(NEVER));
    }

    fn sweep_at(&self, now_ms: u64) {
        self.now_ms.set(now_ms);
        retain(&self.lines, |line| {
            if now_ms >= line.deadline_ms.get() {
                line.time_out();
            } else if now_ms >= line.park_ms.get() {
                line.park();
            }
        });
        retain(&self.exchanges, |exchange| exchange.expire(now_ms));
    }

    /// Ends the connection that has been idle longest; whether there was one.
    pub(super) fn evict(&self) -> bool {
        loop {
            if self.candidates.borrow().is_empty() && !self.search() {
                return false;
            }
            let Some((turn, line)) = self.candidates.borrow_mut().pop() else { return false };
            let found = line.upgrade().filter(|line| line.evictable() && line.turn.get() == turn);
            if let Some(line) = found {
                line.cut();
                return true;
            }
        }
    }

    fn search(&self) -> bool {
        let mut idle: Vec<(u64, Weak<Line>)> = self
            .lines
            .borrow()
            .iter()
            .filter_map(Weak::upgrade)
            .filter(|line| line.evictable())
            .map(|line| (line.turn.get(), Rc::downgrade(&line)))
            .collect();
        if idle.len() > CANDIDATES {
            idle.select_nth_unstable_by_key(CANDIDATES, |(turn, _)| *turn);
            idle.truncate(CANDIDATES);
        }
        idle.sort_unstable_by_key(|(turn, _)| std::cmp::Reverse(*turn));
        let found = !idle.is_empty();
        *self.candidates.borrow_mut() = idle;
        found
    }

    /// Enters a phase of the stop. `body_timeout`: what bodies get once no more are accepted.
    pub(super) fn enter(&self, phase: Phase, body_timeout: Duration) {
        self.phase.set(phase);
        let deadline_ms = self.after(body_timeout);
        retain(&self.lines, |line| match phase {
            Phase::Serve => {}
            // A client that is about to use an idle HTTP/1.1 connection can't know that it is
            // closed: it learns it from its next answer. HTTP/2 has a frame for it.
            Phase::Delay if !line.http2.get() => {}
            Phase::Delay => line.finish(),
            Phase::Stop => {
                let end_ms = match (line.open.get(), line.in_head.get()) {
                    (0, true) => deadline_ms,
                    (0, false) => self.after(CLOSE_IDLE),
                    _ => NEVER,
                };
                line.deadline_ms.set(line.deadline_ms.get().min(end_ms));
                line.finish();
            }
        });
        if phase == Phase::Stop {
            retain(&self.exchanges, |exchange| exchange.hurry(deadline_ms));
        }
    }

    /// Ends every connection now.
    pub(super) fn cut_all(&self) {
        retain(&self.lines, |line| line.cut());
    }

    fn next_turn(&self) -> u64 {
        let turn = self.idle_turn.get();
        self.idle_turn.set(turn + 1);
        turn
    }

    fn busy(&self, change: isize) {
        // One writer: no read-modify-write is needed.
        let busy = self.load.busy.load(Ordering::Relaxed);
        self.load.busy.store(busy.saturating_add_signed(change), Ordering::Relaxed);
    }
}

fn retain<T>(list: &RefCell<Vec<Weak<T>>>, visit: impl Fn(&T)) {
    list.borrow_mut().retain(|item| match item.upgrade() {
        Some(item) => {
            visit(&item);
            true
        }
        None => false,
    });
}

/// One connection.
#[derive(Debug)]
pub(super) struct Line {
    pub(super) table: Rc<Table>,
    open: Cell<u32>,
    /// Its place in the order of becoming idle.
    turn: Cell<u64>,
    deadline_ms: Cell<u64>,
    park_ms: Cell<u64>,
    in_head: Cell<bool>,
    write_blocked: Cell<bool>,
    http2: Cell<bool>,
    lingers: Cell<bool>,
    verdict: Cell<Verdict>,
    waker: RefCell<Option<Waker>>,
}

impl Line {
    /// What to do; called whenever the connection's task is polled, which is the one to wake
    /// when the answer changes.
    pub(super) fn verdict(&self, waker: &Waker) -> Verdict {
        remember(&self.waker, waker);
        self.verdict.get()
    }

    pub(super) fn set_http2(&self) {
        self.http2.set(true);
        // Its heads are frames among others: only streams count, and there is none yet.
        self.in_head.set(false);
    }

    /// Bytes arrived. On an idle HTTP/1.1 connection they are the next head.
    pub(super) fn bytes_arrived(&self) {
        if self.open.get() == 0 && !self.in_head.get() && !self.http2.get() {
            self.in_head.set(true);
            self.park_ms.set(NEVER);
            self.deadline_ms.set(self.table.after(self.table.header_timeout));
        }
    }

    /// Whether what was written last is still here.
    pub(super) fn write_blocked(&self, blocked: bool) {
        self.write_blocked.set(blocked);
    }

    /// A request begins.
    pub(super) fn begin(&self) {
        if self.open.replace(self.open.get() + 1) == 0 {
            self.table.busy(1);
        }
        self.in_head.set(false);
        self.park_ms.set(NEVER);
        self.deadline_ms.set(NEVER);
        if self.http2.get() && self.table.ending() {
            self.finish();
        }
    }

    /// A request ends.
    pub(super) fn end(&self) {
        let open = self.open.get() - 1;
        self.open.set(open);
        if open == 0 {
            self.table.busy(-1);
            self.turn.set(self.table.next_turn());
            let stops = self.table.phase.get() == Phase::Stop;
            let wait = if stops { CLOSE_IDLE } else { self.table.idle_timeout };
            self.deadline_ms.set(self.table.after(wait));
            self.park_ms.set(self.table.after(PARK));
        }
    }

    /// The client may still be sending what nobody reads: without reading it the kernel would
    /// answer with a reset, and the client would lose the answer.
    pub(super) fn linger(&self) {
        self.lingers.set(true);
    }

    /// Whether to read on after the last answer, and until when.
    pub(super) fn begin_linger(&self) -> bool {
        let lingers = self.lingers.get() || (self.in_head.get() && !self.http2.get());
        if lingers {
            self.deadline_ms.set(self.table.after(LINGER));
        }
        lingers
    }

    fn time_out(&self) {
        if self.http2.get() && self.verdict.get() == Verdict::Run {
            // There is a frame for it, so that a request on its way is not lost.
            self.deadline_ms.set(self.table.after(CLOSE_IDLE));
            self.finish();
        } else {
            self.cut();
        }
    }

    fn park(&self) {
        self.park_ms.set(NEVER);
        if self.verdict.get() == Verdict::Run && !self.http2.get() && !self.write_blocked.get() {
            self.tell(Verdict::Park);
        }
    }

    /// Whether to park; asked when told to, and not told again.
    pub(super) fn take_park(&self) -> bool {
        self.verdict.set(Verdict::Run);
        self.open.get() == 0 && !self.in_head.get() && !self.write_blocked.get()
    }

    /// Ends the connection when its requests in progress are answered.
    pub(super) fn finish(&self) {
        if matches!(self.verdict.get(), Verdict::Run | Verdict::Park) {
            self.tell(Verdict::Finish);
        }
    }

    /// Ends the connection now.
    pub(super) fn cut(&self) {
        if self.verdict.get() != Verdict::Cut {
            self.tell(Verdict::Cut);
        }
    }

    fn tell(&self, verdict: Verdict) {
        self.verdict.set(verdict);
        if let Some(waker) = self.waker.borrow().as_ref() {
            waker.wake_by_ref();
        }
    }

    fn evictable(&self) -> bool {
        self.open.get() == 0 && self.verdict.get() != Verdict::Cut
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        if self.open.get() > 0 {
            self.table.busy(-1);
        }
    }
}

/// Keeps the waker of the task that polls; a task's waker rarely changes.
pub(super) fn remember(slot: &RefCell<Option<Waker>>, waker: &Waker) {
    let mut slot = slot.borrow_mut();
    if !slot.as_ref().is_some_and(|known| known.will_wake(waker)) {
        *slot = Some(waker.clone());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> Rc<Table> {
        let timeout = Duration::from_secs(60);
        Rc::new(Table::new(Arc::default(), timeout, timeout))
    }

    fn verdict(line: &Line) -> Verdict {
        line.verdict(Waker::noop())
    }

    #[test]
    fn the_longest_idle_goes_first_and_a_busy_one_never() {
        let table = table();
        let lines: Vec<Rc<Line>> = (0..200).map(|_| table.add()).collect();
        lines[0].begin();
        lines[1].begin();
        lines[1].end();
        for expected in (2..200).chain([1]) {
            assert!(table.evict());
            assert_eq!(verdict(&lines[expected]), Verdict::Cut, "{expected}");
        }
        assert!(!table.evict());
        assert_eq!(verdict(&lines[0]), Verdict::Run);
    }

    #[test]
    fn a_candidate_that_got_a_request_since_the_search_stays() {
        let table = table();
        let lines: Vec<Rc<Line>> = (0..4).map(|_| table.add()).collect();
        assert!(table.evict());
        lines[1].begin();
        lines[2].begin();
        lines[2].end();
        assert!(table.evict());
        let verdicts: Vec<Verdict> = lines.iter().map(|line| verdict(line)).collect();
        assert_eq!(verdicts, [Verdict::Cut, Verdict::Run, Verdict::Run, Verdict::Cut]);
    }

    #[test]
    fn the_load_counts_connections_with_a_request_in_progress() {
        let table = table();
        table.load.connections.store(2, Ordering::Relaxed);
        let (one, two) = (table.add(), table.add());
        one.begin();
        one.begin();
        two.begin();
        assert_eq!(table.load.idle(), 0);
        one.end();
        assert_eq!(table.load.idle(), 0);
        one.end();
        assert_eq!(table.load.idle(), 1);
        drop(two);
        assert_eq!(table.load.busy.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn times_run_from_head_to_idle_and_a_request_has_none_here() {
        let table = table();
        let (fresh, used, busy) = (table.add(), table.add(), table.add());
        busy.begin();
        table.sweep_at(50_000);
        used.begin();
        used.end();
        table.sweep_at(61_000);
        assert_eq!([verdict(&fresh), verdict(&busy)], [Verdict::Cut, Verdict::Run]);
        table.sweep_at(110_000);
        assert_ne!(verdict(&used), Verdict::Cut);
        used.bytes_arrived();
        table.sweep_at(111_000);
        used.bytes_arrived();
        assert_ne!(verdict(&used), Verdict::Cut);
        table.sweep_at(171_000);
        assert_eq!([verdict(&used), verdict(&busy)], [Verdict::Cut, Verdict::Run]);
    }

    #[test]
    fn an_idle_connection_is_parked_once_and_not_while_something_is_on_its_way() {
        let table = table();
        let lines: Vec<Rc<Line>> = (0..4).map(|_| table.add()).collect();
        for line in &lines {
            line.begin();
            line.end();
        }
        lines[1].write_blocked(true);
        lines[2].bytes_arrived();
        table.sweep_at(2_200);
        let verdicts: Vec<Verdict> = lines.iter().map(|line| verdict(line)).collect();
        assert_eq!(verdicts, [Verdict::Park, Verdict::Run, Verdict::Run, Verdict::Park]);
        lines[3].bytes_arrived();
        assert!(lines[0].take_park());
        assert!(!lines[3].take_park(), "the next request was faster");
        table.sweep_at(4_500);
        assert_eq!(verdict(&lines[0]), Verdict::Run);
    }
}
