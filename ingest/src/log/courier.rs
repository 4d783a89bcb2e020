//! Wakes tasks that wait for a sync. To wake a task of another thread costs a system call; so a
//! thread with many such tasks has a courier, which is woken once a group and wakes the others,
//! on their own thread, at no such cost. Tasks of other threads are woken one by one.

use std::cell::RefCell;
use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use super::commit::Group;

thread_local! {
    /// What this thread's courier has to do; `None` where there is no courier.
    static ROUND: RefCell<Option<Round>> = const { RefCell::new(None) };
}

/// What one courier has to do.
struct Round {
    /// The courier itself.
    courier: Waker,
    /// At most one for each connection and stream of the thread, which are bounded.
    waiting: Vec<Waiting>,
}

/// A task, and what it waits for.
struct Waiting {
    group: Arc<Group>,
    waker: Waker,
}

/// Wakes the tasks of the polling thread whose groups are synced, for as long as it is polled;
/// it must stay on its thread. Never resolves.
pub async fn courier() {
    let _end = EndOfRounds;
    poll_fn(go_round).await
}

/// Has the courier of this thread wake `task` when the group's outcome is there, if there is a
/// courier; then it is in `wakers`, which the group wakes. `again`: it may wait already.
pub(super) fn take_on(
    group: &Arc<Group>,
    wakers: &mut Vec<Waker>,
    task: &Waker,
    again: bool,
) -> bool {
    ROUND.with_borrow_mut(|round| {
        let Some(Round { courier, waiting }) = round else { return false };
        let is_known = |known: &Waiting| known.waker.will_wake(task) && known.is_for(group);
        if !(again && waiting.iter().any(is_known)) {
            waiting.push(Waiting { group: Arc::clone(group), waker: task.clone() });
        }
        if !wakers.iter().any(|waker| waker.will_wake(courier)) {
            wakers.push(courier.clone());
        }
        true
    })
}

impl Waiting {
    fn is_for(&self, group: &Arc<Group>) -> bool {
        Arc::ptr_eq(&self.group, group)
    }
}

fn go_round(cx: &mut Context<'_>) -> Poll<()> {
    let synced = ROUND.with_borrow_mut(|round| {
        let round =
            round.get_or_insert_with(|| Round { courier: cx.waker().clone(), waiting: Vec::new() });
        // A group that has the old waker wakes the same task: it is only ever the same one.
        round.courier.clone_from(cx.waker());
        let is_synced = |waiting: &mut Waiting| waiting.group.is_settled();
        round.waiting.extract_if(.., is_synced).collect::<Vec<_>>()
    });
    for waiting in synced {
        waiting.waker.wake();
    }
    Poll::Pending
}

/// Without a courier everybody asks again, and is woken directly from then on.
struct EndOfRounds;

impl Drop for EndOfRounds {
    fn drop(&mut self) {
        // A thread that ends may have no storage of its own left, and then no tasks either.
        let round = ROUND.try_with(RefCell::take).ok().flatten();
        for waiting in round.map(|round| round.waiting).unwrap_or_default() {
            waiting.waker.wake();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::Wake;

    use super::*;

    #[derive(Default)]
    struct Counted(AtomicUsize);

    impl Wake for Counted {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    impl Counted {
        fn new() -> (Arc<Self>, Waker) {
            let counted = Arc::<Self>::default();
            (Arc::clone(&counted), Waker::from(counted))
        }

        fn woken(&self) -> usize {
            self.0.load(Ordering::Relaxed)
        }
    }

    #[test]
    fn a_group_wakes_the_courier_and_the_courier_wakes_its_own_thread() {
        let (courier_woken, courier_waker) = Counted::new();
        let (task_woken, task_waker) = Counted::new();
        let mut courier = pin!(courier());
        let mut cx = Context::from_waker(&courier_waker);
        assert!(courier.as_mut().poll(&mut cx).is_pending());

        let (early, late) = (Arc::new(Group::default()), Arc::new(Group::default()));
        let mut wakers = Vec::new();
        for (group, again) in [(&early, false), (&early, true), (&late, false)] {
            assert!(take_on(group, &mut wakers, &task_waker, again));
        }
        assert_eq!(wakers.len(), 1, "the courier, once");
        wakers.remove(0).wake();
        assert_eq!((courier_woken.woken(), task_woken.woken()), (1, 0));

        assert!(courier.as_mut().poll(&mut cx).is_pending());
        assert_eq!(task_woken.woken(), 0, "nothing is synced");
        early.finish(Ok(0));
        assert!(courier.as_mut().poll(&mut cx).is_pending());
        assert_eq!(task_woken.woken(), 1, "of the group that is synced, once");
    }

    #[test]
    fn who_still_waits_when_a_courier_ends_is_woken_to_ask_again() {
        let (task_woken, task_waker) = Counted::new();
        let group = Arc::new(Group::default());
        let mut wakers = Vec::new();
        {
            let mut courier = pin!(courier());
            assert!(courier.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
            assert!(take_on(&group, &mut wakers, &task_waker, false));
        }
        assert_eq!(task_woken.woken(), 1);
        assert!(!take_on(&group, &mut wakers, &task_waker, true), "nobody is left to do it");
    }
}
