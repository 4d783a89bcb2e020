//! One thread of a load: waits for its connections, counts answers, sends what is due.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use rustix::event::{Timespec, epoll};
use rustix::fd::OwnedFd;

use super::connection::{Answer, Connection};
use super::pace::Pace;
use super::{Plan, Report};

/// How long answers are waited for when no more requests are started.
const GRACE: Duration = Duration::from_secs(30);
/// Longest sleep, so that a stop is seen.
const SLEEP_MAX: Duration = Duration::from_millis(100);
/// Events taken in one call.
const EVENTS_MAX: usize = 256;
/// An answer is a few hundred bytes.
const READ_BYTES: usize = 64 * 1024;

/// Which part of the connections a thread drives.
#[derive(Debug, Clone, Copy)]
pub(super) struct Share {
    pub(super) index: usize,
    pub(super) of: usize,
}

/// Drives a thread's share of the load until it is over.
pub(super) fn run(
    plan: &Plan,
    share: Share,
    started: Instant,
    stop: &AtomicBool,
) -> Result<Report> {
    let mut worker = Worker::open(plan, share, started)?;
    let end = started + plan.duration;
    let mut last_answer = started;
    let mut events = Vec::with_capacity(EVENTS_MAX);
    loop {
        let now = Instant::now();
        let over = now >= end || stop.load(Ordering::Relaxed);
        if !over {
            worker.send_due(now);
        } else if !worker.is_busy() || now >= end + GRACE {
            break;
        }
        if worker.connections.iter().all(Option::is_none) {
            break;
        }
        let sleep = worker.sleep(now, (!over).then_some(end));
        let timeout = Timespec::try_from(sleep).context("convert a wait")?;
        epoll::wait(&worker.epoll, rustix::buffer::spare_capacity(&mut events), Some(&timeout))?;
        for event in events.drain(..) {
            if worker.handle(event.data.u64() as usize, event.flags, over) {
                last_answer = Instant::now();
            }
        }
    }
    worker.report.errors +=
        worker.connections.iter().flatten().filter(|c| c.is_busy()).count() as u64;
    worker.report.elapsed = last_answer - started;
    Ok(worker.report)
}

struct Worker<'a> {
    plan: &'a Plan,
    epoll: OwnedFd,
    connections: Vec<Option<Connection>>,
    /// Connections with nothing to do.
    idle: VecDeque<usize>,
    /// Connections that were refused, and until when they rest.
    resting: VecDeque<(Instant, usize)>,
    pace: Pace,
    next_request: usize,
    buffer: Vec<u8>,
    report: Report,
}

impl<'a> Worker<'a> {
    fn open(plan: &'a Plan, share: Share, started: Instant) -> Result<Self> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        let count =
            plan.connections / share.of + usize::from(share.index < plan.connections % share.of);
        let connections = (0..count)
            .map(|place| Connection::open(plan.address, &epoll, place as u64).map(Some))
            .collect::<Result<_>>()?;
        Ok(Self {
            plan,
            epoll,
            connections,
            idle: (0..count).collect(),
            resting: VecDeque::new(),
            pace: Pace::new(plan.model, started, share.of),
            next_request: share.index,
            buffer: vec![0; READ_BYTES],
            report: Report::new()?,
        })
    }

    fn is_busy(&self) -> bool {
        self.connections.iter().flatten().any(Connection::is_busy)
    }

    /// Starts requests on idle connections as long as one is due.
    fn send_due(&mut self, now: Instant) {
        while let Some((_, place)) =
            self.resting.front().copied().filter(|(until, _)| *until <= now)
        {
            self.resting.pop_front();
            self.idle.push_back(place);
        }
        while let Some(place) = self.idle.front().copied() {
            let due = self.pace.next_due(now);
            if due > now {
                return;
            }
            self.idle.pop_front();
            self.begin(place, due);
        }
    }

    fn begin(&mut self, place: usize, due: Instant) {
        // A connection that was replaced while it was idle is in the queue twice.
        let Some(connection) = self.connections[place].as_mut().filter(|c| !c.is_busy()) else {
            return;
        };
        self.pace.take();
        let index = self.next_request % self.plan.requests.len();
        self.next_request += 1;
        self.report.bytes_sent += self.plan.requests[index].len() as u64;
        if connection.begin(index, &self.plan.requests, due, &self.epoll).is_err() {
            self.report.errors += 1;
            self.reopen(place);
        }
    }

    /// Deals with what epoll says of a connection; says whether an answer came.
    fn handle(&mut self, place: usize, flags: epoll::EventFlags, over: bool) -> bool {
        let Some(connection) = &mut self.connections[place] else { return false };
        let mut outcome = Ok(None);
        if flags.contains(epoll::EventFlags::OUT) {
            outcome = connection.send(&self.plan.requests, &self.epoll).map(|()| None);
        }
        // A server may answer before it has read the whole request, and then close.
        if flags.intersects(epoll::EventFlags::IN | epoll::EventFlags::HUP | epoll::EventFlags::ERR)
        {
            outcome = connection.receive(&mut self.buffer);
        }
        match outcome {
            Ok(None) => false,
            Ok(Some(answer)) => {
                self.answered(place, answer, over);
                true
            }
            Err(_) => {
                self.report.errors += u64::from(connection.is_busy());
                self.reopen(place);
                false
            }
        }
    }

    fn answered(&mut self, place: usize, answer: Answer, over: bool) {
        let now = Instant::now();
        self.report.answered(answer.status, now - answer.due);
        if answer.close {
            self.reopen(place);
        } else if matches!(answer.status, 429 | 503) && !self.plan.rest.is_zero() {
            self.resting.push_back((now + self.plan.rest, place));
        } else if over {
            self.idle.push_back(place);
        } else {
            let due = self.pace.next_due(now);
            if due <= now {
                self.begin(place, due);
            } else {
                self.idle.push_back(place);
            }
        }
    }

    /// Replaces a connection that ended; gives its place up when the server is gone.
    fn reopen(&mut self, place: usize) {
        self.connections[place] = None;
        self.connections[place] =
            Connection::open(self.plan.address, &self.epoll, place as u64).ok();
        if self.connections[place].is_some() {
            self.idle.push_back(place);
        }
    }

    /// How long nothing needs to be done: until the next request is due, or the load's `end`.
    fn sleep(&self, now: Instant, end: Option<Instant>) -> Duration {
        let Some(end) = end else { return SLEEP_MAX };
        let mut next = end.min(now + SLEEP_MAX);
        if !self.idle.is_empty() {
            next = next.min(self.pace.next_due(now));
        }
        if let Some((until, _)) = self.resting.front() {
            next = next.min(*until);
        }
        next.saturating_duration_since(now)
    }
}
