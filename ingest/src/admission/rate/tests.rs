//! The promises of a limit, by generated histories.

use proptest::prelude::*;

use super::*;

const SECOND: u64 = 1_000_000_000 * TICKS_PER_NS;

fn limits() -> impl Strategy<Value = (u64, u64)> {
    let rates = prop_oneof![1u64..20, 20u64..1_000, 1_000u64..1_000_000];
    (rates, 1u64..500)
}

/// Takes one unit at each moment; gives the moments at which it got one.
fn taken(rate: &Rate, moments: &[u64]) -> Vec<u64> {
    let mut state = Paid::default();
    let mut given = Vec::new();
    for now in moments {
        if let Ok(next) = rate.take(state, Ticks(*now)) {
            state = next;
            given.push(*now);
        }
    }
    given
}

/// The most that lies within a minute.
fn most_in_a_minute(moments: &[u64]) -> usize {
    let mut first = 0;
    let mut most = 0;
    for (last, moment) in moments.iter().enumerate() {
        while moment - moments[first] > MINUTE_TICKS {
            first += 1;
        }
        most = most.max(last + 1 - first);
    }
    most
}

fn moments(gaps: &[u64]) -> Vec<u64> {
    let sum = |now: &mut u64, gap: &u64| {
        *now += gap;
        Some(*now)
    };
    gaps.iter().scan(7 * SECOND, sum).collect()
}

proptest! {
    #[test]
    fn no_minute_has_more_than_the_limit_and_the_burst(
        (per_minute, burst) in limits(),
        gaps in prop::collection::vec(prop_oneof![0..SECOND / 50, 0..3 * SECOND], 1..3_000),
    ) {
        let rate = Rate::new(per_minute, burst, 1).expect("a limit");
        let most = most_in_a_minute(&taken(&rate, &moments(&gaps)));
        prop_assert!(most as u64 <= per_minute + burst, "{most}");
    }

    #[test]
    fn constant_demand_gets_the_limit_in_every_minute(
        per_minute in 1u64..3_000, burst in 2u64..100, more in 1u64..4, offset in 0..SECOND,
    ) {
        let rate = Rate::new(per_minute, burst, 1).expect("a limit");
        let gap = MINUTE_TICKS / (per_minute * more);
        let demand: Vec<u64> = (0..per_minute * more * 3).map(|n| offset + n * gap).collect();
        let given = taken(&rate, &demand);
        for minute in 0..3 {
            let from = offset + minute * MINUTE_TICKS;
            let within = |moment: &&u64| (from..from + MINUTE_TICKS).contains(*moment);
            let count = given.iter().filter(within).count() as u64;
            prop_assert!(count + 1 >= per_minute, "{count} in minute {minute}");
        }
    }

    #[test]
    fn a_pause_gives_the_burst_and_no_more(
        (per_minute, burst) in limits(), before in 0u64..600, pause in 0..100 * MINUTE_TICKS,
    ) {
        let rate = Rate::new(per_minute, burst, 1).expect("a limit");
        let mut state = rate.charge(Paid::default(), Ticks(SECOND), before);
        let now = Ticks(SECOND + pause);
        prop_assert!(rate.remaining(state, now) <= burst);
        let mut at_once = 0;
        while let Ok(next) = rate.take(state, now) {
            (state, at_once) = (next, at_once + 1);
        }
        prop_assert!(at_once <= burst);
        prop_assert_eq!(rate.remaining(state, now), 0);
    }

    #[test]
    fn a_clock_that_goes_back_gives_nothing_and_blocks_for_no_longer_than_a_debt(
        (per_minute, burst) in limits(), uses in 0u64..1_000, now in 0..u64::MAX / 4,
        back in 0..u64::MAX / 4,
    ) {
        let rate = Rate::new(per_minute, burst, 1).expect("a limit");
        let state = rate.charge(Paid::default(), Ticks(now), uses);
        let earlier = Ticks(now.saturating_sub(back));
        prop_assert!(rate.remaining(state, earlier) <= rate.remaining(state, Ticks(now)));
        if let Err(ready) = rate.take(state, earlier) {
            let wait = ready.0 - earlier.0;
            prop_assert!(wait <= DEBT_TICKS_MAX + rate.interval, "{wait}");
        }
    }

    #[test]
    fn who_comes_back_when_told_is_served(
        (per_minute, burst) in limits(), units in 0u64..100_000, wait in 0..SECOND,
    ) {
        let rate = Rate::new(per_minute, burst, 1).expect("a limit");
        let now = Ticks(SECOND);
        let state = rate.charge(Paid::default(), now, units);
        if let Err(ready) = rate.take(state, now) {
            prop_assert!(rate.take(state, Ticks(ready.0 - 1)).is_err());
            prop_assert!(rate.take(state, Ticks(ready.0 + wait)).is_ok());
        }
    }

    #[test]
    fn the_parts_of_a_divided_limit_are_the_limit(
        per_minute in 100u64..100_000, parts in 1u64..50,
    ) {
        let part = Rate::new(per_minute, 1, parts).expect("a limit");
        let units = MINUTE_TICKS / part.interval * parts;
        prop_assert!(units <= per_minute && units + parts >= per_minute, "{units}");
    }
}

#[test]
fn zero_is_no_limit_and_a_debt_ends_after_an_hour() {
    assert_eq!(Rate::new(0, 5, 1), None);
    let rate = Rate::new(60, 1, 1).expect("a limit");
    let state = rate.charge(Paid::default(), Ticks(0), u64::MAX);
    let ready = rate.take(state, Ticks(0)).expect_err("a debt");
    assert_eq!(Ticks(0).until(ready), Duration::from_secs(3_601));
}

#[test]
fn a_burst_that_is_not_named_is_a_hundredth() {
    for (per_minute, burst) in [(1, 1), (8, 8), (300, 10), (6_000, 60)] {
        assert_eq!(burst_of(per_minute), burst, "{per_minute}");
    }
}
