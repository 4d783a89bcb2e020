//! The state of limits: alone, by many threads, and shared with a count that is simulated, so
//! that minutes take no time.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use proptest::prelude::*;

use super::script::Loan;
use super::*;

const TENANT: &str = "acme";

fn allowances(requests: u64, burst: u64, pulses: u64) -> Allowances {
    Allowances {
        requests: Allowance { per_minute: requests, burst: Some(burst) },
        pulses: Allowance { per_minute: pulses, burst: Some(burst) },
    }
}

fn alone(allowances: Allowances) -> Arc<Limiter> {
    let limiter = Limiter::new(1, LimitMetrics::default());
    limiter.configure([(TENANT, allowances)]);
    limiter
}

fn code(limiter: &Limiter) -> Option<Code> {
    limiter.admit(TENANT).err().map(|refusal| refusal.reject.code)
}

#[test]
fn a_burst_is_accepted_and_then_the_client_is_told_when_to_come_back() {
    let limiter = alone(allowances(60, 5, 0));
    for left in (0..5).rev() {
        assert_eq!(code(&limiter), None);
        let standing = limiter.standing(TENANT).expect("a limit");
        let requests = standing.requests.expect("a limit of requests");
        assert_eq!((requests.per_minute, requests.remaining), (60, left));
        assert_eq!(standing.pulses, None);
    }
    let refusal = limiter.admit(TENANT).expect_err("used up");
    assert_eq!(refusal.reject.code, Code::TooManyRequests);
    let wait = refusal.retry_after.expect("a time");
    assert!(wait > Duration::from_millis(500) && wait <= Duration::from_secs(1), "{wait:?}");
}

#[test]
fn pulses_that_are_owed_refuse_the_next_request_and_take_none() {
    let limiter = alone(allowances(600, 5, 60));
    assert_eq!(code(&limiter), None);
    limiter.charge(TENANT, 25);
    let refusal = limiter.admit(TENANT).expect_err("owed");
    assert_eq!(refusal.reject.code, Code::TooManyPulses);
    let wait = refusal.retry_after.expect("a time").as_secs_f64();
    assert!((19.0..=21.0).contains(&wait), "{wait}");
    let standing = limiter.standing(TENANT).expect("limits");
    assert!(standing.requests.is_some_and(|requests| requests.remaining >= 4));
    assert!(standing.pulses.is_some_and(|pulses| pulses.remaining == 0));
}

#[test]
fn who_has_no_limit_is_not_counted() {
    let limiter = alone(Allowances::default());
    for tenant in [TENANT, "unknown"] {
        for _ in 0..1_000 {
            limiter.charge(tenant, 1_000_000);
            assert!(limiter.admit(tenant).is_ok());
        }
        assert_eq!(limiter.standing(tenant), None);
    }
    assert!(limiter.meters.load().is_empty());
}

#[test]
fn settings_that_are_read_again_keep_the_count_and_others_begin_anew() {
    let limiter = alone(allowances(60, 2, 0));
    let use_up = || while limiter.admit(TENANT).is_ok() {};
    use_up();
    limiter.configure([(TENANT, allowances(60, 2, 0)), ("other", allowances(1, 1, 0))]);
    assert_eq!(code(&limiter), Some(Code::TooManyRequests));
    limiter.configure([(TENANT, allowances(61, 2, 0))]);
    assert_eq!(code(&limiter), None);
    assert_eq!(limiter.standing("other"), None);
    use_up();
    limiter.configure([]);
    assert_eq!(code(&limiter), None);
}

#[test]
fn a_burst_that_is_not_named_fits_the_limit() {
    let requests = Allowance { per_minute: 300, burst: None };
    let limiter = alone(Allowances { requests, ..Allowances::default() });
    let accepted = (0..100).filter(|_| limiter.admit(TENANT).is_ok()).count();
    assert!((10..=12).contains(&accepted), "{accepted}");
}

#[test]
fn threads_that_ask_together_get_no_more_than_one_alone() {
    let limiter = alone(allowances(60_000, 500, 0));
    let (accepted, started) = (AtomicU64::new(0), Instant::now());
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                while started.elapsed() < Duration::from_millis(200) {
                    if limiter.admit(TENANT).is_ok() {
                        accepted.fetch_add(1, Ordering::Relaxed);
                    }
                }
            });
        }
    });
    let most = 500 + started.elapsed().as_millis() as u64 + 1;
    let accepted = accepted.into_inner();
    assert!(accepted <= most && accepted >= 650, "{accepted} of {most}");
}

/// What the script in Redis does.
#[derive(Default)]
struct Count {
    paid_us: BTreeMap<String, u64>,
}

impl Count {
    fn lend(&mut self, loan: &Loan, now_us: u64) -> u64 {
        let paid = self.paid_us.entry(loan.key.clone()).or_default();
        *paid = (*paid).max(now_us) + loan.units_us;
        paid.saturating_sub(loan.burst_us + now_us)
    }
}

