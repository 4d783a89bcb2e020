//! When requests are due: at once, or at a fixed rate with what is late kept in mind.

use std::time::{Duration, Instant};

use super::Model;

/// The schedule of one thread.
#[derive(Debug)]
pub(super) struct Pace {
    start: Instant,
    /// Seconds between two requests of this thread; `None`: no schedule.
    interval: Option<f64>,
    started: u64,
}

impl Pace {
    pub(super) fn new(model: Model, start: Instant, threads: usize) -> Self {
        let interval = match model {
            Model::Closed => None,
            Model::Paced { per_second } => Some(threads as f64 / per_second.max(f64::EPSILON)),
        };
        Self { start, interval, started: 0 }
    }

    /// When the next request is due; in the past when the server keeps it waiting.
    pub(super) fn next_due(&self, now: Instant) -> Instant {
        self.interval.map_or(now, |interval| {
            self.start + Duration::from_secs_f64(interval * self.started as f64)
        })
    }

    /// Takes the next request off the schedule.
    pub(super) fn take(&mut self) {
        self.started += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_is_shared_by_the_threads_and_lateness_is_kept() {
        let start = Instant::now();
        let late = start + Duration::from_secs(10);
        let mut pace = Pace::new(Model::Paced { per_second: 100.0 }, start, 2);
        for number in 0..5 {
            assert_eq!(pace.next_due(late), start + Duration::from_millis(20 * number));
            pace.take();
        }
        assert_eq!(Pace::new(Model::Closed, start, 2).next_due(late), late);
    }
}
