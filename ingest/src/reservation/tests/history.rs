//! Random histories against a model: reserving, committing, failing, waiting, faults of the
//! disk, crashes and restarts.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::fs::fault::{Faults, SimFs};
use crate::reservation::{Claim, Reserved};

#[derive(Debug, Clone)]
enum Step {
    Reserve { attempt: Attempt },
    Log { which: usize },
    Commit { which: usize },
    Fail { which: usize },
    Wait { seconds: u64 },
    SetClockBack { seconds: u64 },
    Tick { faulty: bool },
    Forget,
    Crash { power: bool, logged: usize, calls: u64, down_seconds: u64 },
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let attempt = (0..24u32, 1..3u128).prop_map(|(pulse, body)| Attempt { pulse, body });
    let step = prop_oneof![
        10 => attempt.prop_map(|attempt| Step::Reserve { attempt }),
        2 => (0..4usize).prop_map(|which| Step::Log { which }),
        8 => (0..4usize).prop_map(|which| Step::Commit { which }),
        2 => (0..4usize).prop_map(|which| Step::Fail { which }),
        3 => (1..80u64).prop_map(|seconds| Step::Wait { seconds }),
        1 => (1..5000u64).prop_map(|seconds| Step::SetClockBack { seconds }),
        5 => any::<bool>().prop_map(|faulty| Step::Tick { faulty }),
        2 => Just(Step::Forget),
        2 => (any::<bool>(), 0..3usize, 0..12u64, 0..100u64).prop_map(
            |(power, logged, calls, down_seconds)| {
                Step::Crash { power, logged, calls, down_seconds }
            }
        ),
    ];
    proptest::collection::vec(step, 1..120)
}

/// A request that is not answered.
struct Request {
    attempt: Attempt,
    fixed: Fixed,
    /// The window counts from here.
    received: Duration,
    /// Its record is in the log, and it does not know yet.
    logged: bool,
    reserved: Reserved,
}

/// The system and what must be true of it.
struct World {
    sim: SimFs,
    fs: Arc<dyn Fs>,
    clock: Arc<TestClock>,
    table: Option<(Reservations, Keeper)>,
    in_flight: Vec<Request>,
    log: Vec<Logged>,
    /// Keys of a run, and entries of a block.
    sizes: (usize, usize),
    /// Records below are gone.
    log_low: u64,
    /// True time, which no clock shows.
    now: Duration,
    /// By pulse: when it was received and what was fixed.
    accepted: Vec<Option<(Duration, Fixed)>>,
}

impl World {
    fn new(seed: u64) -> Self {
        let sim = SimFs::new(seed);
        let fs: Arc<dyn Fs> = Arc::new(sim.clone());
        // Whoever makes the data directory sees to its name.
        fs.create_dir_all(Path::new("/data")).expect("no faults yet");
        fs.sync_dir(Path::new("/")).expect("no faults yet");
        let clock = TestClock::new();
        let mut world = Self {
            sim,
            fs,
            clock,
            table: None,
            in_flight: Vec::new(),
            log: Vec::new(),
            sizes: if seed.is_multiple_of(2) { (4, 1024) } else { (20, 2) },
            log_low: 0,
            now: Duration::ZERO,
            accepted: vec![None; 24],
        };
        world.open();
        world
    }

    /// Opens the table as a start does, with what the log has.
    fn open(&mut self) {
        let mut restoring = open(&self.fs, &self.clock);
        restoring.keeper.shared.table().run_keys = self.sizes.0;
        restoring.keeper.block_entries = self.sizes.1;
        let from = restoring.restore_from_seq().max(self.log_low);
        assert!(from <= self.log.len() as u64, "the log has all that the files speak of");
        for (seq, logged) in self.log.iter().enumerate().skip(from as usize) {
            restoring.restore(&logged.record(seq as u64));
        }
        self.table = Some(restoring.into_parts());
    }

    fn table(&self) -> &Reservations {
        &self.table.as_ref().expect("open but while it restarts").0
    }

    fn advance(&mut self, time: Duration) {
        self.now += time;
        self.clock.advance(time);
    }

