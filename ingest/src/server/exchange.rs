//! One request and its answer: what it is doing, and how long it may.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::pin::pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use super::table::{Line, NEVER, remember};

/// What a request is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// There is none: an HTTP/1.1 connection has one exchange for all its requests.
    Rest,
    /// Its body arrives.
    Body,
    /// Its answer is being made.
    Work,
    /// Its answer is being taken by the client.
    Answer,
}

/// The time that a request may take is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Expired;

/// One request and its answer.
#[derive(Debug)]
pub(super) struct Exchange {
    line: Rc<Line>,
    stage: Cell<Stage>,
    deadline_ms: Cell<u64>,
    /// For the whole of the stage, where the deadline moves with progress.
    stage_end_ms: Cell<u64>,
    expired: Cell<bool>,
    waker: RefCell<Option<Waker>>,
}

impl Exchange {
    /// An exchange of a connection, at rest.
    pub(super) fn new(line: &Rc<Line>) -> Rc<Self> {
        let exchange = Rc::new(Self {
            line: Rc::clone(line),
            stage: Cell::new(Stage::Rest),
            deadline_ms: Cell::new(NEVER),
            stage_end_ms: Cell::new(NEVER),
            expired: Cell::new(false),
            waker: RefCell::new(None),
        });
        line.table.watch(&exchange);
        exchange
    }

    /// The connection.
    pub(super) fn line(&self) -> &Line {
        &self.line
    }

    /// Begins a request; it ends when what this returns is dropped.
    pub(super) fn begin(self: &Rc<Self>) -> Open {
        self.line.begin();
        self.expired.set(false);
        self.stage.set(Stage::Work);
        Open(Rc::clone(self))
    }

    /// From now on a body is read, which may take `total`.
    pub(super) fn read_body(&self, total: Duration) {
        self.enter(Stage::Body, total);
    }

    /// A piece of the body arrived, or is waited for: the next must follow within `stall`.
    pub(super) fn progress(&self, stall: Duration) {
        let next_ms = self.line.table.after(stall);
        self.deadline_ms.set(next_ms.min(self.stage_end_ms.get()));
    }

    /// From now on the answer is made, which may take `total`.
    pub(super) fn work(&self, total: Duration) {
        self.enter(Stage::Work, total);
    }

    /// From now on the client takes the answer, which may take `total`.
    pub(super) fn answer(&self, total: Duration) {
        self.enter(Stage::Answer, total);
    }

    fn enter(&self, stage: Stage, total: Duration) {
        let end_ms = self.line.table.after(total);
        self.expired.set(false);
        self.stage.set(stage);
        self.stage_end_ms.set(end_ms);
        self.deadline_ms.set(end_ms);
    }

    /// Whether the time is over; else wakes the polling task when it is.
    pub(super) fn poll_expired(&self, cx: &Context<'_>) -> bool {
        if !self.expired.get() {
            remember(&self.waker, cx.waker());
        }
        self.expired.get()
    }

    /// Awaits `future` for as long as the stage may take.
    pub(super) async fn limit<F: Future>(&self, future: F) -> Result<F::Output, Expired> {
        let mut future = pin!(future);
        poll_fn(|cx| match future.as_mut().poll(cx) {
            Poll::Ready(output) => Poll::Ready(Ok(output)),
            Poll::Pending if self.poll_expired(cx) => Poll::Ready(Err(Expired)),
            Poll::Pending => Poll::Pending,
        })
        .await
    }

    /// Called by the sweep.
    pub(super) fn expire(&self, now_ms: u64) {
        if now_ms < self.deadline_ms.get() {
            return;
        }
        self.deadline_ms.set(NEVER);
        match self.stage.get() {
            Stage::Rest => {}
            // It can't be told any more: the client takes nothing.
            Stage::Answer => self.line.cut(),
            Stage::Body | Stage::Work => {
                self.expired.set(true);
                if let Some(waker) = self.waker.borrow().as_ref() {
                    waker.wake_by_ref();
                }
            }
        }
    }

    /// A body that is being read gets until `deadline_ms`.
    pub(super) fn hurry(&self, deadline_ms: u64) {
        if self.stage.get() == Stage::Body {
            self.stage_end_ms.set(self.stage_end_ms.get().min(deadline_ms));
            self.deadline_ms.set(self.deadline_ms.get().min(deadline_ms));
        }
    }
}

/// A request in progress, until its answer is handed over.
#[derive(Debug)]
pub(super) struct Open(Rc<Exchange>);

impl Drop for Open {
    fn drop(&mut self) {
        self.0.stage.set(Stage::Rest);
        self.0.deadline_ms.set(NEVER);
        self.0.line.end();
    }
}