/// Processes that share a count, a millisecond at a time.
struct Simulated {
    count: Count,
    processes: Vec<(Arc<Limiter>, Lender)>,
    /// What becomes valid when: (millisecond, process) and the meter with its units.
    valid: BTreeMap<u64, Vec<(Arc<Meter>, u64)>>,
    now_ms: u64,
}

impl Simulated {
    fn new(processes: usize, allowances: Allowances) -> Self {
        let redis = RedisSettings {
            host: String::new(),
            port: 0,
            database: 0,
            username: None,
            password: None,
            tls: false,
            tls_ca: None,
        };
        let process = |_| {
            let metrics = LimitMetrics::default();
            let made = Limiter::shared(1, redis.clone(), WithoutRedis::Local, metrics);
            made.0.configure([(TENANT, allowances)]);
            made.0.link.as_ref().expect("a link").set(true);
            made
        };
        let processes = (0..processes).map(process).collect();
        Self { count: Count::default(), processes, valid: BTreeMap::new(), now_ms: 1_000_000 }
    }

    fn now(&self) -> Ticks {
        Ticks::after(Duration::from_millis(self.now_ms))
    }

    /// One request to a process; whether it was accepted.
    fn ask(&self, process: usize) -> bool {
        let meters = self.processes[process].0.meters.load();
        meters[TENANT].admit(self.now()).is_ok()
    }

    /// Time goes by in which nobody asks.
    fn pause(&mut self, ms: u64) {
        (0..ms.min(20)).for_each(|_| self.step());
        self.now_ms += ms.saturating_sub(20);
    }

    /// A millisecond goes by, in which Redis answers all.
    fn step(&mut self) {
        let now = self.now();
        for (_, lender) in &mut self.processes {
            while let Ok(meter) = lender.asks.try_recv() {
                let lease = meter.lease().expect("shared");
                let units = lease.question(now);
                let wait_us = self.count.lend(&Loan::of(&meter, units), self.now_ms * 1_000);
                let wait_ms = wait_us.div_ceil(1_000);
                let ready = Ticks(now.0 + Ticks::after(Duration::from_millis(wait_ms)).0);
                lease.lent((wait_us > 0).then_some(ready));
                self.valid.entry(self.now_ms + 1 + wait_ms).or_default().push((meter, units));
            }
        }
        self.now_ms += 1;
        while let Some(entry) = self.valid.first_entry().filter(|at| *at.key() <= self.now_ms) {
            for (meter, units) in entry.remove() {
                meter.lease().expect("shared").add(units);
            }
        }
    }
}

#[test]
fn three_processes_with_ten_times_the_limit_accept_it_in_each_minute() {
    let requests = Allowance { per_minute: 6_000, burst: None };
    let mut mesh = Simulated::new(3, Allowances { requests, ..Allowances::default() });
    for minute in 0..4 {
        let mut accepted = [0; 3];
        for turn in 0..60_000 {
            accepted[turn % 3] += u32::from(mesh.ask(turn % 3));
            mesh.step();
        }
        let total: u32 = accepted.iter().sum();
        assert!((5_900..=6_100).contains(&total), "{total} in minute {minute}");
        assert!(accepted.iter().all(|each| (1_800..2_200).contains(each)), "{accepted:?}");
    }
}

#[test]
fn constant_demand_below_the_limit_is_never_refused() {
    for (per_minute, processes, gap_ms) in [(6_000, 3, 11), (300, 3, 210), (60, 5, 1_050)] {
        let requests = Allowance { per_minute, burst: None };
        let mut mesh = Simulated::new(processes, Allowances { requests, ..Allowances::default() });
        for turn in 0..2_000 {
            assert!(mesh.ask(turn % processes), "{per_minute}/min, request {turn}");
            mesh.pause(gap_ms);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn together_they_never_give_more_than_the_document_says(
        per_minute in 60u64..20_000,
        processes in 1usize..6,
        pauses in prop::collection::vec((0u64..20_000, 0u64..300, 0usize..6), 1..12),
    ) {
        let burst = burst_of(per_minute);
        let requests = Allowance { per_minute, burst: None };
        let mut mesh = Simulated::new(processes, Allowances { requests, ..Allowances::default() });
        let mut accepted: Vec<u64> = Vec::new();
        for (pause_ms, requests, first) in pauses {
            mesh.pause(pause_ms);
            for request in 0..requests {
                let process = (first + request as usize) % processes;
                if mesh.ask(process) {
                    accepted.push(mesh.now_ms);
                }
                if request % 4 == 0 {
                    mesh.step();
                }
            }
        }
        let slices = processes as u64 * (per_minute / 200).max(1);
        let most = per_minute + burst + slices + processes as u64 * burst;
        for (first, from) in accepted.iter().enumerate() {
            let within = accepted[first..].partition_point(|at| at - from < 60_000) as u64;
            prop_assert!(within <= most, "{} of {}", within, most);
        }
    }
}