    fn reserve(&mut self, attempt: Attempt) {
        let fixed = attempt.fixed(self.clock.wall_us());
        let wanted = attempt.wanted(self.table().keys(), fixed);
        let mut reserved = self.table().reserve(&[wanted]);
        reserved.settle();
        let claim = reserved.claims()[0].clone();
        if self.in_flight.iter().any(|held| held.attempt.pulse == attempt.pulse) {
            assert_eq!(claim, Claim::InFlight, "{attempt:?}");
            return;
        }
        match self.accepted[attempt.pulse as usize] {
            None => assert_eq!(claim, Claim::New, "{attempt:?} was never accepted"),
            Some((at, first)) => {
                let repeat = if first.body_hash == attempt.body {
                    Claim::Repeat(Box::new(first))
                } else {
                    Claim::Reused
                };
                let within = self.now - at <= WINDOW;
                assert!(
                    claim == repeat || (!within && claim == Claim::New),
                    "{attempt:?} accepted {:?} ago: {claim:?}",
                    self.now - at
                );
            }
        }
        if claim == Claim::New {
            let received = self.now;
            self.in_flight.push(Request { attempt, fixed, received, logged: false, reserved });
        }
    }

    /// The log syncs the record of a request.
    fn log(&mut self, request: &mut Request) {
        if !std::mem::replace(&mut request.logged, true) {
            let Request { attempt, fixed, received, .. } = *request;
            self.log.push(Logged { fixed, key: attempt.key() });
            self.accepted[attempt.pulse as usize] = Some((received, fixed));
        }
    }

    fn tick(&mut self) {
        let end = self.log.len() as u64;
        let (_, keeper) = self.table.as_mut().expect("open but while it restarts");
        let _ = keeper.tick(end);
    }

    fn crash(&mut self, power: bool, logged: usize, calls: u64, down: Duration) {
        self.sim.stop_after(calls);
        self.tick();
        let mut in_flight = std::mem::take(&mut self.in_flight);
        in_flight.iter_mut().take(logged).for_each(|request| self.log(request));
        // As when the process ends: nobody learns of an outcome.
        drop(in_flight);
        self.table = None;
        if power {
            self.sim.power_loss()
        } else {
            self.sim.kill()
        }
        self.sim.set_faults(Faults::default());
        self.advance(down);
        self.open();
    }

    fn step(&mut self, step: &Step) {
        match *step {
            Step::Reserve { attempt } => self.reserve(attempt),
            Step::Log { which } if which < self.in_flight.len() => {
                let mut request = self.in_flight.swap_remove(which);
                self.log(&mut request);
                self.in_flight.push(request);
            }
            Step::Commit { which } if which < self.in_flight.len() => {
                let mut request = self.in_flight.swap_remove(which);
                self.log(&mut request);
                request.reserved.commit();
            }
            Step::Fail { which } if which < self.in_flight.len() => {
                if !self.in_flight[which].logged {
                    drop(self.in_flight.swap_remove(which));
                }
            }
            Step::Log { .. } | Step::Commit { .. } | Step::Fail { .. } => {}
            Step::Wait { seconds } => self.advance(Duration::from_secs(seconds)),
            Step::SetClockBack { seconds } => {
                self.clock.set_wall_back(Duration::from_secs(seconds));
            }
            Step::Tick { faulty } => {
                let rate = if faulty { 150 } else { 0 };
                let faults =
                    Faults { write: rate, sync: rate, sync_dir: rate, change: rate, read: 0 };
                self.sim.set_faults(faults);
                self.tick();
                self.sim.set_faults(Faults::default());
            }
            Step::Forget => {
                self.log_low = self.log_low.max(self.table().shared.progress.covered());
            }
            Step::Crash { power, logged, calls, down_seconds } => {
                self.crash(power, logged, calls, Duration::from_secs(down_seconds));
            }
        }
    }
}

proptest! {
    // `PROPTEST_CASES` asks for more.
    #![proptest_config(ProptestConfig::with_cases(ProptestConfig::default().cases.max(500)))]

    #[test]
    fn a_logged_key_is_never_new_within_the_window_and_a_freed_one_always_is(
        seed in any::<u64>(),
        steps in steps(),
    ) {
        let mut world = World::new(seed);
        for step in &steps {
            world.step(step);
        }
        // At the end every pulse is tried once more, right after a restart.
        world.crash(true, 1, 1000, Duration::ZERO);
        for pulse in 0..24 {
            world.reserve(Attempt { pulse, body: 1 });
        }
        assert!(world.sim.content(Path::new("/data/reservations/seed")).is_some());
    }
}
