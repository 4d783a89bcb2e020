//! Wakes one thread when there is something to do, without a system call while it is awake.
//! Carries no data: whoever is woken looks for itself.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU8, Ordering};
use std::thread::Thread;
use std::time::Duration;

const AWAKE: u8 = 0;
/// Something happened that must be looked at before the next sleep.
const RUNG: u8 = 1;
/// Asleep with work in hand: more of the same is no reason to wake.
const DOZING: u8 = 2;
const ASLEEP: u8 = 3;

/// How deep a thread sleeps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sleep {
    /// Only [`Bell::ring_loud`] wakes it.
    Doze,
    /// [`Bell::ring`] wakes it too.
    Deep,
}

/// The bell of one thread.
#[derive(Debug, Default)]
pub(crate) struct Bell {
    state: AtomicU8,
    thread: OnceLock<Thread>,
}

impl Bell {
    /// Makes the calling thread the one that is woken. Rings before are not lost.
    pub(crate) fn belongs_here(&self) {
        let _first = self.thread.set(std::thread::current());
    }

    /// Tells that there is more to read.
    pub(crate) fn ring(&self) {
        // SeqCst pairs with `sleep`: either this sees the sleeper, or the sleeper's look at its
        // sources sees what was published before this ring.
        if self.state.load(Ordering::SeqCst) == ASLEEP
            && self.state.swap(RUNG, Ordering::SeqCst) >= DOZING
        {
            self.unpark();
        }
    }

    /// Tells what must be looked at now: a finished write, a flush, a stop.
    pub(crate) fn ring_loud(&self) {
        if self.state.swap(RUNG, Ordering::SeqCst) >= DOZING {
            self.unpark();
        }
    }

    /// Sleeps until rung or `timeout` is over, unless `ready` says that there is work already.
    /// May wake for no reason.
    pub(crate) fn sleep(&self, sleep: Sleep, timeout: Duration, ready: impl FnOnce() -> bool) {
        let depth = if sleep == Sleep::Deep { ASLEEP } else { DOZING };
        let entered =
            self.state.compare_exchange(AWAKE, depth, Ordering::SeqCst, Ordering::SeqCst).is_ok();
        if entered && !ready() {
            std::thread::park_timeout(timeout);
        }
        self.state.store(AWAKE, Ordering::SeqCst);
    }

    fn unpark(&self) {
        if let Some(thread) = self.thread.get() {
            thread.unpark();
        }
    }
}

#[cfg(test)]
#[allow(clippy::disallowed_methods, reason = "a test may start what it waits for")]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::AtomicU64;
    use std::time::Instant;

    use super::*;

    const LONG: Duration = Duration::from_secs(20);

    #[test]
    fn no_ring_is_lost_between_a_look_and_a_sleep() {
        let (bell, value) = (Arc::new(Bell::default()), Arc::new(AtomicU64::new(0)));
        let reader = std::thread::spawn({
            let (bell, value) = (Arc::clone(&bell), Arc::clone(&value));
            move || {
                bell.belongs_here();
                let mut seen = 0;
                while seen < 20_000 {
                    bell.sleep(Sleep::Deep, LONG, || value.load(Ordering::SeqCst) > seen);
                    seen = value.load(Ordering::SeqCst);
                }
            }
        });
        let start = Instant::now();
        for _ in 0..20_000 {
            value.fetch_add(1, Ordering::SeqCst);
            bell.ring();
        }
        reader.join().expect("the reader ends");
        assert!(start.elapsed() < LONG, "a ring was lost");
    }

    #[test]
    fn a_dozing_thread_wakes_for_a_loud_ring_and_sleeps_through_a_quiet_one() {
        let bell = Bell::default();
        bell.belongs_here();
        let start = Instant::now();
        bell.sleep(Sleep::Doze, Duration::from_millis(20), || {
            bell.ring();
            false
        });
        assert!(start.elapsed() >= Duration::from_millis(20));
        bell.ring_loud();
        bell.sleep(Sleep::Doze, LONG, || false);
        bell.sleep(Sleep::Doze, LONG, || {
            bell.ring_loud();
            false
        });
        assert!(start.elapsed() < LONG);
    }
}
